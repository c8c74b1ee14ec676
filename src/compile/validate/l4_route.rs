//! tls and tcp rules (VT1 to VT6).

use std::collections::BTreeMap;

use super::names::{self, HostSet};
use super::{Findings, addresses, http_route, numbers};
use crate::compile::path::Path;
use crate::config::{L4MatchAttributes, RouteDestination, TcpRoute, TlsMatchAttributes, TlsRoute};

/// Judges one tls rule. `hosts` are those of the VirtualService; `in_mesh`: it is bound to the mesh.
pub(crate) fn tls(rule: &TlsRoute, path: &Path<'_>, (hosts, in_mesh): (&HostSet<'_>, bool), findings: &mut Findings) {
    let TlsRoute { matches, route } = rule;
    if matches.is_empty() {
        findings.error("VT1", path, "a tls rule needs a match").help("match the server names by `sniHosts`");
    }
    for (index, request) in matches.iter().enumerate() {
        let path = path.item("match", index);
        let TlsMatchAttributes { sni_hosts, destination_subnets, port, source_labels, gateways, .. } = request;
        if sni_hosts.is_empty() {
            findings.error("VT2", &path, "a match of a tls rule needs sniHosts");
        }
        for (index, host) in sni_hosts.iter().enumerate() {
            sni_host(host, (hosts, in_mesh), &path.item("sniHosts", index), findings);
        }
        connection(&path, (destination_subnets, *port, source_labels, gateways), findings);
    }
    if route.is_empty() {
        findings.error("VT1", path, "a tls rule needs a route");
    }
    destinations(route, &path.field("route"), findings);
}

/// Judges one tcp rule.
pub(crate) fn tcp(rule: &TcpRoute, path: &Path<'_>, findings: &mut Findings) {
    let TcpRoute { matches, route } = rule;
    for (index, request) in matches.iter().enumerate() {
        let L4MatchAttributes { destination_subnets, port, source_labels, gateways, .. } = request;
        connection(&path.item("match", index), (destination_subnets, *port, source_labels, gateways), findings);
    }
    if route.is_empty() {
        findings.error("VT5", path, "a tcp rule needs a route");
    }
    destinations(route, &path.field("route"), findings);
}

fn sni_host(host: &str, (hosts, in_mesh): (&HostSet<'_>, bool), path: &Path<'_>, findings: &mut Findings) {
    let checked = if in_mesh { names::check_wildcard_domain(host) } else { names::check_gateway_domain(host, true) };
    match checked {
        Err(_) if addresses::is_ip(host) => {
            findings.warning("VT2", path, format!("`{host}` is an address: clients do not send one as server name"));
        }
        Err(message) => drop(findings.error("VT2", path, message)),
        Ok(()) if !hosts.covers(host) => {
            let some = hosts.hosts().iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
            let message = format!("`{host}` is none of the VirtualService's hosts: {some}");
            findings.error("VT3", path, message).help("add it to `hosts`");
        }
        Ok(()) => {}
    }
}

type Connection<'a> = (&'a [String], u32, &'a BTreeMap<String, String>, &'a [String]);

fn connection(path: &Path<'_>, (subnets, port, labels, gateways): Connection<'_>, findings: &mut Findings) {
    for (index, subnet) in subnets.iter().enumerate() {
        if let Err(message) = addresses::check_subnet(subnet) {
            findings.error("VT4", &path.item("destinationSubnets", index), message);
        }
    }
    numbers::port_or_unset("VT4", &path.field("port"), port, findings);
    names::labels("VT4", &path.field("sourceLabels"), labels, findings);
    names::gateways("VT4", &path.field("gateways"), gateways, findings);
}

fn destinations(route: &[RouteDestination], path: &Path<'_>, findings: &mut Findings) {
    for (index, entry) in route.iter().enumerate() {
        let RouteDestination { destination, weight } = entry;
        http_route::weighted(destination.as_ref(), *weight, ("VT6", "VT6"), &path.index(index), findings);
    }
    http_route::weight_sum("VT6", path, route.iter().map(|entry| entry.weight), findings);
}
