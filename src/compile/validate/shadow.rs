//! Rules and matches that can never win (VS10 to VS13).
//!
//! Each match is looked up among those before it by hash, and each path among the prefixes before it in a sorted map:
//! the cost grows with the number of matches, not with its square.

use std::collections::hash_map::Entry;
use std::hash::{Hash, Hasher};

use super::Findings;
use super::earlier::{Earlier, Map, Uri, beside, feed_beside, feed_text, takes_everything};
use crate::compile::path::Path;
use crate::config::{HttpMatchRequest, HttpRoute, L4MatchAttributes, TcpRoute, TlsMatchAttributes, TlsRoute};

/// Says which http rules and matches never win. `path` is that of the list of rules.
pub(crate) fn http(rules: &[HttpRoute], path: &Path<'_>, findings: &mut Findings) {
    let reachable = unreachable(rules, path, takes_everything, findings);
    covered(&reachable, rules, path, findings);
}

/// The same of the rules of a delegate, as far as it is the same whatever leads there: a match that this excludes takes
/// the others of its rule with it, and may be a wide one before a narrow one that stays.
pub(crate) fn delegated(rules: &[HttpRoute], path: &Path<'_>, findings: &mut Findings) {
    unreachable(rules, path, |_| false, findings);
}

/// Says which tls rules and matches never win. `path` is that of the list of rules.
pub(crate) fn tls(rules: &[TlsRoute], path: &Path<'_>, findings: &mut Findings) {
    unreachable(rules, path, |_| false, findings);
}

/// Says which tcp rules and matches never win. `path` is that of the list of rules.
pub(crate) fn tcp(rules: &[TcpRoute], path: &Path<'_>, findings: &mut Findings) {
    unreachable(rules, path, |request| *request == L4MatchAttributes::default(), findings);
}

/// A rule of any kind.
trait Rule {
    type Match: Conditions;

    fn matches(&self) -> &[Self::Match];

    /// The name, empty if it has none.
    fn name(&self) -> &str {
        ""
    }

    /// Whether it takes all requests that one of its matches does: those that no rule of a delegate takes go on.
    fn decides(&self) -> bool {
        true
    }
}

impl Rule for HttpRoute {
    type Match = HttpMatchRequest;

    fn matches(&self) -> &[HttpMatchRequest] {
        &self.matches
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn decides(&self) -> bool {
        self.delegate.is_none()
    }
}

impl Rule for TlsRoute {
    type Match = TlsMatchAttributes;

    fn matches(&self) -> &[TlsMatchAttributes] {
        &self.matches
    }
}

impl Rule for TcpRoute {
    type Match = L4MatchAttributes;

    fn matches(&self) -> &[L4MatchAttributes] {
        &self.matches
    }
}

fn title(rules: &[impl Rule], index: usize) -> String {
    match rules[index].name() {
        "" => format!("rule {index}"),
        name => format!("rule `{name}`"),
    }
}

/// A match that something before it did not make useless, and where it stands.
struct Reachable<'a, M> {
    request: &'a M,
    rule: usize,
    index: usize,
}

/// VS10, VS11, VS12; gives back what is left.
fn unreachable<'a, R: Rule>(
    rules: &'a [R],
    path: &Path<'_>,
    takes_everything: impl Fn(&R::Match) -> bool,
    findings: &mut Findings,
) -> Vec<Reachable<'a, R::Match>> {
    if rules.len() < 2 && rules.iter().all(|rule| rule.matches().len() < 2) {
        return Vec::new();
    }
    let mut seen: Map<Same<'a, R::Match>, usize> = Map::default();
    let mut reachable = Vec::new();
    let mut catch_all: Option<usize> = None;
    for (number, rule) in rules.iter().enumerate() {
        let path = path.index(number);
        if let Some(first) = catch_all {
            let before = title(rules, first);
            if rule.matches().is_empty() && rules[first].matches().is_empty() {
                findings
                    .warning("VS10", &path, format!("never used: {before} before it has no match and takes everything"))
                    .help("only the last rule can do without a match");
            } else {
                findings.warning("VS11", &path, format!("never used: {before} before it takes everything"));
            }
            continue;
        }
        if rule.decides() && (rule.matches().is_empty() || rule.matches().iter().any(&takes_everything)) {
            catch_all = Some(number);
        }
        let mut duplicates = 0;
        for (index, request) in rule.matches().iter().enumerate() {
            match seen.entry(Same(request)) {
                Entry::Occupied(first) => {
                    let first = title(rules, *first.get());
                    findings.warning("VS12", &path.item("match", index), format!("never used: {first} has this match"));
                    duplicates += 1;
                }
                Entry::Vacant(slot) => {
                    if rule.decides() {
                        slot.insert(number);
                    }
                    reachable.push(Reachable { request, rule: number, index });
                }
            }
        }
        if duplicates > 0 && duplicates == rule.matches().len() {
            findings.warning("VS12", &path, "never used: rules before it have all of its matches");
        }
    }
    reachable
}

/// VS13: a match whose requests one before it takes all, with the same other conditions or none.
fn covered(
    reachable: &[Reachable<'_, HttpMatchRequest>],
    rules: &[HttpRoute],
    path: &Path<'_>,
    findings: &mut Findings,
) {
    let mut earlier = Earlier::default();
    for &Reachable { request, rule, index } in reachable {
        let Some((first, taken)) = earlier.find(request) else {
            if rules[rule].decides() {
                earlier.add(request, rule);
            }
            continue;
        };
        let rule_path = path.index(rule);
        let match_path = rule_path.item("match", index);
        let path = if request.uri.is_some() { match_path.field("uri") } else { match_path };
        let first = title(rules, first);
        let message = match Uri::of(request) {
            Uri::Prefix(prefix) => format!("never used: {taken} of {first} takes what begins with `{prefix}`"),
            uri => format!("never used: {taken} of {first} takes {uri}"),
        };
        findings.warning("VS13", &path, message).help("put the narrower match first");
    }
}

/// What two matches must have in common to be the same.
trait Conditions {
    fn feed(&self, state: &mut impl Hasher);
    fn same(&self, other: &Self) -> bool;
}

/// A match, compared by its conditions.
struct Same<'a, M>(&'a M);

impl<M: Conditions> Hash for Same<'_, M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.feed(state);
    }
}

impl<M: Conditions> PartialEq for Same<'_, M> {
    fn eq(&self, other: &Self) -> bool {
        self.0.same(other.0)
    }
}

impl<M: Conditions> Eq for Same<'_, M> {}

impl Conditions for HttpMatchRequest {
    fn feed(&self, state: &mut impl Hasher) {
        feed_text(self.uri.as_ref(), state);
        feed_beside(self, state);
    }

    fn same(&self, other: &Self) -> bool {
        self.uri == other.uri && beside(self) == beside(other) && self.stat_prefix == other.stat_prefix
    }
}

impl Conditions for L4MatchAttributes {
    fn feed(&self, state: &mut impl Hasher) {
        (&self.destination_subnets, self.port, &self.source_labels, &self.gateways).hash(state);
        (&self.source_namespace, &self.source_subnet).hash(state);
    }

    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

impl Conditions for TlsMatchAttributes {
    fn feed(&self, state: &mut impl Hasher) {
        (&self.sni_hosts, &self.destination_subnets, self.port).hash(state);
        (&self.source_labels, &self.gateways, &self.source_namespace).hash(state);
    }

    fn same(&self, other: &Self) -> bool {
        self == other
    }
}
