//! Tries, pauses and timeouts under a clock that stands still, over a client that does what it is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/shop.rs"]
mod shop;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use mesh_router::dice::Dice;
use mesh_router::outcome::{Failure, FailureError, Outcome};
use mesh_router::service::{
    MeshRouter, RequestBody, RequestPolicy, ResponseBody, ResponseFlags, RetrySafety, RouteInfo,
};
use mesh_router::{BoxError, Mesh};
use tokio::time::{Instant, Sleep, sleep};
use tokio_stream as stream;
use tower::{Layer, ServiceExt, service_fn};

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Sent = Request<RequestBody<Body>>;

/// A mesh whose only rule has these fields besides its route.
fn mesh(fields: &str) -> Mesh {
    let plenty = "connectionPool: {http: {http2MaxRequests: 1000, maxRetries: 1000, http1MaxPendingRequests: 1000}}";
    shop::mesh(3, fields, plenty)
}

/// What the client does with one try.
#[derive(Clone, Debug)]
enum Does {
    Answers(u16),
    AnswersGrpc(&'static str),
    AnswersLate(u64, u16),
    /// Answers at once, and its body comes after so many milliseconds.
    Trickles(u64),
    Fails(Failure),
    /// Answers 429 with this `retry-after`.
    AsksToWait(&'static str),
}

/// A client that does one thing after the other, the last for ever; what it was sent is kept.
#[derive(Clone, Default)]
struct Client {
    script: Arc<Mutex<Vec<Does>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

#[derive(Clone, Debug)]
struct Seen {
    at: Instant,
    host: String,
    headers: HeaderMap,
    body: usize,
}

impl Client {
    fn new(script: impl IntoIterator<Item = Does>) -> Self {
        Self { script: Arc::new(Mutex::new(script.into_iter().collect())), ..Self::default() }
    }

    fn next(&self) -> Does {
        let mut script = self.script.lock().unwrap();
        if script.len() > 1 { script.remove(0) } else { script[0].clone() }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    async fn serve(self, request: Sent) -> Result<Response<Body>, BoxError> {
        let (head, body) = request.into_parts();
        let seen = Seen {
            at: Instant::now(),
            host: head.uri.host().unwrap().to_owned(),
            headers: head.headers,
            body: body.collect().await?.to_bytes().len(),
        };
        self.seen.lock().unwrap().push(seen);
        let status = match self.next() {
            Does::Answers(status) => status,
            Does::AnswersLate(milliseconds, status) => {
                sleep(Duration::from_millis(milliseconds)).await;
                status
            }
            Does::AnswersGrpc(status) => {
                return Ok(Response::builder().header("grpc-status", status).body(empty()).unwrap());
            }
            Does::Trickles(milliseconds) => {
                let late = Late(Some(Box::pin(sleep(Duration::from_millis(milliseconds)))));
                return Ok(Response::new(late.boxed_unsync()));
            }
            Does::AsksToWait(seconds) => {
                let answer = Response::builder().status(429).header("retry-after", seconds);
                return Ok(answer.body(empty()).unwrap());
            }
            Does::Fails(failure) => {
                return Err(FailureError::new(failure, io::Error::other("told to")).into());
            }
        };
        Ok(Response::builder().status(status).body(empty()).unwrap())
    }
}

/// One frame, after a while.
struct Late(Option<Pin<Box<Sleep>>>);

impl http_body::Body for Late {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some(sleep) = &mut self.0 else { return Poll::Ready(None) };
        ready!(sleep.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"late")))))
    }
}

fn empty() -> Body {
    Full::default().map_err(|never| match never {}).boxed_unsync()
}

fn full(size: usize) -> Body {
    Full::from(vec![7; size]).map_err(|never| match never {}).boxed_unsync()
}

fn get() -> Request<Body> {
    Request::get("http://shop.test/").body(empty()).unwrap()
}

async fn ask(router: MeshRouter, client: &Client, request: Request<Body>) -> Response<ResponseBody<Body>> {
    let client = client.clone();
    let service = router.layer(service_fn(move |request: Sent| client.clone().serve(request)));
    service.oneshot(request).await.unwrap()
}

fn flags(response: &Response<ResponseBody<Body>>) -> ResponseFlags {
    response.extensions().get::<RouteInfo>().unwrap().flags()
}

fn attempts(response: &Response<ResponseBody<Body>>) -> u32 {
    response.extensions().get::<RouteInfo>().unwrap().attempts()
}

#[tokio::test(start_paused = true)]
async fn the_default_policy_tries_refused_connections_twice_more_elsewhere() {
    let mesh = mesh("");
    let client = Client::new([Does::Fails(Failure::ConnectRefused)]);
    let response = ask(MeshRouter::new(&mesh), &client, get()).await;
    assert_eq!((response.status(), attempts(&response)), (StatusCode::SERVICE_UNAVAILABLE, 3));
    let expected = ResponseFlags::UPSTREAM_CONNECTION_FAILURE | ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED;
    assert_eq!(flags(&response), expected);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let reason = "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: \
                  remote connection failure";
    assert_eq!(body, reason);
    let mut hosts: Vec<String> = client.seen().into_iter().map(|seen| seen.host).collect();
    hosts.sort();
    hosts.dedup();
    assert_eq!(hosts.len(), 3, "each try has an endpoint of its own: {hosts:?}");
}

#[tokio::test(start_paused = true)]
async fn the_default_policy_takes_answers_and_resets_as_they_are() {
    for does in [Does::Answers(503), Does::Fails(Failure::RemoteReset), Does::AnswersGrpc("4")] {
        let client = Client::new([does]);
        let response = ask(MeshRouter::new(&mesh("")), &client, get()).await;
        assert_eq!(attempts(&response), 1);
    }
    let client = Client::new([Does::AnswersGrpc("14"), Does::Answers(200)]);
    assert_eq!(attempts(&ask(MeshRouter::new(&mesh("")), &client, get()).await), 2);
}

#[tokio::test(start_paused = true)]
async fn retries_pause_within_the_bounds_of_their_back_off() {
    let mesh = mesh("retries: {attempts: 5, retryOn: 5xx, backoff: 100ms}");
    let client = Client::new([Does::Answers(500)]);
    let response = ask(MeshRouter::new(&mesh), &client, get()).await;
    assert_eq!((response.status().as_u16(), attempts(&response)), (500, 6));
    assert_eq!(flags(&response), ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED);
    let seen = client.seen();
    for (number, pair) in seen.windows(2).enumerate() {
        let bound = Duration::from_millis([100, 200, 400, 800, 1000][number] + 1);
        assert!(pair[1].at - pair[0].at <= bound, "{number}");
    }
    assert!(seen[5].at > seen[0].at, "the pauses are not all nothing");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_tries() {
    let run = async || {
        let mesh = mesh("retries: {attempts: 5, retryOn: 5xx}");
        let (client, began) = (Client::new([Does::Answers(500)]), Instant::now());
        ask(MeshRouter::new(&mesh), &client, get()).await;
        client.seen().into_iter().map(|seen| (seen.at - began, seen.host)).collect::<Vec<_>>()
    };
    assert_eq!(run().await, run().await);
}

#[tokio::test(start_paused = true)]
async fn a_try_that_takes_too_long_is_given_up_and_made_again_if_the_rule_says_so() {
    let rule = "retries: {attempts: 2, perTryTimeout: 200ms, retryOn: reset, backoff: 1ms}";
    let client = Client::new([Does::AnswersLate(1000, 200), Does::Answers(204)]);
    let response = ask(MeshRouter::new(&mesh(rule)), &client, get()).await;
    assert_eq!((response.status().as_u16(), attempts(&response)), (204, 2));
    let seen = client.seen();
    assert!(seen[1].at - seen[0].at >= Duration::from_millis(200));

    let rule = "retries: {attempts: 2, perTryTimeout: 200ms, retryOn: connect-failure}";
    let client = Client::new([Does::AnswersLate(1000, 200)]);
    let (began, response) = (Instant::now(), ask(MeshRouter::new(&mesh(rule)), &client, get()).await);
    assert_eq!((response.status().as_u16(), attempts(&response)), (504, 1));
    assert_eq!(flags(&response), ResponseFlags::UPSTREAM_REQUEST_TIMEOUT);
    assert_eq!(began.elapsed(), Duration::from_millis(200));
}

#[tokio::test(start_paused = true)]
async fn the_timeout_bounds_all_tries_and_their_pauses() {
    let rule = "timeout: 500ms\nretries: {attempts: 9, perTryTimeout: 200ms, retryOn: 5xx, backoff: 1ms}";
    let client = Client::new([Does::AnswersLate(10_000, 200)]);
    let (began, response) = (Instant::now(), ask(MeshRouter::new(&mesh(rule)), &client, get()).await);
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(began.elapsed(), Duration::from_millis(500));
    assert_eq!(attempts(&response), 3);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "upstream request timeout");
}

/// Nobody asks whether a try may follow it: no flag says why not, and it is told where the last one was.
#[tokio::test(start_paused = true)]
async fn no_try_follows_the_timeout_of_the_request() {
    let answers_late = Does::AnswersLate(1000, 200);
    // The script, how often it may be tried again after which pause, how many retries there may be at a time, and the
    // tries that are made.
    let table = [
        (vec![Does::Answers(503), answers_late.clone()], 1, "1ms", 1000, 2),
        (vec![answers_late.clone()], 3, "1ms", 0, 1),
        (vec![answers_late], 3, "1ms", 1000, 1),
        (vec![Does::Answers(503)], 3, "1h", 1000, 1),
    ];
    for ((script, more, pause, places, tries), on) in table.iter().flat_map(|case| [(case, "5xx"), (case, "503,reset")])
    {
        let rule = format!("timeout: 300ms\nretries: {{attempts: {more}, retryOn: '{on}', backoff: {pause}}}");
        let mesh = shop::mesh(3, &rule, &format!("retryBudget: {{percent: 0, minRetryConcurrency: {places}}}"));
        let client = Client::new(script.clone());
        let response = ask(MeshRouter::new(&mesh), &client, get()).await;
        assert_eq!((response.status().as_u16(), attempts(&response)), (504, *tries), "{rule}");
        assert_eq!(flags(&response), ResponseFlags::UPSTREAM_REQUEST_TIMEOUT, "{rule}");
        let info = response.extensions().get::<RouteInfo>().unwrap();
        let endpoint = info.endpoint().map(|endpoint| endpoint.address.to_string());
        assert_eq!(endpoint, Some(format!("{}:80", client.seen()[*tries as usize - 1].host)), "{rule}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_late_breaks_off() {
    for (rule, breaks) in [("timeout: 500ms", true), ("timeout: 2s", false), ("", false)] {
        let client = Client::new([Does::Trickles(1000)]);
        let response = ask(MeshRouter::new(&mesh(rule)), &client, get()).await;
        assert_eq!(response.status(), StatusCode::OK);
        let began = Instant::now();
        match response.into_body().collect().await {
            Ok(body) => assert!(!breaks && body.to_bytes() == "late", "{rule}"),
            Err(error) => {
                assert!(breaks && error.is_timeout(), "{rule}: {error}");
                assert_eq!(began.elapsed(), Duration::from_millis(500));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_delays_before_the_timeout_begins() {
    let rule = "timeout: 300ms\nfault: {delay: {percentage: {value: 100}, fixedDelay: 5s}}";
    let client = Client::new([Does::AnswersLate(200, 200)]);
    let (began, response) = (Instant::now(), ask(MeshRouter::new(&mesh(rule)), &client, get()).await);
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(flags(&response), ResponseFlags::DELAY_INJECTED);
    assert_eq!(began.elapsed(), Duration::from_millis(5200));
}

#[tokio::test(start_paused = true)]
async fn an_abort_reaches_nobody() {
    let rule = "fault: {abort: {percentage: {value: 100}, httpStatus: 503}}\nretries: {attempts: 3, retryOn: 5xx}";
    let client = Client::new([Does::Answers(200)]);
    let response = ask(MeshRouter::new(&mesh(rule)), &client, get()).await;
    assert_eq!((response.status().as_u16(), flags(&response)), (503, ResponseFlags::FAULT_INJECTED));
    assert!(client.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn bodies_are_sent_again_unless_they_are_too_large() {
    let rule = "retries: {attempts: 2, retryOn: 5xx}";
    for (size, tries) in [(0, 3), (1000, 3), (1024 * 1024, 3), (1024 * 1024 + 1, 1)] {
        let client = Client::new([Does::Answers(503)]);
        let request = Request::post("http://shop.test/").body(full(size)).unwrap();
        let response = ask(MeshRouter::new(&mesh(rule)), &client, request).await;
        let sizes: Vec<usize> = client.seen().into_iter().map(|seen| seen.body).collect();
        assert_eq!(sizes, vec![size; tries]);
        assert_eq!(response.status().as_u16(), 503);
    }
}

#[tokio::test(start_paused = true)]
async fn only_idempotent_requests_are_sent_again_where_the_application_says_so() {
    let rule = "retries: {attempts: 2, retryOn: 5xx}";
    for (method, tries) in [("GET", 3), ("PUT", 3), ("POST", 1), ("PATCH", 1)] {
        let client = Client::new([Does::Answers(503)]);
        let request = Request::builder().method(method).uri("http://shop.test/").body(empty()).unwrap();
        let router = MeshRouter::new(&mesh(rule)).with_retry_safety(RetrySafety::IdempotentOnly);
        ask(router, &client, request).await;
        assert_eq!(client.seen().len(), tries, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_classifier_comes_before_the_types() {
    let client = Client::new([Does::Fails(Failure::RemoteReset)]);
    let router = MeshRouter::new(&mesh("")).with_classifier(|_| Some(Failure::ConnectTimeout));
    assert_eq!(attempts(&ask(router, &client, get()).await), 3);
    let router = MeshRouter::new(&mesh("")).with_classifier(|_| panic!("a mistake of the application"));
    assert_eq!(attempts(&ask(router, &client, get()).await), 1);
}

#[tokio::test(start_paused = true)]
async fn grpc_requests_are_answered_in_grpc() {
    let rule = "timeout: 2s";
    let client = Client::new([Does::AnswersLate(10_000, 200)]);
    let request = Request::post("http://shop.test/a.B/C").header("content-type", "application/grpc");
    let request = request.header("grpc-timeout", "1S").body(empty()).unwrap();
    let (began, response) = (Instant::now(), ask(MeshRouter::new(&mesh(rule)), &client, request).await);
    assert_eq!(began.elapsed(), Duration::from_secs(1));
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["grpc-status"], "14");
    assert_eq!(response.headers()["grpc-message"], "upstream request timeout");
    assert_eq!(client.seen()[0].headers["grpc-timeout"], "1000m");
}

#[tokio::test(start_paused = true)]
async fn mirrors_get_what_the_first_try_gets_and_nobody_waits_for_them() {
    let rule = "mirror: {host: shop.test}\nretries: {attempts: 2, retryOn: 5xx, backoff: 100ms}\nheaders: {request: {set: {x-seen: yes}}}";
    let client = Client::new([Does::Answers(503), Does::AnswersLate(60_000, 503), Does::Answers(200)]);
    let request = Request::post("http://shop.test/").body(full(5000)).unwrap();
    let mesh = mesh(&rule.replace("yes", "'yes'"));
    let began = Instant::now();
    let response = ask(MeshRouter::new(&mesh), &client, request).await;
    assert_eq!((response.status().as_u16(), attempts(&response)), (200, 2));
    assert!(began.elapsed() < Duration::from_secs(1));
    let seen = client.seen();
    assert_eq!(seen.len(), 3, "two tries and one copy");
    assert!(seen.iter().all(|seen| seen.body == 5000 && seen.headers["x-seen"] == "yes"));
}

#[tokio::test(start_paused = true)]
async fn aborts_of_single_tries_are_tried_again_where_the_application_wants_them() {
    let rule = "fault: {abort: {percentage: {value: 50}, httpStatus: 503}}\nretries: {attempts: 9, retryOn: 5xx}";
    let (mesh, client) = (mesh(rule), Client::new([Does::Answers(200)]));
    let mut tries = 0;
    for _ in 0..100 {
        let request = Request::post("http://shop.test/").body(full(5000)).unwrap();
        let response = ask(MeshRouter::new(&mesh).with_faults_per_try(), &client, request).await;
        assert_eq!(response.status(), StatusCode::OK);
        tries += attempts(&response);
    }
    // Two of three on average: the bound is at five sigma of the number of tries that 100 successes take.
    assert!((tries as f64 - 200.0).abs() < 5.0 * 200f64.sqrt(), "{tries}");
    let seen = client.seen();
    assert_eq!(seen.len(), 100);
    assert!(seen.iter().all(|seen| seen.body == 5000), "an aborted first try keeps the body for the next");
}

#[tokio::test(start_paused = true)]
async fn an_abort_of_a_try_is_no_endpoints() {
    let rule = "fault: {abort: {percentage: {value: 50}, httpStatus: 418}}\nretries: {attempts: 1, retryOn: 5xx}";
    let (mesh, client) = (mesh(rule), Client::new([Does::Answers(503)]));
    let mut aborted = 0;
    for _ in 0..50 {
        let response = ask(MeshRouter::new(&mesh).with_faults_per_try(), &client, get()).await;
        let endpoint = response.extensions().get::<RouteInfo>().and_then(RouteInfo::endpoint);
        assert_eq!(endpoint.is_none(), response.status() == 418, "{response:?}");
        aborted += usize::from(response.status() == 418 && attempts(&response) == 2);
    }
    assert!(aborted > 0, "none after another try");
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_an_answer_asks_for_is_made_where_the_application_wants_it() {
    let rule = "retries: {attempts: 1, retryOn: '429'}";
    for (longest, expected) in [(Some(60), 7), (Some(3), 3), (None, 0)] {
        let client = Client::new([Does::AsksToWait("7"), Does::Answers(200)]);
        let mut router = MeshRouter::new(&mesh(rule));
        if let Some(longest) = longest {
            router = router.with_retry_after(Duration::from_secs(longest));
        }
        let (began, response) = (Instant::now(), ask(router, &client, get()).await);
        assert_eq!((response.status().as_u16(), attempts(&response)), (200, 2));
        assert_eq!(began.elapsed().as_secs(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn headers_say_when_a_request_came_whenever_they_are_written() {
    let rule = "fault: {delay: {percentage: {value: 100}, fixedDelay: 100s}}\n\
                headers: {request: {set: {x-at: '%START_TIME(%s)%'}}, response: {set: {x-at: '%START_TIME(%s)%'}}}";
    let client = Client::new([Does::AnswersLate(200_000, 200)]);
    let response = ask(MeshRouter::new(&mesh(rule)), &client, get()).await;
    let at = |headers: &HeaderMap| headers["x-at"].to_str().unwrap().parse::<u64>().unwrap();
    // The wall's clock stands while that of the tests runs: what is written later counts back from the same moment.
    let apart = at(&client.seen()[0].headers) - at(response.headers());
    assert!((190..=200).contains(&apart), "{apart}");
}

/// Every way a request can be given up: after so many polls, each some time after the one before.
#[tokio::test(start_paused = true)]
async fn a_request_given_up_at_any_moment_leaves_nothing_behind() {
    let rule = "timeout: 3s\nmirror: {host: shop.test}\n\
                fault: {delay: {percentage: {value: 50}, fixedDelay: 100ms}}\n\
                retries: {attempts: 4, perTryTimeout: 500ms, retryOn: '5xx,reset', backoff: 200ms}";
    let (mesh, mut draws) = (mesh(rule), Dice::seeded(11).draws());
    let script = [Does::AnswersLate(100, 503), Does::Fails(Failure::RemoteReset), Does::AnswersLate(700, 200)];
    for _ in 0..300 {
        let client =
            Client::new([script[draws.below(3) as usize].clone(), Does::AnswersLate(50, 503), Does::Trickles(90)]);
        let service = MeshRouter::new(&mesh).layer(service_fn(move |request: Sent| client.clone().serve(request)));
        let body = full(draws.below(3) as usize * 1000);
        let request = Request::post("http://shop.test/").body(body).unwrap();
        let patience = Duration::from_millis(draws.below(1500));
        if let Ok(Ok(response)) = tokio::time::timeout(patience, service.oneshot(request)).await {
            let patience = Duration::from_millis(draws.below(100));
            drop(tokio::time::timeout(patience, response.into_body().collect()).await);
        }
    }
    // Mirrors go on by themselves until they are answered.
    sleep(Duration::from_secs(10)).await;
    shop::nothing_is_left(&mesh);
}

#[tokio::test(start_paused = true)]
async fn a_rule_steers_by_its_headers_and_nobody_else_does() {
    use Does::Answers;
    let client = Client::new([Answers(503), Answers(418), Answers(200)]);
    let words = "{x-envoy-retry-on: '5xx,retriable-status-codes', x-envoy-retriable-status-codes: '418'}";
    let rule = format!("headers: {{request: {{set: {words}}}}}\nretries: {{attempts: 2, retryOn: reset}}");
    let mut request = get();
    request.headers_mut().insert("x-envoy-max-retries", 0.into());
    let response = ask(MeshRouter::new(&mesh(&rule)), &client, request).await;
    assert_eq!((response.status().as_u16(), attempts(&response)), (200, 3));
    let steers = |seen: &Seen| seen.headers.keys().any(|name| name.as_str().starts_with("x-envoy-"));
    assert!(!client.seen().iter().any(steers), "{:?}", client.seen());

    let none = "headers: {request: {set: {x-envoy-max-retries: '0'}}}\nretries: {attempts: 2, retryOn: 5xx}";
    let response = ask(MeshRouter::new(&mesh(none)), &Client::new([Answers(503)]), get()).await;
    assert_eq!((response.status().as_u16(), attempts(&response)), (503, 1));
    assert_eq!(flags(&response), ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED);

    // Whoever asks for none meets no limit.
    let mut request = get();
    request.extensions_mut().insert(RequestPolicy::new().retries(0));
    let response = ask(MeshRouter::new(&mesh(none)), &Client::new([Answers(503)]), request).await;
    assert_eq!((attempts(&response), flags(&response)), (1, ResponseFlags::NONE));

    // Nor does whoever breaks off the own body.
    let broken = StreamBody::new(stream::once(Err(io::Error::other("told to")))).boxed_unsync();
    let request = Request::post("http://shop.test/").body(broken).unwrap();
    let response = ask(MeshRouter::new(&mesh(none)), &Client::new([Answers(200)]), request).await;
    assert_eq!((attempts(&response), flags(&response)), (1, ResponseFlags::LOCAL_RESET));
}

#[tokio::test(start_paused = true)]
async fn a_rule_may_have_its_timeouts_answered_without_an_error() {
    let rule = "headers: {request: {set: {x-envoy-upstream-rq-timeout-alt-response: '1'}}}\ntimeout: 1s";
    let response = ask(MeshRouter::new(&mesh(rule)), &Client::new([Does::AnswersLate(2000, 200)]), get()).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(flags(&response), ResponseFlags::UPSTREAM_REQUEST_TIMEOUT);
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn mirrors_end_with_the_mesh() {
    let mesh = mesh("mirror: {host: shop.test}");
    let client = Client::new([Does::Answers(200), Does::AnswersLate(3_600_000, 200)]);
    let response = ask(MeshRouter::new(&mesh), &client, get()).await;
    assert_eq!(response.status(), StatusCode::OK);
    drop(response);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(client.seen().len(), 2);
    let tasks = tokio::runtime::Handle::current().metrics();
    assert_eq!(tasks.num_alive_tasks(), 1);
    drop(mesh);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(tasks.num_alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_application_may_judge_an_answer_by_itself() {
    let mesh = shop::mesh(3, "", "outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100}");
    let response = ask(MeshRouter::new(&mesh), &Client::new([Does::Answers(200)]), get()).await;
    let info = response.extensions().get::<RouteInfo>().unwrap();
    info.report(Outcome::Status(StatusCode::SERVICE_UNAVAILABLE));
    let ejected: Vec<_> = mesh.endpoints().into_iter().filter(|endpoint| endpoint.ejected.is_some()).collect();
    assert_eq!(ejected.len(), 1);
    assert_eq!(ejected[0].id, info.endpoint().unwrap().id);
}
