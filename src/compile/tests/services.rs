//! Which of several definitions of one host is the service.

use super::*;
use crate::error::Problem;
use crate::options::Workload;

/// A ServiceEntry for `api.test` with an endpoint at `address`.
fn entry(namespace: &str, name: &str, address: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec:\n  hosts: [api.test]\n  resolution: STATIC\n  ports: [{{number: 80, name: http, protocol: HTTP}}]\n  \
         endpoints: [{{address: {address}}}]\n---\n"
    )
}

#[test]
fn of_one_host_and_age_the_namespace_decides_before_the_name() {
    let all = [entry("b", "aaa", "10.0.0.2"), entry("a", "zzz", "10.0.0.1")];
    for documents in [all.concat(), all.iter().rev().cloned().collect()] {
        let workload = Workload { namespace: "c".into(), ..Workload::default() };
        let mesh = Mesh::builder().workload(workload).build();
        assert_eq!(mesh.apply(Config::from_yaml(&documents, "it.yaml").unwrap()).unwrap().errors().next(), None);
        let route = route(&mesh.snapshot(), "http://api.test/").unwrap();
        assert_eq!((&*route.origin.resource.namespace, &*route.origin.resource.name), ("a", "zzz"));
    }
}

#[test]
fn ports_of_a_host_that_another_entry_has_are_named() {
    let entry = |name: &str, year: u16, fields: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
             metadata: {{name: {name}, creationTimestamp: '{year}-01-01T00:00:00Z'}}\n\
             spec: {{hosts: [API.test], endpoints: [{{address: 10.0.0.1}}], {fields}}}\n---\n"
        )
    };
    let said = |first: &str, second: &str| {
        let documents = entry("second", 2011, second) + &entry("first", 2010, first);
        let (_, report) = published(&documents, MeshOptions::default());
        let of_second = |problem: &Problem| problem.resource.as_ref().is_some_and(|name| &*name.name == "second");
        assert!(!report.fails_check() && report.problems().iter().all(of_second), "{report}");
        let on = "without effect on api.test: it is that of ServiceEntry default/first, ";
        let said = |problem: &Problem| {
            let why = problem.message.strip_prefix(on).unwrap_or_else(|| panic!("{report}"));
            format!("{}: {why}", problem.path)
        };
        report.problems().iter().map(said).collect::<Vec<_>>()
    };
    let http = "resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}]";
    for (first, second, expected) in [
        (http, http, None),
        // What differs in ports alone adds them.
        (http, "resolution: STATIC, ports: [{number: 81, name: http, protocol: HTTP}]", None),
        (http, "resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]", None),
        (
            http,
            "resolution: STATIC, ports: [{number: 80, name: grpc, protocol: GRPC}]",
            Some("spec.ports[0]: where port 80 has the name http"),
        ),
        (
            http,
            "resolution: STATIC, ports: [{number: 80, name: http, protocol: GRPC}]",
            Some("spec.ports[0].protocol: where port 80 has another"),
        ),
        // Of names that are looked up the number of a port is enough.
        (&http.replace("STATIC", "DNS"), "resolution: DNS, ports: [{number: 80, name: web, protocol: HTTP}]", None),
        (
            http,
            "resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: b, protocol: HTTP}]",
            Some("spec.ports[1]: and gets ports of those alone that differ from it in nothing else"),
        ),
    ] {
        assert_eq!(said(first, second), Vec::from_iter(expected), "{first} and {second}");
    }
}

#[test]
fn a_race_for_connections_is_named() {
    let said = |strategy: &str, resolution: &str| {
        let document = entry("default", "it", "10.0.0.1").replace("resolution: STATIC", resolution);
        let annotated = format!("name: it, annotations: {{istio.io/connect-strategy: {strategy}}},");
        let (_, report) = published(&document.replace("name: it,", &annotated), MeshOptions::default());
        assert!(!report.fails_check(), "{report}");
        let path = "metadata.annotations[\"istio.io/connect-strategy\"]";
        assert!(report.problems().iter().all(|problem| problem.path == path && problem.place.is_some()), "{report}");
        report.problems().iter().map(|problem| problem.message.clone()).collect::<Vec<_>>()
    };
    let not_yet = ["not yet honored: every address is an endpoint of its own"];
    assert_eq!(said("RACE_FIRST_TCP_CONNECT", "resolution: DNS"), not_yet);
    assert_eq!(said("race_first_tcp_connect", "resolution: DNS"), not_yet);
    assert_eq!(
        said("RACE_FIRST_TCP_CONNECT", "resolution: STATIC"),
        ["without effect: only what has resolution DNS asks for it"]
    );
    assert_eq!(said("OTHER", "resolution: DNS"), [""; 0]);
}

#[test]
fn words_of_a_service_that_kubernetes_does_not_know_are_named() {
    let said = |field: &str| {
        let (_, report) = published(
            &format!("{{apiVersion: v1, kind: Service, metadata: {{name: a}}, spec: {{{field}}}}}"),
            MeshOptions::default(),
        );
        assert!(!report.fails_check() && report.problems().iter().all(|problem| problem.place.is_some()), "{report}");
        report.problems().iter().map(|said| format!("{}: {}", said.path, said.message)).collect::<Vec<_>>()
    };
    for (field, value, known) in [
        ("type", "clusterIP", "ClusterIP, NodePort, LoadBalancer, ExternalName"),
        ("internalTrafficPolicy", "local", "Cluster, Local"),
        ("trafficDistribution", "PreferNear", "PreferClose, PreferSameZone, PreferSameNode"),
    ] {
        let expected = format!("spec.{field}: without effect: {value:?} is none of {known}");
        assert_eq!(said(&format!("{field}: {value}")), [expected]);
        let of_known = known.split(", ").filter(|known| !["ExternalName", "Local"].contains(known));
        of_known.for_each(|known| assert_eq!(said(&format!("{field}: {known}")), [""; 0]));
        assert_eq!(said(&format!("{field}: ''")), [""; 0]);
    }
}

/// A Service with ports of TCP and UDP and of no name, and an EndpointSlice with `head` after its name and `fields`.
fn sliced(head: &str, fields: &str) -> Vec<String> {
    let documents = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: up}}, spec: {{ports: [{{port: 80, name: http}}, {{port: 53, \
         name: dns, protocol: UDP}}]}}}}\n---\n{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: \
         {{name: up-1, {head}}}, {fields}}}\n"
    );
    let (_, report) = published(&documents, MeshOptions::default());
    assert!(!report.fails_check(), "{report}");
    let said = report.problems().iter().map(|problem| {
        assert!(problem.place.is_some() && *problem.resource.as_ref().unwrap().name == *"up-1", "{problem}");
        format!("{}: {}", problem.path, problem.message)
    });
    said.collect()
}

#[test]
fn what_endpoint_slices_list_for_nobody_is_named() {
    let of_up = "labels: {kubernetes.io/service-name: up}";
    let endpoints = "endpoints: [{addresses: [10.0.0.1, 'fe80::1']}, {addresses: [10.0.0.2]}]";
    let ports = |ports: &str| sliced(of_up, &format!("addressType: IPv4, {endpoints}, ports: [{ports}]"));
    let none = [""; 0];
    assert_eq!(ports("{name: http, port: 8080}, {name: dns, port: 53, protocol: UDP}"), none);
    let why = "ports go by their names, and of those Service up has \"http\", \"dns\"";
    assert_eq!(ports("{name: web, port: 8080}"), [format!("ports[0].name: without effect: {why}")]);
    assert_eq!(ports("{name: http, port: 8080}, {port: 81}"), [format!("ports[1].name: without effect: {why}")]);
    assert_eq!(ports("{name: http}"), ["ports[0]: without effect: it has no number"]);
    let listed = |address: &str| {
        let endpoints = format!("endpoints: [{{addresses: [10.0.0.1, {address}]}}]");
        sliced(of_up, &format!("addressType: IPv4, {endpoints}, ports: [{{name: http, port: 80}}]"))
    };
    assert_eq!(listed("a.test"), ["endpoints[0].addresses[1]: left out: \"a.test\" is no IP address"]);
    assert_eq!(listed("10.0.0.2"), none);
    assert_eq!(
        sliced(of_up, "addressType: FQDN, endpoints: [{addresses: [a.test]}], ports: [{name: web, port: 80}]"),
        ["addressType: without effect: endpoints with names are none, in Istio neither"]
    );
    let nobodys = "no label kubernetes.io/service-name says of which Service it is";
    assert_eq!(sliced("labels: {app: up}", endpoints), [format!("metadata.labels: without effect: {nobodys}")]);
    let missing = "Service other/up is not there";
    let elsewhere = format!("namespace: other, {of_up}");
    let path = "metadata.labels[\"kubernetes.io/service-name\"]";
    assert_eq!(sliced(&elsewhere, "ports: [{name: web, port: 80}]"), [format!("{path}: without effect: {missing}")]);
    let more = "ports: []}\n---\n{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: up-2, labels: \
                {kubernetes.io/service-name: gone}}, ports: []";
    let once = format!("{path}: without effect: {missing}, nor are those of 1 more EndpointSlices");
    assert_eq!(sliced(&elsewhere, more), [once]);
}

#[test]
fn pods_without_endpoint_slices_are_named_once() {
    let service = |name: &str, selector: &str| {
        let spec = format!("{{ports: [{{port: 80}}], selector: {{{selector}}}}}");
        format!("{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {spec}}}\n---\n")
    };
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: a-1, labels: {app: a}}}\n---\n";
    let slice = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a-x, labels: \
                 {kubernetes.io/service-name: a}}, endpoints: []}\n";
    let said = |documents: &[&str]| {
        let (_, report) = published(&documents.concat(), MeshOptions::default());
        report.problems().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let (other, a) = (service("other", "app: other"), service("a", "app: a"));
    let all = said(&[&other, &a, &service("b", "app: a"), pod]);
    let why =
        "spec.selector: without effect: the endpoints of Services are those of EndpointSlices, of which there is none";
    assert!(all.len() == 1 && all[0].contains(why) && all[0].contains("Service default/a"), "{all:#?}");
    assert_eq!(said(&[&a, pod, slice]), [""; 0]);
    assert_eq!(said(&[&other, &service("none", ""), pod]), [""; 0]);
    assert_eq!(said(&[&a]), [""; 0], "a program may give its endpoints");
}

#[test]
fn addresses_with_a_zone_are_named() {
    let documents = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: entry}
spec:
  hosts: [b.test]
  addresses: ['fe80::2', 'fe80::2%eth0']
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 'fe80::1'}, {address: 'fe80::1%eth0'}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: workload}
spec: {address: 'fe80::1%eth0'}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gateway}
spec:
  servers:
  - {port: {number: 80, name: h, protocol: HTTP}, bind: 'fe80::1', hosts: ['*']}
  - {port: {number: 81, name: i, protocol: HTTP}, bind: 'fe80::1%eth0', hosts: ['*']}
";
    let (_, report) = published(documents, MeshOptions::default());
    let said: Vec<_> = report.problems().iter().map(|problem| (&*problem.path, &*problem.message)).collect();
    assert_eq!(
        said,
        [
            ("spec.addresses[1]", "not yet honored: no request is for an address with a zone"),
            ("spec.endpoints[1].address", "not yet honored: no request reaches an address with a zone"),
            ("spec.address", "not yet honored: no request reaches an address with a zone"),
            ("spec.servers[1].bind", "not yet honored: no listener is opened at an address with a zone"),
        ]
    );
}
