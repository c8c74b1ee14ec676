//! The layer: [`MeshRouter`].

use std::sync::Arc;

use tower_layer::Layer;

use super::router::{MeshService, Routing};
use crate::mesh::Mesh;
use crate::request::Origin;
use crate::telemetry::MeshMetrics;

/// Applies the rules of a [`Mesh`] to the requests of the service it wraps.
///
/// All services of a layer, and all layers made of one mesh, share the mesh: its snapshot, and what is counted of its
/// endpoints.
#[derive(Clone, Debug)]
pub struct MeshRouter {
    routing: Arc<Routing>,
}

impl MeshRouter {
    /// The rules for requests of this application ([`Origin::Mesh`]).
    pub fn new(mesh: &Mesh) -> Self {
        let metrics = MeshMetrics::new(mesh.workload());
        Self { routing: Arc::new(Routing { mesh: mesh.clone(), origin: Origin::Mesh, metrics }) }
    }

    /// Where requests come from that do not say so themselves by an [`Origin`] in their extensions.
    #[must_use]
    pub fn with_origin(mut self, origin: Origin) -> Self {
        Arc::make_mut(&mut self.routing).origin = origin;
        self
    }
}

impl<S> Layer<S> for MeshRouter {
    type Service = MeshService<S>;

    fn layer(&self, inner: S) -> MeshService<S> {
        MeshService::new(inner, self.routing.clone())
    }
}
