//! A VirtualService as meant, before it is known where it applies: names completed, matches, operations and policies
//! compiled, everything that is not honored said aloud.

use std::borrow::Cow;

use super::actions;
use super::headers::{self, HeaderOperations};
use super::l4::{self, StreamRule};
use super::matches;
use super::names;
use super::path::Path;
use super::policies::{self, Policies};
use super::review::Review;
use crate::config::{
    Delegate, Destination, HttpMatchRequest, HttpRedirect, HttpRoute, HttpRouteDestination, Resource, VirtualService,
};
use crate::error::ResourceName;
use crate::options::MeshOptions;
use crate::route::{DirectResponse, Percent, RegexCache, RouteMatch, RuleOrigin};

/// A VirtualService whose words are understood.
pub(crate) struct MeantVirtualService<'a> {
    pub(crate) resource: &'a Resource<VirtualService>,
    pub(crate) name: ResourceName,
    /// Completed and in lower case. Without any it is a delegate.
    pub(crate) hosts: Vec<String>,
    /// `mesh` or `namespace/name`.
    pub(crate) gateways: Vec<String>,
    pub(crate) rules: Vec<Rule<'a>>,
    /// The ports that matches name, in order.
    pub(crate) named_ports: Vec<u16>,
    pub(crate) tcp: Vec<StreamRule>,
    pub(crate) tls: Vec<StreamRule>,
}

impl MeantVirtualService<'_> {
    /// Whether it holds for the clients of the mesh.
    pub(crate) fn is_of_mesh(&self) -> bool {
        self.gateways.iter().any(|gateway| gateway == names::MESH)
    }
}

/// One entry of `http`. Of several actions a redirect counts before a direct response, and that before destinations.
#[derive(Clone)]
pub(crate) struct Rule<'a> {
    pub(crate) name: String,
    /// `None`: it matches everything.
    pub(crate) matches: Option<Vec<Match<'a>>>,
    pub(crate) redirect: Option<&'a HttpRedirect>,
    pub(crate) response: Option<DirectResponse>,
    pub(crate) destinations: Vec<RuleDestination>,
    /// Where its rules are; it has none of its own then.
    pub(crate) delegate: Option<&'a Delegate>,
    pub(crate) policies: Policies,
    pub(crate) headers: Option<HeaderOperations>,
    pub(crate) origin: RuleOrigin,
}

impl Rule<'_> {
    /// Where it sends requests: of several destinations those without a weight are left out, and of an abort of all
    /// requests none is sent on.
    pub(crate) fn reached(&self) -> impl Iterator<Item = &Target> {
        let goes_on = !self.aborts_all();
        drawn(&self.destinations).filter(move |_| goes_on).map(|destination| &destination.target)
    }

    /// Where it sends copies: beside requests that are sent on.
    pub(crate) fn copied(&self) -> impl Iterator<Item = &Target> {
        let goes_on = !self.destinations.is_empty() && !self.aborts_all();
        self.policies.mirrors().filter(move |(_, percent)| goes_on && !percent.is_never()).map(|(target, _)| target)
    }

    fn aborts_all(&self) -> bool {
        let abort = self.policies.fault.as_ref().and_then(|fault| fault.abort);
        abort.is_some_and(|(share, _)| share == Percent::ALWAYS)
    }
}

/// One entry of `match`: what is asked of the request, and what is asked of where it comes from.
#[derive(Clone)]
pub(crate) struct Match<'a> {
    pub(crate) words: Cow<'a, HttpMatchRequest>,
    pub(crate) matcher: RouteMatch,
    /// Those of the words, completed.
    pub(crate) gateways: Vec<String>,
    pub(crate) origin: RuleOrigin,
}

/// One entry of `route`.
#[derive(Clone)]
pub(crate) struct RuleDestination {
    pub(crate) target: Target,
    pub(crate) weight: i32,
    pub(crate) headers: HeaderOperations,
}

/// The destinations that requests can be drawn for: a sole one whatever its weight, of several those that have some.
pub(crate) fn drawn(destinations: &[RuleDestination]) -> impl Iterator<Item = &RuleDestination> {
    destinations.iter().filter(|destination| destinations.len() == 1 || destination.weight > 0)
}

/// Where requests can be sent.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) subset: String,
    pub(crate) port: Option<u32>,
    /// Where it is written: of a rule that has the policies of another, maybe there.
    pub(crate) resource: ResourceName,
    /// The path of the field, for references that dangle.
    pub(crate) path: String,
}

/// Understands one VirtualService; what is wrong or not honored goes to `review`.
pub(crate) fn understand<'a>(
    resource: &'a Resource<VirtualService>,
    options: &MeshOptions,
    regexes: &mut RegexCache,
    review: &mut Review<'_>,
) -> MeantVirtualService<'a> {
    let namespace = resource.namespace();
    let VirtualService { hosts, gateways, http, tls, tcp, export_to: _ } = &resource.spec;
    let root = Path::root("spec");
    let gateways = match gateways.as_slice() {
        [] => vec![names::MESH.to_owned()],
        gateways => gateways.iter().map(|gateway| names::gateway(gateway, namespace)).collect(),
    };
    let hosts = hosts.iter().map(|host| names::complete(host, namespace, &options.domain)).collect();
    l4::review_mesh(&gateways, !tcp.is_empty(), !tls.is_empty(), review);
    let mut understanding = Understanding { options, namespace, regexes, review };
    let tcp = l4::understand_tcp(tcp, &mut understanding);
    let tls = l4::understand_tls(tls, &gateways, &mut understanding);
    let list = root.field("http");
    let rules: Vec<_> =
        http.iter().enumerate().map(|(number, rule)| understanding.rule(rule, &list.index(number))).collect();
    MeantVirtualService {
        resource,
        name: review.resource().clone(),
        hosts,
        gateways,
        named_ports: named_ports(&rules),
        rules,
        tcp,
        tls,
    }
}

/// The ports that rules name.
pub(crate) fn named_ports(rules: &[Rule<'_>]) -> Vec<u16> {
    let entries = rules.iter().flat_map(|rule| rule.matches.iter().flatten());
    let mut ports: Vec<u16> =
        entries.filter_map(|entry| u16::try_from(entry.words.port).ok()).filter(|&port| port != 0).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// What the words of one resource are read with.
pub(crate) struct Understanding<'u, 'r> {
    pub(crate) options: &'u MeshOptions,
    pub(crate) namespace: &'u str,
    pub(crate) regexes: &'u mut RegexCache,
    pub(crate) review: &'u mut Review<'r>,
}

impl Understanding<'_, '_> {
    fn rule<'a>(&mut self, rule: &'a HttpRoute, path: &Path<'_>) -> Rule<'a> {
        // The policies are taken apart where they are read.
        let HttpRoute { name, matches, route, redirect, direct_response, delegate, headers, .. } = rule;
        let list = path.field("match");
        // No larger than needed: there are many rules, and most have one match.
        let mut understood = Vec::with_capacity(matches.len());
        understood.extend(matches.iter().enumerate().filter_map(|(n, each)| self.matching(each, &list.index(n))));
        let list = path.field("route");
        let destinations = route.iter().enumerate().map(|(n, each)| self.destination(each, &list.index(n))).collect();
        let policies = policies::understand(rule, path, self);
        let headers = headers.as_ref().map(|headers| headers::understand(headers, &path.field("headers"), self.review));
        Rule {
            name: name.clone(),
            matches: (!matches.is_empty()).then_some(understood),
            redirect: redirect.as_ref(),
            response: direct_response.as_ref().and_then(actions::direct_response),
            destinations,
            delegate: delegate.as_ref(),
            policies,
            headers,
            origin: self.review.origin(path),
        }
    }

    fn matching<'a>(&mut self, request: &'a HttpMatchRequest, path: &Path<'_>) -> Option<Match<'a>> {
        let matcher = matches::understand(request, path, self.regexes, self.review)?;
        Some(Match {
            words: Cow::Borrowed(request),
            matcher,
            gateways: request.gateways.iter().map(|gateway| names::gateway(gateway, self.namespace)).collect(),
            origin: self.review.origin(path),
        })
    }

    fn destination(&mut self, entry: &HttpRouteDestination, path: &Path<'_>) -> RuleDestination {
        let HttpRouteDestination { destination, weight, headers } = entry;
        let headers = headers.as_ref().map(|headers| headers::understand(headers, &path.field("headers"), self.review));
        let none = Destination::default();
        let target = self.target(destination.as_ref().unwrap_or(&none), &path.field("destination"));
        RuleDestination { target, weight: *weight, headers: headers.unwrap_or_default() }
    }

    /// A destination with its name completed.
    pub(crate) fn target(&self, destination: &Destination, path: &Path<'_>) -> Target {
        let Destination { host, subset, port } = destination;
        Target {
            host: names::complete(host, self.namespace, &self.options.domain),
            subset: subset.clone(),
            port: port.as_ref().map(|port| port.number),
            resource: self.review.resource().clone(),
            path: path.text(),
        }
    }
}
