//! The ordered routes of one VirtualService for one scope, with everything that depends on the match that leads there.

use std::sync::Arc;

use super::actions;
use super::clusters::{Asker, Clusters};
use super::headers::HeaderOperations;
use super::names;
use super::policies::RuleRewrite;
use super::services::selects;
use super::virtual_services::{Match, MeantVirtualService, Rule, RuleDestination};
use crate::config::StringMatch;
use crate::options::Workload;
use crate::route::{
    Action, ClusterChoice, Forward, HeaderOps, Mirror, PathRewrite, Rewrite, Route, RouteMatch, WeightedCluster,
    WeightedClusters,
};

/// Who asks: the static conditions of a match are decided for it, once.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// `mesh`, or the gateway as `namespace/name`; both in front of an application that has the rules of both.
    pub(crate) gateways: &'a [&'a str],
    pub(crate) workload: &'a Workload,
    /// The port the client addresses; `None`: any that no rule names.
    pub(crate) port: Option<u16>,
}

impl Scope<'_> {
    /// Whether a match can hold here at all. Gateways, where named, replace the conditions on the source.
    pub(crate) fn admits(self, entry: &Match<'_>) -> bool {
        let words = &entry.words;
        if words.port != 0 && self.port.map(u32::from) != Some(words.port) {
            return false;
        }
        if !entry.gateways.is_empty() {
            return entry.gateways.iter().any(|gateway| self.gateways.contains(&gateway.as_str()));
        }
        selects(&words.source_labels, &self.workload.labels)
            && (words.source_namespace.is_empty() || words.source_namespace == self.workload.namespace)
    }
}

/// The routes of one VirtualService for one scope, in order.
pub(crate) fn routes(
    meant: &MeantVirtualService<'_>,
    scope: Scope<'_>,
    clusters: &mut Clusters<'_>,
) -> Vec<(RouteMatch, Arc<Route>)> {
    let asker = match scope.gateways {
        [names::MESH] => Asker::Other,
        _ => Asker::Gateway(&meant.name.namespace),
    };
    let routes = asked(meant, |entry| scope.admits(entry)).into_iter().filter_map(|(rule, entry)| {
        let matcher = entry.map_or_else(|| RouteMatch::builder().build(), |entry| entry.matcher.clone());
        Some((matcher, route(rule, entry, asker, clusters)?))
    });
    routes.collect()
}

/// A rule with one of its matches, if it has any.
pub(crate) type Asked<'m, 'a> = (&'m Rule<'a>, Option<&'m Match<'a>>);

/// The rules that are asked where their matches are admitted. None is after a catch-all.
pub(crate) fn asked<'m, 'a>(
    meant: &'m MeantVirtualService<'a>,
    admits: impl Fn(&Match<'_>) -> bool,
) -> Vec<Asked<'m, 'a>> {
    let mut asked = Vec::new();
    for rule in &meant.rules {
        let Some(matches) = &rule.matches else {
            asked.push((rule, None));
            return asked;
        };
        for entry in matches.iter().filter(|entry| admits(entry)) {
            asked.push((rule, Some(entry)));
            if entry.matcher.is_catch_all() {
                return asked;
            }
        }
    }
    asked
}

/// The route of a rule for one of its matches; `None` if the rule has no action that can be.
fn route(
    rule: &Rule<'_>,
    entry: Option<&Match<'_>>,
    asker: Asker<'_>,
    clusters: &mut Clusters<'_>,
) -> Option<Arc<Route>> {
    let uri = entry.and_then(|entry| entry.words.uri.as_ref());
    let HeaderOperations { request: request_headers, response: response_headers } = operations(rule);
    let action = if let Some(redirect) = rule.redirect {
        Action::Redirect(actions::redirect(redirect, uri)?)
    } else if let Some(response) = &rule.response {
        Action::Respond(response.clone())
    } else if rule.destinations.is_empty() {
        return None;
    } else {
        Action::Forward(forward(rule, uri, &request_headers, asker, clusters))
    };
    let name = match entry {
        Some(entry) if !entry.words.name.is_empty() => format!("{}.{}", rule.name, entry.words.name).into(),
        _ => Arc::from(rule.name.as_str()),
    };
    let origin = entry.map_or(&rule.origin, |entry| &entry.origin).clone();
    // Istio puts it on whatever a rule does: a delegate has that of the rule which leads to it.
    let fault = rule.policies.fault.clone().filter(|fault| fault.delay.is_some() || fault.abort.is_some());
    Some(Arc::new(Route { name, action, fault, origin, request_headers, response_headers }))
}

fn forward(
    rule: &Rule<'_>,
    uri: Option<&StringMatch>,
    request_headers: &HeaderOps,
    asker: Asker<'_>,
    clusters: &mut Clusters<'_>,
) -> Forward {
    let policies = &rule.policies;
    let hash = clusters.hash_policies(&rule.destinations);
    let mirrors = policies.mirrors().filter(|(_, percent)| !percent.is_never());
    let mirrors = mirrors.map(|(target, percent)| Mirror { destination: clusters.choose(target, asker), percent });
    let mirrors = mirrors.collect();
    let mut forward = Forward::new(split(&rule.destinations, asker, clusters));
    forward.rewrite = rewrite(policies.rewrite.as_ref(), uri, request_headers);
    forward.timeout = policies.timeout.filter(|timeout| !timeout.is_zero());
    forward.retry = policies.retries.as_ref().and_then(|retries| retries.policy(hash.is_of_sole_destination()));
    forward.cors = policies.cors.clone();
    forward.mirrors = mirrors;
    forward.hash = hash;
    forward
}

/// The rewrite for a match of `uri`. Its authority counts more than that of the rule's operations.
fn rewrite(words: Option<&RuleRewrite>, uri: Option<&StringMatch>, request_headers: &HeaderOps) -> Rewrite {
    let path = words.and_then(|words| match &words.regex {
        Some(regex) => Some(regex.clone()),
        None if words.uri.is_empty() => None::<PathRewrite>,
        None => Some(actions::path_rewrite(uri, &words.uri)),
    });
    let authority = words.and_then(|words| words.authority.as_ref()).or(request_headers.authority());
    Rewrite { path, authority: authority.cloned() }
}

/// The split of a rule. Of several destinations each has header operations of its own; those of a single one are part
/// of the rule's.
fn split(destinations: &[RuleDestination], asker: Asker<'_>, clusters: &mut Clusters<'_>) -> WeightedClusters {
    let weighted = destinations.iter().map(|destination| {
        let mut cluster = clusters.entry(&destination.target, asker);
        if destinations.len() > 1 {
            cluster.request_headers = destination.headers.request.clone();
            cluster.response_headers = destination.headers.response.clone();
        }
        (u32::try_from(destination.weight).unwrap_or(0), cluster)
    });
    let nowhere = || WeightedClusters::single(WeightedCluster::new(ClusterChoice::Missing));
    WeightedClusters::new(weighted.collect()).unwrap_or_else(nowhere)
}

/// The operations that run whatever destination is drawn.
fn operations(rule: &Rule<'_>) -> HeaderOperations {
    let own = rule.headers.clone().unwrap_or_default();
    match rule.destinations.as_slice() {
        [only] => HeaderOperations {
            request: own.request.then(only.headers.request.clone()),
            response: own.response.then(only.headers.response.clone()),
        },
        _ => own,
    }
}
