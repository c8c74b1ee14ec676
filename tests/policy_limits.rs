//! Which outlier detection, limits and budget a cluster has: by level, port and subset.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::num::NonZeroU32;
use std::sync::Arc;

use mesh_router::Mesh;
use mesh_router::config::Config;
use mesh_router::upstream::{Cluster, ClusterSettings};

const SERVICE: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: app}
spec:
  hosts: [app.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: other, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: app}
spec:
  hosts: [app.test]
  http:
  - match: [{uri: {prefix: /80}}]
    route: [{destination: {host: app.test, subset: v1, port: {number: 80}}}]
  - match: [{uri: {prefix: /81}}]
    route: [{destination: {host: app.test, subset: v1, port: {number: 81}}}]
  - match: [{uri: {prefix: /whole/80}}]
    route: [{destination: {host: app.test, port: {number: 80}}}]
  - route: [{destination: {host: app.test, port: {number: 81}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: app}
spec:
  host: app.test
";

/// Every block, told apart by the number in it.
fn blocks(number: u32, indent: &str) -> String {
    let lines = [
        format!("outlierDetection: {{consecutive5xxErrors: {number}}}"),
        format!("connectionPool: {{tcp: {{maxConnections: {number}}}}}"),
        format!("retryBudget: {{minRetryConcurrency: {number}}}"),
    ];
    lines.map(|line| format!("{indent}{line}\n")).concat()
}

fn cluster(mesh: &Mesh, port: u16, subset: &str) -> Arc<Cluster> {
    let snapshot = mesh.snapshot();
    let found = snapshot.clusters().find(|cluster| cluster.key.port == port && *cluster.key.subset == *subset);
    found.expect("a rule leads there").clone()
}

fn mesh(rule: &str) -> Mesh {
    let mesh = Mesh::new();
    let report = mesh.apply(Config::from_yaml(&format!("{SERVICE}{rule}"), "app.yaml").unwrap()).unwrap();
    assert_eq!(report.errors().count(), 0, "{report}");
    mesh
}

/// The numbers of the blocks that a cluster has: outlier detection, pool, budget; 0 where it has none.
fn numbers(mesh: &Mesh, port: u16, subset: &str) -> [u32; 3] {
    let cluster = cluster(mesh, port, subset);
    let ClusterSettings { outlier, limits, .. } = cluster.settings();
    let number = |limit: Option<NonZeroU32>| limit.map_or(0, NonZeroU32::get);
    let budget = limits.retry_budget.map_or(0, |budget| budget.at_least);
    [outlier.as_ref().map_or(0, |outlier| number(outlier.errors)), number(limits.connections), budget]
}

#[test]
fn a_port_inherits_nothing() {
    let rule = format!(
        "  trafficPolicy:\n{}    portLevelSettings:\n    - port: {{number: 81}}\n      loadBalancer: {{simple: RANDOM}}\n",
        blocks(7, "    ")
    );
    let mesh = mesh(&format!("{rule}  subsets: [{{name: v1, labels: {{version: v1}}}}]\n"));
    for subset in ["", "v1"] {
        assert_eq!(numbers(&mesh, 80, subset), [7, 7, 7], "{subset:?}");
        assert_eq!(numbers(&mesh, 81, subset), [0, 0, 0], "{subset:?}");
    }
}

#[test]
fn a_subset_replaces_whole_blocks() {
    let rule = format!("  trafficPolicy:\n{}", blocks(7, "    "));
    let subset = "  subsets:
  - name: v1
    labels: {version: v1}
    trafficPolicy:
      connectionPool: {http: {http2MaxRequests: 3}}
      outlierDetection: {interval: 1s}
";
    let mesh = mesh(&format!("{rule}{subset}"));
    assert_eq!(numbers(&mesh, 80, ""), [7, 7, 7]);
    assert_eq!(numbers(&mesh, 80, "v1"), [5, 0, 7], "errors as by default, connections without limit");
    assert_eq!(cluster(&mesh, 80, "v1").limits().settings().requests, NonZeroU32::new(3));
}

#[test]
fn a_port_of_a_subset_replaces_all_but_the_budget_of_the_host() {
    let rule = format!("  trafficPolicy:\n{}", blocks(7, "    "));
    let subset = format!(
        "  subsets:
  - name: v1
    labels: {{version: v1}}
    trafficPolicy:
{}      portLevelSettings:
      - port: {{number: 81}}
        connectionPool: {{tcp: {{maxConnections: 4}}}}
",
        blocks(9, "      ")
    );
    let mesh = mesh(&format!("{rule}{subset}"));
    assert_eq!(numbers(&mesh, 80, "v1"), [9, 9, 9]);
    assert_eq!(numbers(&mesh, 81, "v1"), [0, 4, 7], "what else the subset says is not for this port");
    assert_eq!(numbers(&mesh, 81, ""), [7, 7, 7]);
}
