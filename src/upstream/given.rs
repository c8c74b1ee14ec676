//! Which of the endpoints that a program gives for a host belong to a cluster of it.

use std::collections::BTreeMap;

use super::endpoint::EndpointConfig;

/// What a cluster takes of the endpoints that are given for its host and port.
#[derive(Clone, Debug, Default)]
pub(crate) struct Takes {
    /// The labels of its subset.
    pub(crate) labels: BTreeMap<String, String>,
    /// Whether it leaves out those that are not ready.
    pub(crate) ready_only: bool,
}

impl Takes {
    pub(crate) fn of(&self, given: &[EndpointConfig]) -> Vec<EndpointConfig> {
        given.iter().filter(|endpoint| self.takes(endpoint)).cloned().collect()
    }

    fn takes(&self, endpoint: &EndpointConfig) -> bool {
        (endpoint.healthy || !self.ready_only)
            && self.labels.iter().all(|(name, value)| endpoint.labels.get(name) == Some(value))
    }
}
