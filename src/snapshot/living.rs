//! What of a snapshot changes: the endpoints of its clusters.

use std::sync::Arc;

use super::{ClusterEntry, Snapshot};
use crate::upstream::{Cluster, EndpointConfig, NamedEndpoints};

/// Clusters in use, with the endpoints that they are to have.
pub(crate) type NewEndpoints = Vec<(Arc<Cluster>, Vec<EndpointConfig>)>;

impl Snapshot {
    /// The endpoints to be published with it: first, before its rules, those of clusters that have some, so that none is
    /// empty to which its rules lead; then, when no rule before it leads there any more, those of the others.
    pub(crate) fn take_endpoints(&mut self) -> [NewEndpoints; 2] {
        let new = self.clusters.iter_mut().filter_map(|ClusterEntry { cluster, endpoints, named, .. }| {
            let endpoints = endpoints.take()?;
            // There may be answers that are later.
            Some((Arc::clone(cluster), named.as_ref().map_or(endpoints, NamedEndpoints::expand)))
        });
        new.partition(|(_, endpoints)| !endpoints.is_empty()).into()
    }

    /// Has connections to its endpoints kept instead of those of the snapshot before: it is published.
    pub(crate) fn stand(&self) {
        self.clusters().for_each(|cluster| cluster.stand());
    }

    /// Makes the endpoints of clusters what the latest answers say: of those that need `name`, or of all. Clusters that
    /// the next snapshot has taken over already are left to it.
    pub(crate) fn publish_answers(&self, name: Option<&str>) {
        let publish = |ClusterEntry { cluster, named, generation, .. }: &ClusterEntry| {
            if let Some(named) = named {
                cluster.publish_within(*generation, named.expand());
            }
        };
        match name {
            Some(name) => {
                self.in_need_of(name).iter().filter_map(|(_, index)| self.entry(*index)).for_each(publish);
            }
            None => self.clusters.iter().for_each(publish),
        }
    }

    /// Makes the endpoints of clusters what the program gives for their host and port.
    pub(crate) fn publish_given(&self, host: &str, port: u16, endpoints: &[EndpointConfig]) {
        for ClusterEntry { cluster, given, generation, .. } in &self.clusters {
            if let Some(takes) = given.as_ref().filter(|_| *cluster.key.host == *host && cluster.key.port == port) {
                cluster.publish_within(*generation, takes.of(endpoints));
            }
        }
    }
}
