//! `gateway check`: what is wrong, and whether it matters.

use std::process::ExitCode;

use mesh_router::BoxError;

use crate::args::{Check, source};

/// Success if nothing is wrong but what a warning says.
pub(crate) fn run(check: &Check) -> Result<ExitCode, BoxError> {
    let Some(source) = source(&check.files.paths) else { return Ok(ExitCode::SUCCESS) };
    let mesh = check.identity.mesh()?.build();
    let report = mesh.check(source.config()?);
    for problem in report.problems() {
        println!("{problem}");
    }
    let failing = report.problems().iter().filter(|problem| problem.fails_check()).count();
    let warnings = report.problems().len() - failing;
    println!("errors: {failing}, warnings: {warnings}");
    Ok(if report.fails_check() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
