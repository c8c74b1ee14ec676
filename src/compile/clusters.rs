//! Clusters: one for each host, subset and port that a rule can reach.

use std::collections::HashMap;

use super::Purpose;
use super::destination_rules::{DestinationRules, EffectivePolicy};
use super::services::{KnownPort, KnownService, Services, selects};
use super::virtual_services::Target;
use crate::config::{LoadBalancerSettings, SimpleLb, Subset};
use crate::options::{MeshOptions, Workload};
use crate::route::{ClusterChoice, ClusterIndex};
use crate::snapshot::ClusterEntry;
use crate::telemetry::ClusterMetrics;
use crate::upstream::{ClusterKey, ClusterSettings, EndpointConfig, Policy, Registry};

/// The clusters of a snapshot in the making.
pub(crate) struct Clusters<'a> {
    services: &'a Services,
    rules: &'a DestinationRules<'a>,
    options: &'a MeshOptions,
    workload: &'a Workload,
    registry: &'a Registry,
    by_key: HashMap<ClusterKey, ClusterIndex>,
    pub(crate) entries: Vec<ClusterEntry>,
}

/// Why a destination has no cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dangling {
    Host,
    /// The port that was asked for; the service has others.
    Port(u32),
    Subset,
}

impl<'a> Clusters<'a> {
    pub(crate) fn new(services: &'a Services, rules: &'a DestinationRules<'a>, purpose: Purpose<'a>) -> Self {
        let Purpose { options, workload, registry } = purpose;
        Self { services, rules, options, workload, registry, by_key: HashMap::new(), entries: Vec::new() }
    }

    /// The cluster of a destination: of the port it names, else of the service's only port, else of the port the
    /// client addressed.
    pub(crate) fn choose(&mut self, destination: &Target, near: Option<&str>) -> ClusterChoice {
        match self.locate(destination, near) {
            Ok((service, ports)) => match ports.as_slice() {
                [] => ClusterChoice::Missing,
                [port] => {
                    self.index(service, port, &destination.subset).map_or(ClusterChoice::Missing, ClusterChoice::Fixed)
                }
                ports => ClusterChoice::ByPort(
                    ports
                        .iter()
                        .filter_map(|port| Some((port.number, self.index(service, port, &destination.subset)?)))
                        .collect(),
                ),
            },
            Err(_) => ClusterChoice::Missing,
        }
    }

    /// What is missing for a destination to have a cluster.
    pub(crate) fn dangling(&self, destination: &Target, near: Option<&str>) -> Option<Dangling> {
        self.locate(destination, near).err()
    }

    /// Whether requests are balanced by a hash of what is in them (`consistentHash`).
    pub(crate) fn is_hashed(&self, destination: &Target, near: Option<&str>) -> bool {
        let Ok((service, ports)) = self.locate(destination, near) else { return false };
        let Some(rule) = self.rules.find(service) else { return false };
        let subset = self.subset(service, &destination.subset);
        ports.iter().any(|port| {
            let balancer = EffectivePolicy::of(rule.policy, subset, port.number).load_balancer;
            balancer.is_some_and(|balancer| balancer.consistent_hash.is_some())
        })
    }

    /// The subsets that the rule of this host names.
    pub(crate) fn subsets_of(&self, host: &str) -> Vec<&str> {
        let rule = self.services.find(host).and_then(|service| self.rules.find(service));
        rule.map_or_else(Vec::new, |rule| rule.subsets.iter().map(|subset| subset.name.as_str()).collect())
    }

    /// The cluster of every endpoint of a service's port.
    pub(crate) fn whole(&mut self, service: &KnownService, port: &KnownPort) -> ClusterChoice {
        self.index(service, port, "").map_or(ClusterChoice::Missing, ClusterChoice::Fixed)
    }

    fn locate(
        &self,
        destination: &Target,
        near: Option<&str>,
    ) -> Result<(&'a KnownService, Vec<&'a KnownPort>), Dangling> {
        let services = self.services;
        let found = match near {
            Some(namespace) => services.find_near(&destination.host, namespace),
            None => services.find(&destination.host),
        };
        let service = found.ok_or(Dangling::Host)?;
        let ports = match destination.port {
            Some(number) => {
                let port = u16::try_from(number).ok().and_then(|number| service.port(number));
                vec![port.ok_or(Dangling::Port(number))?]
            }
            None => service.ports.iter().collect(),
        };
        if !destination.subset.is_empty() && self.subset(service, &destination.subset).is_none() {
            return Err(Dangling::Subset);
        }
        Ok((service, ports))
    }

    fn subset(&self, service: &KnownService, name: &str) -> Option<&'a Subset> {
        self.rules.find(service)?.subsets.iter().copied().find(|subset| subset.name == name)
    }

    fn index(&mut self, service: &KnownService, port: &KnownPort, subset: &str) -> Option<ClusterIndex> {
        let key = ClusterKey::new(service.host.as_str(), subset, port.number);
        if let Some(&index) = self.by_key.get(&key) {
            return Some(index);
        }
        let subset = if subset.is_empty() { None } else { Some(self.subset(service, subset)?) };
        let policy = self.rules.find(service).and_then(|rule| rule.policy);
        let settings = self.settings(EffectivePolicy::of(policy, subset, port.number), port);
        let cluster = self.registry.cluster(key.clone(), settings, endpoints(service, port, subset));
        let index = ClusterIndex(u32::try_from(self.entries.len()).ok()?);
        let metrics = ClusterMetrics::new(&key).with_source(self.workload);
        self.entries.push(ClusterEntry { cluster, metrics });
        self.by_key.insert(key, index);
        Some(index)
    }

    fn settings(&self, policy: EffectivePolicy<'_>, port: &KnownPort) -> ClusterSettings {
        let timeout = policy.connection_pool.and_then(|pool| pool.tcp.as_ref()?.connect_timeout.as_ref());
        ClusterSettings {
            balancer: policy.load_balancer.map_or_else(Policy::default, balancer),
            connect_timeout: timeout.and_then(|timeout| timeout.to_std()).unwrap_or(self.options.connect_timeout),
            protocol: port.protocol.upstream(),
            ..ClusterSettings::default()
        }
    }
}

fn endpoints(service: &KnownService, port: &KnownPort, subset: Option<&Subset>) -> Vec<EndpointConfig> {
    let of_subset = |labels: &_| subset.is_none_or(|subset| selects(&subset.labels, labels));
    service
        .endpoints
        .iter()
        .filter(|endpoint| of_subset(&*endpoint.labels))
        .filter_map(|endpoint| endpoint.at(port))
        .collect()
}

/// LEAST_REQUEST unless another is named; what is not honored yet behaves like it.
fn balancer(settings: &LoadBalancerSettings) -> Policy {
    match settings.simple {
        Some(SimpleLb::RoundRobin) => Policy::RoundRobin,
        Some(SimpleLb::Random) => Policy::Random,
        _ => Policy::LeastRequest,
    }
}
