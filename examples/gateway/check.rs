//! `gateway check`: what is wrong, and whether it matters.

use std::io::{Write, stdout};
use std::process::ExitCode;

use mesh_router::BoxError;

use crate::args::{Check, source};

/// Success if nothing is wrong but what a warning says.
pub(crate) fn run(check: &Check) -> Result<ExitCode, BoxError> {
    let source = source(&check.files.paths)?;
    let (mesh, of_mesh_config) = check.identity.mesh()?;
    let report = mesh.build().check(source.config()?);
    let problems = || of_mesh_config.problems().iter().chain(report.problems());
    // What is wrong is told by the exit code as well, whether or not anybody reads the words.
    let mut out = stdout().lock();
    for problem in problems() {
        let _ = writeln!(out, "{problem}");
    }
    let failing = problems().filter(|problem| problem.fails_check()).count();
    let warnings = problems().count() - failing;
    let _ = writeln!(out, "errors: {failing}, warnings: {warnings}");
    Ok(if failing > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
