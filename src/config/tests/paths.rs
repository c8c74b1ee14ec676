use super::{told, virtual_service};
use crate::config::{Config, DestinationRule, Resource};

const RULE: &str = "\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: \u{e9}\u{e9}, labels: {a.b/c: \"x\", 'd\"]e': x, d: x}}
spec:
  host: a
  traffic_policy:
    connectionPool: {http: {http1_max_pending_requests: 1}, tcp: {connectTimeout: 1s}}
  subsets:
  - &v1
    name: v1
    labels: {app.kubernetes.io/name: a, app: b}
  -
    <<: *v1
    name: v2
  - {name: v3, labels: {}}
";

fn rule() -> Resource<DestinationRule> {
    let config = Config::from_yaml(RULE, "a.yaml").unwrap();
    assert_eq!(config.problems, []);
    config.destination_rules.into_iter().next().unwrap()
}

#[test]
fn places_count_lines_and_characters_from_one() {
    let rule = rule();
    let at = |path: &str| rule.place(path).map(|place| (place.line, place.column)).unwrap();
    assert_eq!(at(""), (1, 1));
    assert_eq!(at("metadata.labels"), (3, 22));
    assert_eq!(at("spec"), (4, 1));
    assert_eq!(at("spec.host"), (5, 3));
    assert_eq!(at("spec.subsets[0].name"), (10, 5));
    assert_eq!(at("spec.subsets[2]"), (15, 5));
    assert_eq!(at("spec.subsets[2].labels"), (15, 16));
    assert_eq!(rule.file(), Some("a.yaml"));
}

#[test]
fn other_spellings_dotted_keys_and_merges_are_found() {
    let rule = rule();
    let at = |path: &str| rule.place(path).map(|place| (place.line, place.column)).unwrap();
    assert_eq!(at("spec.trafficPolicy.connectionPool.http.http1MaxPendingRequests"), (7, 29));
    assert_eq!(at("spec.traffic_policy.connection_pool.tcp.connect_timeout"), (7, 67));
    assert_eq!(at("metadata.labels[\"a.b/c\"]"), (3, 31));
    assert_eq!(at("metadata.labels[\"d\"]e\"]"), (3, 43));
    assert_eq!(at("metadata.labels[\"d\"]"), (3, 54));
    assert_eq!(at("spec.subsets[0].labels[\"app.kubernetes.io/name\"]"), (11, 14));
    assert_eq!(at("spec.subsets[0].labels.app"), (11, 41));
    assert_eq!(at("spec.subsets[1].name"), (14, 5));
    assert_eq!(at("spec.subsets[1].labels.app"), (11, 41));
}

#[test]
fn what_is_not_written_has_the_place_around_it() {
    let rule = rule();
    let line = |path: &str| rule.place(path).unwrap().line;
    assert_eq!(line("spec.subsets[9].name"), 8);
    assert_eq!(line("spec.subsets[0].trafficPolicy.tls"), 9);
    assert_eq!(line("nothing.at.all"), 1);
    assert_eq!(line("spec.host.below[3]"), 5);
    assert_eq!(line("spec.subsets[x]"), 8);
    assert_eq!(line("spec.subsets[\"x"), 8);
    assert_eq!(line("spec..host"), 4);
    assert_eq!(Resource::new("a", None, DestinationRule::default()).place("spec"), None);
}

#[test]
fn merges_of_merges() {
    let text = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a}
spec:
  hosts: [a.b]
  endpoints:
  - &one {address: 1.1.1.1, weight: 1}
  - &two {<<: *one, locality: r}
  - {<<: [*two, {network: n}], weight: 2}
";
    let config = Config::from_yaml(text, "a.yaml").unwrap();
    assert_eq!(config.problems, []);
    let entry = &config.service_entries[0];
    let last = &entry.spec.endpoints[2];
    assert_eq!((&*last.address, last.weight, &*last.locality, &*last.network), ("1.1.1.1", 2, "r", "n"));
    let line = |path: &str| entry.place(path).unwrap().line;
    assert_eq!(line("spec.endpoints[2].address"), 7);
    assert_eq!(line("spec.endpoints[2].locality"), 8);
    assert_eq!(line("spec.endpoints[2].network"), 9);
}

#[test]
fn a_stray_key_with_dots_is_no_path() {
    let told = told(&virtual_service("retries.attempts: 3\nretries:\n  attempts: x\nroute: []"));
    assert!(
        told.iter().any(|told| told.contains("9:7: error: VirtualService default/a: spec.http[0].retries.attempts:"))
    );
}

#[test]
fn keys_that_are_no_texts_are_found() {
    let keys = ["0x2", "1.50", "True", "1", "null"];
    let params: String = keys.iter().map(|key| format!("\n    {key}: 5")).collect();
    let told = told(&virtual_service(&format!("match:\n- queryParams:{params}")));
    let lines: Vec<_> = told.iter().map(|told| told.split(':').nth(1).unwrap()).collect();
    assert_eq!(lines, ["9", "10", "11", "12", "13"], "{told:#?}");
}
