//! What a request asks for itself, and the time that its caller has left, under a clock that stands still.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/shop.rs"]
mod shop;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use mesh_router::service::{DeadlineBudget, MeshRouter, RequestBody, RequestPolicy, RetrySafety, RouteInfo};
use mesh_router::{BoxError, Mesh};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};

type Body = Full<Bytes>;

fn mesh(fields: &str) -> Mesh {
    shop::mesh(4, fields, "loadBalancer: {consistentHash: {httpHeaderName: x-user}}")
}

/// A client that answers so, after a while; what it was sent is kept.
#[derive(Clone)]
struct Client {
    status: u16,
    after: Duration,
    seen: Arc<Mutex<Vec<(String, HeaderMap)>>>,
}

impl Client {
    fn new(status: u16, milliseconds: u64) -> Self {
        Self { status, after: Duration::from_millis(milliseconds), seen: Arc::default() }
    }

    fn tries(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn host(&self) -> String {
        self.seen.lock().unwrap().last().unwrap().0.clone()
    }

    fn header(&self, name: &str) -> Option<String> {
        let seen = self.seen.lock().unwrap();
        seen.last().unwrap().1.get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    async fn serve<B>(self, request: Request<RequestBody<B>>) -> Result<Response<Body>, BoxError> {
        let host = request.uri().host().unwrap().to_owned();
        self.seen.lock().unwrap().push((host, request.headers().clone()));
        sleep(self.after).await;
        Ok(Response::builder().status(self.status).body(Body::default())?)
    }
}

async fn ask(router: MeshRouter, client: &Client, request: http::request::Builder) -> (StatusCode, Duration) {
    let (client, began) = (client.clone(), Instant::now());
    let service = router.layer(service_fn(move |request| client.clone().serve::<Body>(request)));
    let response = service.oneshot(request.uri("http://shop.test/").body(Body::default()).unwrap()).await.unwrap();
    assert!(response.extensions().get::<RouteInfo>().is_some());
    (response.status(), began.elapsed())
}

fn with(policy: RequestPolicy) -> http::request::Builder {
    Request::get("/").extension(policy)
}

#[tokio::test(start_paused = true)]
async fn a_request_may_have_a_timeout_of_its_own() {
    let (second, slow) = (Duration::from_secs(1), Client::new(200, 5000));
    for (rule, policy, status, elapsed) in [
        ("", RequestPolicy::new().timeout(second), 504, 1),
        ("timeout: 2s", RequestPolicy::new().timeout(second), 504, 1),
        ("timeout: 2s", RequestPolicy::new().timeout(second * 9), 200, 5),
        ("timeout: 2s", RequestPolicy::new().timeout(Duration::ZERO), 200, 5),
        ("timeout: 2s", RequestPolicy::new(), 504, 2),
    ] {
        let expected = (StatusCode::from_u16(status).unwrap(), Duration::from_secs(elapsed));
        let asked = ask(MeshRouter::new(&mesh(rule)), &slow, with(policy.clone())).await;
        assert_eq!(asked, expected, "{rule} {policy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_may_say_how_often_it_is_tried() {
    let rule = "retries: {attempts: 2, retryOn: 5xx, backoff: 1ms}";
    for (rule, retries, tries) in [(rule, None, 3), (rule, Some(0), 1), (rule, Some(4), 5)] {
        let client = Client::new(503, 0);
        let policy = retries.map_or(RequestPolicy::new(), |retries| RequestPolicy::new().retries(retries));
        ask(MeshRouter::new(&mesh(rule)), &client, with(policy)).await;
        assert_eq!(client.tries(), tries);
    }
    // Without conditions of a rule those of Istio hold, which 503 is none of.
    let client = Client::new(503, 0);
    ask(MeshRouter::new(&mesh("retries: {attempts: 0}")), &client, with(RequestPolicy::new().retries(2))).await;
    assert_eq!(client.tries(), 1);
    let client = Client::new(200, 5000);
    let policy = RequestPolicy::new().per_try_timeout(Duration::from_millis(100));
    let (status, elapsed) =
        ask(MeshRouter::new(&mesh("retries: {attempts: 1, retryOn: reset}")), &client, with(policy)).await;
    assert_eq!((status.as_u16(), client.tries()), (504, 2));
    assert!(elapsed < Duration::from_millis(300), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_may_say_whether_it_is_idempotent() {
    let mesh = mesh("retries: {attempts: 2, retryOn: 5xx, backoff: 1ms}");
    for (method, safety, idempotent, tries) in [
        ("GET", RetrySafety::AsConfigured, Some(false), 1),
        ("POST", RetrySafety::AsConfigured, None, 3),
        ("POST", RetrySafety::IdempotentOnly, None, 1),
        ("POST", RetrySafety::IdempotentOnly, Some(true), 3),
    ] {
        let client = Client::new(503, 0);
        let policy = idempotent.map_or(RequestPolicy::new(), |yes| RequestPolicy::new().idempotent(yes));
        let router = MeshRouter::new(&mesh).with_retry_safety(safety);
        ask(router, &client, with(policy).method(method)).await;
        assert_eq!(client.tries(), tries, "{method} {safety:?} {idempotent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_stands_for_the_header_that_is_hashed() {
    let (mesh, mut hosts) = (mesh(""), Vec::new());
    for user in 0..40 {
        let client = Client::new(200, 0);
        ask(MeshRouter::new(&mesh), &client, Request::get("/").header("x-user", user)).await;
        let by_header = client.host();
        let policy = RequestPolicy::new().hash_key(user.to_string());
        // The header of another, which does not count.
        ask(MeshRouter::new(&mesh), &client, with(policy).header("x-user", user + 1)).await;
        assert_eq!(client.host(), by_header);
        hosts.push(by_header);
    }
    hosts.sort();
    hosts.dedup();
    assert_eq!(hosts.len(), 4);
}

const SPLIT: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop}
spec:
  hosts: [shop.test]
  resolution: STATIC
  ports: [{number: 80, name: web, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1, labels: {v: a}}, {address: 10.0.0.2, labels: {v: b}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.test]
  http:
  - route:
    - {destination: {host: shop.test, subset: a}, weight: 50}
    - {destination: {host: shop.test, subset: b}, weight: 50}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop.test
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}
  subsets: [{name: a, labels: {v: a}}, {name: b, labels: {v: b}}]
";

/// The servers that this many like it reached, with sticky weights or without.
async fn reached(mesh: &Mesh, sticky: bool, request: impl Fn() -> http::request::Builder) -> BTreeSet<String> {
    let (client, router) = (Client::new(200, 0), MeshRouter::new(mesh));
    let router = if sticky { router.with_sticky_weights() } else { router };
    for _ in 0..20 {
        ask(router.clone(), &client, request()).await;
    }
    client.seen.lock().unwrap().iter().map(|(host, _)| host.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn who_sticks_to_a_server_sticks_to_its_subset_by_header_and_by_key() {
    let (mesh, mut hosts) = (shop::published(SPLIT), BTreeSet::new());
    for user in 0..20 {
        let by_header = || Request::get("/").header("x-user", user);
        // The header of another, which does not count.
        let by_key = || with(RequestPolicy::new().hash_key(user.to_string())).header("x-user", user + 1);
        assert_eq!(reached(&mesh, false, by_header).await.len(), 2);
        let reached = [reached(&mesh, true, by_header).await, reached(&mesh, true, by_key).await];
        assert_eq!(reached.each_ref().map(BTreeSet::len), [1, 1], "{user}");
        hosts.extend(reached.into_iter().flatten());
    }
    assert_eq!(hosts.len(), 2);
    // Who is not known is drawn.
    assert_eq!(reached(&mesh, true, || Request::get("/")).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_budget_bounds_all_that_a_rule_and_a_request_say() {
    let second = Duration::from_secs(1);
    for (rule, policy) in [
        ("", RequestPolicy::new()),
        ("timeout: 3s", RequestPolicy::new()),
        ("timeout: 3s\nretries: {attempts: 9, perTryTimeout: 400ms, retryOn: reset}", RequestPolicy::new()),
        ("", RequestPolicy::new().timeout(second * 4)),
    ] {
        let client = Client::new(200, 5000);
        let request = with(policy).extension(DeadlineBudget::within(second));
        let (status, elapsed) = ask(MeshRouter::new(&mesh(rule)), &client, request).await;
        assert_eq!((status.as_u16(), elapsed), (504, second), "{rule}");
    }
    let client = Client::new(200, 0);
    let request = Request::get("/").extension(DeadlineBudget::within(second));
    ask(MeshRouter::new(&mesh("timeout: 3s")), &client, request).await;
    assert_eq!(client.header("x-envoy-expected-rq-timeout-ms").as_deref(), Some("1000"));
    let request = Request::get("/").extension(DeadlineBudget::within(second));
    ask(MeshRouter::new(&mesh("timeout: 300ms")), &client, request.header("content-type", "application/grpc")).await;
    assert_eq!(client.header("grpc-timeout").as_deref(), Some("300m"));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_once_a_budget_is_spent() {
    let (client, budget) = (Client::new(200, 0), DeadlineBudget::within(Duration::from_secs(1)));
    sleep(Duration::from_secs(1)).await;
    assert!(budget.is_spent());
    let (status, elapsed) = ask(MeshRouter::new(&mesh("")), &client, Request::get("/").extension(budget)).await;
    assert_eq!((status.as_u16(), elapsed, client.tries()), (504, Duration::ZERO, 0));
}

/// A timeout of a rule begins when the request has been read; a caller does not wait for that.
#[tokio::test(start_paused = true)]
async fn a_budget_ends_while_the_request_is_still_sent() {
    type Endless = StreamBody<tokio_stream::Pending<Result<http_body::Frame<Bytes>, Infallible>>>;
    let send = service_fn(async |request: Request<RequestBody<Endless>>| {
        request.into_body().collect().await?;
        Ok::<_, BoxError>(Response::new(Body::default()))
    });
    let request = Request::post("http://shop.test/").extension(DeadlineBudget::within(Duration::from_secs(1)));
    let request = request.body(StreamBody::new(tokio_stream::pending())).unwrap();
    let began = Instant::now();
    let response = MeshRouter::new(&mesh("timeout: 300ms")).layer(send).oneshot(request).await.unwrap();
    assert_eq!((response.status().as_u16(), began.elapsed()), (504, Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn an_application_is_told_how_long_its_caller_waits() {
    let rules = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: app, namespace: web}
spec:
  hosts: [app.test]
  gateways: [front]
  http: [{timeout: 3s, route: [{destination: {host: app}}]}]
";
    let mesh = shop::published(rules);
    for (host, header, left) in [
        ("app.test", Some(("x-envoy-expected-rq-timeout-ms", "2000")), Some(2000)),
        ("app.test", Some(("grpc-timeout", "700m")), Some(700)),
        ("app.test", Some(("x-envoy-expected-rq-timeout-ms", "9000")), Some(3000)),
        ("app.test", Some(("x-envoy-expected-rq-timeout-ms", "soon")), Some(3000)),
        ("app.test", None, Some(3000)),
        ("other.test", Some(("x-envoy-expected-rq-timeout-ms", "9000")), Some(9000)),
        ("other.test", None, None),
    ] {
        let app = service_fn(async |request: Request<RequestBody<Body>>| {
            let budget = request.extensions().get::<DeadlineBudget>().map(|budget| budget.left().as_millis());
            Ok::<_, Infallible>(Response::new(Body::from(format!("{budget:?}"))))
        });
        let mut request = Request::get(format!("http://{host}/"));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let router = MeshRouter::inbound(&mesh, "web/front");
        let response = router.layer(app).oneshot(request.body(Body::default()).unwrap()).await.unwrap();
        let told = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(told, format!("{left:?}"), "{host} {header:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_ends_sooner_than_the_caller_says_stays() {
    let mesh = shop::published("");
    let app = service_fn(async |request: Request<RequestBody<Body>>| {
        Ok::<_, Infallible>(Response::new(Body::from(format!("{:?}", request.extensions().get::<DeadlineBudget>()))))
    });
    let sooner = DeadlineBudget::within(Duration::from_millis(200));
    let request = Request::get("http://app.test/").header("x-envoy-expected-rq-timeout-ms", "9000").extension(sooner);
    let response = MeshRouter::inbound(&mesh, "web/front").layer(app).oneshot(request.body(Body::default()).unwrap());
    let told = response.await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(told, format!("{:?}", Some(sooner)));
}

#[test]
fn what_a_caller_set_stays() {
    let policy = |number: u8| {
        let time = Duration::from_secs(number.into());
        let policy = RequestPolicy::new().timeout(time).per_try_timeout(time).retries(number.into()).hash_key([number]);
        policy.idempotent(number > 1).hedge_after(time).subset(format!("v{number}"))
    };
    assert_eq!(policy(1).or(policy(2)), policy(1));
    assert_eq!(RequestPolicy::new().or(policy(2)), policy(2));
    let (caller, layer) = (RequestPolicy::new().retries(0), RequestPolicy::new().retries(2).subset("v2"));
    assert_eq!(caller.or(layer), RequestPolicy::new().retries(0).subset("v2"));
}
