//! References to what is not there. Istio takes them and answers 503; `check` names them.

use super::clusters::{Asker, Clusters, Dangling};
use super::delegate::{Delegates, Missing};
use super::names;
use super::report::Report;
use super::services::Services;
use super::virtual_services::{MeantVirtualService, Target};
use crate::config::Config;
use crate::error::{Problem, Severity};
use crate::options::MeshOptions;

/// Names every reference of `virtual_services` that dangles.
pub(crate) fn check(
    virtual_services: &[MeantVirtualService<'_>],
    config: &Config,
    services: &Services,
    clusters: &Clusters<'_>,
    options: &MeshOptions,
    report: &mut Report,
) {
    let gateways: Vec<String> =
        config.gateways.iter().map(|gateway| format!("{}/{}", gateway.namespace(), gateway.meta.name)).collect();
    let delegates = Delegates::new(virtual_services, options);
    for virtual_service in virtual_services {
        for (number, gateway) in virtual_service.gateways.iter().enumerate() {
            if gateway != names::MESH && !gateways.contains(gateway) {
                let message = format!("there is no Gateway {gateway}");
                let nearest = nearest(gateway, gateways.iter().map(String::as_str));
                report.push(problem(virtual_service, &format!("spec.gateways[{number}]"), message, nearest));
            }
        }
        for destination in virtual_service.tcp.iter().chain(&virtual_service.tls).flat_map(|rule| &rule.destinations) {
            let target = (&destination.target, "connections are closed");
            if let Some(dangling) = clusters.dangling(target.0, Asker::Other) {
                report.push(of_destination(virtual_service, target, &dangling, services, clusters));
            }
        }
        for rule in &virtual_service.rules {
            let routes = rule.destinations.iter().map(|destination| (&destination.target, "requests get 503"));
            let mirrors = rule.policies.mirror_targets().map(|mirror| (mirror, "no copy is sent"));
            for (destination, effect) in routes.chain(mirrors) {
                if let Some(dangling) = clusters.dangling(destination, Asker::Gateway(&virtual_service.name.namespace))
                {
                    report.push(of_destination(virtual_service, (destination, effect), &dangling, services, clusters));
                }
            }
            if let Some(reference) = rule.delegate
                && let Err(missing) = delegates.find(virtual_service, reference)
            {
                report.push(of_delegate(virtual_service, &rule.origin.path, &missing, &delegates));
            }
        }
    }
}

fn of_destination(
    virtual_service: &MeantVirtualService<'_>,
    (destination, effect): (&Target, &str),
    dangling: &Dangling,
    services: &Services,
    clusters: &Clusters<'_>,
) -> Problem {
    let Target { host, subset, path, .. } = destination;
    match dangling {
        Dangling::Host => {
            let known: Vec<_> = services.visible().iter().map(|service| service.host.as_str()).collect();
            if let Some(target) = services.target_of(host) {
                let message =
                    format!("{host} is another name of {target}, which no Service or ServiceEntry has: {effect}");
                return problem(virtual_service, &format!("{path}.host"), message, None);
            }
            let message = format!("no Service or ServiceEntry has the host {host}: {effect}");
            problem(virtual_service, &format!("{path}.host"), message, nearest(host, known.into_iter()))
        }
        Dangling::Port(port) => {
            let message = format!("{host} has no port {port}: {effect}");
            problem(virtual_service, &format!("{path}.port.number"), message, None)
        }
        Dangling::Subset => {
            let known = clusters.subsets_of(host);
            let message = match known.as_slice() {
                [] => format!("no DestinationRule gives {host} a subset {subset}: {effect}"),
                known => {
                    format!("the DestinationRule of {host} has no subset {subset} but {}: {effect}", known.join(", "))
                }
            };
            problem(virtual_service, &format!("{path}.subset"), message, nearest(subset, known.into_iter()))
        }
    }
}

fn of_delegate(
    virtual_service: &MeantVirtualService<'_>,
    rule: &str,
    missing: &Missing,
    delegates: &Delegates<'_, '_>,
) -> Problem {
    let path = format!("{rule}.delegate");
    match missing {
        Missing::Unknown(name) => {
            let known: Vec<_> = delegates.names().collect();
            let message = format!("there is no VirtualService {name} without hosts: the rule is left out");
            problem(virtual_service, &path, message, nearest(name, known.iter().map(String::as_str)))
        }
        Missing::HasHosts(name) => {
            let message = format!("the VirtualService {name} has hosts, so it is no delegate: the rule is left out");
            problem(virtual_service, &path, message, None)
        }
        Missing::NotExported(name) => {
            let namespace = &virtual_service.name.namespace;
            let message = format!("the VirtualService {name} is not exported to {namespace}: the rule is left out");
            problem(virtual_service, &path, message, None)
        }
    }
}

fn problem(virtual_service: &MeantVirtualService<'_>, path: &str, message: String, nearest: Option<String>) -> Problem {
    let problem = Problem::new(Severity::Reference, path, message)
        .with_resource(virtual_service.name.clone())
        .with_place(virtual_service.resource.place(path));
    match nearest {
        Some(name) => problem.with_help(format!("did you mean {name}?")),
        None => problem,
    }
}

/// The known name that looks most like `name`, if one does.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let scored = known.map(|known| (strsim::jaro_winkler(name, known), known));
    let best = scored.filter(|(score, _)| *score > 0.85).max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.map(|(_, known)| known.to_owned())
}
