//! EndpointSlices, with the Pods and Nodes behind them.

use super::{Published, list, publish};

const KEY: &str = "outbound|80||a.default.svc.cluster.local";

/// A Service `a` and slices of it.
fn with_slices(spec: &str, slices: &[(&str, &str, &str)], rest: &str) -> Published {
    let mut text = format!("apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {{{spec}}}\n---\n");
    for (number, (family, ports, endpoints)) in slices.iter().enumerate() {
        text.push_str(&format!(
            "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: a-{number}, labels: {{kubernetes.io/service-name: a}}}}
addressType: {family}
ports: {ports}
endpoints: {endpoints}
---
"
        ));
    }
    publish(&(text + rest))
}

const ONE_PORT: &str = "ports: [{port: 80, name: http}]";
const HTTP: &str = "[{name: http, port: 8080}]";

#[test]
fn es1_slices_are_joined_by_address_and_ports_matched_by_name() {
    let published = with_slices(
        "ports: [{port: 80, name: http}, {port: 90, name: admin}]",
        &[
            ("IPv4", HTTP, "[{addresses: [10.0.0.1]}, {addresses: [10.0.0.2]}]"),
            (
                "IPv4",
                "[{name: http, port: 8080}, {name: admin, port: 9090}]",
                "[{addresses: [10.0.0.2]}, {addresses: [10.0.0.3]}]",
            ),
        ],
        "",
    );
    assert_eq!(published.addresses(KEY), list(&["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"]));
    let admin = published.addresses("outbound|90||a.default.svc.cluster.local");
    assert_eq!(admin, list(&["10.0.0.2:9090", "10.0.0.3:9090"]));
}

#[test]
fn es1_a_port_without_a_name_is_matched_by_one() {
    let published = with_slices("ports: [{port: 80}]", &[("IPv4", "[{port: 8080}]", "[{addresses: [10.0.0.1]}]")], "");
    assert_eq!(published.addresses(KEY), list(&["10.0.0.1:8080"]));
}

#[test]
fn an_address_serves_a_named_port_once_and_what_is_ready_counts_before_what_is_not() {
    let slices = [
        (
            "IPv4",
            HTTP,
            "[{addresses: [10.0.0.1]}, {addresses: [10.0.0.2], conditions: {ready: false, terminating: false}}]",
        ),
        (
            "IPv4",
            "[{name: http, port: 8081}, {name: admin, port: 9090}]",
            "[{addresses: [10.0.0.1]}, {addresses: [10.0.0.2]}]",
        ),
    ];
    let ports = "ports: [{port: 80, name: http}, {port: 90, name: admin}]";
    let published = with_slices(ports, &slices, "");
    assert_eq!(published.addresses(KEY), list(&["10.0.0.1:8080", "10.0.0.2:8081"]));
    let admin = published.addresses("outbound|90||a.default.svc.cluster.local");
    assert_eq!(admin, list(&["10.0.0.1:9090", "10.0.0.2:9090"]));
}

#[test]
fn two_named_ports_of_an_address_may_be_one_number() {
    let slices = [("IPv4", "[{name: http, port: 8080}, {name: web, port: 8080}]", "[{addresses: [10.0.0.1]}]")];
    let published = with_slices("ports: [{port: 80, name: http}, {port: 81, name: web}]", &slices, "");
    assert_eq!(published.addresses(KEY), list(&["10.0.0.1:8080"]));
    assert_eq!(published.addresses("outbound|81||a.default.svc.cluster.local"), list(&["10.0.0.1:8080"]));
}

#[test]
fn es2_conditions_say_who_is_sent_requests_and_who_is_known() {
    let endpoints = "[
  {addresses: [10.0.0.1]},
  {addresses: [10.0.0.2], conditions: {ready: true}},
  {addresses: [10.0.0.3], conditions: {ready: false, serving: true, terminating: true}},
  {addresses: [10.0.0.4], conditions: {ready: false}},
  {addresses: [10.0.0.5], conditions: {ready: false, terminating: false}}]";
    let published = with_slices(ONE_PORT, &[("IPv4", HTTP, endpoints)], "");
    assert_eq!(published.addresses(KEY), list(&["10.0.0.1:8080", "10.0.0.2:8080", "(10.0.0.5:8080)"]));
    let spec = format!("publishNotReadyAddresses: true, {ONE_PORT}");
    let published = with_slices(&spec, &[("IPv4", HTTP, endpoints)], "");
    let all = [1, 2, 3, 4, 5].map(|last| format!("10.0.0.{last}:8080"));
    assert_eq!(published.addresses(KEY), Some(all.to_vec()));
}

#[test]
fn es3_names_are_left_out_and_a_pod_of_two_families_is_one_endpoint() {
    let pod =
        |name: &str, address: &str| format!("{{addresses: ['{address}'], targetRef: {{kind: Pod, name: {name}}}}}");
    let four = format!("[{}, {}]", pod("p1", "10.0.0.1"), pod("p2", "10.0.0.2"));
    let six = format!("[{}, {}, {{addresses: ['fd00::9']}}]", pod("p1", "fd00::1"), pod("p3", "fd00::3"));
    let slices =
        [("IPv6", HTTP, six.as_str()), ("IPv4", HTTP, four.as_str()), ("FQDN", HTTP, "[{addresses: [example.com]}]")];
    let published = with_slices(ONE_PORT, &slices, "");
    let expected = ["10.0.0.1:8080", "10.0.0.2:8080", "[fd00::3]:8080", "[fd00::9]:8080"];
    assert_eq!(published.addresses(KEY), list(&expected));
    let spec = format!("clusterIP: 'fd00:96::1', {ONE_PORT}");
    let published = with_slices(&spec, &slices, "");
    let expected = ["[fd00::1]:8080", "[fd00::3]:8080", "[fd00::9]:8080", "10.0.0.2:8080"];
    assert_eq!(published.addresses(KEY), list(&expected));
}

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: p1, labels: {version: v1, app: a}}
spec: {nodeName: n1}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: z1}}
---
";

#[test]
fn es4_and_es5_labels_are_those_of_the_pod_and_of_its_place() {
    let endpoints = "[{addresses: [10.0.0.1], nodeName: n1, zone: elsewhere, targetRef: {kind: Pod, name: p1}}]";
    let published = with_slices(ONE_PORT, &[("IPv4", HTTP, endpoints)], POD);
    assert_eq!(&*published.endpoints(KEY)[0].locality, "eu/z1");
    let labels: Vec<_> = published.labels(KEY).into_iter().collect();
    let expected = [
        ("app", "a"),
        ("kubernetes.io/hostname", "n1"),
        ("topology.kubernetes.io/region", "eu"),
        ("topology.kubernetes.io/zone", "z1"),
        ("version", "v1"),
    ];
    assert_eq!(labels, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn es5_the_node_is_that_of_the_pod_where_the_slice_does_not_say_it() {
    let endpoints = "[{addresses: [10.0.0.1], targetRef: {kind: Pod, name: p1}}]";
    let published = with_slices(ONE_PORT, &[("IPv4", HTTP, endpoints)], POD);
    assert_eq!(&*published.endpoints(KEY)[0].locality, "eu/z1");
}

#[test]
fn es5_the_pods_own_label_says_more_than_its_node() {
    let endpoints = "[{addresses: [10.0.0.1], nodeName: n1, targetRef: {kind: Pod, name: p1}}]";
    let pod = POD.replace("app: a", "istio-locality: us.z9.s9");
    let published = with_slices(ONE_PORT, &[("IPv4", HTTP, endpoints)], &pod);
    assert_eq!(&*published.endpoints(KEY)[0].locality, "us/z9/s9");
}

#[test]
fn es4_a_subset_of_pods_that_are_not_known_is_said_to_be_empty() {
    let rule = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec:
  host: a
  subsets:
  - {name: all}
  - name: v1
    labels: {version: v1}
---
";
    let endpoints = "[{addresses: [10.0.0.1], targetRef: {kind: Pod, name: p1}}, {addresses: [10.0.0.2]}]";
    let slices = [("IPv4", HTTP, endpoints)];
    let published = with_slices(ONE_PORT, &slices, &format!("{rule}{POD}"));
    assert_eq!(
        published.warnings(),
        ["mesh.yaml:21:5: warning: DestinationRule default/a: spec.subsets[1].labels: 1 of the endpoints of \
         a.default.svc.cluster.local are in no subset: subsets are made by the labels of Pods, and no Pod of theirs is \
         there"]
    );
    let known = [("IPv4", HTTP, "[{addresses: [10.0.0.1], targetRef: {kind: Pod, name: p1}}]")];
    assert!(with_slices(ONE_PORT, &known, &format!("{rule}{POD}")).warnings().is_empty());
}

#[test]
fn an_endpoint_of_a_pod_that_is_not_there_is_left_out_where_others_are() {
    let of = |last: u8, pod: &str, more: &str| {
        format!("{{addresses: [10.0.0.{last}], targetRef: {{kind: Pod, name: {pod}}}{more}}}")
    };
    let leaving = ", conditions: {ready: false}";
    let endpoints = [of(1, "p1", ""), of(2, "gone", leaving), of(3, "p3", ""), of(4, "p4", "")].join(", ");
    let endpoints = format!("[{endpoints}, {{addresses: [10.0.0.5], targetRef: {{kind: VirtualMachine, name: p5}}}}]");
    let slices = [("IPv4", HTTP, endpoints.as_str())];
    let published = with_slices(ONE_PORT, &slices, POD);
    assert_eq!(published.addresses(KEY), list(&["10.0.0.1:8080", "10.0.0.5:8080"]));
    assert_eq!(
        published.warnings(),
        ["mesh.yaml:11:161: warning: EndpointSlice default/a-0: endpoints[2]: left out: it is of the Pod default/p3, \
         which is not among the Pods that there are, and so is 1 more endpoint of this slice"]
    );
    let failed = format!("{POD}apiVersion: v1\nkind: Pod\nmetadata: {{name: p3}}\nstatus: {{phase: Failed}}\n---\n");
    assert_eq!(with_slices(ONE_PORT, &slices, &failed).addresses(KEY), list(&["10.0.0.1:8080", "10.0.0.5:8080"]));
    let without = with_slices(ONE_PORT, &slices, "");
    let all = ["10.0.0.1:8080", "10.0.0.3:8080", "10.0.0.4:8080", "10.0.0.5:8080"];
    assert_eq!(without.addresses(KEY), list(&all));
    assert!(without.warnings().is_empty());
}

#[test]
fn an_endpoint_that_names_no_pod_has_the_labels_of_the_one_with_its_address() {
    let pod = |name: &str, namespace: &str, status: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{pod: {name}}}}}\n\
             status: {{podIP: 10.0.0.1, {status}}}\n---\n"
        )
    };
    let pods = [
        pod("elsewhere", "other", "phase: Running"),
        pod("ended", "default", "phase: Succeeded"),
        pod("starting", "default", "conditions: [{type: Ready, status: 'False'}]"),
        pod("p1", "default", "phase: Running, conditions: [{type: Ready, status: 'True'}]"),
    ];
    let slices = [("IPv4", HTTP, "[{addresses: [10.0.0.1]}]")];
    let published = with_slices(ONE_PORT, &slices, &pods.concat());
    assert_eq!(published.labels(KEY).get("pod").map(String::as_str), Some("p1"));
}
