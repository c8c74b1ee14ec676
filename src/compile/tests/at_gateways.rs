//! What VirtualServices say in vain at gateways, and that it is said.

use super::idle_rules::{idle, said};
use super::*;
use crate::options::Workload;

/// A Gateway of namespace `default` with one server.
fn gateway(name: &str, port: u16, protocol: &str, hosts: &str) -> String {
    let tls = match protocol {
        "TLS" => ", tls: {mode: PASSTHROUGH}",
        _ => "",
    };
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\nspec:\n  \
         selector: {{app: {name}}}\n  \
         servers: [{{port: {{number: {port}, name: p, protocol: {protocol}}}, hosts: [{hosts}]{tls}}}]\n---\n"
    )
}

/// A VirtualService for `hosts` at `gateways`, with `more`, or else a rule for everything.
fn bound(hosts: &str, gateways: &str, more: &str) -> String {
    let more = if more.is_empty() { http("") } else { more.to_owned() };
    virtual_service("it", &format!("hosts: [{hosts}]\ngateways: [{gateways}]\n{more}"))
}

fn http(matching: &str) -> String {
    format!("http: [{{{matching}route: [{{destination: {{host: a.test}}}}]}}]")
}

fn in_vain(path: &str, why: &str) -> (String, String, String) {
    said("it", path, why)
}

#[test]
fn hosts_that_no_server_is_for_are_named() {
    let web = gateway("web", 80, "HTTP", "'*.it.test', far/x.test, ./Y.test");
    let two = web.clone() + &gateway("two", 81, "HTTP", "b.test");
    for (hosts, gateways) in [
        ("a.it.test", "web"),
        ("'*.test'", "web"),
        ("'*'", "default/web"),
        ("A.it.test, y.test", "default/web"),
        ("a.it.test, b.test", "web, two"),
        ("plain.test", "web, mesh"),
    ] {
        assert_eq!(idle(&(two.clone() + &bound(hosts, gateways, ""))), [], "{hosts} at {gateways}");
    }
    let no_server = "no server at default/web serves it";
    let of = |hosts: &str| idle(&(two.clone() + &bound(hosts, "web", "")));
    assert_eq!(of("a.it.test, b.test"), [in_vain("spec.hosts[1]", no_server)]);
    assert_eq!(of("b"), [in_vain("spec.hosts[0]", no_server)], "its name is that of a service");
    let others = "the servers at default/web that have it are for VirtualServices of other namespaces";
    assert_eq!(of("x.test"), [in_vain("spec.hosts[0]", others)]);
    let both = "no server at default/web, default/two serves it";
    assert_eq!(idle(&(two.clone() + &bound("c.test", "web, two", ""))), [in_vain("spec.hosts[0]", both)]);
    // A gateway that is not there is named as that.
    let (_, report) = published(&(web + &bound("c.test", "web, gone", "")), MeshOptions::default());
    assert_eq!(report.problems().len(), 1, "{report}");
    assert_eq!(report.problems()[0].message, "there is no Gateway default/gone");
}

#[test]
fn gateways_are_those_that_this_process_stands_for() {
    let web = gateway("web", 80, "HTTP", "a.test");
    let hidden = bound("a.test", "web", &format!("exportTo: [far]\n{}", http("")));
    let why = "the VirtualService is not exported to default, where its gateways are";
    assert_eq!(idle(&(web.clone() + &hidden)), [in_vain("spec.hosts[0]", why)]);
    // Those of the mesh that are not seen here are those of others.
    assert_eq!(idle(&(web.clone() + &hidden.replace("[web]", "[web, mesh]"))), []);
    let config = || Config::from_yaml(&format!("{SERVICES}{web}{}", bound("b.test", "web", "")), "it.yaml").unwrap();
    for (label, warned) in [("web", 1), ("other", 0)] {
        let mut workload = Workload::default();
        workload.labels.insert("app".to_owned(), label.to_owned());
        let report = Mesh::builder().workload(workload).build().apply(config()).unwrap();
        assert_eq!(report.problems().len(), warned, "{label}: {report}");
    }
    // An application that stands for a gateway asks for every host.
    let mesh = Mesh::builder().build();
    let _behind = crate::service::MeshRouter::inbound(&mesh, "default/web");
    let report = mesh.apply(config()).unwrap();
    assert_eq!(report.problems(), []);
}

#[test]
fn matches_that_hold_at_no_gateway_are_named() {
    let servers = gateway("web", 80, "HTTP", "a.test") + &gateway("two", 81, "HTTP", "a.test, b.test");
    let of = |gateways: &str, matching: &str| idle(&(servers.clone() + &bound("a.test", gateways, &http(matching))));
    for (gateways, matching) in [
        ("web", "match: [{port: 80}], "),
        ("web, two", "match: [{port: 81}, {gateways: [two], port: 81}], "),
        ("web, mesh", "match: [{port: 8080}, {gateways: [mesh]}, {gateways: [mesh], port: 8080}], "),
        ("web", "match: [{gateways: [default/web, two, mesh]}], "),
    ] {
        assert_eq!(of(gateways, matching), [], "{matching} at {gateways}");
    }
    let none = "it names no gateway of the VirtualService";
    let port = |port: u16| format!("no server of HTTP there has port {port}");
    for (gateways, matching, path, why) in [
        ("web", "match: [{uri: {exact: /}}, {gateways: [mesh]}], ", "spec.http[0].match[1].gateways", none),
        ("mesh", "match: [{gateways: [web, two]}], ", "spec.http[0].match[0].gateways", none),
        ("web", "match: [{port: 81}], ", "spec.http[0].match[0].port", &*port(81)),
        ("web, two", "match: [{gateways: [two], port: 80}], ", "spec.http[0].match[0].port", &*port(80)),
        ("mesh, web", "match: [{gateways: [web], port: 81}], ", "spec.http[0].match[0].port", &*port(81)),
    ] {
        assert_eq!(of(gateways, matching), [in_vain(path, why)], "{matching} at {gateways}");
    }
    // Where no host is served it is enough to say so.
    assert_eq!(idle(&(servers.clone() + &bound("c.test", "web", &http("match: [{port: 9}], ")))).len(), 1);
    let (_, report) =
        published(&(servers + &bound("a.test", "web", &http("match: [{gateways: [gone]}], "))), MeshOptions::default());
    assert_eq!(report.problems().len(), 1, "{report}");
}

#[test]
fn rules_that_no_server_asks_are_named() {
    let rule = |list: &str, matching: &str| {
        let matching = if list == "tls" { "match: [{sniHosts: [a.test]}], " } else { matching };
        format!("{list}: [{{{matching}route: [{{destination: {{host: a.test, port: {{number: 80}}}}}}]}}]\n")
    };
    let kinds = [
        ("http", "HTTP", "server of HTTP"),
        ("tls", "TLS", "server with `tls.mode: PASSTHROUGH`"),
        ("tcp", "TCP", "server of TCP, or of TLS that it ends,"),
    ];
    let all: String = kinds.iter().map(|(list, ..)| rule(list, "")).collect();
    for (own, protocol, _) in kinds {
        let servers = gateway("gw", 80, protocol, "a.test, b.test");
        let expected = kinds.iter().filter(|(list, ..)| *list != own);
        let expected: Vec<_> = expected
            .map(|(list, _, server)| {
                in_vain(&format!("spec.{list}"), &format!("no {server} at default/gw is for its hosts"))
            })
            .collect();
        let mut said = idle(&(servers + &bound("a.test", "gw", &all)));
        said.sort_by_key(|(_, path, _)| kinds.iter().position(|(list, ..)| path.ends_with(list)));
        assert_eq!(said, expected, "{own}");
    }
    // Another server has them; one for other hosts does not.
    let both = gateway("gw", 80, "HTTP", "a.test") + &gateway("tcp", 81, "TCP", "'*'");
    assert_eq!(idle(&(both.clone() + &bound("a.test", "gw, tcp", &(rule("tcp", "") + &rule("http", ""))))), []);
    let at_web = rule("tcp", "match: [{gateways: [gw]}, {port: 81}], ");
    let why = "no server of TCP, or of TLS that it ends, there is for its hosts";
    assert_eq!(
        idle(&(both + &bound("a.test", "gw, tcp", &(at_web + &rule("http", ""))))),
        [in_vain("spec.tcp[0].match[0].gateways", why)]
    );
}

#[test]
fn a_delegate_is_for_the_gateways_of_all_its_roots() {
    let servers = gateway("web", 80, "HTTP", "'*'") + &gateway("two", 81, "HTTP", "'*'");
    let root = |name: &str, gateway: &str| {
        let rules = "http: [{delegate: {name: it}}]";
        virtual_service(name, &format!("hosts: [{name}.test]\ngateways: [{gateway}]\n{rules}"))
    };
    let own = virtual_service("it", &http("match: [{port: 81}, {gateways: [two]}], "));
    assert_eq!(
        idle(&(servers.clone() + &root("one", "web") + &own)),
        [
            in_vain("spec.http[0].match[0].port", "no server of HTTP there has port 81"),
            in_vain("spec.http[0].match[1].gateways", "it names no gateway of the VirtualService"),
        ]
    );
    assert_eq!(idle(&(servers.clone() + &root("one", "web") + &root("both", "two") + &own)), []);
    assert_eq!(idle(&(servers + &own)), [], "what leads to it may come later");
}

#[test]
fn where_a_gateway_is_told_to_go_where_its_clients_went_is_named() {
    let balancer = "loadBalancer: {simple: PASSTHROUGH}";
    let of = |gateways: &str, matching: &str, to: &str, rule: &str| {
        let gateway = gateway("web", 80, "HTTP", "'*'");
        let rules = format!("http: [{{{matching}route: [{{destination: {{host: {to}}}}}]}}]");
        let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: wild}\nspec: {hosts: \
                     ['*.wild.test'], resolution: DYNAMIC_DNS, ports: [{number: 80, name: http, protocol: HTTP}]}\n---\n";
        let rule = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: it}}\nspec: {{host: '*', {rule}}}\n"
        );
        let documents = entry.to_owned() + &gateway + &bound("it.test", gateways, &rules) + &rule;
        let (_, report) = published(&documents, MeshOptions::default());
        assert!(!report.fails_check(), "{report}");
        assert!(report.problems().iter().all(|problem| problem.path.ends_with(".destination.host")), "{report}");
        report.problems().iter().filter(|problem| problem.message.contains("the load balancer PASSTHROUGH")).count()
    };
    let host = format!("trafficPolicy: {{{balancer}}}");
    let port = |port: u16| format!("trafficPolicy: {{portLevelSettings: [{{port: {{number: {port}}}, {balancer}}}]}}");
    let subset = format!("subsets: [{{name: v1, trafficPolicy: {{{balancer}}}}}]");
    for (gateways, matching, to, rule, warned) in [
        ("web", "", "a.test", &*host, 1),
        ("mesh, web", "match: [{port: 80}], ", "a.test", &host, 1),
        ("web", "", "a.test", &port(80), 1),
        ("web", "", "'a.test', subset: v1", &subset, 1),
        ("web", "", "a.test", &subset, 0),
        ("mesh", "", "a.test", &host, 0),
        ("mesh, web", "match: [{gateways: [mesh]}], ", "a.test", &host, 0),
        ("web", "", "'*.wild.test'", &host, 0),
    ] {
        assert_eq!(of(gateways, matching, to, rule), warned, "{matching} at {gateways} to {to} with {rule}");
    }
}
