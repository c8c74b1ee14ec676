//! One http rule: what it does, and where it sends requests (VH1 to VH6, VH12, VH25, VH38, VH39).

use super::{CheckRegex, Findings, http_action, http_match, http_policy, names, numbers, strings};
use crate::compile::path::Path;
use crate::config::{Destination, HeaderOperations, Headers, HttpRoute, HttpRouteDestination};

/// Judges one rule. `delegate`: it stands in a VirtualService without hosts.
pub(crate) fn rule(rule: &HttpRoute, path: &Path<'_>, delegate: bool, check: &CheckRegex<'_>, findings: &mut Findings) {
    action(rule, path, delegate, findings);
    for (index, request) in rule.matches.iter().enumerate() {
        http_match::request(request, &path.item("match", index), check, findings);
    }
    if let Some(headers) = &rule.headers {
        self::headers(headers, &path.field("headers"), findings);
    }
    if let Some(redirect) = &rule.redirect {
        http_action::redirect(redirect, &rule.matches, &path.field("redirect"), findings);
    }
    if let Some(response) = &rule.direct_response {
        http_action::direct_response(response, &path.field("directResponse"), findings);
    }
    if let Some(rewrite) = &rule.rewrite {
        http_action::rewrite(rewrite, &path.field("rewrite"), check, findings);
    }
    http_action::authority(rule, path, findings);
    destinations(&rule.route, &path.field("route"), findings);
    http_policy::timeout(rule.timeout, &path.field("timeout"), findings);
    if let Some(retries) = &rule.retries {
        http_policy::retries(retries, &path.field("retries"), findings);
    }
    if let Some(fault) = &rule.fault {
        http_policy::fault(fault, &path.field("fault"), findings);
    }
    http_policy::mirrors(rule, path, findings);
    if let Some(cors) = &rule.cors_policy {
        http_policy::cors(cors, &path.field("corsPolicy"), check, findings);
    }
}

/// Exactly one action, and nothing beside it that it cannot have.
fn action(rule: &HttpRoute, path: &Path<'_>, delegate: bool, findings: &mut Findings) {
    let routes = !rule.route.is_empty();
    if rule.delegate.is_some() && !delegate {
        for (name, set) in [("route", routes), ("redirect", rule.redirect.is_some())] {
            if set {
                findings.error("VH1", &path.field(name), format!("`delegate` and `{name}` cannot be in one rule"));
            }
        }
        return;
    }
    if rule.mirror.is_some() && !rule.mirrors.is_empty() {
        findings
            .error("VH6", &path.field("mirrors"), "`mirror` and `mirrors` cannot be in one rule")
            .help("write all destinations to `mirrors`");
    }
    if rule.delegate.is_some() {
        findings.error("VH2", &path.field("delegate"), "a delegate cannot delegate again");
        return;
    }
    let (id, name) = match (&rule.redirect, &rule.direct_response) {
        (Some(_), _) => ("VH3", "redirect"),
        (None, Some(_)) => ("VH4", "directResponse"),
        (None, None) if routes => return,
        (None, None) => {
            findings.error("VH5", path, "the rule does nothing: it needs `route`, `redirect` or `directResponse`");
            return;
        }
    };
    let others = [
        ("route", routes),
        ("fault", rule.fault.is_some()),
        ("rewrite", rule.rewrite.is_some()),
        ("directResponse", name == "redirect" && rule.direct_response.is_some()),
    ];
    for (other, _) in others.iter().filter(|(_, set)| *set) {
        findings.error(id, &path.field(other), format!("`{name}` and `{other}` cannot be in one rule"));
    }
}

fn destinations(route: &[HttpRouteDestination], path: &Path<'_>, findings: &mut Findings) {
    let weights = route.iter().map(|entry| entry.weight);
    for (index, entry) in route.iter().enumerate() {
        let HttpRouteDestination { destination, weight, headers } = entry;
        let path = path.index(index);
        self::weighted(destination.as_ref(), *weight, ("VH38", "VH25"), &path, findings);
        if let Some(headers) = headers {
            self::headers(headers, &path.field("headers"), findings);
        }
    }
    weight_sum("VH39", path, weights, findings);
}

/// A destination and its weight; `rules` are those of the weight and of the destination.
pub(crate) fn weighted(
    destination: Option<&Destination>,
    weight: i32,
    (weight_rule, rule): (&'static str, &'static str),
    path: &Path<'_>,
    findings: &mut Findings,
) {
    match destination {
        Some(destination) => self::destination(rule, &path.field("destination"), destination, findings),
        None => drop(findings.error(weight_rule, path, "a destination is missing")),
    }
    if weight < 0 {
        findings.error(weight_rule, &path.field("weight"), format!("the weight {weight} is negative"));
    }
}

/// Of several destinations one must have a weight.
pub(crate) fn weight_sum(
    rule: &'static str,
    path: &Path<'_>,
    weights: impl ExactSizeIterator<Item = i32>,
    findings: &mut Findings,
) {
    let several = weights.len() > 1;
    if several && weights.map(i64::from).sum::<i64>() == 0 {
        findings.error(rule, path, "the weights of the destinations sum up to 0: no request can be sent");
    }
}

/// Where requests can be sent.
pub(crate) fn destination(rule: &'static str, path: &Path<'_>, destination: &Destination, findings: &mut Findings) {
    let Destination { host, subset, port } = destination;
    if host == "*" {
        findings.error(rule, &path.field("host"), "`*` is no host to send requests to");
    } else if let Err(message) = names::check_wildcard_domain(host) {
        findings.error(rule, &path.field("host"), message);
    }
    if !subset.is_empty() && !names::is_dns_label(subset) {
        findings.error(rule, &path.field("subset"), names::bad_dns_label(subset, "a subset"));
    }
    if let Some(port) = port {
        let path = path.field("port");
        numbers::port(rule, &path.field("number"), port.number, findings);
    }
}

/// Header operations, of a rule or of a destination.
fn headers(headers: &Headers, path: &Path<'_>, findings: &mut Findings) {
    if let Some(request) = &headers.request {
        operations(request, &path.field("request"), true, findings);
    }
    if let Some(response) = &headers.response {
        operations(response, &path.field("response"), false, findings);
    }
}

fn operations(operations: &HeaderOperations, path: &Path<'_>, request: bool, findings: &mut Findings) {
    let HeaderOperations { set, add, remove } = operations;
    for (field, map) in [("set", set), ("add", add)] {
        for (name, value) in map {
            let path = path.entry(field, name);
            strings::operated_header("VH12", &path, (name, request), findings);
            strings::header_value("VH12", &path, (name, value), findings);
        }
    }
    for (index, name) in remove.iter().enumerate() {
        strings::operated_header("VH12", &path.item("remove", index), (name, false), findings);
    }
}
