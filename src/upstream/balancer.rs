//! Which balancer a cluster has, and its state built for one list of endpoints.

use std::sync::Arc;

use super::endpoint::{Endpoint, Written};
use super::least_request::LeastRequest;
use super::locality::Placement;
use super::maglev::Maglev;
use super::random::Random;
use super::ring_hash::RingHash;
use super::round_robin::{Positions, RoundRobin, Turns};
use super::warmup::{Warming, Warmup};
use crate::dice::Draws;

/// How an endpoint is chosen (`loadBalancer.simple` and `consistentHash` of a DestinationRule).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Policy {
    /// The less busy of two drawn endpoints; with unequal weights, by weight over busyness (`LEAST_REQUEST`,
    /// `LEAST_CONN`, and what applies if nothing is said).
    #[default]
    LeastRequest,
    /// One after the other, as often as their weights say (`ROUND_ROBIN`).
    RoundRobin,
    /// Any, whatever its weight (`RANDOM`).
    Random,
    /// The next one on a ring of hashes (`consistentHash`, `ringHash`).
    RingHash {
        /// The least number of points on the ring (`minimumRingSize`): 1024. At most 8388608 are made.
        minimum_size: u64,
    },
    /// The one in a table of hashes (`consistentHash.maglev`).
    Maglev {
        /// The number of slots (`tableSize`): 65537. It is a prime number below 5000011; for another the next is taken.
        table_size: u64,
    },
    /// The address that the client connected to, whatever endpoints there are (`PASSTHROUGH`).
    PassThrough,
}

impl Policy {
    /// A ring of Envoy's default size.
    pub const RING_HASH: Self = Self::RingHash { minimum_size: 1024 };
    /// A table of Envoy's default size.
    pub const MAGLEV: Self = Self::Maglev { table_size: 65537 };

    /// Whether the key of a request decides.
    pub(crate) fn is_by_hash(self) -> bool {
        matches!(self, Self::RingHash { .. } | Self::Maglev { .. })
    }
}

/// How the endpoints of a cluster share its requests (`trafficPolicy.loadBalancer` of a DestinationRule).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Balancing {
    /// How an endpoint is chosen among those that come into question: LEAST_REQUEST.
    pub policy: Policy,
    /// How new endpoints warm up: not at all. ROUND_ROBIN and LEAST_REQUEST honor it.
    pub warmup: Option<Warmup>,
    /// Which endpoints come first, by where they are: all alike.
    pub placement: Placement,
    /// If a smaller part of a priority's endpoints is healthy, in percent, and the other priorities do not make up for
    /// it, all of its endpoints are picked from (`outlierDetection.minHealthPercent`): 0, which is never.
    pub panic_threshold: u32,
}

impl From<Policy> for Balancing {
    fn from(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }
}

/// An endpoint and the part of all requests that it should get; all parts together are 1 at most.
#[derive(Debug)]
pub(super) struct Share {
    /// What is hashed for it.
    pub(super) name: String,
    pub(super) share: f64,
    /// Its index in the list.
    pub(super) index: u32,
}

/// A balancer with what it has prebuilt for the endpoints of one list.
#[derive(Debug)]
#[non_exhaustive]
enum Balancer {
    LeastRequest(LeastRequest),
    RoundRobin(RoundRobin),
    Random(Random),
    RingHash(RingHash),
    Maglev(Maglev),
}

/// Endpoints that are chosen among, with their balancer.
#[derive(Debug)]
pub(super) struct List {
    hosts: Box<[Arc<Endpoint>]>,
    balancer: Balancer,
    warming: Option<Box<Warming>>,
}

/// What is needed to build lists.
pub(super) struct Build<'b> {
    pub(super) settings: &'b Balancing,
    pub(super) positions: &'b mut Positions,
    pub(super) draws: &'b mut Draws,
}

impl Build<'_> {
    /// A list of these places, of which each has its part for the hash of a key. Endpoints share by their own weights.
    /// `turns` says where ROUND_ROBIN goes on.
    pub(super) fn list(&mut self, places: &[(f64, &Vec<Arc<Endpoint>>)], turns: Turns) -> List {
        let hosts: Box<[_]> = places.iter().flat_map(|(_, hosts)| hosts.iter().cloned()).collect();
        let shares = || shares_of(places);
        let balancer = match self.settings.policy {
            // A cluster that passes through has no list that is picked from.
            Policy::LeastRequest | Policy::PassThrough => Balancer::LeastRequest(LeastRequest::new(&hosts, self.draws)),
            Policy::RoundRobin => {
                let position = self.positions.get(turns, self.draws);
                Balancer::RoundRobin(RoundRobin::new(&weights_of(&hosts), position))
            }
            Policy::Random => Balancer::Random(Random::new(hosts.len())),
            Policy::RingHash { minimum_size } => Balancer::RingHash(RingHash::new(&shares(), minimum_size)),
            Policy::Maglev { table_size } => Balancer::Maglev(Maglev::new(&shares(), table_size)),
        };
        let warming = self.warming(&hosts);
        List { hosts, balancer, warming }
    }

    fn warming(&mut self, hosts: &[Arc<Endpoint>]) -> Option<Box<Warming>> {
        let by_activity = match self.settings.policy {
            Policy::LeastRequest => true,
            Policy::RoundRobin => false,
            _ => return None,
        };
        Warming::new(self.settings.warmup?, hosts, by_activity, self.draws).map(Box::new)
    }
}

impl List {
    /// The chosen endpoint, for pick number `attempt` of one choice. `None` if there is none to choose from.
    pub(super) fn choose(&self, draws: &mut Draws, hash: u64, attempt: usize) -> Option<&Arc<Endpoint>> {
        if let Some(warming) = &self.warming
            && let Some(index) = warming.choose(draws)
        {
            return self.hosts.get(index);
        }
        if self.hosts.is_empty() {
            return None;
        }
        let index = match &self.balancer {
            Balancer::LeastRequest(least_request) => least_request.choose(draws),
            Balancer::RoundRobin(round_robin) => round_robin.choose(),
            Balancer::Random(random) => random.choose(draws),
            Balancer::RingHash(ring) => ring.choose(hash, attempt),
            Balancer::Maglev(maglev) => maglev.choose(hash, attempt),
        };
        self.hosts.get(index)
    }
}

/// The parts that endpoints have of the parts of their places.
fn shares_of(places: &[(f64, &Vec<Arc<Endpoint>>)]) -> Vec<Share> {
    let mut shares = Vec::new();
    for (part, hosts) in places {
        let sum: u64 = hosts.iter().map(|host| u64::from(host.weight)).sum();
        for host in hosts.iter() {
            let share = f64::from(host.weight) * part / sum as f64;
            shares.push(Share { name: Written(&host.address).to_string(), share, index: shares.len() as u32 });
        }
    }
    shares
}

pub(super) fn weights_of(endpoints: &[Arc<Endpoint>]) -> Vec<u32> {
    endpoints.iter().map(|endpoint| endpoint.weight).collect()
}

/// Whether no two weights differ: Envoy leaves its schedules alone then.
pub(super) fn all_equal(weights: &[u32]) -> bool {
    weights.windows(2).all(|pair| pair[0] == pair[1])
}
