//! The rules of gateways that applications of this process stand for.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::clusters::Clusters;
use super::names;
use super::owners::Owners;
use super::routes::{self, Scope};
use super::services::{KnownService, Services};
use super::tables::TableBuilder;
use super::virtual_services::MeantVirtualService;
use crate::options::{MeshOptions, Workload};
use crate::request::GatewayOrigin;
use crate::route::{Ports, Route, RouteMatch, RouteTable, RuleSetIndex, Unknown};
use crate::snapshot::Inbound;

/// A table for each of `gateways`. As at a gateway, the VirtualServices of one host are joined, the older first, their
/// catch-alls last; hosts without rules are the application's. Those who call have the rules of the mesh for a service by
/// all of its names.
pub(crate) fn tables(
    gateways: &[GatewayOrigin],
    meant: &[&MeantVirtualService<'_>],
    services: &Services,
    clusters: &mut Clusters<'_>,
    options: &MeshOptions,
    workload: &Workload,
) -> Vec<Inbound> {
    let services = NamedServices { services, options, workload };
    let tables = gateways.iter().map(|origin| {
        let bound: Vec<Bound<'_>> = meant.iter().filter_map(|meant| Bound::new(meant, origin)).collect();
        Inbound { origin: origin.clone(), table: table(&bound, services, clusters) }
    });
    tables.collect()
}

/// The services that the workload sees, and the names by which it calls them.
#[derive(Clone, Copy)]
struct NamedServices<'a> {
    services: &'a Services,
    options: &'a MeshOptions,
    workload: &'a Workload,
}

impl NamedServices<'_> {
    /// The names of a service that are not another one's host.
    fn names(self, service: &KnownService) -> impl Iterator<Item = String> {
        let is_another = move |name: &str| self.services.find(name).is_some_and(|another| another.host == name);
        let domains = service.domains(&self.workload.namespace, &self.options.domain).into_iter();
        domains.filter(move |domain| !domain.is_derived || !is_another(&domain.name)).map(|domain| domain.name)
    }
}

/// A VirtualService, and the gateways by which its rules hold.
#[derive(Clone)]
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

    /// The same as it holds for those who call alone.
    fn of_mesh(&self) -> Option<Self> {
        self.gateways.contains(&names::MESH).then(|| Self { meant: self.meant, gateways: vec![names::MESH] })
    }
}

fn table(bound: &[Bound<'_>], services: NamedServices<'_>, clusters: &mut Clusters<'_>) -> RouteTable {
    let mut hosts: Vec<(&str, Vec<Bound<'_>>)> = Vec::new();
    for bound in bound {
        for host in &bound.meant.hosts {
            match hosts.iter_mut().find(|(known, _)| known == host) {
                Some((_, joined)) => joined.push(bound.clone()),
                None => hosts.push((host, vec![bound.clone()])),
            }
        }
    }
    let workload = services.workload;
    let mut builder = TableBuilder::new(Unknown::PassThrough);
    for (host, joined) in &hosts {
        if let Some(ports) = rules(joined, &mut builder, clusters, workload) {
            builder.virtual_host(host, [*host], ports);
        }
    }
    // After the hosts that rules name themselves, which keep what they have.
    let of_mesh: Vec<_> = bound.iter().filter_map(Bound::of_mesh).collect();
    let meant: Vec<_> = of_mesh.iter().map(|bound| bound.meant).collect();
    let owners = Owners::new(&meant);
    let mut claimed: HashMap<&str, Option<Ports>> = HashMap::new();
    for service in services.services.visible() {
        let Some(claim) = owners.of(&service.host) else { continue };
        let ports = claimed.entry(claim.host).or_insert_with(|| {
            let joined: Vec<_> = claim.owners.iter().filter_map(|&owner| of_mesh.get(owner).cloned()).collect();
            rules(&joined, &mut builder, clusters, workload)
        });
        if let Some(ports) = ports {
            // What their host covers is found by it, maybe with rules of the gateway, unless its `*` stands for nothing.
            let is_found = |name: &str| names::covers(claim.host, name) && claim.host.len() <= name.len();
            let names: Vec<_> = services.names(service).filter(|name| !is_found(name)).collect();
            builder.virtual_host(&service.host, names.iter().map(String::as_str), ports.clone());
        }
    }
    builder.build()
}

/// The rules for each port that some of them name, and for the others. `None`: none of them applies.
fn rules(
    joined: &[Bound<'_>],
    builder: &mut TableBuilder,
    clusters: &mut Clusters<'_>,
    workload: &Workload,
) -> Option<Ports> {
    let ports: BTreeSet<u16> = joined.iter().flat_map(|bound| bound.meant.named_ports.iter().copied()).collect();
    let mut set = |port| rule_set(joined, port, builder, clusters, workload);
    let named: Box<[_]> = ports.into_iter().filter_map(|port| Some((port, set(Some(port))?))).collect();
    let other = set(None);
    (other.is_some() || !named.is_empty()).then_some(Ports { named, other })
}

/// `None`: none of them applies.
fn rule_set(
    joined: &[Bound<'_>],
    port: Option<u16>,
    builder: &mut TableBuilder,
    clusters: &mut Clusters<'_>,
    workload: &Workload,
) -> Option<RuleSetIndex> {
    let mut rules: Vec<(RouteMatch, Arc<Route>)> = Vec::new();
    for Bound { meant, gateways } in joined {
        rules.extend(routes::routes(meant, Scope { gateways, workload, port }, clusters));
    }
    if rules.is_empty() {
        return None;
    }
    rules.sort_by_key(|(matcher, _)| matcher.is_catch_all());
    Some(builder.rule_set(rules))
}
