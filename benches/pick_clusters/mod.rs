//! The clusters that picks are measured on.

use std::sync::Arc;

use mesh_router::dice::Dice;
use mesh_router::upstream::{Cluster, ClusterKey, ClusterSettings, EndpointConfig, Policy, Registry};

/// How the endpoints are weighted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Weights {
    /// All 1.
    Equal,
    /// 1 to 5, for which ROUND_ROBIN lays its schedule out.
    Small,
    /// 1 to 1,000,000, for which it walks.
    Wild,
}

impl Weights {
    fn of(self, index: u32) -> u32 {
        match self {
            Weights::Equal => 1,
            Weights::Small => 1 + index % 5,
            Weights::Wild => 1 + index.wrapping_mul(2_654_435_761) % 1_000_000,
        }
    }
}

/// `count` endpoints.
pub(crate) fn endpoints(count: u32, weights: Weights) -> Vec<EndpointConfig> {
    let endpoint = |index: u32| {
        let [.., a, b] = index.to_be_bytes();
        EndpointConfig::new(([10, 0, a, b], 80)).with_weight(weights.of(index))
    };
    (0..count).map(endpoint).collect()
}

/// A cluster of `count` endpoints under `policy`.
pub(crate) fn cluster(policy: Policy, count: u32, weights: Weights) -> Arc<Cluster> {
    let mut settings = ClusterSettings::default();
    settings.balancing.policy = policy;
    let registry = Registry::new(&Dice::seeded(1));
    registry.cluster(ClusterKey::new("reviews", "", 9080), settings, endpoints(count, weights))
}
