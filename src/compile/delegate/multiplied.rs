//! How many matches merged rules come to: two lists of rules multiply.

use std::collections::{HashMap, HashSet};

use super::super::{names, path::Path, report::Report, review};
use super::exclude;
use crate::config::{Config, HttpMatchRequest, HttpRoute, Resource, VirtualService};
use crate::error::ResourceName;

/// How many matches the merged rules of one VirtualService have at most, unless more than that are written.
const MOST: usize = 10_000;

type Written = Resource<VirtualService>;

/// Keeps the VirtualServices back whose merged rules would be too many, and the delegates of each: it may be these that
/// have grown. Those that all `served` together may do so again.
pub(in super::super) fn keep_back(
    config: &mut Config,
    report: &mut Report,
    bad: &mut Vec<ResourceName>,
    served: &HashSet<ResourceName>,
) {
    const KIND: &str = "VirtualService";
    let all = config.virtual_services.iter();
    let by_name: HashMap<_, _> = all.clone().map(|each| ((each.namespace(), &*each.meta.name), each)).collect();
    let mut found = Vec::new();
    for root in all.filter(|root| !root.spec.hosts.is_empty()) {
        let led = led(root, &by_name);
        let Some((most, number)) = excess(root, &led) else { continue };
        let names = std::iter::once(root).chain(led.iter().map(|&(.., delegate)| delegate));
        let names: Vec<_> = names.map(|each| each.name_of(KIND)).collect();
        if names.iter().all(|name| served.contains(name)) {
            continue;
        }
        review::of(root, root.name_of(KIND), report, |review| {
            let path = Path::root("spec");
            let message =
                format!("with the rules of its delegates this VirtualService has more than {most} merged matches");
            review.error(&path.field("http").index(number).field("delegate"), message);
        });
        found.extend(names);
    }
    config.virtual_services.retain(|each| !found.contains(&each.name_of(KIND)));
    found.retain(|name| !bad.contains(name));
    bad.extend(found);
}

/// The rules of `root` that lead to a delegate, by their numbers.
fn led<'a>(
    root: &'a Written,
    by_name: &HashMap<(&str, &str), &'a Written>,
) -> Vec<(usize, &'a HttpRoute, &'a Written)> {
    let delegate = |(number, rule): (usize, &'a HttpRoute)| {
        let reference = rule.delegate.as_ref()?;
        let namespace = if reference.namespace.is_empty() { root.namespace() } else { &reference.namespace };
        let delegate = *by_name.get(&(namespace, &*reference.name))?;
        delegate.spec.hosts.is_empty().then_some((number, rule, delegate))
    };
    root.spec.http.iter().enumerate().filter_map(delegate).collect()
}

/// The rules of a delegate, which does not delegate again.
fn own_rules(delegate: &Written) -> impl Iterator<Item = &HttpRoute> {
    delegate.spec.http.iter().filter(|rule| rule.delegate.is_none())
}

/// As many matches as a rule is found by.
fn count(rule: &HttpRoute) -> usize {
    rule.matches.len().max(1)
}

/// How many matches there may be, and the number of the rule by which there are more.
fn excess(root: &Written, led: &[(usize, &HttpRoute, &Written)]) -> Option<(usize, usize)> {
    let counted = |delegate| own_rules(delegate).map(count).sum::<usize>();
    let mut once: HashMap<*const Written, usize> = HashMap::new();
    let (mut written, mut at_most) = (0, 0);
    for &(_, rule, delegate) in led {
        let own = *once.entry(delegate).or_insert_with(|| counted(delegate));
        written += count(rule);
        at_most += count(rule) * own;
    }
    let most = MOST.max(written + once.values().sum::<usize>());
    // Most do not multiply, whichever of them exclude each other.
    if at_most <= most {
        return None;
    }
    let mut left = most;
    for &(number, rule, delegate) in led {
        let roots = asked(rule, root);
        for own in own_rules(delegate) {
            match left.checked_sub(merged(&roots, &asked(own, delegate), left)) {
                Some(rest) => left = rest,
                None => return Some((most, number)),
            }
        }
    }
    None
}

type Asked<'a> = Vec<(&'a HttpMatchRequest, Vec<String>)>;

/// The matches of a rule, with the names of their gateways.
fn asked<'a>(rule: &'a HttpRoute, of: &Written) -> Asked<'a> {
    let name = |gateway: &String| names::gateway(gateway, of.namespace());
    rule.matches.iter().map(|entry| (entry, entry.gateways.iter().map(name).collect())).collect()
}

/// How many matches a rule of a delegate has under the one that leads to it, or one more than `most`.
fn merged(roots: &Asked<'_>, own: &Asked<'_>, most: usize) -> usize {
    if roots.is_empty() || own.is_empty() {
        return roots.len().max(own.len()).max(1);
    }
    let mut merged = 0;
    for (own, own_gateways) in own {
        let before = merged;
        for (root, gateways) in roots {
            merged += usize::from(!exclude((root, gateways), (own, own_gateways)));
            if merged > most {
                return merged;
            }
        }
        if merged == before {
            return 0;
        }
    }
    merged
}
