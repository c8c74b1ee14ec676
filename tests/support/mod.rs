//! A small mesh for the tests of the service.
#![allow(dead_code, reason = "each test uses its part")]

use std::sync::Arc;

use mesh_router::Mesh;
use mesh_router::dice::Dice;
use mesh_router::error::ResourceName;
use mesh_router::route::*;
use mesh_router::snapshot::*;
use mesh_router::telemetry::ClusterMetrics;
use mesh_router::upstream::*;

/// Hosts `reviews` (one endpoint), `empty` (none), `missing` (no cluster) and `closed` (no rule); each rule sets the
/// response header `x-rule` to the name of its host.
pub(crate) fn mesh() -> Mesh {
    Mesh::of(snapshot(Unknown::PassThrough, "10.0.0.1:9080", 1), Dice::seeded(1))
}

/// The same, where unknown hosts are refused.
pub(crate) fn registry_only() -> Mesh {
    Mesh::of(snapshot(Unknown::Refuse, "10.0.0.1:9080", 1), Dice::seeded(1))
}

/// Publishes the same with another endpoint of `reviews`.
pub(crate) fn move_reviews(mesh: &Mesh, address: &str) {
    mesh.publish(snapshot(Unknown::PassThrough, address, 2));
}

/// The endpoints of the cluster of `reviews`, with their counts.
pub(crate) fn reviews(mesh: &Mesh) -> Vec<EndpointView> {
    mesh.snapshot().clusters[0].cluster.view()
}

fn snapshot(unknown: Unknown, address: &str, version: u64) -> Snapshot {
    let registry = Registry::new(&Dice::seeded(1));
    let address: std::net::SocketAddr = address.parse().unwrap();
    let entry = |host: &str, endpoints| {
        let key = ClusterKey::new(host, "", 80);
        ClusterEntry {
            metrics: ClusterMetrics::new(&key),
            cluster: registry.cluster(key, ClusterSettings::default(), endpoints),
        }
    };
    let ops = |set: &[(&'static str, &str)]| HeaderOps {
        set: set.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect(),
        authority: None,
    };
    let route = |name: &str, destination| {
        Arc::new(Route {
            name: name.into(),
            action: Action::Forward(WeightedClusters(WeightedCluster {
                destination,
                request_headers: HeaderOps::default(),
                response_headers: HeaderOps::default(),
            })),
            origin: RuleOrigin {
                resource: ResourceName {
                    kind: "VirtualService".into(),
                    namespace: "default".into(),
                    name: name.into(),
                },
                path: "spec.http[0]".into(),
                place: None,
            },
            request_headers: ops(&[("x-seen", "yes")]),
            response_headers: ops(&[("x-rule", name)]),
        })
    };
    Snapshot {
        version,
        path_normalization: Default::default(),
        mesh: RouteTable {
            hosts: vec![
                ("reviews".into(), Some(RouteIndex(0))),
                ("empty".into(), Some(RouteIndex(1))),
                ("missing".into(), Some(RouteIndex(2))),
                ("closed".into(), None),
            ],
            routes: vec![
                route("reviews", ClusterChoice::Fixed(ClusterIndex(0))),
                route("empty", ClusterChoice::Fixed(ClusterIndex(1))),
                route("missing", ClusterChoice::Missing),
            ],
            unknown,
        },
        listeners: vec![],
        clusters: vec![entry("reviews", vec![EndpointConfig::new(address)]), entry("empty", vec![])],
    }
}
