//! What the example gateway says of the file that `--mesh-config` names, and when it starts with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "conformance/gateway.rs"]
mod gateway;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

const MISSPELT: &str = "outboundTrafficPolcy: {mode: REGISTRY_ONLY}\n";
const UNKNOWN: &str = "mesh.conf:1:1: error: outboundTrafficPolcy: unknown field";

/// A folder with rules that are good and a mesh config, gone at the end of the test.
struct Files(PathBuf);

impl Files {
    fn new(name: &str, mesh_config: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("mesh-router-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("rules.yaml"), "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}").unwrap();
        fs::write(folder.join("mesh.conf"), mesh_config).unwrap();
        Self(folder)
    }

    fn gateway(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(gateway::find().unwrap());
        command.args(arguments).args(["--config", "rules.yaml", "--mesh-config", "mesh.conf"]);
        command.current_dir(&self.0).env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn check_counts_what_it_says_of_the_mesh_config() {
    for (text, code, said) in [
        (
            "accessLogFile: /dev/stdout\n",
            0,
            "mesh.conf:1:1: warning: accessLogFile: not yet honored\nerrors: 0, warnings: 1\n",
        ),
        (MISSPELT, 1, "errors: 1, warnings: 0\n"),
    ] {
        let output = Files::new("checked", text).gateway(&["check"]).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.code() == Some(code) && told.ends_with(said), "{told}");
        assert!(code == 0 || told.starts_with(UNKNOWN), "{told}");
    }
}

/// A gateway that starts, killed with the test, and what it says.
struct Starting(Child);

impl Starting {
    fn new(mut command: Command) -> (Self, impl Iterator<Item = String>) {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        (Self(child), log)
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_start_refuses_a_misspelt_field_of_the_mesh_config() {
    let files = Files::new("started", MISSPELT);
    let (mut refused, mut log) = Starting::new(files.gateway(&[]));
    let said = log.next().unwrap();
    assert!(said.starts_with(UNKNOWN), "{said}");
    assert_eq!((log.next(), refused.0.wait().unwrap().code()), (None, Some(1)));

    let (_running, mut log) = Starting::new(files.gateway(&["--quarantine"]));
    assert!(log.next().unwrap().contains(UNKNOWN));
    assert!(log.any(|line| line.contains("ready")));
}
