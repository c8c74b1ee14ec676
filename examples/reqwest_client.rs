//! The rules as a middleware of reqwest: a program stays as it is and gets tries, health and headers.
//!
//! ```text
//! cargo run --example reqwest_client
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::{Router, routing::post};
use mesh_router::config::Config;
use mesh_router::integrate::reqwest::{MeshMiddleware, client_builder};
use mesh_router::service::{RequestPolicy, RouteInfo};
use mesh_router::{BoxError, Mesh};
use reqwest_middleware::ClientBuilder;
use tokio::net::TcpListener;

const RULES: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: orders}
spec:
  hosts: [orders.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1, ports: {http: PORT}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: orders}
spec:
  hosts: [orders.test]
  http:
  - timeout: 5s
    retries: {attempts: 2, retryOn: 5xx, backoff: 1ms}
    headers: {response: {set: {x-served-by: mesh}}}
    route: [{destination: {host: orders.test}}]
";

/// A service that fails two orders of three.
async fn serve() -> Result<u16, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let asked = Arc::new(AtomicU32::new(0));
    let order = async move |order: String| match asked.fetch_add(1, Ordering::Relaxed) % 3 {
        2 => (StatusCode::CREATED, format!("{order} ordered")),
        _ => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(order))).await });
    Ok(port)
}

pub(crate) async fn run() -> Result<Vec<String>, BoxError> {
    let rules = RULES.replace("PORT", &serve().await?.to_string());
    let mesh = Mesh::new();
    assert_eq!(mesh.apply(Config::from_yaml(&rules, "rules.yaml")?)?.errors().next(), None);
    let client = ClientBuilder::new(client_builder().build()?).with(MeshMiddleware::new(&mesh)).build();

    let mut lines = Vec::new();
    // As the rule says, and once as this request says.
    for policy in [RequestPolicy::new(), RequestPolicy::new().idempotent(false).timeout(Duration::from_secs(1))] {
        let request = client.post("http://orders.test/").body("tea").with_extension(policy);
        let response = request.send().await?;
        let tries = response.extensions().get::<RouteInfo>().map_or(0, RouteInfo::attempts);
        lines.push(format!("{} after {tries}: {}", response.status(), response.text().await?));
    }
    Ok(lines)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    for line in run().await? {
        println!("{line}");
    }
    Ok(())
}
