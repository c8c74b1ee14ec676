//! The shared handle of a process: [`Mesh`].
//!
//! Several clients of one process share a mesh, and with it endpoint health and counts.
//!
//! ```
//! use mesh_router::config::Config;
//! use mesh_router::mesh::Mesh;
//!
//! let mesh = Mesh::new();
//! let config = Config::from_yaml(
//!     r"
//! apiVersion: networking.istio.io/v1
//! kind: ServiceEntry
//! metadata: {name: ratings}
//! spec:
//!   hosts: [ratings.test]
//!   resolution: STATIC
//!   ports: [{number: 80, name: http, protocol: HTTP}]
//!   endpoints: [{address: 127.0.0.1}]
//! ",
//!     "ratings.yaml",
//! )?;
//! let report = mesh.apply(config)?;
//! assert_eq!(report.problems(), []);
//! assert_eq!(mesh.snapshot().clusters().count(), 1);
//! # Ok::<(), mesh_router::Error>(())
//! ```

#[cfg(feature = "file")]
mod prepared;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(any(feature = "client", feature = "dns", feature = "file"))]
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use crate::compile::{Judged, NeededNames, Publication};
use crate::config::Config;
use crate::dice::Dice;
use crate::error::Error;
use crate::options::{MeshOptions, Workload};
use crate::request::GatewayOrigin;
use crate::snapshot::{NewEndpoints, Snapshot};
use crate::upstream::ResolvedName;

#[cfg(feature = "discover")]
mod discover;
mod given;
#[cfg(any(feature = "client", feature = "dns", feature = "file"))]
mod names_claim;
#[cfg(test)]
mod tests;

pub use given::EndpointsHandle;
#[cfg(any(feature = "client", feature = "dns", feature = "file"))]
pub(crate) use names_claim::NamesClaim;
#[cfg(feature = "file")]
pub(crate) use prepared::Prepared;

pub use crate::compile::report::{Quarantined, Report};

/// The rules a process lives by: a published [`Snapshot`] that can be replaced while requests are in flight.
///
/// A clone is the same mesh.
#[derive(Clone)]
pub struct Mesh {
    shared: Arc<Shared>,
}

/// The same mesh for those who serve it without keeping it.
#[cfg(any(feature = "client", feature = "dns", feature = "file"))]
#[derive(Clone)]
pub(crate) struct WeakMesh {
    shared: std::sync::Weak<Shared>,
}

#[cfg(any(feature = "client", feature = "dns", feature = "file"))]
impl WeakMesh {
    /// The mesh, if anybody else still holds it.
    pub(crate) fn upgrade(&self) -> Option<Mesh> {
        self.shared.upgrade().map(|shared| Mesh { shared })
    }
}

/// Tells of names that publications to come need.
#[cfg(any(feature = "client", feature = "dns", feature = "file"))]
pub(crate) type NamesChanges = watch::Receiver<NeededNames>;

struct Shared {
    snapshot: ArcSwap<Snapshot>,
    options: Arc<MeshOptions>,
    workload: Arc<Workload>,
    dice: Dice,
    /// What the next publication builds on; only those who publish wait for it.
    publication: Mutex<Publication>,
    versions: watch::Sender<u64>,
    /// What the last publication had to say.
    report: Mutex<Arc<Report>>,
    answering: Mutex<()>,
    /// How long whoever looks names up lets them be waited for; `None`: nobody does.
    #[cfg(any(feature = "client", feature = "dns", feature = "file"))]
    resolving: Mutex<Option<Duration>>,
    /// Names that a publication to come needs, in the order of the alphabet: each once for every publication.
    awaited: watch::Sender<NeededNames>,
    /// How many look-ups have ended.
    lookups: watch::Sender<u64>,
}

impl std::fmt::Debug for Mesh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mesh").field("version", &self.snapshot().version()).finish_non_exhaustive()
    }
}

#[cfg(any(feature = "client", feature = "dns", feature = "file"))]
impl std::fmt::Debug for WeakMesh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WeakMesh").finish_non_exhaustive()
    }
}

impl Default for Mesh {
    fn default() -> Self {
        Self::new()
    }
}

/// Builds a [`Mesh`]; see [`Mesh::builder`].
#[derive(Clone, Debug, Default)]
pub struct MeshBuilder {
    options: MeshOptions,
    workload: Workload,
    dice: Dice,
}

impl MeshBuilder {
    /// What is true of the whole mesh; Istio's defaults if not called.
    #[must_use]
    pub fn options(mut self, options: MeshOptions) -> Self {
        self.options = options;
        self
    }

    /// Who this process is; the namespace `default` without labels if not called.
    #[must_use]
    pub fn workload(mut self, workload: Workload) -> Self {
        self.workload = workload;
        self
    }

    /// The source of chance; one that cannot be foretold if not called.
    #[must_use]
    pub fn dice(mut self, dice: Dice) -> Self {
        self.dice = dice;
        self
    }

    /// A mesh without rules yet.
    pub fn build(mut self) -> Mesh {
        // As all names of hosts are.
        self.options.domain.make_ascii_lowercase();
        let (options, workload) = (Arc::new(self.options), Arc::new(self.workload));
        let mut publication = Publication::new(options.clone(), workload.clone(), &self.dice);
        let (snapshot, _) = publication.publish(Judged::new(Config::default()), 0);
        Mesh {
            shared: Arc::new(Shared {
                snapshot: ArcSwap::from_pointee(snapshot),
                options,
                workload,
                dice: self.dice,
                publication: Mutex::new(publication),
                versions: watch::Sender::new(0),
                report: Mutex::default(),
                answering: Mutex::new(()),
                #[cfg(any(feature = "client", feature = "dns", feature = "file"))]
                resolving: Mutex::new(None),
                awaited: watch::Sender::new(NeededNames::new()),
                lookups: watch::Sender::new(0),
            }),
        }
    }
}

impl Mesh {
    /// A mesh without rules, with Istio's defaults.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A mesh with options of its own.
    pub fn builder() -> MeshBuilder {
        MeshBuilder::default()
    }

    /// Publishes `config` in one swap, in place of all that was published before, a folder that the mesh follows included.
    /// Requests in flight keep the snapshot they began with.
    ///
    /// A resource that is not usable as written is quarantined: its last good version goes on serving, or it is left
    /// out if there never was one. Clusters and endpoints whose settings did not change keep their connections,
    /// counts and positions.
    ///
    /// # Errors
    /// None today beyond what [`Config::from_yaml`] refused already: meaning never refuses a publication.
    pub fn apply(&self, config: Config) -> Result<Report, Error> {
        Ok(self.publish(Judged::new(config)))
    }

    /// The same, but nothing changes if there is anything that a strict start refuses.
    ///
    /// # Errors
    /// [`Error::is_invalid`] with every problem, if there is an error or an unknown field.
    pub fn apply_strict(&self, config: Config) -> Result<Report, Error> {
        Ok(self.publish(Judged::new(config).strict()?))
    }

    /// What publishing `config` now would report, without publishing it; of resources that would be kept back also what
    /// it would if they had no errors: references that dangle, what is not honored.
    pub fn check(&self, config: Config) -> Report {
        let all = config.clone();
        let report = |judged| {
            let mut rehearsal = self.lock().rehearsal();
            rehearsal.publish(judged, 0).1
        };
        let mut found: Report = report(Judged::new(config));
        if !found.quarantined.is_empty() {
            found.add_of_kept_back(report(Judged::unseen(all)));
        }
        found
    }

    /// The published snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// Versions of the snapshot as they are published, beginning with the current one.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.versions.subscribe()
    }

    /// What is wrong, kept back or not honored in the last configuration, whoever [applied](Self::apply) it: true of the
    /// gateways that the application stands for and of the endpoints that it gives by now. Also why a later change of
    /// files was [refused](Report::refused).
    pub fn report(&self) -> Arc<Report> {
        Arc::clone(&self.shared.report.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is true of the whole mesh.
    pub fn options(&self) -> &MeshOptions {
        &self.shared.options
    }

    /// Who this process is.
    pub fn workload(&self) -> &Workload {
        &self.shared.workload
    }

    /// The source of chance.
    pub fn dice(&self) -> &Dice {
        &self.shared.dice
    }

    /// The published snapshot for a moment: cheaper than [`Self::snapshot`], never held across an await.
    pub(crate) fn load(&self) -> Guard<Arc<Snapshot>> {
        self.shared.snapshot.load()
    }

    fn publish(&self, judged: Judged) -> Report {
        self.publish_in(&mut self.lock(), judged)
    }

    fn publish_in(&self, publication: &mut Publication, judged: Judged) -> Report {
        let version = self.shared.snapshot.load().version() + 1;
        let (snapshot, report) = publication.publish(judged, version);
        self.store(snapshot, report.clone());
        report
    }

    /// Has the rules of a gateway from now on, for an application that stands for it.
    pub(crate) fn serve_gateway(&self, origin: &GatewayOrigin) {
        let mut publication = self.lock();
        let version = self.shared.snapshot.load().version() + 1;
        if let Some((snapshot, report)) = publication.serve_gateway(origin, version) {
            self.store(snapshot, report);
        }
    }

    /// Remembers why a change of the files that it follows was refused; `None`: none is any more.
    #[cfg(feature = "file")]
    pub(crate) fn refused(&self, error: Option<Error>) {
        self.change_report(|report| report.refused = error);
    }

    fn change_report(&self, change: impl FnOnce(&mut Report)) {
        change(Arc::make_mut(&mut self.shared.report.lock().unwrap_or_else(PoisonError::into_inner)));
    }

    fn store(&self, mut snapshot: Snapshot, report: Report) {
        let version = snapshot.version();
        self.change_report(|last| *last = Report { refused: last.refused.take(), ..report });
        let turn = self.answering();
        let publish = |new: NewEndpoints| new.into_iter().for_each(|(cluster, new)| cluster.publish_anew(new));
        let [filled, emptied] = snapshot.take_endpoints();
        publish(filled);
        // Dropped last: that may take a while.
        let _before = self.shared.snapshot.swap(Arc::new(snapshot));
        publish(emptied);
        self.load().stand();
        // It may have been compiled with answers that were replaced before it was out.
        self.load().publish_answers(None);
        drop(turn);
        self.shared.versions.send_replace(version);
    }

    /// Held while endpoints are made what rules or the latest answers say, so that of two changes the later one stays;
    /// it takes no longer than replacing them.
    fn answering(&self) -> MutexGuard<'_, ()> {
        self.shared.answering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handle that does not keep the mesh.
    #[cfg(any(feature = "client", feature = "dns", feature = "file"))]
    pub(crate) fn downgrade(&self) -> WeakMesh {
        WeakMesh { shared: Arc::downgrade(&self.shared) }
    }

    /// How long first answers may be waited for; `None`: nobody looks names up.
    #[cfg(feature = "file")]
    fn resolving(&self) -> Option<Duration> {
        *self.shared.resolving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names that the snapshot needs, and those that one to come will, in the order of the alphabet.
    #[cfg(any(feature = "client", feature = "dns", feature = "file"))]
    pub(crate) fn needed_names(&self) -> NeededNames {
        let mut names = self.load().names();
        names.extend(self.shared.awaited.borrow().iter().cloned());
        names.sort_unstable_by(|one, other| one.name().cmp(other.name()));
        names.dedup_by(|one, other| one.name() == other.name());
        names
    }

    /// Tells when names are needed that the snapshot does not have yet, or are not any more.
    #[cfg(any(feature = "client", feature = "dns", feature = "file"))]
    pub(crate) fn awaited_names(&self) -> NamesChanges {
        self.shared.awaited.subscribe()
    }

    /// Publishes what a name was looked up to, for those who look names up themselves: see
    /// [`Snapshot::names`] for which names are needed. It takes effect at once, in every cluster that needs the name.
    /// `None`, that there was no answer, leaves the last addresses. A name that is not needed changes nothing.
    pub fn publish_addresses(&self, name: &str, addresses: Option<Vec<IpAddr>>) {
        if let Some(name) = self.needed_name(name) {
            name.answered(addresses);
        }
        let turn = self.answering();
        self.load().publish_answers(Some(name));
        drop(turn);
        self.shared.lookups.send_modify(|lookups| *lookups += 1);
    }

    /// The name, if the snapshot or one to come needs it.
    fn needed_name(&self, name: &str) -> Option<Arc<ResolvedName>> {
        let known = self.load().name(name).cloned();
        known.or_else(|| {
            let awaited = self.shared.awaited.borrow();
            let place = awaited.binary_search_by(|known| (**known.name()).cmp(name)).ok()?;
            awaited.get(place).cloned()
        })
    }

    /// Waits until each name of the current snapshot was looked up.
    #[cfg(any(feature = "client", feature = "dns", feature = "file"))]
    pub(crate) async fn all_looked_up(&self) {
        let (mut lookups, mut versions) = (self.shared.lookups.subscribe(), self.subscribe());
        while !self.load().is_looked_up() {
            // Neither sender is dropped as long as this mesh is held.
            tokio::select! {
                _ = lookups.changed() => {}
                _ = versions.changed() => {}
            }
        }
    }

    /// A publisher that panicked left the last whole publication behind, with what the program has asked for since.
    fn lock(&self) -> MutexGuard<'_, Publication> {
        self.shared.publication.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
