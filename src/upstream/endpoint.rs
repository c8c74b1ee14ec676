//! One endpoint: how it is configured, what is known of it, and the guard that counts a request on it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use http::uri::Authority;
use tokio::time::Instant;

use super::cluster::{ClusterKey, ClusterSettings};
use super::connection::ConnectionSettings;
use super::limits::Limits;
use super::names::{LogicalHost, NamedAddress};
use super::outlier::{Ejection, Health};
use super::standing::{Bases, Basis, Standing};

/// Where an endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a TCP port.
    Tcp(SocketAddr),
    /// A unix domain socket (`unix:///path` of a WorkloadEntry), without the scheme.
    Unix(PathBuf),
    /// Whatever a name leads to when a connection is opened (`resolution: DNS_ROUND_ROBIN`).
    Logical(LogicalHost),
    /// A name that is looked up by whoever opens a connection (`resolution: NONE` and `DYNAMIC_DNS`).
    Named(NamedAddress),
}

impl Address {
    /// The authority of a URI that leads here: `10.0.0.1:80`, `[::1]:80`.
    ///
    /// A unix socket has none. It gets one that no resolver answers, so that a client which follows it anyway fails
    /// and does not reach something else.
    fn authority(&self) -> Authority {
        let nowhere = || Authority::from_static("unix-socket.invalid");
        match self {
            // The scope of an IPv6 address has no place in an authority.
            Address::Tcp(SocketAddr::V6(v6)) => {
                Authority::try_from(format!("[{}]:{}", v6.ip(), v6.port())).unwrap_or_else(|_| nowhere())
            }
            Address::Tcp(v4) => Authority::try_from(v4.to_string()).unwrap_or_else(|_| nowhere()),
            Address::Unix(_) => nowhere(),
            Address::Logical(host) => Authority::try_from(host.to_string()).unwrap_or_else(|_| nowhere()),
            Address::Named(name) => Authority::try_from(name.to_string()).unwrap_or_else(|_| nowhere()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Logical(host) => host.fmt(f),
            Address::Named(name) => name.fmt(f),
        }
    }
}

/// An address as Envoy writes and hashes it: of a unix domain socket the path alone.
pub(crate) struct Written<'a>(pub(crate) &'a Address);

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Address::Unix(path) => path.display().fmt(f),
            other => other.fmt(f),
        }
    }
}

impl<T: Into<SocketAddr>> From<T> for Address {
    fn from(address: T) -> Self {
        Address::Tcp(address.into())
    }
}

/// An endpoint as configuration or discovery gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointConfig {
    /// Where it listens. Within one cluster the first of several endpoints with one address is kept.
    pub address: Address,
    /// Its share of the requests relative to the others (`weight` of a WorkloadEntry). 0 and unset count as 1.
    pub weight: u32,
    /// Its labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// `region/zone/subzone`, empty if unknown.
    pub locality: Arc<str>,
    /// Whether it is ready. One that is not is kept in the set and not picked.
    pub healthy: bool,
}

impl EndpointConfig {
    /// A healthy endpoint of weight 1 without labels and locality.
    pub fn new(address: impl Into<Address>) -> Self {
        Self { address: address.into(), weight: 1, labels: Arc::default(), locality: Arc::from(""), healthy: true }
    }

    /// Sets the weight.
    #[must_use]
    pub fn with_weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Sets the labels, by which subsets select.
    #[must_use]
    pub fn with_labels(mut self, labels: impl Into<Arc<BTreeMap<String, String>>>) -> Self {
        self.labels = labels.into();
        self
    }

    /// Sets the locality, `region/zone/subzone`.
    #[must_use]
    pub fn with_locality(mut self, locality: impl Into<Arc<str>>) -> Self {
        self.locality = locality.into();
        self
    }

    /// Says whether it is ready.
    #[must_use]
    pub fn with_healthy(mut self, healthy: bool) -> Self {
        self.healthy = healthy;
        self
    }
}

/// The identity of an endpoint: unique in the process, and the same as long as the endpoint is known to its cluster,
/// whatever reloads come between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(u64);

impl EndpointId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// What is counted of an endpoint, shared by every [`Endpoint`] with its cluster key and address.
// Two endpoints' counts never share a cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct EndpointState {
    id: EndpointId,
    active: AtomicU32,
    health: Health,
    authority: Authority,
    since: Instant,
    standing: Arc<Standing>,
}

impl EndpointState {
    pub(super) fn new(address: &Address) -> Self {
        Self {
            id: EndpointId::next(),
            active: AtomicU32::new(0),
            health: Health::default(),
            authority: address.authority(),
            since: Instant::now(),
            standing: Arc::default(),
        }
    }

    /// When the endpoint became known to its cluster.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    pub(super) fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    pub(super) fn id(&self) -> EndpointId {
        self.id
    }

    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }
}

impl Drop for EndpointState {
    fn drop(&mut self) {
        // Nobody publishes it any more.
        self.standing.change(|bases| *bases = Bases::default());
    }
}

/// One endpoint of a cluster as published: immutable but for the counts behind it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Endpoint {
    /// Who it is. Stable over reloads, also over changes of its [`connection`](Self::connection): a pool is kept by
    /// both.
    pub id: EndpointId,
    /// Where it listens.
    pub address: Address,
    /// The authority of a URI that leads to it, made once: `10.0.0.1:80`, `[::1]:80`. For a unix socket a name that
    /// does not resolve.
    pub authority: Authority,
    /// Its weight, at least 1.
    pub weight: u32,
    /// Its labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// `region/zone/subzone`, empty if unknown.
    pub locality: Arc<str>,
    /// Whether it was ready when it was published. Whether it is fit to be picked is [`Self::is_healthy`].
    pub healthy: bool,
    basis: Basis,
    limits: Arc<Limits>,
    /// Whether its cluster detects outliers; ejections under other settings do not matter to it.
    detects: bool,
    state: Arc<EndpointState>,
}

impl Endpoint {
    /// One of a cluster whose limits do not matter.
    #[cfg(test)]
    pub(super) fn new(config: EndpointConfig, settings: &ClusterSettings, state: Arc<EndpointState>) -> Self {
        Self::published(config, settings, &Arc::new(Limits::new(settings.limits, Arc::default())), state)
    }

    pub(super) fn published(
        config: EndpointConfig,
        settings: &ClusterSettings,
        limits: &Arc<Limits>,
        state: Arc<EndpointState>,
    ) -> Self {
        Self {
            id: state.id,
            authority: state.authority.clone(),
            address: config.address,
            weight: config.weight.max(1),
            labels: config.labels,
            locality: config.locality,
            healthy: config.healthy,
            basis: Basis::of(settings),
            limits: limits.clone(),
            detects: settings.outlier.is_some(),
            state,
        }
    }

    /// The requests on it now: of this process, for this cluster, further tries and mirrors included.
    pub fn active(&self) -> u32 {
        self.state.active()
    }

    /// How connections to it are opened, secured and kept.
    pub fn connection(&self) -> &Arc<ConnectionSettings> {
        &self.basis.connection
    }

    /// Whether it was ready when it was published and is not ejected now.
    pub fn is_healthy(&self) -> bool {
        self.healthy && !self.is_ejected()
    }

    /// Whether outlier detection leaves it out now.
    pub fn is_ejected(&self) -> bool {
        self.detects && self.state.health.is_ejected()
    }

    /// What its cluster admits.
    pub fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// How many failures it had of those that are counted apart from answers, where they are.
    pub(crate) fn local_failures(&self) -> u32 {
        self.state.health.local_failures()
    }

    /// Ends the run of those: a try has its connection. How many there were.
    pub(crate) fn connected(&self) -> u32 {
        self.state.health.connected()
    }

    /// What connections to it are opened by.
    pub(crate) fn basis(&self) -> &Basis {
        &self.basis
    }

    /// What was published of it last, under whatever settings.
    #[cfg(feature = "client")]
    pub(crate) fn standing(&self) -> &Arc<Standing> {
        &self.state.standing
    }

    pub(super) fn state(&self) -> &Arc<EndpointState> {
        &self.state
    }

    /// Whether publishing it again with these settings would change nothing. They are compared by where they are.
    pub(super) fn is_under(&self, settings: &ClusterSettings, limits: &Arc<Limits>) -> bool {
        Arc::ptr_eq(&self.basis.connection, &settings.connection)
            && Arc::ptr_eq(&self.limits, limits)
            && self.detects == settings.outlier.is_some()
    }

    /// Whether publishing `config` again would change nothing.
    pub(super) fn is_as(&self, config: &EndpointConfig) -> bool {
        self.address == config.address
            && self.weight == config.weight.max(1)
            && self.healthy == config.healthy
            && self.locality == config.locality
            && self.labels == config.labels
    }

    pub(super) fn view(&self, cluster: &ClusterKey, ejected: Option<Ejection>) -> EndpointView {
        EndpointView {
            id: self.id,
            cluster: cluster.clone(),
            address: self.address.clone(),
            locality: self.locality.clone(),
            weight: self.weight,
            healthy: self.healthy,
            ejected,
            active: self.active(),
        }
    }
}

/// What people are shown of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointView {
    /// Who it is.
    pub id: EndpointId,
    /// The cluster it serves. An endpoint of several clusters has counts and ejections in each.
    pub cluster: ClusterKey,
    /// Where it listens.
    pub address: Address,
    /// `region/zone/subzone`, empty if unknown.
    pub locality: Arc<str>,
    /// Its weight, at least 1.
    pub weight: u32,
    /// Whether it is ready, as discovery says.
    pub healthy: bool,
    /// Why and how long outlier detection leaves it out.
    pub ejected: Option<Ejection>,
    /// The requests on it when the view was taken.
    pub active: u32,
}

/// A picked endpoint, counted as busy until this is dropped.
///
/// It is kept with the try and then moved into the body of the response, so that the count falls when the body ends
/// or is given up, exactly once.
#[derive(Debug)]
#[must_use = "the endpoint counts as busy only as long as this lives"]
pub struct Picked {
    endpoint: Arc<Endpoint>,
}

impl Picked {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        endpoint.state.active.fetch_add(1, Ordering::Relaxed);
        Self { endpoint }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.endpoint.state.active.fetch_sub(1, Ordering::Relaxed);
    }
}
