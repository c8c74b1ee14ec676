//! Requests whose client leaves before all of them has come, while nobody reads them yet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/shop.rs"]
mod shop;

use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};
use mesh_router::service::{MeshRouter, RequestBody, RequestPolicy, ResponseFlags, RouteInfo};
use mesh_router::{BoxError, Mesh};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};

/// The first part of a body, which breaks off two seconds later.
struct Leaves {
    begun: bool,
    gone: Pin<Box<Sleep>>,
}

impl Leaves {
    fn new() -> Self {
        Self { begun: false, gone: Box::pin(sleep(seconds(2))) }
    }
}

impl Body for Leaves {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if !mem::replace(&mut self.begun, true) {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"first")))));
        }
        self.gone.as_mut().poll(cx).map(|()| Some(Err(io::ErrorKind::ConnectionReset.into())))
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A host whose servers are ejected once they fail.
fn mesh(rule: &str) -> Mesh {
    let ejects = "outlierDetection: {consecutive5xxErrors: 1, baseEjectionTime: 600s, maxEjectionPercent: 100}";
    shop::mesh(3, rule, ejects)
}

#[tokio::test(start_paused = true)]
async fn a_try_that_waits_for_its_connection_waits_no_longer_than_the_client() {
    let hedged = RequestPolicy::new().hedge_after(seconds(1));
    for (mesh, at_gateway, policy) in [
        (shop::at_gateway("retries: {attempts: 0}"), true, RequestPolicy::new()),
        (shop::at_gateway("timeout: 10s"), true, RequestPolicy::new()),
        (mesh("timeout: 10s"), false, RequestPolicy::new()),
        (mesh("retries: {attempts: 2, retryOn: 'reset'}"), false, hedged),
    ] {
        let connecting = service_fn(|request: Request<RequestBody<Leaves>>| async move {
            let _unread = request;
            std::future::pending::<Result<Response<Empty<Bytes>>, BoxError>>().await
        });
        let mut router = MeshRouter::new(&mesh);
        if at_gateway {
            router = router.with_origin(shop::listener());
        }
        let began = Instant::now();
        let request = Request::put("http://shop.test/").extension(policy).body(Leaves::new()).unwrap();
        let response = timeout(seconds(60), router.layer(connecting).oneshot(request)).await.expect("it ends").unwrap();
        assert_eq!((response.status().as_u16(), began.elapsed()), (503, seconds(2)));
        let info = response.extensions().get::<RouteInfo>().unwrap();
        assert_eq!((info.attempts(), info.flags()), (1, ResponseFlags::LOCAL_RESET));
        assert!(info.cause().unwrap().source().unwrap().is::<io::Error>());
        drop(response);
        shop::nothing_is_left(&mesh);
        let snapshot = mesh.snapshot();
        assert!(snapshot.clusters().all(|cluster| cluster.view().iter().all(|server| server.ejected.is_none())));
    }
}

const HELD: &str = "fault: {delay: {fixedDelay: 3s, percentage: {value: 100}}}";

#[tokio::test(start_paused = true)]
async fn a_request_that_a_fault_holds_back_ends_with_its_client() {
    let mesh = shop::at_gateway(HELD);
    let never = service_fn(async |_: Request<RequestBody<Leaves>>| {
        Err::<Response<Empty<Bytes>>, BoxError>("it was sent".into())
    });
    let began = Instant::now();
    let request = Request::put("http://shop.test/").body(Leaves::new()).unwrap();
    let service = MeshRouter::new(&mesh).with_origin(shop::listener()).layer(never);
    let response = service.oneshot(request).await.unwrap();
    assert_eq!((response.status().as_u16(), began.elapsed()), (503, seconds(2)));
    let info = response.extensions().get::<RouteInfo>().unwrap();
    let flags = ResponseFlags::DELAY_INJECTED | ResponseFlags::LOCAL_RESET;
    assert_eq!((info.attempts(), info.flags()), (0, flags));
    drop(response);
    shop::nothing_is_left(&mesh);
}

#[tokio::test(start_paused = true)]
async fn what_was_read_while_a_fault_held_it_back_is_sent_copied_and_timed_as_ever() {
    let rule = "timeout: 5s\nretries: {attempts: 1, retryOn: '503', backoff: 100ms}\nmirror: {host: shop.test}";
    let mesh = shop::at_gateway(&format!("{HELD}\n{rule}"));
    let lengths: Arc<Mutex<Vec<usize>>> = Arc::default();
    let kept = lengths.clone();
    let fails = service_fn(move |request: Request<RequestBody<Full<Bytes>>>| {
        let lengths = kept.clone();
        async move {
            let length = request.into_body().collect().await?.to_bytes().len();
            let again = {
                let mut lengths = lengths.lock().unwrap();
                lengths.push(length);
                lengths.len() > 2
            };
            if again {
                std::future::pending::<()>().await;
            }
            Ok::<_, BoxError>(Response::builder().status(503).body(Empty::<Bytes>::new()).unwrap())
        }
    });
    let began = Instant::now();
    let request = Request::put("http://shop.test/").body(Full::from("four")).unwrap();
    let service = MeshRouter::new(&mesh).with_origin(shop::listener()).layer(fails);
    let response = service.oneshot(request).await.unwrap();
    assert_eq!((response.status().as_u16(), began.elapsed()), (504, seconds(3 + 5)));
    assert_eq!(*lengths.lock().unwrap(), [4, 4, 4], "the first try, its copy, the second try");
}
