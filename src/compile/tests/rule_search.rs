//! Which DestinationRule speaks for a service (DS1, DS3, DS4).

use super::*;
use crate::options::Workload;
use crate::upstream::Policy;

fn rule(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: default}}\n\
         spec: {spec}\n---\n"
    )
}

/// The balancer of the destination `a.test` for the subset, for a client in `default` with the label `app: g`.
fn balancer(documents: &str, subset: &str) -> Option<Policy> {
    let route = virtual_service(
        "it",
        &format!("hosts: [it.test]\nhttp: [{{route: [{{destination: {{host: a.test, subset: {subset}}}}}]}}]"),
    );
    let mut workload = Workload { namespace: "default".to_owned(), ..Workload::default() };
    workload.labels.insert("app".to_owned(), "g".to_owned());
    let mesh = Mesh::builder().workload(workload).build();
    let _ = mesh.apply(Config::from_yaml(&format!("{SERVICES}{documents}{route}"), "it.yaml").unwrap()).unwrap();
    let snapshot = mesh.snapshot();
    let found = snapshot.clusters().find(|cluster| &*cluster.key.host == "a.test" && &*cluster.key.subset == subset);
    found.map(|cluster| cluster.settings().balancing.policy)
}

#[test]
fn ds1_a_rule_for_others_hides_no_wider_one_in_the_clients_namespace() {
    let narrow = rule("narrow", "{host: a.test, exportTo: [other], subsets: [{name: v1, labels: {version: v1}}]}");
    let wide = rule(
        "wide",
        "{host: '*.test', exportTo: [.], trafficPolicy: {loadBalancer: {simple: RANDOM}}, subsets: [{name: v2}]}",
    );
    assert_eq!(balancer(&format!("{narrow}{wide}"), "v2"), Some(Policy::Random));
    assert_eq!(balancer(&format!("{narrow}{wide}"), "v1"), None);
}

#[test]
fn ds3_rules_with_one_selector_are_merged() {
    let selected = |name: &str, app: &str, subset: &str, simple: &str| {
        let policy = format!("trafficPolicy: {{loadBalancer: {{simple: {simple}}}}}");
        let selector = format!("workloadSelector: {{matchLabels: {{app: {app}}}}}");
        rule(name, &format!("{{host: a.test, {selector}, {policy}, subsets: [{{name: {subset}}}]}}"))
    };
    let both = [selected("one", "g", "v1", "RANDOM"), selected("two", "g", "v2", "ROUND_ROBIN")].concat();
    // The first policy stays, both subsets are there.
    assert_eq!((balancer(&both, "v1"), balancer(&both, "v2")), (Some(Policy::Random), Some(Policy::Random)));
    let apart = [selected("one", "g", "v1", "RANDOM"), selected("two", "h", "v2", "ROUND_ROBIN")].concat();
    assert_eq!((balancer(&apart, "v1"), balancer(&apart, "v2")), (Some(Policy::Random), None));
}

/// A rule of a namespace for a host, with a subset that is called as the rule is.
fn subset(name: &str, namespace: &str, host: &str, more: &str) -> String {
    rule(name, &format!("{{host: '{host}', subsets: [{{name: {name}}}]{more}}}"))
        .replace("namespace: default", &format!("namespace: {namespace}"))
}

/// The subsets of `a.test`, a service of `default`, for a client of a namespace with the label `app`.
fn seen(documents: &[String], namespace: &str, app: &str) -> Vec<String> {
    let mut workload = Workload { namespace: namespace.to_owned(), ..Workload::default() };
    workload.labels.insert("app".to_owned(), app.to_owned());
    let mesh = Mesh::builder().workload(workload).build();
    let report =
        mesh.apply(Config::from_yaml(&format!("{SERVICES}{}", documents.concat()), "it.yaml").unwrap()).unwrap();
    assert_eq!(report.errors().count(), 0, "{report}");
    let snapshot = mesh.snapshot();
    let mut subsets: Vec<_> = snapshot
        .clusters()
        .filter(|cluster| &*cluster.key.host == "a.test" && !cluster.key.subset.is_empty())
        .map(|cluster| cluster.key.subset.to_string())
        .collect();
    subsets.sort();
    subsets
}

#[test]
fn ds1_a_private_rule_hides_no_wider_one_from_others() {
    let rules = [subset("narrow", "default", "a.test", ", exportTo: ['.']"), subset("wide", "default", "*.test", "")];
    assert_eq!(seen(&rules, "default", ""), ["narrow"]);
    assert_eq!(seen(&rules, "other", ""), ["wide"]);
}

#[test]
fn ds1_clients_of_the_root_namespace_see_its_private_rules_first() {
    let rules = [
        subset("all", "istio-system", "a.test", ""),
        subset("own", "istio-system", "a.test", ", exportTo: ['.']"),
        subset("service", "default", "a.test", ", exportTo: [istio-system]"),
    ];
    assert_eq!(seen(&rules, "istio-system", ""), ["own"]);
    assert_eq!(seen(&rules[..1], "istio-system", ""), ["all"]);
    assert_eq!(seen(&[&rules[..1], &rules[2..]].concat(), "istio-system", ""), ["service"]);
    assert_eq!(seen(&rules, "other", ""), ["all"]);
}

#[test]
fn ds3_a_rule_for_every_client_completes_those_for_some() {
    let selected =
        |name, app| subset(name, "default", "a.test", &format!(", workloadSelector: {{matchLabels: {{app: {app}}}}}"));
    let some = [selected("g1", "g"), selected("h1", "h"), selected("h2", "h")];
    let with = |export_to| [&some[..], &[subset("x", "default", "a.test", export_to)]].concat();
    let wider = with(", exportTo: ['.', other]");
    assert_eq!(seen(&wider, "default", "g"), ["g1", "x"]);
    assert_eq!(seen(&wider, "default", "h"), ["h1", "h2", "x"]);
    assert_eq!(seen(&wider, "default", "z"), ["x"]);
    assert_eq!(seen(&wider, "other", "g"), ["x"]);
    let public = with("");
    assert_eq!((seen(&public, "default", "g"), seen(&public, "default", "z")), (vec!["g1".into()], vec!["x".into()]));
    // One for the same clients is theirs alone.
    let private = with(", exportTo: ['.']");
    assert_eq!(seen(&private, "default", "h"), ["h1", "h2", "x"]);
    assert_eq!(seen(&private, "default", "z"), Vec::<String>::new());
}

#[test]
fn ds4_a_rule_for_more_clients_is_joined_where_both_are_seen() {
    let a = |name, export_to| subset(name, "default", "a.test", export_to);
    let rules = [a("v1", ", exportTo: ['.']"), a("v2", ", exportTo: ['.', other]")];
    assert_eq!(seen(&rules, "default", ""), ["v1", "v2"]);
    assert_eq!(seen(&rules, "other", ""), ["v2"]);
    let rules = [a("v1", ", exportTo: [one]"), a("v2", ", exportTo: [one, two]")];
    assert_eq!(seen(&rules, "one", ""), ["v1", "v2"]);
    assert_eq!(seen(&rules, "two", ""), Vec::<String>::new(), "it is for those of the first only");
    let rules = [a("v1", ""), a("v2", ", exportTo: [one]")];
    assert_eq!(seen(&rules, "default", ""), ["v1"]);
    assert_eq!(seen(&rules, "one", ""), ["v2"], "of those that stand apart the youngest");
}
