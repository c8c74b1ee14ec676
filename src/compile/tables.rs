//! Route tables: which rules hold for which host and port, for the mesh and for each listener.

use std::collections::HashMap;
use std::sync::Arc;

use super::clusters::Clusters;
use super::names;
use super::policies::Retries;
use super::ports::KnownPort;
use super::routes::{self, Scope};
use super::services::{KnownService, Services};
use super::virtual_services::MeantVirtualService;
use crate::error::ResourceName;
use crate::options::{MeshOptions, OutboundTrafficPolicy, Workload};
use crate::route::{
    Action, Forward, HeaderOps, Ports, Route, RouteIndex, RouteMatch, RouteTable, RuleOrigin, RuleSet, RuleSetIndex,
    Unknown, VirtualHost, VirtualHostIndex, WeightedCluster, WeightedClusters,
};

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

/// The rules for ports on which clients open TLS. They are not in the table of the mesh: nothing of HTTP is seen there,
/// unless the application lets its requests be looked at before it secures them.
pub(crate) fn mesh_https(
    meant: &[&MeantVirtualService<'_>],
    services: &Services,
    clusters: &mut Clusters<'_>,
    options: &MeshOptions,
    workload: &Workload,
) -> RouteTable {
    let builder = TableBuilder::new(Unknown::PassThrough);
    let mut table = MeshTable { builder, sets: HashMap::new(), clusters, workload };
    let owners = Owners::new(meant);
    for service in services.visible() {
        let Some((_, owner)) = owners.of(&service.host) else { continue };
        let ports = service.ports.iter().filter(|port| port.protocol.is_tls());
        let ruled = |port: &KnownPort| Some((port.number, table.set((owner, meant[owner]), Some(port.number))?));
        let named: Box<[_]> = ports.filter_map(ruled).collect();
        if !named.is_empty() {
            let domains = service.domains(&workload.namespace, &options.domain);
            table.builder.virtual_host(&service.host, domains.iter().map(String::as_str), Ports { named, other: None });
        }
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
                    self.builder.rule_set(vec![(RouteMatch::builder().build(), implicit(service, forward, options))])
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
        let routes = routes::routes(owner.1, scope, self.clusters);
        let set = if routes.is_empty() { None } else { Some(self.builder.rule_set(routes)) };
        self.sets.insert((owner.0, port), set);
        set
    }
}

/// The route of a service that no rule speaks of. Only what is tried again is said of it, by the mesh.
fn implicit(service: &KnownService, mut forward: Forward, options: &MeshOptions) -> Arc<Route> {
    let kind = service.registry.kind();
    let resource =
        ResourceName { kind: kind.into(), namespace: service.namespace.as_str().into(), name: service.name().into() };
    // Istio asks for other endpoints here even where a hash decides.
    forward.retry = Retries::of_mesh(options).policy(false);
    Arc::new(Route {
        name: Arc::from("default"),
        action: Action::Forward(forward),
        origin: RuleOrigin { resource, path: String::new(), place: None },
        request_headers: HeaderOps::default(),
        response_headers: HeaderOps::default(),
    })
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
    pub(crate) fn rule_set(&mut self, routes: Vec<(RouteMatch, Arc<Route>)>) -> RuleSetIndex {
        let mut rules = Vec::with_capacity(routes.len());
        for (matcher, route) in routes {
            rules.push((matcher, RouteIndex(index(self.table.routes.len()))));
            self.table.routes.push(route);
        }
        self.table.rule_sets.push(RuleSet::new(rules));
        RuleSetIndex(index(self.table.rule_sets.len() - 1))
    }

    /// Adds a virtual host. A domain that is taken already stays where it is.
    pub(crate) fn virtual_host<'d>(&mut self, name: &str, domains: impl IntoIterator<Item = &'d str>, ports: Ports) {
        let host = VirtualHostIndex(index(self.table.virtual_hosts.len()));
        self.table.virtual_hosts.push(VirtualHost { name: name.into(), ports, https_only: false });
        for domain in domains {
            self.table.hosts.insert(domain, host);
        }
    }

    /// Sends requests in plaintext for `domain` to https. One that is not known yet has no rules then.
    pub(crate) fn https_only(&mut self, domain: &str) {
        let known = self.table.virtual_hosts.iter().position(|host| &*host.name == domain);
        let at = known.unwrap_or_else(|| {
            self.virtual_host(domain, [domain], Ports::default());
            self.table.virtual_hosts.len() - 1
        });
        self.table.virtual_hosts[at].https_only = true;
    }

    pub(crate) fn build(self) -> RouteTable {
        self.table
    }
}

/// A position that no table outgrows: inputs are bounded far below it.
fn index(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
