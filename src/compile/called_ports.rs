//! Destinations that name no port, and the ports on which clients of the mesh ask for them.

use std::collections::BTreeSet;

use super::names;
use super::path::Path;
use super::report::Report;
use super::review;
use super::services::{KnownService, Services};
use super::tables::PLAIN;
use super::virtual_services::{MeantVirtualService, Rule};

/// Says where a destination without a port has not the port that clients call. In Istio a sidecar asks for the port that
/// was called, whatever ports there are; here a sole port is known, as at gateways.
pub(crate) fn review(virtual_services: &[MeantVirtualService<'_>], services: &Services, report: &mut Report) {
    let all = services.visible();
    for meant in virtual_services.iter().filter(|meant| meant.is_of_mesh()) {
        let called = called(meant, services, &all);
        let destinations =
            meant.rules.iter().flat_map(|rule| rule.destinations.iter().map(move |to| (rule, &to.target)));
        for (rule, target) in destinations.filter(|(_, target)| target.port.is_none()) {
            // The ports of another name are its own.
            let service = services.find(&target.host).filter(|_| services.other_name(&target.host).is_none());
            let Some(service) = service else { continue };
            let missing = called.iter().filter(|port| service.port(**port).is_none() && holds_on(rule, **port));
            let missing: Vec<_> = missing.map(u16::to_string).collect();
            if missing.is_empty() {
                continue;
            }
            let (host, missing) = (&target.host, missing.join(", "));
            let (message, help) = match service.sole_port() {
                Some(port) => (
                    format!(
                        "names no port, and {host} has only {port}: a sidecar asks for the one that was called, and \
                         answers 503 on {missing}"
                    ),
                    format!("write `port: {{number: {port}}}`"),
                ),
                None => (
                    format!(
                        "names no port, so that the one is asked for that was called: on {missing} it is not there"
                    ),
                    "write the port".to_owned(),
                ),
            };
            review::of(meant.resource, meant.name.clone(), report, |review| {
                review.warning_with_help(&Path::root(&target.path), message, help);
            });
        }
    }
}

/// The ports on which clients call the hosts of a VirtualService: those of its services, and 80 for other hosts.
fn called(meant: &MeantVirtualService<'_>, services: &Services, all: &[&KnownService]) -> BTreeSet<u16> {
    let mut called = BTreeSet::new();
    for host in &meant.hosts {
        if names::is_wildcard(host) {
            let covered = all.iter().filter(|service| names::covers(host, &service.host));
            called.extend(covered.flat_map(|service| service.http_ports()));
        } else if let Some(service) = services.find(host).filter(|service| service.host == *host) {
            called.extend(service.http_ports());
        } else {
            called.insert(PLAIN);
        }
    }
    called
}

/// Whether a rule can hold for requests of clients on a port.
fn holds_on(rule: &Rule<'_>, port: u16) -> bool {
    rule.matches.as_ref().is_none_or(|matches| {
        matches.iter().any(|entry| {
            let of_mesh = entry.gateways.is_empty() || entry.gateways.iter().any(|gateway| gateway == names::MESH);
            of_mesh && (entry.words.port == 0 || entry.words.port == u32::from(port))
        })
    })
}
