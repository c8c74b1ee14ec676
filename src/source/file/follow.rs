//! Following: reads again when something changed, and applies what is new.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::notice::{Change, Notice, Progress, Scope};
use super::read::{self, Files, Folders};
use super::{blocking, publish, trace};
use crate::error::Error;
use crate::mesh::{Mesh, WeakMesh};

/// How long nothing may have happened for a change to be over.
pub(super) const QUIET: Duration = Duration::from_millis(20);
/// How long a change may go on before it is looked at all the same.
const RESTLESS: Duration = Duration::from_secs(1);

/// How often to look whether the folders are those that were asked for. Elsewhere they have nothing to be known by.
const REPLACED: Option<Duration> = if cfg!(unix) { Some(Duration::from_secs(5)) } else { None };

/// How soon to look again for what could not be read: it may come where nobody tells of it.
const AGAIN: Duration = Duration::from_secs(1);

/// Keeps a mesh at what the files say.
#[derive(Debug)]
pub(super) struct Follower {
    paths: Vec<PathBuf>,
    /// What led to the files when they were read last.
    ways: BTreeSet<PathBuf>,
    /// Where there were files then.
    folders: Folders,
    scope: Scope,
    pub(super) notice: Notice,
    changes: mpsc::UnboundedReceiver<Change>,
    mesh: WeakMesh,
    versions: watch::Receiver<u64>,
    hasher: RandomState,
    /// The hash of what was applied last.
    applied: u64,
    /// The hash of what was read last, whatever came of it.
    seen: u64,
    /// The message of the last failure, which is not repeated while it lasts.
    failure: Option<String>,
    /// Whether something could not be read the last time.
    unread: bool,
    /// Whether what was read is not wanted any more.
    pub(super) given_up: Arc<AtomicBool>,
}

impl Follower {
    /// Begins to notice changes. Asks the file system.
    pub(super) fn new(paths: Vec<PathBuf>, polling: Option<Duration>, mesh: &Mesh) -> Self {
        let scope = Scope::new(&paths, BTreeSet::new());
        let (mut notice, changes) = Notice::new(polling);
        notice.watch(scope.folders());
        Self {
            paths,
            ways: BTreeSet::new(),
            folders: Folders::new(),
            scope,
            notice,
            changes,
            mesh: mesh.downgrade(),
            versions: mesh.subscribe(),
            hasher: RandomState::new(),
            applied: 0,
            seen: 0,
            failure: None,
            unread: false,
            given_up: Arc::default(),
        }
    }

    /// Remembers what was applied, and looks where links lead.
    pub(super) async fn applied(&mut self, files: &Files) {
        self.applied = self.hasher.hash_one(&files.files);
        self.seen = self.applied;
        self.reach(files).await;
    }

    /// Follows until the last handle of the mesh is dropped.
    pub(super) async fn run(mut self) {
        // Links may lead to folders that were not watched when the files were read.
        if self.reload(true).await.is_none() {
            return;
        }
        loop {
            // What no clock can count never comes.
            let again = self.pause().and_then(|pause| Instant::now().checked_add(pause));
            let settled = match self.next(again).await {
                Some(change) => self.settle(change).await,
                // It was waited for long enough, or the mesh is gone.
                None => match again.and(self.mesh.upgrade()).map(drop) {
                    Some(()) if !self.is_due().await => continue,
                    waited => waited,
                },
            };
            if settled.is_none() || self.reload(true).await.is_none() {
                return;
            }
        }
    }

    /// After how long to look without being told; `None`: not at all.
    fn pause(&self) -> Option<Duration> {
        let again = self.unread.then_some(AGAIN);
        [self.notice.polling.or(REPLACED), again].into_iter().flatten().min()
    }

    /// Whether there may be anything to read that was not read before. Where that is not told, what the files say is
    /// compared: dates are whole seconds on some systems, and old ones come with files that are moved into place.
    async fn is_due(&self) -> bool {
        if self.unread {
            return true;
        }
        let is_new = if self.notice.polling.is_some() {
            let (paths, folders, hasher) = (self.paths.clone(), self.folders.clone(), self.hasher.clone());
            let looked = blocking(move || Ok(hasher.hash_one(&read::read(&paths, &folders)?.files))).await;
            looked.ok() != Some(self.seen)
        } else {
            let replaced = self.notice.replaced();
            blocking(move || Ok(replaced())).await.is_ok_and(|replaced| replaced)
        };
        if is_new {
            // It may be half written.
            sleep(QUIET).await;
        }
        is_new
    }

    /// Waits until a change is over, and no file is half written as far as is told. What is whole is read before that.
    /// None if the mesh is gone.
    async fn settle(&mut self, change: Change) -> Option<()> {
        if change.progress == Progress::Whole {
            self.reload(false).await?;
        }
        let restless = Instant::now() + RESTLESS;
        let mut writing = BTreeSet::new();
        let mut next = Some(change);
        while let Some(change) = next {
            match change.progress {
                Progress::Writing => writing.extend(change.paths),
                Progress::Whole => writing.retain(|path| !change.paths.contains(path)),
                Progress::Other => {}
            }
            let quiet = if writing.is_empty() { (Instant::now() + QUIET).min(restless) } else { restless };
            next = self.next(Some(quiet)).await.filter(|_| Instant::now() < restless);
        }
        Some(())
    }

    /// The next change that concerns the files; none when the time is over or the mesh is gone.
    async fn next(&mut self, until: Option<Instant>) -> Option<Change> {
        let Self { scope, changes, versions, .. } = self;
        let next = async {
            loop {
                tokio::select! {
                    change = changes.recv() => match change {
                        Some(change) if !scope.concerns(&change) => {}
                        change => return change,
                    },
                    changed = versions.changed() => if changed.is_err() { return None },
                }
            }
        };
        match until {
            None => next.await,
            Some(until) => timeout_at(until, next).await.ok().flatten(),
        }
    }

    /// Reads again, and applies what is not the same. A failure is told only if `settled`: until then a file may be
    /// half written. None if the mesh is gone.
    pub(super) async fn reload(&mut self, settled: bool) -> Option<()> {
        // The system forgets what it was about to tell when it is asked anew, so all of it is read after that.
        while self.read(settled).await? {}
        Some(())
    }

    /// Reads and applies once; whether the system was asked anew since it was read.
    async fn read(&mut self, settled: bool) -> Option<bool> {
        self.watch(true).await;
        let (paths, hasher, mesh) = (self.paths.clone(), self.hasher.clone(), self.mesh.clone());
        let (applied, folders) = (self.applied, self.folders.clone());
        let read = blocking(move || {
            let files = read::read(&paths, &folders)?;
            let hash = hasher.hash_one(&files.files);
            let Some(mesh) = mesh.upgrade() else { return Ok(None) };
            let prepare = || Ok(Some(mesh.prepare(files.config()?, false)?));
            let prepared = if hash == applied { Ok(None) } else { prepare() };
            Ok(Some((files, hash, prepared)))
        })
        .await;
        let (files, hash, prepared) = match read {
            Ok(read) => read?,
            Err(error) => {
                self.failed(&error, settled);
                return Some(false);
            }
        };
        self.seen = hash;
        let report = match prepared {
            Ok(Some(prepared)) => Some(publish(prepared, self.given_up.clone()).await?),
            Ok(None) => None,
            Err(error) => {
                self.failed(&error, settled);
                // It may be repaired where a link leads by now.
                return Some(self.reach(&files).await);
            }
        };
        self.applied = hash;
        let anew = self.reach(&files).await;
        match report {
            Some(report) => {
                trace(report.problems());
                let kept_back = report.quarantined().len();
                tracing::info!(files = files.files.len(), kept_back, "changed files were applied");
            }
            None if self.failure.is_some() => {
                self.mesh.upgrade()?.refused(None);
                tracing::info!("the files are again what is applied");
            }
            None => {}
        }
        (self.failure, self.unread) = (None, false);
        Some(anew)
    }

    fn failed(&mut self, error: &Error, settled: bool) {
        self.unread = error.is_io();
        let message = error.to_string();
        if settled && self.failure.as_ref() != Some(&message) {
            trace(error.problems());
            tracing::error!("the change of files is not applied; what was applied last goes on serving");
            if let Some(mesh) = self.mesh.upgrade() {
                mesh.refused(Some(error.clone()));
            }
            self.failure = Some(message);
        }
    }

    /// Follows the links that were read; whether they lead elsewhere than before.
    async fn reach(&mut self, files: &Files) -> bool {
        self.ways.clone_from(&files.ways);
        self.folders.clone_from(&files.folders);
        self.watch(false).await
    }

    /// Looks where the links lead, and asks the system to tell of changes there, unless that is done and not wanted
    /// `anew`; whether it is elsewhere than before. Asks the file system.
    async fn watch(&mut self, anew: bool) -> bool {
        let (paths, ways, last) = (self.paths.clone(), self.ways.clone(), self.scope.clone());
        let mut notice = std::mem::replace(&mut self.notice, Notice::new(None).0);
        let watching = blocking(move || {
            let scope = Scope::new(&paths, ways);
            let elsewhere = scope != last;
            if anew || elsewhere {
                notice.watch(scope.folders());
            }
            Ok((notice, scope, elsewhere))
        });
        let Ok((notice, scope, elsewhere)) = watching.await else { return false };
        (self.notice, self.scope) = (notice, scope);
        elsewhere
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.given_up.store(true, Ordering::Relaxed);
        // Nobody reads these files any more, unless that is a failure itself.
        if self.failure.is_some()
            && !std::thread::panicking()
            && let Some(mesh) = self.mesh.upgrade()
        {
            mesh.refused(None);
        }
    }
}
