//! What resources say in vain beside others, and that it is said.

use super::*;

/// A DestinationRule for `host` with `fields` in its spec.
fn rule(name: &str, host: &str, fields: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}}}\n\
         spec: {{host: '{host}', {fields}}}\n---\n"
    )
}

/// What is said to be in vain: of which resource, where, and why. Nothing else is said, and all of it has a place.
pub(super) fn idle(documents: &str) -> Vec<(String, String, String)> {
    let (_, report) = published(documents, MeshOptions::default());
    assert!(!report.fails_check() && !report.refuses_start(), "{report}");
    let said = report.problems().iter().map(|problem| {
        // What leads to a delegate decides there too, whatever it matches.
        let word = if problem.path.contains(".match[") { "matches nothing: " } else { "without effect: " };
        let why = problem.message.strip_prefix(word).unwrap_or_else(|| panic!("{report}"));
        assert!(problem.place.is_some(), "{report}");
        (problem.resource.as_ref().unwrap().name.to_string(), problem.path.clone(), why.to_owned())
    });
    said.collect()
}

pub(super) fn said(name: &str, path: &str, why: &str) -> (String, String, String) {
    (name.to_owned(), path.to_owned(), why.to_owned())
}

#[test]
fn policies_and_subsets_of_a_second_rule_for_a_host_are_named() {
    let subsets = |names: &str| {
        let subset = |name: &str| format!("{{name: {name}, labels: {{version: {name}}}}}");
        format!("subsets: [{}]", names.split(' ').map(subset).collect::<Vec<_>>().join(", "))
    };
    let policy = "trafficPolicy: {loadBalancer: {simple: RANDOM}}";
    let first = rule("a", "a.test", &format!("{policy}, {}", subsets("v1")));
    let second = rule("b", "a.test", &format!("{policy}, {}", subsets("v2 v1")));
    assert_eq!(
        idle(&(second + &first)),
        [
            said("b", "spec.trafficPolicy", "this host has the policy of DestinationRule default/a"),
            said("b", "spec.subsets[1]", "this host has the subset v1 of DestinationRule default/a"),
        ]
    );
    // What the first leaves open is the second's.
    let completing = rule("b", "a.test", &format!("{policy}, {}", subsets("v2")));
    assert_eq!(idle(&(rule("a", "a.test", &subsets("v1")) + &completing)), []);
    assert_eq!(idle(&(first.clone() + &rule("b", "b.test", policy))), []);
    // Both count where a rule is for some clients.
    let of_some = rule("b", "a.test", &format!("workloadSelector: {{matchLabels: {{app: a}}}}, {policy}"));
    assert_eq!(idle(&(first + &of_some)), []);
}

#[test]
fn rules_for_a_host_that_nothing_has_are_named() {
    let policy = "trafficPolicy: {loadBalancer: {simple: RANDOM}}";
    let kubernetes = "apiVersion: v1\nkind: Service\nmetadata: {name: known}\nspec: {ports: [{port: 80}]}\n---\n";
    let wild =
        SERVICES.replace("name: services", "name: wild").replace("a.test, b.test, plain.test", "'*.far.example'");
    // What another namespace has for itself is there too.
    let private = SERVICES
        .replace("name: services", "name: own, namespace: far")
        .replace("a.test, b.test, plain.test", "own.example");
    let private = private.replace("spec:", "spec:\n  exportTo: ['.']");
    let of_host = |host: &str| idle(&format!("{kubernetes}{wild}{private}{}", rule("a", host, policy)));
    for host in
        ["a.test", "A.test", "*.test", "*", "known", "*.far.example", "x.far.example", "*.example", "own.example"]
    {
        assert_eq!(of_host(host), [], "{host}");
    }
    for (host, name) in
        [("c.test", "c.test"), ("*.a.test", "*.a.test"), ("unknown", "unknown.default.svc.cluster.local")]
    {
        let why = format!("no Service or ServiceEntry has the host {name}");
        assert_eq!(of_host(host), [said("a", "spec.host", &why)]);
    }
}

#[test]
fn entries_for_a_port_that_has_one_or_is_not_there_are_named() {
    let entries = |ports: &str| {
        let entry = |port: &str| format!("{{port: {{number: {port}}}, loadBalancer: {{simple: RANDOM}}}}");
        format!("{{portLevelSettings: [{}]}}", ports.split(' ').map(entry).collect::<Vec<_>>().join(", "))
    };
    let at = |number: usize| format!("spec.trafficPolicy.portLevelSettings[{number}]");
    let of_ports = |host: &str, ports: &str| idle(&rule("a", host, &format!("trafficPolicy: {}", entries(ports))));
    assert_eq!(of_ports("a.test", "80"), []);
    assert_eq!(of_ports("a.test", "80 80"), [said("a", &at(1), "an earlier entry is for the same port")]);
    assert_eq!(of_ports("a.test", "80 81"), [said("a", &at(1), "a.test has no port 81 of TCP")]);
    assert_eq!(of_ports("*.test", "81 80"), [said("a", &at(0), "*.test has no port 81 of TCP")]);
    let subset = format!("subsets: [{{name: v1, trafficPolicy: {}}}]", entries("82"));
    let path = "spec.subsets[0].trafficPolicy.portLevelSettings[0]";
    assert_eq!(idle(&rule("a", "a.test", &subset)), [said("a", path, "a.test has no port 82 of TCP")]);
}

#[test]
fn a_host_of_which_another_virtual_service_has_the_requests_is_named() {
    let rules = |name: &str, hosts: &str, matching: &str| {
        let rule = format!("http: [{{{matching}route: [{{destination: {{host: a.test, port: {{number: 80}}}}}}]}}]");
        virtual_service(name, &format!("hosts: [{hosts}]\n{rule}"))
    };
    let why = |host: &str| format!("in the mesh the http rules for {host} are those of VirtualService default/one");
    let one = rules("one", "a.test, '*.wild'", "");
    assert_eq!(
        idle(&(one.clone() + &rules("two", "b.test, a.test", ""))),
        [said("two", "spec.hosts[1]", &why("a.test"))]
    );
    assert_eq!(idle(&(one.clone() + &rules("two", "'*.wild'", ""))), [said("two", "spec.hosts[0]", &why("*.wild"))]);
    // On ports that the first has no rules for the second's hold.
    let of_port = rules("one", "c.test", "match: [{port: 81}], ");
    assert_eq!(idle(&(of_port + &rules("two", "c.test", ""))), []);
    // What holds at gateways only is not in the way of anything, and has nothing to lose.
    let at_gateway =
        rules("two", "a.test", "match: [{gateways: [gw]}], ").replace("hosts:", "gateways: [mesh, gw]\n  hosts:");
    let gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec:\n  \
                   servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]\n---\n";
    assert_eq!(idle(&(one + &at_gateway + gateway)), []);
}
