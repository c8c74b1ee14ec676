//! `tcp` and `tls` rules of VirtualServices: where connections go whose bytes are not looked at.
//!
//! At gateways they act on connections. In a client's process there are requests: `tls` rules choose where the TLS of
//! those goes that are `https`, `tcp` rules have nothing to act on.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::clusters::{Asker, Clusters};
use super::names;
use super::path::Path;
use super::review::Review;
use super::services::{KnownService, Services, selects};
use super::virtual_services::{MeantVirtualService, RuleDestination, Understanding};
use crate::config::{L4MatchAttributes, RouteDestination, TcpRoute, TlsMatchAttributes, TlsRoute};
use crate::options::Workload;
use crate::route::{
    ClusterChoice, Forward, Route, RuleOrigin, ServerNameTable, StreamRoute, StreamTable, WeightedCluster,
    WeightedClusters,
};

/// Istio's `tcp.idleTimeout`.
pub(crate) const IDLE: Duration = Duration::from_secs(60 * 60);

/// One entry of `tcp` or `tls`.
pub(crate) struct StreamRule {
    /// Any of them is enough. Empty: every connection.
    matches: Vec<StreamMatch>,
    pub(crate) destinations: Vec<RuleDestination>,
    origin: RuleOrigin,
}

/// One entry of its `match`.
#[derive(Default)]
struct StreamMatch {
    /// 0: every port.
    port: u32,
    /// `mesh` or `namespace/name`. Empty: every gateway of the VirtualService.
    gateways: Vec<String>,
    /// In lower case.
    server_names: Vec<String>,
    /// Which workloads of the mesh it holds for. Empty: all.
    source_labels: BTreeMap<String, String>,
    /// The namespace whose workloads it holds for. Empty: every one.
    source_namespace: String,
}

impl StreamMatch {
    fn admits(&self, gateway: &str, port: u16) -> bool {
        (self.port == 0 || self.port == u32::from(port))
            && (self.gateways.is_empty() || self.gateways.iter().any(|named| named == gateway))
    }

    /// Whether it holds for a client in the mesh.
    fn admits_client(&self, workload: &Workload, port: u16) -> bool {
        self.admits(names::MESH, port)
            && selects(&self.source_labels, &workload.labels)
            && (self.source_namespace.is_empty() || self.source_namespace == workload.namespace)
    }
}

/// Understands the entries of `tcp`.
pub(crate) fn understand_tcp(rules: &[TcpRoute], understanding: &mut Understanding<'_, '_>) -> Vec<StreamRule> {
    let rules = rules.iter().map(|TcpRoute { matches, route }| (matches.as_slice(), route.as_slice()));
    understand("tcp", rules, understanding, |words, path, understanding| {
        let L4MatchAttributes { destination_subnets, port, source_subnet, source_labels, gateways, source_namespace } =
            words;
        review_client(path, source_labels, source_namespace, understanding.review);
        review_subnets(path, destination_subnets, understanding.review);
        if !source_subnet.is_empty() {
            understanding.review.value_not_honored(&path.field("sourceSubnet"), "Istio does not look at it");
        }
        StreamMatch { port: *port, gateways: complete(gateways, understanding.namespace), ..StreamMatch::default() }
    })
}

/// Understands the entries of `tls` of a VirtualService for `gateways`.
pub(crate) fn understand_tls(
    rules: &[TlsRoute],
    gateways: &[String],
    understanding: &mut Understanding<'_, '_>,
) -> Vec<StreamRule> {
    let of_rules = gateways;
    let rules = rules.iter().map(|TlsRoute { matches, route }| (matches.as_slice(), route.as_slice()));
    understand("tls", rules, understanding, |words, path, understanding| {
        let TlsMatchAttributes { sni_hosts, destination_subnets, port, source_labels, gateways, source_namespace } =
            words;
        let gateways = complete(gateways, understanding.namespace);
        let holds_at = if gateways.is_empty() { of_rules } else { &gateways };
        if holds_at.iter().any(|gateway| gateway != names::MESH) {
            review_client(path, source_labels, source_namespace, understanding.review);
        }
        review_subnets(path, destination_subnets, understanding.review);
        StreamMatch {
            port: *port,
            gateways,
            server_names: sni_hosts.iter().map(|name| name.to_ascii_lowercase()).collect(),
            source_labels: source_labels.clone(),
            source_namespace: source_namespace.clone(),
        }
    })
}

/// Understands the entries of the list `name`, each entry of their `match` by `matching`.
fn understand<'w, M: 'w>(
    name: &'static str,
    rules: impl Iterator<Item = (&'w [M], &'w [RouteDestination])>,
    understanding: &mut Understanding<'_, '_>,
    matching: impl Fn(&M, &Path<'_>, &mut Understanding<'_, '_>) -> StreamMatch,
) -> Vec<StreamRule> {
    let root = Path::root("spec");
    let rule = |(number, (matches, route)): (usize, (&[M], &[RouteDestination]))| {
        let path = root.item(name, number);
        let entry = |(number, words): (usize, &M)| matching(words, &path.item("match", number), understanding);
        StreamRule {
            matches: matches.iter().enumerate().map(entry).collect(),
            destinations: understand_route(route, &path, understanding),
            origin: understanding.review.origin(&path),
        }
    };
    rules.enumerate().map(rule).collect()
}

fn understand_route(
    route: &[RouteDestination],
    path: &Path<'_>,
    understanding: &mut Understanding<'_, '_>,
) -> Vec<RuleDestination> {
    let list = path.field("route");
    let none = crate::config::Destination::default();
    let destination = |(number, RouteDestination { destination, weight }): (usize, &RouteDestination)| {
        let path = list.index(number);
        let target = understanding.target(destination.as_ref().unwrap_or(&none), &path.field("destination"));
        RuleDestination { target, weight: *weight, headers: Default::default() }
    };
    route.iter().enumerate().map(destination).collect()
}

fn complete(gateways: &[String], namespace: &str) -> Vec<String> {
    gateways.iter().map(|gateway| names::gateway(gateway, namespace)).collect()
}

/// A gateway serves clients that it knows nothing of.
fn review_client(path: &Path<'_>, labels: &BTreeMap<String, String>, namespace: &str, review: &mut Review<'_>) {
    let why = "a gateway does not look at it, in Istio neither";
    if !labels.is_empty() {
        review.value_not_honored(&path.field("sourceLabels"), why);
    }
    if !namespace.is_empty() {
        review.value_not_honored(&path.field("sourceNamespace"), why);
    }
}

fn review_subnets(path: &Path<'_>, subnets: &[String], review: &mut Review<'_>) {
    if !subnets.is_empty() {
        let why = "nothing here looks at it: at a gateway, in Istio neither, every connection has its own address";
        review.value_not_honored(&path.field("destinationSubnets"), why);
    }
}

/// Says aloud where rules do nothing, or not with every client: in the mesh.
pub(crate) fn review_mesh(gateways: &[String], tcp: bool, tls: bool, review: &mut Review<'_>) {
    if gateways.iter().all(|gateway| gateway != names::MESH) {
        return;
    }
    let root = Path::root("spec");
    if tcp {
        review.value_not_honored(&root.field("tcp"), "it acts at gateways only: a client here sends requests");
    }
    if tls {
        let what = "https requests of this process follow it over mesh-router's Transport only: another client's TLS \
                    goes to the host of its URI";
        review.warning(&root.field("tls"), what);
    }
}

/// A server of a gateway, as its rules see it.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    /// `namespace/name`.
    pub(crate) gateway: &'a str,
    pub(crate) port: u16,
}

/// Where the connections of a server go whose TLS is ended, or that have none: the first VirtualService with a rule
/// for it has all of them.
pub(crate) fn tcp(meant: &[&MeantVirtualService<'_>], at: At<'_>, clusters: &mut Clusters<'_>) -> StreamTable {
    let mut rules = meant.iter().flat_map(|meant| &meant.tcp);
    let admitted = |rule: &&StreamRule| {
        rule.matches.is_empty() || rule.matches.iter().any(|entry| entry.admits(at.gateway, at.port))
    };
    let other = rules.find(admitted).map(|rule| route(rule, at.port, clusters));
    StreamTable { other, ..StreamTable::default() }
}

/// Where the connections of a server go that leaves TLS as it is: by server name; and the names. Of a match with a name
/// that an earlier one has `taken` on the address none counts.
pub(crate) fn tls(
    meant: &[&MeantVirtualService<'_>],
    at: At<'_>,
    taken: &mut HashSet<String>,
    clusters: &mut Clusters<'_>,
) -> (StreamTable, Vec<Box<str>>) {
    let mut table = StreamTable::default();
    let mut all: Vec<Box<str>> = Vec::new();
    for meant in meant {
        for rule in &meant.tls {
            let mut names: Vec<&str> = Vec::new();
            for entry in rule.matches.iter().filter(|entry| entry.admits(at.gateway, at.port)) {
                if !entry.server_names.iter().any(|name| taken.contains(name)) {
                    taken.extend(entry.server_names.iter().cloned());
                    names.extend(entry.server_names.iter().map(String::as_str));
                }
            }
            if names.is_empty() {
                continue;
            }
            let route = route(rule, at.port, clusters);
            for name in names {
                table.named.insert(name, route.clone());
                all.push(name.into());
            }
        }
    }
    all.sort_unstable();
    all.dedup();
    (table, all)
}

/// Where the TLS of clients of the mesh goes: on the ports of services that speak it, by the rules of the
/// VirtualServices with a host that covers the service's or is covered by it. Of two rules for one name the first has it.
pub(crate) fn mesh(
    meant: &[&MeantVirtualService<'_>],
    services: &Services,
    clusters: &mut Clusters<'_>,
    workload: &Workload,
) -> ServerNameTable {
    let mut table = ServerNameTable::default();
    let ruled: Vec<_> = meant.iter().filter(|meant| !meant.tls.is_empty()).collect();
    if ruled.is_empty() {
        return table;
    }
    let (visible, mut taken) = (services.visible(), HashSet::new());
    for meant in ruled {
        // Unlike those of http, such rules hold for a part of a service's host too: by the server names that they name.
        let meets = |host: &str, service: &KnownService| names::intersection(host, &service.host).is_some();
        let is_meant = |service: &&KnownService| meant.hosts.iter().any(|host| meets(host, service));
        let ports = visible.iter().copied().filter(is_meant).flat_map(|service| &service.ports);
        let mut ports: Vec<u16> = ports.filter(|port| port.protocol.is_tls()).map(|port| port.number).collect();
        ports.sort_unstable();
        ports.dedup();
        for rule in meant.tls.iter().filter(|_| !ports.is_empty()) {
            let route = mesh_route(rule, clusters);
            for &port in &ports {
                let entries = rule.matches.iter().filter(|entry| entry.admits_client(workload, port));
                let names: Vec<_> =
                    entries.flat_map(|entry| &entry.server_names).filter(|name| taken.insert((port, *name))).collect();
                if !names.is_empty() {
                    clusters.note_unserved(&rule.destinations, port, true);
                }
                for name in names {
                    table.insert(port, name, route.clone());
                }
            }
        }
    }
    table
}

/// A rule as a route that does nothing but forward: no timeout, one try.
fn mesh_route(rule: &StreamRule, clusters: &mut Clusters<'_>) -> Arc<Route> {
    let mut forward = Forward::new(split(rule, clusters));
    forward.tunnel = clusters.tunnel(&rule.destinations);
    Arc::new(Route::forwarding("tls", forward, rule.origin.clone()))
}

fn split(rule: &StreamRule, clusters: &mut Clusters<'_>) -> WeightedClusters {
    let weighted = rule.destinations.iter().map(|destination| {
        (u32::try_from(destination.weight).unwrap_or(0), clusters.entry(&destination.target, Asker::Other))
    });
    let nowhere = || WeightedClusters::single(WeightedCluster::new(ClusterChoice::Missing));
    WeightedClusters::new(weighted.collect()).unwrap_or_else(nowhere)
}

fn route(rule: &StreamRule, port: u16, clusters: &mut Clusters<'_>) -> Arc<StreamRoute> {
    clusters.note_unserved(&rule.destinations, port, false);
    let split = split(rule, clusters);
    let tcp = rule.destinations.first().and_then(|first| clusters.tcp_settings(&first.target));
    let idle = tcp.and_then(|tcp| tcp.idle_timeout.as_ref()).and_then(|idle| idle.to_std());
    let age = tcp.and_then(|tcp| tcp.max_connection_duration.as_ref()).and_then(|age| age.to_std());
    Arc::new(StreamRoute {
        clusters: split,
        hash: clusters.hash_policies_of_connections(&rule.destinations),
        idle_timeout: Some(idle.unwrap_or(IDLE)).filter(|idle| !idle.is_zero()),
        max_duration: age.filter(|age| !age.is_zero()),
        tunnel: clusters.tunnel(&rule.destinations),
        sealed: false,
        origin: rule.origin.clone(),
    })
}
