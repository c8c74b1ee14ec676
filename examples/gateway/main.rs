//! A gateway: Istio's YAML in, HTTP through.
//!
//! ```text
//! cargo run --example gateway -- --demo
//! cargo run --example gateway -- --config mesh/ --admin 127.0.0.1:15021
//! cargo run --example gateway -- check --config mesh/
//! ```

mod args;
mod check;
mod demo;
mod mesh_config;
mod serve;

use std::io::{IsTerminal, Write, stderr};
use std::process::ExitCode;

use clap::Parser;
use mesh_router::BoxError;
use tracing_subscriber::EnvFilter;

use args::{Args, Command};

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,notify=warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_ansi(stderr().is_terminal());
    // That a line could not be written would be said on stderr too, which panics and ends whichever task spoke.
    log.log_internal_errors(false).init();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(stderr(), "error: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = match args.command {
        Some(Command::Check(check)) => check::run(&check),
        None if args.serve.demo => runtime.block_on(demo::run(args.serve)),
        None => runtime.block_on(serve::run(args.serve)),
    };
    // Not waited for: a look-up takes as long as the system's resolver likes.
    runtime.shutdown_background();
    done.unwrap_or_else(|error: BoxError| {
        // Of a configuration, every problem is a line of its own.
        let _ = writeln!(stderr(), "{error}");
        ExitCode::FAILURE
    })
}
