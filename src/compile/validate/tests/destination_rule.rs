//! VD1, VD4, VD5, VD30, VD31.

use super::{good, resource, says};

fn rule(fields: &str) -> String {
    resource("DestinationRule", &format!("{{host: a, {fields}}}"))
}

#[test]
fn vd1_the_host_is_a_name() {
    for host in ["a", "'*'", "'*.b.c'", "a.b"] {
        good(&resource("DestinationRule", &format!("{{host: {host}}}")));
    }
    for host in ["''", "a_b", "a.*", "10.0.0.1"] {
        says(&resource("DestinationRule", &format!("{{host: {host}}}")), &["error VD1 spec.host"]);
    }
}

#[test]
fn vd4_subsets_have_names_and_labels() {
    good(&rule("subsets: [{name: v1, labels: {version: v1}}, {name: v2}]"));
    says(&rule("subsets: [{name: v1}, {name: v1}]"), &["error VD4 spec.subsets[1].name"]);
    says(&rule("subsets: [{labels: {a: b}}]"), &["error VD4 spec.subsets[0]"]);
    says(&rule("subsets: [{name: v.1}]"), &["error VD4 spec.subsets[0].name"]);
    says(&rule("subsets: [{name: v1, labels: {'': b}}]"), &["error VD4 spec.subsets[0].labels[\"\"]"]);
    let long = "a".repeat(64);
    says(
        &rule(&format!("subsets: [{{name: v1, labels: {{{long}: b}}}}]")),
        &[&format!("error VD4 spec.subsets[0].labels.{long}")],
    );
    // Istio does not look at the length of a value.
    good(&rule(&format!("subsets: [{{name: v1, labels: {{b: {long}}}}}]")));
}

#[test]
fn vd5_policies_of_subsets_are_judged_like_that_of_the_rule() {
    let policy = |policy: &str| rule(&format!("subsets: [{{name: v1, trafficPolicy: {policy}}}]"));
    says(&policy("{}"), &["error VD2 spec.subsets[0].trafficPolicy"]);
    says(
        &policy("{outlierDetection: {consecutiveErrors: 1}}"),
        &["warning VD8 spec.subsets[0].trafficPolicy.outlierDetection.consecutiveErrors"],
    );
    good(&policy("{loadBalancer: {simple: RANDOM}}"));
}

#[test]
fn vd30_a_rule_with_selector_is_for_its_own_namespace() {
    let selecting = |to: &str| rule(&format!("workloadSelector: {{matchLabels: {{a: b}}}}, exportTo: {to}"));
    good(&selecting("[]"));
    good(&selecting("[.]"));
    good(&selecting("[default]"));
    says(&selecting("[other]"), &["error VD30 spec.exportTo[0]"]);
    says(&selecting("['*']"), &["error VD30 spec.exportTo[0]"]);
    says(&selecting("[., other]"), &["error VD30 spec.exportTo[1]"]);
    good(&rule("exportTo: [other, .]"));
    says(&rule("exportTo: ['~']"), &["error VD30 spec.exportTo[0]"]);
}

#[test]
fn vd31_a_selector_has_plain_labels() {
    let selecting = |labels: &str| rule(&format!("workloadSelector: {{matchLabels: {labels}}}"));
    says(&selecting("{}"), &["warning VD31 spec.workloadSelector.matchLabels"]);
    says(&selecting("{'': b}"), &["error VD31 spec.workloadSelector.matchLabels"]);
    says(&selecting("{a*: b}"), &["error VD31 spec.workloadSelector.matchLabels.a*"]);
    says(&selecting("{a: '*'}"), &["error VD31 spec.workloadSelector.matchLabels.a"]);
    let long = "a".repeat(64);
    says(&selecting(&format!("{{a: {long}}}")), &["error CRD spec.workloadSelector.matchLabels.a"]);
}
