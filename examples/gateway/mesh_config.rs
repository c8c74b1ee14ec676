//! The part of Istio's MeshConfig that traffic rules depend on.

use std::path::Path;

use mesh_router::BoxError;
use mesh_router::options::MeshOptions;

/// Reads the options; a field that has no effect is a warning, a value that is none is an error.
pub(crate) fn read(path: &Path) -> Result<MeshOptions, BoxError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: error: {error}"))?;
    let (options, report) = MeshOptions::from_yaml(&text, &name)?;
    for problem in report.problems() {
        tracing::warn!("{problem}");
    }
    Ok(options)
}
