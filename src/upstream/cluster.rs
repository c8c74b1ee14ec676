//! A cluster: a key, its settings and the endpoints of the moment.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;
use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use super::balancer::{Balancing, Policy};
use super::choice::Choice;
use super::connection::ConnectionSettings;
use super::endpoint::{Address, Endpoint, EndpointConfig, EndpointState, EndpointView, Picked};
use super::endpoint_set::EndpointSet;
use super::originals::Originals;
use super::round_robin::Positions;
use crate::dice::Draws;

/// Which cluster: a host, a subset of it and a port.
///
/// Displayed as Istio names it, `outbound|9080|v1|reviews.default.svc.cluster.local`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterKey {
    /// The full name of the host.
    pub host: Arc<str>,
    /// The subset of a DestinationRule, empty for the whole host.
    pub subset: Arc<str>,
    /// The port of the service.
    pub port: u16,
}

impl ClusterKey {
    /// The key of `subset` (empty: the whole host) of `host` at `port`.
    pub fn new(host: impl Into<Arc<str>>, subset: impl Into<Arc<str>>, port: u16) -> Self {
        Self { host: host.into(), subset: subset.into(), port }
    }
}

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "outbound|{}|{}|{}", self.port, self.subset, self.host)
    }
}

/// What a DestinationRule and the mesh say about a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ClusterSettings {
    /// How its endpoints share the requests (`loadBalancer`): LEAST_REQUEST, all alike.
    pub balancing: Balancing,
    /// How its connections are opened, secured and kept.
    pub connection: Arc<ConnectionSettings>,
}

/// A cluster: one destination with its settings and its endpoints of the moment.
///
/// Made by [`Registry::cluster`](super::Registry::cluster). Its endpoints change behind the one `Arc`; a change of
/// its settings makes another cluster, which goes on with the same endpoint states.
pub struct Cluster {
    /// Which cluster it is.
    pub key: ClusterKey,
    settings: ClusterSettings,
    set: ArcSwap<EndpointSet>,
    /// Endpoints that are not published: where clients connected to.
    originals: Originals,
    lasting: Arc<Lasting>,
}

impl Cluster {
    pub(super) fn new(
        key: ClusterKey,
        settings: ClusterSettings,
        lasting: Arc<Lasting>,
        endpoints: Vec<EndpointConfig>,
    ) -> Self {
        let endpoints = first_of_each_address(endpoints);
        let set = lasting.lock().build(&settings, endpoints);
        Self { key, settings, set: ArcSwap::from_pointee(set), originals: Originals::default(), lasting }
    }

    /// Its settings.
    pub fn settings(&self) -> &ClusterSettings {
        &self.settings
    }

    /// Chooses an endpoint for one try and counts it busy until the [`Picked`] is dropped.
    ///
    /// `None` if no endpoint comes into question (flag `UH`): none is healthy, or the cluster passes through and the
    /// choice says not where to.
    pub fn pick(&self, draws: &mut Draws, choice: &Choice<'_>) -> Option<Picked> {
        if self.settings.balancing.policy == Policy::PassThrough {
            return choice.original.map(|address| self.originals.pick(address, &self.settings));
        }
        self.set.load().pick(draws, choice)
    }

    /// The endpoints of the moment.
    pub fn endpoints(&self) -> arc_swap::Guard<Arc<EndpointSet>> {
        self.set.load()
    }

    /// Every endpoint with its counts, for people.
    pub fn view(&self) -> Vec<EndpointView> {
        self.set.load().endpoints().iter().map(|endpoint| endpoint.view()).collect()
    }

    /// Replaces the endpoints, in one step for those who pick.
    ///
    /// Endpoints found again by their address keep their identity and counts. If nothing changed, nothing is replaced
    /// and the balancer goes on where it was. It takes effect at once, also for snapshots that are already out.
    pub fn publish(&self, endpoints: Vec<EndpointConfig>) {
        let endpoints = first_of_each_address(endpoints);
        // Held until the set is stored: of two publications the later one stays.
        let mut memory = self.lasting.lock();
        if !self.set.load().is_as(&endpoints) {
            let set = memory.build(&self.settings, endpoints);
            self.set.store(Arc::new(set));
        }
    }

    pub(super) fn lasting(&self) -> &Arc<Lasting> {
        &self.lasting
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("key", &format_args!("{}", self.key))
            .field("settings", &self.settings)
            .field("endpoints", &self.set.load().endpoints().len())
            .finish_non_exhaustive()
    }
}

/// What outlives the settings and the endpoints of a cluster, as long as any cluster of its key is in use.
#[derive(Debug)]
pub(super) struct Lasting {
    memory: Mutex<Memory>,
}

impl Lasting {
    pub(super) fn new(draws: Draws) -> Self {
        Self { memory: Mutex::new(Memory { states: HashMap::new(), positions: Positions::new(), draws }) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The endpoint states by address, where rotations stand, and the chance of publications. Locked by publications only.
#[derive(Debug)]
struct Memory {
    // Weak: a state lives as long as it is published or a request is on it.
    states: HashMap<Address, Weak<EndpointState>>,
    positions: Positions,
    draws: Draws,
}

impl Memory {
    /// The set of `endpoints`, whose addresses differ.
    fn build(&mut self, settings: &ClusterSettings, endpoints: Vec<EndpointConfig>) -> EndpointSet {
        let mut published = Vec::with_capacity(endpoints.len());
        for config in endpoints {
            let state = self.state(&config.address);
            published.push(Arc::new(Endpoint::new(config, settings, state)));
        }
        self.states.retain(|_, state| state.strong_count() > 0);
        self.positions.sweep();
        EndpointSet::new(&settings.balancing, published.into(), &mut self.positions, &mut self.draws)
    }

    fn state(&mut self, address: &Address) -> Arc<EndpointState> {
        if let Some(state) = self.states.get(address).and_then(Weak::upgrade) {
            return state;
        }
        let state = Arc::new(EndpointState::new(address));
        self.states.insert(address.clone(), Arc::downgrade(&state));
        state
    }
}

/// One address is one host to Envoy: the first endpoint that names it stands.
fn first_of_each_address(mut endpoints: Vec<EndpointConfig>) -> Vec<EndpointConfig> {
    let mut seen = HashSet::with_capacity(endpoints.len());
    let firsts: Vec<bool> = endpoints.iter().map(|endpoint| seen.insert(&endpoint.address)).collect();
    let mut first = firsts.into_iter();
    endpoints.retain(|_| first.next().unwrap_or(false));
    endpoints
}
