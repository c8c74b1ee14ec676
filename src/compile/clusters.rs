//! Clusters: one for each host, subset and port that a rule can reach.

use std::collections::HashMap;
use std::sync::Arc;

use super::Purpose;
use super::connection_pool;
use super::destination_rules::{DestinationRules, EffectivePolicy};
use super::endpoints::{self, Found};
use super::limits;
use super::outlier;
use super::services::{KnownPort, KnownService, Services};
use super::virtual_services::Target;
use crate::config::{LoadBalancerSettings, SimpleLb, Subset};
use crate::options::{MeshOptions, Workload};
use crate::route::{ClusterChoice, ClusterIndex};
use crate::snapshot::ClusterEntry;
use crate::telemetry::ClusterMetrics;
use crate::upstream::{ClusterKey, ClusterSettings, Names, Policy, Registry};

/// The clusters of a snapshot in the making.
pub(crate) struct Clusters<'a> {
    services: &'a Services,
    rules: &'a DestinationRules<'a>,
    options: &'a MeshOptions,
    workload: &'a Workload,
    registry: &'a Registry,
    names: &'a Names,
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
        let Purpose { options, workload, registry, names } = purpose;
        Self { services, rules, options, workload, registry, names, by_key: HashMap::new(), entries: Vec::new() }
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
        let mut found = endpoints::of_cluster(service, port, subset, self.names)?;
        let policy = self.rules.find(service).and_then(|rule| rule.policy);
        let settings = self.settings(EffectivePolicy::of(policy, subset, port.number), port, service);
        // Where panic is possible, those that are not ready are not known at all.
        if settings.outlier.as_ref().is_some_and(|outlier| outlier.min_health_percent > 0) {
            found.retain_healthy();
        }
        let Found { endpoints, named } = found;
        let cluster = self.registry.cluster(key.clone(), settings, endpoints);
        let index = ClusterIndex(u32::try_from(self.entries.len()).ok()?);
        let metrics = ClusterMetrics::new(&key).with_source(self.workload);
        self.entries.push(ClusterEntry { cluster, metrics, named });
        self.by_key.insert(key, index);
        Some(index)
    }

    fn settings(&self, policy: EffectivePolicy<'_>, port: &KnownPort, service: &KnownService) -> ClusterSettings {
        ClusterSettings {
            balancing: policy.load_balancer.map_or_else(Policy::default, balancer).into(),
            connection: Arc::new(connection_pool::settings(policy, port.protocol, self.options)),
            outlier: outlier::settings(policy.outlier_detection),
            limits: limits::settings(policy.connection_pool, policy.retry_budget),
            pass_through: service.pass_through(port),
        }
    }
}

/// LEAST_REQUEST unless another is named; what is not honored yet behaves like it.
fn balancer(settings: &LoadBalancerSettings) -> Policy {
    match settings.simple {
        Some(SimpleLb::RoundRobin) => Policy::RoundRobin,
        Some(SimpleLb::Random) => Policy::Random,
        _ => Policy::LeastRequest,
    }
}
