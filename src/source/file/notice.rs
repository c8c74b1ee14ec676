//! Noticing: asks the system to tell of changes in folders, or says how often to look instead.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::read::{Identity, identity, is_resource_file, way};

/// How often to look where the system cannot tell.
const POLL: Duration = Duration::from_secs(1);

/// Something that changed.
#[derive(Debug)]
pub(super) struct Change {
    /// Where; empty if the system lost track.
    pub(super) paths: Vec<PathBuf>,
    /// How far it is.
    pub(super) progress: Progress,
}

/// How far a change of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Something was written, or cut off, and more may come until the file is closed.
    Writing,
    /// The file is whole now: renamed into place, or closed after writing.
    Whole,
    /// It does not say.
    Other,
}

/// Tells of changes in the folders that matter.
pub(super) struct Notice {
    /// How often to look instead, where that was asked for.
    instead: Option<Duration>,
    watcher: Option<Box<dyn Watcher + Send + Sync>>,
    /// The folders, and what stood under the name of each when it was asked for.
    watched: BTreeMap<PathBuf, Option<Identity>>,
    pub(super) changes: mpsc::UnboundedSender<Change>,
    /// How often to look, where the system does not tell.
    pub(super) polling: Option<Duration>,
}

impl std::fmt::Debug for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notice").field("watched", &self.watched).field("polling", &self.polling).finish_non_exhaustive()
    }
}

impl Notice {
    /// With `polling` the system is not asked.
    pub(super) fn new(polling: Option<Duration>) -> (Self, mpsc::UnboundedReceiver<Change>) {
        let (changes, receiver) = mpsc::unbounded_channel();
        (Self { instead: polling, watcher: None, watched: BTreeMap::new(), changes, polling }, receiver)
    }

    /// Watches these folders and no others. All are asked for anew: a folder may have been replaced under its name, and
    /// what the system could not tell the last time it may tell by now.
    pub(super) fn watch(&mut self, folders: &BTreeSet<PathBuf>) {
        if let Some(watcher) = &mut self.watcher {
            for folder in self.watched.keys() {
                // It fails if the folder is gone.
                let _ = watcher.unwatch(folder);
            }
        }
        self.watched = folders.iter().map(|folder| (folder.clone(), identity(folder))).collect();
        if self.instead.is_some() {
            return;
        }
        let told = self.ask();
        match &told {
            Err(error) if self.polling.is_none() => {
                tracing::warn!(%error, "the system does not tell of changed files, so they are looked at every second");
            }
            Ok(()) if self.polling.is_some() => tracing::info!("the system tells of changed files again"),
            _ => {}
        }
        self.polling = told.is_err().then_some(POLL);
    }

    /// Asks for all folders that there are.
    fn ask(&mut self) -> notify::Result<()> {
        if self.watcher.is_none() {
            self.watcher = Some(Box::new(RecommendedWatcher::new(self.handler(), notify::Config::default())?));
        }
        let Some(watcher) = &mut self.watcher else { return Ok(()) };
        for folder in self.watched.keys().filter(|folder| folder.is_dir()) {
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                // One that has just gone is none.
                Err(error) if folder.is_dir() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether something else stands under the name of a folder by now, as after a mount: nobody tells of that where the
    /// folder around it is not watched, or stays the same. Asks the file system.
    pub(super) fn replaced(&self) -> impl FnOnce() -> bool + Send + 'static {
        let watched = self.watched.clone();
        move || watched.iter().any(|(folder, then)| identity(folder) != *then)
    }

    fn handler(&self) -> impl FnMut(notify::Result<Event>) + Send + 'static {
        let changes = self.changes.clone();
        move |event| {
            let change = match event {
                Ok(event) if is_reading(event.kind) => return,
                Ok(event) => Change { progress: Progress::of(event.kind), paths: event.paths },
                Err(error) => {
                    tracing::warn!(%error, "a change of files may have been missed");
                    Change { paths: Vec::new(), progress: Progress::Other }
                }
            };
            // Nobody follows any more.
            let _ = changes.send(change);
        }
    }
}

/// What we do ourselves when we look.
fn is_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

impl Progress {
    pub(super) fn of(kind: EventKind) -> Self {
        match kind {
            // Moved aside: an editor writes it anew.
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Self::Other,
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(_)) => Self::Whole,
            // Other systems do not tell when it is closed.
            EventKind::Modify(ModifyKind::Data(_)) if cfg!(any(target_os = "linux", target_os = "android")) => {
                Self::Writing
            }
            _ => Self::Other,
        }
    }
}

/// Which changes concern a configuration.
///
/// All is kept as it really lies: whatever names lead to a folder, the system knows it once and tells of it under one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    /// The folders among the paths of the configuration.
    named: BTreeSet<PathBuf>,
    /// What leads to its files, see [`way`].
    ways: BTreeSet<PathBuf>,
    /// The folders in which something can happen that concerns it: those named, and those around whatever leads there.
    folders: BTreeSet<PathBuf>,
}

impl Scope {
    /// The scope of a configuration of `paths`, whose files were found by `ways`.
    pub(super) fn new(paths: &[PathBuf], mut ways: BTreeSet<PathBuf>) -> Self {
        let ends = paths.iter().filter_map(|path| way(path, &mut ways));
        let named: BTreeSet<_> = ends.filter(|end| end.is_dir()).collect();
        let around = ways.iter().filter_map(|step| step.parent()).map(Path::to_owned);
        let folders = around.chain(named.iter().cloned()).collect();
        Self { named, ways, folders }
    }

    pub(super) fn folders(&self) -> &BTreeSet<PathBuf> {
        &self.folders
    }

    pub(super) fn concerns(&self, change: &Change) -> bool {
        change.paths.is_empty() || change.paths.iter().any(|path| self.has(path))
    }

    fn has(&self, path: &Path) -> bool {
        if self.ways.contains(path) || self.folders.contains(path) {
            return true;
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return false };
        // Kubernetes swaps a mounted ConfigMap by renaming the link `..data` next to the files.
        let swapped = name.as_encoded_bytes().starts_with(b"..");
        (swapped && self.folders.contains(folder)) || (self.named.contains(folder) && is_resource_file(name))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};
    use std::thread::{self, ThreadId};

    use super::*;
    use crate::mesh::Mesh;
    use crate::source::file::follow::Follower;

    /// Fails to watch, or does nothing; a folder whose name is `gone` goes when it is asked for.
    struct Failing(Arc<AtomicBool>);

    impl Watcher for Failing {
        fn new<F: notify::EventHandler>(_: F, _: notify::Config) -> notify::Result<Self> {
            Ok(Self(Arc::default()))
        }

        fn watch(&mut self, folder: &Path, _: RecursiveMode) -> notify::Result<()> {
            if folder.ends_with("gone") {
                std::fs::remove_dir(folder)?;
                return Err(notify::Error::path_not_found());
            }
            if self.0.load(Ordering::Relaxed) { Err(notify::Error::generic("told to")) } else { Ok(()) }
        }

        fn unwatch(&mut self, _: &Path) -> notify::Result<()> {
            Ok(())
        }

        fn kind() -> notify::WatcherKind {
            notify::WatcherKind::NullWatcher
        }
    }

    #[test]
    fn files_are_looked_at_only_as_long_as_the_system_does_not_tell() {
        let (mut notice, _changes) = Notice::new(None);
        let fails = Arc::new(AtomicBool::new(false));
        notice.watcher = Some(Box::new(Failing(fails.clone())));
        let folder = std::env::temp_dir().join(format!("mesh-router-notice-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("gone")).unwrap();
        let folders = BTreeSet::from([folder.join("gone"), folder.clone()]);
        for (failing, polling) in [(false, None), (true, Some(POLL)), (true, Some(POLL)), (false, None)] {
            fails.store(failing, Ordering::Relaxed);
            notice.watch(&folders);
            assert_eq!(notice.polling, polling);
        }
        assert!(!folder.join("gone").exists());
        std::fs::remove_dir(folder).unwrap();
    }

    /// Notes which thread asks.
    struct Asked(Arc<Mutex<Vec<ThreadId>>>);

    impl Watcher for Asked {
        fn new<F: notify::EventHandler>(_: F, _: notify::Config) -> notify::Result<Self> {
            Ok(Self(Arc::default()))
        }

        fn watch(&mut self, _: &Path, _: RecursiveMode) -> notify::Result<()> {
            self.0.lock().unwrap().push(thread::current().id());
            Ok(())
        }

        fn unwatch(&mut self, path: &Path) -> notify::Result<()> {
            self.watch(path, RecursiveMode::NonRecursive)
        }

        fn kind() -> notify::WatcherKind {
            notify::WatcherKind::NullWatcher
        }
    }

    #[tokio::test]
    async fn a_mount_that_hangs_holds_up_no_thread_that_serves() {
        let (mesh, asked) = (Mesh::new(), Arc::<Mutex<Vec<ThreadId>>>::default());
        let nothing = std::env::temp_dir().join("mesh-router-nothing.yaml");
        let mut follower = Follower::new(vec![nothing], None, &mesh);
        follower.notice.watcher = Some(Box::new(Asked(asked.clone())));
        follower.reload(true).await.unwrap();
        let asked = asked.lock().unwrap();
        assert!(!asked.is_empty() && !asked.contains(&thread::current().id()), "{asked:?}");
    }
}
