//! How an endpoint stands in its cluster, for those who keep connections to it.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cluster::ClusterSettings;
use super::connection::ConnectionSettings;

/// What the connections to an endpoint are opened by: one by another is of no more use.
#[derive(Clone, Debug)]
pub(crate) struct Basis {
    pub(crate) connection: Arc<ConnectionSettings>,
    /// How many the cluster may have: those that were opened without a limit are not counted.
    most: Option<NonZeroU32>,
}

impl Basis {
    pub(super) fn of(settings: &ClusterSettings) -> Self {
        Self { connection: settings.connection.clone(), most: settings.limits.connections }
    }
}

impl PartialEq for Basis {
    fn eq(&self, other: &Self) -> bool {
        // Equal settings are mostly the same ones.
        let same = Arc::ptr_eq(&self.connection, &other.connection) || self.connection == other.connection;
        same && self.most == other.most
    }
}

/// What is known of the [`Basis`] of an endpoint; `None`: it is no endpoint of its cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Bases {
    /// As published last.
    pub(super) now: Option<Basis>,
    /// As it will be with what is prepared, which may never be published.
    pub(super) next: Option<Basis>,
}

/// The [`Bases`] of an endpoint, which they outlive.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    bases: Bases,
    /// Told when they change.
    #[cfg(feature = "client")]
    watchers: Vec<std::sync::Weak<tokio::sync::Notify>>,
}

impl Standing {
    /// Has `change` say what is known, when nobody else does.
    pub(super) fn change(&self, change: impl FnOnce(&mut Bases)) {
        let mut known = self.lock();
        let before = known.bases.clone();
        change(&mut known.bases);
        if known.bases != before {
            known.tell();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "client")]
impl Standing {
    /// Tells `keep` whether connections that were opened by `basis` are kept. Nothing else is known before it returns:
    /// of several who ask, the last one to be told knows best.
    pub(crate) fn tell(&self, basis: &Basis, keep: impl FnOnce(bool)) -> bool {
        let Known { bases: Bases { now, next }, .. } = &*self.lock();
        let keeps = [now, next].into_iter().flatten().any(|known| known == basis);
        keep(keeps);
        keeps
    }

    #[cfg(test)]
    pub(crate) fn is(&self, basis: &Basis) -> bool {
        self.tell(basis, |_| ())
    }

    /// Notifies `watcher` of every change from now on.
    pub(crate) fn watch(&self, watcher: &Arc<tokio::sync::Notify>) {
        let mut known = self.lock();
        known.watchers.retain(|other| other.strong_count() > 0 && other.as_ptr() != Arc::as_ptr(watcher));
        known.watchers.push(Arc::downgrade(watcher));
    }
}

impl Known {
    fn tell(&self) {
        #[cfg(feature = "client")]
        self.watchers.iter().filter_map(std::sync::Weak::upgrade).for_each(|watcher| watcher.notify_one());
    }
}

#[cfg(all(test, feature = "client", not(mesh_loom)))]
mod tests {
    use super::*;

    #[test]
    fn nothing_changes_before_whoever_asked_was_told() {
        let (standing, basis) = (Standing::default(), Basis::of(&ClusterSettings::default()));
        standing.change(|bases| bases.now = Some(basis.clone()));
        let mut told = None;
        let keeps = standing.tell(&basis, |keeps| told = Some((keeps, standing.known.try_lock().is_err())));
        assert_eq!((keeps, told), (true, Some((true, true))));
    }
}
