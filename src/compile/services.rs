//! The services a mesh knows, and who sees which.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::endpoints::{KnownEndpoint, Sources};
use super::joined;
use super::names;
use crate::config::units::Timestamp;
use crate::config::{Config, Resource};
use crate::error::Place;
use crate::options::{MeshOptions, Workload};

use super::ports::Target;
use crate::upstream::PassThrough;

pub(crate) use super::ports::{KnownPort, PortProtocol};

/// A service: a host with ports and the endpoints behind them.
#[derive(Debug)]
pub(crate) struct KnownService {
    pub(crate) host: String,
    pub(crate) namespace: String,
    /// The name of its resource.
    pub(super) name: String,
    /// Where that begins, as far as it is known.
    pub(super) place: Option<Place>,
    pub(crate) ports: Vec<KnownPort>,
    /// How many its own resource has, those of UDP too; further ones in `ports` are of those that were joined to it.
    pub(super) own_ports: usize,
    pub(crate) registry: ServiceRegistry,
    /// Whether it is outside of the mesh (`MESH_EXTERNAL`).
    pub(crate) mesh_external: bool,
    /// Addresses that stand for the service in a request's authority.
    pub(crate) addresses: Vec<String>,
    pub(crate) headless: bool,
    /// The names of which a certificate of its endpoints must have one. Empty: it is not said.
    pub(crate) subject_alt_names: Vec<String>,
    pub(crate) discovery: Discovery,
    /// `trafficDistribution`, which fails over by labels.
    pub(crate) traffic_distribution: Option<TrafficDistribution>,
    pub(crate) endpoints: Vec<KnownEndpoint>,
    /// How many endpoints its EndpointSlices list whose pods, and so whose labels, are not known.
    pub(crate) unlabeled: usize,
    /// Hosts of Services of type ExternalName that are other names of it.
    pub(crate) aliases: Vec<String>,
    pub(crate) export_to: Vec<String>,
    /// The labels of its resource, and those that a ServiceEntry selects workloads by.
    pub(super) labels: [BTreeMap<String, String>; 2],
    pub(crate) created: Option<Timestamp>,
}

/// Which registry a service comes from; Kubernetes beats ServiceEntries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ServiceRegistry {
    Kubernetes,
    ServiceEntry,
}

impl ServiceRegistry {
    /// The kind of its resources.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            ServiceRegistry::Kubernetes => "Service",
            ServiceRegistry::ServiceEntry => "ServiceEntry",
        }
    }
}

/// How the endpoints of a service are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Discovery {
    /// By address; none is a cluster without endpoints.
    Listed,
    /// By names, every address of which is an endpoint; none is no cluster.
    Names,
    /// By one name, which is one endpoint; none is no cluster.
    LogicalName,
    /// Not at all: requests go where the client connected to.
    Dialed,
    /// Not at all: requests go to the host that they name.
    Requested,
}

/// Which endpoints a Kubernetes Service prefers (`trafficDistribution`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrafficDistribution {
    /// Those of the client's zone (`PreferClose`, `PreferSameZone`).
    SameZone,
    /// Those of the client's node, then of its zone (`PreferSameNode`).
    SameNode,
}

/// An authority that stands for a service.
#[derive(Debug)]
pub(crate) struct Domain {
    pub(crate) name: String,
    /// Whether it is derived from the service's host. Where another service has it for its host, it is that one's.
    pub(crate) is_derived: bool,
}

impl Domain {
    fn own(name: String) -> Self {
        Self { name, is_derived: false }
    }

    fn derived(name: String) -> Self {
        Self { name, is_derived: true }
    }
}

impl KnownService {
    /// The name of its resource.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What Istio calls it: one of Kubernetes as its resource, one of a ServiceEntry as its host.
    pub(crate) fn called(&self) -> &str {
        match self.registry {
            ServiceRegistry::Kubernetes => &self.name,
            ServiceRegistry::ServiceEntry => &self.host,
        }
    }

    /// The number of its only port; `None` if there are more, be they of UDP, or none.
    pub(crate) fn sole_port(&self) -> Option<u32> {
        self.sole_own_port().filter(|_| self.ports.len() == 1)
    }

    /// The number of the only port that its own resource has.
    pub(crate) fn sole_own_port(&self) -> Option<u32> {
        self.ports.first().filter(|_| self.own_ports == 1).map(|port| port.number.into())
    }

    /// The numbers of its ports on which http rules hold.
    pub(crate) fn http_ports(&self) -> impl Iterator<Item = u16> {
        self.ports.iter().filter(|port| port.protocol.is_http()).map(|port| port.number)
    }

    /// The port with this number.
    pub(crate) fn port(&self, number: u16) -> Option<&KnownPort> {
        self.ports.iter().find(|port| port.number == number)
    }

    /// Every authority that stands for the service, as seen from `client` (a namespace), most common first.
    pub(crate) fn domains(&self, client: &str, domain: &str) -> Vec<Domain> {
        let mut domains = Vec::new();
        for host in std::iter::once(&self.host).chain(&self.aliases) {
            domains.push(Domain::own(host.clone()));
            domains.push(Domain::derived(format!("{host}.")));
            let full = host.strip_suffix(domain).and_then(|rest| rest.strip_suffix(".svc."));
            if let Some((name, namespace)) = full.and_then(|full| full.split_once('.')) {
                domains.push(Domain::derived(format!("{name}.{namespace}.svc")));
                domains.push(Domain::derived(format!("{name}.{namespace}")));
                if namespace == client && name != "*" {
                    domains.push(Domain::derived(name.to_owned()));
                }
            }
        }
        if self.headless {
            let pods: Vec<_> = domains.iter().map(|domain| Domain::own(format!("*.{}", domain.name))).collect();
            domains.extend(pods);
        }
        domains.extend(self.addresses.iter().map(|address| match address.contains(':') {
            true => Domain::own(format!("[{address}]")),
            false => Domain::own(address.clone()),
        }));
        domains
    }

    /// Whether requests go where they lead by themselves.
    pub(crate) fn pass_through(&self, port: &KnownPort) -> Option<PassThrough> {
        let target = match port.target {
            Target::Number(number) => number,
            Target::Name(_) => port.number,
        };
        match self.discovery {
            Discovery::Dialed => Some(PassThrough::Dialed { port: (target != port.number).then_some(target) }),
            Discovery::Requested => {
                let suffix = self.host.strip_prefix('*').unwrap_or(&self.host);
                Some(PassThrough::Named { suffix: suffix.into(), port: target })
            }
            Discovery::Listed | Discovery::Names | Discovery::LogicalName => None,
        }
    }

    /// The names that its endpoints have in place of addresses.
    #[cfg(feature = "file")]
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let looked_up = matches!(self.discovery, Discovery::Names | Discovery::LogicalName);
        self.endpoints.iter().filter(move |_| looked_up).filter_map(KnownEndpoint::name)
    }
}

/// Another name of a service: a Service of type ExternalName.
#[derive(Debug)]
pub(crate) struct Alias {
    pub(crate) host: String,
    pub(crate) namespace: String,
    /// The host that it stands for.
    pub(crate) target: String,
    /// Its port, if it has one only.
    pub(crate) sole_port: Option<u16>,
    pub(crate) export_to: Vec<String>,
}

/// What another name stands for in the end.
#[derive(Debug)]
pub(crate) struct OtherName {
    target: String,
    /// Its own port, if it has one only.
    pub(crate) sole_port: Option<u16>,
}

/// Every service of a configuration, as one workload sees them.
#[derive(Debug)]
pub(crate) struct Services {
    services: Vec<KnownService>,
    /// For each host, the services of that host which the workload sees, best first.
    by_host: HashMap<String, Vec<usize>>,
    /// The best of each host, the older first.
    visible: Vec<usize>,
    /// The other names that the workload sees.
    aliases: HashMap<String, OtherName>,
}

impl Services {
    /// Gathers the services of `config`.
    pub(crate) fn new(config: &Config, sources: &Sources<'_>, options: &MeshOptions, workload: &Workload) -> Self {
        let mut services: Vec<_> =
            config.services.iter().filter_map(|service| sources.kubernetes(service, options, workload)).collect();
        services.extend(config.service_entries.iter().flat_map(|entry| sources.service_entry(entry)));
        let default = &options.default_service_export_to;
        let reach =
            |export_to: &[String], namespace: &str| names::reach(export_to, default, namespace, &workload.namespace);
        let ranks = joined::ranks(&services, |service| reach(&service.export_to, &service.namespace));
        joined::join(&mut services, &ranks);
        let mut by_host: HashMap<String, Vec<usize>> = HashMap::new();
        for (number, service) in services.iter().enumerate().filter(|(number, _)| ranks[*number].is_some()) {
            by_host.entry(service.host.clone()).or_default().push(number);
        }
        for numbers in by_host.values_mut() {
            numbers.sort_by_key(|&number| (services[number].namespace != workload.namespace, ranks[number]));
        }
        let mut visible: Vec<_> = by_host.values().filter_map(|numbers| numbers.first().copied()).collect();
        visible.sort_unstable_by_key(|&number| {
            let service = &services[number];
            (service.created, service.called(), &service.namespace, &service.host)
        });
        let aliases = config.services.iter().filter_map(|service| super::kubernetes::alias(service, options));
        let aliases: Vec<_> = aliases.filter(|alias| reach(&alias.export_to, &alias.namespace).is_some()).collect();
        let aliases = followed(&aliases);
        for (alias, target) in sorted(&aliases) {
            for number in by_host.get(target).into_iter().flatten() {
                services[*number].aliases.push(alias.clone());
            }
        }
        Self { services, by_host, visible, aliases }
    }

    /// The services of this host, or of the one that it is another name of.
    fn of(&self, host: &str) -> Option<&[usize]> {
        let known = self.by_host.get(host).or_else(|| self.by_host.get(self.target_of(host)?));
        known.map(Vec::as_slice)
    }

    /// The service of this host that the workload sees.
    pub(crate) fn find(&self, host: &str) -> Option<&KnownService> {
        self.every(host).next()
    }

    /// Every service of this host that the workload sees, by whatever name.
    pub(crate) fn every(&self, host: &str) -> impl Iterator<Item = &KnownService> {
        self.of(host).unwrap_or_default().iter().map(|&number| &self.services[number])
    }

    /// The service of this host in `namespace`, by which gateways know the port of destinations that are written there.
    pub(crate) fn find_near(&self, host: &str, namespace: &str) -> Option<&KnownService> {
        self.every(host).find(|service| service.namespace == namespace)
    }

    /// The host that `host` is another name of, if it is that and nothing else.
    pub(crate) fn target_of(&self, host: &str) -> Option<&str> {
        self.aliases.get(host).map(|alias| alias.target.as_str())
    }

    /// The other name that `host` is, if it is no service itself.
    pub(crate) fn other_name(&self, host: &str) -> Option<&OtherName> {
        self.aliases.get(host).filter(|_| !self.by_host.contains_key(host))
    }

    /// Every service the workload sees, one a host, in Istio's order: by the time of its creation, then by what Istio
    /// calls it, then by its namespace.
    pub(crate) fn visible(&self) -> Vec<&KnownService> {
        self.visible.iter().map(|&number| &self.services[number]).collect()
    }
}

impl Discovery {
    /// Whether it takes such an endpoint: what is listed has addresses, not names.
    pub(crate) fn takes(self, endpoint: &KnownEndpoint) -> bool {
        match self {
            Self::Listed => !endpoint.is_named(),
            Self::Names | Self::LogicalName => true,
            Self::Dialed | Self::Requested => false,
        }
    }
}

/// Each alias with the host at the end of its chain; those that lead in a circle are left out.
fn followed(aliases: &[Alias]) -> HashMap<String, OtherName> {
    let direct: HashMap<&str, &str> = aliases.iter().map(|alias| (&*alias.host, &*alias.target)).collect();
    let mut ends: HashMap<&str, Option<&str>> = HashMap::new();
    let mut followed = HashMap::new();
    for alias in aliases {
        let mut chain = Vec::new();
        let mut name = &*alias.host;
        let end = loop {
            if let Some(end) = ends.get(name) {
                break *end;
            }
            let Some(next) = direct.get(name) else { break Some(name) };
            chain.push(name);
            // Where the chain comes here again, it has no end.
            ends.insert(name, None);
            name = next;
        };
        ends.extend(chain.into_iter().map(|name| (name, end)));
        if let Some(end) = end {
            followed.insert(alias.host.clone(), OtherName { target: end.to_owned(), sole_port: alias.sole_port });
        }
    }
    followed
}

fn sorted(aliases: &HashMap<String, OtherName>) -> Vec<(&String, &String)> {
    let mut aliases: Vec<_> = aliases.iter().map(|(alias, followed)| (alias, &followed.target)).collect();
    aliases.sort_unstable();
    aliases
}

/// Labels, shared by the endpoints that have them.
pub(crate) type Labels = Arc<BTreeMap<String, String>>;

/// Whether `labels` hold all of `selector`.
pub(crate) fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Orders resources as Istio does: by the time of their creation, then name, then namespace.
pub(crate) fn by_age<'a, T>(resource: &'a Resource<T>, namespace: &'a str) -> (Option<Timestamp>, &'a str, &'a str) {
    (resource.meta.creation_timestamp, &resource.meta.name, namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_followed_to_the_end_and_circles_left_out() {
        let alias = |(host, target): &(&str, &str)| Alias {
            host: (*host).to_owned(),
            namespace: String::new(),
            target: (*target).to_owned(),
            sole_port: None,
            export_to: Vec::new(),
        };
        let direct =
            [("a", "b"), ("b", "end"), ("c", "a"), ("d", "e"), ("e", "d"), ("f", "d"), ("g", "g"), ("h", "far")];
        let aliases: Vec<_> = direct.iter().map(alias).collect();
        let followed = followed(&aliases);
        let ends: Vec<_> = sorted(&followed).into_iter().map(|(name, end)| (name.as_str(), end.as_str())).collect();
        assert_eq!(ends, [("a", "end"), ("b", "end"), ("c", "end"), ("h", "far")]);
    }
}
