//! Who looks the names of a mesh up: [`NamesClaim`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::{Mesh, WeakMesh};

/// The right to look names up for a mesh, which one source has at a time.
#[derive(Debug)]
pub(crate) struct NamesClaim {
    mesh: WeakMesh,
    given_up: AtomicBool,
}

impl NamesClaim {
    /// Leaves it to others, once: the next time it may be theirs.
    pub(crate) fn give_up(&self) {
        if !self.given_up.swap(true, Ordering::Relaxed)
            && let Some(mesh) = self.mesh.upgrade()
        {
            *mesh.shared.resolving.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

impl Drop for NamesClaim {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Mesh {
    /// The right to look names up, unless somebody has it. First answers may be waited for that long.
    pub(crate) fn claim_names(&self, patience: Duration) -> Option<Arc<NamesClaim>> {
        let mut resolving = self.shared.resolving.lock().unwrap_or_else(PoisonError::into_inner);
        if resolving.is_some() {
            return None;
        }
        *resolving = Some(patience);
        Some(Arc::new(NamesClaim { mesh: self.downgrade(), given_up: AtomicBool::new(false) }))
    }
}
