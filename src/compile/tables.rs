//! Route tables: which rules hold for which host and port, for the mesh and for each listener.

use std::collections::HashMap;
use std::sync::Arc;

use super::clusters::Clusters;
use super::names;
use super::services::{KnownService, Services, selects};
use super::virtual_services::{Match, MeantVirtualService, Rule, RuleAction, RuleDestination};
use crate::error::ResourceName;
use crate::options::{MeshOptions, OutboundTrafficPolicy, Workload};
use crate::route::{
    Action, ClusterChoice, Forward, HeaderOps, Ports, Route, RouteIndex, RouteMatch, RouteTable, RuleOrigin, RuleSet,
    RuleSetIndex, Unknown, VirtualHost, VirtualHostIndex, WeightedCluster, WeightedClusters,
};

/// Who asks: the static conditions of a match are decided for it, once.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// `mesh`, or the gateway as `namespace/name`.
    pub(crate) gateway: &'a str,
    pub(crate) workload: &'a Workload,
    /// The port the client addresses; `None`: any that no rule names.
    pub(crate) port: Option<u16>,
}

impl Scope<'_> {
    /// Whether a match can hold here at all. Gateways, where named, replace the conditions on the source.
    fn admits(self, entry: &Match) -> bool {
        if entry.port != 0 && self.port.map(u32::from) != Some(entry.port) {
            return false;
        }
        if !entry.gateways.is_empty() {
            return entry.gateways.iter().any(|gateway| gateway == self.gateway);
        }
        selects(&entry.source_labels, &self.workload.labels)
            && (entry.source_namespace.is_empty() || entry.source_namespace == self.workload.namespace)
    }
}

/// The routes of one VirtualService for one scope, in order. Nothing after a catch-all is taken.
pub(crate) fn routes(
    meant: &MeantVirtualService<'_>,
    scope: Scope<'_>,
    clusters: &mut Clusters<'_>,
) -> Vec<(RouteMatch, Route)> {
    let near = (scope.gateway != names::MESH).then_some(&*meant.name.namespace);
    let mut routes = Vec::new();
    for (number, rule) in meant.rules.iter().enumerate() {
        let place = Position { meant, rule, number };
        let Some(matches) = &rule.matches else {
            routes.push((RouteMatch::builder().build(), place.route(None, near, clusters)));
            return routes;
        };
        for (number, entry) in matches.iter().enumerate().filter(|(_, entry)| scope.admits(entry)) {
            routes.push((entry.matcher.clone(), place.route(Some((number, entry)), near, clusters)));
            if entry.matcher.is_catch_all() {
                return routes;
            }
        }
    }
    routes
}

/// A rule and where it stands.
struct Position<'a> {
    meant: &'a MeantVirtualService<'a>,
    rule: &'a Rule,
    number: usize,
}

impl Position<'_> {
    fn route(&self, entry: Option<(usize, &Match)>, near: Option<&str>, clusters: &mut Clusters<'_>) -> Route {
        let rule = self.rule;
        let (path, place) = match entry {
            Some((number, entry)) => (format!("spec.http[{}].match[{number}]", self.number), &entry.place),
            None => (format!("spec.http[{}]", self.number), &rule.place),
        };
        let name = match entry {
            Some((_, entry)) if !entry.name.is_empty() => format!("{}.{}", rule.name, entry.name).into(),
            _ => Arc::from(rule.name.as_str()),
        };
        let action = match &rule.action {
            RuleAction::NotHonored(what) => Action::NotHonored { what: (*what).into() },
            RuleAction::Forward(destinations) => {
                let mut forward = Forward::new(split(destinations, near, clusters));
                forward.hash = clusters.hash_policies(destinations, near);
                Action::Forward(forward)
            }
        };
        let (request_headers, response_headers) = rule.headers();
        Route {
            name,
            action,
            origin: RuleOrigin { resource: self.meant.name.clone(), path, place: place.clone() },
            request_headers,
            response_headers,
        }
    }
}

/// The split of a rule. Of several destinations each has header operations of its own; those of a single one are part
/// of the rule's.
fn split(destinations: &[RuleDestination], near: Option<&str>, clusters: &mut Clusters<'_>) -> WeightedClusters {
    let weighted = destinations.iter().map(|destination| {
        let mut cluster = WeightedCluster::new(clusters.choose(destination, near));
        if destinations.len() > 1 {
            cluster.request_headers = destination.request_headers.clone();
            cluster.response_headers = destination.response_headers.clone();
        }
        (u32::try_from(destination.weight).unwrap_or(0), cluster)
    });
    let nowhere = || WeightedClusters::single(WeightedCluster::new(ClusterChoice::Missing));
    WeightedClusters::new(weighted.collect()).unwrap_or_else(nowhere)
}

impl Rule {
    /// The operations that run whatever destination is drawn.
    fn headers(&self) -> (HeaderOps, HeaderOps) {
        let (request, response) = (self.request_headers.clone(), self.response_headers.clone());
        match &self.action {
            RuleAction::Forward(destinations) if destinations.len() == 1 => (
                request.then(destinations[0].request_headers.clone()),
                response.then(destinations[0].response_headers.clone()),
            ),
            _ => (request, response),
        }
    }
}

/// The table of the clients of the mesh.
///
/// A service belongs to the most specific VirtualService host that covers it; of several VirtualServices with one
/// host the first has it. A service that no rule is left for on a port has one implicit route there.
pub(crate) fn mesh(
    meant: &[&MeantVirtualService<'_>],
    services: &Services,
    clusters: &mut Clusters<'_>,
    options: &MeshOptions,
    workload: &Workload,
) -> RouteTable {
    let unknown = match options.outbound_traffic_policy {
        OutboundTrafficPolicy::AllowAny => Unknown::PassThrough,
        OutboundTrafficPolicy::RegistryOnly => Unknown::Refuse,
    };
    let mut table = MeshTable { builder: TableBuilder::new(unknown), sets: HashMap::new(), clusters, workload };
    let owners = Owners::new(meant);
    let visible = services.visible();
    let mut owned: HashMap<usize, Vec<&KnownService>> = HashMap::new();
    let mut covered: HashMap<&str, bool> = HashMap::new();
    let mut free = Vec::new();
    for service in visible {
        match owners.of(&service.host) {
            Some((host, owner)) => {
                covered.insert(host, true);
                owned.entry(owner).or_default().push(service);
            }
            None => free.push(service),
        }
    }
    for (number, meant) in meant.iter().enumerate() {
        for service in owned.remove(&number).into_iter().flatten() {
            table.service(Some((number, meant)), service, options);
        }
        for host in &meant.hosts {
            let is_owner = owners.hosts.get(host.as_str()) == Some(&number);
            if is_owner && !covered.contains_key(host.as_str()) {
                table.foreign_host(host, (number, meant));
            }
        }
    }
    for service in free {
        table.service(None, service, options);
    }
    table.builder.build()
}

/// Which VirtualService owns which host of the mesh.
struct Owners<'a> {
    hosts: HashMap<&'a str, usize>,
    wildcards: Vec<&'a str>,
}

impl<'a> Owners<'a> {
    fn new(meant: &[&'a MeantVirtualService<'_>]) -> Self {
        let mut hosts = HashMap::new();
        for (number, meant) in meant.iter().enumerate() {
            for host in &meant.hosts {
                hosts.entry(host.as_str()).or_insert(number);
            }
        }
        let mut wildcards: Vec<&str> = hosts.keys().copied().filter(|host| names::is_wildcard(host)).collect();
        wildcards.sort_by(|one, other| names::by_specificity(one, other));
        Self { hosts, wildcards }
    }

    /// The host that claims `service`, and its owner.
    fn of(&self, service: &str) -> Option<(&'a str, usize)> {
        if let Some((&host, &owner)) = self.hosts.get_key_value(service) {
            return Some((host, owner));
        }
        let host = self.wildcards.iter().copied().find(|wide| names::covers(wide, service))?;
        self.hosts.get(host).map(|&owner| (host, owner))
    }
}

struct MeshTable<'t, 'c> {
    builder: TableBuilder,
    /// The rules of a VirtualService for a port; `None`: none is left for it.
    sets: HashMap<(usize, Option<u16>), Option<RuleSetIndex>>,
    clusters: &'t mut Clusters<'c>,
    workload: &'t Workload,
}

impl MeshTable<'_, '_> {
    fn service(
        &mut self,
        owner: Option<(usize, &MeantVirtualService<'_>)>,
        service: &KnownService,
        options: &MeshOptions,
    ) {
        let mut ports = Vec::new();
        for port in &service.ports {
            let ruled = owner.filter(|_| port.protocol.is_http()).and_then(|owner| self.set(owner, Some(port.number)));
            let set = match ruled {
                Some(set) => set,
                None => {
                    let mut forward = Forward::new(WeightedClusters::single(WeightedCluster::new(
                        self.clusters.whole(service, port),
                    )));
                    forward.hash = self.clusters.hash_policies_of_service(service, port.number);
                    self.builder.rule_set(vec![(RouteMatch::builder().build(), implicit(service, forward))])
                }
            };
            ports.push((port.number, set));
        }
        let domains = service.domains(&self.workload.namespace, &options.domain);
        let ports = Ports { named: ports.into(), other: None };
        self.builder.virtual_host(&service.host, domains.iter().map(String::as_str), ports);
    }

    /// A host that is no service: its rules hold on every port.
    fn foreign_host(&mut self, host: &str, owner: (usize, &MeantVirtualService<'_>)) {
        let other = self.set(owner, None);
        let mut named = Vec::new();
        for &number in &owner.1.named_ports {
            if let Some(set) = self.set(owner, Some(number)) {
                named.push((number, set));
            }
        }
        self.builder.virtual_host(host, [host], Ports { named: named.into(), other });
    }

    fn set(&mut self, owner: (usize, &MeantVirtualService<'_>), port: Option<u16>) -> Option<RuleSetIndex> {
        // A port that no rule names has the rules of every other such port.
        let port = port.filter(|port| owner.1.named_ports.contains(port));
        if let Some(set) = self.sets.get(&(owner.0, port)) {
            return *set;
        }
        let scope = Scope { gateway: names::MESH, workload: self.workload, port };
        let routes = routes(owner.1, scope, self.clusters);
        let set = if routes.is_empty() { None } else { Some(self.builder.rule_set(routes)) };
        self.sets.insert((owner.0, port), set);
        set
    }
}

/// The route of a service that no rule speaks of.
fn implicit(service: &KnownService, forward: Forward) -> Route {
    let kind = service.registry.kind();
    let resource =
        ResourceName { kind: kind.into(), namespace: service.namespace.as_str().into(), name: service.name().into() };
    Route {
        name: Arc::from("default"),
        action: Action::Forward(forward),
        origin: RuleOrigin { resource, path: String::new(), place: None },
        request_headers: HeaderOps::default(),
        response_headers: HeaderOps::default(),
    }
}

/// A [`RouteTable`] in the making.
pub(crate) struct TableBuilder {
    table: RouteTable,
}

impl TableBuilder {
    pub(crate) fn new(unknown: Unknown) -> Self {
        Self { table: RouteTable { unknown, ..RouteTable::default() } }
    }

    /// Adds ordered rules.
    pub(crate) fn rule_set(&mut self, routes: Vec<(RouteMatch, Route)>) -> RuleSetIndex {
        let mut rules = Vec::with_capacity(routes.len());
        for (matcher, route) in routes {
            rules.push((matcher, RouteIndex(index(self.table.routes.len()))));
            self.table.routes.push(Arc::new(route));
        }
        self.table.rule_sets.push(RuleSet::new(rules));
        RuleSetIndex(index(self.table.rule_sets.len() - 1))
    }

    /// Adds a virtual host. A domain that is taken already stays where it is.
    pub(crate) fn virtual_host<'d>(&mut self, name: &str, domains: impl IntoIterator<Item = &'d str>, ports: Ports) {
        let host = VirtualHostIndex(index(self.table.virtual_hosts.len()));
        self.table.virtual_hosts.push(VirtualHost { name: name.into(), ports });
        for domain in domains {
            self.table.hosts.insert(domain, host);
        }
    }

    pub(crate) fn build(self) -> RouteTable {
        self.table
    }
}

/// A position that no table outgrows: inputs are bounded far below it.
fn index(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
