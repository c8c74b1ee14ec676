//! A VirtualService as meant, before it is known where it applies: names completed, matches and header operations
//! compiled, everything that is not honored yet said aloud.

use super::headers;
use super::matches;
use super::names;
use super::path::Path;
use super::review::Review;
use crate::config::{Destination, HttpMatchRequest, HttpRoute, HttpRouteDestination, Resource, VirtualService};
use crate::error::{Place, ResourceName};
use crate::options::MeshOptions;
use crate::route::{HeaderOps, RegexCache, RouteMatch};
use std::collections::BTreeMap;

/// A VirtualService whose words are understood.
pub(crate) struct MeantVirtualService<'a> {
    pub(crate) resource: &'a Resource<VirtualService>,
    pub(crate) name: ResourceName,
    /// Completed and in lower case.
    pub(crate) hosts: Vec<String>,
    /// `mesh` or `namespace/name`.
    pub(crate) gateways: Vec<String>,
    pub(crate) rules: Vec<Rule>,
    /// The ports that matches name, in order.
    pub(crate) named_ports: Vec<u16>,
}

/// One entry of `http`.
pub(crate) struct Rule {
    pub(crate) name: String,
    /// `None`: it matches everything.
    pub(crate) matches: Option<Vec<Match>>,
    pub(crate) action: RuleAction,
    pub(crate) request_headers: HeaderOps,
    pub(crate) response_headers: HeaderOps,
    pub(crate) place: Option<Place>,
}

/// What a rule does.
pub(crate) enum RuleAction {
    Forward(Vec<RuleDestination>),
    /// An action of this name, which is not honored yet.
    NotHonored(&'static str),
}

/// One entry of `match`: what is asked of the request, and what is asked of where it comes from.
pub(crate) struct Match {
    pub(crate) name: String,
    pub(crate) matcher: RouteMatch,
    /// 0: any.
    pub(crate) port: u32,
    pub(crate) gateways: Vec<String>,
    pub(crate) source_labels: BTreeMap<String, String>,
    pub(crate) source_namespace: String,
    pub(crate) place: Option<Place>,
}

/// One entry of `route`.
pub(crate) struct RuleDestination {
    pub(crate) host: String,
    pub(crate) subset: String,
    pub(crate) port: Option<u32>,
    pub(crate) weight: i32,
    /// The path of `destination`, for references that dangle.
    pub(crate) path: String,
    pub(crate) request_headers: HeaderOps,
    pub(crate) response_headers: HeaderOps,
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
    review.not_honored(&root.field("tls"), tls);
    review.not_honored(&root.field("tcp"), tcp);
    let gateways = match gateways.as_slice() {
        [] => vec![names::MESH.to_owned()],
        gateways => gateways.iter().map(|gateway| names::gateway(gateway, namespace)).collect(),
    };
    let mut understanding = Understanding { options, namespace, regexes, review };
    let list = root.field("http");
    let rules: Vec<_> =
        http.iter().enumerate().map(|(number, rule)| understanding.rule(rule, &list.index(number))).collect();
    MeantVirtualService {
        resource,
        name: review.resource().clone(),
        hosts: hosts.iter().map(|host| names::complete(host, namespace, &options.domain)).collect(),
        gateways,
        named_ports: named_ports(&rules),
        rules,
    }
}

/// The ports that rules name.
fn named_ports(rules: &[Rule]) -> Vec<u16> {
    let entries = rules.iter().flat_map(|rule| rule.matches.iter().flatten());
    let mut ports: Vec<u16> =
        entries.filter_map(|entry| u16::try_from(entry.port).ok()).filter(|&port| port != 0).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

struct Understanding<'a, 'r> {
    options: &'a MeshOptions,
    namespace: &'a str,
    regexes: &'a mut RegexCache,
    review: &'a mut Review<'r>,
}

impl Understanding<'_, '_> {
    fn rule(&mut self, rule: &HttpRoute, path: &Path<'_>) -> Rule {
        let HttpRoute {
            name,
            matches,
            route,
            redirect,
            direct_response,
            delegate,
            rewrite,
            timeout,
            retries,
            fault,
            mirror,
            mirrors,
            mirror_percent,
            mirror_percentage,
            cors_policy,
            headers,
        } = rule;
        let review = &mut *self.review;
        review.not_honored(&path.field("redirect"), redirect);
        review.not_honored(&path.field("directResponse"), direct_response);
        review.not_honored(&path.field("delegate"), delegate);
        review.not_honored(&path.field("rewrite"), rewrite);
        review.not_honored(&path.field("timeout"), timeout);
        // No retries is what happens today: an explicit zero is honored.
        if retries.as_ref().is_some_and(|retries| retries.attempts != 0) {
            review.not_honored(&path.field("retries"), retries);
        }
        review.not_honored(&path.field("fault"), fault);
        review.not_honored(&path.field("mirror"), mirror);
        review.not_honored(&path.field("mirrors"), mirrors);
        review.not_honored(&path.field("mirrorPercent"), mirror_percent);
        review.not_honored(&path.field("mirrorPercentage"), mirror_percentage);
        review.not_honored(&path.field("corsPolicy"), cors_policy);
        let (request_headers, response_headers) = headers::understand(headers.as_ref(), &path.field("headers"), review);
        let list = path.field("match");
        let understood: Vec<_> =
            matches.iter().enumerate().filter_map(|(n, each)| self.matching(each, &list.index(n))).collect();
        let list = path.field("route");
        let action = match (redirect, direct_response, delegate) {
            (Some(_), _, _) => RuleAction::NotHonored("redirect"),
            (_, Some(_), _) => RuleAction::NotHonored("directResponse"),
            (_, _, Some(_)) => RuleAction::NotHonored("delegate"),
            _ => RuleAction::Forward(
                route.iter().enumerate().map(|(n, each)| self.destination(each, &list.index(n))).collect(),
            ),
        };
        let place = self.review.place(path);
        let matches = (!matches.is_empty()).then_some(understood);
        Rule { name: name.clone(), matches, action, request_headers, response_headers, place }
    }

    fn matching(&mut self, request: &HttpMatchRequest, path: &Path<'_>) -> Option<Match> {
        let matcher = matches::understand(request, path, self.regexes, self.review)?;
        Some(Match {
            name: request.name.clone(),
            matcher,
            port: request.port,
            gateways: request.gateways.iter().map(|gateway| names::gateway(gateway, self.namespace)).collect(),
            source_labels: request.source_labels.clone(),
            source_namespace: request.source_namespace.clone(),
            place: self.review.place(path),
        })
    }

    fn destination(&mut self, entry: &HttpRouteDestination, path: &Path<'_>) -> RuleDestination {
        let HttpRouteDestination { destination, weight, headers } = entry;
        let (request_headers, response_headers) =
            headers::understand(headers.as_ref(), &path.field("headers"), self.review);
        let path = path.field("destination");
        let none = Destination::default();
        let Destination { host, subset, port } = destination.as_ref().unwrap_or(&none);
        RuleDestination {
            host: names::complete(host, self.namespace, &self.options.domain),
            subset: subset.clone(),
            port: port.as_ref().map(|port| port.number),
            weight: *weight,
            path: path.to_string(),
            request_headers,
            response_headers,
        }
    }
}
