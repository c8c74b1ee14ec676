//! Requests that are shorter than they announced, over HTTP/1.1: they end at once, as they do over a client alone, whether
//! their bodies were read ahead, are sent a second time, beside another try, or as a copy.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/shop.rs"]
mod shop;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mesh_router::service::{MeshRouter, RequestPolicy, ResponseBody, ResponseFlags, RouteInfo};
use mesh_router::transport::TransportBody;
use mesh_router::upstream::Address;
use mesh_router::{Mesh, Transport};
use tokio::io::DuplexStream;
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, ServiceExt};

const STRICT: &str = "outlierDetection: {consecutive5xxErrors: 1, baseEjectionTime: 60s, maxEjectionPercent: 100}";

/// Three bytes, after which the end comes by itself.
struct Short {
    data: Option<Bytes>,
    size: SizeHint,
}

impl Body for Short {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(self.data.take().map(|data| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

/// A request that announces more than it has: of a file that has become shorter, or by its body itself.
fn short(by_head: bool) -> Request<Short> {
    let size = if by_head { SizeHint::default() } else { SizeHint::with_exact(5) };
    let mut request = Request::put("http://shop.test/").body(Short { data: Some(Bytes::from_static(b"abc")), size });
    if by_head && let Ok(request) = &mut request {
        request.headers_mut().insert(CONTENT_LENGTH, 5.into());
    }
    request.unwrap()
}

/// What becomes of a connection.
#[derive(Clone, Copy)]
enum Dialed {
    Refused,
    /// It is never open.
    Silent,
    Served,
}

/// A transport to servers in memory, which read what they are sent; its first connection is `first`.
fn transport(first: Dialed) -> Transport {
    let dialed = Arc::new(AtomicUsize::new(0));
    let connect = move |_: Address| {
        let is_first = dialed.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            match if is_first { first } else { Dialed::Served } {
                Dialed::Refused => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
                Dialed::Silent => std::future::pending().await,
                Dialed::Served => Ok(server()),
            }
        }
    };
    Transport::builder().connector(connect).build()
}

fn server() -> DuplexStream {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let read = service_fn(async |request: Request<Incoming>| {
        request.into_body().collect().await?;
        Ok::<_, hyper::Error>(Response::new(Empty::<Bytes>::new()))
    });
    tokio::spawn(async move { http1::Builder::new().serve_connection(TokioIo::new(far), read).await });
    near
}

type Answer = Response<ResponseBody<TransportBody>>;

/// What comes of a request, and after how many seconds.
async fn send(mesh: &Mesh, first: Dialed, request: Request<Short>) -> (Answer, u64) {
    let began = Instant::now();
    let answer = MeshRouter::new(mesh).layer(transport(first)).oneshot(request);
    let answer = timeout(Duration::from_secs(600), answer).await.expect("it ends").unwrap();
    (answer, began.elapsed().as_secs())
}

fn info(answer: &Answer) -> (ResponseFlags, u32) {
    let info = answer.extensions().get::<RouteInfo>().unwrap();
    (info.flags(), info.attempts())
}

/// Nothing is under way, and nobody is to blame.
fn is_well(mesh: &Mesh) -> bool {
    let limits = mesh.snapshot().clusters().all(|cluster| cluster.limits().in_use().requests == 0);
    limits && mesh.endpoints().iter().all(|endpoint| endpoint.active == 0 && endpoint.ejected.is_none())
}

#[tokio::test(start_paused = true)]
async fn it_ends_whether_or_not_it_is_read_ahead() {
    // The second has its body read ahead while it is connected.
    for rule in ["retries: {attempts: 0}", "retries: {attempts: 0}\ntimeout: 30s", "timeout: 30s"] {
        for by_head in [false, true] {
            let mesh = shop::mesh(2, rule, STRICT);
            let (answer, took) = send(&mesh, Dialed::Served, short(by_head)).await;
            assert_eq!((answer.status().as_u16(), took), (503, 0), "{rule}");
            assert_eq!(info(&answer), (ResponseFlags::LOCAL_RESET, 1), "{rule}");
            assert!(is_well(&mesh), "{rule}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_ends_where_it_is_sent_a_second_time() {
    for (rule, first, tries) in [
        ("retries: {attempts: 1, retryOn: connect-failure, backoff: 1ms}", Dialed::Refused, 2),
        ("retries: {attempts: 2, retryOn: reset, backoff: 1ms}", Dialed::Served, 3),
    ] {
        for by_head in [false, true] {
            let mesh = shop::mesh(2, rule, "");
            let (answer, took) = send(&mesh, first, short(by_head)).await;
            assert_eq!((answer.status().as_u16(), took), (503, 0), "{rule}");
            let (flags, attempts) = info(&answer);
            assert!(flags.contains(ResponseFlags::LOCAL_RESET) && attempts == tries, "{rule}: {flags} {attempts}");
            assert!(is_well(&mesh), "{rule}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_ends_beside_another_try() {
    // What the first of them sends was read ahead of it; that of the other comes to nothing, and its second try sends it.
    for (first, took, attempts) in [(Dialed::Served, 0, 1), (Dialed::Silent, 10, 2)] {
        for by_head in [false, true] {
            let mesh = shop::mesh(2, "retries: {attempts: 0}", "");
            let mut request = short(by_head);
            request.extensions_mut().insert(RequestPolicy::new().hedge_after(Duration::from_secs(1)));
            let (answer, seconds) = send(&mesh, first, request).await;
            assert_eq!((answer.status().as_u16(), seconds), (503, took), "the first has its connect timeout");
            assert_eq!(info(&answer).1, attempts);
            assert!(is_well(&mesh));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn its_copy_ends() {
    for by_head in [false, true] {
        let mesh = shop::mesh(2, "retries: {attempts: 0}\nmirror: {host: shop.test}", STRICT);
        send(&mesh, Dialed::Served, short(by_head)).await;
        sleep(Duration::from_secs(1)).await;
        assert!(is_well(&mesh), "{:?}", mesh.endpoints());
    }
}
