//! What is made of files, made again when they change.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

/// A value made of files. They are looked at whenever it is asked for, which connections do once each.
///
/// If what is new cannot be used, the last good value serves on, and the log says so once for each value: every pool of
/// connections has its own.
pub(crate) struct Reloaded<T> {
    files: Box<[PathBuf]>,
    make: Box<dyn Fn() -> io::Result<T> + Send + Sync>,
    last: Mutex<Option<(Vec<Stamp>, Arc<T>)>>,
}

/// When a file was changed, after 1970, and how long it is; `None` for one that is not there.
pub(super) type Stamp = Option<(Duration, u64)>;

impl<T> Reloaded<T> {
    /// Made by `make`, which reads `files`.
    pub(crate) fn new(
        files: impl IntoIterator<Item = PathBuf>,
        make: impl Fn() -> io::Result<T> + Send + Sync + 'static,
    ) -> Self {
        Self { files: files.into_iter().collect(), make: Box::new(make), last: Mutex::new(None) }
    }

    /// The value of the moment.
    pub(crate) fn get(&self) -> io::Result<Arc<T>> {
        // Before they are read: a change in between is seen the next time.
        let stamps: Vec<_> = self.files.iter().map(|file| stamp(file)).collect();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, value)) = &*last
            && *known == stamps
        {
            return Ok(value.clone());
        }
        let value = match ((self.make)(), last.take()) {
            (Ok(value), before) => {
                if before.is_some() {
                    tracing::info!(files = ?self.files, "certificates were read again");
                }
                Arc::new(value)
            }
            (Err(error), Some((_, before))) => {
                tracing::error!(%error, "changed certificates cannot be used; the last good ones serve on");
                before
            }
            (Err(error), None) => return Err(error),
        };
        *last = Some((stamps, value.clone()));
        Ok(value)
    }
}

pub(super) fn stamp(file: &Path) -> Stamp {
    let metadata = file.metadata().ok()?;
    Some((metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?, metadata.len()))
}

impl<T> fmt::Debug for Reloaded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloaded").field("files", &self.files).finish_non_exhaustive()
    }
}
