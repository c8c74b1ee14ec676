//! Which balancer a cluster has, and its state built for one set of endpoints.

use std::sync::Arc;

use super::cluster::Position;
use super::endpoint::Endpoint;
use super::least_request::LeastRequest;
use super::random::Random;
use super::round_robin::RoundRobin;
use crate::dice::Draws;

/// How an endpoint is chosen (`loadBalancer.simple` of a DestinationRule).
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
}

/// A balancer with what it has prebuilt for the eligible endpoints of one set.
#[derive(Debug)]
#[non_exhaustive]
pub(super) enum Balancer {
    LeastRequest(LeastRequest),
    RoundRobin(RoundRobin),
    Random(Random),
}

impl Balancer {
    pub(super) fn new(policy: Policy, eligible: &[Arc<Endpoint>], position: &Arc<Position>, draws: &mut Draws) -> Self {
        match policy {
            Policy::LeastRequest => Self::LeastRequest(LeastRequest::new(eligible, draws)),
            Policy::RoundRobin => Self::RoundRobin(RoundRobin::new(&weights_of(eligible), Arc::clone(position))),
            Policy::Random => Self::Random(Random::new(eligible.len())),
        }
    }

    /// The index of the chosen endpoint. There is at least one to choose from.
    pub(super) fn choose(&self, draws: &mut Draws) -> usize {
        match self {
            Balancer::LeastRequest(least_request) => least_request.choose(draws),
            Balancer::RoundRobin(round_robin) => round_robin.choose(),
            Balancer::Random(random) => random.choose(draws),
        }
    }
}

pub(super) fn weights_of(endpoints: &[Arc<Endpoint>]) -> Vec<u32> {
    endpoints.iter().map(|endpoint| endpoint.weight).collect()
}

/// Whether no two weights differ: Envoy leaves its schedules alone then.
pub(super) fn all_equal(weights: &[u32]) -> bool {
    weights.windows(2).all(|pair| pair[0] == pair[1])
}
