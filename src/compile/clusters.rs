//! Clusters: one for each host, subset and port that a rule can reach, and for the other subsets of such a host at that
//! port, which a request may ask for itself.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Purpose;
use super::client_tls;
use super::connection_pool;
use super::destination_rules::{DestinationRules, EffectivePolicy};
use super::endpoints::{self, Found};
use super::limits;
use super::load_balancing::{self, Own};
use super::outlier;
use super::secrets::Secrets;
use super::services::{KnownPort, KnownService, Services};
use super::tunnels;
use super::virtual_services::{RuleDestination, Target, drawn};
use crate::config::{Subset, TcpSettings, TrafficPolicy, TunnelSettings};
use crate::error::ResourceName;
use crate::request::Tunnel;
use crate::route::{ClusterChoice, ClusterIndex, DestinationName, HashPolicies, HashPolicy, WeightedCluster};
use crate::snapshot::ClusterEntry;
use crate::telemetry::ClusterMetrics;
use crate::upstream::{ClusterKey, ClusterSettings, Takes};

/// The clusters of a snapshot in the making.
pub(crate) struct Clusters<'a> {
    services: &'a Services,
    rules: &'a DestinationRules<'a>,
    secrets: &'a Secrets<'a>,
    own: Own,
    purpose: Purpose<'a>,
    by_key: HashMap<ClusterKey, ClusterIndex>,
    /// How rules name destinations: each once, however many routes lead there.
    written: HashSet<Arc<DestinationName>>,
    pub(crate) entries: Vec<ClusterEntry>,
    /// Those that a rule leads through.
    pub(crate) tunnels: Vec<&'a TunnelSettings>,
    /// Where connections lead that are closed then.
    pub(crate) unserved: Vec<Unserved<'a>>,
}

/// A destination of a `tcp` or `tls` rule that names no port, of a service that has not the one which is addressed.
pub(crate) struct Unserved<'a> {
    pub(crate) resource: ResourceName,
    pub(crate) path: String,
    pub(crate) service: &'a KnownService,
    pub(crate) port: u16,
    /// Whether it is addressed by clients of the mesh, not at a gateway.
    pub(crate) in_mesh: bool,
}

/// Who asks for a destination, which decides what port it has if it names none.
#[derive(Clone, Copy)]
pub(crate) enum Asker<'a> {
    /// An http rule for a gateway, in a VirtualService of this namespace: the only port of the service there, or of the
    /// service where there is none of that namespace; else the port that was addressed.
    Gateway(&'a str),
    /// Any other rule: the only port of the service, else the one that was addressed.
    Other,
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
    pub(crate) fn new(
        services: &'a Services,
        rules: &'a DestinationRules<'a>,
        secrets: &'a Secrets<'a>,
        own: Own,
        purpose: Purpose<'a>,
    ) -> Self {
        Self {
            services,
            rules,
            secrets,
            own,
            purpose,
            by_key: HashMap::new(),
            written: HashSet::new(),
            entries: Vec::new(),
            tunnels: Vec::new(),
            unserved: Vec::new(),
        }
    }

    /// The cluster of a destination: of the port it names, else of the one that it has for those who ask.
    pub(crate) fn choose(&mut self, destination: &Target, asker: Asker<'_>) -> ClusterChoice {
        let subset = &destination.subset;
        match self.locate(destination, asker) {
            Ok((service, Some(port))) => {
                self.index(service, port, subset).map_or(ClusterChoice::Missing, ClusterChoice::Fixed)
            }
            Ok((service, None)) => {
                let index = |port: &KnownPort| Some((port.number, self.index(service, port, subset)?));
                match service.ports.iter().filter_map(index).collect::<Box<[_]>>() {
                    none if none.is_empty() => ClusterChoice::Missing,
                    ports => ClusterChoice::ByPort(ports),
                }
            }
            Err(_) => ClusterChoice::Missing,
        }
    }

    /// A destination of a rule as an entry of its split.
    pub(crate) fn entry(&mut self, destination: &Target, asker: Asker<'_>) -> WeightedCluster {
        let port = destination.port.and_then(|port| u16::try_from(port).ok());
        let name = DestinationName::new(&destination.host, &destination.subset, port);
        let name = match self.written.get(&name) {
            Some(known) => Arc::clone(known),
            None => {
                let name = Arc::new(name);
                self.written.insert(Arc::clone(&name));
                name
            }
        };
        WeightedCluster::new(self.choose(destination, asker)).with_name(name)
    }

    /// What is missing for a destination to have a cluster.
    pub(crate) fn dangling(&self, destination: &Target, asker: Asker<'_>) -> Option<Dangling> {
        // A host that is missing is an error already.
        self.locate(destination, asker).err().filter(|_| !destination.host.is_empty())
    }

    /// The service that has ports but not the one which was addressed, if a destination asks for that.
    pub(crate) fn lacking(&self, destination: &Target, asker: Asker<'_>, addressed: u16) -> Option<&'a KnownService> {
        let Ok((service, None)) = self.locate(destination, asker) else { return None };
        (!service.ports.is_empty() && service.port(addressed).is_none()).then_some(service)
    }

    /// Notes which destinations of a `tcp` or `tls` rule lack the port that is addressed.
    pub(crate) fn note_unserved(&mut self, destinations: &[RuleDestination], port: u16, in_mesh: bool) {
        for RuleDestination { target, .. } in drawn(destinations) {
            if let Some(service) = self.lacking(target, Asker::Other, port) {
                let (resource, path) = (target.resource.clone(), target.path.clone());
                self.unserved.push(Unserved { resource, path, service, port, in_mesh });
            }
        }
    }

    pub(crate) fn services(&self) -> &'a Services {
        self.services
    }

    /// The subsets that the rule of this host names.
    pub(crate) fn subsets_of(&self, host: &str) -> Vec<&'a str> {
        let rule = self.services.find(host).and_then(|service| self.rules.find(service));
        rule.map_or_else(Vec::new, |rule| rule.subsets.iter().map(|subset| subset.name.as_str()).collect())
    }

    /// The cluster of every endpoint of a service's port.
    pub(crate) fn whole(&mut self, service: &KnownService, port: &KnownPort) -> ClusterChoice {
        self.index(service, port, "").map_or(ClusterChoice::Missing, ClusterChoice::Fixed)
    }

    /// What is hashed of the requests of a rule with these destinations: each adds its own, but for those of several
    /// that have no weight.
    pub(crate) fn hash_policies(&self, destinations: &[RuleDestination]) -> HashPolicies {
        let hash = |destination: &RuleDestination| {
            let Target { host, subset, port, .. } = &destination.target;
            load_balancing::hash_of(self.rules.find(self.services.find(host)?)?, subset, *port)
        };
        if let [sole] = destinations {
            let Some(hash) = hash(sole) else { return HashPolicies::default() };
            return HashPolicies::new(load_balancing::hash_policy(hash)).of_sole_destination();
        }
        HashPolicies::new(drawn(destinations).filter_map(|destination| load_balancing::hash_policy(hash(destination)?)))
    }

    /// The same for a service that no rule speaks of, at one of its ports. Its retries avoid endpoints already tried,
    /// whatever is hashed.
    pub(crate) fn hash_policies_of_service(&self, service: &KnownService, port: u16) -> HashPolicies {
        let hash = self.rules.find(service).and_then(|rule| load_balancing::hash_of(rule, "", Some(port.into())));
        HashPolicies::new(hash.and_then(load_balancing::hash_policy))
    }

    /// What is hashed of the connections of a `tcp` or `tls` rule with these destinations: the client's address or
    /// nothing.
    ///
    /// As a tunnel is, it is of the rule: what the first destination's host says, unless that is the sole one and its
    /// subset has a balancer of its own. No port has a say.
    pub(crate) fn hash_policies_of_connections(&self, destinations: &[RuleDestination]) -> HashPolicies {
        let by_source = || {
            let Target { host, subset, .. } = &destinations.first()?.target;
            let service = self.services.find(host)?;
            let of = |policy: &'a TrafficPolicy| policy.load_balancer.as_ref();
            let own = match destinations {
                [_] if !subset.is_empty() => self.subset(service, subset).and_then(|own| own.traffic_policy.as_ref()),
                _ => None,
            };
            let balancer = own.and_then(of).or_else(|| of(self.rules.find(service)?.policy?))?;
            balancer.consistent_hash.as_ref()?.use_source_ip
        };
        HashPolicies::new((by_source() == Some(true)).then_some(HashPolicy::SourceIp))
    }

    /// What the rule of a destination's host says of its TCP connections, whatever the port and the subset.
    pub(crate) fn tcp_settings(&self, destination: &Target) -> Option<&'a TcpSettings> {
        let policy = self.rules.find(self.services.find(&destination.host)?)?.policy?;
        policy.connection_pool.as_ref()?.tcp.as_ref()
    }

    /// What is asked for on the connections of a `tcp` or `tls` rule with these destinations.
    ///
    /// In Istio a tunnel is of the rule, not of a cluster. A sole destination has that of its subset if it names one,
    /// which inherits none; several have that of the first one's host, whatever their subsets. No port has one of its
    /// own, or is without.
    pub(crate) fn tunnel(&mut self, destinations: &[RuleDestination]) -> Option<Arc<Tunnel>> {
        let Target { host, subset, .. } = &destinations.first()?.target;
        let service = self.services.find(host)?;
        let policy = match (destinations, subset.as_str()) {
            ([_], subset) if !subset.is_empty() => self.subset(service, subset)?.traffic_policy.as_ref(),
            _ => self.rules.find(service)?.policy,
        };
        let words = policy?.tunnel.as_ref()?;
        self.tunnels.push(words);
        tunnels::tunnel(words).map(Arc::new)
    }

    /// Whether its rule has the requests for a destination go where the client connected to.
    pub(crate) fn passes_through(&self, destination: &Target, asker: Asker<'_>) -> bool {
        let Ok((service, port)) = self.locate(destination, asker) else { return false };
        let policy = self.rules.find(service).and_then(|rule| rule.policy);
        let subset = self.subset(service, &destination.subset);
        let passes = |port: &KnownPort| EffectivePolicy::of(policy, subset, port.number).passes_through();
        match port {
            Some(port) => passes(port),
            None => !service.ports.is_empty() && service.ports.iter().all(passes),
        }
    }

    /// The service of a destination and its port; no port: the one that was addressed.
    fn locate(
        &self,
        destination: &Target,
        asker: Asker<'_>,
    ) -> Result<(&'a KnownService, Option<&'a KnownPort>), Dangling> {
        let service = self.services.find(&destination.host).ok_or(Dangling::Host)?;
        let number = destination.port.or_else(|| self.sole_port(&destination.host, service, asker));
        let port = |number| u16::try_from(number).ok().and_then(|number| service.port(number));
        let port = number.map(|number| port(number).ok_or(Dangling::Port(number))).transpose()?;
        if !destination.subset.is_empty() && self.subset(service, &destination.subset).is_none() {
            return Err(Dangling::Subset);
        }
        Ok((service, port))
    }

    /// The port of a destination that names none, unless it is the one that was addressed. Of another name of a service
    /// that Service's ports count.
    fn sole_port(&self, host: &str, service: &KnownService, asker: Asker<'_>) -> Option<u32> {
        if let Some(name) = self.services.other_name(host) {
            return name.sole_port.map(u32::from);
        }
        let near = match asker {
            Asker::Gateway(namespace) => self.services.find_near(host, namespace),
            Asker::Other => None,
        };
        near.map_or_else(|| service.sole_port(), KnownService::sole_own_port)
    }

    fn subset(&self, service: &KnownService, name: &str) -> Option<&'a Subset> {
        self.rules.find(service)?.subsets.iter().copied().find(|subset| subset.name == name)
    }

    fn index(&mut self, service: &KnownService, port: &KnownPort, subset: &str) -> Option<ClusterIndex> {
        let key = ClusterKey::new(service.host.as_str(), subset, port.number);
        if let Some(&index) = self.by_key.get(&key) {
            return Some(index);
        }
        let rule = self.rules.find(service);
        let subsets = rule.map_or(&[][..], |rule| &rule.subsets);
        let policy = rule.and_then(|rule| rule.policy);
        let own = match subset {
            "" => None,
            name => Some(*subsets.iter().find(|subset| subset.name == name)?),
        };
        let host = Arc::clone(&key.host);
        let index = self.add(service, port, key, own, policy)?;
        for subset in subsets {
            let key = ClusterKey::new(Arc::clone(&host), subset.name.as_str(), port.number);
            if !self.by_key.contains_key(&key) {
                self.add(service, port, key, Some(subset), policy);
            }
        }
        Some(index)
    }

    fn add(
        &mut self,
        service: &KnownService,
        port: &KnownPort,
        key: ClusterKey,
        subset: Option<&Subset>,
        policy: Option<&TrafficPolicy>,
    ) -> Option<ClusterIndex> {
        let given = self.purpose.given.get(&service.host, port.number);
        let mut found = match given {
            Some(_) => Found { endpoints: Vec::new(), named: None },
            None => endpoints::of_cluster(service, port, subset, self.purpose.names)?,
        };
        let policy = EffectivePolicy::of(policy, subset, port.number);
        let mut settings = self.settings(policy, service, port);
        let tls = client_tls::settings(policy.tls, &key, service, self.secrets);
        Arc::make_mut(&mut settings.connection).tls = tls;
        // Where panic is possible, those that are not ready are not known at all.
        let ready_only = settings.balancing.panic_threshold > 0;
        let given = given.map(|endpoints| {
            settings.pass_through = None;
            let takes = Takes { labels: subset.map(|subset| subset.labels.clone()).unwrap_or_default(), ready_only };
            found.endpoints = takes.of(endpoints);
            takes
        });
        if ready_only {
            found.retain_healthy();
        }
        let Found { endpoints, named } = found;
        let (cluster, endpoints) = self.purpose.registry.prepare(key.clone(), settings, endpoints);
        let index = ClusterIndex(u32::try_from(self.entries.len()).ok()?);
        let metrics =
            ClusterMetrics::new(&key, service.called(), &service.namespace).with_source(self.purpose.workload);
        // It rises when they are published.
        let generation = cluster.generation() + u64::from(endpoints.is_some());
        self.entries.push(ClusterEntry { cluster, metrics, endpoints, named, given, generation });
        self.by_key.insert(key, index);
        Some(index)
    }

    fn settings(&self, policy: EffectivePolicy<'_>, service: &KnownService, port: &KnownPort) -> ClusterSettings {
        ClusterSettings {
            balancing: load_balancing::settings(policy, service, &self.own, self.purpose.options),
            connection: Arc::new(connection_pool::settings(policy, port.protocol, self.purpose.options)),
            outlier: outlier::settings(policy.outlier_detection),
            limits: limits::settings(policy.connection_pool, policy.retry_budget),
            pass_through: service.pass_through(port),
        }
    }
}
