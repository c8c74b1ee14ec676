//! No field is ignored in silence: setting it changes what is published, or the report names it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use mesh_router::Mesh;
use mesh_router::config::Config;
use mesh_router::dice::Dice;
use mesh_router::mesh::Report;
use mesh_router::options::Workload;
use mesh_router::upstream::Endpoint;
use serde_yaml::{Mapping, Value};

/// Everything that the other documents refer to.
const MESH: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: all}
spec:
  hosts: [all.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: other, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1, labels: {version: v1}}, {address: 10.0.0.2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: all}
spec:
  host: all.test
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: selected, labels: {app: selected}}
spec: {address: 10.1.1.1}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: first, labels: {app: reviewed, version: v1}}
spec: {address: 10.2.2.1}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: second, labels: {app: reviewed, version: v2}}
spec: {address: 10.2.2.2}
---
";

/// A resource whose fields are set, one at a time.
const RESOURCES: &[(&str, &str)] = &[
    (
        "VirtualService",
        "
spec:
  hosts: [vs.test]
  http:
  - match: [{uri: {prefix: /a}}]
    route: [{destination: {host: all.test}, weight: 1}, {destination: {host: all.test, subset: v1}, weight: 2}]
  - match: [{uri: {prefix: /r}}]
    redirect: {uri: /elsewhere}
",
    ),
    ("DestinationRule", "\nspec: {host: dr.test, subsets: [{name: s, labels: {version: v1}}]}\n"),
    (
        "Gateway",
        "
spec:
  servers:
  - {port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*']}
  - port: {number: 8443, name: simple, protocol: HTTPS}
    hosts: ['*']
    tls: {mode: SIMPLE, serverCertificate: a.crt, privateKey: a.key}
  - port: {number: 8444, name: mutual, protocol: HTTPS}
    hosts: ['*']
    tls: {mode: MUTUAL, serverCertificate: a.crt, privateKey: a.key, caCertificates: ca.crt}
  - {port: {number: 8445, name: passed, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH}}
",
    ),
    (
        "ServiceEntry",
        "
spec:
  hosts: [se.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.9}]
",
    ),
    ("WorkloadEntry", "\nmetadata: {name: it, labels: {app: reviewed}}\nspec: {address: 10.0.0.9}\n"),
];

/// The service that the DestinationRule and the WorkloadEntry under review are for.
const BESIDE: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: beside}
spec:
  hosts: [dr.test, we.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: reviewed}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: beside}
spec:
  hosts: [dr.test]
  gateways: [mesh, it]
  http: [{route: [{destination: {host: dr.test, subset: s}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: passed}
spec:
  hosts: [passed.test]
  gateways: [it]
  tls: [{match: [{sniHosts: [passed.test]}], route: [{destination: {host: all.test, port: {number: 80}}}]}]
";

/// Where a word stands, at several places where it means several things: the kind of the resource and the path below it.
const PLACES: &[(&str, &str, &str)] = &[
    ("VirtualService", "VirtualService", "spec"),
    ("Destination", "VirtualService", "spec.http.0.route.0.destination"),
    ("HttpRoute", "VirtualService", "spec.http.0"),
    ("HttpRoute", "VirtualService", "spec.http.1"),
    ("Delegate", "VirtualService", "spec.http.0.delegate"),
    ("Headers", "VirtualService", "spec.http.0.headers"),
    ("HeaderOperations", "VirtualService", "spec.http.0.headers.request"),
    ("TlsRoute", "VirtualService", "spec.tls.0"),
    ("TcpRoute", "VirtualService", "spec.tcp.0"),
    ("HttpMatchRequest", "VirtualService", "spec.http.0.match.0"),
    ("HttpRouteDestination", "VirtualService", "spec.http.0.route.0"),
    ("RouteDestination", "VirtualService", "spec.tcp.0.route.0"),
    ("L4MatchAttributes", "VirtualService", "spec.tcp.0.match.0"),
    ("TlsMatchAttributes", "VirtualService", "spec.tls.0.match.0"),
    ("HttpRedirect", "VirtualService", "spec.http.0.redirect"),
    ("HttpDirectResponse", "VirtualService", "spec.http.0.directResponse"),
    ("HttpBody", "VirtualService", "spec.http.0.directResponse.body"),
    ("HttpRewrite", "VirtualService", "spec.http.0.rewrite"),
    ("RegexRewrite", "VirtualService", "spec.http.0.rewrite.uriRegexRewrite"),
    ("StringMatch", "VirtualService", "spec.http.0.match.0.authority"),
    ("HttpRetry", "VirtualService", "spec.http.0.retries"),
    ("CorsPolicy", "VirtualService", "spec.http.0.corsPolicy"),
    ("HttpFaultInjection", "VirtualService", "spec.http.0.fault"),
    ("FaultDelay", "VirtualService", "spec.http.0.fault.delay"),
    ("FaultAbort", "VirtualService", "spec.http.0.fault.abort"),
    ("HttpMirrorPolicy", "VirtualService", "spec.http.0.mirrors.0"),
    ("PortSelector", "VirtualService", "spec.http.0.route.0.destination.port"),
    ("Percent", "VirtualService", "spec.http.0.mirrorPercentage"),
    ("DestinationRule", "DestinationRule", "spec"),
    ("DestinationWorkloadSelector", "DestinationRule", "spec.workloadSelector"),
    ("TrafficPolicy", "DestinationRule", "spec.trafficPolicy"),
    ("PortTrafficPolicy", "DestinationRule", "spec.trafficPolicy.portLevelSettings.0"),
    ("TunnelSettings", "DestinationRule", "spec.trafficPolicy.tunnel"),
    ("ProxyProtocol", "DestinationRule", "spec.trafficPolicy.proxyProtocol"),
    ("RetryBudget", "DestinationRule", "spec.trafficPolicy.retryBudget"),
    ("Subset", "DestinationRule", "spec.subsets.0"),
    ("LoadBalancerSettings", "DestinationRule", "spec.trafficPolicy.loadBalancer"),
    ("ConsistentHashLb", "DestinationRule", "spec.trafficPolicy.loadBalancer.consistentHash"),
    ("RingHash", "DestinationRule", "spec.trafficPolicy.loadBalancer.consistentHash.ringHash"),
    ("MagLev", "DestinationRule", "spec.trafficPolicy.loadBalancer.consistentHash.maglev"),
    ("HttpCookie", "DestinationRule", "spec.trafficPolicy.loadBalancer.consistentHash.httpCookie"),
    (
        "HttpCookieAttribute",
        "DestinationRule",
        "spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.attributes.0",
    ),
    ("WarmupConfiguration", "DestinationRule", "spec.trafficPolicy.loadBalancer.warmup"),
    ("ConnectionPoolSettings", "DestinationRule", "spec.trafficPolicy.connectionPool"),
    ("TcpSettings", "DestinationRule", "spec.trafficPolicy.connectionPool.tcp"),
    ("TcpKeepalive", "DestinationRule", "spec.trafficPolicy.connectionPool.tcp.tcpKeepalive"),
    ("HttpSettings", "DestinationRule", "spec.trafficPolicy.connectionPool.http"),
    ("ConnectionKeepalive", "DestinationRule", "spec.trafficPolicy.connectionPool.http.http2KeepAlive"),
    ("OutlierDetection", "DestinationRule", "spec.trafficPolicy.outlierDetection"),
    ("ClientTlsSettings", "DestinationRule", "spec.trafficPolicy.tls"),
    ("ClientTlsSettings", "DestinationRule", "spec.subsets.0.trafficPolicy.tls"),
    ("LocalityLoadBalancerSetting", "DestinationRule", "spec.trafficPolicy.loadBalancer.localityLbSetting"),
    ("Distribute", "DestinationRule", "spec.trafficPolicy.loadBalancer.localityLbSetting.distribute.0"),
    ("Failover", "DestinationRule", "spec.trafficPolicy.loadBalancer.localityLbSetting.failover.0"),
    ("ZoneAwareLoadBalancerSetting", "DestinationRule", "spec.trafficPolicy.loadBalancer.zoneAwareLbSetting"),
    ("ZoneAwareFailover", "DestinationRule", "spec.trafficPolicy.loadBalancer.zoneAwareLbSetting.failover.0"),
    ("Gateway", "Gateway", "spec"),
    ("Server", "Gateway", "spec.servers.0"),
    ("ServerPort", "Gateway", "spec.servers.0.port"),
    ("ServerTlsSettings", "Gateway", "spec.servers.0.tls"),
    ("ServerTlsSettings", "Gateway", "spec.servers.1.tls"),
    ("ServerTlsSettings", "Gateway", "spec.servers.2.tls"),
    ("ServerTlsSettings", "Gateway", "spec.servers.3.tls"),
    ("TlsCertificate", "Gateway", "spec.servers.0.tls.tlsCertificates.0"),
    ("ServiceEntry", "ServiceEntry", "spec"),
    ("ServiceEntryPort", "ServiceEntry", "spec.ports.0"),
    ("WorkloadSelector", "ServiceEntry", "spec.workloadSelector"),
    ("WorkloadEntry", "WorkloadEntry", "spec"),
];

/// Values that mean something, where the plain one of the table does not.
const VALUES: &[(&str, &str, &str)] = &[
    ("VirtualService", "hosts", "[other.test]"),
    ("VirtualService", "exportTo", "[elsewhere]"),
    ("VirtualService", "http", "[{route: [{destination: {host: all.test}}]}]"),
    ("Destination", "host", "elsewhere.test"),
    ("Destination", "subset", "v2"),
    ("Destination", "port", "{number: 81}"),
    ("HttpRoute", "match", "[{uri: {exact: /b}}]"),
    ("HttpRoute", "route", "[{destination: {host: all.test, subset: v2}}]"),
    ("HttpRoute", "retries", "{attempts: 3}"),
    ("HttpRoute", "headers", "{request: {remove: [x-a]}}"),
    ("Headers", "request", "{remove: [x-a]}"),
    ("Headers", "response", "{remove: [x-a]}"),
    ("HttpMatchRequest", "uri", "{exact: /b}"),
    ("HttpMatchRequest", "scheme", "{exact: https}"),
    ("HttpMatchRequest", "method", "{exact: GET}"),
    ("HttpMatchRequest", "authority", "{exact: a}"),
    ("HttpRouteDestination", "destination", "{host: all.test, subset: v2}"),
    ("HttpRouteDestination", "headers", "{request: {remove: [x-a]}}"),
    ("HttpRetry", "attempts", "3"),
    ("HttpRetry", "retryOn", "reset"),
    ("HttpRetry", "retryIgnorePreviousHosts", "false"),
    ("PortSelector", "number", "81"),
    ("DestinationRule", "host", "other.test"),
    ("DestinationRule", "trafficPolicy", "{loadBalancer: {simple: RANDOM}}"),
    ("DestinationRule", "subsets", "[{name: s, labels: {version: v2}}]"),
    ("DestinationRule", "exportTo", "[elsewhere]"),
    ("DestinationRule", "workloadSelector", "{matchLabels: {app: nobody}}"),
    ("DestinationWorkloadSelector", "matchLabels", "{app: nobody}"),
    ("TrafficPolicy", "loadBalancer", "{simple: RANDOM}"),
    ("TrafficPolicy", "connectionPool", "{tcp: {connectTimeout: 1s}}"),
    ("TrafficPolicy", "portLevelSettings", "[{port: {number: 80}, loadBalancer: {simple: RANDOM}}]"),
    ("PortTrafficPolicy", "port", "{number: 80}"),
    ("PortTrafficPolicy", "loadBalancer", "{simple: ROUND_ROBIN}"),
    ("PortTrafficPolicy", "connectionPool", "{tcp: {connectTimeout: 1s}}"),
    ("Subset", "name", "other"),
    ("Subset", "trafficPolicy", "{loadBalancer: {simple: RANDOM}}"),
    ("LoadBalancerSettings", "simple", "RANDOM"),
    ("LoadBalancerSettings", "localityLbSetting", "{distribute: [{from: '*', to: {'*': 100}}]}"),
    ("LocalityLoadBalancerSetting", "enabled", "false"),
    ("ConnectionPoolSettings", "tcp", "{connectTimeout: 1s}"),
    ("ConnectionPoolSettings", "http", "{useClientProtocol: true}"),
    ("Gateway", "servers", "[{port: {number: 81, name: http, protocol: HTTP}, hosts: ['*']}]"),
    ("Gateway", "selector", "{app: nobody}"),
    ("ServerTlsSettings", "mode", "OPTIONAL_MUTUAL"),
    ("ServerTlsSettings", "maxProtocolVersion", "TLSV1_2"),
    ("Server", "port", "{number: 81, name: http, protocol: HTTP}"),
    ("Server", "bind", "127.0.0.1"),
    ("Server", "hosts", "[other.test]"),
    ("ServerPort", "number", "81"),
    ("ServerPort", "protocol", "TCP"),
    ("ServiceEntry", "hosts", "[other.test]"),
    ("ServiceEntry", "addresses", "[10.0.0.77]"),
    ("ServiceEntry", "ports", "[{number: 81, name: http, protocol: HTTP}]"),
    ("ServiceEntry", "resolution", "NONE"),
    ("ServiceEntry", "endpoints", "[{address: 10.0.0.10}]"),
    ("ServiceEntry", "exportTo", "[elsewhere]"),
    ("ServiceEntryPort", "protocol", "GRPC"),
    ("WorkloadEntry", "address", "10.0.0.10"),
    ("WorkloadEntry", "ports", "{http: 7}"),
    ("WorkloadEntry", "labels", "{version: v1}"),
    ("ClientTlsSettings", "mode", "SIMPLE"),
    ("ClientTlsSettings", "clientCertificate", "b.crt"),
    ("ClientTlsSettings", "privateKey", "b.key"),
    ("TrafficPolicy", "tls", "{mode: SIMPLE}"),
    ("Server", "tls", "{httpsRedirect: true}"),
    ("ServerTlsSettings", "caCertificates", "other.crt"),
    ("ServerTlsSettings", "minProtocolVersion", "TLSV1_3"),
];

/// What a word must say for its other fields to matter.
const BEFORE: &[(&str, &str, &str)] = &[
    ("LocalityLoadBalancerSetting", "distribute", "[{from: '*', to: {'*': 100}}]"),
    ("HttpRetry", "attempts", "2"),
    ("PortTrafficPolicy", "port", "{number: 80}"),
    ("PortTrafficPolicy", "loadBalancer", "{simple: RANDOM}"),
    ("ClientTlsSettings", "mode", "MUTUAL"),
    ("ClientTlsSettings", "clientCertificate", "a.crt"),
    ("ClientTlsSettings", "privateKey", "a.key"),
    ("ServerTlsSettings", "mode", "MUTUAL"),
    ("ServerTlsSettings", "caCertificates", "ca.crt"),
];

/// Fields that name something for people alone, or say what is so anyway.
const NO_MEANING: &[(&str, &str)] = &[
    // Names of ports that nothing refers to here.
    ("ServerPort", "name"),
    ("ServiceEntryPort", "name"),
    // Inside or outside the mesh matters to mutual TLS between sidecars.
    ("ServiceEntry", "location"),
];

fn places(word: &str) -> Vec<(&'static str, &'static str)> {
    let found: Vec<_> =
        PLACES.iter().filter(|(name, ..)| *name == word).map(|(_, kind, path)| (*kind, *path)).collect();
    assert!(!found.is_empty(), "where does {word} stand?");
    found
}

/// Sets `path` of `value`; mappings and lists on the way are made.
fn set(value: &mut Value, path: &[&str], new: Value) {
    let Some((first, rest)) = path.split_first() else {
        *value = new;
        return;
    };
    if let Ok(index) = first.parse::<usize>() {
        if !value.is_sequence() {
            *value = Value::Sequence(Vec::new());
        }
        let list = value.as_sequence_mut().unwrap();
        while list.len() <= index {
            list.push(Value::Mapping(Mapping::new()));
        }
        set(&mut list[index], rest, new);
    } else {
        if !value.is_mapping() {
            *value = Value::Mapping(Mapping::new());
        }
        set(value.as_mapping_mut().unwrap().entry(Value::from(*first)).or_insert(Value::Null), rest, new);
    }
}

/// What is published and reported for a resource of `kind`, after these fields were set.
fn publish(kind: &str, fields: &[(&str, &str)]) -> (String, Report) {
    let text = RESOURCES.iter().find(|(name, _)| *name == kind).unwrap().1;
    let mut document: Value = serde_yaml::from_str(text).unwrap();
    set(&mut document, &["apiVersion"], "networking.istio.io/v1".into());
    set(&mut document, &["kind"], kind.into());
    set(&mut document, &["metadata", "name"], "it".into());
    for (path, value) in fields {
        let parts: Vec<&str> = path.split('.').collect();
        set(&mut document, &parts, serde_yaml::from_str(value).unwrap());
    }
    let text = format!("{MESH}{}---{BESIDE}", serde_yaml::to_string(&document).unwrap());
    let config = Config::from_yaml(&text, "it.yaml").unwrap();
    let labels = [("app".to_owned(), "client".to_owned())].into();
    let mesh = Mesh::builder().dice(Dice::seeded(1)).workload(Workload { labels, ..Workload::default() }).build();
    let report = mesh.apply(config).unwrap();
    let snapshot = mesh.snapshot();
    let mut published = format!("{snapshot:#?}");
    for cluster in snapshot.clusters() {
        for endpoint in cluster.endpoints().endpoints() {
            let Endpoint { address, weight, labels, locality, healthy, .. } = &**endpoint;
            published.push_str(&format!("\n{} {address:?} {weight} {labels:?} {locality} {healthy}", cluster.key));
        }
    }
    let stable = published.lines().filter(|line| !line.contains("line:") && !line.contains("column:"));
    (stable.collect::<Vec<_>>().join("\n"), report)
}

/// Whether the report speaks of `path`, or of what it stands in, or of something in it.
fn is_named(report: &Report, path: &str) -> bool {
    report.problems().iter().any(|problem| {
        let near = |one: &str, other: &str| {
            one == other || one.starts_with(&format!("{other}.")) || one.starts_with(&format!("{other}["))
        };
        let speaks = near(path, &problem.path) && problem.path.contains('.') || near(&problem.path, path);
        speaks && problem.resource.as_ref().is_some_and(|resource| &*resource.name == "it")
    })
}

/// `spec.http.0.match` as the report writes it.
fn written(path: &str) -> String {
    let mut written = String::new();
    for part in path.split('.') {
        match part.parse::<usize>() {
            Ok(index) => written.push_str(&format!("[{index}]")),
            Err(_) if written.is_empty() => written.push_str(part),
            Err(_) => written.push_str(&format!(".{part}")),
        }
    }
    written
}

#[test]
fn what_is_published_prints_the_same_twice() {
    for (kind, _) in RESOURCES {
        assert_eq!(publish(kind, &[]).0, publish(kind, &[]).0, "{kind}");
    }
}

#[test]
fn every_field_changes_what_is_published_or_is_named() {
    let mut silent = Vec::new();
    let mut seen = BTreeSet::new();
    for line in include_str!("data/fields.tsv").lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [word, name, _, plain] = columns[..] else { panic!("{line:?}") };
        seen.insert(word);
        if NO_MEANING.contains(&(word, name)) {
            continue;
        }
        let value = VALUES.iter().find(|(w, n, _)| (*w, *n) == (word, name)).map_or(&plain, |(.., value)| value);
        for (kind, path) in places(word) {
            let full = format!("{path}.{name}");
            let needed: Vec<_> = BEFORE.iter().filter(|(w, n, _)| *w == word && *n != name).collect();
            let needed: Vec<_> = needed.iter().map(|(_, name, value)| (format!("{path}.{name}"), *value)).collect();
            let needed: Vec<_> = needed.iter().map(|(path, value)| (path.as_str(), *value)).collect();
            let (before, _) = publish(kind, &needed);
            let (after, report) = publish(kind, &[&*needed, &[(full.as_str(), *value)]].concat());
            if before == after && !is_named(&report, &written(&full)) {
                silent.push(format!("{kind} {full}: {value}\n{report}"));
            }
        }
    }
    assert!(silent.is_empty(), "{} fields do nothing in silence:\n{}", silent.len(), silent.join("\n"));
    let placed: BTreeSet<_> = PLACES.iter().map(|(word, ..)| *word).collect();
    assert_eq!(seen, placed, "every word has its place");
}

#[test]
fn what_means_nothing_as_it_stands_is_named_and_nothing_else_is() {
    let never = "a percentage of 0, as it is without one, is of no request";
    let plain = "connections are in plain text without it too: no mutual TLS is set up by itself";
    let slow = "only ROUND_ROBIN and LEAST_REQUEST give an endpoint that is new less than its share";
    let http1 = "its connections speak HTTP/1: neither the protocol of the port nor `h2UpgradePolicy` asks for HTTP/2";
    let passed = "no `tls` rule of a VirtualService is for this server, which is not opened then";
    let (fault, tls) = ("spec.http.0.fault", "spec.trafficPolicy.tls");
    let (balancer, pool) = ("spec.trafficPolicy.loadBalancer", "spec.trafficPolicy.connectionPool.http");
    for (kind, fields, expected) in [
        ("VirtualService", vec![("spec.http.0.mirrorPercentage", "{value: 5}")], "there is no `mirror`"),
        (
            "VirtualService",
            vec![("spec.http.0.mirrorPercentage", "{}"), ("spec.http.0.mirror", "{host: all.test}")],
            "",
        ),
        ("VirtualService", vec![("spec.http.1.timeout", "1s")], "the rule sends no request on"),
        ("VirtualService", vec![("spec.http.0.timeout", "1s")], ""),
        ("VirtualService", vec![(fault, "{delay: {fixedDelay: 1s}}")], never),
        ("VirtualService", vec![(fault, "{delay: {percentage: {value: 5}}}")], "it has no `fixedDelay`"),
        ("VirtualService", vec![(fault, "{delay: {percent: 5, fixedDelay: 1s}}")], ""),
        ("VirtualService", vec![(fault, "{abort: {httpStatus: 500}}")], never),
        ("VirtualService", vec![(fault, "{abort: {httpStatus: 500, percentage: {value: 5}}}")], ""),
        ("DestinationRule", vec![(tls, "{mode: DISABLE}")], plain),
        ("DestinationRule", vec![(tls, "{mode: SIMPLE}"), ("spec.subsets.0.trafficPolicy.tls", "{}")], ""),
        ("Gateway", vec![("spec.servers.1.tls.subjectAltNames", "[a]")], "SIMPLE asks clients for no certificate"),
        ("Gateway", vec![("spec.servers.2.tls.subjectAltNames", "[a]")], ""),
        ("Gateway", vec![("spec.servers.0.tls.httpsRedirect", "true")], ""),
        ("Gateway", vec![("spec.servers.3.hosts", "[other.test]")], passed),
        ("DestinationRule", vec![(balancer, "{simple: RANDOM, warmup: {duration: 1s}}")], slow),
        ("DestinationRule", vec![(balancer, "{simple: ROUND_ROBIN, warmup: {duration: 1s}}")], ""),
        ("DestinationRule", vec![(pool, "{maxConcurrentStreams: 1}")], http1),
        ("DestinationRule", vec![(pool, "{maxConcurrentStreams: 1, h2UpgradePolicy: UPGRADE}")], ""),
    ] {
        let (_, report) = publish(kind, &fields);
        let found = report.problems().iter().find_map(|problem| problem.message.strip_prefix("without effect: "));
        assert_eq!(found.unwrap_or_default(), expected, "{kind} {fields:?}\n{report}");
    }
}
