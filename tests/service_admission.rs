//! Who waits where a cluster admits no more requests, and what is nobody's fault while a request has no connection:
//! over clients that look after the admission of requests, as `Transport` does, and over one that does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/shop.rs"]
mod shop;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use mesh_router::outcome::{Failure, FailureError};
use mesh_router::service::{Admission, MeshRouter, MirrorBody, RequestBody, ResponseBody, ResponseFlags, RouteInfo};
use mesh_router::{BoxError, Mesh};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tower::util::BoxCloneService;
use tower::{Layer, ServiceExt, service_fn};

type Sent = Request<RequestBody<Empty<Bytes>>>;
type Rules = BoxCloneService<Request<Empty<Bytes>>, Response<ResponseBody<Full<Bytes>>>, BoxError>;

const ONE: &str = "connectionPool: {http: {http2MaxRequests: 1}}";
const STRICT: &str = "outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100}";

/// A client with so many connections, each of which takes a second for an answer.
#[derive(Clone)]
struct Client {
    connections: Arc<Semaphore>,
    /// Whether it looks after the admission of its requests.
    admits: bool,
    /// Whether it answers 503 at once.
    failing: Arc<AtomicBool>,
    /// How often it was called.
    called: Arc<AtomicUsize>,
    /// How often it had a connection.
    answered: Arc<AtomicUsize>,
}

impl Client {
    fn new(connections: usize, admits: bool) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(connections)),
            admits,
            failing: Arc::default(),
            called: Arc::default(),
            answered: Arc::default(),
        }
    }

    fn called(&self) -> usize {
        self.called.load(Ordering::Relaxed)
    }

    fn under(&self, mesh: &Mesh) -> Rules {
        self.over(&MeshRouter::new(mesh))
    }

    fn over(&self, router: &MeshRouter) -> Rules {
        let client = self.clone();
        BoxCloneService::new(router.layer(service_fn(move |request: Sent| client.clone().call(request))))
    }

    fn call<B>(
        self,
        mut request: Request<RequestBody<B>>,
    ) -> impl Future<Output = Result<Response<Full<Bytes>>, FailureError>> {
        self.called.fetch_add(1, Ordering::Relaxed);
        let admission = request.body_mut().take_aim().filter(|_| self.admits).map(|aim| aim.admission);
        admission.iter().for_each(Admission::claim);
        self.answer(admission)
    }

    async fn answer(self, admission: Option<Admission>) -> Result<Response<Full<Bytes>>, FailureError> {
        if self.failing.load(Ordering::Relaxed) {
            return Ok(Response::builder().status(503).body(Full::default()).unwrap());
        }
        admission.iter().for_each(Admission::release);
        let connection = self.connections.acquire().await.unwrap();
        if admission.as_ref().is_some_and(|admission| !admission.acquire()) {
            return Err(FailureError::new(Failure::Overflow, "full"));
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_secs(1)).await;
        // Before the next one has the connection.
        admission.iter().for_each(Admission::release);
        drop(connection);
        Ok(Response::new(Full::from("x")))
    }
}

fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://shop.test{path}")).body(Empty::new()).unwrap()
}

/// The statuses of so many requests at once.
async fn burst(rules: &Rules, requests: usize) -> Vec<u16> {
    let ask = |_| tokio::spawn(rules.clone().oneshot(get("/")));
    let asks: Vec<_> = (0..requests).map(ask).collect();
    let mut statuses = Vec::new();
    for asked in asks {
        statuses.push(asked.await.unwrap().unwrap().status().as_u16());
    }
    statuses.sort_unstable();
    statuses
}

fn ejected(mesh: &Mesh) -> usize {
    mesh.endpoints().iter().filter(|endpoint| endpoint.ejected.is_some()).count()
}

#[tokio::test(start_paused = true)]
async fn requests_wait_for_a_connection_also_where_no_more_are_admitted() {
    let (mesh, client) = (shop::mesh(1, "retries: {attempts: 0}", ONE), Client::new(1, true));
    let rules = client.under(&mesh);
    // The first one shows that the client looks after them.
    assert_eq!(burst(&rules, 1).await, [200]);
    let began = Instant::now();
    assert_eq!(burst(&rules, 4).await, [200; 4]);
    assert_eq!(began.elapsed(), Duration::from_secs(4));
    shop::nothing_is_left(&mesh);
}

#[tokio::test(start_paused = true)]
async fn the_first_requests_of_a_client_wait_too_whatever_held_them_back() {
    const HELD: &str = "retries: {attempts: 0}\nfault: {delay: {percentage: {value: 100}, fixedDelay: 1s}}";
    for (rule, per_try) in [("retries: {attempts: 0}", false), ("retries: {attempts: 0}", true), (HELD, false)] {
        let (mesh, client) = (shop::mesh(1, rule, ONE), Client::new(1, true));
        let router = MeshRouter::new(&mesh);
        let rules = client.over(&if per_try { router.with_faults_per_try() } else { router });
        assert_eq!(burst(&rules, 3).await, [200; 3], "{rule} {per_try}");
        shop::nothing_is_left(&mesh);
    }
    // What one router knows of its client another one has yet to find out.
    let (mesh, client) = (shop::mesh(1, "retries: {attempts: 0}", ONE), Client::new(1, true));
    let others = [(); 2].map(|()| tokio::spawn(client.under(&mesh).oneshot(get("/"))));
    for answer in others {
        assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn a_further_try_of_the_first_request_waits_too() {
    let rule = "retries: {attempts: 1, retryOn: '503', backoff: 1s}";
    let (mesh, client) = (shop::mesh(1, rule, ONE), Client::new(1, true));
    client.failing.store(true, Ordering::Relaxed);
    let rules = client.under(&mesh);
    let first = tokio::spawn(rules.clone().oneshot(get("/")));
    sleep(Duration::from_millis(1)).await;
    client.failing.store(false, Ordering::Relaxed);
    // It has the only connection when the other is tried again.
    assert_eq!(burst(&rules, 1).await, [200]);
    assert_eq!(first.await.unwrap().unwrap().status(), StatusCode::OK);
    shop::nothing_is_left(&mesh);
}

#[tokio::test(start_paused = true)]
async fn who_turns_out_not_to_look_after_them_is_not_called_in_vain_again() {
    const HELD: &str = "retries: {attempts: 0}\nfault: {delay: {percentage: {value: 100}, fixedDelay: 1s}}";
    let (mesh, client) = (shop::mesh(1, HELD, ONE), Client::new(9, false));
    assert_eq!(burst(&client.under(&mesh), 4).await, [200, 503, 503, 503]);
    assert_eq!(client.called(), 1);
    // Of a client that is yet to be known the first request shows it, and is refused as if it had not been called.
    let (busy, other) = (client.under(&mesh), Client::new(9, false));
    let busy = tokio::spawn(busy.oneshot(get("/")));
    sleep(Duration::from_millis(1)).await;
    let refused = other.under(&mesh).oneshot(get("/")).await.unwrap();
    let info = refused.extensions().get::<RouteInfo>().unwrap();
    let flags = ResponseFlags::DELAY_INJECTED | ResponseFlags::UPSTREAM_OVERFLOW;
    assert_eq!((info.flags(), info.attempts(), info.endpoint().is_none()), (flags, 0, true));
    assert_eq!(busy.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn with_a_connection_each_no_more_are_admitted_than_the_limit_says() {
    for admits in [true, false] {
        let (mesh, client) = (shop::mesh(1, "retries: {attempts: 0}", ONE), Client::new(9, admits));
        let rules = client.under(&mesh);
        assert_eq!(burst(&rules, 1).await, [200]);
        assert_eq!(burst(&rules, 4).await, [200, 503, 503, 503], "{admits}");
        // Who is known not to look after them is not called in vain.
        assert_eq!(client.called(), if admits { 5 } else { 2 });
        shop::nothing_is_left(&mesh);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_refused_says_so() {
    let (mesh, client) = (shop::mesh(1, "retries: {attempts: 0}", ONE), Client::new(1, false));
    let rules = client.under(&mesh);
    let busy = tokio::spawn(rules.clone().oneshot(get("/")));
    sleep(Duration::from_millis(1)).await;
    let refused = rules.oneshot(get("/")).await.unwrap();
    assert_eq!(refused.headers()["x-envoy-overloaded"], "true");
    let info = refused.extensions().get::<RouteInfo>().unwrap();
    assert_eq!((info.flags(), info.attempts()), (ResponseFlags::UPSTREAM_OVERFLOW, 0));
    assert_eq!(busy.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_before_there_is_a_connection_is_nobodys_fault() {
    // A connection is all that there is, or none: what waits for one does so in vain.
    for (connections, expected) in [(0, 0), (2, 1)] {
        let (mesh, client) = (shop::mesh(1, "timeout: 300ms", STRICT), Client::new(connections, true));
        assert_eq!(burst(&client.under(&mesh), 2).await, [504, 504]);
        assert_eq!(ejected(&mesh), expected);
    }
    // A client that says nothing of connections is taken to have them.
    let (mesh, client) = (shop::mesh(1, "timeout: 300ms", STRICT), Client::new(0, false));
    assert_eq!(burst(&client.under(&mesh), 2).await, [504, 504]);
    assert_eq!(ejected(&mesh), 1);
}

/// The host `copy.test`, which admits one request at a time and gets a copy of what is sent to `shop.test`.
const COPIED: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: both}
spec:
  hosts: [shop.test, copy.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.9}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: copy}
spec: {host: copy.test, trafficPolicy: {connectionPool: {http: {http2MaxRequests: 1}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.test]
  gateways: [mesh, front]
  http: [{route: [{destination: {host: shop.test}}], mirror: {host: copy.test}, retries: {attempts: 0}}]
";

/// An application that sends the copies of its requests through this client.
fn copying(mesh: &Mesh, client: &Client) -> Rules {
    let client = client.clone();
    let mirrors = service_fn(move |copy: Request<RequestBody<MirrorBody>>| client.clone().call(copy));
    let router = MeshRouter::inbound(mesh, "default/front").with_mirrors(mirrors);
    let application = service_fn(async |_: Sent| Ok::<_, BoxError>(Response::new(Full::from("x"))));
    BoxCloneService::new(router.layer(application))
}

#[tokio::test(start_paused = true)]
async fn copies_wait_for_a_connection_or_are_not_sent_in_vain_either() {
    for (inbound, admits) in [(true, true), (true, false), (false, true), (false, false)] {
        let (mesh, client) = (shop::published(COPIED), Client::new(1, admits));
        let rules = if inbound { copying(&mesh, &client) } else { client.under(&mesh) };
        let (copies, requests) = (if admits { 4 } else { 1 }, if inbound { 0 } else { 4 });
        // What they are sent through is known after the first of them.
        for round in 1..=2 {
            assert_eq!(burst(&rules, 4).await, [200; 4]);
            sleep(Duration::from_secs(9)).await;
            let seen = [&client.called, &client.answered].map(|count| count.load(Ordering::Relaxed));
            assert_eq!(seen, [round * (copies + requests); 2], "{inbound} {admits} {round}");
            shop::nothing_is_left(&mesh);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_request_there_is_no_copy_if_it_is_refused_at_once() {
    let limited = COPIED.replace("spec: {host: copy.test,", "spec: {host: shop.test,");
    for (waiting, copies) in [(false, 1), (true, 2)] {
        let (mesh, client) = (shop::published(&limited), Client::new(if waiting { 0 } else { 9 }, true));
        let later = client.connections.clone();
        tokio::spawn(async move {
            sleep(Duration::from_secs(1)).await;
            later.add_permits(9);
        });
        assert_eq!(burst(&client.under(&mesh), 2).await, [200, 503], "{waiting}");
        assert_eq!(client.called(), 2 + copies, "{waiting}");
        sleep(Duration::from_secs(9)).await;
        shop::nothing_is_left(&mesh);
    }
}

/// What a first try comes to, and whether it has given its place back by then.
const FAILING: [(Option<Failure>, bool); 4] =
    [(None, false), (None, true), (Some(Failure::RemoteReset), false), (Some(Failure::ConnectTimeout), true)];

#[tokio::test(start_paused = true)]
async fn a_budget_counts_the_try_that_failed_but_for_a_stream_that_is_over() {
    let rule = "retries: {attempts: 1, retryOn: '5xx,reset,connect-failure', backoff: 1ms}";
    let budget = "retryBudget: {percent: 100, minRetryConcurrency: 1}";
    for (protocol, statuses) in [("HTTP", [200, 200, 200, 200]), ("HTTP2", [200, 503, 503, 200])] {
        for ((failure, released), status) in FAILING.into_iter().zip(statuses) {
            let mesh = shop::mesh_of(protocol, &[([10, 0, 0, 1], 80).into()], rule, budget);
            let calls = Arc::new(AtomicUsize::new(0));
            let client = service_fn(move |mut request: Sent| {
                let (number, aim) = (calls.fetch_add(1, Ordering::Relaxed), request.body_mut().take_aim());
                let admission = aim.unwrap().admission;
                admission.claim();
                async move {
                    sleep(Duration::from_secs(if number < 2 { 1 + number as u64 } else { 9 })).await;
                    let response = Response::builder().status(if number < 2 { 503 } else { 200 });
                    if released && number < 2 {
                        admission.release();
                    }
                    match failure {
                        Some(failure) if number < 2 => Err(FailureError::new(failure, "failed")),
                        _ => Ok(response.body(Full::<Bytes>::default()).unwrap()),
                    }
                }
            });
            let rules = MeshRouter::new(&mesh).layer(client);
            // The further try of the one is under way when the other fails.
            let first = tokio::spawn(rules.clone().oneshot(get("/")));
            tokio::task::yield_now().await;
            let second = rules.oneshot(get("/")).await.unwrap();
            assert_eq!(second.status(), status, "{protocol} {failure:?} {released}");
            assert_eq!(first.await.unwrap().unwrap().status(), StatusCode::OK);
            shop::nothing_is_left(&mesh);
        }
    }
}
