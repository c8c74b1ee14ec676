//! A request that asks for a subset itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/shop.rs"]
mod shop;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use mesh_router::Mesh;
use mesh_router::service::{MeshRouter, RequestBody, RequestPolicy, ResponseBody, ResponseFlags, RouteInfo};
use tower::{Layer, ServiceExt, service_fn};

type Body = Full<Bytes>;

/// `shop.test` has subsets v1, v2 and v3 at two ports, `cart.test` has v1 only.
const HOSTS: &str = r"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop}
spec:
  hosts: [shop.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: http-more, protocol: HTTP}]
  endpoints:
  - {address: 10.0.0.1, labels: {version: v1}}
  - {address: 10.0.0.2, labels: {version: v2}}
  - {address: 10.0.0.3, labels: {version: v3}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop.test
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
  - name: v3
    labels: {version: v3}
    trafficPolicy: {connectionPool: {http: {http2MaxRequests: 7}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: cart}
spec:
  hosts: [cart.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.1.1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart}
spec:
  host: cart.test
  subsets: [{name: v1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.test]
  http:
";

fn mesh(rules: &str) -> Mesh {
    shop::published(&yaml(rules))
}

fn yaml(rules: &str) -> String {
    format!("{HOSTS}{}", shop::indented(2, rules))
}

async fn ask(mesh: &Mesh, uri: &str, policy: RequestPolicy) -> Response<ResponseBody<Body>> {
    let inner =
        service_fn(async |_: Request<RequestBody<Body>>| Ok::<_, Infallible>(Response::new(Body::from("answer"))));
    let request = Request::get(uri).extension(policy).body(Body::default()).unwrap();
    MeshRouter::new(mesh).layer(inner).oneshot(request).await.unwrap()
}

fn info(answer: &Response<ResponseBody<Body>>) -> &RouteInfo {
    answer.extensions().get().unwrap()
}

/// The status, the cluster and the endpoint.
async fn went(mesh: &Mesh, uri: &str, policy: RequestPolicy) -> (u16, String, String) {
    let answer = ask(mesh, uri, policy).await;
    let info = info(&answer);
    let cluster = info.cluster().map(ToString::to_string).unwrap_or_default();
    let endpoint = info.endpoint().map(|endpoint| endpoint.address.to_string()).unwrap_or_default();
    (answer.status().as_u16(), cluster, endpoint)
}

fn to(cluster: &str, endpoint: &str) -> (u16, String, String) {
    (200, cluster.to_owned(), endpoint.to_owned())
}

const TO_V1: &str = "- route: [{destination: {host: shop.test, subset: v1}}]";
const TO_ALL: &str = "- route: [{destination: {host: shop.test}}]";

#[tokio::test]
async fn a_request_goes_to_the_subset_that_it_asks_for() {
    for rule in [TO_V1, TO_ALL] {
        let mesh = mesh(rule);
        for (name, endpoint) in [("v1", "10.0.0.1"), ("v2", "10.0.0.2"), ("v3", "10.0.0.3")] {
            for port in [80, 81] {
                let expected = to(&format!("outbound|{port}|{name}|shop.test"), &format!("{endpoint}:{port}"));
                let uri = format!("http://shop.test:{port}/");
                assert_eq!(went(&mesh, &uri, RequestPolicy::new().subset(name)).await, expected, "{rule}");
            }
        }
    }
    let nothing = RequestPolicy::new().subset("v2").subset("");
    assert_eq!(went(&mesh(TO_V1), "http://shop.test/", nothing).await, to("outbound|80|v1|shop.test", "10.0.0.1:80"));
}

#[tokio::test]
async fn a_subset_that_is_not_known_is_no_cluster() {
    for (rule, name) in [
        (TO_V1, "v4"),
        (TO_ALL, "V1"),
        ("- route: [{destination: {host: cart.test}}]", "v2"),
        ("- route: [{destination: {host: shop.test, subset: v9}}]", "v1"),
    ] {
        let answer = ask(&mesh(rule), "http://shop.test/", RequestPolicy::new().subset(name)).await;
        let info = info(&answer);
        assert_eq!((answer.status().as_u16(), info.details(), info.attempts()), (503, "cluster_not_found", 0));
        assert_eq!(info.flags(), ResponseFlags::NO_CLUSTER_FOUND, "{rule}");
    }
}

/// Which destination it is, is drawn as ever; the subset is one of its own.
#[tokio::test]
async fn it_is_a_subset_of_the_destination_that_was_drawn() {
    let rule = "- route:\n  - {destination: {host: shop.test, subset: v1}, weight: 50}\n  \
                - {destination: {host: cart.test}, weight: 50}";
    let (mesh, mut counts) = (mesh(rule), BTreeMap::new());
    for _ in 0..200 {
        let (status, _, endpoint) = went(&mesh, "http://shop.test/", RequestPolicy::new().subset("v2")).await;
        *counts.entry((status, endpoint)).or_insert(0) += 1;
    }
    let reached: Vec<_> = counts.keys().map(|(status, endpoint)| (*status, endpoint.as_str())).collect();
    assert_eq!(reached, [(200, "10.0.0.2:80"), (503, "")]);
    assert!(counts.values().all(|count| (60..140).contains(count)), "{counts:?}");
}

#[tokio::test]
async fn the_cluster_is_as_its_destination_rule_says_and_lives_on() {
    let mesh = mesh(TO_V1);
    let find = |mesh: &Mesh| {
        let snapshot = mesh.snapshot();
        snapshot.clusters().find(|cluster| cluster.key.to_string() == "outbound|80|v3|shop.test").unwrap().clone()
    };
    let before = find(&mesh);
    assert_eq!(before.settings().limits.requests.map(|most| most.get()), Some(7));
    let answer = ask(&mesh, "http://shop.test/", RequestPolicy::new().subset("v3")).await;
    assert_eq!(before.view()[0].active, 1);
    shop::publish(&mesh, &yaml(TO_ALL));
    assert_eq!(find(&mesh).view()[0].active, 1);
    drop(answer);
    assert_eq!(find(&mesh).view()[0].active, 0);
}

#[test]
fn there_is_one_cluster_for_each_however_many_rules_there_are() {
    let rules: String = (0..2000)
        .map(|number| {
            let subset = number % 2 + 1;
            format!(
                "- match: [{{uri: {{exact: /{number}}}}}]\n  route: [{{destination: {{host: shop.test, subset: \
                 v{subset}, port: {{number: 80}}}}}}]\n"
            )
        })
        .collect();
    let snapshot = mesh(&rules).snapshot();
    let keys: Vec<_> = snapshot.clusters().map(|cluster| cluster.key.to_string()).collect();
    let distinct: BTreeSet<_> = keys.iter().cloned().collect();
    assert_eq!(keys.len(), distinct.len());
    for name in ["v1", "v2", "v3"] {
        assert!(distinct.contains(&format!("outbound|80|{name}|shop.test")), "{distinct:?}");
    }
    // Nothing reaches the other port.
    assert!(distinct.iter().all(|key| !key.contains("|81|v")), "{distinct:?}");
}
