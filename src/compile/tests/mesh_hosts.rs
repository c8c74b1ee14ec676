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
    let own = [entry("*.test", &[80, 81]), rules("one", "'*.test'", Some(80)), rules("two", "'*.test'", None)];
    assert_eq!(taken(&own, "http://it.test:80/").as_deref(), Some("one"));
    assert_eq!(taken(&own, "http://it.test:81/").as_deref(), Some("wildxtest"), "its host is the wildcard itself");
}

#[test]
fn a_wildcard_is_its_owners_beside_the_ports_of_the_service_of_its_name() {
    let (wild, other) = (entry("*.test", &[80]), entry("other.example", &[81]));
    let all = [wild, other, rules("one", "'*.test'", None), rules("two", "'*.test', other.example", None)];
    assert_eq!(taken(&all, "http://it.test/").as_deref(), Some("one"));
    assert_eq!(taken(&all, "http://it.test:81/").as_deref(), Some("two"), "it has another service there");
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
        report
            .problems()
            .iter()
            .any(|problem| problem.to_string().contains("of the service *.example: http rules hold"))
    };
    assert!(warned(&here) && !warned(&exact));
    let own = [entry("*.example", &[80]), entry("*.a.example", &[80]), rules("narrow", "'*.a.example'", None)];
    assert_eq!(taken(&own, "http://x.a.example/").as_deref(), Some("narrow"));
    assert!(!warned(&own));
}

#[test]
fn tls_rules_hold_where_their_host_and_a_services_meet() {
    let port = |entry: String| entry.replace("protocol: HTTP", "protocol: TLS");
    let rule = |host: &str, http: &str| {
        let to = "route: [{destination: {host: egress.test, port: {number: 443}}}]";
        virtual_service("it", &format!("hosts: ['{host}']\n{http}tls: [{{match: [{{sniHosts: ['{host}']}}], {to}}}]"))
    };
    for (service, host, name, found) in [
        ("a.far.test", "a.far.test", "a.far.test", true),
        ("*.far.test", "a.far.test", "a.far.test", true),
        ("*.far.test", "*.b.far.test", "x.b.far.test", true),
        ("a.far.test", "*.far.test", "x.far.test", true),
        ("a.far.test", "b.far.test", "b.far.test", false),
    ] {
        let services = port(entry(service, &[443])) + &port(entry("egress.test", &[443]));
        let (snapshot, report) = published(&(services.clone() + &rule(host, "")), MeshOptions::default());
        assert_eq!(snapshot.mesh_tls.find(name, 443).is_some(), found, "{service} and {host}");
        let warned = |report: &Report| report.to_string().contains("http rules hold");
        assert!(!warned(&report), "{report}");
        let (_, report) =
            published(&(services + &rule(host, "http: [{redirect: {uri: /}}]\n")), MeshOptions::default());
        assert_eq!(warned(&report), host == "*.b.far.test", "{report}");
    }
}

#[test]
fn a_virtual_service_that_has_a_service_on_a_port_has_its_other_hosts_there() {
    let all = [entry("x.example", &[8080]), entry("y.example", &[70]), rules("both", "x.example, y.example", None)];
    assert_eq!(taken(&all, "http://y.example:8080/").as_deref(), Some("both"));
    assert_eq!(taken(&all, "http://x.example:70/").as_deref(), Some("both"));
    assert_eq!(taken(&all, "http://x.example:71/"), None);
    let first = [&all[..], &[rules("a", "y.example", None)]].concat();
    assert_eq!(taken(&first, "http://y.example/").as_deref(), Some("a"));
    assert_eq!(taken(&first, "http://y.example:8080/").as_deref(), Some("both"), "nothing of the first is there");
}

/// A Service of the namespace `default` with a port of HTTP, or another name of one.
fn service(name: &str, spec: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\nspec: {{{spec}}}\n---\n")
}

#[test]
fn a_short_wildcard_is_one_of_the_namespace_of_its_resource() {
    let known = service("orders-db", "ports: [{port: 80, name: http}]");
    let host = "orders-db.default.svc.cluster.local";
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: dbs}\n\
                spec: {host: '*-db', subsets: [{name: v1, labels: {version: v1}}]}\n---\n";
    let to_subset = "http: [{route: [{destination: {host: orders-db, subset: v1}}]}]";
    let all = [known, rule.to_owned(), virtual_service("rules", &format!("hosts: ['*-db']\n{to_subset}"))];
    assert_eq!(taken(&all, &format!("http://{host}/")).as_deref(), Some("rules"));
    assert_eq!(taken(&all, "http://orders-db/").as_deref(), Some("rules"));
    assert_eq!(taken(&all, "http://other-db/"), None);
    let (_, report) = published(&all.concat(), MeshOptions::default());
    assert!(!report.fails_check(), "the subset is there: {report}");
}

#[test]
fn a_name_that_is_derived_is_that_of_the_service_whose_host_it_is() {
    let known = service("x", "ports: [{port: 80, name: http}, {port: 81, name: http-81}]");
    let other = entry("x.default", &[80]);
    for all in [[known.clone(), other.clone()], [other, known]] {
        assert_eq!(taken(&all, "http://x.default/").as_deref(), Some("xxdefault"));
        assert_eq!(taken(&all, "http://x.default.svc/").as_deref(), Some("x"));
        assert_eq!(taken(&all, "http://x.default:81/").as_deref(), Some("x"), "the other is not there");
    }
}

#[test]
fn every_host_is_one_with_a_dot_behind_it() {
    let all = [entry("x.example", &[80]), entry("*.wild.example", &[80])];
    assert_eq!(taken(&all, "http://x.example./").as_deref(), Some("xxexample"));
    assert_eq!(taken(&all, "http://a.wild.example./").as_deref(), Some("wildxwildxexample"));
}

#[test]
fn rules_for_another_name_of_a_service_hold_on_port_80() {
    let known = service("it", "ports: [{port: 80, name: http}, {port: 81, name: http-81}]");
    let alias = service("other", "type: ExternalName, externalName: it.default.svc.cluster.local");
    let all = [known, alias, rules("rules", "other.default.svc.cluster.local", None)];
    assert_eq!(taken(&all, "http://other.default.svc.cluster.local/").as_deref(), Some("rules"));
    assert_eq!(taken(&all, "http://other.default/").as_deref(), Some("it"), "as it is written only");
    assert_eq!(taken(&all, "http://other.default.svc.cluster.local:81/").as_deref(), Some("it"));
}

#[test]
fn a_destination_without_a_port_is_at_the_only_one_else_at_the_one_that_was_called() {
    let all = [entry("it.test", &[80, 81]), entry("sole.test", &[81]), entry("two.test", &[81, 82])];
    let rule = |to: &str| {
        let route = format!("http: [{{route: [{{destination: {{host: {to}}}}}]}}]");
        virtual_service("it", &format!("hosts: [it.test]\ngateways: [mesh, gw]\n{route}"))
    };
    let gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec:\n  \
                   servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]\n---\n";
    for (to, on_80, warning) in [
        (
            "sole.test",
            true,
            "names no port, and sole.test has only 81: a sidecar asks for the one that was called, and answers 503 on \
             80 (write `port: {number: 81}`)",
        ),
        (
            "two.test",
            false,
            // Where it is not at the gateway either, that is said.
            "names no port, so that the one of the server is asked for, and two.test has no port 80: requests get 503 \
             (write the port: two.test has 81, 82)",
        ),
    ] {
        let (snapshot, report) = published(&(all.concat() + &rule(to) + gateway), MeshOptions::default());
        let said: Vec<_> = report.problems().iter().map(ToString::to_string).collect();
        assert!(said.len() == 1 && said[0].ends_with(warning), "{report}");
        let choice = |route: &Route| forward(route).clusters.pick(0).destination.clone();
        let in_mesh = choice(&route(&snapshot, "http://it.test/").unwrap());
        assert_eq!((in_mesh.for_port(80).is_some(), in_mesh.for_port(81).is_some()), (on_80, true), "{to}");
        let at_gateway = choice(&snapshot.listeners()[0].table.routes[0]);
        assert_eq!(at_gateway.for_port(80).is_some(), on_80, "{to}");
    }
}

#[test]
fn a_destination_without_a_port_is_named_where_clients_call_another() {
    let services = [entry("it.test", &[81]), entry("*.wild.test", &[80, 82]), entry("up.test", &[81, 82])].concat();
    let missing_of = |rules: &str| {
        let (_, report) = published(&format!("{services}{rules}"), MeshOptions::default());
        let said: Vec<_> = report.problems().iter().map(ToString::to_string).collect();
        said.iter().find_map(|said| Some(said.split_once("was called: on ")?.1.split_once(" it is not")?.0.to_owned()))
    };
    let written = |hosts: &str, rule: &str| virtual_service("it", &format!("hosts: [{hosts}]\nhttp: [{{{rule}}}]"));
    let missing = |hosts: &str, rule: &str| missing_of(&written(hosts, rule));
    let to = "route: [{destination: {host: up.test}}]";
    assert_eq!(missing("it.test", to), None);
    assert_eq!(missing("no.service", to).as_deref(), Some("80"));
    assert_eq!(missing("'*.wild.test'", to).as_deref(), Some("80"));
    assert_eq!(missing("'*.wild.test'", &format!("match: [{{port: 82}}], {to}")), None);
    assert_eq!(missing("no.service", "route: [{destination: {host: up.test, port: {number: 81}}}]"), None);
    assert_eq!(
        missing("no.service", "match: [{gateways: [elsewhere]}], route: [{destination: {host: up.test}}]"),
        None
    );
    let behind = |first: &str| missing("no.service", &format!("{first}directResponse: {{status: 200}}}}, {{{to}"));
    assert_eq!(behind(""), None, "no request comes so far");
    assert_eq!(behind("match: [{uri: {prefix: /}}], "), None);
    assert_eq!(behind("match: [{uri: {prefix: /x}}], ").as_deref(), Some("80"));
    assert_eq!(behind("match: [{uri: {prefix: /}, port: 82}], ").as_deref(), Some("80"));
    let child = virtual_service("child", &format!("http: [{{{to}}}]"));
    let led = written("no.service", "delegate: {name: child}") + &child;
    assert_eq!(missing_of(&led).as_deref(), Some("80"), "clients of what leads to a delegate are its own");
}

#[test]
fn the_domain_of_the_mesh_is_a_name_in_any_case() {
    let service = "{apiVersion: v1, kind: Service, metadata: {name: it}, spec: {ports: [{port: 80, name: http}]}}";
    for domain in ["cluster.local", "Cluster.Local"] {
        let (snapshot, report) = published(service, MeshOptions { domain: domain.into(), ..MeshOptions::default() });
        assert_eq!(report.problems(), []);
        for host in ["it", "it.default", "it.default.svc", "it.default.svc.cluster.local"] {
            assert!(route(&snapshot, &format!("http://{host}/")).is_some(), "{host} by {domain}");
        }
    }
}
