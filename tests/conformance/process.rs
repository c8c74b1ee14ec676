//! Gateway processes: each in a process group of its own, which ends with its owner.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::timeout;

static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Ends every group that is still there; for a harness that is told to stop.
pub(crate) fn end_all() {
    for id in GROUPS.lock().unwrap().iter() {
        end_group(*id);
    }
}

fn end_group(id: i32) {
    if let Some(group) = Pid::from_raw(id) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// A process group, ended when this is dropped.
#[derive(Debug)]
struct Group(i32);

impl Group {
    fn of(child: &Child) -> Result<Group, String> {
        let id = child.id().ok_or("the process has no id")? as i32;
        GROUPS.lock().unwrap().insert(id);
        Ok(Group(id))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        end_group(self.0);
        GROUPS.lock().unwrap().remove(&self.0);
    }
}

fn command(words: &[String]) -> Result<Command, String> {
    let (program, arguments) = words.split_first().ok_or("the gateway command is empty")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    Ok(command)
}

/// The exit code; a signal counts as its negative number.
fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| -status.signal().unwrap_or(0))
}

/// A running gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    group: Group,
    output: PathBuf,
}

impl Gateway {
    /// Starts a command whose output goes to a file.
    pub(crate) fn start(words: &[String], output: &Path) -> Result<Gateway, String> {
        let file = File::create(output).map_err(|error| error.to_string())?;
        let other = file.try_clone().map_err(|error| error.to_string())?;
        let child = command(words)?
            .stdout(Stdio::from(file))
            .stderr(Stdio::from(other))
            .spawn()
            .map_err(|error| format!("{}: {error}", words[0]))?;
        let group = Group::of(&child)?;
        Ok(Gateway { child, group, output: output.to_owned() })
    }

    /// The exit code of a gateway that has ended.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.child.try_wait().ok().flatten().map(code)
    }

    /// Waits for the end.
    pub(crate) async fn wait(&mut self, limit: Duration) -> Option<i32> {
        timeout(limit, self.child.wait()).await.ok()?.ok().map(code)
    }

    /// Sends a signal, `TERM` or `HUP`, to the gateway itself.
    pub(crate) fn signal(&self, name: &str) -> Result<(), String> {
        let signal = match name {
            "TERM" => Signal::TERM,
            "INT" => Signal::INT,
            "HUP" => Signal::HUP,
            "KILL" => Signal::KILL,
            "USR1" => Signal::USR1,
            "USR2" => Signal::USR2,
            _ => return Err(format!("unknown signal {name}")),
        };
        let process = Pid::from_raw(self.group.0).ok_or("no process")?;
        kill_process(process, signal).map_err(|error| format!("signal {name}: {error}"))
    }

    /// The end of its output.
    pub(crate) fn output_tail(&self, bytes: usize) -> String {
        let output = std::fs::read(&self.output).unwrap_or_default();
        String::from_utf8_lossy(&output[output.len().saturating_sub(bytes)..]).into_owned()
    }

    /// Ends the group and waits until the gateway is gone.
    pub(crate) async fn end(&mut self) {
        end_group(self.group.0);
        self.wait(Duration::from_secs(3)).await;
    }
}

/// What a command that ends by itself left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end; `None` if it outlives the limit.
pub(crate) async fn run(words: &[String], limit: Duration) -> Result<Option<Finished>, String> {
    let child = command(words)?
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", words[0]))?;
    let _group = Group::of(&child)?;
    let Ok(output) = timeout(limit, child.wait_with_output()).await else { return Ok(None) };
    let output = output.map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Some(Finished { code: code(output.status), stdout: text(&output.stdout), stderr: text(&output.stderr) }))
}
