//! The part of Istio's MeshConfig that traffic rules depend on.

use std::path::Path;

use mesh_router::BoxError;
use mesh_router::mesh::Report;
use mesh_router::options::MeshOptions;

/// Reads the options, with what there is to say of fields that are not known or have no effect; a value that is none is
/// an error.
pub(crate) fn read(path: &Path) -> Result<(MeshOptions, Report), BoxError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: error: {error}"))?;
    Ok(MeshOptions::from_yaml(&text, &name)?)
}
