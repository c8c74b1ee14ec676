//! Endpoints that the program gives in place of those that are discovered.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_router::Mesh;
use mesh_router::config::Config;
use mesh_router::dice::Dice;
use mesh_router::upstream::{Choice, EndpointConfig, EndpointId};

const RULES: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: listed}
spec:
  hosts: [listed.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: other, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: listed}
spec:
  host: listed.test
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: listed}
spec:
  hosts: [listed.test]
  http:
  - match: [{uri: {prefix: /v1}}]
    route: [{destination: {host: listed.test, subset: v1, port: {number: 80}}}]
  - route: [{destination: {host: listed.test, subset: v2, port: {number: 80}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: named}
spec:
  hosts: [named.test]
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: dialed}
spec:
  hosts: [dialed.test]
  resolution: NONE
  ports: [{number: 80, name: http, protocol: HTTP}]
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec: {ports: [{name: http, port: 80}]}
";

fn config() -> Config {
    Config::from_yaml(RULES, "rules.yaml").unwrap()
}

fn mesh() -> Mesh {
    let mesh = Mesh::builder().dice(Dice::seeded(1)).build();
    assert_eq!(mesh.apply(config()).unwrap().errors().next(), None);
    mesh
}

fn host(last: u8) -> EndpointConfig {
    EndpointConfig::new(([10, 9, 9, last], 9080))
}

fn version(last: u8, version: &str) -> EndpointConfig {
    host(last).with_labels(BTreeMap::from([("version".to_owned(), version.to_owned())]))
}

/// The addresses of each cluster of a host, by `port|subset`.
fn addresses(mesh: &Mesh, host: &str) -> BTreeMap<String, Vec<String>> {
    let snapshot = mesh.snapshot();
    let clusters = snapshot.clusters().filter(|cluster| *cluster.key.host == *host);
    let of = |cluster: &Arc<mesh_router::upstream::Cluster>| {
        let addresses = cluster.view().into_iter().map(|view| view.address.to_string()).collect();
        (format!("{}|{}", cluster.key.port, cluster.key.subset), addresses)
    };
    clusters.map(of).collect()
}

fn id(mesh: &Mesh, address: &str) -> EndpointId {
    mesh.endpoints().into_iter().find(|view| view.address.to_string() == address).expect(address).id
}

#[test]
fn given_endpoints_take_the_place_of_those_of_their_port() {
    let mesh = mesh();
    let before = addresses(&mesh, "listed.test");
    assert_eq!(before["80|v1"], ["10.0.0.1:80"]);
    assert!(mesh.set_endpoints("listed.test", 80, vec![version(1, "v1"), version(2, "v2"), version(3, "v2")]));
    let given = addresses(&mesh, "listed.test");
    assert_eq!(given["80|v1"], ["10.9.9.1:9080"]);
    assert_eq!(given["80|v2"], ["10.9.9.2:9080", "10.9.9.3:9080"]);
    for (cluster, addresses) in given.iter().filter(|(cluster, _)| cluster.starts_with("81")) {
        assert_eq!(*addresses, before[cluster]);
    }
    assert!(mesh.unset_endpoints("listed.test", 80));
    assert_eq!(addresses(&mesh, "listed.test"), before);
}

#[test]
fn they_outlive_reloads_and_keep_who_they_are() {
    let mesh = mesh();
    mesh.set_endpoints("listed.test", 80, vec![version(1, "v1"), version(2, "v2")]);
    let (before, known) = (mesh.snapshot().version(), id(&mesh, "10.9.9.1:9080"));
    assert_eq!(mesh.apply(config()).unwrap().errors().next(), None);
    assert_eq!(addresses(&mesh, "listed.test")["80|v1"], ["10.9.9.1:9080"]);
    // Later changes need no snapshot, and those that are out have them.
    let (out, version_now) = (mesh.snapshot(), mesh.snapshot().version());
    assert_eq!(version_now, before + 1);
    mesh.set_endpoints("listed.test", 80, vec![version(1, "v1").with_weight(7), version(3, "v1")]);
    assert!(Arc::ptr_eq(&out, &mesh.snapshot()));
    assert_eq!(addresses(&mesh, "listed.test")["80|v1"], ["10.9.9.1:9080", "10.9.9.3:9080"]);
    assert_eq!(id(&mesh, "10.9.9.1:9080"), known);
    // A service that is gone for a while finds them again.
    assert_eq!(mesh.apply(Config::default()).unwrap().errors().next(), None);
    assert!(mesh.endpoints().is_empty());
    assert!(!mesh.set_endpoints("listed.test", 80, vec![version(4, "v1")]));
    assert_eq!(mesh.apply(config()).unwrap().errors().next(), None);
    assert_eq!(addresses(&mesh, "listed.test")["80|v1"], ["10.9.9.4:9080"]);
}

#[test]
fn every_kind_of_service_takes_them() {
    let mesh = Mesh::builder().dice(Dice::seeded(1)).build();
    assert!(!mesh.set_endpoints("named.test", 80, vec![host(1)]), "there is no cluster yet");
    assert_eq!(mesh.apply(config()).unwrap().errors().next(), None);
    for name in ["named.test", "dialed.test", "Reviews", "reviews.default.svc.cluster.local"] {
        assert!(mesh.set_endpoints(name, 80, vec![host(2)]), "{name}");
        let full = if name == "Reviews" { "reviews.default.svc.cluster.local" } else { name };
        assert_eq!(addresses(&mesh, full)["80|"], ["10.9.9.2:9080"], "{name}");
        let snapshot = mesh.snapshot();
        let cluster = snapshot.clusters().find(|cluster| *cluster.key.host == *full).unwrap();
        let picked = cluster.pick(&mut Dice::seeded(1).draws(), &Choice::default());
        assert_eq!(picked.expect(name).endpoint().authority, "10.9.9.2:9080");
    }
    // Answers to a name do not come between.
    mesh.publish_addresses("named.test", Some(vec![[10, 1, 1, 1].into()]));
    assert_eq!(addresses(&mesh, "named.test")["80|"], ["10.9.9.2:9080"]);
    assert!(!mesh.set_endpoints("nobody.test", 80, vec![host(1)]));
    assert!(!mesh.set_endpoints("listed.test", 99, vec![host(1)]));
    assert!(!mesh.unset_endpoints("nobody.test", 80));
}

#[test]
fn a_handle_changes_them_one_by_one() {
    let mesh = mesh();
    let reviews = mesh.endpoints_handle("reviews", 80);
    let found = || addresses(&mesh, "reviews.default.svc.cluster.local")["80|"].clone();
    assert!(found().is_empty());
    assert!(reviews.insert(host(1)) && reviews.insert(host(2)));
    assert_eq!(found(), ["10.9.9.1:9080", "10.9.9.2:9080"]);
    reviews.clone().insert(host(1).with_weight(5));
    let weights: Vec<u32> = mesh.endpoints().iter().map(|view| view.weight).filter(|weight| *weight > 1).collect();
    assert_eq!((found().len(), weights), (2, vec![5]));
    reviews.remove(&host(1).address);
    reviews.remove(&host(9).address);
    assert_eq!(found(), ["10.9.9.2:9080"]);
    reviews.replace(vec![host(3)]);
    drop(reviews);
    assert_eq!(found(), ["10.9.9.3:9080"]);
}
