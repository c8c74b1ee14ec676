//! Destinations that name no port, and the ports on which they are asked for: in the mesh by clients, at gateways by
//! servers.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::Purpose;
use super::at_gateways::Gateways;
use super::clusters::{Asker, Clusters};
use super::names;
use super::path::Path;
use super::report::Report;
use super::review;
use super::routes::{self, Scope};
use super::services::{KnownService, Services};
use super::tables::PLAIN;
use super::validate::Same;
use super::virtual_services::{MeantVirtualService, Rule, Target};
use crate::config::Config;
use crate::error::{Problem, ResourceName, Severity};

/// Names destinations without a port where their services have not the one that is asked for. Rules of delegates are by
/// now those of the VirtualServices that lead to them.
pub(crate) fn review(
    virtual_services: &[MeantVirtualService<'_>],
    visible: &[&MeantVirtualService<'_>],
    config: &Config,
    clusters: &Clusters<'_>,
    purpose: Purpose<'_>,
    report: &mut Report,
) {
    let lacking = at_gateways(visible, config, clusters, purpose);
    of_mesh(virtual_services, clusters.services(), &lacking, report);
    let resources: HashMap<_, _> = virtual_services.iter().map(|meant| (&meant.name, meant.resource)).collect();
    for ((name, path), (service, ports)) in lacking {
        let (host, missing) = (&service.host, listed(ports));
        let message = format!(
            "names no port, so that the one of the server is asked for, and {host} has no port {missing}: requests get \
             503"
        );
        let help = format!("write the port: {host} has {}", listed(service.ports.iter().map(|port| port.number)));
        let place = resources.get(name).and_then(|resource| resource.place(path));
        let problem = Problem::new(Severity::Reference, path, message).with_resource(name.clone());
        report.push(problem.with_place(place).with_help(help));
    }
}

/// By the VirtualService and the path of a destination its service, and the ports that this lacks.
type Lacking<'m> = BTreeMap<(&'m ResourceName, &'m str), (&'m KnownService, BTreeSet<u16>)>;

/// Of destinations without a port those that have not that of a server whose requests lead there: they get 503, as in
/// Istio.
fn at_gateways<'m>(
    visible: &[&'m MeantVirtualService<'_>],
    config: &Config,
    clusters: &Clusters<'m>,
    purpose: Purpose<'_>,
) -> Lacking<'m> {
    let gateways = Gateways::new(config, purpose);
    let mut lacking = Lacking::new();
    let names_none = |rule: &Rule<'_>| rule.reached().any(|target| target.port.is_none());
    for meant in visible.iter().filter(|meant| meant.rules.iter().any(names_none)) {
        let asker = Asker::Gateway(&meant.name.namespace);
        for bound in gateways.bound(meant) {
            for port in bound.http_ports() {
                let scope = Scope { gateways: &[bound.gateway], workload: purpose.workload, port: Some(port) };
                let (mut asked, mut seen) = (routes::asked(meant, scope), HashSet::new());
                asked.retain(|(_, entry)| entry.is_none_or(|entry| seen.insert(Same(&*entry.words))));
                for (rule, _) in asked {
                    for target in rule.reached().filter(|target| target.port.is_none()) {
                        let Some(service) = clusters.lacking(target, asker, port) else { continue };
                        let at = (&rule.origin.resource, target.path.as_str());
                        lacking.entry(at).or_insert_with(|| (service, BTreeSet::new())).1.insert(port);
                    }
                }
            }
        }
    }
    lacking
}

/// Says where a destination without a port has not the port that clients call. In Istio a sidecar asks for the port that
/// was called, whatever ports there are; here a sole port is known, as at gateways.
fn of_mesh(
    virtual_services: &[MeantVirtualService<'_>],
    services: &Services,
    lacking: &Lacking<'_>,
    report: &mut Report,
) {
    let all = services.visible();
    for meant in virtual_services.iter().filter(|meant| meant.is_of_mesh()) {
        let called = called(meant, services, &all);
        let own = meant.rules.iter().filter(|rule| rule.origin.resource == meant.name);
        let destinations = own.flat_map(|rule| rule.reached().map(move |target| (rule, target)));
        let is_told = |target: &Target| lacking.contains_key(&(&meant.name, target.path.as_str()));
        for (rule, target) in destinations.filter(|(_, target)| target.port.is_none() && !is_told(target)) {
            // The ports of another name are its own.
            let service = services.find(&target.host).filter(|_| services.other_name(&target.host).is_none());
            let Some(service) = service else { continue };
            let missing = called.iter().filter(|port| service.port(**port).is_none() && holds_on(rule, **port));
            let missing = listed(missing.copied());
            if missing.is_empty() {
                continue;
            }
            let host = &target.host;
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

fn listed(ports: impl IntoIterator<Item = u16>) -> String {
    ports.into_iter().map(|port| port.to_string()).collect::<Vec<_>>().join(", ")
}
