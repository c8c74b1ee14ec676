//! Meshes of YAML, most of them of the one host `shop.test`. Their dice fall the same in every run.
#![allow(dead_code, reason = "each test uses its part")]

use std::net::SocketAddr;
use std::sync::Arc;

use mesh_router::Mesh;
use mesh_router::config::Config;
use mesh_router::dice::Dice;
use mesh_router::request::{ListenerOrigin, Origin};
use tokio::runtime::Handle;

/// A mesh whose host `shop.test` is so many servers: 10.0.0.1 and those that follow, at port 80. Its only rule has
/// these fields besides its route, its destination these in its policy.
pub(crate) fn mesh(servers: u8, rule: &str, policy: &str) -> Mesh {
    let servers: Vec<SocketAddr> = (1..=servers).map(|last| ([10, 0, 0, last], 80).into()).collect();
    mesh_of("HTTP", &servers, rule, policy)
}

/// The same with servers that are there.
pub(crate) fn mesh_of(protocol: &str, servers: &[SocketAddr], rule: &str, policy: &str) -> Mesh {
    published(&of(protocol, servers, rule, policy))
}

/// What is published of it.
pub(crate) fn of(protocol: &str, servers: &[SocketAddr], rule: &str, policy: &str) -> String {
    let endpoint = |server: &SocketAddr| format!("{{address: {}, ports: {{web: {}}}}}", server.ip(), server.port());
    let endpoints = servers.iter().map(endpoint).collect::<Vec<_>>().join(", ");
    format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: shop}}
spec:
  hosts: [shop.test]
  resolution: STATIC
  ports: [{{number: 80, name: web, protocol: {protocol}}}]
  endpoints: [{endpoints}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop}}
spec:
  hosts: [shop.test]
  http:
  - route: [{{destination: {{host: shop.test}}}}]
{}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: shop}}
spec:
  host: shop.test
  trafficPolicy:
{}
",
        indented(4, rule),
        indented(4, policy)
    )
}

/// The same host as one server, for clients and behind a gateway, whose [`listener`] it is. Its only rule has these fields
/// besides its route.
pub(crate) fn at_gateway(rule: &str) -> Mesh {
    published(&format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: shop}}
spec:
  hosts: [shop.test]
  resolution: STATIC
  ports: [{{number: 80, name: web, protocol: HTTP}}]
  endpoints: [{{address: 10.0.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: gw}}
spec:
  servers: [{{port: {{number: 8080, name: http, protocol: HTTP}}, hosts: ['*']}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop}}
spec:
  hosts: [shop.test]
  gateways: [gw, mesh]
  http:
  - route: [{{destination: {{host: shop.test}}}}]
{}
",
        indented(4, rule)
    ))
}

/// What comes in by a gateway's port 8080.
pub(crate) fn listener() -> Origin {
    Origin::Listener(Arc::new(ListenerOrigin::new("http.8080", 8080)))
}

/// Lines as they stand so many columns to the right.
pub(crate) fn indented(columns: usize, lines: &str) -> String {
    lines.lines().map(|line| format!("{:columns$}{line}\n", "")).collect()
}

/// A mesh of its own for this YAML.
pub(crate) fn published(yaml: &str) -> Mesh {
    let mesh = Mesh::builder().dice(Dice::seeded(8)).build();
    publish(&mesh, yaml);
    mesh
}

/// Publishes YAML that has no error.
pub(crate) fn publish(mesh: &Mesh, yaml: &str) {
    let report = mesh.apply(Config::from_yaml(yaml, "shop.yaml").unwrap()).unwrap();
    assert_eq!(report.errors().count(), 0, "{report}");
}

/// No request, copy or task of the mesh is under way.
pub(crate) fn nothing_is_left(mesh: &Mesh) {
    for cluster in mesh.snapshot().clusters() {
        assert!(cluster.view().iter().all(|endpoint| endpoint.active == 0), "{:?}", cluster.view());
        let in_use = cluster.limits().in_use();
        assert_eq!((in_use.requests, in_use.retries, in_use.pending), (0, 0, 0));
    }
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
}
