//! A configuration on its way into a mesh: [`Prepared`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::{Mesh, Report, WeakMesh};
use crate::compile::{Judged, NeededNames};
use crate::config::Config;
use crate::error::Error;

/// A configuration that was judged, while names that it brings are looked up and the last one serves.
pub(crate) struct Prepared {
    mesh: WeakMesh,
    judged: Judged,
    awaited: Option<Awaited>,
}

/// Names that are looked up for as long as this is held, whether or not the snapshot needs them.
struct Awaited {
    mesh: WeakMesh,
    names: NeededNames,
    lookups: watch::Receiver<u64>,
    patience: Duration,
}

impl Mesh {
    /// Judges `config`, and has names that are new with it looked up if anybody looks names up at all.
    ///
    /// # Errors
    /// If strict, as [`Mesh::apply_strict`].
    pub(crate) fn prepare(&self, config: Config, strict: bool) -> Result<Prepared, Error> {
        let judged = Judged::new(config);
        let judged = if strict { judged.strict()? } else { judged };
        let patience = self.resolving();
        let awaited = patience.and_then(|patience| self.await_names(&judged, patience));
        Ok(Prepared { mesh: self.downgrade(), judged, awaited })
    }

    fn await_names(&self, judged: &Judged, patience: Duration) -> Option<Awaited> {
        let mut names = self.lock().names_of(judged);
        names.retain(|name| !name.is_looked_up());
        if names.is_empty() {
            return None;
        }
        // Subscribed before anybody is told, so that no look-up ends unseen.
        let lookups = self.shared.lookups.subscribe();
        self.shared.awaited.send_modify(|awaited| {
            awaited.extend(names.iter().cloned());
            awaited.sort_by(|one, other| one.name().cmp(other.name()));
        });
        Some(Awaited { mesh: self.downgrade(), names, lookups, patience })
    }
}

impl Prepared {
    /// Waits until each name that is new was looked up once, with whatever success, or until the patience of who looks
    /// names up is over.
    pub(crate) async fn looked_up(&mut self) {
        let Some(awaited) = &mut self.awaited else { return };
        let Awaited { names, lookups, patience, .. } = awaited;
        let all = async {
            // A mesh that is gone waits for nothing.
            while !names.iter().all(|name| name.is_looked_up()) && lookups.changed().await.is_ok() {}
        };
        if timeout(*patience, all).await.is_err() {
            tracing::warn!(waited = ?patience, "not every new name was looked up in time; its requests get 503");
        }
    }

    /// Publishes it; `None` if the mesh is gone, or whoever prepared it has `given_up`.
    pub(crate) fn publish(self, given_up: &AtomicBool) -> Option<Report> {
        let Self { mesh, judged, awaited } = self;
        let mesh = mesh.upgrade()?;
        let mut publication = mesh.lock();
        // Asked under the lock: what is applied after that stays.
        if given_up.load(Ordering::Relaxed) {
            return None;
        }
        mesh.refused(None);
        let report = mesh.publish_in(&mut publication, judged);
        drop(publication);
        // By now the snapshot has the names.
        drop(awaited);
        Some(report)
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let Some(mesh) = self.mesh.upgrade() else { return };
        mesh.shared.awaited.send_modify(|awaited| {
            // Another configuration may await the same name.
            let mut names = self.names.iter().peekable();
            awaited.retain(|name| {
                let given_up = names.peek().is_some_and(|next| next.name() == name.name());
                if given_up {
                    names.next();
                }
                !given_up
            });
        });
    }
}
