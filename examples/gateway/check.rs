//! `gateway check`: what is wrong, and whether it matters.

use std::io::{Write, stdout};
use std::process::ExitCode;

use mesh_router::BoxError;

use crate::args::{Check, source};

/// Success if nothing is wrong but what a warning says.
pub(crate) fn run(check: &Check) -> Result<ExitCode, BoxError> {
    let source = source(&check.files.paths)?;
    let mesh = check.identity.mesh()?.build();
    let report = mesh.check(source.config()?);
    // What is wrong is told by the exit code as well, whether or not anybody reads the words.
    let mut out = stdout().lock();
    for problem in report.problems() {
        let _ = writeln!(out, "{problem}");
    }
    let failing = report.problems().iter().filter(|problem| problem.fails_check()).count();
    let warnings = report.problems().len() - failing;
    let _ = writeln!(out, "errors: {failing}, warnings: {warnings}");
    Ok(if report.fails_check() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
