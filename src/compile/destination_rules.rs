//! Which DestinationRule speaks for a destination, and what it says for one port and subset.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::names;
use super::path::Path;
use super::services::{KnownService, by_age, selects};
use crate::config::{
    ClientTlsSettings, ConnectionPoolSettings, DestinationRule, LoadBalancerSettings, OutlierDetection,
    PortTrafficPolicy, ProxyProtocol, Resource, RetryBudget, SimpleLb, Subset, TrafficPolicy,
};
use crate::options::{MeshOptions, Workload};

/// The rules of a configuration that a workload may meet, by namespace and host, those of one host merged as Istio
/// merges them. Who sees a rule counts before that: with one that is not there for a client none is merged.
pub(crate) struct DestinationRules<'a> {
    /// Those of the client's own namespace, as its own clients see them.
    own: Hosts<'a>,
    /// Those of every namespace that are not for its own clients only.
    exported: HashMap<String, Hosts<'a>>,
    options: &'a MeshOptions,
    workload: &'a Workload,
}

/// The rules of a namespace by host.
type Hosts<'a> = HashMap<String, Vec<MergedRule<'a>>>;

/// Rules of one host in one namespace, merged.
pub(crate) struct MergedRule<'a> {
    pub(crate) subsets: Vec<&'a Subset>,
    pub(crate) policy: Option<&'a TrafficPolicy>,
    /// As the first of them says it, in its words.
    export_to: BTreeSet<&'a str>,
    /// The labels that the client must have. `None`: it is for every client.
    selector: Option<&'a BTreeMap<String, String>>,
    /// The rules that it is merged of, in order.
    pub(super) parts: Vec<&'a Resource<DestinationRule>>,
}

impl<'a> DestinationRules<'a> {
    pub(crate) fn new(
        rules: impl IntoIterator<Item = &'a Resource<DestinationRule>>,
        options: &'a MeshOptions,
        workload: &'a Workload,
    ) -> Self {
        let mut rules: Vec<_> = rules.into_iter().map(|rule| (rule.namespace(), rule)).collect();
        // Rules with a selector first, else the older first.
        rules.sort_by(|(one_namespace, one), (other_namespace, other)| {
            let key = |rule: &Resource<DestinationRule>| rule.spec.workload_selector.is_none();
            key(one).cmp(&key(other)).then_with(|| by_age(one, one_namespace).cmp(&by_age(other, other_namespace)))
        });
        let mut all = Self { own: Hosts::new(), exported: HashMap::new(), options, workload };
        for (namespace, rule) in rules {
            all.add(namespace, rule);
        }
        all
    }

    fn add(&mut self, namespace: &'a str, rule: &'a Resource<DestinationRule>) {
        let Self { own, exported, options, workload } = self;
        let host = names::complete(&rule.spec.host, namespace, &options.domain);
        let selector = rule.spec.workload_selector.as_ref().map(|selector| &selector.match_labels);
        let export_to: BTreeSet<&str> = match selector {
            // What is for some workloads is for none of another namespace.
            Some(_) => BTreeSet::from(["."]),
            None => rule.spec.export_to.iter().map(String::as_str).collect(),
        };
        let names_own = export_to.contains(".") || export_to.contains(namespace);
        let is_private = match export_to.len() {
            0 => options.default_destination_rule_export_to.iter().any(|to| to == "."),
            1 => names_own,
            _ => false,
        };
        let is_of_root = namespace == options.root_namespace;
        let is_for_own =
            if is_of_root { is_private } else { export_to.is_empty() || export_to.contains("*") || names_own };
        if is_for_own && namespace == workload.namespace {
            merge(own.entry(host.clone()).or_default(), rule, selector, &export_to);
        }
        if !is_private {
            let rules = exported.entry(namespace.to_owned()).or_default().entry(host).or_default();
            merge(rules, rule, selector, &export_to);
        }
    }

    /// For each host of a namespace, all that its rules are merged to, for whatever clients.
    pub(super) fn by_host(&self) -> impl Iterator<Item = Vec<&MergedRule<'a>>> {
        let own_too = |namespace: &str, host: &str| match namespace == self.workload.namespace {
            true => self.own.get(host),
            false => None,
        };
        let hosts = self.exported.iter().flat_map(|(namespace, hosts)| hosts.iter().map(move |host| (namespace, host)));
        let exported = hosts.map(move |(namespace, (host, rules))| {
            rules.iter().chain(own_too(namespace, host).into_iter().flatten()).collect()
        });
        let public = self.exported.get(&self.workload.namespace);
        let is_private = move |host: &str| public.is_none_or(|public| !public.contains_key(host));
        let private = self.own.iter().filter(move |(host, _)| is_private(host));
        exported.chain(private.map(|(_, rules)| rules.iter().collect()))
    }

    /// The rule for a service: of the client's namespace, else of the service's, else of the root namespace.
    /// The first namespace that has one decides; inside it an exact host hides every wildcard.
    pub(crate) fn find(&self, service: &KnownService) -> Option<&MergedRule<'a>> {
        if let Some(rules) = of_host(&self.own, &service.host) {
            return self.choose(rules.iter());
        }
        for namespace in [&service.namespace, &self.options.root_namespace] {
            let found = self.exported.get(namespace).and_then(|hosts| of_host(hosts, &service.host));
            let mut seen = found.into_iter().flatten().filter(|rule| self.is_exported(rule)).peekable();
            if seen.peek().is_some() {
                return self.choose(seen);
            }
        }
        None
    }

    /// Among the rules of one host: a selector that fits the client wins, else the youngest without one.
    fn choose<'r>(&self, rules: impl Iterator<Item = &'r MergedRule<'a>>) -> Option<&'r MergedRule<'a>> {
        let mut chosen = None;
        for rule in rules {
            match rule.selector {
                None => chosen = Some(rule),
                Some(labels) if selects(labels, &self.workload.labels) => return Some(rule),
                Some(_) => {}
            }
        }
        chosen
    }

    /// Whether a rule of another namespace is for the client's.
    fn is_exported(&self, rule: &MergedRule<'a>) -> bool {
        let to = &rule.export_to;
        to.is_empty() || to.contains("*") || to.contains(self.workload.namespace.as_str())
    }
}

/// The rules of the one host of a namespace that speaks for `host`.
fn of_host<'r, 'a>(hosts: &'r Hosts<'a>, host: &str) -> Option<&'r [MergedRule<'a>]> {
    if let Some(rules) = hosts.get(host) {
        return Some(rules);
    }
    let wild = hosts.iter().filter(|(key, _)| names::is_wildcard(key) && names::covers(key, host));
    wild.min_by(|(one, _), (other, _)| names::by_specificity(one, other)).map(|(_, rules)| rules.as_slice())
}

/// Adds a rule to those of its host with which it goes: its subsets (the first of a name wins), and its policy where
/// there was none. It stands alone too, unless the last of those with whom it was compared are for the same clients.
fn merge<'a>(
    merged: &mut Vec<MergedRule<'a>>,
    rule: &'a Resource<DestinationRule>,
    selector: Option<&'a BTreeMap<String, String>>,
    export_to: &BTreeSet<&'a str>,
) {
    let mut stands_alone = true;
    for existing in merged.iter_mut() {
        stands_alone = existing.export_to != *export_to;
        let is_wider = !existing.export_to.is_empty() && existing.export_to.is_subset(export_to);
        if stands_alone && !is_wider {
            continue;
        }
        match (existing.selector, selector) {
            (Some(one), Some(other)) if one != other => {
                stands_alone = true;
                continue;
            }
            (Some(_), Some(_)) | (None, None) => stands_alone = false,
            // What holds for every client completes what holds for some.
            _ => {}
        }
        for subset in &rule.spec.subsets {
            if existing.subsets.iter().all(|known| known.name != subset.name) {
                existing.subsets.push(subset);
            }
        }
        existing.policy = existing.policy.or(rule.spec.traffic_policy.as_ref());
        existing.parts.push(rule);
    }
    if stands_alone {
        let subsets = rule.spec.subsets.iter().collect();
        let (policy, export_to) = (rule.spec.traffic_policy.as_ref(), export_to.clone());
        merged.push(MergedRule { subsets, policy, export_to, selector, parts: vec![rule] });
    }
}

/// What a `trafficPolicy` of a rule is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PolicyOf {
    Host,
    /// It takes the place of what the host's policy says, which may stand in another rule.
    Subset,
}

/// Visits every `trafficPolicy` of a rule and where it stands: the host's own, then those of the subsets.
pub(crate) fn each_policy(rule: &DestinationRule, mut visit: impl FnMut(&TrafficPolicy, PolicyOf, &Path<'_>)) {
    // Without `..`, as in `honored`: a new field that holds a policy is not passed over.
    let DestinationRule { host: _, traffic_policy: policy, subsets, export_to: _, workload_selector: _ } = rule;
    let root = Path::root("spec");
    if let Some(policy) = policy {
        visit(policy, PolicyOf::Host, &root.field("trafficPolicy"));
    }
    for (number, Subset { name: _, labels: _, traffic_policy: policy }) in subsets.iter().enumerate() {
        if let Some(policy) = policy {
            visit(policy, PolicyOf::Subset, &root.item("subsets", number).field("trafficPolicy"));
        }
    }
}

/// Visits what every `trafficPolicy` of a rule says, then each entry of its `portLevelSettings` with its port.
pub(crate) fn each_part(rule: &DestinationRule, mut visit: impl FnMut(EffectivePolicy<'_>, Option<u32>, &Path<'_>)) {
    each_policy(rule, |policy, _, path| {
        visit(EffectivePolicy::of_blocks(policy), None, path);
        for (number, entry) in policy.port_level_settings.iter().enumerate() {
            let port = entry.port.as_ref().map_or(0, |port| port.number);
            visit(EffectivePolicy::of_entry(entry), Some(port), &path.item("portLevelSettings", number));
        }
    });
}

/// What a rule says for one port and subset; a missing block means its defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct EffectivePolicy<'a> {
    pub(crate) load_balancer: Option<&'a LoadBalancerSettings>,
    pub(crate) connection_pool: Option<&'a ConnectionPoolSettings>,
    pub(crate) tls: Option<&'a ClientTlsSettings>,
    pub(crate) proxy_protocol: Option<&'a ProxyProtocol>,
    pub(crate) outlier_detection: Option<&'a OutlierDetection>,
    pub(crate) retry_budget: Option<&'a RetryBudget>,
}

impl<'a> EffectivePolicy<'a> {
    /// The policy of `rule` for a port of the service and, where named, a subset.
    ///
    /// A port's entry inherits nothing from the top level; a subset's block replaces the whole block.
    pub(crate) fn of(policy: Option<&'a TrafficPolicy>, subset: Option<&'a Subset>, port: u16) -> Self {
        let mut effective = match policy {
            Some(policy) => match of_port(policy, port) {
                Some(entry) => Self::of_entry(entry),
                None => Self::of_blocks(policy),
            },
            None => Self::default(),
        };
        let Some(over) = subset.and_then(|subset| subset.traffic_policy.as_ref()) else { return effective };
        let (base, own) = (effective, Self::of_blocks(over));
        if let Some(entry) = of_port(over, port) {
            // What a port has no words for stays as the host has it.
            effective = Self::of_entry(entry);
            (effective.proxy_protocol, effective.retry_budget) = (base.proxy_protocol, base.retry_budget);
        } else {
            effective.proxy_protocol = own.proxy_protocol.or(effective.proxy_protocol);
            effective.retry_budget = own.retry_budget.or(effective.retry_budget);
            effective.load_balancer = own.load_balancer.or(effective.load_balancer);
            effective.connection_pool = own.connection_pool.or(effective.connection_pool);
            effective.tls = own.tls.or(effective.tls);
            effective.outlier_detection = own.outlier_detection.or(effective.outlier_detection);
        }
        // Where a host goes where its clients connected to, its subsets have no endpoints to balance over; where a
        // subset does, whatever it says of the port.
        for passing in [base, own].iter().filter(|policy| policy.passes_through()) {
            effective.load_balancer = passing.load_balancer;
        }
        effective
    }

    /// Whether requests go where their clients connected to.
    pub(crate) fn passes_through(&self) -> bool {
        self.load_balancer.is_some_and(|balancer| balancer.simple == Some(SimpleLb::Passthrough))
    }

    fn of_blocks(policy: &'a TrafficPolicy) -> Self {
        Self {
            load_balancer: policy.load_balancer.as_ref(),
            connection_pool: policy.connection_pool.as_ref(),
            tls: policy.tls.as_ref(),
            proxy_protocol: policy.proxy_protocol.as_ref(),
            outlier_detection: policy.outlier_detection.as_ref(),
            retry_budget: policy.retry_budget.as_ref(),
        }
    }

    fn of_entry(entry: &'a PortTrafficPolicy) -> Self {
        Self {
            load_balancer: entry.load_balancer.as_ref(),
            connection_pool: entry.connection_pool.as_ref(),
            tls: entry.tls.as_ref(),
            proxy_protocol: None,
            outlier_detection: entry.outlier_detection.as_ref(),
            retry_budget: None,
        }
    }
}

/// The first entry of `portLevelSettings` for the service's port.
fn of_port(policy: &TrafficPolicy, port: u16) -> Option<&PortTrafficPolicy> {
    policy
        .port_level_settings
        .iter()
        .find(|entry| entry.port.as_ref().is_some_and(|selector| selector.number == u32::from(port)))
}
