//! Several definitions of one host: which of them is the service, and what the others add to it.

use std::collections::{BTreeSet, HashMap};

use super::names::Reach;
use super::services::{Discovery, KnownService, ServiceRegistry};

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

/// Whether a ServiceEntry is as another but for its ports and endpoints.
fn completes(best: &KnownService, other: &KnownService) -> bool {
    let exported = |service: &KnownService| service.export_to.iter().cloned().collect::<BTreeSet<_>>();
    [best, other].iter().all(|service| service.registry == ServiceRegistry::ServiceEntry)
        && best.discovery == other.discovery
        && best.labels == other.labels
        && exported(best) == exported(other)
}
