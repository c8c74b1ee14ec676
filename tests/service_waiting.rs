//! Further tries that the service keeps waiting, and their requests, which go on coming meanwhile, under a clock that
//! stands still.
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
use http_body_util::{BodyExt, Empty, StreamBody};
use mesh_router::service::{MeshRouter, RequestBody, ResponseFlags, RouteInfo};
use mesh_router::{BoxError, Mesh};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_stream::StreamExt;
use tower::limit::ConcurrencyLimit;
use tower::{Layer, Service, ServiceExt, service_fn};

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Sent = Request<RequestBody<Body>>;

const RETRIES: &str = "retries: {attempts: 1, retryOn: '503', backoff: 1ms}";

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

fn answer(status: u16) -> Response<Body> {
    Response::builder().status(status).body(Empty::new().map_err(|never| match never {}).boxed_unsync()).unwrap()
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
                let (mut body, mut size) = (request.into_body(), 0);
                let whole = loop {
                    match body.frame().await {
                        Some(Ok(_)) if first => return Ok::<_, BoxError>(answer(503)),
                        Some(Ok(frame)) => size += frame.into_data().unwrap().len(),
                        Some(Err(_)) => break false,
                        None => break true,
                    }
                };
                kept.lock().unwrap().push((size, whole));
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
    const LARGE: usize = 600_000;
    let mesh = shop::mesh(1, &format!("mirror: {{host: shop.test}}\n{RETRIES}"), "loadBalancer: {simple: RANDOM}");
    let read = read_beside_a_copy(&mesh, parts([Ok(LARGE), Ok(LARGE), Ok(LARGE)])).await;
    assert_eq!(read, [(LARGE, false), (3 * LARGE, true)]);
}
