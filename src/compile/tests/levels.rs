//! What the mesh, a host, its ports and its subsets say of connections together.

use std::num::NonZeroU32;
use std::time::Duration;

use super::connections::ENTRY;
use super::*;
use crate::upstream::{ProxyVersion, TcpKeepalive};

#[test]
fn what_a_rule_does_not_say_of_keep_alive_the_mesh_may() {
    let keepalive = |probes: u32, time: u64, interval: u64| {
        let seconds = |number| (number > 0).then(|| Duration::from_secs(number));
        TcpKeepalive { probes: NonZeroU32::new(probes), time: seconds(time), interval: seconds(interval) }
    };
    let of = |mesh: &str, rule: &str| {
        let (options, _) = MeshOptions::from_yaml(mesh, "m.yaml").unwrap();
        let rule = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: a}}\n\
             spec: {{host: a.test, trafficPolicy: {{connectionPool: {{tcp: {rule}}}}}}}\n---\n"
        );
        let (snapshot, _) = published(&rule, options);
        let cluster = snapshot.clusters().find(|cluster| &*cluster.key.host == "a.test").unwrap().clone();
        cluster.settings().connection.keepalive
    };
    let mesh = "tcpKeepalive: {probes: 3, time: 60s}";
    for (mesh, rule, expected) in [
        ("", "{}", None),
        ("", "{tcpKeepalive: {time: 10s}}", Some(keepalive(0, 10, 0))),
        (mesh, "{}", Some(keepalive(3, 60, 0))),
        (mesh, "{tcpKeepalive: {}}", Some(keepalive(3, 60, 0))),
        (mesh, "{tcpKeepalive: {time: 10s, interval: 5s}}", Some(keepalive(3, 10, 5))),
        (mesh, "{tcpKeepalive: {probes: 9, time: 1.9s}}", Some(keepalive(9, 1, 0))),
        (mesh, "{tcpKeepalive: {time: 0.5s}}", Some(keepalive(3, 0, 0))),
    ] {
        assert_eq!(of(mesh, rule), expected, "{mesh} {rule}");
    }
}

#[test]
fn a_port_of_a_subset_has_the_proxy_header_of_the_host() {
    let of = |host: &str| {
        let rule = format!(
            "{ENTRY}
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: up}}
spec:
  host: up.test
  trafficPolicy: {host}
  subsets:
  - name: v1
    labels: {{version: v1}}
    trafficPolicy: {{proxyProtocol: {{version: V2}}, portLevelSettings: [{{port: {{number: 81}}, connectionPool: {{tcp: {{maxConnections: 9}}}}}}]}}
---
"
        );
        let to =
            |port: u16| format!("{{destination: {{host: up.test, subset: v1, port: {{number: {port}}}}}, weight: 1}}");
        let rules = format!("hosts: [it.test]\nhttp: [{{route: [{}, {}]}}]", to(80), to(81));
        let (snapshot, _) = published(&(rule + &virtual_service("it", &rules)), MeshOptions::default());
        let header = |port| {
            let mut clusters = snapshot.clusters();
            let cluster = clusters.find(|cluster| (&*cluster.key.subset, cluster.key.port) == ("v1", port)).unwrap();
            cluster.settings().connection.proxy_protocol
        };
        [header(80), header(81)]
    };
    assert_eq!(of("{proxyProtocol: {version: V1}}"), [Some(ProxyVersion::V2), Some(ProxyVersion::V1)]);
    assert_eq!(of("{loadBalancer: {simple: RANDOM}}"), [Some(ProxyVersion::V2), None]);
}

#[test]
fn a_host_that_requests_name_has_no_subsets_and_its_certificate_has_that_name() {
    let of = |tls: &str| {
        let text = format!(
            "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: wild}}
spec: {{hosts: ['*.wild.test'], resolution: DYNAMIC_DNS, ports: [{{number: 80, name: http, protocol: HTTP}}]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: wild}}
spec: {{host: '*.wild.test', subsets: [{{name: v1, labels: {{version: v1}}}}], trafficPolicy: {{tls: {tls}}}}}
---
{}",
            virtual_service(
                "it",
                "hosts: [it.test]\nhttp: [{route: [{destination: {host: '*.wild.test'}, weight: 1}, \
                 {destination: {host: '*.wild.test', subset: v1}, weight: 1}]}]"
            )
        );
        let (snapshot, report) = published(&text, MeshOptions::default());
        let clusters: Vec<_> = snapshot.clusters().filter(|cluster| &*cluster.key.host == "*.wild.test").collect();
        let [whole] = clusters[..] else { panic!("{report}\n{snapshot:?}") };
        assert_eq!(&*whole.key.subset, "");
        whole.settings().connection.tls.as_deref().unwrap().verify_name
    };
    for tls in ["{mode: SIMPLE}", "{mode: SIMPLE, sni: other.test}", "{mode: SIMPLE, subjectAltNames: [other.test]}"] {
        assert!(of(tls), "{tls}");
    }
}
