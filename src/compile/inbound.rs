//! The rules of gateways that applications of this process stand for.

use std::sync::Arc;

use std::collections::BTreeSet;

use super::clusters::Clusters;
use super::names;
use super::routes::{self, Scope};
use super::services::{Domain, Services};
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
    let names = |host: &str| match services.find(host) {
        Some(service) => service.domains(&workload.namespace, &options.domain),
        None => Vec::new(),
    };
    let tables = gateways.iter().map(|origin| {
        let bound: Vec<Bound<'_>> = meant.iter().filter_map(|meant| Bound::new(meant, origin)).collect();
        Inbound { origin: origin.clone(), table: table(&bound, names, clusters, workload) }
    });
    tables.collect()
}

/// A VirtualService, and the gateway by which its rules hold.
#[derive(Clone, Copy)]
struct Bound<'a> {
    meant: &'a MeantVirtualService<'a>,
    gateway: &'a str,
}

impl<'a> Bound<'a> {
    fn new(meant: &'a MeantVirtualService<'a>, origin: &'a GatewayOrigin) -> Option<Self> {
        let names = |gateway: &str| meant.gateways.iter().any(|named| named == gateway);
        if names(&origin.gateway) {
            return Some(Self { meant, gateway: &origin.gateway });
        }
        (origin.mesh_rules && names(names::MESH)).then_some(Self { meant, gateway: names::MESH })
    }
}

fn table(
    bound: &[Bound<'_>],
    names: impl Fn(&str) -> Vec<Domain>,
    clusters: &mut Clusters<'_>,
    workload: &Workload,
) -> RouteTable {
    let mut hosts: Vec<(&str, Vec<Bound<'_>>)> = Vec::new();
    for bound in bound {
        for host in &bound.meant.hosts {
            match hosts.iter_mut().find(|(known, _)| known == host) {
                Some((_, joined)) => joined.push(*bound),
                None => hosts.push((host, vec![*bound])),
            }
        }
    }
    let mut builder = TableBuilder::new(Unknown::PassThrough);
    for (host, joined) in &hosts {
        if let Some(ports) = rules(joined, &mut builder, clusters, workload) {
            builder.virtual_host(host, [*host], ports);
        }
    }
    // After the hosts that rules name themselves, which keep what they have.
    for (host, joined) in &hosts {
        let of_mesh: Vec<_> = joined.iter().filter(|bound| bound.gateway == names::MESH).copied().collect();
        let names = if of_mesh.is_empty() { Vec::new() } else { names(host) };
        if !names.is_empty()
            && let Some(ports) = rules(&of_mesh, &mut builder, clusters, workload)
        {
            builder.virtual_host(host, names.iter().map(|domain| &*domain.name), ports);
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
    for Bound { meant, gateway } in joined {
        rules.extend(routes::routes(meant, Scope { gateway, workload, port }, clusters));
    }
    if rules.is_empty() {
        return None;
    }
    rules.sort_by_key(|(matcher, _)| matcher.is_catch_all());
    Some(builder.rule_set(rules))
}
