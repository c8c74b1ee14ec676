//! Files of Istio's resources, read as one configuration and watched.

mod follow;
mod notice;
mod read;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::config::{Bounds, Config};
use crate::error::{BoxError, Error, Problem};
use crate::mesh::{Mesh, MeshBuilder, Prepared, Report};
use follow::Follower;
use read::{Files, Folders};

/// Files and folders that together are one configuration.
///
/// Of a folder, the files `*.yaml` and `*.yml` count, in the order of their names; not its folders, and not names that
/// begin with a dot. Symbolic links are followed. A pipe in it cannot be read; one that is named itself is waited for. All
/// files are applied in one swap.
///
/// ```
/// use mesh_router::source::FileSource;
///
/// # let folder = std::env::temp_dir().join(format!("mesh-router-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # std::fs::write(folder.join("vs.yaml"), "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, \
/// #     metadata: {name: a}, spec: {hosts: [a.test], ports: [{number: 80, name: http, protocol: HTTP}], \
/// #     resolution: STATIC, endpoints: [{address: 127.0.0.1}]}}").unwrap();
/// let config = FileSource::new(&folder).config()?;
/// assert_eq!(config.service_entries.len(), 1);
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), mesh_router::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FileSource {
    paths: Vec<PathBuf>,
    strict: bool,
    polling: Option<Duration>,
    in_place: bool,
}

impl FileSource {
    /// The file or folder `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { paths: vec![path.into()], strict: false, polling: None, in_place: false }
    }

    /// Another file or folder of the same configuration. What two paths lead to is read once.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.paths.push(path.into());
        self
    }

    /// Refuses to begin with any error or unknown field. Default: what is bad is quarantined.
    /// Later changes are quarantined either way.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Looks for changes at this interval instead of being told by the system, for network mounts that do not tell: reads
    /// the files, and compares what they say and not their dates. It is also what happens, every second, where the
    /// system cannot be asked to tell. An interval under 20 ms is one of 20 ms.
    #[must_use]
    pub fn polling(mut self, interval: Duration) -> Self {
        self.polling = Some(interval.max(follow::QUIET));
        self
    }

    /// Reads and compiles on the thread that opens it, which waits for it: for a program that has nothing else to do
    /// until its rules are there. Default: on another, so that what is served is not held up. Later changes are read
    /// on another thread either way.
    #[must_use]
    pub fn in_place(mut self) -> Self {
        self.in_place = true;
        self
    }

    /// Reads the configuration as it is now, and applies it to nothing.
    ///
    /// # Errors
    ///
    /// If a path cannot be read, or a file is no YAML. The error has a problem for every file of that kind.
    pub fn config(&self) -> Result<Config, Error> {
        read::read(&self.paths, &Folders::new())?.config()
    }

    /// Applies the configuration to `mesh` and follows its changes until the [`Watch`] or the last handle of the mesh
    /// is dropped.
    ///
    /// A change is read as soon as a file was renamed into place or closed after writing, and again when nothing has
    /// happened for 20 ms; a file that is being written is waited for until it is closed, 1 s at most, where the system
    /// tells (Linux). That another folder was mounted or moved to where one was is seen after 5 s. A change that is no
    /// YAML or cannot be read is traced and leaves the mesh as it is, but for what [`Mesh::report`] says of it
    /// ([`Report::refused`]), and what cannot be read is looked for every second; of one with bad resources the rest is
    /// applied ([`Mesh::apply`]). Files that did not change are not applied again.
    ///
    /// A folder from which the last file is taken says that there are no rules. An empty one in the place of one with
    /// files, as after an unmount or where a link leads by now, counts as one that cannot be read (on Unix, where folders
    /// can be told apart).
    ///
    /// Names of endpoints are not looked up by this: see [`Mesh::resolve_names`]. Where somebody looks names up, a
    /// change that brings new ones is applied once each was looked up, after 5 s at the latest
    /// ([`DnsSource::patience`](super::DnsSource::patience)); until then what was applied last serves.
    ///
    /// # Errors
    ///
    /// As [`Self::config`]; if strict also on any problem that [refuses a start](Problem::refuses_start).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime: the watching is a task of it.
    pub async fn open(self, mesh: &Mesh) -> Result<Watch, Error> {
        // Watched first and read then, so that no change falls between.
        let (source, target) = (self.clone(), mesh.clone());
        let begin = move || Ok(Follower::new(source.paths, source.polling, &target));
        let mut follower = self.work(begin).await?;
        let source = self.clone();
        let (files, config) = self
            .work(move || {
                let files = read::read(&source.paths, &Folders::new())?;
                let config = files.config()?;
                Ok((files, config))
            })
            .await?;
        let (target, strict) = (mesh.clone(), self.strict);
        let mut prepared = self.work(move || target.prepare(config, strict)).await?;
        prepared.looked_up().await;
        // The caller holds the mesh: it is there.
        let given_up = follower.given_up.clone();
        let report = self.work(move || Ok(prepared.publish(&given_up))).await?.unwrap_or_default();
        trace(report.problems());
        follower.applied(&files).await;
        let given_up = follower.given_up.clone();
        Ok(Watch { report, task: Some((tokio::spawn(follower.run()), given_up)) })
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        if self.in_place { work() } else { blocking(work).await }
    }
}

/// Follows files for as long as it is held; see [`FileSource::open`].
#[derive(Debug)]
#[must_use = "files are not followed any more when it is dropped"]
pub struct Watch {
    report: Report,
    /// What follows them, and what tells it that nobody wants it any more.
    task: Option<(JoinHandle<()>, Arc<AtomicBool>)>,
}

impl Watch {
    /// What was found when the files were applied first.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Waits until files are not followed any more, since the last handle of the mesh was dropped.
    ///
    /// # Errors
    ///
    /// If a panic ended it before, as that of a program's own subscriber of `tracing` would: the mesh stays as it is
    /// from then on.
    pub async fn ended(&mut self) -> Result<(), BoxError> {
        let Some((task, _)) = &mut self.task else { return Ok(()) };
        let ended = task.await;
        self.task = None;
        Ok(ended?)
    }

    /// Goes on following until the last handle of the mesh is dropped.
    pub fn detach(mut self) {
        self.task = None;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some((task, given_up)) = &self.task {
            task.abort();
            // What is being applied on another thread cannot be aborted.
            given_up.store(true, Ordering::Relaxed);
        }
    }
}

impl Mesh {
    /// A mesh with Istio's defaults that follows the file or folder `path` until its last handle is dropped, and
    /// [looks up the names](Mesh::resolve_names) that stand there.
    ///
    /// Resources that are not usable as written are traced and left out; [`Mesh::report`] has them too. See
    /// [`MeshBuilder::open`] for a mesh with options of its own, and [`FileSource`] for more paths and for strictness.
    ///
    /// # Errors
    ///
    /// If the path cannot be read, or a file is no YAML.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime: the watching is a task of it.
    pub async fn open(path: impl AsRef<Path>) -> Result<Mesh, Error> {
        Mesh::builder().open(path).await
    }

    /// Follows the file or folder `path` and looks names up, as [`Self::open`] does: for a mesh that is to know something
    /// before rules are read, as the gateway that an application stands for
    /// ([`MeshRouter::inbound`](crate::MeshRouter::inbound)), which they name.
    ///
    /// # Errors
    ///
    /// If the path cannot be read, or a file is no YAML.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime: the watching is a task of it.
    pub async fn follow(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        FileSource::new(path.as_ref()).open(self).await?.detach();
        self.resolve_names().await;
        Ok(())
    }
}

impl MeshBuilder {
    /// Builds the mesh and has it follow the file or folder `path`, as [`Mesh::open`] does.
    ///
    /// # Errors
    ///
    /// If the path cannot be read, or a file is no YAML.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime: the watching is a task of it.
    pub async fn open(self, path: impl AsRef<Path>) -> Result<Mesh, Error> {
        let mesh = self.build();
        mesh.follow(path).await?;
        Ok(mesh)
    }
}

/// Publishes what was prepared once its new names were looked up, as Envoy warms a cluster before it serves; `None` if
/// the mesh is gone or whoever follows the files.
async fn publish(mut prepared: Prepared, given_up: Arc<AtomicBool>) -> Option<Report> {
    prepared.looked_up().await;
    blocking(move || Ok(prepared.publish(&given_up))).await.ok().flatten()
}

/// Reading and compiling take milliseconds, too long for a thread that serves.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime shuts down, and with it whoever waits for this.
            Err(_) => std::future::pending().await,
        },
    }
}

fn trace(problems: &[Problem]) {
    for problem in problems {
        if problem.is_error() {
            tracing::error!("{problem}");
        } else {
            tracing::warn!("{problem}");
        }
    }
}

impl Files {
    fn config(&self) -> Result<Config, Error> {
        let files = self.files.iter().map(|(name, text)| (name.as_str(), text.as_deref()));
        Config::from_bounded(files, &Bounds::default())
    }
}
