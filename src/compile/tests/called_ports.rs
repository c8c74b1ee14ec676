//! Destinations at gateways that name no port, and what is said where their services have not that of the server.

use super::*;
use crate::error::Severity;
use crate::options::Workload;
use crate::request::GatewayOrigin;

/// Two services: of ports 80 and 90, and of port 90 only.
const UPSTREAMS: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: two}
spec:
  hosts: [two.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 90, name: other, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: sole}
spec:
  hosts: [sole.test]
  resolution: STATIC
  ports: [{number: 90, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1}]
---
";

const TO_TWO: &str = "route: [{destination: {host: two.test}}]";

fn gateway(name: &str, servers: &str) -> String {
    let selector = format!("selector: {{app: {name}}}, servers: [{servers}]");
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\nspec: {{{selector}}}\n---\n"
    )
}

fn server(port: u16, hosts: &str) -> String {
    format!("{{port: {{number: {port}, name: p{port}, protocol: HTTP}}, hosts: [{hosts}]}}")
}

fn rules(gateways: &str, rules: &str) -> String {
    virtual_service("it", &format!("hosts: [it.test]\ngateways: [{gateways}]\n{rules}"))
}

/// What dangles: of which resource, where, and what is said.
fn dangling(report: &Report) -> Vec<(&str, &str, &str)> {
    assert!(!report.refuses_start(), "{report}");
    let dangling = report.problems().iter().filter(|problem| problem.severity == Severity::Reference);
    dangling.map(|problem| (&*problem.resource.as_ref().unwrap().name, &*problem.path, &*problem.message)).collect()
}

fn report(documents: &str) -> Report {
    published(&format!("{UPSTREAMS}{documents}"), MeshOptions::default()).1
}

/// The ports that are named for rules at gateways.
fn missing(documents: &str) -> Option<String> {
    let report = report(documents);
    let found = dangling(&report);
    assert!(found.len() < 2, "{report}");
    let (_, path, message) = found.first()?;
    assert!(path.ends_with(".destination"), "{report}");
    Some(message.split_once("has no port ")?.1.split_once(':')?.0.to_owned())
}

#[test]
fn a_destination_without_a_port_is_named_where_the_server_has_another() {
    let web = gateway("web", &server(8080, "it.test"));
    let report = report(&(web + &rules("web", &format!("http: [{{{TO_TWO}}}]"))));
    let message = "names no port, so that the one of the server is asked for, and two.test has no port 8080: requests \
                   get 503";
    assert_eq!(dangling(&report), [("it", "spec.http[0].route[0].destination", message)]);
    let problem = report.problems().iter().find(|problem| problem.severity == Severity::Reference).unwrap();
    assert!(problem.place.is_some() && report.fails_check());
    assert_eq!(problem.help.as_deref(), Some("write the port: two.test has 80, 90"));
}

#[test]
fn ports_of_servers_that_ask_the_rule_count_and_no_others() {
    let many = gateway("web", &[server(80, "'*'"), server(8080, "'*'"), server(8443, "'*'")].join(", "));
    let of = |http: &str| missing(&(many.clone() + &rules("web", &format!("http: [{http}]"))));
    assert_eq!(of(&format!("{{{TO_TWO}}}")).as_deref(), Some("8080, 8443"));
    assert_eq!(of(&format!("{{match: [{{port: 8443}}], {TO_TWO}}}")).as_deref(), Some("8443"));
    assert_eq!(of(&format!("{{match: [{{port: 80}}], {TO_TWO}}}")), None);
    assert_eq!(of(&format!("{{match: [{{gateways: [mesh]}}], {TO_TWO}}}")), None, "it holds at none");
    assert_eq!(of("{route: [{destination: {host: sole.test}}]}"), None, "there is only one port");
    assert_eq!(of("{route: [{destination: {host: two.test, port: {number: 90}}}]}"), None);
    let none =
        "apiVersion: v1\nkind: Service\nmetadata: {name: none}\nspec: {ports: [{port: 53, protocol: UDP}]}\n---\n";
    let to_none = rules("web", "http: [{route: [{destination: {host: none}}]}]");
    assert_eq!(missing(&(none.to_owned() + &many + &to_none)), None, "no port would do");
    let before = "{match: [{uri: {prefix: /}}], directResponse: {status: 200}}";
    assert_eq!(of(&format!("{before}, {{{TO_TWO}}}")), None, "what comes before takes all");
    let (x, elsewhere) = ("match: [{uri: {prefix: /x}}]", "directResponse: {status: 200}");
    assert_eq!(of(&format!("{{{x}, {elsewhere}}}, {{{x}, {TO_TWO}}}")), None, "what comes before has its match");
    assert!(of(&format!("{{match: [{{port: 80}}], {elsewhere}}}, {{{x}, {TO_TWO}}}")).is_some());
    let behind = |first: &str, second: &str| {
        of(&format!("{{match: [{{{first}}}], {elsewhere}}}, {{match: [{{{second}}}], {TO_TWO}}}"))
    };
    let (prefix, header) = ("uri: {prefix: /x}", "headers: {x: {exact: y}}");
    for (first, second) in [
        (prefix, "uri: {prefix: /xy}"),
        (prefix, "uri: {exact: /x}"),
        (prefix, &*format!("uri: {{prefix: /x/y}}, {header}")),
        (header, &*format!("uri: {{prefix: /x}}, {header}")),
        ("uri: {regex: /x+}", &*format!("uri: {{regex: /x+}}, {header}")),
    ] {
        assert_eq!(behind(first, second), None, "{first} takes all of {second}");
    }
    assert_eq!(behind(&format!("{prefix}, gateways: [web], port: 8080"), prefix).as_deref(), Some("8443"));
    for (first, second) in [
        ("uri: {prefix: /x/}", prefix),
        ("uri: {exact: /x}", prefix),
        (&*format!("{prefix}, {header}"), prefix),
        (&*format!("{prefix}, gateways: [mesh]"), prefix),
    ] {
        assert!(behind(first, second).is_some(), "{first} leaves some of {second}");
    }
    let aborted =
        |share: u8| format!("{{fault: {{abort: {{percentage: {{value: {share}}}, httpStatus: 418}}}}, {TO_TWO}}}");
    assert_eq!(of(&aborted(100)), None, "none goes on");
    assert!(of(&aborted(99)).is_some());
    let weighing = |two: u8| {
        let [one, two] = [("sole", 100), ("two", two)]
            .map(|(host, weight)| format!("{{destination: {{host: {host}.test}}, weight: {weight}}}"));
        format!("{{route: [{one}, {two}]}}")
    };
    assert_eq!(of(&weighing(0)), None, "it is left out");
    assert!(of(&weighing(1)).is_some());
    assert!(of("{route: [{destination: {host: two.test}, weight: 0}]}").is_some(), "a sole one is not");

    let rules = rules("web", &format!("http: [{{{TO_TWO}}}]"));
    let at = |servers: &[&str]| missing(&(gateway("web", &servers.join(", ")) + &rules));
    assert_eq!(at(&[&server(80, "it.test"), &server(8080, "other.test")]), None);
    assert_eq!(at(&[&server(80, "it.test"), &server(8080, "other/it.test")]), None);
    let redirecting = "{port: {number: 8080, name: r, protocol: HTTP}, hosts: ['*'], tls: {httpsRedirect: true}}";
    let passing = "{port: {number: 443, name: p, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH}}";
    let secure =
        "{port: {number: 8443, name: s, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: c}}";
    assert_eq!(at(&[&server(80, "it.test"), redirecting, passing]), None, "no rule of http is asked there");
    let secured = report(&(gateway("web", secure) + &rules));
    assert!(dangling(&secured).iter().any(|(.., message)| message.contains("has no port 8443")), "{secured}");
}

#[test]
fn mirrors_without_a_port_are_named_as_destinations_are() {
    let web = gateway("web", &server(8080, "'*'"));
    let said = |mirrors: &str| {
        let rule = format!("http: [{{{mirrors}, route: [{{destination: {{host: sole.test}}}}]}}]");
        let report = report(&(web.clone() + &rules("web", &rule)));
        let said = dangling(&report).into_iter().map(|(_, path, message)| {
            assert!(message.ends_with("two.test has no port 8080: no copy is sent"), "{report}");
            path.to_owned()
        });
        said.collect::<Vec<_>>()
    };
    assert_eq!(said("mirror: {host: two.test}"), ["spec.http[0].mirror"]);
    let two = "{destination: {host: two.test}";
    assert_eq!(
        said(&format!("mirrors: [{two}}}, {two}, percentage: {{value: 0.01}}}}]")),
        ["spec.http[0].mirrors[0].destination", "spec.http[0].mirrors[1].destination"]
    );
    let none = [""; 0];
    assert_eq!(said("mirror: {host: sole.test}"), none);
    assert_eq!(said("mirror: {host: two.test, port: {number: 90}}"), none);
    assert_eq!(said("mirror: {host: two.test}, mirrorPercentage: {value: 0}"), none, "there are no copies");
    let aborted = "fault: {abort: {percentage: {value: 100}, httpStatus: 418}}, mirror: {host: two.test}";
    assert_eq!(said(aborted), none, "nor are there of what is aborted");

    // A delegate has the mirror of the rule that leads to it: it is written there.
    let root = "http: [{delegate: {name: child}, mirror: {host: two.test}}]";
    let child = virtual_service("child", "http: [{route: [{destination: {host: sole.test}}]}]");
    let report = report(&(web.clone() + &rules("web", root) + &child));
    assert_eq!(dangling(&report)[0].0, "it", "{report}");
    assert!(report.problems().iter().any(|problem| problem.path == "spec.http[0].mirror" && problem.place.is_some()));
}

#[test]
fn destinations_of_connections_without_a_port_are_named_where_these_come() {
    let tcp = |port: u16| format!("{{port: {{number: {port}, name: t{port}, protocol: TCP}}, hosts: ['*']}}");
    let tls = |port: u16| {
        format!("{{port: {{number: {port}, name: s{port}, protocol: TLS}}, hosts: ['*'], tls: {{mode: PASSTHROUGH}}}}")
    };
    let web = gateway("web", &[tcp(80), tcp(9000), tls(90), tls(9001), tls(9002)].join(", "));
    let said = |listed: &str| {
        let rules = virtual_service("it", &format!("hosts: [a.test, b.test]\ngateways: [web]\n{listed}"));
        let report = report(&(web.clone() + &rules));
        let said = dangling(&report).into_iter().map(|(_, path, message)| {
            let ports = message.split_once("of the server is asked for, and two.test has no port ").unwrap().1;
            format!("{path}: {}", ports.strip_suffix(": connections are closed").unwrap())
        });
        said.collect::<Vec<_>>()
    };
    let none = [""; 0];
    assert_eq!(said(&format!("tcp: [{{{TO_TWO}}}]")), ["spec.tcp[0].route[0].destination: 9000"]);
    assert_eq!(said(&format!("tcp: [{{match: [{{port: 80}}], {TO_TWO}}}]")), none);
    assert_eq!(said("tcp: [{route: [{destination: {host: sole.test}}]}]"), none, "there is only one port");
    assert_eq!(said("tcp: [{route: [{destination: {host: two.test, port: {number: 90}}}]}]"), none);
    let other = "route: [{destination: {host: sole.test}}]";
    assert_eq!(said(&format!("tcp: [{{{other}}}, {{{TO_TWO}}}]")), none, "the first rule has all");
    let named = |names: &str| format!("match: [{{sniHosts: [{names}]}}]");
    let (a, b) = (named("a.test"), named("b.test"));
    assert_eq!(said(&format!("tls: [{{{a}, {TO_TWO}}}]")), ["spec.tls[0].route[0].destination: 9001, 9002"]);
    assert_eq!(said(&format!("tls: [{{match: [{{port: 90, sniHosts: [a.test]}}], {TO_TWO}}}]")), none);
    assert_eq!(said(&format!("tls: [{{{a}, {other}}}, {{{a}, {TO_TWO}}}]")), none, "the first rule has the name");
    assert_eq!(said(&format!("tls: [{{{a}, {other}}}, {{{b}, {TO_TWO}}}]")).len(), 1);
    let [one, two] = [("sole", 1), ("two", 0)]
        .map(|(host, weight)| format!("{{destination: {{host: {host}.test}}, weight: {weight}}}"));
    assert_eq!(said(&format!("tcp: [{{route: [{one}, {two}]}}]")), none, "it is left out");
}

#[test]
fn a_tls_rule_of_clients_lacks_the_port_that_they_call() {
    let secure = UPSTREAMS.replace("{number: 80, name: http, protocol: HTTP}", "{number: 443, name: s, protocol: TLS}");
    let calling = secure.replace("two.test", "called.test").replace("{name: ", "{name: calling-");
    let said = |rules: &str| {
        let rules = virtual_service("it", &format!("hosts: [called.test]\ntls: [{rules}]"));
        let (_, report) = published(&format!("{UPSTREAMS}{calling}{rules}"), MeshOptions::default());
        let said = report.problems().iter().filter_map(|problem| problem.message.split_once("was called: on "));
        said.map(|(_, rest)| rest.to_owned()).collect::<Vec<_>>()
    };
    let a = "match: [{sniHosts: [called.test]}]";
    assert_eq!(said(&format!("{{{a}, {TO_TWO}}}")), ["443 it is not there"]);
    assert_eq!(said(&format!("{{{a}, route: [{{destination: {{host: sole.test}}}}]}}")), [""; 0]);
    assert_eq!(said(&format!("{{{a}, route: [{{destination: {{host: sole.test}}}}]}}, {{{a}, {TO_TWO}}}")), [""; 0]);
    assert_eq!(said(&format!("{{match: [{{port: 90, sniHosts: [called.test]}}], {TO_TWO}}}")), [""; 0]);
}

#[test]
fn only_gateways_whose_requests_are_known_count() {
    let rules = |gateways: &str| rules(gateways, &format!("http: [{{{TO_TWO}}}]"));
    let (good, bad) = (gateway("good", &server(80, "'*'")), gateway("bad", &server(8080, "'*'")));
    let both = good + &bad;
    assert_eq!(missing(&(both.clone() + &rules("good"))), None);
    assert_eq!(missing(&(both.clone() + &rules("good, mesh"))), None);
    assert_eq!(missing(&(both.clone() + &rules("good, bad"))).as_deref(), Some("8080"));
    assert_eq!(missing(&(both.clone() + &rules("mesh, bad"))).as_deref(), Some("8080"));
    let seen_by = |labels: &[(&str, &str)], own: &[&str]| {
        let labels = labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        let mesh = Mesh::builder().workload(Workload { labels, ..Workload::default() }).build();
        own.iter().for_each(|own| mesh.serve_gateway(&GatewayOrigin::new(*own)));
        let text = format!("{SERVICES}{UPSTREAMS}{both}{}", rules("bad"));
        dangling(&mesh.apply(Config::from_yaml(&text, "it.yaml").unwrap()).unwrap()).len()
    };
    assert_eq!(seen_by(&[("app", "bad")], &[]), 1);
    assert_eq!(seen_by(&[("app", "good")], &[]), 0, "it is another process's");
    assert_eq!(seen_by(&[], &["default/bad"]), 0, "the application is the destination");
}

#[test]
fn of_a_delegate_the_ports_count_where_it_is_asked() {
    let web = gateway("web", &[server(80, "'*'"), server(8080, "'*'")].join(", "));
    let delegate = virtual_service("child", &format!("http: [{{{TO_TWO}}}]"));
    let led = |matching: &str| {
        let root = format!("http: [{{{matching}delegate: {{name: child}}}}]");
        report(&(web.clone() + &rules("web", &root) + &delegate))
    };
    let of_all = led("");
    assert_eq!(dangling(&of_all)[0].0, "child", "{of_all}");
    assert!(of_all.problems()[0].place.as_ref().is_some_and(|place| place.line > 40), "{of_all}");
    assert_eq!(dangling(&led("match: [{port: 80}], ")), []);
}
