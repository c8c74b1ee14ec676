//! `loadBalancer` of a DestinationRule: how a cluster's endpoints share its requests, and what of a request is hashed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::destination_rules::{EffectivePolicy, MergedRule};
use super::endpoints::{HOSTNAME_LABEL, Sources, Topology};
use super::services::{KnownService, TrafficDistribution};
use crate::config::{
    ConsistentHashLb, HttpCookie, LoadBalancerSettings, LocalityLoadBalancerSetting, PortTrafficPolicy, SimpleLb,
    TrafficPolicy, ZoneAwareLoadBalancerSetting,
};
use crate::options::{MeshOptions, Workload};
use crate::route::{HashCookie, HashPolicy};
use crate::upstream::{
    Balancing, Distribute, Failover, FailoverLabel, FailoverPlaces, Locality, NETWORK_LABEL, PlaceShare, Placement,
    Policy, REGION_LABEL, SUBZONE_LABEL, Warmup, ZONE_LABEL,
};

/// What this process has in common with endpoints, or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Own {
    locality: String,
    labels: BTreeMap<String, String>,
}

impl Own {
    /// The locality of the workload: as it was told, else of its labels, else of its node. Its labels are joined by
    /// those that follow from locality and node, as those of endpoints are.
    pub(crate) fn new(sources: &Sources<'_>, workload: &Workload) -> Self {
        let Workload { labels, node, .. } = workload;
        let locality = match workload.locality.as_str() {
            "" => sources.locality(labels, node),
            told => told.to_owned(),
        };
        let labels = Topology { locality: &locality, node, network: "" }.added_to(labels.clone());
        Self { locality, labels }
    }
}

/// What a policy says of a service's cluster.
pub(crate) fn settings(
    policy: EffectivePolicy<'_>,
    service: &KnownService,
    own: &Own,
    options: &MeshOptions,
) -> Balancing {
    let mut balancing = Balancing::from(policy.load_balancer.map_or_else(Policy::default, balancer));
    balancing.warmup = policy.load_balancer.and_then(warmup);
    balancing.placement = placement(policy, service.traffic_distribution, own, options);
    // Where a service prefers endpoints by where they are, readiness alone says when to leave a place: those that are
    // not ready are known, and must not be sent to.
    let outlier = policy.outlier_detection.filter(|_| service.traffic_distribution.is_none());
    let percent = outlier.map_or(0, |outlier| outlier.min_health_percent);
    balancing.panic_threshold = u32::try_from(percent).unwrap_or(0).min(100);
    balancing
}

/// LEAST_REQUEST unless another is named.
fn balancer(settings: &LoadBalancerSettings) -> Policy {
    if let Some(hash) = &settings.consistent_hash {
        return consistent(hash);
    }
    match settings.simple {
        Some(SimpleLb::RoundRobin) => Policy::RoundRobin,
        Some(SimpleLb::Random) => Policy::Random,
        Some(SimpleLb::Passthrough) => Policy::PassThrough,
        None | Some(SimpleLb::Unspecified | SimpleLb::LeastConn | SimpleLb::LeastRequest) => Policy::LeastRequest,
    }
}

/// A ring unless a table is asked for; sizes of zero are unset.
fn consistent(hash: &ConsistentHashLb) -> Policy {
    if let Some(maglev) = &hash.maglev {
        return match maglev.table_size {
            0 => Policy::MAGLEV,
            table_size => Policy::Maglev { table_size },
        };
    }
    let size = hash.ring_hash.as_ref().map_or(hash.minimum_ring_size, |ring| ring.minimum_ring_size);
    if size == 0 { Policy::RING_HASH } else { Policy::RingHash { minimum_size: size } }
}

/// `warmup`, else the deprecated `warmupDurationSecs`.
fn warmup(settings: &LoadBalancerSettings) -> Option<Warmup> {
    let words = settings.warmup.as_ref();
    let duration = match words {
        Some(words) => words.duration.as_ref(),
        None => settings.warmup_duration_secs.as_ref(),
    };
    let mut warmup = Warmup::new(duration?.to_std()?);
    if let Some(words) = words {
        warmup.minimum_percent = words.minimum_percent.unwrap_or(warmup.minimum_percent);
        warmup.aggression = words.aggression.unwrap_or(warmup.aggression);
    }
    Some(warmup)
}

/// The first that speaks: the rule, the service, the mesh. In rule and mesh the setting for zones goes first.
fn placement(
    policy: EffectivePolicy<'_>,
    distribution: Option<TrafficDistribution>,
    own: &Own,
    options: &MeshOptions,
) -> Placement {
    let outlier = policy.outlier_detection.is_some();
    let of_rule = policy.load_balancer;
    if let Some(zones) = of_rule.and_then(|settings| settings.zone_aware_lb_setting.as_ref()) {
        return zone_aware(zones, own);
    }
    if let Some(localities) = of_rule.and_then(|settings| settings.locality_lb_setting.as_ref()) {
        return by_locality(localities, outlier, own);
    }
    if let Some(distribution) = distribution {
        let labels = labels_of(preferred(distribution), own);
        return Placement::Failover(Failover { labels, places: None, weighted: true });
    }
    if let Some(zones) = &options.zone_aware_lb_setting {
        return zone_aware(zones, own);
    }
    options.locality_lb_setting.as_ref().map_or(Placement::Anywhere, |setting| by_locality(setting, outlier, own))
}

/// The labels that endpoints are preferred by, most important first.
fn preferred(distribution: TrafficDistribution) -> impl Iterator<Item = &'static str> {
    let same_node = distribution == TrafficDistribution::SameNode;
    let near: &[&str] = if same_node { &[SUBZONE_LABEL, HOSTNAME_LABEL] } else { &[] };
    [NETWORK_LABEL, REGION_LABEL, ZONE_LABEL].into_iter().chain(near.iter().copied())
}

/// `localityLbSetting`. Without outlier detection nobody finds out whom to leave, and there is no failover.
fn by_locality(setting: &LocalityLoadBalancerSetting, outlier: bool, own: &Own) -> Placement {
    let LocalityLoadBalancerSetting { distribute, failover, failover_priority, enabled } = setting;
    if *enabled == Some(false) {
        return Placement::Anywhere;
    }
    if !distribute.is_empty() {
        let here = Locality::parse(&own.locality);
        let entry = distribute.iter().find(|entry| here.matches(&entry.from));
        let share = |(to, weight): (&String, &u32)| PlaceShare { to: to.as_str().into(), weight: *weight };
        let shares = entry.map(|entry| entry.to.iter().map(share).collect());
        return Placement::Distribute(Distribute { shares });
    }
    if !outlier {
        return Placement::Anywhere;
    }
    let pairs = failover.iter().map(|entry| (entry.from.as_str(), entry.to.as_str()));
    let places = places(pairs, own, false);
    let by_places = failover_priority.is_empty() || !failover.is_empty();
    Placement::Failover(Failover {
        labels: labels_of(failover_priority, own),
        places: by_places.then_some(places),
        weighted: !(failover.is_empty() && failover_priority.is_empty()),
    })
}

/// `zoneAwareLbSetting`: the own region first, whatever outlier detection there is.
fn zone_aware(setting: &ZoneAwareLoadBalancerSetting, own: &Own) -> Placement {
    // How a zone's endpoints share with those of others depends on how many clients are in each, which nobody tells.
    let ZoneAwareLoadBalancerSetting { enabled, failover, failover_priority, min_cluster_size: _ } = setting;
    if *enabled == Some(false) {
        return Placement::Anywhere;
    }
    let pairs = failover.iter().map(|entry| (entry.from.as_str(), entry.to.as_str()));
    Placement::Failover(Failover {
        labels: labels_of(failover_priority, own),
        places: Some(places(pairs, own, true)),
        weighted: false,
    })
}

fn places<'a>(mut failover: impl Iterator<Item = (&'a str, &'a str)>, own: &Own, regions_only: bool) -> FailoverPlaces {
    let region = Locality::parse(&own.locality).region;
    let to = failover.find(|(from, _)| *from == region).map(|(_, to)| to.into());
    FailoverPlaces { own: own.locality.as_str().into(), to, regions_only }
}

/// `failoverPriority`: names of labels, with a value where it is not the own one that counts. A value that is written
/// holds wherever its label is named. A process without labels has nothing to compare with.
fn labels_of(priority: impl IntoIterator<Item = impl AsRef<str>>, own: &Own) -> Arc<[FailoverLabel]> {
    if own.labels.is_empty() {
        return Arc::default();
    }
    let priority: Vec<_> = priority.into_iter().collect();
    let written = |entry: &str| {
        let (name, value) = entry.split_once('=')?;
        (!value.contains('=')).then(|| (name.to_owned(), value.to_owned()))
    };
    let values: BTreeMap<String, String> = priority.iter().filter_map(|entry| written(entry.as_ref())).collect();
    let label = |entry: &_| {
        let entry: &str = AsRef::as_ref(entry);
        let name = entry.split('=').next().unwrap_or(entry);
        let value = values.get(name).or_else(|| own.labels.get(name)).map_or("", String::as_str);
        FailoverLabel { name: name.into(), value: value.into(), written: entry.contains('=') }
    };
    priority.iter().map(label).collect()
}

/// What is hashed of requests to a destination: the first that says anything of its subset's port, the subset, the
/// port, the rule. A port that the destination does not name has no say.
pub(crate) fn hash_of<'a>(rule: &MergedRule<'a>, subset: &str, port: Option<u32>) -> Option<&'a ConsistentHashLb> {
    let of_subset = rule.subsets.iter().copied().find(|known| known.name == subset);
    let subset = of_subset.and_then(|subset| subset.traffic_policy.as_ref());
    let of_port = |policy: Option<&'a TrafficPolicy>| {
        let named =
            |entry: &&PortTrafficPolicy| entry.port.as_ref().is_some_and(|selector| Some(selector.number) == port);
        let entry = policy?.port_level_settings.iter().find(named)?;
        entry.load_balancer.as_ref()?.consistent_hash.as_ref()
    };
    let of_policy = |policy: Option<&'a TrafficPolicy>| policy?.load_balancer.as_ref()?.consistent_hash.as_ref();
    of_port(subset).or_else(|| of_policy(subset)).or_else(|| of_port(rule.policy)).or_else(|| of_policy(rule.policy))
}

/// The policy of a `consistentHash`; without a key there is none, and requests are spread at random.
pub(crate) fn hash_policy(words: &ConsistentHashLb) -> Option<HashPolicy> {
    let ConsistentHashLb {
        http_header_name,
        http_cookie,
        use_source_ip,
        http_query_parameter_name,
        ring_hash: _,
        maglev: _,
        minimum_ring_size: _,
    } = words;
    if let Some(name) = http_header_name {
        return Some(HashPolicy::header(name));
    }
    if let Some(cookie) = http_cookie {
        return Some(HashPolicy::Cookie(self::cookie(cookie)));
    }
    if let Some(used) = use_source_ip {
        return used.then_some(HashPolicy::SourceIp);
    }
    http_query_parameter_name.as_deref().map(|name| HashPolicy::Query(name.into()))
}

fn cookie(words: &HttpCookie) -> HashCookie {
    let HttpCookie { name, path, ttl, attributes } = words;
    HashCookie {
        name: name.as_str().into(),
        ttl: ttl.as_ref().and_then(|ttl| ttl.to_std()),
        path: path.as_str().into(),
        attributes: attributes
            .iter()
            .map(|attribute| (attribute.name.as_str().into(), attribute.value.as_str().into()))
            .collect(),
    }
}
