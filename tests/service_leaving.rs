//! Requests whose client leaves before all of them has come, while nobody reads them yet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/shop.rs"]
mod shop;

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::Empty;
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
