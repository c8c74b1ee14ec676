//! Route tables: which rules hold for which host and port, for the mesh and for each listener.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::clusters::Clusters;
use super::names;
use super::owners::{Claim, Owners};
use super::policies::Retries;
use super::ports::KnownPort;
use super::routes::{self, Scope};
use super::services::{KnownService, Services};
use super::virtual_services::MeantVirtualService;
use super::winners::Winners;
use crate::error::ResourceName;
use crate::options::{MeshOptions, OutboundTrafficPolicy, Workload};
use crate::route::{
    Forward, Ports, Route, RouteIndex, RouteMatch, RouteTable, RuleOrigin, RuleSet, RuleSetIndex, Unknown, VirtualHost,
    VirtualHostIndex, WeightedCluster, WeightedClusters,
};

/// The port on which a VirtualService holds for a host that no service has there.
pub(crate) const PLAIN: u16 = 80;

/// The table of the clients of the mesh.
///
/// A service belongs to the most specific VirtualService host that covers it; of several VirtualServices with one
/// host the first has it on each port that it has rules for. A service that no rule is left for on a port has one
/// implicit route there.
pub(crate) fn mesh(
    meant: &[&MeantVirtualService<'_>],
    services: &Services,
    clusters: &mut Clusters<'_>,
    options: &MeshOptions,
    workload: &Workload,
    winners: &mut Winners,
) -> RouteTable {
    let unknown = match options.outbound_traffic_policy {
        OutboundTrafficPolicy::AllowAny => Unknown::PassThrough,
        OutboundTrafficPolicy::RegistryOnly => Unknown::Refuse,
    };
    let visible = services.visible();
    let owners = Owners::new(meant);
    let mut table = MeshTable::new(TableBuilder::new(unknown), meant, &visible, clusters, workload, winners);
    table.find_reached(&owners);
    let mut owned: HashMap<usize, Vec<(&KnownService, Claim<'_>)>> = HashMap::new();
    let mut free = Vec::new();
    for service in &visible {
        match owners.of(&service.host) {
            Some(claim) => owned.entry(claim.first()).or_default().push((service, claim)),
            None => free.push(service),
        }
    }
    for (number, meant) in meant.iter().enumerate() {
        for (service, claim) in owned.remove(&number).into_iter().flatten() {
            table.service(Some(claim), service, options);
        }
        for host in &meant.hosts {
            if let Some(claim) = owners.of(host)
                && claim.first() == number
                && !table.services.contains_key(claim.host)
            {
                table.foreign_host(claim, services.target_of(claim.host).is_some());
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
    winners: &mut Winners,
) -> RouteTable {
    let visible = services.visible();
    let builder = TableBuilder::new(Unknown::PassThrough);
    let mut table = MeshTable::new(builder, meant, &visible, clusters, workload, winners);
    let owners = Owners::new(meant);
    for service in &visible {
        let Some(claim) = owners.of(&service.host).map(Claim::of_service) else { continue };
        let ports = service.ports.iter().filter(|port| port.protocol.is_tls());
        let ruled = |port: &KnownPort| Some((port.number, table.first_set(claim, Some(port.number))?));
        let named: Box<[_]> = ports.filter_map(ruled).collect();
        if !named.is_empty() {
            table.domains(service, Ports { named, other: None }, options, |_| true);
        }
    }
    table.builder.build()
}

pub(super) struct MeshTable<'t, 'c> {
    pub(super) builder: TableBuilder,
    meant: &'t [&'t MeantVirtualService<'t>],
    /// By host.
    services: HashMap<&'t str, &'t KnownService>,
    /// The ports of HTTP on which each VirtualService has a service.
    reached: Vec<BTreeSet<u16>>,
    /// The rules of a VirtualService for a port; `None`: none is left for it.
    sets: HashMap<(usize, Option<u16>), Option<RuleSetIndex>>,
    pub(super) clusters: &'t mut Clusters<'c>,
    pub(super) workload: &'t Workload,
    winners: &'t mut Winners,
}

impl<'t, 'c> MeshTable<'t, 'c> {
    pub(super) fn new(
        builder: TableBuilder,
        meant: &'t [&'t MeantVirtualService<'t>],
        services: &[&'t KnownService],
        clusters: &'t mut Clusters<'c>,
        workload: &'t Workload,
        winners: &'t mut Winners,
    ) -> Self {
        let services = services.iter().map(|service| (service.host.as_str(), *service)).collect();
        let reached = vec![BTreeSet::new(); meant.len()];
        Self { builder, meant, services, reached, sets: HashMap::new(), clusters, workload, winners }
    }

    /// Finds the ports on which VirtualServices have services.
    pub(super) fn find_reached(&mut self, owners: &Owners<'_>) {
        for service in self.services.values() {
            for &owner in owners.of(&service.host).map_or(&[][..], |claim| claim.of_service().owners) {
                self.reached[owner].extend(service.http_ports());
            }
        }
    }

    /// Whether no service that a wildcard covers, or that covers it, has the port.
    fn is_free(&self, wildcard: &str, port: u16) -> bool {
        let mut there = self.services.values().filter(|service| service.port(port).is_some());
        there.all(|service| names::intersection(wildcard, &service.host).is_none())
    }

    fn service(&mut self, claim: Option<Claim<'_>>, service: &KnownService, options: &MeshOptions) {
        let mut ports = Vec::new();
        for port in &service.ports {
            let http = claim.filter(|_| port.protocol.is_http());
            let ruled = http.and_then(|claim| self.first_set(claim.of_service(), Some(port.number)));
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
        if let Some(claim) = claim.filter(|claim| claim.host == service.host) {
            // On a port that the service has not, the host is one as of no service: by no other name.
            let named = self.beside(claim);
            if !named.is_empty() {
                self.builder.virtual_host(&service.host, [&*service.host], Ports { named, other: None });
            }
        }
        self.domains(service, Ports { named: ports.into(), other: None }, options, |_| true);
    }

    /// Gives those of a service's names that are `wanted` to its rules. One that is another service's host is that
    /// one's on the ports that it has.
    pub(super) fn domains(
        &mut self,
        service: &KnownService,
        ports: Ports,
        options: &MeshOptions,
        wanted: impl Fn(&str) -> bool,
    ) {
        let (others, all): (Vec<_>, Vec<_>) = service
            .domains(&self.workload.namespace, &options.domain)
            .into_iter()
            .filter(|domain| wanted(&domain.name))
            .partition(|domain| domain.is_derived && self.services.contains_key(domain.name.as_str()));
        let all = all.iter().map(|domain| domain.name.as_str());
        self.builder.virtual_host(&service.host, all, ports.clone());
        for domain in others {
            let Some(namesake) = self.services.get(domain.name.as_str()) else { continue };
            let left = service.ports.iter().map(|port| port.number).filter(|port| namesake.port(*port).is_none());
            let named = left.filter_map(|port| Some((port, ports.get(port)?))).collect();
            self.builder.virtual_host(&service.host, [&*domain.name], Ports { named, other: None });
        }
    }

    /// A host that is no service: its rules hold on every port. One that is another name of a service, and a wildcard
    /// that covers services or that a service covers, has rules of its own where none of those is.
    fn foreign_host(&mut self, claim: Claim<'_>, is_alias: bool) {
        let ports = if is_alias || self.stands_beside(claim.host) {
            Ports { named: self.beside(claim), other: None }
        } else {
            self.everywhere(claim)
        };
        self.builder.virtual_host(claim.host, [claim.host], ports);
    }

    /// The rules of a host on every port.
    pub(super) fn everywhere(&mut self, claim: Claim<'_>) -> Ports {
        let meant = self.meant;
        let owners = claim.owners.iter().filter_map(|&owner| meant.get(owner));
        let numbers: BTreeSet<u16> = owners.flat_map(|meant| meant.named_ports.iter().copied()).collect();
        let other = self.first_set(claim, None);
        let named = numbers.into_iter().filter_map(|number| Some((number, self.first_set(claim, Some(number))?)));
        Ports { named: named.collect(), other }
    }

    /// The rules of a host where it is no service: on port 80, and where its VirtualService has another service.
    fn beside(&mut self, claim: Claim<'_>) -> Box<[(u16, RuleSetIndex)]> {
        let numbers = self.numbers_beside(claim).into_iter();
        numbers.filter_map(|port| Some((port, self.first_beside(claim, port)?.1))).collect()
    }

    /// The ports on which a host may have such rules.
    pub(super) fn numbers_beside(&self, claim: Claim<'_>) -> BTreeSet<u16> {
        claim.owners.iter().flat_map(|&owner| self.reached[owner].iter().copied()).chain([PLAIN]).collect()
    }

    /// The owner that has such rules on a port, and those.
    fn first_beside(&mut self, claim: Claim<'_>, port: u16) -> Option<(usize, RuleSetIndex)> {
        let is_there = self.services.get(claim.host).is_some_and(|service| service.port(port).is_some());
        if is_there || names::is_wildcard(claim.host) && !self.is_free(claim.host, port) {
            return None;
        }
        self.first_of(claim, Some(port), |table, owner| port == PLAIN || table.reached[owner].contains(&port))
    }

    /// Whether a host is a service, or a wildcard that covers services or that a service covers.
    fn stands_beside(&self, host: &str) -> bool {
        let meets = |service: &&KnownService| names::intersection(host, &service.host).is_some();
        self.services.contains_key(host) || names::is_wildcard(host) && self.services.values().any(meets)
    }

    /// The rules of the first owner that has some for a port.
    pub(super) fn first_set(&mut self, claim: Claim<'_>, port: Option<u16>) -> Option<RuleSetIndex> {
        self.first_of(claim, port, |_, _| true).map(|(_, set)| set)
    }

    /// The VirtualService whose rules a host has on a port: as for those who call, and where they have none, the one that
    /// has its services.
    pub(super) fn owner(&mut self, claim: Claim<'_>, port: Option<u16>) -> Option<&'t MeantVirtualService<'t>> {
        let stands_beside = self.stands_beside(claim.host);
        let beside = port.filter(|_| stands_beside).and_then(|port| self.first_beside(claim, port));
        let claim = if stands_beside { claim.of_service() } else { claim };
        let (owner, _) = beside.or_else(|| self.first_of(claim, port, |_, _| true))?;
        self.meant.get(owner).copied()
    }

    /// The first owner that `can` have rules for a port and has some, and those.
    fn first_of(
        &mut self,
        claim: Claim<'_>,
        port: Option<u16>,
        can: impl Fn(&Self, usize) -> bool,
    ) -> Option<(usize, RuleSetIndex)> {
        let mut owners = claim.owners.iter().copied();
        let (owner, set) = owners.find_map(|owner| match can(self, owner) {
            true => Some((owner, self.set(owner, port)?)),
            false => None,
        })?;
        // Of a wildcard that claims a service only the first owner is asked there, whoever else has it.
        if claim.owners.len() > 1 || names::is_wildcard(claim.host) {
            self.winners.note(claim.host, owner);
        }
        Some((owner, set))
    }

    fn set(&mut self, owner: usize, port: Option<u16>) -> Option<RuleSetIndex> {
        let meant = self.meant.get(owner)?;
        // A port that no rule names has the rules of every other such port.
        let port = port.filter(|port| meant.named_ports.contains(port));
        if let Some(set) = self.sets.get(&(owner, port)) {
            return *set;
        }
        let scope = Scope { gateways: &[names::MESH], workload: self.workload, port };
        let routes = routes::routes(meant, scope, self.clusters);
        let set = if routes.is_empty() { None } else { Some(self.builder.rule_set(routes)) };
        self.sets.insert((owner, port), set);
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
    let origin = RuleOrigin { resource, path: String::new(), place: service.place.clone() };
    Arc::new(Route::forwarding("default", forward, origin))
}

/// A [`RouteTable`] in the making.
pub(crate) struct TableBuilder {
    table: RouteTable,
    domains: HashMap<String, VirtualHostIndex>,
}

impl TableBuilder {
    pub(crate) fn new(unknown: Unknown) -> Self {
        Self { table: RouteTable { unknown, ..RouteTable::default() }, domains: HashMap::new() }
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

    /// Adds a virtual host. A domain that is taken already stays what it is on the ports that it has rules for.
    pub(crate) fn virtual_host<'d>(&mut self, name: &str, domains: impl IntoIterator<Item = &'d str>, ports: Ports) {
        let host = self.add(VirtualHost { name: name.into(), ports, https_only: false });
        for domain in domains {
            let domain = domain.to_ascii_lowercase();
            let taken = self.domains.get(&domain).copied();
            let host = taken.map_or(host, |taken| self.both(taken, host));
            self.domains.insert(domain, host);
        }
    }

    fn add(&mut self, host: VirtualHost) -> VirtualHostIndex {
        self.table.virtual_hosts.push(host);
        VirtualHostIndex(index(self.table.virtual_hosts.len() - 1))
    }

    /// A virtual host, with the rules of another for the ports that it has none for.
    fn both(&mut self, taken: VirtualHostIndex, other: VirtualHostIndex) -> VirtualHostIndex {
        let host = |index: VirtualHostIndex| &self.table.virtual_hosts[index.0 as usize];
        let (first, second) = (host(taken), host(other));
        let is_new = |(port, _): &&(u16, RuleSetIndex)| first.ports.get(*port).is_none();
        let more: Vec<_> = second.ports.named.iter().filter(is_new).copied().collect();
        let all_others = second.ports.other.filter(|_| first.ports.other.is_none());
        if more.is_empty() && all_others.is_none() {
            return taken;
        }
        let named = first.ports.named.iter().copied().chain(more).collect();
        let ports = Ports { named, other: first.ports.other.or(all_others) };
        let joined = VirtualHost { name: first.name.clone(), ports, https_only: first.https_only };
        self.add(joined)
    }

    /// Sends requests in plaintext for `domain` to https. One that is not known yet has no rules then.
    pub(crate) fn https_only(&mut self, domain: &str) {
        let domain = domain.to_ascii_lowercase();
        let at = self.domains.get(&domain).copied().unwrap_or_else(|| {
            let host =
                self.add(VirtualHost { name: domain.as_str().into(), ports: Ports::default(), https_only: false });
            self.domains.insert(domain, host);
            host
        });
        self.table.virtual_hosts[at.0 as usize].https_only = true;
    }

    pub(crate) fn build(self) -> RouteTable {
        let Self { mut table, domains } = self;
        for (domain, host) in domains {
            table.hosts.insert(&domain, host);
        }
        table
    }
}

/// A position that no table outgrows: inputs are bounded far below it.
fn index(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
