//! Finds the example gateway beside this test, and has it built where cargo is at hand.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The gateway of the profile this test was built with.
pub(crate) fn find() -> Result<PathBuf, String> {
    let test = std::env::current_exe().map_err(|error| error.to_string())?;
    // target/PROFILE/deps/conformance-HASH
    let profile = test.parent().and_then(Path::parent).ok_or("this test is in no target folder")?;
    let gateway = profile.join("examples").join("gateway");
    // a plain `cargo test` has built the examples, `cargo test --test conformance` has not
    let built = std::env::var_os("CARGO").map(|cargo| build(Path::new(&cargo), profile));
    match (gateway.exists(), built) {
        (_, Some(Err(problem))) => Err(format!("{problem}\nthe example gateway does not build")),
        (true, _) => Ok(gateway),
        (false, _) => {
            Err(format!("no gateway at {}: `cargo build --example gateway`, or --gateway CMD", gateway.display()))
        }
    }
}

/// Has the example built into the same target folder; next to nothing to do if it is fresh.
fn build(cargo: &Path, profile: &Path) -> Result<(), String> {
    let name = match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let target = profile.parent().ok_or("this test is in no target folder")?;
    let mut command = Command::new(cargo);
    for (name, _) in std::env::vars_os() {
        // What cargo says of this package: dependencies that look at what it says of them would be built anew.
        if [&b"CARGO_PKG_"[..], b"CARGO_MANIFEST_"].iter().any(|own| name.as_encoded_bytes().starts_with(own)) {
            command.env_remove(name);
        }
    }
    let output = command
        .args(["build", "--quiet", "--example", "gateway", "--features", "full", "--profile", name])
        .arg("--target-dir")
        .arg(target)
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .output()
        .map_err(|error| format!("{}: {error}", cargo.display()))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
