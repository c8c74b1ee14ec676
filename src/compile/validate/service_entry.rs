//! ServiceEntry (VE1 to VE16).

use std::collections::HashSet;

use super::names::{self, Exporter};
use super::{Findings, addresses, metadata, numbers, workload_entry};
use crate::compile::path::Path;
use crate::compile::services::PortProtocol;
use crate::config::{Location, Metadata, Resolution, Resource, ServiceEntry, ServiceEntryPort, WorkloadEntry};

/// Judges one ServiceEntry.
pub(crate) fn service_entry(resource: &Resource<ServiceEntry>, findings: &mut Findings) {
    findings.about("ServiceEntry", resource, |findings| {
        metadata(&resource.meta, findings);
        let (spec, path) = (&resource.spec, Path::root("spec"));
        limits(spec, &path, findings);
        selector(spec, &path, findings);
        hosts(spec, &path, findings);
        self::addresses(spec, &path, findings);
        let port_names = ports(spec, &resource.meta, &path, findings);
        match spec.resolution {
            Resolution::None => none(spec, &path, findings),
            Resolution::Static => fixed(spec, &port_names, &path, findings),
            Resolution::Dns | Resolution::DnsRoundRobin => dns(spec, &port_names, &path, findings),
            Resolution::DynamicDns => dynamic_dns(spec, &resource.meta, &path, findings),
        }
        several_hosts(spec, &path, findings);
        let own = resource.namespace();
        let exporter = (Exporter::ServiceEntry, own);
        names::export_to("VE16", &path.field("exportTo"), exporter, &spec.export_to, findings);
    });
}

/// The limits of the API server.
fn limits(spec: &ServiceEntry, path: &Path<'_>, findings: &mut Findings) {
    let limits = [
        ("hosts", spec.hosts.len(), 256),
        ("addresses", spec.addresses.len(), 256),
        ("ports", spec.ports.len(), 256),
        ("endpoints", spec.endpoints.len(), 4096),
    ];
    for (name, count, most) in limits {
        numbers::at_most(&path.field(name), count, most, name, findings);
    }
    for (index, address) in spec.addresses.iter().enumerate() {
        numbers::at_most(&path.item("addresses", index), address.len(), 64, "bytes", findings);
    }
    for (index, endpoint) in spec.endpoints.iter().enumerate() {
        workload_entry::limits(endpoint, &path.item("endpoints", index), findings);
    }
}

fn selector(spec: &ServiceEntry, path: &Path<'_>, findings: &mut Findings) {
    let Some(selector) = &spec.workload_selector else { return };
    let path = path.field("workloadSelector");
    names::selector("VE1", &path.field("labels"), &selector.labels, 256, findings);
    if !spec.endpoints.is_empty() {
        findings
            .error("VE2", &path, "`workloadSelector` and `endpoints` cannot be together")
            .help("keep the one that says where the endpoints come from");
    }
}

fn hosts(spec: &ServiceEntry, path: &Path<'_>, findings: &mut Findings) {
    if spec.hosts.is_empty() {
        findings.error("VE3", path, "a ServiceEntry needs hosts");
    }
    for (index, host) in spec.hosts.iter().enumerate() {
        let path = path.item("hosts", index);
        if host == "*" {
            findings.error("VE3", &path, "the host `*` is not allowed: no service is all hosts");
        } else if let Err(message) = names::check_wildcard_domain(host) {
            findings.error("VE3", &path, message);
        } else if names::is_partial_wildcard(host) && spec.resolution != Resolution::DynamicDns {
            findings
                .warning("VE3", &path, format!("the `*` of `{host}` is not a whole label"))
                .help("write `*.DOMAIN`");
        }
    }
}

fn addresses(spec: &ServiceEntry, path: &Path<'_>, findings: &mut Findings) {
    let ranges = matches!(spec.resolution, Resolution::None | Resolution::Static);
    for (index, address) in spec.addresses.iter().enumerate() {
        let path = path.item("addresses", index);
        if let Err(message) = addresses::check_subnet(address) {
            findings.error("VE4", &path, message);
        } else if address.contains('/') && !ranges {
            let message = format!("the range `{address}` needs resolution NONE or STATIC, not {}", spec.resolution);
            findings.error("VE4", &path, message);
        }
    }
}

/// Judges the ports and gives back their names.
fn ports<'a>(spec: &'a ServiceEntry, meta: &Metadata, path: &Path<'_>, findings: &mut Findings) -> HashSet<&'a str> {
    let (mut port_names, mut port_numbers) = (HashSet::new(), HashSet::new());
    for (index, port) in spec.ports.iter().enumerate() {
        let ServiceEntryPort { number, protocol, name, target_port } = port;
        let path = path.item("ports", index);
        if !port_names.insert(name.as_str()) {
            findings.error("VE5", &path.field("name"), format!("duplicate name of a port: `{name}`"));
        }
        if !port_numbers.insert(*number) {
            findings.error("VE5", &path.field("number"), format!("duplicate port {number}"));
        }
        if name.is_empty() {
            findings.error("VE5", &path, "a port needs a name");
        } else if !names::is_dns_label(name) {
            findings.error("VE5", &path.field("name"), names::bad_dns_label(name, "a port"));
        }
        if !protocol.is_empty() && !PortProtocol::is_known(protocol) {
            findings
                .error("VE5", &path.field("protocol"), format!("the protocol `{protocol}` is unknown"))
                .help(format!("one of {}", PortProtocol::NAMES));
        }
        numbers::port("VE5", &path.field("number"), *number, findings);
        numbers::port_or_unset("VE5", &path.field("targetPort"), *target_port, findings);
        if matches!(protocol.as_str(), "" | "TCP") && spec.addresses.is_empty() && !gets_addresses(spec, meta) {
            let message = "without addresses nothing tells this port's connections from those to other hosts";
            findings.warning("VE6", &path, message).help("set `addresses`, or a protocol that names its host");
        }
    }
    port_names
}

/// Whether Istio gives the hosts addresses of its own.
fn gets_addresses(spec: &ServiceEntry, meta: &Metadata) -> bool {
    let refused = meta.labels.get("networking.istio.io/enable-autoallocate-ip");
    spec.resolution != Resolution::None && !refused.is_some_and(|value| value.eq_ignore_ascii_case("false"))
}

fn none(spec: &ServiceEntry, path: &Path<'_>, findings: &mut Findings) {
    if !spec.endpoints.is_empty() {
        findings
            .error(
                "VE7",
                &path.field("endpoints"),
                "resolution NONE goes to the address that was asked for: no endpoints",
            )
            .help("write `resolution: STATIC`");
    }
    if spec.workload_selector.is_some() {
        findings.warning("VE7", &path.field("workloadSelector"), "resolution NONE selects no workloads");
    }
}

fn fixed(spec: &ServiceEntry, port_names: &HashSet<&str>, path: &Path<'_>, findings: &mut Findings) {
    for (index, endpoint) in spec.endpoints.iter().enumerate() {
        let path = path.item("endpoints", index);
        if !workload_entry::address_is_there(endpoint, &path, findings) {
            continue;
        }
        let address = &endpoint.address;
        if workload_entry::unix(endpoint, &path, findings).is_some() {
            if spec.ports.len() != 1 {
                let message = format!("a unix socket serves one port, and the ServiceEntry has {}", spec.ports.len());
                findings.error("VE8", &path.field("address"), message);
            }
        } else if !address.is_empty() && !addresses::is_ip(address) {
            findings
                .error("VE8", &path.field("address"), format!("`{address}` is not an IP address, as STATIC needs"))
                .help("write `resolution: DNS` for names");
        }
        known_ports("VE8", endpoint, port_names, &path, findings);
        workload_entry::ports_and_labels(endpoint, &path, findings);
    }
}

fn dns(spec: &ServiceEntry, port_names: &HashSet<&str>, path: &Path<'_>, findings: &mut Findings) {
    let round_robin = spec.resolution == Resolution::DnsRoundRobin;
    if spec.endpoints.is_empty() {
        let wildcard = |host: &String| names::check_fqdn(host).is_err() && names::check_wildcard_domain(host).is_ok();
        if let Some((index, host)) = spec.hosts.iter().enumerate().find(|(_, host)| *host != "*" && wildcard(host)) {
            findings
                .error("VE9", &path.item("hosts", index), format!("`{host}` cannot be resolved: it is no whole name"))
                .help("add `endpoints` whose names can be");
        }
    }
    if round_robin && spec.endpoints.len() > 1 {
        findings
            .error("VE10", &path.field("endpoints"), "DNS_ROUND_ROBIN resolves one name: at most one endpoint")
            .help("write `resolution: DNS`");
    }
    for (index, endpoint) in spec.endpoints.iter().enumerate() {
        let path = path.item("endpoints", index);
        if names::check_fqdn_or_ip(&endpoint.address).is_err() {
            let message = format!("`{}` is neither a host name nor an IP address", endpoint.address);
            findings.error("VE11", &path.field("address"), message);
        }
        known_ports("VE11", endpoint, port_names, &path, findings);
        workload_entry::ports_and_labels(endpoint, &path, findings);
    }
    let opaque = |port: &ServiceEntryPort| {
        let protocol = PortProtocol::named(&port.protocol);
        protocol.is_tls() || protocol == PortProtocol::Tcp
    };
    if !spec.addresses.is_empty() && spec.hosts.len() > 1 && spec.ports.iter().any(opaque) {
        let message = "several hosts share the addresses: a TCP connection does not say which one it is for";
        findings.warning("VE12", &path.field("addresses"), message);
    }
}

fn known_ports(
    rule: &'static str,
    endpoint: &WorkloadEntry,
    known: &HashSet<&str>,
    path: &Path<'_>,
    findings: &mut Findings,
) {
    for name in endpoint.ports.keys().filter(|name| !known.contains(name.as_str())) {
        let message = format!("the ServiceEntry has no port `{name}`");
        findings.error(rule, &path.entry("ports", name), message).help("name a port of `ports`");
    }
}

fn dynamic_dns(spec: &ServiceEntry, meta: &Metadata, path: &Path<'_>, findings: &mut Findings) {
    for (index, host) in spec.hosts.iter().enumerate().filter(|(_, host)| !host.starts_with('*')) {
        let message = format!("`{host}` is no wildcard, as DYNAMIC_DNS needs");
        findings.error("VE13", &path.item("hosts", index), message).help("write `resolution: DNS` for a whole name");
    }
    for (name, empty) in [("addresses", spec.addresses.is_empty()), ("endpoints", spec.endpoints.is_empty())] {
        if !empty {
            let message = format!("DYNAMIC_DNS resolves what is asked for: no {name}");
            findings.error("VE13", &path.field(name), message);
        }
    }
    for (index, port) in spec.ports.iter().enumerate() {
        let named = |name: &&str| port.protocol.eq_ignore_ascii_case(name);
        if !["HTTP", "HTTP2", "GRPC", "TLS"].iter().any(named) {
            let path = path.item("ports", index);
            let message = "DYNAMIC_DNS needs a protocol that names its host: HTTP, HTTP2, GRPC or TLS";
            findings.error("VE13", &path.field("protocol"), message);
        }
    }
    let waypoint = meta
        .labels
        .get("istio.io/use-waypoint")
        .is_some_and(|name| !name.is_empty() && !name.eq_ignore_ascii_case("none"));
    if spec.location == Location::MeshInternal && waypoint {
        findings.error("VE13", &path.field("location"), "DYNAMIC_DNS with a waypoint is for MESH_EXTERNAL only");
    }
}

/// Hosts that share ports have to be told apart by what is sent to them.
fn several_hosts(spec: &ServiceEntry, path: &Path<'_>, findings: &mut Findings) {
    if spec.hosts.len() < 2 || spec.resolution == Resolution::None {
        return;
    }
    let names_its_host = |port: &ServiceEntryPort| {
        let protocol = PortProtocol::named(&port.protocol);
        protocol.says_http() || protocol.is_tls()
    };
    if let Some(index) = spec.ports.iter().position(|port| !names_its_host(port)) {
        findings
            .error("VE15", &path.item("ports", index), "several hosts cannot share a port that is neither HTTP nor TLS")
            .help("write one ServiceEntry for each host");
    }
}
