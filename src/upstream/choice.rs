//! What one pick has to know of the request it is for: [`Choice`].

use super::endpoint::EndpointId;
use super::originals::Original;

/// What one pick has to know of the request it is for. The default asks for any endpoint.
///
/// ```
/// use mesh_router::dice::Dice;
/// use mesh_router::upstream::{Choice, ClusterKey, ClusterSettings, EndpointConfig, Policy, Registry};
///
/// let dice = Dice::seeded(7);
/// let mut settings = ClusterSettings::default();
/// settings.balancing.policy = Policy::RING_HASH;
/// let endpoints = [1, 2, 3].map(|host| EndpointConfig::new(([10, 0, 0, host], 80)));
/// let cluster = Registry::new(&dice).cluster(ClusterKey::new("carts", "", 80), settings, endpoints.into());
///
/// let choice = Choice { hash: Some(42), ..Choice::default() };
/// let first = cluster.pick(&mut dice.draws(), &choice).map(|picked| picked.endpoint().id);
/// let second = cluster.pick(&mut dice.draws(), &choice).map(|picked| picked.endpoint().id);
/// assert_eq!(first, second);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice<'a> {
    /// The hash of the request's key (`consistentHash`). Without one RING_HASH and MAGLEV pick at random; the other
    /// balancers ignore it.
    pub hash: Option<u64>,
    /// The endpoints of the tries before this one, in their order.
    pub tried: &'a [EndpointId],
    /// Whether a pick that falls on one of `tried` is made again, up to 5 times; the last one stands whatever it is
    /// (`retryIgnorePreviousHosts`: Envoy's previous-hosts predicate with Istio's `hostSelectionRetryMaxAttempts`).
    pub avoid_tried: bool,
    /// Whether, after every second try, the priorities of all endpoints tried so far are left alone
    /// (`retryRemoteLocalities`). RING_HASH and MAGLEV ignore it.
    pub remote_localities: bool,
    /// Where the request leads by itself, for clusters that pass through (`resolution: NONE` and `DYNAMIC_DNS`,
    /// `simple: PASSTHROUGH`).
    pub original: Option<&'a Original>,
}
