//! VirtualService as a whole: hosts, gateways, `exportTo` (VS1 to VS13).

use super::names::{self, Exporter, HostSet};
use super::strings::is_claim;
use super::{CheckRegex, Findings, addresses, http_route, l4_route, metadata, shadow};
use crate::compile::names::MESH;
use crate::compile::path::Path;
use crate::config::{Resource, VirtualService};

/// Judges one VirtualService.
pub(crate) fn virtual_service(resource: &Resource<VirtualService>, check: &CheckRegex<'_>, findings: &mut Findings) {
    findings.about("VirtualService", resource, |findings| {
        metadata(&resource.meta, findings);
        let (spec, path) = (&resource.spec, Path::root("spec"));
        let VirtualService { hosts, gateways, http, tls, tcp, export_to } = spec;
        let in_mesh = gateways.is_empty() || gateways.iter().any(|gateway| gateway == MESH);
        delegate(spec, &path, findings);
        names::gateways("VS2", &path.field("gateways"), gateways, findings);
        if in_mesh {
            claims(spec, &path, findings);
        }
        self::hosts(spec, in_mesh, &path, findings);
        if http.is_empty() && tls.is_empty() && tcp.is_empty() {
            findings.error("VS7", &path, "none of `http`, `tls` and `tcp` has a rule");
        }
        for (index, rule) in http.iter().enumerate() {
            http_route::rule(rule, &path.item("http", index), hosts.is_empty(), check, findings);
        }
        let host_set = if tls.is_empty() { HostSet::default() } else { HostSet::new(hosts) };
        for (index, rule) in tls.iter().enumerate() {
            l4_route::tls(rule, &path.item("tls", index), (&host_set, in_mesh), findings);
        }
        for (index, rule) in tcp.iter().enumerate() {
            l4_route::tcp(rule, &path.item("tcp", index), findings);
        }
        let own = resource.namespace();
        names::export_to("VS9", &path.field("exportTo"), (Exporter::Rule, own), export_to, findings);
        let shadowed = if hosts.is_empty() { shadow::delegated } else { shadow::http };
        shadowed(http, &path.field("http"), findings);
        shadow::tls(tls, &path.field("tls"), findings);
        shadow::tcp(tcp, &path.field("tcp"), findings);
    });
}

/// Without hosts it is a delegate: rules that others refer to.
fn delegate(spec: &VirtualService, path: &Path<'_>, findings: &mut Findings) {
    if !spec.hosts.is_empty() {
        return;
    }
    let fields = [("gateways", spec.gateways.is_empty()), ("tls", spec.tls.is_empty()), ("tcp", spec.tcp.is_empty())];
    for (name, empty) in fields {
        if !empty {
            findings
                .error("VS1", &path.field(name), format!("a VirtualService without hosts is a delegate: no `{name}`"))
                .help("add `hosts` if it is meant to stand by itself");
        }
    }
}

/// Claims of tokens are known at gateways only.
fn claims(spec: &VirtualService, path: &Path<'_>, findings: &mut Findings) {
    for (rule_index, rule) in spec.http.iter().enumerate() {
        for (index, request) in rule.matches.iter().enumerate() {
            let rule_path = path.item("http", rule_index);
            let path = rule_path.item("match", index);
            for (field, keys) in [("headers", &request.headers), ("withoutHeaders", &request.without_headers)] {
                for key in keys.keys().filter(|key| is_claim(key)) {
                    findings
                        .error("VS3", &path.entry(field, key), format!("`{key}` can only be matched at gateways"))
                        .help("name the gateway in `gateways`, without `mesh`");
                }
            }
        }
    }
}

fn hosts(spec: &VirtualService, in_mesh: bool, path: &Path<'_>, findings: &mut Findings) {
    let hosts = &spec.hosts;
    let sni = !in_mesh && spec.tls.iter().flat_map(|rule| &rule.matches).any(|request| !request.sni_hosts.is_empty());
    let before = findings.errors();
    for (index, host) in hosts.iter().enumerate() {
        let checked = if in_mesh { names::check_wildcard_domain(host) } else { names::check_gateway_domain(host, sni) };
        match checked {
            Err(message) if !addresses::is_ip(host) => {
                findings.error("VS4", &path.item("hosts", index), message);
            }
            Ok(()) if in_mesh && host == "*" => {
                findings
                    .error("VS5", &path.item("hosts", index), "the host `*` is for gateways only")
                    .help("name the hosts, or the gateway in `gateways`");
            }
            _ => {}
        }
    }
    if hosts.len() > 1 && findings.errors() == before {
        let set = HostSet::new(hosts);
        for (index, other) in hosts.iter().enumerate().filter_map(|(index, _)| Some((index, set.overlap(index)?))) {
            let (host, other_host) = (&hosts[index], &hosts[other]);
            let message = if host == other_host {
                format!("duplicate host `{host}`")
            } else {
                format!("duplicate hosts: `{host}` is one of `{other_host}`")
            };
            findings.error("VS6", &path.item("hosts", index.max(other)), message);
        }
    }
}
