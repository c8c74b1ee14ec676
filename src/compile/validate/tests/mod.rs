//! A bad and a good resource for every rule, by the rule's name.

mod destination_rule;
mod gateway;
mod half_read;
mod http_action;
mod http_match;
mod http_policy;
mod http_route;
mod l4_route;
mod load_balancer;
mod names;
mod properties;
mod scale;
mod service;
mod service_entry;
mod traffic_policy;
mod virtual_service;
mod workload_entry;

use super::keep_good;
use crate::compile::report::Report;
use crate::config::Config;
use crate::error::{Problem, Severity};

/// The resource of `kind` named `a` with this spec.
fn resource(kind: &str, spec: &str) -> String {
    format!("{{apiVersion: networking.istio.io/v1, kind: {kind}, metadata: {{name: a}}, spec: {spec}}}")
}

/// A VirtualService for the mesh with one http rule.
fn http(rule: &str) -> String {
    resource("VirtualService", &format!("{{hosts: [a], http: [{rule}]}}"))
}

/// A rule that routes, with more fields.
fn routed(fields: &str) -> String {
    http(&format!("{{route: [{{destination: {{host: b}}}}], {fields}}}"))
}

/// A DestinationRule with one trafficPolicy.
fn policy(policy: &str) -> String {
    resource("DestinationRule", &format!("{{host: a, trafficPolicy: {policy}}}"))
}

/// Every problem of the resources in a text.
fn problems(yaml: &str) -> Vec<Problem> {
    let mut config = Config::from_yaml(yaml, "a.yaml").unwrap_or_else(|error| panic!("{yaml}\n{error}"));
    assert_eq!(config.problems, [], "{yaml}");
    let count = |config: &Config| {
        config.virtual_services.len()
            + config.destination_rules.len()
            + config.gateways.len()
            + config.service_entries.len()
            + config.workload_entries.len()
            + config.services.len()
    };
    let before = count(&config);
    assert!(before > 0, "{yaml}");
    let (mut report, mut bad) = (Report::default(), Vec::new());
    keep_good(&mut config, &mut report, &mut bad);
    assert_eq!(before - count(&config), bad.len(), "{yaml}");
    let mut wrong: Vec<_> = report.errors().filter_map(|problem| problem.resource.clone()).collect();
    wrong.dedup();
    assert_eq!(wrong, bad, "{yaml}");
    for problem in report.problems() {
        assert!(problem.place.is_some(), "{problem}");
        assert!(problem.rule.is_some(), "{problem}");
        assert!(problem.to_string().lines().count() == 1, "{problem}");
    }
    report.problems().to_vec()
}

/// Asserts what is said of a text: `error VH5 spec.http[0]`.
#[track_caller]
fn says(yaml: &str, expected: &[&str]) {
    let found: Vec<_> = problems(yaml)
        .iter()
        .map(|problem| {
            let severity = if problem.severity == Severity::Error { "error" } else { "warning" };
            format!("{severity} {} {}", problem.rule.unwrap_or_default(), problem.path)
        })
        .collect();
    assert_eq!(found, expected, "{yaml}");
}

/// Asserts that nothing is said of a text.
#[track_caller]
fn good(yaml: &str) {
    says(yaml, &[]);
}

/// The lines of all problems, for their words.
fn lines(yaml: &str) -> String {
    problems(yaml).iter().map(|problem| format!("{problem}\n")).collect()
}
