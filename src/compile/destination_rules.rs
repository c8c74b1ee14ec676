//! Which DestinationRule speaks for a destination, and what it says for one port and subset.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::names;
use super::path::Path;
use super::services::{KnownService, by_age, selects};
use crate::config::{
    ClientTlsSettings, ConnectionPoolSettings, DestinationRule, LoadBalancerSettings, OutlierDetection,
    PortTrafficPolicy, ProxyProtocol, Resource, RetryBudget, Subset, TrafficPolicy,
};
use crate::options::{MeshOptions, Workload};

/// The rules of a configuration by namespace and host, those of one host merged as Istio merges them.
pub(crate) struct DestinationRules<'a> {
    namespaces: HashMap<String, HashMap<String, Vec<MergedRule<'a>>>>,
    options: &'a MeshOptions,
    workload: &'a Workload,
}

/// Rules of one host in one namespace, merged.
pub(crate) struct MergedRule<'a> {
    pub(crate) subsets: Vec<&'a Subset>,
    pub(crate) policy: Option<&'a TrafficPolicy>,
    export_to: BTreeSet<&'a str>,
    /// The client must have these labels.
    selector: Option<&'a Resource<DestinationRule>>,
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
        let mut namespaces: HashMap<String, HashMap<String, Vec<MergedRule<'a>>>> = HashMap::new();
        for (namespace, rule) in rules {
            let host = names::complete(&rule.spec.host, namespace, &options.domain);
            merge(namespaces.entry(namespace.to_owned()).or_default().entry(host).or_default(), rule);
        }
        Self { namespaces, options, workload }
    }

    /// The rule for a service: of the client's namespace, else of the service's, else of the root namespace.
    /// The first namespace that has one decides; inside it an exact host hides every wildcard.
    pub(crate) fn find(&self, service: &KnownService) -> Option<&MergedRule<'a>> {
        let client = self.workload.namespace.as_str();
        let root = self.options.root_namespace.as_str();
        // Only here what is not for the client itself hides nothing.
        let own = |rules: &[MergedRule<'a>]| rules.iter().any(|rule| self.is_exported(rule, client));
        if let Some(rules) = self.of_host(client, &service.host, own) {
            let usable = |rule: &MergedRule<'a>| client != root || self.is_private(rule, root);
            if let Some(found) = self.choose(rules, |rule| self.is_exported(rule, client) && usable(rule)) {
                return found;
            }
        }
        for namespace in [service.namespace.as_str(), root] {
            if let Some(rules) = self.of_host(namespace, &service.host, |_| true) {
                let found = self.choose(rules, |rule| self.is_exported(rule, namespace));
                if let Some(found) = found {
                    return found;
                }
            }
        }
        None
    }

    /// The rules of the one host key of a namespace that speaks for `host`, among those whose rules `count`.
    fn of_host(
        &self,
        namespace: &str,
        host: &str,
        count: impl Fn(&[MergedRule<'a>]) -> bool,
    ) -> Option<&[MergedRule<'a>]> {
        let hosts = self.namespaces.get(namespace)?;
        if let Some(rules) = hosts.get(host).filter(|rules| count(rules)) {
            return Some(rules);
        }
        let wild = hosts.iter().filter(|(key, _)| names::is_wildcard(key) && names::covers(key, host));
        let wild = wild.filter(|(_, rules)| count(rules));
        wild.min_by(|(one, _), (other, _)| names::by_specificity(one, other)).map(|(_, rules)| rules.as_slice())
    }

    /// Among the rules of one host: a selector that fits the client wins, else the youngest without one.
    /// `None`: nothing here is for this client; `Some(None)`: only selectors that do not fit, and the search ends.
    fn choose<'r>(
        &self,
        rules: &'r [MergedRule<'a>],
        usable: impl Fn(&MergedRule<'a>) -> bool,
    ) -> Option<Option<&'r MergedRule<'a>>> {
        let usable: Vec<_> = rules.iter().filter(|rule| usable(rule)).collect();
        if usable.is_empty() {
            return None;
        }
        let fits = |rule: &&&MergedRule<'a>| {
            let selector = rule.selector.and_then(|rule| rule.spec.workload_selector.as_ref());
            selector.is_some_and(|selector| selects(&selector.match_labels, &self.workload.labels))
        };
        let selected = usable.iter().find(fits);
        Some(selected.or_else(|| usable.iter().rev().find(|rule| rule.selector.is_none())).copied())
    }

    fn is_exported(&self, rule: &MergedRule<'a>, own: &str) -> bool {
        let client = self.workload.namespace.as_str();
        if rule.selector.is_some() {
            return own == client;
        }
        let to: Vec<String> = rule.export_to.iter().map(|&to| to.to_owned()).collect();
        names::reach(&to, &self.options.default_destination_rule_export_to, own, client).is_some()
    }

    fn is_private(&self, rule: &MergedRule<'a>, root: &str) -> bool {
        rule.selector.is_some()
            || rule.export_to.iter().all(|&to| to == "." || to == root) && !rule.export_to.is_empty()
    }
}

/// What the selector of a rule asks for; `None`: it has none.
fn labels_of(rule: Option<&Resource<DestinationRule>>) -> Option<&BTreeMap<String, String>> {
    Some(&rule?.spec.workload_selector.as_ref()?.match_labels)
}

/// Adds a rule to those of its host, and of the same selector: subsets are joined (the first of a name wins), the first policy stays whole.
fn merge<'a>(merged: &mut Vec<MergedRule<'a>>, rule: &'a Resource<DestinationRule>) {
    let export_to: BTreeSet<&str> = rule.spec.export_to.iter().map(String::as_str).collect();
    let selector = rule.spec.workload_selector.as_ref().map(|_| rule);
    let mut kept_alone = true;
    for existing in merged.iter_mut().filter(|existing| labels_of(existing.selector) == labels_of(selector)) {
        if existing.export_to == export_to || existing.export_to.is_subset(&export_to) && !export_to.is_empty() {
            kept_alone = existing.export_to != export_to;
            for subset in &rule.spec.subsets {
                if existing.subsets.iter().all(|known| known.name != subset.name) {
                    existing.subsets.push(subset);
                }
            }
            existing.policy = existing.policy.or(rule.spec.traffic_policy.as_ref());
            break;
        }
    }
    if kept_alone {
        let subsets = rule.spec.subsets.iter().collect();
        merged.push(MergedRule { subsets, policy: rule.spec.traffic_policy.as_ref(), export_to, selector });
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
        let blocks = Self::of_blocks(over);
        effective.proxy_protocol = blocks.proxy_protocol.or(effective.proxy_protocol);
        effective.retry_budget = blocks.retry_budget.or(effective.retry_budget);
        if let Some(entry) = of_port(over, port) {
            let Self { proxy_protocol, retry_budget, .. } = effective;
            return Self { proxy_protocol, retry_budget, ..Self::of_entry(entry) };
        }
        effective.load_balancer = blocks.load_balancer.or(effective.load_balancer);
        effective.connection_pool = blocks.connection_pool.or(effective.connection_pool);
        effective.tls = blocks.tls.or(effective.tls);
        effective.outlier_detection = blocks.outlier_detection.or(effective.outlier_detection);
        effective
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
