//! Rules and matches that can never win (VS10 to VS13).
//!
//! Each match is looked up among those before it by hash, and each path among the prefixes before it in a sorted map:
//! the cost grows with the number of matches, not with its square.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Bound;

use super::Findings;
use crate::compile::path::Path;
use crate::config::{
    HttpMatchRequest, HttpRoute, L4MatchAttributes, StringMatch, TcpRoute, TlsMatchAttributes, TlsRoute,
};

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

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// A rule of any kind.
trait Rule {
    type Match: Conditions;

    fn matches(&self) -> &[Self::Match];

    /// The name, empty if it has none.
    fn name(&self) -> &str {
        ""
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
        if rule.matches().is_empty() || rule.matches().iter().any(&takes_everything) {
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
                    slot.insert(number);
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
        let Some((first, taken)) = earlier.takes(request, rule) else { continue };
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

/// Matches in their order, as far as they may take all requests of later ones.
#[derive(Default)]
pub(crate) struct Earlier<'a> {
    /// Those that ask for nothing but the uri: with its case, and without.
    open: [Uris<'a>; 2],
    alike: Map<Beside<'a>, Uris<'a>>,
}

impl<'a> Earlier<'a> {
    /// The rule of an earlier match that takes all requests of this one, and the uri by which it does. If there is none
    /// the match, of rule number `rule`, is one for later ones.
    pub(crate) fn takes(&mut self, request: &'a HttpMatchRequest, rule: usize) -> Option<(usize, Uri<'a>)> {
        let uri = Uri::of(request);
        let open = &mut self.open[usize::from(request.ignore_uri_case)];
        let own = if is_unconditional(request) { None } else { Some(self.alike.entry(Beside(request)).or_default()) };
        let taken = open.find(uri).or_else(|| own.as_ref()?.find(uri));
        if taken.is_none() {
            own.unwrap_or(open).insert(uri, rule);
        }
        taken
    }
}

/// What a match asks of the path.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Uri<'a> {
    Exact(&'a str),
    Prefix(&'a str),
    Regex(&'a str),
}

impl<'a> Uri<'a> {
    /// Without a condition it is every path.
    fn of(request: &'a HttpMatchRequest) -> Self {
        match &request.uri {
            Some(StringMatch { exact: Some(exact), .. }) => Self::Exact(exact),
            Some(StringMatch { prefix: Some(prefix), .. }) => Self::Prefix(prefix),
            Some(StringMatch { regex: Some(regex), .. }) => Self::Regex(regex),
            _ => Self::Prefix("/"),
        }
    }
}

impl fmt::Display for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "the path `{path}`"),
            Self::Prefix(prefix) => write!(f, "the prefix `{prefix}`"),
            Self::Regex(regex) => write!(f, "the expression `{regex}`"),
        }
    }
}

/// Conditions on the path, and the rules that they are of.
#[derive(Default)]
struct Uris<'a> {
    /// Prefixes of which none begins with another.
    prefixes: BTreeMap<&'a str, usize>,
    others: Map<Uri<'a>, usize>,
}

impl<'a> Uris<'a> {
    /// The one that takes all that `uri` does. Between the prefix of a text and that text in order only what begins with
    /// the prefix could stand, so it is the last one that is not greater.
    fn find(&self, uri: Uri<'a>) -> Option<(usize, Uri<'a>)> {
        let same = self.others.get(&uri).map(|rule| (*rule, uri));
        same.or_else(|| {
            let (Uri::Exact(text) | Uri::Prefix(text)) = uri else { return None };
            let (prefix, rule) =
                self.prefixes.range::<str, _>((Bound::Unbounded, Bound::Included(text))).next_back()?;
            text.starts_with(prefix).then_some((*rule, Uri::Prefix(prefix)))
        })
    }

    /// Adds one of which none takes all; prefixes that begin with it are of no more use.
    fn insert(&mut self, uri: Uri<'a>, rule: usize) {
        let Uri::Prefix(prefix) = uri else {
            self.others.insert(uri, rule);
            return;
        };
        while let Some((longer, _)) = self.prefixes.range::<str, _>((Bound::Excluded(prefix), Bound::Unbounded)).next()
        {
            if !longer.starts_with(prefix) {
                break;
            }
            let longer = *longer;
            self.prefixes.remove(longer);
        }
        self.prefixes.insert(prefix, rule);
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

/// A match, compared by its conditions beside the uri.
struct Beside<'a>(&'a HttpMatchRequest);

impl Hash for Beside<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        feed_beside(self.0, state);
    }
}

impl PartialEq for Beside<'_> {
    fn eq(&self, other: &Self) -> bool {
        beside(self.0) == beside(other.0)
    }
}

impl Eq for Beside<'_> {}

/// Whether every request has what is asked for: no rule after one with such a match is compiled.
fn takes_everything(request: &HttpMatchRequest) -> bool {
    let every_path = match Uri::of(request) {
        Uri::Prefix(prefix) => prefix == "/",
        Uri::Regex(regex) => regex == ".*",
        Uri::Exact(_) => false,
    };
    every_path && is_unconditional(request)
}

/// Whether nothing but the uri is asked for.
fn is_unconditional(request: &HttpMatchRequest) -> bool {
    let plain = HttpMatchRequest { ignore_uri_case: request.ignore_uri_case, ..HttpMatchRequest::default() };
    beside(request) == beside(&plain)
}

/// The conditions beside the uri.
fn beside(request: &HttpMatchRequest) -> impl PartialEq + '_ {
    let HttpMatchRequest {
        name: _,
        uri: _,
        scheme,
        method,
        authority,
        headers,
        port,
        source_labels,
        gateways,
        query_params,
        ignore_uri_case,
        without_headers,
        source_namespace,
        stat_prefix: _,
    } = request;
    let texts = (scheme, method, authority, headers, query_params, without_headers);
    (texts, port, source_labels, gateways, ignore_uri_case, source_namespace)
}

fn feed_beside(request: &HttpMatchRequest, state: &mut impl Hasher) {
    for matcher in [&request.scheme, &request.method, &request.authority] {
        feed_text(matcher.as_ref(), state);
    }
    for map in [&request.headers, &request.query_params, &request.without_headers] {
        map.len().hash(state);
        for (name, matcher) in map {
            name.hash(state);
            feed_text(matcher.as_ref(), state);
        }
    }
    (request.port, request.ignore_uri_case).hash(state);
    (&request.source_labels, &request.gateways, &request.source_namespace).hash(state);
}

fn feed_text(matcher: Option<&StringMatch>, state: &mut impl Hasher) {
    matcher.map(|StringMatch { exact, prefix, regex }| (exact, prefix, regex)).hash(state);
}

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
