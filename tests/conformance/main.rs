//! Black-box conformance of the example gateway: Istio YAML in, real traffic through, compared with what Istio and
//! Envoy do. Each case of `cases/` has its own gateway process, ports, upstreams, certificates and time limit.
//!
//! `cargo test --test conformance -- --help` tells how to run some of them, or to judge another gateway.

#![allow(clippy::unwrap_used, reason = "a lock is poisoned only after a panic, which fails the case")]

mod args;
mod case;
mod certs;
mod client;
mod expect;
mod frames;
mod gateway;
mod http1;
mod not_yet;
mod placeholders;
mod ports;
mod process;
mod schema;
mod steps;
mod suite;
mod tls;
mod upstream;
mod wire;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use args::{Args, USAGE};
use case::Means;
use not_yet::NotYet;

fn main() -> ExitCode {
    let outcome = Args::parse(std::env::args().skip(1)).and_then(|args| run(&args));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("conformance: {problem}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<bool, String> {
    if args.help {
        print!("{USAGE}");
        return Ok(true);
    }
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let folder = args.case_dir.clone().unwrap_or_else(|| home.join("cases"));
    let mut cases = suite::load(&folder)?;
    let not_yet = not_yet(args, home.join("not-yet.txt"))?;
    let strangers = not_yet.strangers(cases.iter().map(|case| case.name.as_str()));
    if !strangers.is_empty() && args.case_dir.is_none() {
        return Err(format!("not-yet.txt names no cases of ours: {}", strangers.join(", ")));
    }
    cases.retain(|case| args.selects(&case.area, &case.name));
    if args.list {
        suite::list(&cases, args.terse);
        return Ok(true);
    }
    let command = match &args.gateway {
        Some(command) => command.clone(),
        None if cases.is_empty() => Vec::new(),
        None => vec![gateway::find()?.display().to_string()],
    };
    let means = Means { gateway: command, verbose: args.verbose };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        tokio::select! {
            outcome = suite::run(cases, means, &not_yet, args) => outcome,
            name = told_to_stop() => {
                process::end_all();
                Err(format!("stopped by {}", name?))
            }
        }
    })
}

/// The list of what does not pass yet, which speaks of our own gateway only.
fn not_yet(args: &Args, file: PathBuf) -> Result<NotYet, String> {
    if args.gateway.is_some() { Ok(NotYet::none()) } else { NotYet::read(file) }
}

async fn told_to_stop() -> Result<&'static str, String> {
    let listen = |kind| signal(kind).map_err(|error| error.to_string());
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => Ok("SIGINT"),
        _ = terminate.recv() => Ok("SIGTERM"),
    }
}
