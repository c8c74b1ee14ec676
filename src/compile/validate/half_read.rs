//! What else is wrong with resources of which some values cannot be read: [`half_read`].

use std::collections::HashMap;

use super::keep_good;
use crate::compile::report::Report;
use crate::config::Config;
use crate::error::{Problem, ResourceName};

/// What is wrong at the first may come of a value at the second that stands elsewhere: a server's address decides whether
/// it needs a port, endpoints name the ports of their ServiceEntry. Folded, as paths are compared.
const ELSEWHERE: [(&str, &str); 15] = [
    (".port.number", ".bind"),
    (".port.protocol", ".tls"),
    ("].ports", "spec.ports"),
    ("].address", "spec.ports"),
    // Names that endpoints stand for are not resolved.
    ("spec.hosts", "spec.endpoints"),
    // Some hosts, server names and claims are for gateways only.
    ("spec.hosts", "spec.gateways"),
    ("spec.hosts", "spec.tls"),
    (".snihosts", "spec.gateways"),
    ("headers[\"@", "spec.gateways"),
    (".snihosts", "spec.hosts"),
    // Without hosts it is a delegate.
    (".delegate", "spec.hosts"),
    (".mirrors", "spec.hosts"),
    (".prefixrewrite", ".match"),
    // One that is missing looks like one that cannot be read.
    (".name", ".name"),
    (".number", ".number"),
];

/// Judges what could be read of resources that `report` says more of already. Added is what none of the values that
/// could not be read may be the reason of.
pub(crate) fn half_read(mut resources: Config, report: &mut Report) {
    let mut broken: HashMap<ResourceName, Vec<String>> = HashMap::new();
    for problem in report.errors() {
        if let Some(name) = &problem.resource {
            broken.entry(name.clone()).or_default().push(folded(&problem.path));
        }
    }
    let mut judged = Report::default();
    keep_good(&mut resources, &mut judged, &mut Vec::new());
    let stands = |problem: &Problem| {
        let broken = problem.resource.as_ref().and_then(|name| broken.get(name));
        problem.is_error() && broken.is_some_and(|broken| !depends(&folded(&problem.path), broken))
    };
    report.problems.extend(judged.problems.into_iter().filter(stands));
}

/// A path in one spelling: what cannot be read is told as it is written, maybe in that of proto files.
fn folded(path: &str) -> String {
    path.replace('_', "").to_ascii_lowercase()
}

/// Whether one of the values at `broken` may be the reason of what is wrong at `path`: it is a part of that, or of what
/// that is a field of, or one elsewhere.
fn depends(path: &str, broken: &[String]) -> bool {
    let own = if path.ends_with(']') { path } else { parent(path) };
    let mut elsewhere = ELSEWHERE.iter().filter(|(wrong, _)| path.contains(wrong));
    broken.iter().any(|broken| within(path, list(broken)) || within(broken, path) || within(broken, own))
        || elsewhere.any(|(_, reason)| broken.iter().any(|broken| broken.contains(reason)))
}

/// Whether `path` is `outer`, or of a part of it.
fn within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The list whose entry stands at `path`, of which nothing is left without that; or `path` itself.
fn list(mut path: &str) -> &str {
    while let Some((list, index)) = path.strip_suffix(']').and_then(|path| path.rsplit_once('['))
        && index.bytes().all(|byte| byte.is_ascii_digit())
    {
        path = list;
    }
    path
}

/// What has the field at `path`.
fn parent(path: &str) -> &str {
    path.rfind('.').map_or("", |dot| &path[..dot])
}
