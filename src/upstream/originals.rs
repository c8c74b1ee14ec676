//! Endpoints that nobody published: the addresses that clients connected to.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::HashMap;

use super::cluster::ClusterSettings;
use super::endpoint::{Endpoint, EndpointConfig, EndpointState, Picked};
use super::limits::Limits;

/// How many are remembered before those that are idle are forgotten.
const REMEMBERED: usize = 1024;

/// The endpoints of a cluster that passes through, by address: the same address is the same endpoint as long as it is
/// remembered, and keeps its connections.
#[derive(Debug, Default)]
pub(super) struct Originals {
    by_address: ArcSwap<HashMap<SocketAddr, Arc<Endpoint>>>,
}

impl Originals {
    /// The endpoint at `address`, counted busy. Known ones are found without a lock and without allocating.
    pub(super) fn pick(&self, address: SocketAddr, settings: &ClusterSettings, limits: &Arc<Limits>) -> Picked {
        if let Some(endpoint) = self.by_address.load().get(&address) {
            return Picked::new(Arc::clone(endpoint));
        }
        let config = EndpointConfig::new(address);
        let state = Arc::new(EndpointState::new(&config.address));
        let made = Arc::new(Endpoint::published(config, settings, limits, state));
        let mut found = Arc::clone(&made);
        self.by_address.rcu(|known| {
            let mut known = HashMap::clone(known);
            if known.len() >= REMEMBERED {
                known.retain(|_, endpoint| endpoint.active() > 0);
            }
            // Another pick may have been first.
            found = Arc::clone(known.entry(address).or_insert_with(|| Arc::clone(&made)));
            known
        });
        Picked::new(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: usize) -> SocketAddr {
        ([10, 0, (number >> 8) as u8, number as u8], 80).into()
    }

    #[test]
    fn an_address_is_one_endpoint_as_long_as_it_is_remembered() {
        let originals = Originals::default();
        let settings = ClusterSettings::default();
        let limits = Arc::new(Limits::new(settings.limits, Arc::default()));
        let held = originals.pick(address(1), &settings, &limits);
        let idle = originals.pick(address(2), &settings, &limits).endpoint().id;
        assert_eq!(originals.pick(address(2), &settings, &limits).endpoint().id, idle);
        assert_eq!(held.endpoint().active(), 1);
        for number in 3..=REMEMBERED + 1 {
            drop(originals.pick(address(number), &settings, &limits));
        }
        assert_eq!(originals.by_address.load().len(), 2);
        assert_eq!(originals.pick(address(1), &settings, &limits).endpoint().id, held.endpoint().id);
        assert_ne!(originals.pick(address(2), &settings, &limits).endpoint().id, idle);
    }
}
