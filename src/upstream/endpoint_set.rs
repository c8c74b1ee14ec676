//! The endpoints of a cluster at one moment, with the balancer built for them.

use std::sync::Arc;

use super::balancer::{Balancer, Policy};
use super::cluster::Position;
use super::endpoint::{Endpoint, EndpointConfig, EndpointId, Picked};
use crate::dice::Draws;

/// How often a pick is made again if it fell on an endpoint already tried
/// (Envoy's `host_selection_retry_max_attempts` as Istio sets it).
const PICKS_AGAIN: usize = 5;

/// The endpoints of a cluster at one moment, built once per change and published in one step.
#[derive(Debug)]
pub struct EndpointSet {
    endpoints: Box<[Arc<Endpoint>]>,
    eligible: Box<[Arc<Endpoint>]>,
    balancer: Balancer,
}

impl EndpointSet {
    pub(super) fn new(
        policy: Policy,
        endpoints: Box<[Arc<Endpoint>]>,
        position: &Arc<Position>,
        draws: &mut Draws,
    ) -> Self {
        let eligible: Box<[_]> = endpoints.iter().filter(|endpoint| endpoint.is_healthy()).cloned().collect();
        let balancer = Balancer::new(policy, &eligible, position, draws);
        Self { endpoints, eligible, balancer }
    }

    /// Every endpoint, in the order it was published, those that are not healthy included.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// The endpoints that may be picked, in the same order.
    pub fn eligible(&self) -> &[Arc<Endpoint>] {
        &self.eligible
    }

    /// See [`Cluster::pick`](super::Cluster::pick), for this moment's endpoints.
    pub fn pick(&self, draws: &mut Draws, tried: &[EndpointId]) -> Option<Picked> {
        if self.eligible.is_empty() {
            return None;
        }
        let mut endpoint = self.choose(draws)?;
        for _ in 0..PICKS_AGAIN {
            if !tried.contains(&endpoint.id) {
                break;
            }
            endpoint = self.choose(draws)?;
        }
        Some(Picked::new(Arc::clone(endpoint)))
    }

    fn choose(&self, draws: &mut Draws) -> Option<&Arc<Endpoint>> {
        self.eligible.get(self.balancer.choose(draws))
    }

    /// Whether publishing `endpoints` would change nothing.
    pub(super) fn is_as(&self, endpoints: &[EndpointConfig]) -> bool {
        self.endpoints.len() == endpoints.len()
            && self.endpoints.iter().zip(endpoints).all(|(endpoint, config)| endpoint.is_as(config))
    }
}
