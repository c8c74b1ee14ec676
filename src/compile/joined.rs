//! Several definitions of one host: which of them is the service, and what the others add to it.

use std::collections::{BTreeSet, HashMap};

use super::names::Reach;
use super::path::Path;
use super::report::Report;
use super::review::{self, Review};
use super::services::{Discovery, KnownPort, KnownService, ServiceRegistry, Services};
use crate::config::{Config, Resource, ServiceEntry};

/// The place of each service among those of its host, the best first; `None`: it is not seen. Services of Kubernetes
/// come first, then what is exported to the workload's namespace by name, then the older. As in Istio, whose services
/// of ServiceEntries have their hosts for names, the resource's own name tells apart only those of one namespace.
pub(super) fn ranks(services: &[KnownService], reach: impl Fn(&KnownService) -> Option<Reach>) -> Vec<Option<usize>> {
    let seen = services.iter().enumerate().filter_map(|(number, service)| Some((number, service, reach(service)?)));
    let mut seen: Vec<_> = seen.collect();
    seen.sort_by_key(|(_, service, reach)| {
        let KnownService { registry, created, name, namespace, .. } = service;
        (*registry, *reach == Reach::Public, *created, namespace.as_str(), name.as_str())
    });
    let mut ranks = vec![None; services.len()];
    for (rank, (number, ..)) in seen.into_iter().enumerate() {
        ranks[number] = Some(rank);
    }
    ranks
}

/// Of several definitions of one host in one namespace the best is the service. Its endpoints are those of all; its
/// ports are also those of other ServiceEntries that differ from it in nothing else.
pub(super) fn join(services: &mut [KnownService], ranks: &[Option<usize>]) {
    let mut definitions: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
    for (number, service) in services.iter().enumerate() {
        definitions.entry((&service.host, &service.namespace)).or_default().push(number);
    }
    let mut several: Vec<_> = definitions.into_values().filter(|numbers| numbers.len() > 1).collect();
    for numbers in &mut several {
        numbers.sort_by_key(|&number| (ranks[number].is_none(), ranks[number]));
        let [first, others @ ..] = numbers.as_slice() else { continue };
        let best = &services[*first];
        let mut ports = best.ports.clone();
        for &other in others.iter().filter(|other| ranks[**other].is_some()) {
            let other = &services[other];
            if completes(best, other) {
                for port in &other.ports {
                    if ports.iter().all(|known| known.number != port.number) {
                        ports.push(port.clone());
                    }
                }
            }
        }
        // Of names that are one endpoint only what the service has no port for adds another.
        let sole = best.discovery == Discovery::LogicalName;
        let joined = others.iter().flat_map(|&other| {
            let other = &services[other];
            let bound: Vec<_> =
                other.ports.iter().filter(|port| !sole || best.port(port.number).is_none()).cloned().collect();
            let endpoints = other.endpoints.iter().map(move |endpoint| endpoint.bound_to(&bound, best.discovery));
            endpoints.filter(|endpoint| best.discovery.takes(endpoint))
        });
        let joined: Vec<_> = joined.collect();
        let service = &mut services[*first];
        if ports.len() > service.ports.len() {
            let bound = service.endpoints.iter().map(|endpoint| endpoint.bound_to(&service.ports, service.discovery));
            service.endpoints = bound.collect();
            service.ports = ports;
        }
        service.endpoints.extend(joined);
    }
}

/// Names what ServiceEntries say of ports of a host that another resource in their namespace has.
pub(super) fn review(config: &Config, services: &Services, report: &mut Report) {
    for entry in &config.service_entries {
        review::of(entry, entry.name_of("ServiceEntry"), report, |review| {
            for host in &entry.spec.hosts {
                let host = host.to_ascii_lowercase();
                let is_own = |service: &KnownService| {
                    service.registry == ServiceRegistry::ServiceEntry && service.name() == entry.meta.name
                };
                let mut of_namespace = services.every(&host).filter(|service| service.namespace == entry.namespace());
                let best = of_namespace.next();
                let is_joined = of_namespace.any(is_own);
                if let Some(best) = best.filter(|best| is_joined && best.host == host && !is_own(best)) {
                    ports(entry, best, review);
                }
            }
        });
    }
}

/// Names the ports of a ServiceEntry that a host which is `best` does not get, and protocols that it has otherwise.
fn ports(entry: &Resource<ServiceEntry>, best: &KnownService, review: &mut Review<'_>) {
    let KnownService { host, namespace, registry, .. } = best;
    let on = format!("without effect on {host}: it is that of {} {namespace}/{}", registry.kind(), best.name());
    let root = Path::root("spec");
    for (number, port) in entry.spec.ports.iter().enumerate() {
        let Some(port) = KnownPort::of_service_entry(port) else { continue };
        let path = root.item("ports", number);
        let number = port.number;
        match best.port(number) {
            None => {
                review
                    .warning(&path, format!("{on}, and gets ports of those alone that differ from it in nothing else"));
            }
            // What is listed is told apart by the names of ports.
            Some(known) if known.name != port.name && best.discovery == Discovery::Listed => {
                review.warning(&path, format!("{on}, where port {number} has the name {}", known.name));
            }
            Some(known) if known.protocol != port.protocol => {
                review.warning(&path.field("protocol"), format!("{on}, where port {number} has another"));
            }
            Some(_) => {}
        }
    }
}

/// Whether a ServiceEntry is as another but for its ports and endpoints.
fn completes(best: &KnownService, other: &KnownService) -> bool {
    let exported = |service: &KnownService| service.export_to.iter().cloned().collect::<BTreeSet<_>>();
    [best, other].iter().all(|service| service.registry == ServiceRegistry::ServiceEntry)
        && best.discovery == other.discovery
        && best.labels == other.labels
        && exported(best) == exported(other)
}
