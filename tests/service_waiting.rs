//! Tries that the service keeps waiting, and their requests, which go on coming meanwhile, under a clock that
//! stands still.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/shop.rs"]
mod shop;

use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use mesh_router::service::{MeshRouter, RequestBody, ResponseFlags, RouteInfo};
use mesh_router::{BoxError, Mesh};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_stream::StreamExt;
use tower::limit::ConcurrencyLimit;
use tower::{Layer, Service, ServiceExt, service_fn};

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Sent = Request<RequestBody<Body>>;

const RETRIES: &str = "retries: {attempts: 1, retryOn: '503', backoff: 100ms}";

/// Two parts of this size are more than is read ahead.
const LARGE: usize = 600_000;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The first part at once, the others a second each after the one before.
fn parts<const N: usize>(sizes: [io::Result<usize>; N]) -> Body {
    let frames = tokio_stream::iter(sizes.into_iter().enumerate()).then(|(number, size)| async move {
        sleep(seconds(number.min(1) as u64)).await;
        Ok(Frame::data(Bytes::from(vec![7; size?])))
    });
    StreamBody::new(frames).boxed_unsync()
}

fn nothing() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn answer(status: u16) -> Response<Body> {
    Response::builder().status(status).body(nothing()).unwrap()
}

/// Fails the first try once it has read some of it, and is not ready for another for ten minutes.
#[derive(Clone, Default)]
struct Busy(Arc<Mutex<Option<Pin<Box<Sleep>>>>>);

impl Service<Sent> for Busy {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut *self.0.lock().unwrap() {
            Some(free) => free.as_mut().poll(cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: Sent) -> Self::Future {
        *self.0.lock().unwrap() = Some(Box::pin(sleep(seconds(600))));
        Box::pin(async move {
            request.into_body().frame().await.unwrap()?;
            Ok(answer(503))
        })
    }
}

/// What becomes of a request with this body where the service is busy: its status and flags, and after how long.
async fn ask_busy(router: MeshRouter, body: Body) -> (u16, ResponseFlags, Duration) {
    let began = Instant::now();
    let request = Request::put("http://shop.test/").body(body).unwrap();
    let response = router.layer(Busy::default()).oneshot(request).await.unwrap();
    let info = response.extensions().get::<RouteInfo>().unwrap();
    assert_eq!(info.attempts(), 1);
    (response.status().as_u16(), info.flags(), began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_timeout_begins_when_the_request_has_come_while_a_try_is_kept_waiting() {
    let mesh = shop::mesh(1, &format!("timeout: 5s\n{RETRIES}"), "loadBalancer: {simple: RANDOM}");
    let (status, _, took) = ask_busy(MeshRouter::new(&mesh), parts([Ok(4), Ok(4), Ok(4)])).await;
    assert_eq!((status, took), (504, seconds(7)));
    shop::nothing_is_left(&mesh);
}

#[tokio::test(start_paused = true)]
async fn a_try_that_is_kept_waiting_ends_with_its_client() {
    let mesh = shop::at_gateway(RETRIES);
    let router = MeshRouter::new(&mesh).with_origin(shop::listener());
    let body = parts([Ok(4), Ok(4), Err(io::ErrorKind::ConnectionReset.into())]);
    assert_eq!(ask_busy(router, body).await, (503, ResponseFlags::LOCAL_RESET, seconds(2)));
    shop::nothing_is_left(&mesh);
}

/// After how long a first try is answered that the service keeps waiting, although it was ready for the request.
async fn kept_waiting(router: MeshRouter, body: Body) -> (u16, Duration) {
    let (began, busy) = (Instant::now(), Busy::default());
    let mut service = router.layer(busy.clone());
    service.ready().await.unwrap();
    *busy.0.lock().unwrap() = Some(Box::pin(sleep(seconds(600))));
    let response = service.call(Request::put("http://shop.test/").body(body).unwrap()).await.unwrap();
    (response.status().as_u16(), began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_timeout_begins_when_the_request_has_come_while_its_first_try_is_kept_waiting() {
    let mesh = |fault: &str| {
        let rule = format!("timeout: 5s\nretries: {{attempts: 0}}\n{fault}");
        shop::mesh(1, &rule, "loadBalancer: {simple: RANDOM}")
    };
    let (per_try, delayed) = (mesh(""), mesh("fault: {delay: {fixedDelay: 1s, percentage: {value: 100}}}"));
    let bodies: [(fn() -> Body, u64); 2] = [(nothing, 0), (|| parts([Ok(4), Ok(4), Ok(4)]), 2)];
    for (body, comes_in) in bodies {
        let router = MeshRouter::new(&per_try).with_faults_per_try();
        assert_eq!(kept_waiting(router, body()).await, (504, seconds(comes_in + 5)));
        assert_eq!(kept_waiting(MeshRouter::new(&delayed), body()).await, (504, seconds(1 + comes_in + 5)));
    }
    shop::nothing_is_left(&per_try);
    shop::nothing_is_left(&delayed);
}

/// How much there is of a body, and whether that is all.
async fn read_all(mut body: RequestBody<Body>) -> (usize, bool) {
    let mut size = 0;
    loop {
        match body.frame().await {
            Some(Ok(frame)) => size += frame.into_data().unwrap().len(),
            Some(Err(_)) => return (size, false),
            None => return (size, true),
        }
    }
}

/// What a service that takes one request at a time reads of the copy, which has that place before the second try, and of
/// the second try: how much, and whether that was all.
async fn read_beside_a_copy(mesh: &Mesh, body: Body) -> Vec<(usize, bool)> {
    let read: Arc<Mutex<Vec<_>>> = Arc::default();
    let (first, kept) = (Arc::new(Mutex::new(true)), read.clone());
    let one_at_a_time = ConcurrencyLimit::new(
        service_fn(move |request: Sent| {
            let first = std::mem::replace(&mut *first.lock().unwrap(), false);
            let kept = kept.clone();
            async move {
                let mut body = request.into_body();
                if first {
                    body.frame().await.unwrap()?;
                    return Ok::<_, BoxError>(answer(503));
                }
                let read = read_all(body).await;
                kept.lock().unwrap().push(read);
                Ok(answer(200))
            }
        }),
        1,
    );
    let request = Request::put("http://shop.test/").body(body).unwrap();
    let answered = timeout(seconds(60), MeshRouter::new(mesh).layer(one_at_a_time).oneshot(request)).await;
    assert_eq!(answered.expect("it ends").unwrap().status(), 200);
    shop::nothing_is_left(mesh);
    std::mem::take(&mut *read.lock().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_copy_gets_its_body_while_a_try_waits_for_its_place() {
    let mesh = shop::mesh(1, &format!("mirror: {{host: shop.test}}\n{RETRIES}"), "loadBalancer: {simple: RANDOM}");
    let read = read_beside_a_copy(&mesh, parts([Ok(4), Ok(4), Ok(4)])).await;
    assert_eq!(read, [(12, true), (12, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_more_than_is_read_ahead_does_not_hold_up_the_try_that_waits_for_its_place() {
    let mesh = shop::mesh(1, &format!("mirror: {{host: shop.test}}\n{RETRIES}"), "loadBalancer: {simple: RANDOM}");
    let read = read_beside_a_copy(&mesh, parts([Ok(LARGE), Ok(LARGE), Ok(LARGE)])).await;
    assert_eq!(read, [(LARGE, false), (3 * LARGE, true)]);
}

/// A service that is ready once some time has passed.
#[derive(Clone)]
struct Later<S>(Arc<Mutex<Pin<Box<Sleep>>>>, S);

impl<S: Service<Sent>> Service<Sent> for Later<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        ready!(self.0.lock().unwrap().as_mut().poll(cx));
        self.1.poll_ready(cx)
    }

    fn call(&mut self, request: Sent) -> S::Future {
        self.1.call(request)
    }
}

/// What is read of a request of three large parts and of its copy where the service is ready after so many seconds.
async fn read_with_its_copy(mesh: &Mesh, router: MeshRouter, ready_after: u64) -> Vec<(usize, bool)> {
    let kept: Arc<Mutex<Vec<_>>> = Arc::default();
    let all = kept.clone();
    let reads = service_fn(move |request: Sent| {
        let all = all.clone();
        async move {
            let read = read_all(request.into_body()).await;
            all.lock().unwrap().push(read);
            Ok::<_, BoxError>(answer(200))
        }
    });
    let free = Arc::new(Mutex::new(Box::pin(sleep(seconds(ready_after)))));
    let request = Request::put("http://shop.test/").body(parts([Ok(LARGE), Ok(LARGE), Ok(LARGE)])).unwrap();
    // It is asked again for the first try.
    let answered = router.layer(Later(free, reads)).call(request).await.unwrap();
    assert_eq!(answered.status(), 200);
    drop(answered);
    sleep(seconds(1)).await;
    shop::nothing_is_left(mesh);
    std::mem::take(&mut *kept.lock().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_not_late_while_the_service_is_called() {
    let mesh = shop::at_gateway(
        "mirror: {host: shop.test}\nretries: {attempts: 0}\n\
                                 fault: {delay: {fixedDelay: 5s, percentage: {value: 100}}}",
    );
    let kept: Arc<Mutex<Vec<_>>> = Arc::default();
    let all = kept.clone();
    // It reads all that there is before it has returned.
    let reads = service_fn(move |request: Sent| {
        let read = pin!(read_all(request.into_body())).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(read) = read else { panic!("all of it is there") };
        all.lock().unwrap().push(read);
        std::future::ready(Ok::<_, BoxError>(answer(200)))
    });
    let part = || Ok(Frame::data(Bytes::from(vec![7; LARGE])));
    let body = StreamBody::new(tokio_stream::iter([part(), part(), part()])).boxed_unsync();
    let request = Request::put("http://shop.test/").body(body).unwrap();
    let answered = MeshRouter::new(&mesh).with_origin(shop::listener()).layer(reads).oneshot(request).await.unwrap();
    assert_eq!(answered.status(), 200);
    sleep(seconds(1)).await;
    assert_eq!(*kept.lock().unwrap(), [WHOLE, WHOLE]);
}

const MIRRORED: &str = "mirror: {host: shop.test}\nretries: {attempts: 0}";
const WHOLE: (usize, bool) = (3 * LARGE, true);

#[tokio::test(start_paused = true)]
async fn a_copy_is_not_late_while_the_service_keeps_its_request_waiting() {
    for ready_after in [0, 1, 5] {
        let mesh = shop::mesh(1, MIRRORED, "loadBalancer: {simple: RANDOM}");
        let router = MeshRouter::new(&mesh).with_faults_per_try();
        assert_eq!(read_with_its_copy(&mesh, router, ready_after).await, [WHOLE, WHOLE], "{ready_after}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_not_late_while_a_fault_holds_its_request_back() {
    let held = format!("{MIRRORED}\nfault: {{delay: {{fixedDelay: 5s, percentage: {{value: 100}}}}}}");
    for ready_after in [0, 10] {
        let mesh = shop::at_gateway(&held);
        let router = MeshRouter::new(&mesh).with_origin(shop::listener());
        assert_eq!(read_with_its_copy(&mesh, router, ready_after).await, [WHOLE, WHOLE], "{ready_after}");
    }
}
