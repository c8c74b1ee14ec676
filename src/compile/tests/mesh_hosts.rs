//! Which VirtualService has which host of the mesh on which port.

use super::*;

/// Services with the ports that they have, all of HTTP, one endpoint each.
fn entry(host: &str, ports: &[u16]) -> String {
    let name = host.replace('*', "wild").replace('.', "x");
    let ports: Vec<_> = ports.iter().map(|port| format!("{{number: {port}, name: p{port}, protocol: HTTP}}")).collect();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec:\n  \
         hosts: ['{host}']\n  resolution: STATIC\n  ports: [{}]\n  endpoints: [{{address: 10.0.0.1}}]\n---\n",
        ports.join(", ")
    )
}

/// A VirtualService for `hosts` with a rule for the port, or for every port.
fn rules(name: &str, hosts: &str, port: Option<u16>) -> String {
    let matching = port.map_or_else(String::new, |port| format!("match: [{{port: {port}}}], "));
    virtual_service(
        name,
        &format!("hosts: [{hosts}]\nhttp: [{{{matching}route: [{{destination: {{host: a.test}}}}]}}]"),
    )
}

/// Whose route `GET uri` takes.
fn taken(documents: &[String], uri: &str) -> Option<String> {
    let (snapshot, report) = published(&documents.concat(), MeshOptions::default());
    assert_eq!(report.errors().count(), 0, "{report}");
    route(&snapshot, uri).map(|route| route.origin.resource.name.to_string())
}

#[test]
fn a_host_without_rules_for_a_port_is_there_the_next_ones() {
    let both = entry("it.test", &[80, 81]);
    let one = rules("one", "it.test", Some(80));
    let all = [both.clone(), one.clone(), rules("two", "it.test", Some(81)), rules("three", "it.test", None)];
    assert_eq!(taken(&all, "http://it.test/").as_deref(), Some("one"));
    assert_eq!(taken(&all, "http://it.test:81/").as_deref(), Some("three"), "the older by name");
    let service = [both, one];
    assert_eq!(taken(&service, "http://it.test:81/").as_deref(), Some("itxtest"), "the service's own route");
}

#[test]
fn a_service_of_a_wildcard_is_its_first_owners_alone() {
    let it = entry("it.test", &[80, 81]);
    let all = [it.clone(), rules("one", "'*.test'", Some(80)), rules("two", "'*.test'", None)];
    assert_eq!(taken(&all, "http://it.test:81/").as_deref(), Some("itxtest"));
    let exact = [it, rules("one", "it.test", Some(80)), rules("two", "'*.test'", None)];
    assert_eq!(taken(&exact, "http://it.test:81/").as_deref(), Some("itxtest"));
}

#[test]
fn a_host_that_is_no_service_is_on_each_port_that_of_the_first_with_rules_else_of_a_wider_one() {
    let all = [
        rules("one", "x.wide.example", Some(80)),
        rules("two", "x.wide.example", Some(81)),
        rules("wide", "'*.example'", None),
    ];
    assert_eq!(taken(&all, "http://x.wide.example/").as_deref(), Some("one"));
    assert_eq!(taken(&all, "http://x.wide.example:81/").as_deref(), Some("two"));
    assert_eq!(taken(&all, "http://x.wide.example:82/").as_deref(), Some("wide"));
    assert_eq!(taken(&all[..2], "http://x.wide.example:82/"), None);
}

#[test]
fn a_wildcard_that_covers_services_is_a_host_where_none_of_them_is() {
    let wide = rules("wide", "'*.example'", None);
    let exact = rules("exact", "x.example", None);
    let here = [entry("x.example", &[80]), wide.clone(), exact.clone()];
    assert_eq!(taken(&here, "http://y.example/"), None, "even where another has the service");
    let elsewhere = [entry("x.example", &[8080]), wide];
    assert_eq!(taken(&elsewhere, "http://x.example:8080/").as_deref(), Some("wide"));
    assert_eq!(taken(&elsewhere, "http://y.example/").as_deref(), Some("wide"));
    assert_eq!(taken(&elsewhere, "http://x.example/").as_deref(), Some("wide"));
    assert_eq!(taken(&elsewhere, "http://y.example:8080/"), None);
    let own_and_wide = [entry("*.example", &[8080]), rules("wide", "'*.example'", None)];
    assert_eq!(taken(&own_and_wide, "http://y.example/").as_deref(), Some("wide"));
    let other = [own_and_wide.concat(), entry("x.example", &[80])];
    assert_eq!(taken(&other, "http://y.example/"), None);
    let own = [entry("x.example", &[8080]), exact];
    assert_eq!(taken(&own, "http://x.example/").as_deref(), Some("exact"));
    assert_eq!(taken(&own, "http://x.example:81/"), None);
}

#[test]
fn a_wildcard_that_a_service_covers_is_a_host_where_that_is_not() {
    let narrow = rules("narrow", "'*.a.example'", None);
    let here = [entry("*.example", &[80, 81]), narrow.clone()];
    assert_eq!(taken(&here, "http://x.a.example/").as_deref(), Some("wildxexample"), "the service's own route");
    assert_eq!(taken(&here, "http://x.a.example:81/").as_deref(), Some("wildxexample"));
    let elsewhere = [entry("*.example", &[81]), narrow];
    assert_eq!(taken(&elsewhere, "http://x.a.example/").as_deref(), Some("narrow"));
    assert_eq!(taken(&elsewhere, "http://x.a.example:81/").as_deref(), Some("wildxexample"));
    let exact = [entry("*.example", &[80]), rules("exact", "x.example", None)];
    assert_eq!(taken(&exact, "http://x.example/").as_deref(), Some("exact"));
    let warned = |documents: &[String]| {
        let (_, report) = published(&documents.concat(), MeshOptions::default());
        report.problems().iter().any(|problem| problem.to_string().contains("of the service *.example: rules hold"))
    };
    assert!(warned(&here) && !warned(&exact));
    let own = [entry("*.example", &[80]), entry("*.a.example", &[80]), rules("narrow", "'*.a.example'", None)];
    assert_eq!(taken(&own, "http://x.a.example/").as_deref(), Some("narrow"));
    assert!(!warned(&own));
}
