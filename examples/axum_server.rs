//! An application of axum behind the rules of a gateway: what a sidecar's ingress did, in front of every handler.
//!
//! ```text
//! cargo run --example axum_server
//! ```

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::Request;
use axum::{Extension, Router, ServiceExt, routing::get};
use http::Response;
use mesh_router::config::Config;
use mesh_router::service::{DeadlineBudget, RouteInfo};
use mesh_router::{BoxError, Mesh, MeshRouter};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

const RULES: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: web}
spec:
  hosts: ['*']
  gateways: [front]
  http:
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /hello}
  - match: [{uri: {exact: /health}}]
    directResponse: {status: 200, body: {string: fine}}
  - name: api
    rewrite: {uri: /v2/}
    headers: {response: {set: {x-rule: api}}}
    timeout: 2s
    route: [{destination: {host: shop}}]
";

// `Option`, because axum answers 500 where one is missing: no rule took the request, or nobody said how long.
async fn hello(info: Option<Extension<RouteInfo>>, budget: Option<Extension<DeadlineBudget>>) -> String {
    let rule = info.as_ref().and_then(|info| info.route_name()).unwrap_or("none");
    let within = budget.map_or("no limit".to_owned(), |budget| format!("{}s", budget.left().as_secs_f32().round()));
    format!("hello by rule {rule} within {within}")
}

/// Serves the application on a port of its own.
async fn serve() -> Result<SocketAddr, BoxError> {
    let mesh = Mesh::new();
    let front = MeshRouter::inbound(&mesh, "web/front");
    assert_eq!(mesh.apply(Config::from_yaml(RULES, "rules.yaml")?)?.errors().next(), None);
    let router = Router::new().route("/v2/hello", get(hello));
    // Around the router, not into it: `/hello` has to be `/v2/hello` before a route is chosen.
    let app = ServiceBuilder::new()
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(front)
        .service(router);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, ServiceExt::<Request>::into_make_service(app)).await });
    Ok(address)
}

pub(crate) async fn run() -> Result<Vec<String>, BoxError> {
    // To this machine, whatever proxy leads to others.
    let (address, client) = (serve().await?, reqwest::Client::builder().no_proxy().build()?);
    let mut answers = Vec::new();
    for path in ["hello", "old", "health"] {
        // The client follows the redirect of `/old`.
        let response = client.get(format!("http://{address}/{path}")).send().await?;
        answers.push(response.text().await?);
    }
    Ok(answers)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    for answer in run().await? {
        println!("{answer}");
    }
    Ok(())
}
