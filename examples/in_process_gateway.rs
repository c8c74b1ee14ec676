//! A gateway inside an application: what is its own it serves without a socket, the rest it forwards.
//!
//! ```text
//! cargo run --example in_process_gateway
//! ```

use std::sync::Arc;

use axum::body::Body;
use axum::error_handling::HandleError;
use axum::extract::{ConnectInfo, Request, connect_info::Connected};
use axum::http::StatusCode;
use axum::serve::IncomingStream;
use axum::{Router, ServiceExt, routing::get};
use mesh_router::config::Config;
use mesh_router::request::{ListenerOrigin, Origin};
use mesh_router::service::RequestBody;
use mesh_router::upstream::Address;
use mesh_router::{BoxError, Mesh, MeshRouter, Transport};
use tokio::net::TcpListener;
use tower::util::MapRequest;
use tower::{Layer, ServiceExt as _, service_fn};

const RULES: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front}
spec:
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop}
spec:
  hosts: [shop.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1, ports: {http: OWN}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1, ports: {http: OTHER}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: ['*']
  gateways: [front]
  http:
  - {match: [{uri: {prefix: /reviews}}], route: [{destination: {host: reviews.test}}]}
  - {route: [{destination: {host: shop.test}}]}
";

/// What the rules and the endpoints may know of a client's connection.
#[derive(Clone)]
struct Came(Origin);

impl Connected<IncomingStream<'_, TcpListener>> for Came {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        let mut origin = ListenerOrigin::new("http.80", 80);
        (origin.peer, origin.local) = (Some(*stream.remote_addr()), stream.io().local_addr().ok());
        // Goes with the connection, and what was opened for this client alone (`proxyProtocol`) with it.
        origin.open = Some(Arc::default());
        Self(Origin::Listener(Arc::new(origin)))
    }
}

pub(crate) async fn run() -> Result<Vec<String>, BoxError> {
    let (front, other) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
    let address = front.local_addr()?;
    let mesh = Mesh::new();
    let rules = RULES.replace("OWN", &address.port().to_string());
    let rules = rules.replace("OTHER", &other.local_addr()?.port().to_string());
    assert_eq!(mesh.apply(Config::from_yaml(&rules, "rules.yaml")?)?.errors().next(), None);
    let reviews = Router::new().route("/reviews", get(async || "forwarded"));
    tokio::spawn(async move { axum::serve(other, reviews).await });

    let app = Router::new().route("/", get(async || "served here"));
    let (own, transport) = (Address::Tcp(address), Transport::new());
    let inner = service_fn(move |request: http::Request<RequestBody<Body>>| {
        let local = request.body().aim().is_some_and(|aim| aim.endpoint.address == own);
        let (app, transport) = (app.clone(), transport.clone());
        async move {
            match local {
                true => app.oneshot(request).await.map_err(|never| match never {}),
                false => transport.oneshot(request).await.map(|response| response.map(Body::new)),
            }
        }
    });
    let gateway = MapRequest::new(MeshRouter::new(&mesh).layer(inner), |mut request: Request| {
        if let Some(ConnectInfo(Came(origin))) = request.extensions_mut().remove() {
            request.extensions_mut().insert(origin);
        }
        request
    });
    // Errors come only from hosts without rules, which a gateway does not have.
    let gateway = HandleError::new(gateway, |_: BoxError| async { StatusCode::BAD_GATEWAY });
    let gateway = ServiceExt::<Request>::into_make_service_with_connect_info::<Came>(gateway);
    tokio::spawn(async move { axum::serve(front, gateway).await });
    // To this machine, whatever proxy leads to others.
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut answers = Vec::new();
    for path in ["", "reviews"] {
        answers.push(client.get(format!("http://{address}/{path}")).send().await?.text().await?);
    }
    Ok(answers)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    println!("{:?}", run().await?);
    Ok(())
}
