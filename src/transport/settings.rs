//! What a [`Transport`] is built with.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::bounds;
use super::connect::{Connect, Connector};
use super::executor::Executor;
use super::lookups::Lookups;
use super::{Inner, Transport};
use crate::upstream::LONGEST;
#[cfg(feature = "tls")]
use crate::upstream::{Identity, Pem};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioTimer;

/// What every connection and every pool of one transport goes by.
pub(super) struct Settings {
    pub(super) connector: Connector,
    pub(super) lookups: Arc<Lookups>,
    pub(super) http1: http1::Builder,
    pub(super) http2: http2::Builder<Executor>,
    pub(super) nodelay: bool,
    /// For destinations that come without an endpoint; an endpoint has its own.
    pub(super) connect_timeout: Duration,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_concurrent_streams: usize,
    #[cfg(feature = "tls")]
    pub(super) mesh_certificates: Option<MeshCertificates>,
    #[cfg(feature = "tls")]
    pub(super) https_roots: Option<Pem>,
    /// Shards of a stack of idle connections.
    pub(super) shards: usize,
    /// Of pools that clients had made by the hosts they ask for, how many are kept beside those in use.
    pub(super) kept: usize,
    closed: AtomicBool,
    /// Whether it was said that connections of the mesh are left in plain text.
    said: AtomicBool,
}

impl Settings {
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Says once that the mesh's TLS is not opened here.
    pub(super) fn leave_to_sidecar(&self, why: &str) {
        if !self.said.swap(true, Ordering::Relaxed) {
            tracing::warn!("ISTIO_MUTUAL is plain text, for a sidecar to secure: {why}");
        }
    }
}

/// What a workload of a mesh shows of itself, and whom it takes for one: what a sidecar gets from istiod.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg(feature = "tls")]
pub struct MeshCertificates {
    /// Its own certificate and key.
    pub identity: Identity,
    /// The authorities of the mesh.
    pub roots: Pem,
}

/// Sets up a [`Transport`].
///
/// ```
/// use std::time::Duration;
/// use mesh_router::transport::Transport;
///
/// let transport = Transport::builder().idle_timeout(Duration::from_secs(60)).http2_max_concurrent_streams(100).build();
/// # drop(transport);
/// ```
#[must_use = "a builder does nothing until it builds"]
pub struct TransportBuilder {
    connector: Connector,
    http1: http1::Builder,
    http2: http2::Builder<Executor>,
    nodelay: bool,
    connect_timeout: Duration,
    idle_timeout: Option<Duration>,
    max_concurrent_streams: usize,
    kept: usize,
    #[cfg(feature = "tls")]
    mesh_certificates: Option<MeshCertificates>,
    #[cfg(feature = "tls")]
    https_roots: Option<Pem>,
}

impl TransportBuilder {
    pub(super) fn new() -> Self {
        let mut http1 = http1::Builder::new();
        let mut http2 = http2::Builder::new(Executor);
        http2.timer(TokioTimer::new());
        bounds::towards_endpoints(&mut http1, &mut http2);
        Self {
            connector: Connector::Sockets,
            http1,
            http2,
            nodelay: true,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Some(Duration::from_secs(60 * 60)),
            max_concurrent_streams: 1024,
            kept: 1024,
            #[cfg(feature = "tls")]
            mesh_certificates: None,
            #[cfg(feature = "tls")]
            https_roots: None,
        }
    }

    /// Opens connections with `connector` instead of sockets of the system: a proxy, a simulated network, a test.
    ///
    /// [`nodelay`](Self::nodelay) is then its own affair; the connect timeout covers it.
    pub fn connector(mut self, connector: impl Connect) -> Self {
        self.connector = Connector::of(connector);
        self
    }

    /// The largest read and write buffer of an HTTP/1.1 connection in bytes, at least 8 KiB. About 400 KiB unless set.
    ///
    /// A smaller one saves memory and costs CPU with large bodies.
    pub fn max_buf_size(mut self, bytes: usize) -> Self {
        self.http1.max_buf_size(bytes.max(bounds::MIN_BUFFER));
        self
    }

    /// How long a connection without a request is kept where no cluster says it
    /// (`connectionPool.http.idleTimeout`): 1 h; 0 is for ever.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = (!timeout.is_zero()).then_some(timeout);
        self
    }

    /// How long opening a connection may take where no cluster says it, for requests that pass through: 10 s.
    ///
    /// An endpoint has the `connectTimeout` of its cluster. If it is a forward proxy, its answer and the application's TLS
    /// behind it have this time as well.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Whether small writes leave at once (`TCP_NODELAY`): yes.
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.nodelay = nodelay;
        self
    }

    /// Sends a PING on HTTP/2 connections that heard nothing for `interval` (`http2KeepAlive.interval`): off.
    ///
    /// A cluster with an `http2KeepAlive` of its own has that.
    pub fn http2_keep_alive_interval(mut self, interval: Duration) -> Self {
        self.http2.keep_alive_interval((!interval.is_zero()).then(|| interval.min(LONGEST)));
        self
    }

    /// How long the answer to such a PING may take before the connection counts as dead: 20 s.
    pub fn http2_keep_alive_timeout(mut self, timeout: Duration) -> Self {
        self.http2.keep_alive_timeout(timeout.min(LONGEST));
        self
    }

    /// Whether it is sent on a connection without a request too: no.
    pub fn http2_keep_alive_while_idle(mut self, yes: bool) -> Self {
        self.http2.keep_alive_while_idle(yes);
        self
    }

    /// Whether HTTP/2 windows follow the measured bandwidth and delay: no.
    ///
    /// They then begin at 64 KiB, for a connection as for each of its streams: one body that nobody reads stops the
    /// others, and ends the connection if it comes in hundreds of small frames.
    pub fn http2_adaptive_window(mut self, yes: bool) -> Self {
        self.http2.adaptive_window(yes);
        self
    }

    /// How many requests share one HTTP/2 connection at most where no cluster says it
    /// (`connectionPool.http.maxConcurrentStreams`): 1024, at least 1.
    ///
    /// The other side may allow fewer. One more request opens one more connection.
    pub fn http2_max_concurrent_streams(mut self, streams: usize) -> Self {
        self.max_concurrent_streams = streams.max(1);
        self
    }

    /// So few pools are crowded by far fewer requests.
    #[cfg(test)]
    pub(super) fn kept(mut self, kept: usize) -> Self {
        self.kept = kept;
        self
    }

    /// The certificates of this workload in the mesh, for clusters whose `tls.mode` is `ISTIO_MUTUAL`: none, and
    /// connections to those clusters are left in plain text, for a sidecar to secure, with one warning in the log.
    #[cfg(feature = "tls")]
    pub fn mesh_certificates(mut self, certificates: MeshCertificates) -> Self {
        self.mesh_certificates = Some(certificates);
        self
    }

    /// The authorities for hosts of `https` requests whose TLS no DestinationRule originates: the system's.
    #[cfg(feature = "tls")]
    pub fn https_roots(mut self, roots: Pem) -> Self {
        self.https_roots = Some(roots);
        self
    }

    /// The transport. Needs no runtime yet.
    pub fn build(self) -> Transport {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let settings = Settings {
            connector: self.connector,
            lookups: Arc::default(),
            http1: self.http1,
            http2: self.http2,
            nodelay: self.nodelay,
            connect_timeout: self.connect_timeout,
            idle_timeout: self.idle_timeout,
            max_concurrent_streams: self.max_concurrent_streams,
            #[cfg(feature = "tls")]
            mesh_certificates: self.mesh_certificates,
            #[cfg(feature = "tls")]
            https_roots: self.https_roots,
            shards: threads.next_power_of_two().min(16),
            kept: self.kept,
            closed: AtomicBool::new(false),
            said: AtomicBool::new(false),
        };
        Transport { inner: Arc::new(Inner::new(settings)) }
    }
}

impl fmt::Debug for TransportBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportBuilder")
            .field("http1", &self.http1)
            .field("nodelay", &self.nodelay)
            .field("connect_timeout", &self.connect_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("max_concurrent_streams", &self.max_concurrent_streams)
            .finish_non_exhaustive()
    }
}
