//! WorkloadEntry, also as an endpoint of a ServiceEntry (VW1 to VW4).

use super::{Findings, addresses, metadata, names, numbers};
use crate::compile::path::Path;
use crate::config::{Resource, WorkloadEntry};

/// Judges one WorkloadEntry.
pub(crate) fn workload_entry(resource: &Resource<WorkloadEntry>, findings: &mut Findings) {
    findings.about("WorkloadEntry", resource, |findings| {
        metadata(&resource.meta, findings);
        let (entry, path) = (&resource.spec, Path::root("spec"));
        if address_is_there(entry, &path, findings) && unix(entry, &path, findings).is_none() {
            let address = &entry.address;
            if !address.is_empty() && names::check_fqdn_or_ip(address).is_err() {
                let message = format!("`{address}` is neither an IP address nor a host name");
                findings.error("VW3", &path.field("address"), message);
            }
        }
        ports_and_labels(entry, &path, findings);
        limits(entry, &path, findings);
    });
}

/// Whether there is an address, or a network that stands for one.
pub(crate) fn address_is_there(entry: &WorkloadEntry, path: &Path<'_>, findings: &mut Findings) -> bool {
    if entry.address.is_empty() && entry.network.is_empty() {
        findings.error("VW1", path, "an address is needed");
        return false;
    }
    if entry.address.is_empty() {
        let message = "there is no address, and it is left out: Istio would reach it through its network's gateways";
        findings.warning("VW1", &path.field("network"), message);
    }
    true
}

/// Judges the address of a unix socket; `None` if it is no such address.
pub(crate) fn unix(entry: &WorkloadEntry, path: &Path<'_>, findings: &mut Findings) -> Option<()> {
    let socket = entry.address.strip_prefix(addresses::UNIX)?;
    if let Err(message) = addresses::check_unix_path(socket) {
        findings.error("VW2", &path.field("address"), message);
    }
    if !entry.ports.is_empty() {
        findings.error("VW2", &path.field("ports"), "a unix socket has no ports");
    }
    Some(())
}

/// Judges ports and labels.
pub(crate) fn ports_and_labels(entry: &WorkloadEntry, path: &Path<'_>, findings: &mut Findings) {
    for (name, number) in &entry.ports {
        let path = path.entry("ports", name);
        if !names::is_dns_label(name) {
            findings.error("VW4", &path, names::bad_dns_label(name, "a port"));
        }
        numbers::port("VW4", &path, *number, findings);
    }
    names::labels("VW4", &path.field("labels"), &entry.labels, findings);
}

/// The limits of the API server.
pub(crate) fn limits(entry: &WorkloadEntry, path: &Path<'_>, findings: &mut Findings) {
    let WorkloadEntry { address, ports, labels, network, locality, weight: _, service_account } = entry;
    let limits = [
        ("address", address.len(), 256, "bytes"),
        ("ports", ports.len(), 128, "ports"),
        ("labels", labels.len(), 256, "labels"),
        ("network", network.len(), 2048, "bytes"),
        ("locality", locality.len(), 2048, "bytes"),
        ("serviceAccount", service_account.len(), 253, "bytes"),
    ];
    for (name, count, most, what) in limits {
        numbers::at_most(&path.field(name), count, most, what, findings);
    }
    for name in ports.keys() {
        numbers::at_most(&path.entry("ports", name), name.len(), 62, "bytes of a name", findings);
    }
    let socket = address.strip_prefix(addresses::UNIX);
    if socket.is_some_and(|socket| socket.starts_with('@') && socket.ends_with('/')) {
        findings.error("CRD", &path.field("address"), "the address of a unix socket cannot end with `/`");
    }
}
