//! Destinations that name no port, and the ports on which they are asked for: in the mesh by clients, at gateways by
//! servers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Purpose;
use super::at_gateways::Gateways;
use super::clusters::{Asker, Clusters, Unserved};
use super::names;
use super::report::Report;
use super::routes::{self, Asked, Scope};
use super::services::{KnownService, Services};
use super::tables::PLAIN;
use super::validate::Earlier;
use super::virtual_services::{Match, MeantVirtualService, Rule, Target};
use crate::config::HttpMatchRequest;
use crate::error::{Problem, ResourceName, Severity};

/// Names destinations without a port where their services have not the one that is asked for. Rules of delegates are by
/// now those of the VirtualServices that lead to them.
pub(crate) fn review(
    virtual_services: &[MeantVirtualService<'_>],
    visible: &[&MeantVirtualService<'_>],
    gateways: &Gateways<'_>,
    clusters: &Clusters<'_>,
    purpose: Purpose<'_>,
    report: &mut Report,
) {
    let mut at_gateways = at_gateways(visible, gateways, clusters, purpose);
    let mut in_mesh = in_mesh(virtual_services, clusters.services());
    for Unserved { resource, path, service, port, in_mesh: is_of_mesh } in &clusters.unserved {
        let lacking = if *is_of_mesh { &mut in_mesh } else { &mut at_gateways };
        Lack::note(lacking, (resource, path), (Sent::Connections, service), *port);
    }
    in_mesh.retain(|at, _| !at_gateways.contains_key(at));
    let resources: HashMap<_, _> = virtual_services.iter().map(|meant| (&meant.name, meant.resource)).collect();
    let told = at_gateways.iter().map(|(at, lack)| (at, Severity::Reference, lack.at_gateways()));
    let told = told.chain(in_mesh.iter().map(|(at, lack)| (at, Severity::Warning, lack.in_mesh())));
    for (&(name, path), severity, (message, help)) in told {
        let place = resources.get(name).and_then(|resource| resource.place(path));
        report
            .push(Problem::new(severity, path, message).with_resource(name.clone()).with_place(place).with_help(help));
    }
}

/// What destinations lack, by their VirtualServices and paths.
type Lacking<'m> = BTreeMap<(&'m ResourceName, &'m str), Lack<'m>>;

/// What is sent to a destination.
#[derive(Clone, Copy)]
enum Sent {
    Requests,
    Copies,
    Connections,
}

/// The service of a destination, and the ports that it has not.
struct Lack<'m> {
    sent: Sent,
    service: &'m KnownService,
    ports: BTreeSet<u16>,
}

impl<'m> Lack<'m> {
    fn note(
        lacking: &mut Lacking<'m>,
        at: (&'m ResourceName, &'m str),
        (sent, service): (Sent, &'m KnownService),
        port: u16,
    ) {
        lacking.entry(at).or_insert_with(|| Lack { sent, service, ports: BTreeSet::new() }).ports.insert(port);
    }

    /// It goes nowhere, as in Istio.
    fn at_gateways(&self) -> (String, String) {
        let (KnownService { host, ports, .. }, missing) = (self.service, self.missing());
        let effect = match self.sent {
            Sent::Requests => "requests get 503",
            Sent::Copies => "no copy is sent",
            Sent::Connections => "connections are closed",
        };
        let message = format!(
            "names no port, so that the one of the server is asked for, and {host} has no port {missing}: {effect}"
        );
        (message, format!("write the port: {host} has {}", listed(ports.iter().map(|port| port.number))))
    }

    /// In Istio a sidecar asks for the port that was called, whatever ports there are; here a sole port is known, as at
    /// gateways.
    fn in_mesh(&self) -> (String, String) {
        let (KnownService { host, .. }, missing) = (self.service, self.missing());
        let effect = match self.sent {
            Sent::Requests => "answers 503",
            Sent::Copies => "sends no copy",
            Sent::Connections => "closes connections",
        };
        match self.service.sole_port() {
            Some(port) => (
                format!(
                    "names no port, and {host} has only {port}: a sidecar asks for the one that was called, and \
                     {effect} on {missing}"
                ),
                format!("write `port: {{number: {port}}}`"),
            ),
            None => (
                format!("names no port, so that the one is asked for that was called: on {missing} it is not there"),
                "write the port".to_owned(),
            ),
        }
    }

    fn missing(&self) -> String {
        listed(self.ports.iter().copied())
    }
}

/// What destinations lack of the servers whose requests lead there.
fn at_gateways<'m>(
    visible: &[&'m MeantVirtualService<'_>],
    gateways: &Gateways<'_>,
    clusters: &Clusters<'m>,
    purpose: Purpose<'_>,
) -> Lacking<'m> {
    let mut lacking = Lacking::new();
    for meant in visible.iter().filter(|meant| is_portless(meant)) {
        let asker = Asker::Gateway(&meant.name.namespace);
        for bound in gateways.bound(meant) {
            for port in bound.http_ports() {
                let scope = Scope { gateways: &[bound.gateway], workload: purpose.workload, port: Some(port) };
                let lacks = |target: &Target| clusters.lacking(target, asker, port);
                note(routes::asked(meant, |entry| scope.admits(entry)), port, lacks, &mut lacking);
            }
        }
    }
    lacking
}

/// What destinations lack of the ports that clients call.
fn in_mesh<'m>(virtual_services: &'m [MeantVirtualService<'_>], services: &'m Services) -> Lacking<'m> {
    let all = services.visible();
    let mut lacking = Lacking::new();
    let lacks = |target: &Target, port| {
        // The ports of another name are its own.
        let service = services.find(&target.host).filter(|_| services.other_name(&target.host).is_none());
        service.filter(|service| service.port(port).is_none())
    };
    for meant in virtual_services.iter().filter(|meant| meant.is_of_mesh() && is_portless(meant)) {
        for port in called(meant, services, &all) {
            let asked = routes::asked(meant, |entry| holds_on(entry, port));
            note(asked, port, |target| lacks(target, port), &mut lacking);
        }
    }
    lacking
}

/// Notes what the destinations of rules lack that are asked on a port: each without one that `lacks` it in its service.
fn note<'m>(
    asked: Vec<Asked<'m, '_>>,
    port: u16,
    lacks: impl Fn(&Target) -> Option<&'m KnownService>,
    lacking: &mut Lacking<'m>,
) {
    let lack = |rule: &'m Rule<'_>| portless(rule).filter_map(|(target, sent)| Some((target, sent, lacks(target)?)));
    if !asked.iter().any(|(rule, _)| lack(rule).next().is_some()) {
        return;
    }
    for (target, sent, service) in reached(&asked).into_iter().flat_map(lack) {
        Lack::note(lacking, (&target.resource, &target.path), (sent, service), port);
    }
}

/// What a rule sends where without naming a port.
fn portless<'r>(rule: &'r Rule<'_>) -> impl Iterator<Item = (&'r Target, Sent)> {
    let requests = rule.reached().map(|target| (target, Sent::Requests));
    requests.chain(rule.copied().map(|target| (target, Sent::Copies))).filter(|(target, _)| target.port.is_none())
}

fn is_portless(meant: &MeantVirtualService<'_>) -> bool {
    meant.rules.iter().any(|rule| portless(rule).next().is_some())
}

/// Of rules that are asked those that requests reach, once for each match: earlier ones do not take all of them.
fn reached<'m, 'a>(asked: &[Asked<'m, 'a>]) -> Vec<&'m Rule<'a>> {
    // Which gateway and port is asked is settled.
    let here = |entry: &Match<'_>| HttpMatchRequest { port: 0, gateways: Vec::new(), ..(*entry.words).clone() };
    let matches: Vec<_> = asked.iter().map(|(_, entry)| entry.map(here)).collect();
    let mut earlier = Earlier::default();
    let mut reached = Vec::new();
    for ((rule, _), request) in asked.iter().zip(&matches) {
        if let Some(request) = request {
            if earlier.find(request).is_some() {
                continue;
            }
            earlier.add(request, 0);
        }
        reached.push(*rule);
    }
    reached
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

/// Whether a match can hold for requests of clients on a port.
fn holds_on(entry: &Match<'_>, port: u16) -> bool {
    let of_mesh = entry.gateways.is_empty() || entry.gateways.iter().any(|gateway| gateway == names::MESH);
    of_mesh && (entry.words.port == 0 || entry.words.port == u32::from(port))
}

fn listed(ports: impl IntoIterator<Item = u16>) -> String {
    ports.into_iter().map(|port| port.to_string()).collect::<Vec<_>>().join(", ")
}
