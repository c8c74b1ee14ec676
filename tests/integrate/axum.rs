//! An application of axum behind the rules of a gateway.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::routing::{get, post};
use axum::{Extension, Router, ServiceExt};
use http::Response;
use http_body_util::{BodyExt, Limited};
use mesh_router::MeshRouter;
use mesh_router::service::{BodyError, RequestBody, RouteInfo};
use tower::ServiceBuilder;

use super::shop;

const RULES: &str = r#"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: web}
spec:
  hosts: [shop.test]
  gateways: [front]
  http:
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /new}
  - match: [{uri: {prefix: /faulty}}]
    fault: {abort: {percentage: {value: 100}, httpStatus: 429}}
    route: [{destination: {host: app}}]
  - match: [{uri: {prefix: /}}]
    name: all
    rewrite: {uri: /v2/}
    headers: {request: {set: {x-from: front}}, response: {set: {x-rule: all}}}
    corsPolicy: {allowOrigins: [{exact: https://shop.test}], allowMethods: [GET]}
    timeout: 500ms
    route: [{destination: {host: app}}]
"#;

fn router() -> Router {
    let hello = async |Extension(info): Extension<RouteInfo>, request: Request| {
        let from = request.headers().get("x-from").map_or("", |from| from.to_str().unwrap());
        format!("hello {} {from}", info.route_name().unwrap())
    };
    let upper = async |text: String| text.to_uppercase();
    let slow = async || std::future::pending::<String>().await;
    Router::new().route("/v2/hello", get(hello)).route("/v2/upper", post(upper)).route("/v2/slow", get(slow))
}

/// Serves the application behind the rules, as its documentation says.
async fn serve() -> SocketAddr {
    let app = ServiceBuilder::new()
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(MeshRouter::inbound(&shop::published(RULES), "web/front"))
        .service(router());
    listen(app).await
}

async fn listen<S>(app: S) -> SocketAddr
where
    S: tower::Service<Request, Response = axum::response::Response, Error = std::convert::Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, ServiceExt::<Request>::into_make_service(app)).await });
    address
}

fn ask(server: SocketAddr, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
    client.request(method, format!("http://{server}{path}")).header("host", "shop.test")
}

#[tokio::test]
async fn rules_act_in_front_of_every_handler() {
    let server = serve().await;
    let hello = ask(server, reqwest::Method::GET, "/hello").send().await.unwrap();
    assert_eq!(hello.headers()["x-rule"], "all");
    assert_eq!(hello.text().await.unwrap(), "hello all front");
    let upper = ask(server, reqwest::Method::POST, "/upper").body("words").send().await.unwrap();
    assert_eq!(upper.text().await.unwrap(), "WORDS");
    let moved = ask(server, reqwest::Method::GET, "/old").send().await.unwrap();
    assert_eq!(
        (moved.status().as_u16(), &moved.headers()["location"]),
        (301, &"http://shop.test/new".parse().unwrap())
    );
    let faulty = ask(server, reqwest::Method::GET, "/faulty").send().await.unwrap();
    assert_eq!(faulty.status().as_u16(), 429);
}

#[tokio::test]
async fn the_rule_bounds_a_handler() {
    let slow = ask(serve().await, reqwest::Method::GET, "/slow").timeout(Duration::from_secs(20)).send().await.unwrap();
    assert_eq!(slow.status().as_u16(), 504);
    assert_eq!(slow.text().await.unwrap(), "upstream request timeout");
}

#[tokio::test]
async fn a_limit_around_the_rules_is_told_as_one() {
    let app = ServiceBuilder::new()
        .map_response(|response: Response<_>| response.map(Body::new))
        .map_request(|request: Request| request.map(|body| Limited::new(body, 4)))
        .layer(MeshRouter::inbound(&shop::published(RULES), "web/front"))
        .map_request(|request: http::Request<RequestBody<Limited<Body>>>| {
            request.map(|body| Body::new(body.map_err(BodyError::into_source)))
        })
        .service(router());
    let server = listen(app).await;
    let ruled = || ask(server, reqwest::Method::POST, "/upper");
    let passed = || reqwest::Client::new().post(format!("http://{server}/v2/upper"));
    let streamed = |text| reqwest::Body::wrap_stream(tokio_stream::once(Ok::<&str, std::io::Error>(text)));
    for request in [ruled(), passed()] {
        let refused = request.body(streamed("words")).send().await.unwrap();
        assert_eq!(refused.status().as_u16(), 413);
        let told = "Failed to buffer the request body: length limit exceeded";
        assert_eq!(refused.text().await.unwrap(), told);
    }
    for request in [ruled(), passed()] {
        assert_eq!(request.body(streamed("word")).send().await.unwrap().text().await.unwrap(), "WORD");
    }
}

#[tokio::test]
async fn preflights_are_answered_for_the_application() {
    let preflight = ask(serve().await, reqwest::Method::OPTIONS, "/hello")
        .header("origin", "https://shop.test")
        .header("access-control-request-method", "GET");
    let answer = preflight.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://shop.test");
}

/// Why the layer goes around the router: given to `Router::layer` it runs when the route is chosen.
#[tokio::test]
async fn a_layer_of_the_router_itself_is_too_late() {
    let late = listen(router().layer(MeshRouter::inbound(&shop::published(RULES), "web/front"))).await;
    let redirected = ask(late, reqwest::Method::GET, "/old").send().await.unwrap();
    // `/old` has no route, and still the rule acts: in front of the fallback.
    assert_eq!(redirected.status().as_u16(), 301);
    let missed = ask(late, reqwest::Method::GET, "/hello").send().await.unwrap();
    // The rule did act, and rewrote the path that the router had looked at before.
    assert_eq!((missed.status().as_u16(), &missed.headers()["x-rule"]), (404, &"all".parse().unwrap()));
}
