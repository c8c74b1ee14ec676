//! A second try beside a first that takes long, under a clock that stands still.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/shop.rs"]
mod shop;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use mesh_router::outcome::{Failure, FailureError};
use mesh_router::service::{
    MeshRouter, RequestBody, RequestPolicy, ResponseBody, ResponseFlags, RetrySafety, RouteInfo,
};
use mesh_router::upstream::EndpointView;
use mesh_router::{BoxError, Mesh};
use proptest::prelude::*;
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Sent = Request<RequestBody<Body>>;
type Answer = Response<ResponseBody<Body>>;

const NONE: &str = "retries: {attempts: 0}";
const TWO: &str = "retries: {attempts: 2, retryOn: 5xx, backoff: 10ms}";

fn limited(fields: &str, requests: u32, retries: u32) -> Mesh {
    let policy = format!(
        "connectionPool: {{http: {{http2MaxRequests: {requests}, maxRetries: {retries}}}}}\n\
         outlierDetection: {{consecutive5xxErrors: 1, baseEjectionTime: 600s, maxEjectionPercent: 100}}"
    );
    shop::mesh(3, fields, &policy)
}

fn mesh(fields: &str) -> Mesh {
    limited(fields, 100, 100)
}

/// What the client does with one try, after so many milliseconds: it answers or fails.
#[derive(Clone, Copy, Debug)]
enum Does {
    Answers(u64, u16),
    Fails(u64, Failure),
}

use Does::{Answers, Fails};

/// A client that does one thing after the other, the last for ever; what it was sent is kept.
#[derive(Clone, Default)]
struct Client {
    script: Arc<Mutex<Vec<Does>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Whether it reads the body only after what it waits for.
    lazy: bool,
}

#[derive(Clone, Debug)]
struct Seen {
    at: Instant,
    host: String,
    body: usize,
}

impl Client {
    fn new(script: impl IntoIterator<Item = Does>) -> Self {
        Self { script: Arc::new(Mutex::new(script.into_iter().collect())), ..Self::default() }
    }

    /// What it was sent, in that order.
    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn tries(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    async fn serve(self, request: Sent) -> Result<Response<Body>, BoxError> {
        let does = {
            let mut script = self.script.lock().unwrap();
            if script.len() > 1 { script.remove(0) } else { script[0] }
        };
        let (head, body) = request.into_parts();
        let (at, host) = (Instant::now(), head.uri.host().unwrap().to_owned());
        let number = {
            let mut seen = self.seen.lock().unwrap();
            seen.push(Seen { at, host, body: 0 });
            seen.len() - 1
        };
        let (Answers(after, _) | Fails(after, _)) = does;
        if self.lazy {
            sleep(Duration::from_millis(after)).await;
        }
        let read = body.collect().await?.to_bytes().len();
        self.seen.lock().unwrap()[number].body = read;
        if !self.lazy {
            sleep(Duration::from_millis(after)).await;
        }
        match does {
            Answers(_, status) => Ok(Response::builder().status(status).body(full(0)).unwrap()),
            Fails(_, failure) => Err(FailureError::new(failure, io::Error::other("told to")).into()),
        }
    }
}

fn full(size: usize) -> Body {
    Full::from(vec![7; size]).map_err(|never| match never {}).boxed_unsync()
}

/// A body whose second half comes after a while.
fn slow(half: usize, after: u64) -> Body {
    StreamBody::new(Halves { half, left: 2, pause: Box::pin(sleep(milliseconds(after))) }).boxed_unsync()
}

struct Halves {
    half: usize,
    left: u8,
    pause: Pin<Box<tokio::time::Sleep>>,
}

impl tokio_stream::Stream for Halves {
    type Item = Result<Frame<Bytes>, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if self.left == 1 {
            std::task::ready!(self.pause.as_mut().poll(cx));
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![7; self.half])))))
    }
}

fn milliseconds(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn hedged() -> RequestPolicy {
    RequestPolicy::new().hedge_after(milliseconds(100))
}

fn request(method: &str, policy: RequestPolicy, body: Body) -> Request<Body> {
    Request::builder().method(method).uri("http://shop.test/").extension(policy).body(body).unwrap()
}

async fn ask(mesh: &Mesh, client: &Client, request: Request<Body>) -> (Answer, Duration) {
    let (client, began) = (client.clone(), Instant::now());
    let service = MeshRouter::new(mesh).layer(service_fn(move |request: Sent| client.clone().serve(request)));
    let answer = service.oneshot(request).await.unwrap();
    (answer, began.elapsed())
}

async fn get(mesh: &Mesh, client: &Client) -> (Answer, Duration) {
    ask(mesh, client, request("GET", hedged(), full(0))).await
}

fn info(answer: &Answer) -> &RouteInfo {
    answer.extensions().get().unwrap()
}

fn endpoint(answer: &Answer) -> String {
    info(answer).endpoint().unwrap().address.to_string()
}

fn view(mesh: &Mesh) -> Vec<EndpointView> {
    mesh.snapshot().clusters().next().unwrap().view()
}

fn ejected(mesh: &Mesh) -> Vec<String> {
    view(mesh).iter().filter(|view| view.ejected.is_some()).map(|view| view.address.to_string()).collect()
}

/// Requests, retries and busy endpoints.
fn in_use(mesh: &Mesh) -> (u64, u64, u32) {
    let snapshot = mesh.snapshot();
    let in_use = snapshot.clusters().next().unwrap().limits().in_use();
    (in_use.requests, in_use.retries, view(mesh).iter().map(|endpoint| endpoint.active).sum())
}

#[tokio::test(start_paused = true)]
async fn the_second_try_wins_where_the_first_is_slow() {
    for rule in [NONE, TWO, ""] {
        let (mesh, client) = (mesh(rule), Client::new([Answers(5000, 200), Answers(20, 201)]));
        let (answer, elapsed) = get(&mesh, &client).await;
        assert_eq!((answer.status().as_u16(), elapsed, info(&answer).attempts()), (201, milliseconds(120), 2));
        let seen = client.seen();
        assert_eq!((seen.len(), seen[1].at - seen[0].at), (2, milliseconds(100)));
        assert_ne!(seen[0].host, seen[1].host);
        assert_eq!(endpoint(&answer), format!("{}:80", seen[1].host));
        assert_eq!(info(&answer).flags(), ResponseFlags::NONE);
        // The loser holds nothing, the answer is still to be read.
        assert_eq!(in_use(&mesh).1, 0);
        assert!(ejected(&mesh).is_empty());
        drop(answer);
        assert_eq!(in_use(&mesh), (0, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_try_may_win_after_the_second_was_sent() {
    let (mesh, client) = (mesh(TWO), Client::new([Answers(150, 200), Answers(500, 201)]));
    let (answer, elapsed) = get(&mesh, &client).await;
    assert_eq!((answer.status().as_u16(), elapsed, info(&answer).attempts()), (200, milliseconds(150), 2));
    assert_eq!(endpoint(&answer), format!("{}:80", client.seen()[0].host));
    assert_eq!((in_use(&mesh).1, ejected(&mesh).len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn there_is_one_try_where_the_first_answers_in_time_or_fails() {
    let client = Client::new([Answers(99, 200)]);
    let (answer, _) = get(&mesh(TWO), &client).await;
    assert_eq!((info(&answer).attempts(), client.tries()), (1, 1));
    let client = Client::new([Fails(50, Failure::RemoteReset), Answers(500, 200)]);
    let (answer, elapsed) = get(&mesh(TWO), &client).await;
    // The one that follows is not hedged.
    assert_eq!((answer.status().as_u16(), client.tries()), (200, 2));
    assert!(elapsed > milliseconds(550), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_bad_answer_waits_for_the_other_try() {
    for bad in [Answers(150, 503), Fails(150, Failure::RemoteReset)] {
        let (mesh, client) = (mesh(TWO), Client::new([bad, Answers(500, 200)]));
        let (answer, elapsed) = get(&mesh, &client).await;
        assert_eq!((answer.status().as_u16(), elapsed, client.tries()), (200, milliseconds(600), 2));
        let seen = client.seen();
        assert_eq!(endpoint(&answer), format!("{}:80", seen[1].host));
        assert_eq!(ejected(&mesh), [format!("{}:80", seen[0].host)]);
    }
    for bad in [Answers(20, 503), Fails(20, Failure::ConnectRefused)] {
        let (mesh, client) = (mesh(TWO), Client::new([Answers(400, 200), bad]));
        let (answer, elapsed) = get(&mesh, &client).await;
        assert_eq!((answer.status().as_u16(), elapsed, client.tries()), (200, milliseconds(400), 2));
        let seen = client.seen();
        assert_eq!(endpoint(&answer), format!("{}:80", seen[0].host));
        assert_eq!(ejected(&mesh), [format!("{}:80", seen[1].host)]);
    }
}

#[tokio::test(start_paused = true)]
async fn without_retries_any_answer_is_taken_and_no_failure() {
    let client = Client::new([Answers(150, 503), Answers(500, 200)]);
    let (answer, elapsed) = get(&mesh(NONE), &client).await;
    assert_eq!((answer.status().as_u16(), elapsed), (503, milliseconds(150)));
    let client = Client::new([Fails(150, Failure::RemoteReset), Answers(500, 200)]);
    let (answer, elapsed) = get(&mesh(NONE), &client).await;
    assert_eq!((answer.status().as_u16(), elapsed), (200, milliseconds(600)));
    let client = Client::new([Fails(150, Failure::RemoteReset), Fails(500, Failure::RemoteReset)]);
    let (answer, elapsed) = get(&mesh(NONE), &client).await;
    assert_eq!((answer.status().as_u16(), elapsed, client.tries()), (503, milliseconds(600), 2));
    assert_eq!(info(&answer).flags(), ResponseFlags::UPSTREAM_REMOTE_RESET);
}

#[tokio::test(start_paused = true)]
async fn where_both_are_bad_what_is_left_of_the_attempts_follows() {
    for (first, second) in [(150, 400), (400, 100)] {
        let (mesh, client) = (mesh(TWO), Client::new([Answers(first, 503), Answers(second, 502), Answers(0, 200)]));
        let (answer, elapsed) = get(&mesh, &client).await;
        assert_eq!((answer.status().as_u16(), info(&answer).attempts(), client.tries()), (200, 3, 3));
        assert!(elapsed >= milliseconds(first.max(100 + second)), "{elapsed:?}");
        assert_eq!(ejected(&mesh).len(), 2);
    }
    let one = "retries: {attempts: 1, retryOn: 5xx, backoff: 10ms}";
    let (mesh, client) = (mesh(one), Client::new([Answers(150, 503), Answers(400, 502)]));
    let (answer, elapsed) = get(&mesh, &client).await;
    assert_eq!((answer.status().as_u16(), client.tries(), elapsed), (502, 2, milliseconds(500)));
    assert_eq!(info(&answer).flags(), ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED);
    assert_eq!(endpoint(&answer), format!("{}:80", client.seen()[1].host));
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_request_that_nobody_reads_begins_without_a_second_try() {
    let client = Client { lazy: true, ..Client::new([Answers(100_000, 200)]) };
    let policy = RequestPolicy::new().hedge_after(milliseconds(10_000));
    let (answer, elapsed) = ask(&mesh("timeout: 5s"), &client, request("PUT", policy, full(10))).await;
    assert_eq!((answer.status().as_u16(), elapsed, client.tries()), (504, milliseconds(5000), 1));
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_may_have_sent_some_of_the_request() {
    let rule = "retries: {attempts: 3, retryOn: 'reset-before-request,refused-stream', backoff: 10ms}";
    let client = Client::new([Fails(150, Failure::RemoteReset), Fails(400, Failure::ConnectRefused), Answers(0, 200)]);
    let (answer, _) = get(&mesh(rule), &client).await;
    assert_eq!((answer.status().as_u16(), client.tries()), (503, 2));
}

#[tokio::test(start_paused = true)]
async fn a_full_budget_or_destination_has_no_place_for_it() {
    // The place of the only retry is taken by the first request's second try, until that has its answer.
    let mesh_of_one = limited(TWO, 100, 1);
    let client = Client::new([Answers(300, 200)]);
    let ((one, _), (other, _)) = tokio::join!(get(&mesh_of_one, &client), get(&mesh_of_one, &client));
    assert_eq!(client.tries(), 3);
    assert_eq!(info(&one).attempts() + info(&other).attempts(), 3);
    assert_eq!(info(&one).flags() | info(&other).flags(), ResponseFlags::NONE);
    assert_eq!(in_use(&mesh_of_one).1, 0);
    let client = Client::new([Answers(300, 200)]);
    let (answer, elapsed) = get(&limited(TWO, 1, 100), &client).await;
    assert_eq!((answer.status().as_u16(), client.tries(), elapsed), (200, 1, milliseconds(300)));
}

#[tokio::test(start_paused = true)]
async fn only_what_is_idempotent_has_a_second_try() {
    for (method, idempotent, tries) in [
        ("GET", None, 2),
        ("PUT", None, 2),
        ("GET", Some(false), 1),
        ("POST", None, 1),
        ("PATCH", None, 1),
        ("POST", Some(true), 2),
    ] {
        for safety in [RetrySafety::AsConfigured, RetrySafety::IdempotentOnly] {
            let client = Client::new([Answers(500, 200)]);
            let policy = idempotent.map_or(hedged(), |yes| hedged().idempotent(yes));
            let router = MeshRouter::new(&mesh(TWO)).with_retry_safety(safety);
            let served = client.clone();
            let service = router.layer(service_fn(move |request: Sent| served.clone().serve(request)));
            service.oneshot(request(method, policy, full(0))).await.unwrap();
            assert_eq!(client.tries(), tries, "{method} {idempotent:?} {safety:?}");
        }
    }
    let client = Client::new([Answers(500, 200)]);
    let mut tunnel = request("GET", hedged(), full(0));
    tunnel.headers_mut().insert("upgrade", "websocket".parse().unwrap());
    ask(&mesh(TWO), &client, tunnel).await;
    assert_eq!(client.tries(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_second_try_has_the_whole_body() {
    for rule in [NONE, TWO] {
        let client = Client::new([Answers(5000, 200), Answers(20, 201)]);
        let (answer, elapsed) = ask(&mesh(rule), &client, request("PUT", hedged(), full(70_000))).await;
        assert_eq!((answer.status().as_u16(), elapsed), (201, milliseconds(120)));
        assert_eq!(client.seen().iter().map(|seen| seen.body).collect::<Vec<_>>(), [70_000, 70_000]);
    }
    // The first has not read a byte of it: it waits, for example for a connection.
    let client = Client { lazy: true, ..Client::new([Answers(5000, 200), Answers(20, 201)]) };
    let (answer, elapsed) = ask(&mesh(TWO), &client, request("PUT", hedged(), full(70_000))).await;
    assert_eq!((answer.status().as_u16(), elapsed, client.seen()[1].body), (201, milliseconds(120), 70_000));
    // The first reads it after the second has.
    let client = Client { lazy: true, ..Client::new([Answers(200, 200), Answers(5000, 201)]) };
    let (answer, elapsed) = ask(&mesh(TWO), &client, request("PUT", hedged(), full(70_000))).await;
    assert_eq!((answer.status().as_u16(), elapsed, client.seen()[0].body), (200, milliseconds(200), 70_000));
}

#[tokio::test(start_paused = true)]
async fn a_body_is_waited_for_and_one_that_is_not_kept_is_sent_once() {
    let client = Client::new([Answers(5000, 200), Answers(20, 201)]);
    let (answer, elapsed) = ask(&mesh(TWO), &client, request("PUT", hedged(), slow(1000, 300))).await;
    assert_eq!((answer.status().as_u16(), elapsed), (201, milliseconds(420)));
    assert_eq!(client.seen().iter().map(|seen| seen.body).collect::<Vec<_>>(), [2000, 2000]);
    for lazy in [false, true] {
        let client = Client { lazy, ..Client::new([Answers(1000, 200)]) };
        let (answer, _) = ask(&mesh(TWO), &client, request("PUT", hedged(), slow(600_000, 300))).await;
        assert_eq!((answer.status().as_u16(), client.tries()), (200, 1));
        assert_eq!(client.seen()[0].body, 1_200_000, "nothing of it is lost");
    }
}

#[tokio::test(start_paused = true)]
async fn timeouts_hold_for_each_try_and_for_both() {
    // The first ends 200 ms after it began, the second 200 ms after that.
    let each = hedged().per_try_timeout(milliseconds(200));
    let client = Client::new([Answers(5000, 200), Answers(150, 201)]);
    let (answer, elapsed) = ask(&mesh(NONE), &client, request("GET", each.clone(), full(0))).await;
    assert_eq!((answer.status().as_u16(), elapsed), (201, milliseconds(250)));
    let (mesh_of_both, client) = (mesh(NONE), Client::new([Answers(5000, 200)]));
    let (answer, elapsed) = ask(&mesh_of_both, &client, request("GET", each, full(0))).await;
    assert_eq!((answer.status().as_u16(), elapsed, client.tries()), (504, milliseconds(300), 2));
    assert_eq!(ejected(&mesh_of_both).len(), 2);
    let (mesh_of_both, client) = (mesh(TWO), Client::new([Answers(5000, 200)]));
    let all = hedged().timeout(milliseconds(250));
    let (answer, elapsed) = ask(&mesh_of_both, &client, request("GET", all, full(0))).await;
    assert_eq!((answer.status().as_u16(), elapsed, client.tries()), (504, milliseconds(250), 2));
    assert_eq!((info(&answer).flags(), info(&answer).attempts()), (ResponseFlags::UPSTREAM_REQUEST_TIMEOUT, 2));
    assert_eq!(endpoint(&answer), format!("{}:80", client.seen()[0].host));
    assert_eq!((in_use(&mesh_of_both), ejected(&mesh_of_both).len()), ((0, 0, 0), 2));
}

/// The second try waits until the service is ready for it, and the first goes on meanwhile.
#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_ready_has_no_second_try_yet() {
    for (at_a_time, tries) in [(1, 1), (2, 2)] {
        let (mesh, client) = (mesh(TWO), Client::new([Answers(300, 200)]));
        let served = client.clone();
        let inner = service_fn(move |request: Sent| served.clone().serve(request));
        let inner = tower::limit::ConcurrencyLimit::new(inner, at_a_time);
        let service = MeshRouter::new(&mesh).layer(inner.clone());
        let answer = service.oneshot(request("GET", hedged(), full(0))).await.unwrap();
        assert_eq!((answer.status().as_u16(), info(&answer).attempts(), client.tries()), (200, tries, tries as usize));
        assert_eq!(in_use(&mesh).1, 0);
        // Nothing of the service stays reserved.
        for _ in 0..2 {
            tokio::time::timeout(milliseconds(1), inner.clone().ready_oneshot()).await.unwrap().unwrap();
        }
    }
}

/// A service of which so many of the first questions whether it is ready come to nothing. One that has said so is not
/// asked again, nor called.
struct Brittle {
    client: Client,
    ready: Arc<Mutex<Vec<bool>>>,
    failed: bool,
}

impl Clone for Brittle {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), ready: self.ready.clone(), failed: false }
    }
}

impl Service<Sent> for Brittle {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        assert!(!self.failed, "it is asked again after it failed");
        let mut ready = self.ready.lock().unwrap();
        self.failed = !ready.is_empty() && !ready.remove(0);
        Poll::Ready(if self.failed { Err("not this one".into()) } else { Ok(()) })
    }

    fn call(&mut self, request: Sent) -> Self::Future {
        assert!(!self.failed, "it is called after it failed");
        Box::pin(self.client.clone().serve(request))
    }
}

/// The second try is given up, and those that follow the first are made by another.
#[tokio::test(start_paused = true)]
async fn a_service_that_failed_before_the_second_try_is_left_alone() {
    for (ready, came) in [(vec![true, false], (200, 2)), (vec![true, false, false], (503, 1))] {
        let client = Client::new([Answers(200, 503), Answers(20, 200)]);
        let inner = Brittle { client: client.clone(), ready: Arc::new(Mutex::new(ready)), failed: false };
        let answer = MeshRouter::new(&mesh(TWO)).layer(inner).oneshot(request("GET", hedged(), full(0))).await.unwrap();
        assert_eq!((answer.status().as_u16(), client.tries()), came);
    }
}

fn does() -> impl Strategy<Value = Does> {
    prop_oneof![
        (0u64..400, prop_oneof![Just(200), Just(503)]).prop_map(|(after, status)| Answers(after, status)),
        (0u64..400).prop_map(|after| Fails(after, Failure::RemoteReset)),
    ]
}

proptest! {
    /// Wherever it is given up, nothing stays counted; and as long as it is not, no more is counted than is under way.
    #[test]
    fn a_request_that_is_given_up_is_not_counted(
        script in proptest::collection::vec(does(), 1..4),
        given_up in 0u64..900,
        body in 0usize..2,
        rule in prop_oneof![Just(NONE), Just(TWO), Just("timeout: 300ms\nretries: {attempts: 2, perTryTimeout: 120ms}")],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (mesh, client) = (mesh(rule), Client::new(script));
            let asked = ask(&mesh, &client, request("PUT", hedged(), full(body * 1000)));
            let watched = async {
                for _ in 0..given_up {
                    let (requests, retries, active) = in_use(&mesh);
                    assert!(requests <= 2 && retries <= 1 && active <= 2, "{requests} {retries} {active}");
                    sleep(milliseconds(1)).await;
                }
            };
            tokio::select! {
                answer = asked => drop(answer),
                () = watched => {}
            }
            assert_eq!(in_use(&mesh), (0, 0, 0));
        });
    }
}
