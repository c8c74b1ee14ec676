//! The rules of gateways that applications of this process stand for.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::clusters::Clusters;
use super::names;
use super::owners::{Claim, Owners};
use super::routes::{self, Scope};
use super::services::Services;
use super::tables::{MeshTable, TableBuilder};
use super::virtual_services::MeantVirtualService;
use super::winners::Winners;
use crate::options::{MeshOptions, Workload};
use crate::request::GatewayOrigin;
use crate::route::{Ports, Route, RouteMatch, RouteTable, RuleSetIndex, Unknown};
use crate::snapshot::Inbound;

/// A table for each of `gateways`. As at a gateway, the VirtualServices of one host are joined, the older first, their
/// catch-alls last; hosts without rules are the application's. Of those of the mesh one has a host, as for those who call,
/// who have its rules for a service by all of its names.
pub(crate) fn tables(
    gateways: &[GatewayOrigin],
    meant: &[&MeantVirtualService<'_>],
    services: &Services,
    clusters: &mut Clusters<'_>,
    options: &MeshOptions,
    workload: &Workload,
) -> Vec<Inbound> {
    let tables = gateways.iter().map(|origin| {
        let bound: Vec<Bound<'_>> = meant.iter().filter_map(|meant| Bound::new(meant, origin)).collect();
        Inbound { origin: origin.clone(), table: table(&bound, services, clusters, options, workload) }
    });
    tables.collect()
}

/// A VirtualService, and the gateways by which its rules hold.
struct Bound<'a> {
    meant: &'a MeantVirtualService<'a>,
    gateways: Vec<&'a str>,
}

impl<'a> Bound<'a> {
    fn new(meant: &'a MeantVirtualService<'a>, origin: &'a GatewayOrigin) -> Option<Self> {
        let own = std::iter::once(&*origin.gateway).chain(origin.mesh_rules.then_some(names::MESH));
        let gateways: Vec<_> = own.filter(|own| meant.gateways.iter().any(|named| named == own)).collect();
        (!gateways.is_empty()).then_some(Self { meant, gateways })
    }
}

fn table(
    bound: &[Bound<'_>],
    services: &Services,
    clusters: &mut Clusters<'_>,
    options: &MeshOptions,
    workload: &Workload,
) -> RouteTable {
    let of_mesh = bound.iter().filter(|bound| bound.gateways.contains(&names::MESH));
    let of_mesh: Vec<_> = of_mesh.map(|bound| bound.meant).collect();
    let (owners, visible) = (Owners::new(&of_mesh), services.visible());
    // Which of them do not hold is told of those who call.
    let mut winners = Winners::default();
    let builder = TableBuilder::new(Unknown::PassThrough);
    let mut table = MeshTable::new(builder, &of_mesh, &visible, clusters, workload, &mut winners);
    table.find_reached(&owners);
    let mut hosts = Hosts::new(bound);
    for service in &visible {
        let claim = owners.of(&service.host).map(Claim::of_service);
        for domain in service.domains(&workload.namespace, &options.domain) {
            let name = &*domain.name;
            let is_named = name != service.host && hosts.numbers.contains_key(name);
            let by_claim = claim.is_some_and(|claim| names::is_wildcard(claim.host) && is_found(claim.host, name));
            // On its ports a service has its own rules or none, not those of a wider host, nor those that another
            // VirtualService of the same wildcard has beside it.
            if !is_named && owners.wide(name) > usize::from(by_claim) {
                let numbers = service.ports.iter().map(|port| port.number);
                let named = numbers.map(|port| (port, hosts.rules(name, claim, port, &mut table))).collect();
                table.domains(service, Ports { named, other: None }, options, |wanted| wanted == name);
            }
        }
    }
    for (host, joined) in &hosts.named {
        let claim = owners.of(host).filter(|claim| claim.host == *host);
        if let Some(ports) = rules(joined, claim, &mut table) {
            table.builder.virtual_host(host, [*host], ports);
        }
    }
    // After the hosts that rules name themselves, which keep what they have.
    for service in &visible {
        let Some(claim) = owners.of(&service.host).map(Claim::of_service) else { continue };
        let ports = table.everywhere(claim);
        // What their host covers is found by it, maybe with rules of the gateway.
        table.domains(service, ports, options, |name| !is_found(claim.host, name));
    }
    table.builder.build()
}

/// Whether a request for `name` finds `host`, unlike a service that its `*` covers where that stands for nothing.
fn is_found(host: &str, name: &str) -> bool {
    names::covers(host, name) && host.len() <= name.len()
}

/// The hosts that rules name.
struct Hosts<'b> {
    /// Each with the VirtualServices that name it, in order.
    named: Vec<(&'b str, Vec<&'b Bound<'b>>)>,
    numbers: HashMap<&'b str, usize>,
    /// The narrower first.
    wildcards: Vec<usize>,
    /// The rules for a port, of the gateway or of both, that were asked for.
    sets: HashMap<(usize, bool, u16), Option<RuleSetIndex>>,
}

impl<'b> Hosts<'b> {
    fn new(bound: &'b [Bound<'b>]) -> Self {
        let (mut named, mut numbers) = (Vec::<(&str, Vec<_>)>::new(), HashMap::new());
        for bound in bound {
            for host in &bound.meant.hosts {
                let number = *numbers.entry(host.as_str()).or_insert_with(|| {
                    named.push((host, Vec::new()));
                    named.len() - 1
                });
                named[number].1.push(bound);
            }
        }
        let mut wildcards: Vec<_> = (0..named.len()).filter(|number| names::is_wildcard(named[*number].0)).collect();
        wildcards.sort_by(|one, other| names::by_specificity(named[*one].0, named[*other].0));
        Self { named, numbers, wildcards, sets: HashMap::new() }
    }

    /// The rules that hold for a name of a service on one of its ports: of those of the mesh only what the service has
    /// by the host that claims it.
    fn rules(
        &mut self,
        name: &str,
        claim: Option<Claim<'_>>,
        port: u16,
        table: &mut MeshTable<'_, '_>,
    ) -> RuleSetIndex {
        let (by_host, by_name) = match claim {
            Some(claim) if is_found(claim.host, name) => (Some(claim), None),
            claim => (None, claim.and_then(|claim| table.first_set(claim, Some(port)))),
        };
        let wide = self.wildcards.iter().filter(|number| is_found(self.named[**number].0, name));
        let mut hosts = self.numbers.get(name).into_iter().chain(wide);
        let (named, sets) = (&self.named, &mut self.sets);
        let rules = |number: &usize| {
            let (host, joined) = &named[*number];
            let claim = by_host.filter(|claim| claim.host == *host);
            let set = sets.entry((*number, claim.is_some(), port));
            *set.or_insert_with(|| rule_set(joined, claim, Some(port), table))
        };
        by_name.or_else(|| hosts.find_map(rules)).unwrap_or(RuleSetIndex::NONE)
    }
}

/// The rules for each port that some of them name, and for the others. `None`: none of them applies.
fn rules(joined: &[&Bound<'_>], claim: Option<Claim<'_>>, table: &mut MeshTable<'_, '_>) -> Option<Ports> {
    let mut ports: BTreeSet<u16> = joined.iter().flat_map(|bound| bound.meant.named_ports.iter().copied()).collect();
    let beside = claim.filter(|claim| claim.owners.len() > 1).map(|claim| table.numbers_beside(claim));
    ports.extend(beside.into_iter().flatten());
    let mut set = |port| rule_set(joined, claim, port, table);
    let named: Box<[_]> = ports.into_iter().filter_map(|port| Some((port, set(Some(port))?))).collect();
    let other = set(None);
    (other.is_some() || !named.is_empty()).then_some(Ports { named, other })
}

/// `None`: none of them applies.
fn rule_set(
    joined: &[&Bound<'_>],
    claim: Option<Claim<'_>>,
    port: Option<u16>,
    table: &mut MeshTable<'_, '_>,
) -> Option<RuleSetIndex> {
    let mut rules: Vec<(RouteMatch, Arc<Route>)> = Vec::new();
    let owner = claim.and_then(|claim| table.owner(claim, port));
    for Bound { meant, gateways } in joined {
        let is_owner = owner.is_some_and(|owner| std::ptr::eq(owner, *meant));
        let holds = |gateway: &&&str| is_owner || **gateway != names::MESH;
        let gateways: Vec<_> = gateways.iter().filter(holds).copied().collect();
        if !gateways.is_empty() {
            let scope = Scope { gateways: &gateways, workload: table.workload, port };
            rules.extend(routes::routes(meant, scope, table.clusters));
        }
    }
    if rules.is_empty() {
        return None;
    }
    rules.sort_by_key(|(matcher, _)| matcher.is_catch_all());
    Some(table.builder.rule_set(rules))
}
