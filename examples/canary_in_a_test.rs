//! A canary's rules judged in a unit test: no cluster, no sidecar, no socket, and the same result every time.
//!
//! ```text
//! cargo run --example canary_in_a_test
//! ```

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use mesh_router::config::Config;
use mesh_router::dice::Dice;
use mesh_router::service::{RequestBody, RouteInfo};
use mesh_router::{BoxError, Mesh, MeshRouter};
use tower::{Layer, ServiceExt, service_fn};

type Body = Full<Bytes>;

/// What the team is about to apply to its cluster; mostly a file of its repository.
const RULES: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: checkout}
spec:
  hosts: [checkout.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1, labels: {version: v1}}, {address: 10.0.0.2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: checkout}
spec:
  host: checkout.test
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: checkout}
spec:
  hosts: [checkout.test]
  http:
  - name: testers
    match: [{headers: {x-tester: {exact: 'yes'}}}]
    route: [{destination: {host: checkout.test, subset: v2}}]
  - name: canary
    retries: {attempts: 1, retryOn: 5xx}
    route:
    - {destination: {host: checkout.test, subset: v1}, weight: 90}
    - {destination: {host: checkout.test, subset: v2}, weight: 10}
";

/// The upstream of the test: the new version fails.
async fn upstream(request: Request<RequestBody<Body>>) -> io::Result<Response<Body>> {
    let status = if request.uri().host() == Some("10.0.0.2") { 500 } else { 200 };
    Response::builder().status(status).body(Body::default()).map_err(io::Error::other)
}

/// How often each rule led to which subset and status.
pub(crate) async fn run() -> Result<BTreeMap<String, u32>, BoxError> {
    let mesh = Mesh::builder().dice(Dice::seeded(42)).build();
    let report = mesh.apply(Config::from_yaml(RULES, "checkout.yaml")?)?;
    assert_eq!(report.problems().len(), 0, "{report}");
    let client = MeshRouter::new(&mesh).layer(service_fn(upstream));
    let mut seen = BTreeMap::new();
    for number in 0..1000 {
        let request =
            Request::get("http://checkout.test/").header("x-tester", if number % 10 == 0 { "yes" } else { "no" });
        let response = client.clone().oneshot(request.body(Body::default())?).await?;
        let info = response.extensions().get::<RouteInfo>().ok_or("a rule takes every request")?;
        let subset = info.cluster().map_or("none", |cluster| &cluster.subset);
        let line = format!("{} -> {subset}: {}", info.route_name().unwrap_or("?"), response.status().as_u16());
        *seen.entry(line).or_default() += 1;
    }
    // What the team wants to know: testers see the new version, and about one in ten of the others.
    assert_eq!(seen.get("testers -> v2: 500"), Some(&100));
    assert!(seen.get("canary -> v2: 500").is_some_and(|canaries| (60..=120).contains(canaries)), "{seen:?}");
    Ok(seen)
}

// No test waits for the pauses of a retry: the clock goes on by itself.
#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), BoxError> {
    for (line, times) in run().await? {
        println!("{times:>5}  {line}");
    }
    Ok(())
}
