//! What else is wrong with resources of which some values cannot be read: [`half_read`].

use std::collections::HashMap;

use super::keep_good;
use crate::compile::report::Report;
use crate::config::Config;
use crate::error::{Problem, ResourceName};

/// What is wrong at the first may come of a value at the second that stands elsewhere: a server's address decides whether
/// it needs a port, endpoints name the ports of their ServiceEntry.
const ELSEWHERE: [(&str, &str); 2] = [(".port.number", ".bind"), (".ports", "spec.ports")];

/// Judges what could be read of resources that `report` says more of already. Added is what none of the values that
/// could not be read may be the reason of.
pub(crate) fn half_read(mut resources: Config, report: &mut Report) {
    let mut broken: HashMap<ResourceName, Vec<String>> = HashMap::new();
    for problem in report.errors() {
        if let Some(name) = &problem.resource {
            broken.entry(name.clone()).or_default().push(problem.path.clone());
        }
    }
    let mut judged = Report::default();
    keep_good(&mut resources, &mut judged, &mut Vec::new());
    let stands = |problem: &Problem| {
        let broken = problem.resource.as_ref().and_then(|name| broken.get(name));
        problem.is_error() && broken.is_some_and(|paths| paths.iter().all(|path| !depends(&problem.path, path)))
    };
    report.problems.extend(judged.problems.into_iter().filter(stands));
}

/// Whether the value at `broken` may be the reason of what is wrong at `path`: it is a part of that, or of what that is
/// a field of.
fn depends(path: &str, broken: &str) -> bool {
    within(path, list(broken))
        || within(broken, path)
        || !path.ends_with(']') && within(broken, parent(path))
        || ELSEWHERE.iter().any(|(wrong, reason)| path.contains(wrong) && broken.contains(reason))
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
