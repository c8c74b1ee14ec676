//! What the servers of Gateways come to.

use super::*;
use crate::error::Problem;
use crate::request::ListenerOrigin;
use crate::snapshot::{Listener, ListenerProtocol};

const UP: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: up}
spec:
  hosts: [up.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 90, name: tcp, protocol: TCP}]
  endpoints: [{address: 10.0.0.9}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: other}
spec:
  hosts: [other.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 90, name: tcp, protocol: TCP}]
  endpoints: [{address: 10.0.0.9}]
---
";

fn gateway(name: &str, servers: &str) -> String {
    let servers = servers.trim().replace('\n', "\n  ");
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\nspec:\n  servers:\n  {servers}\n---\n"
    )
}

fn publish(documents: &str) -> (Arc<Snapshot>, Report) {
    published(&format!("{UP}{documents}"), MeshOptions::default())
}

fn summary(snapshot: &Snapshot) -> Vec<(&str, ListenerProtocol, bool, Vec<&str>)> {
    fn one(listener: &Listener) -> (&str, ListenerProtocol, bool, Vec<&str>) {
        let names = listener.server_names.iter().map(|name| &**name).collect();
        (&listener.name, listener.protocol, listener.tls.is_some(), names)
    }
    snapshot.listeners().iter().map(one).collect()
}

/// Rules for the connections of all servers of `gw` with `hosts`.
fn connections(hosts: &str) -> String {
    let route = "route: [{destination: {host: up.test, port: {number: 90}}}]";
    let tls = format!("tls: [{{match: [{{sniHosts: [a.test]}}], {route}}}]");
    virtual_service("connections", &format!("hosts: [{hosts}]\ngateways: [gw]\ntcp: [{{{route}}}]\n{tls}"))
}

#[test]
fn every_kind_of_server_has_its_listener() {
    let servers = gateway(
        "gw",
        "
- {port: {number: 80, name: h, protocol: HTTP}, hosts: ['*']}
- {port: {number: 81, name: t, protocol: TCP}, bind: 10.0.0.1, hosts: ['*']}
- {port: {number: 443, name: s, protocol: HTTPS}, hosts: [ns/A.test, '*.b.test'], tls: {mode: SIMPLE, credentialName: c}}
- {port: {number: 444, name: e, protocol: TLS}, hosts: ['*'], tls: {mode: MUTUAL, credentialName: c}}
- {port: {number: 445, name: p, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH}}
- {port: {number: 446, name: q, protocol: HTTPS}, hosts: ['*'], tls: {mode: PASSTHROUGH}}
- {port: {number: 447, name: a, protocol: TLS}, hosts: ['*'], tls: {mode: AUTO_PASSTHROUGH}}
",
    );
    let (snapshot, report) = publish(&(servers + &connections("'*'")));
    use ListenerProtocol::{Http, Tcp, Tls};
    let expected = [
        ("http.80", Http, false, vec![]),
        ("tcp.81.10.0.0.1", Tcp, false, vec![]),
        ("https.443.s.gw.default", Http, true, vec!["a.test", "*.b.test"]),
        ("tls.444.e.gw.default", Tcp, true, vec!["*"]),
        ("tls.445.p.gw.default", Tls, false, vec!["a.test"]),
        ("tls.446.q.gw.default", Tls, false, vec!["a.test"]),
    ];
    assert_eq!(summary(&snapshot), expected, "{report}");
    let paths: Vec<&str> = report.problems().iter().map(|problem| problem.path.as_str()).collect();
    assert!(paths.contains(&"spec.servers[6].hosts"), "{report}");
}

#[test]
fn what_passes_by_itself_are_the_ports_and_subsets_of_the_services_of_the_mesh() {
    let service = |host: &str, location: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {location}}}\nspec:\n  \
             hosts: [{host}]\n  location: {location}\n  resolution: STATIC\n  endpoints: [{{address: 10.0.0.1}}]\n  \
             ports: [{{number: 80, name: http, protocol: HTTP}}, {{number: 90, name: tcp, protocol: TCP}}]\n---\n"
        )
    };
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: in}\nspec:\n  \
                host: in.mesh.test\n  subsets: [{name: v1, labels: {version: v1}}]\n---\n";
    let server = |host: &str| {
        let tls = "tls: {mode: AUTO_PASSTHROUGH}";
        gateway("gw", &format!("- {{port: {{number: 443, name: a, protocol: TLS}}, hosts: ['{host}'], {tls}}}"))
    };
    let services = service("in.mesh.test", "MESH_INTERNAL") + &service("out.mesh.test", "MESH_EXTERNAL") + rule;
    for (host, is_open) in [("*.mesh.test", true), ("default/*", true), ("other/*", false), ("out.mesh.test", false)] {
        let (snapshot, report) = publish(&(services.clone() + &server(host)));
        let names = [80, 90].map(|port| ["", "v1"].map(|subset| format!("outbound_.{port}_.{subset}_.in.mesh.test")));
        let names = names.iter().flatten().map(String::as_str).collect();
        let expected = is_open.then_some(("tls.443.a.gw.default", ListenerProtocol::Tls, false, names));
        assert_eq!(summary(&snapshot), Vec::from_iter(expected), "{host}: {report}");
        assert_eq!(report.to_string().contains("no service of the mesh is for this server"), !is_open, "{report}");
    }
}

#[test]
fn a_port_is_shared_by_plain_http_or_by_tls() {
    let servers = gateway(
        "gw",
        "
- {port: {number: 80, name: a, protocol: HTTP}, hosts: [a.test]}
- {port: {number: 80, name: b, protocol: GRPC}, hosts: [b.test]}
- {port: {number: 80, name: c, protocol: TCP}, hosts: ['*']}
- {port: {number: 80, name: d, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: c}}
- {port: {number: 443, name: e, protocol: HTTPS}, hosts: [a.test, b.test], tls: {mode: SIMPLE, credentialName: c}}
- {port: {number: 443, name: f, protocol: HTTPS}, hosts: [c.test, B.test], tls: {mode: SIMPLE, credentialName: c}}
- {port: {number: 443, name: g, protocol: TLS}, hosts: ['*.test'], tls: {mode: PASSTHROUGH}}
- {port: {number: 443, name: h, protocol: HTTP}, hosts: ['*']}
",
    );
    let (snapshot, report) = publish(&(servers + &connections("a.test")));
    let names: Vec<&str> = snapshot.listeners().iter().map(|listener| &*listener.name).collect();
    assert_eq!(names, ["http.80", "https.443.e.gw.default", "tls.443.g.gw.default"]);
    let left_out = report.problems().iter().filter(|problem| problem.message.starts_with("left out: "));
    let left_out: Vec<&str> = left_out.map(|problem| problem.path.as_str()).collect();
    assert_eq!(left_out, ["spec.servers[2]", "spec.servers[3]", "spec.servers[5]", "spec.servers[7]"]);
}

#[test]
fn connections_are_hashed_by_what_the_first_host_says_of_the_client() {
    let hashed = |rules: &str, route: &str| {
        let servers = gateway("gw", "- {port: {number: 81, name: a, protocol: TCP}, hosts: ['*']}");
        let tcp = format!("hosts: ['it.test']\ngateways: [gw]\ntcp: [{{route: [{route}]}}]");
        let (snapshot, report) = publish(&(rules.to_owned() + &servers + &virtual_service("it", &tcp)));
        let listener = snapshot.listeners().iter().find(|listener| &*listener.name == "tcp.81").unwrap();
        let route = listener.streams.find(None).unwrap_or_else(|| panic!("{report}"));
        route.hash.hash_connection("10.1.1.1".parse().unwrap()).is_some()
    };
    let rule = |host: &str, more: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {host}}}\nspec: {{host: {host}, {more}}}\n---\n"
        )
    };
    let to =
        |host: &str, more: &str| format!("{{destination: {{host: {host}, port: {{number: 90}}{more}}}, weight: 1}}");
    let (by_source, by_chance) =
        ("loadBalancer: {consistentHash: {useSourceIp: true}}", "loadBalancer: {simple: RANDOM}");
    let subset = |words: &str| format!("subsets: [{{name: v1, labels: {{}}, trafficPolicy: {{{words}}}}}]");
    let (up, v1) = (to("up.test", ""), to("up.test", ", subset: v1"));
    let other = to("other.test", "");
    for (rules, route, expected) in [
        (String::new(), up.clone(), false),
        (rule("up.test", &format!("trafficPolicy: {{{by_chance}}}")), up.clone(), false),
        (rule("up.test", &format!("trafficPolicy: {{{by_source}}}")), up.clone(), true),
        (rule("up.test", &format!("trafficPolicy: {{{by_source}}}, {}", subset("tls: {}"))), v1.clone(), true),
        (rule("up.test", &format!("trafficPolicy: {{{by_source}}}, {}", subset(by_chance))), v1.clone(), false),
        (rule("up.test", &subset(by_source)), v1.clone(), true),
        (rule("up.test", &subset(by_source)), format!("{v1}, {other}"), false),
        (
            rule("up.test", &format!("trafficPolicy: {{portLevelSettings: [{{port: {{number: 90}}, {by_source}}}]}}")),
            up.clone(),
            false,
        ),
        (rule("up.test", &format!("trafficPolicy: {{{by_source}}}")), format!("{up}, {other}"), true),
        (rule("other.test", &format!("trafficPolicy: {{{by_source}}}")), format!("{up}, {other}"), false),
    ] {
        assert_eq!(hashed(&rules, &route), expected, "{rules} {route}");
    }
}

fn found<'s>(snapshot: &'s Snapshot, listener: &str, server_name: Option<&str>) -> Option<&'s str> {
    let listener = snapshot.listeners().iter().find(|known| &*known.name == listener)?;
    listener.streams.find(server_name).map(|route| route.origin.path.as_str())
}

#[test]
fn the_first_tcp_rule_for_the_port_has_it() {
    let servers = gateway(
        "gw",
        "
- {port: {number: 81, name: a, protocol: TCP}, hosts: ['*']}
- {port: {number: 82, name: b, protocol: TCP}, hosts: ['*']}
- {port: {number: 83, name: c, protocol: TCP}, hosts: ['only.test']}
",
    );
    let to = |host: &str| format!("route: [{{destination: {{host: {host}, port: {{number: 90}}}}}}]");
    let rules = format!(
        "hosts: ['other.test']\ngateways: [gw]\ntcp:\n- match: [{{port: 81, gateways: [elsewhere]}}]\n  {}\n\
         - match: [{{port: 81}}, {{port: 84}}]\n  {}\n- match: [{{port: 82, gateways: [gw]}}]\n  {}\n- {}",
        to("up.test"),
        to("up.test"),
        to("other.test"),
        to("up.test")
    );
    let (snapshot, report) = publish(&(servers + &virtual_service("it", &rules)));
    let named: Vec<&str> = report.problems().iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(
        named,
        ["spec.servers[2].port.protocol", "spec.tcp[0].match[0].gateways[0]", "spec.tcp[1].match[1].port"]
    );
    assert_eq!(found(&snapshot, "tcp.81", None), Some("spec.tcp[1]"));
    assert_eq!(found(&snapshot, "tcp.82", None), Some("spec.tcp[2]"));
    assert_eq!(found(&snapshot, "tcp.83", None), None, "its host is another");
}

#[test]
fn tls_rules_go_by_the_most_specific_name_and_the_first_of_two_has_it() {
    let servers =
        gateway("gw", "- {port: {number: 443, name: p, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH}}");
    let rule = |names: &str, port: u16| {
        format!(
            "- match: [{{sniHosts: [{names}], port: {port}}}]\n  route: [{{destination: {{host: up.test, port: {{number: 90}}}}}}]\n"
        )
    };
    let rules = format!(
        "hosts: ['*.test']\ngateways: [gw]\ntls:\n{}{}{}{}{}",
        rule("'*.test'", 443),
        rule("a.test", 443),
        rule("'a.test', d.test", 443),
        rule("B.test", 443),
        rule("c.test", 444)
    );
    let (snapshot, report) = publish(&(servers + &virtual_service("it", &rules)));
    assert_eq!(report.errors().count(), 0, "{report}");
    let listener = &snapshot.listeners()[0];
    assert_eq!(listener.server_names.iter().map(|name| &**name).collect::<Vec<_>>(), ["*.test", "a.test", "b.test"]);
    for (name, path) in [
        (Some("a.test"), Some("spec.tls[1]")),
        (Some("b.test"), Some("spec.tls[3]")),
        (Some("c.test"), Some("spec.tls[0]")),
        // Its match names one that is taken.
        (Some("d.test"), Some("spec.tls[0]")),
        (Some("elsewhere"), None),
        (None, None),
    ] {
        assert_eq!(found(&snapshot, &listener.name, name), path, "{name:?}");
        let bound = snapshot.secured_listener(&listener.bind, name).is_some();
        assert_eq!(bound, path.is_some(), "{name:?}");
    }
}

#[test]
fn a_server_of_connections_that_no_rule_is_for_is_named_and_not_opened() {
    let servers = "
- {port: {number: 443, name: p, protocol: TLS}, hosts: [a.test], tls: {mode: PASSTHROUGH}}
- {port: {number: 444, name: q, protocol: HTTPS}, hosts: [b.test], tls: {mode: PASSTHROUGH}}
- {port: {number: 445, name: r, protocol: HTTPS}, hosts: [b.test], tls: {mode: SIMPLE, credentialName: c}}
- {port: {number: 446, name: s, protocol: TCP}, hosts: [c.test]}
- {port: {number: 447, name: t, protocol: TCP}, hosts: ['*']}
";
    let route = "route: [{destination: {host: up.test, port: {number: 90}}}]";
    let passed = format!("hosts: [a.test]\ngateways: [gw]\ntls: [{{match: [{{sniHosts: [a.test]}}], {route}}}]");
    let blind = format!("hosts: [b.test]\ngateways: [gw]\nhttp: [{{{route}}}]");
    let rules = virtual_service("passed", &passed) + &virtual_service("blind", &blind);
    let connections = format!("hosts: [c.test]\ngateways: [gw]\ntcp: [{{match: [{{port: 446}}], {route}}}]");
    let rules = rules + &virtual_service("connections", &connections);
    let (snapshot, report) = publish(&(gateway("gw", servers) + &rules));
    let named = report.problems().iter().filter(|problem| problem.message.contains("which is not opened then"));
    let column = |problem: &Problem| problem.place.as_ref().map(|place| place.column);
    let named: Vec<_> = named.map(|problem| (problem.path.as_str(), column(problem))).collect();
    let expected = [("spec.servers[1].tls.mode", Some(76)), ("spec.servers[4].port.protocol", Some(35))];
    assert_eq!(named, expected, "{report}");
    let opened: Vec<u16> = snapshot.listeners().iter().map(|listener| listener.port).collect();
    assert_eq!(opened, [443, 445, 446]);
}

#[test]
fn streams_have_the_time_of_their_first_destination() {
    use std::time::Duration;

    let servers = gateway("gw", "- {port: {number: 81, name: a, protocol: TCP}, hosts: ['*']}");
    let rules = "hosts: ['*']\ngateways: [gw]\ntcp:\n- route:\n  \
         - {destination: {host: up.test, port: {number: 90}}, weight: 1}\n  \
         - {destination: {host: other.test, port: {number: 90}}, weight: 1}";
    let rule = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: up}
spec:
  host: up.test
  trafficPolicy:
    connectionPool: {tcp: {idleTimeout: 5s, maxConnectionDuration: 60s}}
    loadBalancer: {consistentHash: {useSourceIp: true}}
---
";
    let times = |documents: &str| {
        let (snapshot, _) = publish(documents);
        let route = snapshot.listeners()[0].streams.find(None).unwrap().clone();
        (route.idle_timeout, route.max_duration, route.hash.hash_connection([10, 0, 0, 1].into()).is_some())
    };
    let documents = servers + &virtual_service("it", rules);
    assert_eq!(times(&documents), (Some(Duration::from_secs(3600)), None, false));
    let some = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(times(&(documents + rule)), (some(5), some(60), true));
}

#[test]
fn rules_for_connections_do_nothing_in_a_client_and_say_so() {
    let rules = |gateways: &str| {
        let route = "route: [{destination: {host: up.test, port: {number: 90}}}]";
        let rules = format!(
            "hosts: [up.test]\n{gateways}\ntcp: [{{{route}}}]\ntls: [{{match: [{{sniHosts: [up.test]}}], {route}}}]"
        );
        gateway("gw", "- {port: {number: 81, name: a, protocol: TCP}, hosts: ['*']}") + &virtual_service("it", &rules)
    };
    let named = |report: &Report| report.problems().iter().map(|problem| problem.path.clone()).collect::<Vec<_>>();
    assert_eq!(named(&publish(&rules("")).1), ["spec.servers[0].port.protocol", "spec.tcp", "spec.tls"]);
    assert_eq!(named(&publish(&rules("gateways: [mesh, gw]")).1), ["spec.tcp", "spec.tls"]);
    assert_eq!(named(&publish(&rules("gateways: [gw]")).1), ["spec.tls"]);
}

#[test]
fn hosts_of_a_server_are_for_https_only() {
    let (snapshot, report) = publish(
        &(gateway(
            "gw",
            "
- {port: {number: 80, name: a, protocol: HTTP}, hosts: [plain.test]}
- {port: {number: 80, name: b, protocol: HTTP}, hosts: [secure.test, ns/other.test, '*.wide.test'], tls: {httpsRedirect: true}}
",
        ) + &virtual_service("it", "hosts: ['*']\ngateways: [gw]\nhttp: [{route: [{destination: {host: a.test}}]}]")),
    );
    assert_eq!(report.errors().count(), 0, "{report}");
    let listener = &snapshot.listeners()[0];
    let only: Vec<&str> =
        listener.table.virtual_hosts.iter().filter(|host| host.https_only).map(|host| &*host.name).collect();
    assert_eq!(only, ["secure.test", "*.wide.test"]);
}

#[test]
fn a_name_that_one_server_passes_on_is_taken_for_the_others_of_its_port() {
    let passed = |name: &str, port: u16, host: &str| {
        format!(
            "- {{port: {{number: {port}, name: {name}, protocol: TLS}}, hosts: ['{host}'], tls: {{mode: PASSTHROUGH}}}}\n"
        )
    };
    let servers = gateway("gw", &[passed("a", 443, "a.test"), passed("b", 443, "*"), passed("c", 444, "*")].concat());
    let rules = "
hosts: [a.test]
gateways: [gw]
tls:
- match: [{sniHosts: [a.test]}]
  route: [{destination: {host: up.test, port: {number: 90}}}]
";
    let (snapshot, _) = publish(&(servers + &virtual_service("it", rules)));
    let names: Vec<_> = summary(&snapshot).into_iter().map(|(name, .., names)| (name, names)).collect();
    assert_eq!(names, [("tls.443.a.gw.default", vec!["a.test"]), ("tls.444.c.gw.default", vec!["a.test"])]);
}

#[test]
fn servers_that_redirect_share_no_host() {
    let servers = "
- {port: {number: 80, name: a, protocol: HTTP}, hosts: [a.test, b.test], tls: {httpsRedirect: true}}
- {port: {number: 80, name: b, protocol: HTTP}, hosts: [B.test, c.test], tls: {httpsRedirect: true}}
- {port: {number: 80, name: c, protocol: HTTP}, hosts: [b.test, d.test]}
- {port: {number: 80, name: d, protocol: HTTP}, hosts: [ns/b.test, '*/e.test'], tls: {httpsRedirect: true}}
";
    let (snapshot, report) = publish(&gateway("gw", servers));
    let left_out: Vec<_> = report.problems().iter().map(ToString::to_string).collect();
    assert!(
        left_out.iter().any(|said| said.contains("spec.servers[1]: left out") && said.contains("b.test")),
        "{report}"
    );
    let origin = Origin::Listener(Arc::new(ListenerOrigin::new("http.80", 80)));
    let redirected = |host: &str| {
        let (uri, headers): (Uri, _) = (format!("http://{host}/").parse().unwrap(), HeaderMap::new());
        snapshot.resolve(&origin, &RequestView::new(&Method::GET, &uri, &headers, &origin)) == Resolution::HttpsOnly
    };
    assert_eq!(["a.test", "b.test", "c.test", "d.test", "e.test"].map(redirected), [true, true, false, false, true]);
}

/// Whose VirtualService asks decides which port is meant; whose endpoints those are, nobody's.
#[test]
fn a_gateway_has_one_service_of_a_host_and_the_port_of_the_nearest() {
    let entry = |namespace: &str, ports: &[u16], more: &str| {
        let ports = ports.iter().map(|port| format!("{{number: {port}, name: p{port}, protocol: HTTP}}"));
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e, namespace: {namespace}}}\n\
             spec: {{hosts: [ext.test], resolution: STATIC, ports: [{}], endpoints: [{{address: 10.0.0.{}}}]{more}}}\n---\n",
            ports.collect::<Vec<_>>().join(", "),
            namespace.len()
        )
    };
    let rules = |namespace: &str| {
        let route = "http: [{route: [{destination: {host: ext.test}}]}]";
        virtual_service("it", &format!("hosts: [{namespace}.test]\ngateways: [default/gw]\n{route}"))
            .replace("{name: it}", &format!("{{name: it, namespace: {namespace}}}"))
    };
    let servers = gateway("gw", "- {port: {number: 80, name: h, protocol: HTTP}, hosts: ['*']}");
    let rules = servers + &rules("other") + &rules("third");
    let ports = |entries: String| {
        let (snapshot, _) = publish(&(entries + &rules));
        let routes = &snapshot.listeners()[0].table.routes;
        let clusters = routes.iter().map(|route| {
            let cluster = snapshot.cluster(forward(route).clusters.pick(0).destination.for_port(80)?)?;
            Some(cluster.endpoints().endpoints()[0].address.to_string())
        });
        clusters.collect::<Vec<_>>()
    };
    let at = |address: &str| Some(address.to_owned());
    let other = entry("other", &[8080], "");
    assert_eq!(ports(other.clone() + &entry("default", &[80, 8080], "")), [at("10.0.0.7:8080"), at("10.0.0.7:80")]);
    assert_eq!(ports(other.clone() + &entry("default", &[80, 81], "")), [None, at("10.0.0.7:80")]);
    assert_eq!(ports(other.clone() + &entry("default", &[80], "")), [None, at("10.0.0.7:80")]);
    // What is exported by name comes before all others.
    let named = entry("a-name", &[80], ", exportTo: [default]");
    assert_eq!(ports(entry("else", &[80], "") + &named), [at("10.0.0.6:80"), at("10.0.0.6:80")]);
}
