//! Bodies that come late, break off or have no end, and the time of a request with them, under a clock that stands still.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/shop.rs"]
mod shop;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use mesh_router::outcome::{Failure, FailureError};
use mesh_router::service::{
    BodyError, DeadlineBudget, MeshRouter, RequestBody, RequestPolicy, ResponseBody, RouteInfo,
};
use mesh_router::{BoxError, Mesh};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Sent = Request<RequestBody<Body>>;

fn mesh(fields: &str) -> Mesh {
    shop::mesh(3, fields, "connectionPool: {http: {http2MaxRequests: 1000, maxRetries: 1000}}")
}

fn full(bytes: &'static [u8]) -> Body {
    Full::from(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Frames, each so many seconds after the start; `None` breaks off.
struct Timed {
    start: Instant,
    frames: VecDeque<(u64, Option<Bytes>)>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// What it tells of its length.
    size: SizeHint,
}

fn timed(frames: impl IntoIterator<Item = (u64, Option<Bytes>)>) -> Body {
    timed_of(frames, SizeHint::default())
}

fn timed_of(frames: impl IntoIterator<Item = (u64, Option<Bytes>)>, size: SizeHint) -> Body {
    Timed { start: Instant::now(), frames: frames.into_iter().collect(), sleep: None, size }.boxed_unsync()
}

impl http_body::Body for Timed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some((after, _)) = self.frames.front() else { return Poll::Ready(None) };
        let at = self.start + seconds(*after);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        ready!(sleep.as_mut().poll(cx));
        let frame = self.frames.pop_front().map(|(_, data)| match data {
            Some(data) => Ok(Frame::data(data)),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        });
        Poll::Ready(frame)
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

fn text(text: &'static str) -> Option<Bytes> {
    Some(Bytes::from_static(text.as_bytes()))
}

fn attempts(response: &Response<ResponseBody<Body>>) -> u32 {
    response.extensions().get::<RouteInfo>().unwrap().attempts()
}

/// What a server got of a body, and how long it was.
type Got = Arc<Mutex<Vec<Result<usize, BodyError>>>>;

/// Refuses the first connection, and reads what is sent on the others.
fn refuses_once(
    got: &Got,
) -> impl Service<Sent, Response = Response<Body>, Error = BoxError, Future: Send> + Clone + use<> {
    let (got, refused) = (got.clone(), Arc::new(Mutex::new(false)));
    service_fn(move |request: Sent| {
        let (got, first) = (got.clone(), !std::mem::replace(&mut *refused.lock().unwrap(), true));
        async move {
            if first {
                return Err(BoxError::from(FailureError::new(Failure::ConnectRefused, io::Error::other("told to"))));
            }
            let body = request.into_body().collect().await.map(|whole| whole.to_bytes().len());
            got.lock().unwrap().push(body);
            Ok(Response::new(full(b"")))
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_between_two_tries_is_not_sent_as_a_whole_one() {
    let mesh = mesh("retries: {attempts: 1, retryOn: connect-failure, backoff: 10s}");
    let got = Got::default();
    let body = timed([(0, text("first half,")), (1, None)]);
    let request = Request::post("http://shop.test/").body(body).unwrap();
    let response = MeshRouter::new(&mesh).layer(refuses_once(&got)).oneshot(request).await.unwrap();
    assert!(got.lock().unwrap().iter().all(Result::is_err), "{:?}", got.lock().unwrap());
    assert_eq!(response.status(), 503);
}

/// Answers 503 at first and reads on, then is not ready for 5 s; the second try is read whole.
#[derive(Clone)]
struct ReadsOn {
    tries: Arc<Mutex<u32>>,
    pause: Arc<Mutex<Option<Pin<Box<Sleep>>>>>,
    got: Got,
}

impl Service<Sent> for ReadsOn {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if *self.tries.lock().unwrap() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut pause = self.pause.lock().unwrap();
        pause.get_or_insert_with(|| Box::pin(sleep(seconds(5)))).as_mut().poll(cx).map(Ok)
    }

    fn call(&mut self, request: Sent) -> Self::Future {
        let number = std::mem::replace(&mut *self.tries.lock().unwrap(), 1);
        let got = self.got.clone();
        let read = async move {
            let (mut body, mut sum) = (request.into_body(), 0);
            let whole = loop {
                // Whoever else waits for the body may be the one who is woken.
                match timeout(Duration::from_millis(10), body.frame()).await {
                    Ok(Some(Ok(frame))) => sum += frame.into_data().map_or(0, |data| data.len()),
                    Ok(Some(Err(error))) => break Err(error),
                    Ok(None) => break Ok(sum),
                    Err(_) => {}
                }
            };
            got.lock().unwrap().push(whole);
        };
        if number == 0 {
            tokio::spawn(read);
            return Box::pin(async { Ok(Response::builder().status(503).body(full(b"")).unwrap()) });
        }
        Box::pin(async move {
            read.await;
            Ok(Response::new(full(b"")))
        })
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_still_sends_a_try_that_was_given_up_never_sends_what_looks_whole() {
    static PART: [u8; 400_000] = [7; 400_000];
    // The body comes while the service is not ready, where nobody reads it, and in the pause, where it outgrows the buffer.
    for (pause, status, sent) in [("1ms", 200, vec![None, Some(6 * PART.len())]), ("60s", 507, vec![None])] {
        let mesh = mesh(&format!("retries: {{attempts: 1, retryOn: '503', backoff: {pause}}}"));
        let got = Got::default();
        let service = ReadsOn { tries: Arc::default(), pause: Arc::default(), got: got.clone() };
        let body = timed((1..=6).map(|second| (second, Some(Bytes::from_static(&PART)))));
        let request = Request::post("http://shop.test/").body(body).unwrap();
        let response = MeshRouter::new(&mesh).layer(service).oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{pause}");
        sleep(seconds(10)).await;
        let got: Vec<_> = got.lock().unwrap().drain(..).map(Result::ok).collect();
        assert_eq!(got, sent, "{pause}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_begins_when_the_request_has_come_whether_or_not_anybody_reads_it() {
    let mesh = mesh("timeout: 1s\nretries: {attempts: 0}");
    // The last comes after 2 s.
    let late = || timed([(0, text("x")), (2, text("y"))]);
    let bodies: [(fn() -> Body, u64); 3] = [(|| full(b""), 1), (|| full(b"x"), 1), (late, 3)];
    for (body, took) in bodies {
        let never = service_fn(|request: Sent| async move {
            let _unread = request;
            std::future::pending::<Result<Response<Body>, BoxError>>().await
        });
        let began = Instant::now();
        let request = Request::post("http://shop.test/").body(body()).unwrap();
        let response = MeshRouter::new(&mesh).layer(never).oneshot(request).await.unwrap();
        assert_eq!((response.status().as_u16(), began.elapsed()), (504, seconds(took)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_begins_also_where_only_a_try_of_before_has_read() {
    let mesh = mesh("timeout: 5s\nretries: {attempts: 1, retryOn: reset, backoff: 10ms}");
    let first = Arc::new(Mutex::new(true));
    let service = service_fn(move |request: Sent| {
        let first = std::mem::replace(&mut *first.lock().unwrap(), false);
        async move {
            let mut body = request.into_body();
            if first {
                body.frame().await.unwrap().unwrap();
                return Err(BoxError::from(FailureError::new(Failure::RemoteReset, io::Error::other("told to"))));
            }
            std::future::pending::<Result<Response<Body>, BoxError>>().await
        }
    });
    let began = Instant::now();
    let request = Request::post("http://shop.test/").body(timed([(0, text("x")), (1, text("y"))])).unwrap();
    let answer = timeout(seconds(60), MeshRouter::new(&mesh).layer(service).oneshot(request)).await;
    let response = answer.expect("it ends").unwrap();
    assert_eq!((response.status().as_u16(), attempts(&response), began.elapsed()), (504, 2, seconds(6)));
}

#[tokio::test(start_paused = true)]
async fn what_was_read_before_a_try_reads_is_all_there_for_it() {
    static LARGE: [u8; 300_000] = [7; 300_000];
    // Without further tries nothing is kept for them.
    for retries in ["retries: {attempts: 0}", "retries: {attempts: 2}"] {
        let mesh = mesh(&format!("timeout: 100s\n{retries}"));
        let slow = service_fn(|request: Sent| async move {
            sleep(seconds(3)).await;
            let mut body = request.into_body();
            let mut sum = 0;
            while let Some(frame) = body.frame().await {
                sum += frame?.into_data().map_or(0, |data| data.len());
            }
            Ok::<_, BoxError>(Response::builder().header("x-sum", sum).body(full(b"")).unwrap())
        });
        let body = timed((1..=10).map(|second| (second, Some(Bytes::from_static(&LARGE)))));
        let request = Request::post("http://shop.test/").body(body).unwrap();
        let response = MeshRouter::new(&mesh).layer(slow).oneshot(request).await.unwrap();
        assert_eq!(response.headers()["x-sum"], "3000000", "{retries}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_always_has_more_ends_with_the_timeout_too() {
    let mesh = mesh("timeout: 2s");
    let endless =
        service_fn(|_: Sent| async { Ok::<_, BoxError>(Response::new(timed((0..100).map(|_| (0, text("x")))))) });
    let request = Request::get("http://shop.test/").body(full(b"")).unwrap();
    let response = MeshRouter::new(&mesh).layer(endless).oneshot(request).await.unwrap();
    let (mut body, mut frames) = (response.into_body(), 0);
    let error = loop {
        match body.frame().await.unwrap() {
            Ok(_) => frames += 1,
            Err(error) => break error,
        }
        sleep(seconds(1)).await;
    };
    assert!(error.is_timeout());
    assert_eq!(frames, 2);
}

#[tokio::test(start_paused = true)]
async fn times_without_end_are_only_very_long() {
    let mesh = mesh("retries: {attempts: 1, retryOn: '503'}");
    let asks = service_fn(|_: Sent| async {
        sleep(seconds(1)).await;
        let answer = Response::builder().status(503).header("retry-after", u64::MAX);
        Ok::<_, BoxError>(answer.body(full(b"")).unwrap())
    });
    let router = MeshRouter::new(&mesh).with_retry_after(Duration::MAX);
    let policy = RequestPolicy::new().timeout(Duration::MAX).per_try_timeout(Duration::MAX);
    let request = Request::get("http://shop.test/").extension(policy.retries(0)).body(full(b"")).unwrap();
    let response = router.clone().layer(asks).oneshot(request).await.unwrap();
    assert_eq!((response.status().as_u16(), attempts(&response)), (503, 1));
    let request = Request::get("http://shop.test/").extension(DeadlineBudget::within(seconds(9))).body(full(b""));
    let response = router.layer(asks).oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.status().as_u16(), 504, "the pause is longer than the budget");
}

#[tokio::test(start_paused = true)]
async fn a_fault_holds_a_request_back_no_longer_than_its_budget() {
    let mesh = mesh("fault: {delay: {fixedDelay: 60s, percentage: {value: 100}}}");
    let never = service_fn(|_: Sent| async { Err::<Response<Body>, BoxError>("it was sent".into()) });
    let began = Instant::now();
    let request = Request::get("http://shop.test/").extension(DeadlineBudget::within(seconds(1))).body(full(b""));
    let response = MeshRouter::new(&mesh).layer(never).oneshot(request.unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), began.elapsed()), (504, seconds(1)));
}

#[tokio::test(start_paused = true)]
async fn a_reset_before_the_request_is_none_once_an_endpoint_has_had_some_of_it() {
    let mesh = mesh("retries: {attempts: 3, retryOn: 'reset-before-request,refused-stream'}");
    let failures = Arc::new(Mutex::new(vec![Failure::ConnectRefused, Failure::RefusedStream]));
    let fails = service_fn(move |_: Sent| {
        let failure = failures.lock().unwrap().pop();
        async move {
            match failure {
                Some(failure) => Err(BoxError::from(FailureError::new(failure, io::Error::other("told to")))),
                None => Ok(Response::new(full(b""))),
            }
        }
    });
    let request = Request::get("http://shop.test/").body(full(b"")).unwrap();
    let response = MeshRouter::new(&mesh).layer(fails).oneshot(request).await.unwrap();
    assert_eq!((response.status().as_u16(), attempts(&response)), (503, 2));
}

const INBOUND: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: web}
spec:
  hosts: [shop.test]
  gateways: [web/front]
  http:
  - route: [{destination: {host: web.web.svc.cluster.local}}]
    timeout: 10s
    retries: {attempts: 2, perTryTimeout: 1s}
";

#[tokio::test(start_paused = true)]
async fn the_application_is_told_the_time_that_it_has() {
    let mesh = shop::published(INBOUND);
    let application = service_fn(|request: Sent| async move {
        let told = request.headers().get("grpc-timeout").cloned();
        Ok::<_, BoxError>(Response::builder().header("x-told", told.unwrap()).body(full(b"")).unwrap())
    });
    let request = Request::post("http://shop.test/").header("content-type", "application/grpc").body(full(b""));
    let service = MeshRouter::inbound(&mesh, "web/front").layer(application);
    assert_eq!(service.oneshot(request.unwrap()).await.unwrap().headers()["x-told"], "10000m");
}

#[tokio::test(start_paused = true)]
async fn who_offers_another_protocol_has_no_more_time_for_it() {
    let mesh = shop::published(INBOUND);
    let late =
        || service_fn(|_: Sent| async { Ok::<_, BoxError>(Response::new(timed([(0, text("x")), (100, text("y"))]))) });
    for offered in [None, Some("h2c"), Some("websocket")] {
        let mut request = Request::get("http://shop.test/");
        if let Some(offered) = offered {
            request = request.header("connection", "upgrade").header("upgrade", offered);
        }
        let service = MeshRouter::inbound(&mesh, "web/front").layer(late());
        let response = service.oneshot(request.body(full(b"")).unwrap()).await.unwrap();
        assert!(response.into_body().collect().await.unwrap_err().is_timeout(), "{offered:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_length_that_the_rule_removes_is_not_told_by_the_body() {
    let rule = "headers: {request: {remove: [content-length]}}";
    let retries = format!("{rule}\nretries: {{attempts: 1, retryOn: 5xx, backoff: 1ms}}");
    for (rule, tries) in [(rule, 1), (&retries, 2)] {
        // hyper says the length of a body that tells it, which is all that some applications rely on.
        for (said, told) in [(None, Some(3)), (Some("3"), None)] {
            let seen: Arc<Mutex<Vec<_>>> = Arc::default();
            let kept = seen.clone();
            let client = service_fn(move |request: Sent| {
                let length = request.headers().get("content-length").cloned();
                kept.lock().unwrap().push((length, http_body::Body::size_hint(request.body()).exact()));
                async {
                    assert_eq!(request.into_body().collect().await?.to_bytes(), "abc");
                    Ok::<_, BoxError>(Response::builder().status(503).body(full(b"")).unwrap())
                }
            });
            let mut request = Request::post("http://shop.test/").body(full(b"abc")).unwrap();
            request.headers_mut().extend(said.map(|said| (CONTENT_LENGTH, said.parse().unwrap())));
            MeshRouter::new(&mesh(rule)).layer(client).oneshot(request).await.unwrap();
            assert_eq!(*seen.lock().unwrap(), vec![(None, told); tries], "{rule}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_try_that_is_gone_does_not_keep_the_end_of_the_body_from_the_first() {
    let number = Arc::new(Mutex::new(0));
    let service = service_fn(move |request: Sent| {
        let number = std::mem::replace(&mut *number.lock().unwrap(), 1);
        // A connection is a task of its own.
        let sent = tokio::spawn(async move {
            let read = request.into_body().collect();
            if number == 1 {
                let _ = timeout(Duration::from_millis(50), read).await;
                return Err(BoxError::from(FailureError::new(Failure::RemoteReset, io::Error::other("told to"))));
            }
            read.await?;
            Ok(Response::new(full(b"")))
        });
        async move { sent.await.unwrap() }
    });
    // All that was announced is there long before the end.
    let body = timed_of([(0, text("four")), (3, text(""))], SizeHint::with_exact(4));
    let policy = RequestPolicy::new().hedge_after(seconds(1));
    let request = Request::put("http://shop.test/").extension(policy).body(body).unwrap();
    let service = MeshRouter::new(&mesh("retries: {attempts: 0}")).layer(service);
    let response = timeout(seconds(60), service.oneshot(request)).await.expect("it ends").unwrap();
    assert_eq!((response.status().as_u16(), attempts(&response)), (200, 2));
}
