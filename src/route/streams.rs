//! Where connections go whose bytes are not looked at: [`StreamTable`].

use std::sync::Arc;
use std::time::Duration;

use super::{HashPolicies, HostIndex, RuleOrigin, WeightedClusters};
use crate::request::Tunnel;

/// Where the connections of a listener go: by the server name that the client asks for in its TLS handshake, else to
/// the one destination that all have.
///
/// ```
/// use mesh_router::route::StreamTable;
///
/// let table = StreamTable::default();
/// assert!(table.find(Some("db.test")).is_none(), "nobody asked for it: the connection is closed");
/// ```
#[derive(Clone, Debug, Default)]
pub struct StreamTable {
    /// By server name: a name, `*.suffix` or `*`.
    pub named: HostIndex<Arc<StreamRoute>>,
    /// For every other connection.
    pub other: Option<Arc<StreamRoute>>,
}

impl StreamTable {
    /// Whether no connection leads anywhere.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.other.is_none()
    }

    /// The route of a connection whose client asks for `server_name`. The most specific name counts, not the order.
    pub fn find(&self, server_name: Option<&str>) -> Option<&Arc<StreamRoute>> {
        server_name.and_then(|name| self.named.get(name)).or(self.other.as_ref())
    }
}

/// What one `tcp` or `tls` rule says.
#[derive(Clone, Debug)]
pub struct StreamRoute {
    /// Where its connections go.
    pub clusters: WeightedClusters,
    /// What of a connection is hashed: the client's address, if anything (`consistentHash.useSourceIp`).
    pub hash: HashPolicies,
    /// How long a connection may be silent in both directions (`tcp.idleTimeout` of the first destination): 1 h. `None`:
    /// for ever.
    pub idle_timeout: Option<Duration>,
    /// How long a connection may last (`tcp.maxConnectionDuration` of the first destination). `None`: for ever.
    pub max_duration: Option<Duration>,
    /// What the endpoint, a forward proxy, is asked for first (`tunnel` of the DestinationRule). `None`: it is where the
    /// connections end.
    pub tunnel: Option<Arc<Tunnel>>,
    /// Whether they are TLS of workloads of the mesh from end to end (`AUTO_PASSTHROUGH`), around which the DestinationRule
    /// opens no other.
    pub sealed: bool,
    /// Where it was written.
    pub origin: RuleOrigin,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ResourceName;
    use crate::route::{ClusterChoice, WeightedCluster};

    fn route(path: &str) -> Arc<StreamRoute> {
        let resource = ResourceName { kind: "VirtualService".into(), namespace: "default".into(), name: "vs".into() };
        Arc::new(StreamRoute {
            clusters: WeightedClusters::single(WeightedCluster::new(ClusterChoice::Missing)),
            hash: HashPolicies::default(),
            idle_timeout: None,
            max_duration: None,
            tunnel: None,
            sealed: false,
            origin: RuleOrigin { resource, path: path.to_owned(), place: None },
        })
    }

    #[test]
    fn the_most_specific_name_counts() {
        let mut table = StreamTable::default();
        table.named.insert("*.test", route("wide"));
        table.named.insert("a.test", route("exact"));
        let found = |table: &StreamTable, name| table.find(name).map(|route| route.origin.path.clone());
        assert_eq!(found(&table, Some("A.test")).as_deref(), Some("exact"));
        assert_eq!(found(&table, Some("b.test")).as_deref(), Some("wide"));
        assert_eq!(found(&table, Some("elsewhere")), None);
        assert_eq!(found(&table, None), None);
        table.other = Some(route("other"));
        assert_eq!(found(&table, Some("elsewhere")).as_deref(), Some("other"));
        assert_eq!(found(&table, None).as_deref(), Some("other"));
    }
}
