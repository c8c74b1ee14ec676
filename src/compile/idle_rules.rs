//! What DestinationRules say in vain: beside other rules of their host, and of hosts and ports that are not there.

use std::collections::HashSet;
use std::ptr;

use super::Purpose;
use super::destination_rules::{self, DestinationRules, MergedRule};
use super::kubernetes;
use super::names;
use super::path::Path;
use super::report::Report;
use super::review::{self, Review};
use super::services::{KnownService, Services};
use crate::config::{Config, DestinationRule, Resource};
use crate::options::MeshOptions;

/// The kind of the resources.
const KIND: &str = "DestinationRule";

/// Names the policies and subsets that are those of another rule of the same host.
pub(crate) fn review_merged(rules: &DestinationRules<'_>, report: &mut Report) {
    let mut said = HashSet::new();
    let several = |merged: &Vec<&MergedRule<'_>>| merged.iter().any(|of_host| of_host.parts.len() > 1);
    let mut hosts: Vec<_> = rules.by_host().filter(several).collect();
    let first = |merged: &Vec<&MergedRule<'_>>| merged.first()?.parts.first().map(|rule| rule.name_of(KIND));
    hosts.sort_by_cached_key(first);
    for merged in hosts {
        for of_host in &merged {
            for rule in of_host.parts.iter().skip(1) {
                if said.insert(rule.name_of(KIND)) {
                    review::of(rule, rule.name_of(KIND), report, |review| hidden(rule, of_host, &merged, review));
                }
            }
        }
    }
}

/// Names what of `rule`, which is one of `of_host`, is in none of the rules that are `merged` for its host.
fn hidden(
    rule: &Resource<DestinationRule>,
    of_host: &MergedRule<'_>,
    merged: &[&MergedRule<'_>],
    review: &mut Review<'_>,
) {
    let root = Path::root("spec");
    let other = |has: &dyn Fn(&DestinationRule) -> bool| of_host.parts.iter().find(|part| has(&part.spec));
    if let Some(policy) = &rule.spec.traffic_policy
        && !merged.iter().any(|rule| rule.policy.is_some_and(|known| ptr::eq(known, policy)))
        && let Some(first) = other(&|spec| spec.traffic_policy.is_some())
    {
        let why = format!("this host has the policy of {}", first.name_of(KIND));
        review.without_effect(&root.field("trafficPolicy"), &why);
    }
    let list = root.field("subsets");
    for (number, subset) in rule.spec.subsets.iter().enumerate() {
        if merged.iter().any(|rule| rule.subsets.iter().any(|known| ptr::eq(*known, subset))) {
            continue;
        }
        if let Some(first) = other(&|spec| spec.subsets.iter().any(|known| known.name == subset.name)) {
            let why = format!("this host has the subset {} of {}", subset.name, first.name_of(KIND));
            review.without_effect(&list.index(number), &why);
        }
    }
}

/// Names rules for hosts that nothing has, whether it is seen from here or not.
pub(crate) fn review_hosts(config: &Config, purpose: Purpose<'_>, report: &mut Report) {
    let Purpose { options, given, .. } = purpose;
    let services = config.services.iter().map(|service| kubernetes::host(&service.meta, service.namespace(), options));
    let entries =
        config.service_entries.iter().flat_map(|entry| &entry.spec.hosts).map(|host| host.to_ascii_lowercase());
    let hosts: HashSet<String> = services.chain(entries).chain(given.hosts().map(str::to_owned)).collect();
    let wildcards: Vec<&String> = hosts.iter().filter(|host| names::is_wildcard(host)).collect();
    for rule in &config.destination_rules {
        let host = names::complete(&rule.spec.host, rule.namespace(), &options.domain);
        let meets = |known: &str| names::intersection(&host, known).is_some();
        let is_there = hosts.contains(&host)
            || wildcards.iter().any(|known| meets(known))
            || (names::is_wildcard(&host) && hosts.iter().any(|known| meets(known)));
        if !is_there {
            review::of(rule, rule.name_of(KIND), report, |review| {
                let why = format!("no Service or ServiceEntry has the host {host}");
                review.without_effect(&Path::root("spec").field("host"), &why);
            });
        }
    }
}

/// Names what is said of ports that hosts do not have.
pub(crate) fn review_ports(config: &Config, services: &Services, options: &MeshOptions, report: &mut Report) {
    let all = services.visible();
    for rule in &config.destination_rules {
        let host = names::complete(&rule.spec.host, rule.namespace(), &options.domain);
        let meant: Vec<&KnownService> = match names::is_wildcard(&host) {
            true => all.iter().copied().filter(|service| names::covers(&host, &service.host)).collect(),
            false => services.every(&host).collect(),
        };
        if !meant.is_empty() {
            review::of(rule, rule.name_of(KIND), report, |review| ports(rule, &host, &meant, review));
        }
    }
}

fn ports(rule: &Resource<DestinationRule>, host: &str, meant: &[&KnownService], review: &mut Review<'_>) {
    destination_rules::each_part(&rule.spec, |_, wanted, path| {
        let Some(wanted) = wanted else { return };
        let has = |service: &&KnownService| service.ports.iter().any(|port| u32::from(port.number) == wanted);
        if !meant.iter().any(has) {
            review.without_effect(path, &format!("{host} has no port {wanted} of TCP"));
        }
    });
}
