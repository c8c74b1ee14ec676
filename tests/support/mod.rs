//! A small mesh for the tests of the service.
#![allow(dead_code, reason = "each test uses its part")]

use mesh_router::Mesh;
use mesh_router::config::{
    Config, Destination, EndpointPort, EndpointSlice, FaultDelay, HeaderOperations, Headers, HttpFaultInjection,
    HttpMatchRequest, HttpRetry, HttpRoute, HttpRouteDestination, Resource, Service, ServicePort, SliceEndpoint,
    StringMatch, TargetPort, VirtualService,
};
use mesh_router::dice::Dice;
use mesh_router::options::{MeshOptions, OutboundTrafficPolicy};
use mesh_router::upstream::EndpointView;

/// Unknown hosts pass through; the others are those of [`services`].
pub(crate) fn mesh() -> Mesh {
    meshed(OutboundTrafficPolicy::AllowAny)
}

/// The same, where unknown hosts are refused.
pub(crate) fn registry_only() -> Mesh {
    meshed(OutboundTrafficPolicy::RegistryOnly)
}

fn meshed(outbound_traffic_policy: OutboundTrafficPolicy) -> Mesh {
    let options = MeshOptions { outbound_traffic_policy, ..MeshOptions::default() };
    let mesh = Mesh::builder().options(options).dice(Dice::seeded(1)).build();
    assert_eq!(mesh.apply(services("10.0.1.1")).unwrap().errors().next(), None);
    mesh
}

/// Publishes the same with another endpoint of `reviews`.
pub(crate) fn move_reviews(mesh: &Mesh, address: &str) {
    assert_eq!(mesh.apply(services(address)).unwrap().errors().next(), None);
}

/// The endpoints of the cluster of `reviews`, with their counts.
pub(crate) fn reviews(mesh: &Mesh) -> Vec<EndpointView> {
    let snapshot = mesh.snapshot();
    let cluster = snapshot.clusters().find(|cluster| cluster.key.host.starts_with("reviews."));
    cluster.expect("the services have reviews").view()
}

/// Hosts `plain` (ten endpoints, one rule that only routes), `reviews` (one endpoint), `empty` (none), `missing` (no
/// cluster), `once` (one endpoint, no retries), `held` (the same after a delay of 1 s), `closed` (no rule) and
/// `bookinfo` (ten endpoints, a rich rule). The rules of all but `plain` and `bookinfo` set the response header
/// `x-rule` to the name of their host, and the request header `x-seen`.
fn services(reviews: &str) -> Config {
    let mut config = Config::default();
    let ten: Vec<String> = (1..=10).map(|number| format!("10.0.0.{number}")).collect();
    for (name, addresses) in [("plain", &*ten), ("reviews", &[reviews.to_owned()]), ("empty", &[]), ("missing", &[])] {
        add_service(&mut config, name, addresses);
        add_rules(&mut config, name, rule(name));
    }
    add_service(&mut config, "once", &["10.0.2.1".to_owned()]);
    add_rules(&mut config, "once", HttpRoute { retries: Some(HttpRetry::default()), ..rule("once") });
    add_service(&mut config, "held", &["10.0.3.1".to_owned()]);
    let fixed_delay = Some(std::time::Duration::from_secs(1).into());
    let delay = Some(FaultDelay { fixed_delay, percent: 100, ..FaultDelay::default() });
    let fault = Some(HttpFaultInjection { delay, ..HttpFaultInjection::default() });
    add_rules(&mut config, "held", HttpRoute { retries: Some(HttpRetry::default()), fault, ..rule("held") });
    add_service(&mut config, "closed", &[]);
    let exact = Some(StringMatch { exact: Some("/never".to_owned()), ..StringMatch::default() });
    let never = HttpMatchRequest { uri: exact, ..HttpMatchRequest::default() };
    add_rules(&mut config, "closed", HttpRoute { matches: vec![never], ..rule("closed") });
    add_service(&mut config, "bookinfo", &ten);
    let bookinfo = Config::from_yaml(BOOKINFO, "bookinfo.yaml").expect("it is YAML");
    config.virtual_services.extend(bookinfo.virtual_services);
    config.destination_rules.extend(bookinfo.destination_rules);
    config
}

/// A rule as bookinfo's: a header that leads elsewhere, then weights, a rewrite, a header, a timeout and the default
/// retries.
const BOOKINFO: &str = r#"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bookinfo, namespace: default}
spec:
  hosts: [bookinfo]
  http:
  - match: [{headers: {end-user: {exact: nobody}}}]
    route: [{destination: {host: bookinfo, subset: v3}}]
  - match: [{uri: {prefix: /api/v1/}}]
    rewrite: {uri: /}
    headers: {request: {set: {x-canary: "yes"}}}
    timeout: 1s
    route:
    - {destination: {host: bookinfo, subset: v1}, weight: 75}
    - {destination: {host: bookinfo, subset: v2}, weight: 25}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: bookinfo, namespace: default}
spec:
  host: bookinfo
  subsets: [{name: v1}, {name: v2}, {name: v3}]
"#;

fn add_service(config: &mut Config, name: &str, addresses: &[String]) {
    let port = ServicePort {
        name: "http".to_owned(),
        port: 80,
        target_port: Some(TargetPort::Number(9080)),
        ..ServicePort::default()
    };
    config.services.push(Resource::new(name, Some("default"), Service { ports: vec![port], ..Service::default() }));
    let port = EndpointPort { name: "http".to_owned(), port: Some(9080), ..EndpointPort::default() };
    let endpoint = |address: &String| SliceEndpoint { addresses: vec![address.clone()], ..SliceEndpoint::default() };
    let spec = EndpointSlice {
        address_type: "IPv4".to_owned(),
        endpoints: addresses.iter().map(endpoint).collect(),
        ports: vec![port],
    };
    let mut slice = Resource::new(format!("{name}-1"), Some("default"), spec);
    slice.meta.labels.insert("kubernetes.io/service-name".to_owned(), name.to_owned());
    config.endpoint_slices.push(slice);
}

fn add_rules(config: &mut Config, name: &str, rule: HttpRoute) {
    let spec = VirtualService { hosts: vec![name.to_owned()], http: vec![rule], ..VirtualService::default() };
    config.virtual_services.push(Resource::new(name, Some("default"), spec));
}

fn rule(name: &str) -> HttpRoute {
    let subset = if name == "missing" { "none".to_owned() } else { String::new() };
    let destination = Destination { host: name.to_owned(), subset, ..Destination::default() };
    let set = |header: &str, value: &str| {
        let set = [(header.to_owned(), value.to_owned())].into();
        Some(HeaderOperations { set, ..HeaderOperations::default() })
    };
    HttpRoute {
        name: name.to_owned(),
        route: vec![HttpRouteDestination { destination: Some(destination), ..HttpRouteDestination::default() }],
        headers: (name != "plain").then(|| Headers { request: set("x-seen", "yes"), response: set("x-rule", name) }),
        ..HttpRoute::default()
    }
}
