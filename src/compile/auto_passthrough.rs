//! Servers of mode `AUTO_PASSTHROUGH`: TLS between workloads of the mesh, passed on to where its server name says.

use std::sync::Arc;

use super::clusters::{Asker, Clusters};
use super::l4;
use super::names;
use super::services::KnownService;
use super::virtual_services::Target;
use crate::route::{HashPolicies, RuleOrigin, StreamRoute, StreamTable, WeightedClusters};

/// The server name by which sidecars ask for a cluster.
pub(crate) fn server_name(host: &str, subset: &str, port: u16) -> String {
    format!("outbound_.{port}_.{subset}_.{host}")
}

/// Where the connections of a server go that `admits` some services: every port of theirs, and each subset of it, is
/// there by the name of its cluster, but for what is outside of the mesh. And the names.
pub(crate) fn streams(
    admits: impl Fn(&KnownService) -> bool,
    origin: &RuleOrigin,
    clusters: &mut Clusters<'_>,
) -> (StreamTable, Vec<Box<str>>) {
    let mut table = StreamTable::default();
    let mut all: Vec<Box<str>> = Vec::new();
    for service in clusters.services().visible() {
        let host = service.host.as_str();
        if service.mesh_external || names::is_wildcard(host) || !admits(service) {
            continue;
        }
        let subsets = clusters.subsets_of(host);
        for port in &service.ports {
            for &subset in [""].iter().chain(&subsets) {
                let (host, subset) = (host.to_owned(), subset.to_owned());
                let name = server_name(&host, &subset, port.number);
                let (resource, path) = (origin.resource.clone(), String::new());
                let target = Target { host, subset, port: Some(port.number.into()), resource, path };
                table.named.insert(&name, route(&target, origin, clusters));
                all.push(name.into());
            }
        }
    }
    (table, all)
}

fn route(target: &Target, origin: &RuleOrigin, clusters: &mut Clusters<'_>) -> Arc<StreamRoute> {
    let sole = clusters.entry(target, Asker::Other);
    Arc::new(StreamRoute {
        clusters: WeightedClusters::single(sole),
        hash: HashPolicies::default(),
        idle_timeout: Some(l4::IDLE),
        max_duration: None,
        tunnel: None,
        sealed: true,
        origin: origin.clone(),
    })
}
