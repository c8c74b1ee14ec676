//! The example gateway where nobody reads what it says: the reader of a pipe is gone, as a collector of logs that ended.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "conformance/gateway.rs"]
mod gateway;
#[path = "support/gateway.rs"]
mod support;

use std::fs;
use std::io::{BufRead, BufReader, PipeWriter, Read, Write, pipe};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use support::free_port;
use tokio::time::Instant;

/// What nobody reads.
fn unheard() -> PipeWriter {
    pipe().unwrap().1
}

fn gateway() -> Command {
    let mut command = Command::new(gateway::find().unwrap());
    command.stdin(Stdio::null()).stdout(unheard()).stderr(unheard()).env_remove("RUST_LOG");
    command
}

/// A file of rules, gone at the end of the test.
struct Rules {
    path: PathBuf,
    port: u16,
}

impl Rules {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mesh-router-unheard-{}-{name}.yaml", std::process::id()));
        let rules = Self { path, port: free_port() };
        rules.answer(201);
        rules
    }

    /// Has every request be answered with `status`.
    fn answer(&self, status: u16) {
        let next = self.path.with_extension("next");
        let gateway = format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: gw}}\nspec: {{servers: [{{port: \
             {{number: {}, name: http, protocol: HTTP}}, bind: 127.0.0.1, hosts: ['*']}}]}}\n",
            self.port
        );
        let rule = format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: vs}}\nspec: {{hosts: \
             ['*'], gateways: [gw], http: [{{directResponse: {{status: {status}}}}}]}}\n"
        );
        fs::write(&next, gateway + &rule).unwrap();
        fs::rename(next, &self.path).unwrap();
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The status of the answer at a port, if there is any.
fn status(port: u16, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.get(9..12)?.parse().ok()
}

/// A gateway that runs, killed with the test.
struct Running(Child);

impl Running {
    fn until_answered(&mut self, port: u16, path: &str, expected: u16) {
        let began = Instant::now();
        loop {
            let seen = status(port, path);
            if seen == Some(expected) {
                return;
            }
            let ended = self.0.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}");
            assert!(began.elapsed() < Duration::from_secs(20), "{path}: {seen:?} and not {expected}");
            std::thread::yield_now();
        }
    }

    fn told_to_end(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        self.0.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn rules_are_followed_when_the_reader_of_the_log_has_gone() {
    let (rules, admin) = (Rules::new("followed"), free_port());
    let mut command = gateway();
    command.arg("--config").arg(&rules.path).args(["--admin", &format!("127.0.0.1:{admin}")]);
    let mut running = Running(command.stderr(Stdio::piped()).spawn().unwrap());
    let log = BufReader::new(running.0.stderr.take().unwrap());
    // The reader goes with what is read last.
    log.lines().find(|line| line.as_ref().unwrap().contains("ready")).unwrap().unwrap();
    for expected in [202, 203, 204] {
        rules.answer(expected);
        running.until_answered(rules.port, "/", expected);
    }
    assert_eq!(status(admin, "/ready"), Some(200));
    assert!(running.told_to_end().success());
}

#[test]
fn it_starts_and_ends_without_anybody_to_read_it() {
    let rules = Rules::new("started");
    let mut running = Running(gateway().arg("--config").arg(&rules.path).spawn().unwrap());
    running.until_answered(rules.port, "/", 201);
    assert!(running.told_to_end().success());
    let demo = gateway().args(["--demo", "--demo-seconds", "0"]).status().unwrap();
    assert_eq!(demo.code(), Some(0));
}

#[test]
fn the_exit_of_check_is_the_same_whoever_reads_it() {
    let rules = Rules::new("checked");
    let check = || gateway().arg("check").arg("--config").arg(&rules.path).status().unwrap().code();
    assert_eq!(check(), Some(0));
    fs::write(&rules.path, "kind: {{{").unwrap();
    assert_eq!(check(), Some(1));
    rules.answer(99);
    assert_eq!(check(), Some(1));
}
