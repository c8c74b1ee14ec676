//! hyper-util's client under the rules: one request in four goes to the new version.
//!
//! ```text
//! cargo run --example hyper_client
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::{Router, routing::get};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use mesh_router::config::Config;
use mesh_router::dice::Dice;
use mesh_router::service::{RequestBody, RouteInfo};
use mesh_router::{BoxError, Mesh, MeshRouter};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt};

const RULES: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints:
  - {address: 127.0.0.1, ports: {http: OLD}, labels: {version: v1}}
  - {address: 127.0.0.1, ports: {http: NEW}, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews.test
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews.test]
  http:
  - name: split
    route:
    - {destination: {host: reviews.test, subset: v1}, weight: 75}
    - {destination: {host: reviews.test, subset: v2}, weight: 25}
";

/// A version of the service on a port of its own.
async fn serve(version: &'static str) -> Result<SocketAddr, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let app = Router::new().route("/", get(async move || version));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

pub(crate) async fn run() -> Result<BTreeMap<Bytes, u32>, BoxError> {
    let (old, new) = (serve("v1").await?, serve("v2").await?);
    let rules = RULES.replace("OLD", &old.port().to_string()).replace("NEW", &new.port().to_string());
    let mesh = Mesh::builder().dice(Dice::seeded(1)).build();
    assert_eq!(mesh.apply(Config::from_yaml(&rules, "rules.yaml")?)?.errors().next(), None);

    let client = Client::builder(TokioExecutor::new()).build_http::<RequestBody<Full<Bytes>>>();
    let client = MeshRouter::new(&mesh).layer(client);
    let mut answers = BTreeMap::new();
    for _ in 0..400 {
        let request = Request::get("http://reviews.test/").body(Full::default())?;
        let response = client.clone().oneshot(request).await?;
        assert_eq!(response.extensions().get::<RouteInfo>().and_then(RouteInfo::route_name), Some("split"));
        *answers.entry(response.into_body().collect().await?.to_bytes()).or_default() += 1;
    }
    Ok(answers)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    println!("{:?}", run().await?);
    Ok(())
}
