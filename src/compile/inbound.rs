//! The rules of gateways that applications of this process stand for.

use std::collections::BTreeSet;
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
    let mut hosts: Vec<(&str, Vec<&Bound<'_>>)> = Vec::new();
    for bound in bound {
        for host in &bound.meant.hosts {
            match hosts.iter_mut().find(|(known, _)| known == host) {
                Some((_, joined)) => joined.push(bound),
                None => hosts.push((host, vec![bound])),
            }
        }
    }
    let of_mesh = bound.iter().filter(|bound| bound.gateways.contains(&names::MESH));
    let of_mesh: Vec<_> = of_mesh.map(|bound| bound.meant).collect();
    let (owners, visible) = (Owners::new(&of_mesh), services.visible());
    // Which of them do not hold is told of those who call.
    let mut winners = Winners::default();
    let builder = TableBuilder::new(Unknown::PassThrough);
    let mut table = MeshTable::new(builder, &of_mesh, &visible, clusters, workload, &mut winners);
    for (host, joined) in &hosts {
        let claim = owners.of(host).map(Claim::of_service);
        if let Some(ports) = rules(joined, claim, &mut table) {
            table.builder.virtual_host(host, [*host], ports);
        }
    }
    // After the hosts that rules name themselves, which keep what they have.
    for service in &visible {
        let Some(claim) = owners.of(&service.host).map(Claim::of_service) else { continue };
        let ports = table.everywhere(claim);
        // What their host covers is found by it, maybe with rules of the gateway, unless its `*` stands for nothing.
        let is_found = |name: &str| names::covers(claim.host, name) && claim.host.len() <= name.len();
        table.domains(service, ports, options, |name| !is_found(name));
    }
    table.builder.build()
}

/// The rules for each port that some of them name, and for the others. `None`: none of them applies.
fn rules(joined: &[&Bound<'_>], claim: Option<Claim<'_>>, table: &mut MeshTable<'_, '_>) -> Option<Ports> {
    let ports: BTreeSet<u16> = joined.iter().flat_map(|bound| bound.meant.named_ports.iter().copied()).collect();
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
