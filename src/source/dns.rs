//! Looking names up: the endpoints of ServiceEntries with `resolution: DNS` and `DNS_ROUND_ROBIN`.

mod driver;
mod resolve;
#[cfg(test)]
mod tests;
#[cfg(feature = "dns")]
mod ttl;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::error::BoxError;
use crate::mesh::{Mesh, NamesClaim};
use driver::Driver;
use resolve::Resolver;

pub use resolve::{Answer, Resolve, SystemResolver};
#[cfg(feature = "dns")]
pub use ttl::TtlResolver;

/// Looks up the names that a mesh needs, and keeps their endpoints at what the answers say.
///
/// Every name is looked up once, however many clusters need it, as soon as a snapshot needs it, 64 names at a
/// time; a look-up that takes 30 s has no answer. It is looked up again:
///
/// - when the TTL of its answer is over, at the earliest after a second;
/// - after 5 s (the default of Envoy's `dns_refresh_rate`; Istio sets 60 s) if the resolver does not know the TTL,
///   unless the following is less;
/// - after [`dns_refresh_rate`](crate::options::MeshOptions::dns_refresh_rate), 60 s, if there was no answer or an
///   empty one, or if its TTL is 0. Without an answer the last addresses stay.
///
/// An answer that is empty empties a `DNS` cluster. One name's addresses of both families are taken as
/// [`dns_lookup_family`](crate::options::MeshOptions::dns_lookup_family) says.
///
/// ```
/// use std::net::IpAddr;
/// use std::sync::Arc;
///
/// use mesh_router::Mesh;
/// use mesh_router::config::Config;
/// use mesh_router::source::{Answer, DnsSource};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), mesh_router::Error> {
/// let mesh = Mesh::new();
/// let report = mesh.apply(Config::from_yaml(
///     "
/// apiVersion: networking.istio.io/v1
/// kind: ServiceEntry
/// metadata: {name: api}
/// spec:
///   hosts: [api.example.com]
///   resolution: DNS
///   ports: [{number: 80, name: http, protocol: HTTP}]
/// ",
///     "api.yaml",
/// )?)?;
/// assert_eq!(report.errors().next(), None);
/// // Any function that answers is a resolver; without one the system's is asked.
/// let resolver = |_name: Arc<str>| async { Ok(Answer::new([IpAddr::from([192, 0, 2, 7])])) };
/// let _resolving = DnsSource::new().resolver(resolver).open(&mesh).await;
/// let snapshot = mesh.snapshot();
/// let cluster = snapshot.clusters().next().expect("one cluster");
/// assert_eq!(cluster.view()[0].address.to_string(), "192.0.2.7:80");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DnsSource {
    resolver: Resolver,
    /// Whether the resolver was chosen.
    chosen: bool,
    patience: Duration,
}

impl fmt::Debug for DnsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsSource").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl Default for DnsSource {
    fn default() -> Self {
        Self::new()
    }
}

impl DnsSource {
    /// Asks the system: `getaddrinfo` on Unix, with its files and its cache, but without TTLs.
    pub fn new() -> Self {
        Self { resolver: Resolver::of(SystemResolver), chosen: false, patience: Duration::from_secs(5) }
    }

    /// Asks `resolver` instead.
    #[must_use]
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        (self.resolver, self.chosen) = (Resolver::of(resolver), true);
        self
    }

    /// How long [`Self::open`], and a `FileSource` before it applies a change that brings new names, waits for first
    /// answers: 5 s.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Begins to look names up, until what is returned or the last handle of the mesh is dropped. It waits until each
    /// name of the current snapshot was looked up once, or until its [patience](Self::patience) is over.
    ///
    /// A mesh is resolved by one source at a time: where there is one already, this one only waits for it, and a
    /// resolver that was chosen is not asked, which is logged. [`Mesh::open`] brings one; to choose another, open this
    /// on a mesh that was built without, and a `FileSource` after it.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime: the resolving is a task of it.
    pub async fn open(self, mesh: &Mesh) -> Resolving {
        let claim = mesh.claim_names(self.patience);
        if claim.is_none() && self.chosen {
            tracing::warn!("another source looks the names of this mesh up already: this resolver is not asked");
        }
        let task = claim.map(|claim| (tokio::spawn(Driver::new(mesh, self.resolver).run(claim.clone())), claim));
        let resolving = Resolving { task };
        if timeout(self.patience, mesh.all_looked_up()).await.is_err() {
            tracing::warn!(waited = ?self.patience, "not every name was looked up in time; its requests get 503");
        }
        resolving
    }
}

/// Looks names up for as long as it is held; see [`DnsSource::open`].
#[derive(Debug)]
#[must_use = "names are not looked up any more when it is dropped"]
pub struct Resolving {
    task: Option<(JoinHandle<()>, Arc<NamesClaim>)>,
}

impl Resolving {
    /// Waits until this source looks no names up any more, since the last handle of the mesh was dropped; not at all where
    /// [another source](DnsSource::open) does.
    ///
    /// # Errors
    ///
    /// If a panic ended it before, as that of a program's own subscriber of `tracing` would: endpoints stay as they are
    /// from then on.
    pub async fn ended(&mut self) -> Result<(), BoxError> {
        let Some((task, _)) = &mut self.task else { return Ok(()) };
        let ended = task.await;
        self.task = None;
        Ok(ended?)
    }

    /// Goes on until the last handle of the mesh is dropped.
    pub fn detach(mut self) {
        self.task = None;
    }
}

impl Drop for Resolving {
    fn drop(&mut self) {
        if let Some((task, claim)) = &self.task {
            task.abort();
            // The runtime drops the task when it comes to it, which may be after another source was opened.
            claim.give_up();
        }
    }
}

impl Mesh {
    /// Looks up the names that ServiceEntries name, with the system's resolver, until the last handle of the mesh is
    /// dropped; first answers are waited for, 5 s at most. [`Mesh::open`] and the gateway do so by themselves.
    /// See [`DnsSource`] for other resolvers.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime: the resolving is a task of it.
    pub async fn resolve_names(&self) {
        DnsSource::new().open(self).await.detach();
    }
}
