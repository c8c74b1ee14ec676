//! Services of Kubernetes.

use http::Request;
use mesh_router::options::Workload;
use mesh_router::request::{Origin, RequestView};
use mesh_router::route::{Action, ClusterChoice, Resolution};

use super::{Published, list, publish, publish_for};

/// A Service with a port `http` and a slice of endpoints for it.
fn service(name: &str, spec: &str, addresses: &[&str]) -> String {
    let endpoints: Vec<_> = addresses.iter().map(|address| format!("{{addresses: [{address}]}}")).collect();
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{ports: [{{port: 80, name: http}}], {spec}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints: [{}]
---
",
        endpoints.join(", ")
    )
}

fn external(name: &str, target: &str) -> String {
    format!(
        "\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{type: ExternalName, externalName: {target}}}\n---\n"
    )
}

fn route_to(host: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: vs}}
spec:
  hosts: [vs.test]
  http: [{{route: [{{destination: {{host: {host}}}}}]}}]
---
"
    )
}

/// Where the rule for `vs.test` leads.
fn destination(published: &Published) -> ClusterChoice {
    let snapshot = published.mesh.snapshot();
    let request = Request::get("http://vs.test/").body(()).unwrap();
    let view = RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh);
    let Resolution::Route(index) = snapshot.resolve(&Origin::Mesh, &view) else { panic!("no route") };
    match &snapshot.route(&Origin::Mesh, &view, index).unwrap().action {
        Action::Forward(forward) => forward.clusters.pick(0).destination.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn k1_the_host_is_the_name_the_namespace_and_the_domain() {
    let published = publish(&service("a", "clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, 'fd00::1']", &["10.0.0.1"]));
    assert_eq!(published.addresses("outbound|80||a.default.svc.cluster.local"), list(&["10.0.0.1:8080"]));
    for authority in ["a", "a.default", "a.default.svc", "a.default.svc.cluster.local", "10.96.0.1", "[fd00::1]"] {
        assert_eq!(published.taken_by(authority).as_deref(), Some("Service default/a"), "{authority}");
    }
    assert_eq!(published.taken_by("pod.a.default.svc"), None, "only pods of a headless service have names");
}

#[test]
fn k2_a_headless_service_is_known_by_the_names_of_its_pods_and_balances_over_them() {
    let published = publish(&service("a", "clusterIP: None", &["10.0.0.1", "10.0.0.2"]));
    let expected = list(&["10.0.0.1:8080", "10.0.0.2:8080"]);
    assert_eq!(published.addresses("outbound|80||a.default.svc.cluster.local"), expected);
    assert_eq!(published.taken_by("a-0.a.default.svc").as_deref(), Some("Service default/a"));
}

#[test]
fn k2_an_external_name_is_another_name_of_its_target() {
    let text = service("a", "clusterIP: 10.96.0.1", &["10.0.0.1"])
        + &external("b", "a.default.svc.cluster.local")
        + &external("c", "b.default.svc.cluster.local.")
        + &route_to("c");
    let published = publish(&text);
    for authority in ["b", "b.default", "c.default.svc", "c.default.svc.cluster.local"] {
        assert_eq!(published.taken_by(authority).as_deref(), Some("Service default/a"), "{authority}");
    }
    assert_eq!(published.addresses("outbound|80||a.default.svc.cluster.local"), list(&["10.0.0.1:8080"]));
    assert_eq!(published.addresses("outbound|80||c.default.svc.cluster.local"), None, "the target has the cluster");
    assert!(published.warnings().is_empty(), "{:#?}", published.warnings());
}

#[test]
fn k2_a_destination_without_a_port_has_the_only_one_of_the_external_name() {
    let target = service("a", "clusterIP: 10.96.0.1", &["10.0.0.1"]);
    for (ports, of_other_port, of_port) in [
        ("[]", false, true),
        ("[{port: 80}]", true, true),
        ("[{port: 80}, {port: 81}]", false, true),
        ("[{port: 8080}]", false, false),
    ] {
        let external =
            external("b", "a.default.svc.cluster.local").replace("spec: {", &format!("spec: {{ports: {ports}, "));
        let published = publish(&(target.clone() + &external + &route_to("b")));
        let destination = destination(&published);
        let found = [8443, 80].map(|port| destination.for_port(port).is_some());
        assert_eq!(found, [of_other_port, of_port], "{ports}");
    }
}

#[test]
fn k2_the_target_may_be_a_service_entry_with_a_rule_of_its_own() {
    let text = external("b", "API.example.com")
        + &route_to("b")
        + "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec: {hosts: [api.example.com], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}],
  endpoints: [{address: 10.0.0.9}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: api}
spec: {host: api.example.com, trafficPolicy: {connectionPool: {tcp: {connectTimeout: 3s}}}}
";
    let published = publish(&text);
    assert_eq!(published.taken_by("b").as_deref(), Some("ServiceEntry default/api"));
    let cluster = published.cluster("outbound|80||api.example.com").unwrap();
    assert_eq!(cluster.settings().connection.connect_timeout.as_secs(), 3);
}

#[test]
fn k2_an_external_name_of_nothing_known_passes_through_and_is_named_where_a_rule_leads_there() {
    let published = publish(&(external("b", "nobody.example.com") + &route_to("b")));
    assert_eq!(published.taken_by("b"), None);
    assert_eq!(
        published.warnings(),
        ["mesh.yaml:13:34: error: VirtualService default/vs: spec.http[0].route[0].destination.host: \
         b.default.svc.cluster.local is another name of nobody.example.com, which no Service or ServiceEntry has: \
         requests get 503"]
    );
}

#[test]
fn k2_external_names_that_lead_in_a_circle_are_none() {
    let text = external("b", "c.default.svc.cluster.local") + &external("c", "b.default.svc.cluster.local");
    assert_eq!(publish(&text).taken_by("b"), None);
}

#[test]
fn k4_a_local_service_has_the_endpoints_of_the_clients_node() {
    let text = "
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {internalTrafficPolicy: Local, ports: [{port: 80, name: http}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a-1, labels: {kubernetes.io/service-name: a}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.1], nodeName: n1}, {addresses: [10.0.0.2], nodeName: n2}, {addresses: [10.0.0.3]}]
";
    let key = "outbound|80||a.default.svc.cluster.local";
    let at = |node: &str| Workload { node: node.to_owned(), ..Workload::default() };
    assert_eq!(publish_for(at("n2"), text).addresses(key), list(&["10.0.0.2:8080"]));
    assert_eq!(publish_for(at("n9"), text).addresses(key), list(&[]));
    let unknown = publish(text);
    assert_eq!(unknown.addresses(key).unwrap().len(), 3);
    assert_eq!(
        unknown.warnings(),
        ["mesh.yaml:5:8: warning: Service default/a: spec.internalTrafficPolicy: not yet honored: the node of this \
         process is not known: the endpoints of every node are used"]
    );
    assert!(publish_for(at("n1"), text).warnings().is_empty());
}

#[test]
fn k7_the_annotation_says_who_sees_a_service() {
    let text = "
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop, annotations: {networking.istio.io/exportTo: 'one, two'}}
spec: {ports: [{port: 80, name: http}]}
";
    for (client, seen) in [("one", true), ("two", true), ("shop", false), ("other", false)] {
        let workload = Workload { namespace: client.to_owned(), ..Workload::default() };
        assert_eq!(publish_for(workload, text).taken_by("a.shop").is_some(), seen, "{client}");
    }
}

#[test]
fn workloads_that_a_service_selects_are_endpoints_at_its_target_port() {
    let workload = |name: &str, spec: &str| {
        format!(
            "\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n"
        )
    };
    let workloads = workload("w1", "{address: 10.0.0.1, labels: {app: a}}")
        + &workload("w2", "{address: 10.0.0.2, labels: {app: a}, ports: {web: 9080, http: 9081}}")
        + &workload("w3", "{address: 10.0.0.3, labels: {app: b}}");
    let service = |target: &str| {
        format!(
            "\napiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {{selector: {{app: a}}, ports: [{{port: 80, name: http{target}}}]}}\n---\n"
        )
    };
    for (target, expected) in [
        ("", list(&["10.0.0.1:80", "10.0.0.2:9081"])),
        (", targetPort: 8080", list(&["10.0.0.1:8080", "10.0.0.2:9081"])),
        (", targetPort: web", list(&["10.0.0.2:9080"])),
    ] {
        let published = publish(&(service(target) + &workloads));
        assert_eq!(published.addresses("outbound|80||a.default.svc.cluster.local"), expected, "{target}");
    }
    let socket = workload("w4", "{address: 'unix:///run/a', labels: {app: a}}");
    let published = publish(&(service("") + &workloads + &socket));
    let key = "outbound|80||a.default.svc.cluster.local";
    assert_eq!(published.addresses(key).unwrap().len(), 2, "a Service has no sockets");
    let headless = service("").replace("selector", "clusterIP: None, selector");
    assert_eq!(publish(&(headless + &workloads)).addresses(key), list(&[]), "where it has no address, pods alone");
}

#[test]
fn t18_beside_a_port_of_udp_one_of_tcp_is_not_the_only_one() {
    for (more, found) in [("", true), (", {port: 53, name: dns, protocol: UDP}", false)] {
        let service = format!(
            "\napiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {{ports: [{{port: 8080, name: http}}{more}]}}\n---\n"
        );
        let destination = destination(&publish(&(service + &route_to("a.default.svc.cluster.local"))));
        assert_eq!(destination.for_port(80).is_some(), found, "{more}");
        assert!(destination.for_port(8080).is_some(), "{more}");
    }
}
