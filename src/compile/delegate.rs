//! Rules that stand in another VirtualService (`http[].delegate`): one level, each merged with the rule that leads to it.

mod multiplied;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::matches;
use super::names;
use super::path::Path;
use super::report::Report;
use super::review::Review;
use super::virtual_services::{Match, MeantVirtualService, Rule, named_ports};
use crate::config::{Delegate, HttpMatchRequest, StringMatch};
use crate::error::{Problem, Severity};
use crate::options::MeshOptions;
use crate::route::{RegexCache, RuleOrigin};

pub(super) use multiplied::keep_back;

/// Every VirtualService by namespace and name; those without hosts can be delegated to.
pub(crate) struct Delegates<'m, 'a> {
    by_name: HashMap<(&'m str, &'m str), &'m MeantVirtualService<'a>>,
    options: &'m MeshOptions,
}

/// Why a rule has no delegate; with the name that it asks for, as `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Unknown(String),
    HasHosts(String),
    /// Not to the namespace of the rule.
    NotExported(String),
}

impl<'m, 'a> Delegates<'m, 'a> {
    pub(crate) fn new(meant: &'m [MeantVirtualService<'a>], options: &'m MeshOptions) -> Self {
        let by_name = meant.iter().map(|meant| ((&*meant.name.namespace, &*meant.name.name), meant));
        Self { by_name: by_name.collect(), options }
    }

    /// The delegate that a rule of `root` names.
    pub(crate) fn find(
        &self,
        root: &MeantVirtualService<'_>,
        reference: &Delegate,
    ) -> Result<&'m MeantVirtualService<'a>, Missing> {
        let Delegate { name, namespace } = reference;
        let own = &*root.name.namespace;
        let namespace = if namespace.is_empty() { own } else { namespace };
        let full_name = || format!("{namespace}/{name}");
        let delegate = *self.by_name.get(&(namespace, name.as_str())).ok_or_else(|| Missing::Unknown(full_name()))?;
        if !delegate.hosts.is_empty() {
            return Err(Missing::HasHosts(full_name()));
        }
        let default = &self.options.default_virtual_service_export_to;
        match names::reach(&delegate.resource.spec.export_to, default, namespace, own) {
            Some(_) => Ok(delegate),
            None => Err(Missing::NotExported(full_name())),
        }
    }

    /// The names of those that can be delegated to.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        let delegates = self.by_name.values().filter(|meant| meant.hosts.is_empty());
        delegates.map(|meant| format!("{}/{}", meant.name.namespace, meant.name.name))
    }
}

/// The rules of delegates, each by where it stands: `None` once a rule that leads there takes it, until then the first
/// that excludes it.
#[derive(Default)]
struct Uses<'m>(HashMap<*const RuleOrigin, Option<(&'m RuleOrigin, &'m RuleOrigin)>>);

impl<'m> Uses<'m> {
    fn note(&mut self, own: &'m RuleOrigin, root: &'m RuleOrigin, takes: bool) {
        let first = self.0.entry(own).or_insert(Some((own, root)));
        if takes {
            *first = None;
        }
    }

    /// Names those that none takes.
    fn review(self, report: &mut Report) {
        let mut excluded: Vec<_> = self.0.into_values().flatten().collect();
        excluded.sort_by_key(|&(own, _)| (&own.resource, &own.path));
        for (own, root) in excluded {
            let RuleOrigin { resource, path, place } = own.clone();
            let why = format!("{} {}, which leads here, excludes one of its matches", root.resource, root.path);
            let problem = Problem::new(Severity::Warning, path, format!("without effect: {why}"));
            report.push(problem.with_resource(resource).with_place(place));
        }
    }
}

/// Puts the rules of the delegates in the places of those that lead to them. A rule without its delegate goes.
pub(crate) fn expand(
    meant: &mut [MeantVirtualService<'_>],
    options: &MeshOptions,
    regexes: &mut RegexCache,
    report: &mut Report,
) {
    let delegates = Delegates::new(meant, options);
    let delegates_some = |root: &&MeantVirtualService<'_>| root.rules.iter().any(|rule| rule.delegate.is_some());
    let roots = meant.iter().enumerate().filter(|(_, root)| !root.hosts.is_empty() && delegates_some(root));
    let mut uses = Uses::default();
    let expanded: Vec<_> =
        roots.map(|(number, root)| (number, expanded(root, &delegates, regexes, &mut uses))).collect();
    uses.review(report);
    for (number, rules) in expanded {
        meant[number].named_ports = named_ports(&rules);
        meant[number].rules = rules;
    }
}

fn expanded<'m, 'a>(
    root: &'m MeantVirtualService<'a>,
    delegates: &Delegates<'m, 'a>,
    regexes: &mut RegexCache,
    uses: &mut Uses<'m>,
) -> Vec<Rule<'a>> {
    let mut rules = Vec::new();
    for rule in &root.rules {
        let Some(reference) = rule.delegate else {
            rules.push(rule.clone());
            continue;
        };
        let Ok(delegate) = delegates.find(root, reference) else { continue };
        // A delegate does not delegate again.
        for own in delegate.rules.iter().filter(|own| own.delegate.is_none()) {
            let merged = merged(rule, own, regexes);
            uses.note(&own.origin, &rule.origin, merged.is_some());
            rules.extend(merged);
        }
    }
    rules
}

/// A rule of a delegate under the rule that leads to it; `None` if they exclude each other.
fn merged<'a>(root: &Rule<'a>, own: &Rule<'a>, regexes: &mut RegexCache) -> Option<Rule<'a>> {
    let matches = match (&root.matches, &own.matches) {
        (None, matches) => matches.clone(),
        (Some(roots), None) => {
            Some(roots.iter().map(|entry| Match { origin: own.origin.clone(), ..entry.clone() }).collect())
        }
        (Some(roots), Some(entries)) => Some(merged_matches(roots, entries, regexes)?),
    };
    let Rule { name, redirect, response, destinations, policies, headers, origin, matches: _, delegate: _ } =
        own.clone();
    Some(Rule {
        name: joined(&root.name, name),
        matches,
        redirect,
        response: response.or_else(|| root.response.clone()),
        destinations,
        delegate: None,
        policies: policies.or(&root.policies),
        headers: headers.or_else(|| root.headers.clone()),
        origin,
    })
}

/// All pairs that can hold together; `None` if one of `entries` is in none.
fn merged_matches<'a>(roots: &[Match<'a>], entries: &[Match<'a>], regexes: &mut RegexCache) -> Option<Vec<Match<'a>>> {
    let mut merged = Vec::new();
    for own in entries {
        let before = merged.len();
        for root in roots.iter().filter(|root| !exclude((&root.words, &root.gateways), (&own.words, &own.gateways))) {
            merged.push(merged_match(root, own, regexes)?);
        }
        if merged.len() == before {
            return None;
        }
    }
    Some(merged)
}

fn merged_match<'a>(root: &Match<'a>, own: &Match<'a>, regexes: &mut RegexCache) -> Option<Match<'a>> {
    let words = merged_words(&root.words, &own.words);
    // What is wrong with either was said where it stands.
    let mut said = Report::default();
    let mut review = Review::new(&mut said, own.origin.resource.clone(), &|_| None);
    let matcher = matches::understand(&words, &Path::root("spec"), regexes, &mut review)?;
    let gateways = if own.gateways.is_empty() { &root.gateways } else { &own.gateways };
    Some(Match { words: Cow::Owned(words), matcher, gateways: gateways.clone(), origin: own.origin.clone() })
}

/// What the delegate says, else what the root says; of maps every key of either.
fn merged_words(root: &HttpMatchRequest, own: &HttpMatchRequest) -> HttpMatchRequest {
    fn or<T: Clone>(own: &Option<T>, root: &Option<T>) -> Option<T> {
        own.as_ref().or(root.as_ref()).cloned()
    }
    fn said(own: &str, root: &str) -> String {
        if own.is_empty() { root } else { own }.to_owned()
    }
    fn union<T: Clone>(root: &BTreeMap<String, T>, own: &BTreeMap<String, T>) -> BTreeMap<String, T> {
        root.iter().chain(own).map(|(key, value)| (key.clone(), value.clone())).collect()
    }
    HttpMatchRequest {
        name: joined(&root.name, own.name.clone()),
        uri: or(&own.uri, &root.uri),
        scheme: or(&own.scheme, &root.scheme),
        method: or(&own.method, &root.method),
        authority: or(&own.authority, &root.authority),
        headers: union(&root.headers, &own.headers),
        port: if own.port == 0 { root.port } else { own.port },
        source_labels: union(&root.source_labels, &own.source_labels),
        // They are completed beside the words.
        gateways: Vec::new(),
        query_params: union(&root.query_params, &own.query_params),
        ignore_uri_case: own.ignore_uri_case,
        without_headers: union(&root.without_headers, &own.without_headers),
        source_namespace: said(&own.source_namespace, &root.source_namespace),
        stat_prefix: said(&own.stat_prefix, &root.stat_prefix),
    }
}

/// The names of the root and of the delegate.
fn joined(root: &str, own: String) -> String {
    match (root, own.as_str()) {
        (root, "") => root.to_owned(),
        ("", _) => own,
        (root, own) => format!("{root}-{own}"),
    }
}

/// Whether two matches cannot be merged: the delegate's must be at least as narrow in everything that both speak of.
/// Of either its words, and the names of its gateways.
fn exclude(
    (root, gateways): (&HttpMatchRequest, &[String]),
    (own, own_gateways): (&HttpMatchRequest, &[String]),
) -> bool {
    let widened = |gateway: &String| !gateways.contains(gateway);
    if !gateways.is_empty() && own_gateways.iter().any(widened) {
        return true;
    }
    let parts = [
        (&root.uri, &own.uri),
        (&root.scheme, &own.scheme),
        (&root.method, &own.method),
        (&root.authority, &own.authority),
    ];
    let maps = [
        (&root.headers, &own.headers),
        (&root.without_headers, &own.without_headers),
        (&root.query_params, &own.query_params),
    ];
    let keyed = |(root, own): (&BTreeMap<_, _>, &BTreeMap<_, _>)| {
        own.iter().any(|(key, own)| root.get(key).is_some_and(|root| texts_exclude(root, own)))
    };
    let labels_differ =
        own.source_labels.iter().any(|(key, own)| root.source_labels.get(key).is_some_and(|root| root != own));
    parts.into_iter().any(|(root, own)| texts_exclude(root, own))
        || maps.into_iter().any(keyed)
        || root.ignore_uri_case != own.ignore_uri_case
        || (root.port != 0 && own.port != 0 && root.port != own.port)
        || (!root.source_namespace.is_empty() && root.source_namespace != own.source_namespace)
        || labels_differ
}

/// Istio's comparison: it looks into no expression, and two matchers of mere presence exclude each other.
fn texts_exclude(root: &Option<StringMatch>, own: &Option<StringMatch>) -> bool {
    fn text(text: &Option<String>) -> Option<&str> {
        text.as_deref().filter(|text| !text.is_empty())
    }
    let (Some(root), Some(own)) = (root, own) else { return false };
    if text(&root.regex).is_some() || text(&own.regex).is_some() {
        return true;
    }
    match (text(&root.exact), text(&root.prefix), text(&own.exact), text(&own.prefix)) {
        (Some(root), _, own, None) => own != Some(root),
        (None, Some(root), _, Some(own)) | (None, Some(root), Some(own), None) => !own.starts_with(root),
        _ => true,
    }
}
