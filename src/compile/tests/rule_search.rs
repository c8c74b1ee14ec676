//! Which DestinationRule speaks for a service (DS1, DS3).

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
