//! What tower asks of a service, and what the inner service gets to see.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use mesh_router::Mesh;
use mesh_router::config::Config;
use mesh_router::outcome::{Failure, FailureError};
use mesh_router::service::{MeshRouter, RequestBody, RequestPolicy, RouteInfo};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok};
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_test::mock;

type Body = Full<Bytes>;
type Sent = Request<RequestBody<Body>>;

fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::default()).unwrap()
}

/// Sends `request` and gives what the inner service got of it.
async fn sent(request: Request<Body>) -> Sent {
    let (mut service, mut handle) = mock::spawn_layer(MeshRouter::new(&support::mesh()));
    assert_ready_ok!(service.poll_ready());
    let mut response = tokio_test::task::spawn(service.call(request));
    assert_pending!(response.poll());
    let (sent, reply) = handle.next_request().await.unwrap();
    reply.send_response(Response::new(Body::default()));
    assert_ready_ok!(response.poll());
    sent
}

#[tokio::test]
async fn readiness_is_that_of_the_inner_service() {
    let (mut service, mut handle) = mock::spawn_layer::<Sent, Response<Body>, _>(MeshRouter::new(&support::mesh()));
    handle.allow(0);
    assert_pending!(service.poll_ready());
    handle.allow(1);
    assert_ready_ok!(service.poll_ready());
    handle.send_error("no more");
    let error = assert_ready!(service.poll_ready()).unwrap_err();
    assert_eq!(error.to_string(), "no more");
}

#[tokio::test]
async fn a_request_without_a_rule_arrives_as_it_was() {
    let mut request = get("http://elsewhere:8080/a/./b?q#f");
    request.headers_mut().insert("x-own", "1".parse().unwrap());
    request.extensions_mut().insert(7u8);
    let sent = sent(request).await;
    assert_eq!(sent.uri(), "http://elsewhere:8080/a/./b?q");
    assert_eq!(sent.headers().len(), 1);
    assert_eq!(sent.extensions().get::<u8>(), Some(&7));
    assert!(sent.body().aim().is_none());
}

#[tokio::test]
async fn the_error_of_a_request_without_a_rule_is_the_inner_one() {
    let inner = service_fn(async |_: Sent| Err::<Response<Body>, _>(io::Error::from(io::ErrorKind::TimedOut)));
    let error = MeshRouter::new(&support::mesh()).layer(inner).oneshot(get("http://elsewhere/")).await.unwrap_err();
    assert_eq!(error.downcast_ref::<io::Error>().unwrap().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn https_of_the_application_passes_through() {
    let sent = sent(get("https://reviews/")).await;
    assert_eq!(sent.uri(), "https://reviews/");
    assert!(sent.body().aim().is_none());
}

#[tokio::test]
async fn a_request_with_a_rule_names_the_endpoint_and_keeps_its_authority() {
    let mut sent = sent(get("http://user:secret@reviews:80/a?b=c")).await;
    assert_eq!(sent.uri(), "http://10.0.1.1:9080/a?b=c");
    assert_eq!(sent.headers()["host"], "reviews:80");
    assert_eq!(sent.headers()["x-seen"], "yes");
    let aim = sent.body_mut().take_aim().unwrap();
    assert_eq!(aim.endpoint.address.to_string(), "10.0.1.1:9080");
    assert_eq!(aim.authority.unwrap(), "reviews:80");
    assert!(sent.extensions().is_empty());
}

#[tokio::test]
async fn a_request_in_origin_form_is_routed_by_its_host_header() {
    let mut request = get("/a");
    request.headers_mut().insert("host", "reviews".parse().unwrap());
    let sent = sent(request).await;
    assert_eq!(sent.uri(), "http://10.0.1.1:9080/a");
    assert_eq!(sent.headers()["host"], "reviews");
    assert!(sent.body().aim().unwrap().authority.is_none());
}

#[tokio::test]
async fn a_path_that_had_to_be_normalized_is_sent_so() {
    assert_eq!(sent(get("http://reviews/a/./b?c=./d")).await.uri(), "http://10.0.1.1:9080/a/b?c=./d");
}

#[tokio::test]
async fn the_answer_tells_what_was_decided() {
    let inner = service_fn(async |_: Sent| Ok::<_, Infallible>(Response::new(Body::from("hello"))));
    let response = MeshRouter::new(&support::mesh()).layer(inner).oneshot(get("http://reviews/")).await.unwrap();
    assert_eq!(response.headers()["x-rule"], "reviews");
    let info = response.extensions().get::<RouteInfo>().unwrap();
    assert_eq!((info.attempts(), info.details()), (1, "via_upstream"));
    assert!(info.flags().is_empty() && info.cause().is_none());
    assert_eq!(info.endpoint().unwrap().address.to_string(), "10.0.1.1:9080");
    assert_eq!(info.rule().unwrap().path, "spec.http[0]");
    let to = info.destination().unwrap();
    assert_eq!((to.host, to.subset, to.port), ("reviews.default.svc.cluster.local", "", Some(80)));
}

/// Also of a host that no VirtualService speaks of.
#[tokio::test]
async fn the_answer_tells_in_one_line_which_resource_decided() {
    let yaml = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop}
spec: {hosts: [shop.test], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], endpoints: [{address: 10.0.0.1}]}
---
apiVersion: v1
kind: Service
metadata: {name: empty}
spec: {selector: {app: empty}, ports: [{port: 80, name: http}]}
";
    let mesh = Mesh::new();
    assert!(!mesh.apply_strict(Config::from_yaml(yaml, "shop.yaml").unwrap()).unwrap().fails_check());
    for (host, told) in [
        (
            "shop.test",
            "- via_upstream, rule ServiceEntry default/shop (shop.yaml:2:1), cluster outbound|80||shop.test, endpoint \
             10.0.0.1:80, 1 try",
        ),
        (
            "empty",
            "UH no_healthy_upstream, rule Service default/empty (shop.yaml:7:1), cluster \
             outbound|80||empty.default.svc.cluster.local",
        ),
    ] {
        let inner = service_fn(async |_: Sent| Ok::<_, Infallible>(Response::new(Body::default())));
        let response = MeshRouter::new(&mesh).layer(inner).oneshot(get(&format!("http://{host}/"))).await.unwrap();
        assert_eq!(response.extensions().get::<RouteInfo>().unwrap().to_string(), told);
    }
}

#[tokio::test]
async fn futures_say_what_becomes_of_a_request() {
    let inner = || service_fn(async |_: Sent| Ok::<_, Infallible>(Response::new(Body::default())));
    let mesh = support::mesh();
    let mut client = MeshRouter::new(&mesh).layer(inner());
    let mut server = MeshRouter::inbound(&mesh, "front").with_mesh_rules().layer(inner());
    for (uri, state) in [
        ("http://reviews.default.svc.cluster.local/", "forwarded"),
        ("http://elsewhere/", "passed through"),
        ("http://reviews.default.svc.cluster.local/%00", "answered here"),
    ] {
        assert_eq!(format!("{:?}", client.call(get(uri))), format!("ResponseFuture({state:?})"), "{uri}");
        assert_eq!(format!("{:?}", server.call(get(uri))), format!("InboundFuture({state:?})"), "{uri}");
    }
}

/// An inner service that counts its clones and fails as often as it is told to.
#[derive(Default)]
struct Counted {
    clones: Arc<AtomicUsize>,
    failures: Arc<AtomicUsize>,
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.clones.fetch_add(1, Ordering::Relaxed);
        Self { clones: self.clones.clone(), failures: self.failures.clone() }
    }
}

impl Service<Sent> for Counted {
    type Response = Response<Body>;
    type Error = FailureError;
    type Future = std::future::Ready<Result<Response<Body>, FailureError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), FailureError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Sent) -> Self::Future {
        let failures = self.failures.load(Ordering::Relaxed);
        self.failures.store(failures.saturating_sub(1), Ordering::Relaxed);
        let refused = || FailureError::new(Failure::ConnectRefused, io::Error::from(io::ErrorKind::ConnectionRefused));
        std::future::ready(if failures > 0 { Err(refused()) } else { Ok(Response::default()) })
    }
}

#[tokio::test(start_paused = true)]
async fn the_inner_service_is_cloned_for_later_tries_and_where_it_is_given_up() {
    let counted = Counted::default();
    let (clones, failures) = (counted.clones.clone(), counted.failures.clone());
    let mut service = MeshRouter::new(&support::mesh()).layer(counted);
    for (host, failing, expected, tries) in [
        // It passes through, or its rule has no retries: the service itself is called.
        ("elsewhere", 0, 0, None),
        ("once", 0, 0, Some(1)),
        ("once", 1, 0, Some(1)),
        // One for all tries that may follow, whether any does.
        ("reviews", 0, 1, Some(1)),
        ("reviews", 1, 1, Some(2)),
        ("reviews", 2, 1, Some(3)),
        ("plain", 0, 1, Some(1)),
        // One takes the place of the service that was ready, also where there would have been retries.
        ("closed", 0, 1, Some(0)),
        ("missing", 0, 1, Some(0)),
        ("empty", 0, 1, Some(0)),
        // One takes its place, and one makes the try once the delay is over.
        ("held", 0, 2, Some(1)),
    ] {
        let before = clones.load(Ordering::Relaxed);
        failures.store(failing, Ordering::Relaxed);
        let response = service.ready().await.unwrap().call(get(&format!("http://{host}/"))).await.unwrap();
        assert_eq!(clones.load(Ordering::Relaxed) - before, expected, "{host} {failing}");
        assert_eq!(response.extensions().get::<RouteInfo>().map(RouteInfo::attempts), tries, "{host} {failing}");
    }
    let before = clones.load(Ordering::Relaxed);
    let _ = service.clone();
    assert_eq!(clones.load(Ordering::Relaxed), before + 1);
    let _: Counted = service.into_inner();
    let mut server = MeshRouter::inbound(&support::mesh(), "front").layer(Counted::default());
    let inner: *const Counted = server.get_mut();
    assert!(std::ptr::eq(inner, server.get_ref()));
    let _: Counted = server.into_inner();
}

#[tokio::test]
async fn what_an_answer_made_here_had_reserved_is_released() {
    let inner = service_fn(async |_: Sent| std::future::pending::<Result<Response<Body>, Infallible>>().await);
    let limited = ConcurrencyLimitLayer::new(1).layer(inner);
    let mut service = MeshRouter::new(&support::mesh()).layer(limited);
    let reply = service.ready().await.unwrap().call(get("http://closed/"));
    // Before the answer is even read.
    let mut other = tokio_test::task::spawn(service.clone());
    assert_ready_ok!(other.enter(|cx, mut other| other.poll_ready(cx)));
    assert_eq!(reply.await.unwrap().status(), 404);
}

/// As its documentation says.
#[test]
#[should_panic(expected = "there is no reactor running")]
fn who_waits_needs_a_runtime() {
    let inner = service_fn(async |_: Sent| std::future::pending::<Result<Response<Body>, Infallible>>().await);
    let mesh = support::mesh();
    let mut request = get("http://reviews/");
    request.extensions_mut().insert(RequestPolicy::new().timeout(Duration::from_secs(1)));
    let mut answer = tokio_test::task::spawn(MeshRouter::new(&mesh).layer(inner).oneshot(request));
    assert_pending!(answer.poll());
}

#[test]
fn the_future_is_as_free_as_its_parts() {
    fn free<T: Send + Sync + 'static>(_: &T) {}
    let service = MeshRouter::new(&support::mesh()).layer(Counted::default());
    free(&service);
    free(&Service::<Request<Body>>::call(&mut service.clone(), get("http://reviews/")));
}

#[tokio::test]
async fn headers_name_an_endpoint_that_is_a_socket_by_its_path() {
    const RULES: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: se}
spec:
  hosts: [a.test]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 'unix:///run/a'}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs}
spec:
  hosts: [a.test]
  http:
  - route: [{destination: {host: a.test}}]
    headers:
      response:
        set: {x-a: '%UPSTREAM_HOST% %UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%'}
";
    let mesh = Mesh::new();
    assert!(!mesh.apply_strict(Config::from_yaml(RULES, "rules.yaml").unwrap()).unwrap().fails_check());
    let inner = service_fn(async |_: Sent| Ok::<_, Infallible>(Response::new(Body::default())));
    let answer = MeshRouter::new(&mesh).layer(inner).oneshot(get("http://a.test/")).await.unwrap();
    assert_eq!(answer.headers()["x-a"], "/run/a /run/a /run/a");
    let info = answer.extensions().get::<RouteInfo>().unwrap();
    assert_eq!(info.endpoint().unwrap().address.to_string(), "unix:///run/a");
}
