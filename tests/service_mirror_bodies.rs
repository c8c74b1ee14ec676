//! Copies of bodies that come late, in one large piece or not to their end, and who is to blame for that, under a clock
//! that stands still.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/shop.rs"]
mod shop;

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use mesh_router::service::{MeshRouter, MirrorBody, RequestBody};
use mesh_router::{BoxError, Mesh};
use shop::nothing_is_left;
use tokio::time::{Instant, sleep};
use tokio_stream::StreamExt;
use tower::{Layer, ServiceExt, service_fn};

type Body = UnsyncBoxBody<Bytes, io::Error>;

const SHADOW: &str = r"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shadow, namespace: web}
spec:
  hosts: [shadow.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.9}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shadow, namespace: web}
spec:
  host: shadow.test
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 1, baseEjectionTime: 60s, maxEjectionPercent: 100}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: web}
spec:
  hosts: [shop.test]
  gateways: [front]
  http:
  - route: [{destination: {host: backend}}]
    mirror: {host: shadow.test}
";

/// A mesh whose rule for the application has a mirror, which one error ejects, and these fields.
fn mesh(fields: &str) -> Mesh {
    shop::published(&format!("{SHADOW}{}", shop::indented(4, fields)))
}

fn is_ejected(mesh: &Mesh) -> bool {
    mesh.endpoints().iter().any(|endpoint| endpoint.ejected.is_some())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The mirror: begins to read a copy after some seconds, and answers some seconds after it has read that.
#[derive(Clone, Debug, Default)]
struct Shadow {
    reads_after: u64,
    answers_after: u64,
    /// Answers at once instead, with what it gets.
    echoes: bool,
    /// What was read of each copy, when it had been, and whether that was all.
    read: Arc<Mutex<Vec<(usize, Instant, bool)>>>,
}

impl Shadow {
    async fn serve(self, request: Request<RequestBody<MirrorBody>>) -> Result<Response<Body>, BoxError> {
        if self.echoes {
            return Ok(Response::new(request.into_body().map_err(io::Error::other).boxed_unsync()));
        }
        sleep(seconds(self.reads_after)).await;
        let (mut body, mut size) = (request.into_body(), 0);
        let broken = loop {
            match body.frame().await {
                Some(Ok(frame)) => size += frame.into_data().map_or(0, |data| data.len()),
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        };
        self.read.lock().unwrap().push((size, Instant::now(), broken.is_none()));
        if broken.is_some() {
            // Clients of others lose the types of their errors.
            return Err("it broke off".into());
        }
        sleep(seconds(self.answers_after)).await;
        Ok(Response::new(none()))
    }

    /// Has the application read this body while the copy is sent here.
    async fn send(&self, mesh: &Mesh, body: Body) {
        let shadow = self.clone();
        let client = service_fn(move |request: Request<RequestBody<MirrorBody>>| shadow.clone().serve(request));
        let application = service_fn(async |request: Request<RequestBody<Body>>| {
            let mut body = request.into_body();
            // As clients do who know the length.
            while body.size_hint().exact() != Some(0)
                && let Some(Ok(_)) = body.frame().await
            {}
            Ok::<_, Infallible>(Response::new(none()))
        });
        let server = MeshRouter::inbound(mesh, "web/front").with_mirrors(client).layer(application);
        let request = Request::post("/").header("host", "shop.test").body(body).unwrap();
        server.oneshot(request).await.unwrap().into_body().collect().await.unwrap();
        sleep(seconds(10)).await;
        nothing_is_left(mesh);
    }

    /// The same; what came of the copy: how much was read, after how many seconds, and whether that was all.
    async fn copy(&self, mesh: &Mesh, body: Body) -> (usize, u64, bool) {
        let began = Instant::now();
        self.send(mesh, body).await;
        let (size, at, whole) = self.read.lock().unwrap().pop().expect("it reads all copies");
        (size, (at - began).as_secs(), whole)
    }
}

fn none() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body of so many chunks of this size, each a second after the one before.
fn slow(count: usize, size: usize) -> Body {
    let frames = tokio_stream::iter(0..count).then(move |_| async move {
        sleep(seconds(1)).await;
        Ok(Frame::data(Bytes::from(vec![7; size])))
    });
    StreamBody::new(frames).boxed_unsync()
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_copy_begins_with_the_end_of_the_request() {
    let mesh = mesh("timeout: 2s");
    let shadow = Shadow { answers_after: 1, ..Shadow::default() };
    assert_eq!(shadow.copy(&mesh, slow(5, 100)).await, (500, 5, true));
    assert!(!is_ejected(&mesh), "it answered in time");
    let shadow = Shadow { answers_after: 3, ..shadow };
    assert_eq!(shadow.copy(&mesh, slow(1, 100)).await, (100, 1, true));
    assert!(is_ejected(&mesh), "it did not");
}

#[tokio::test(start_paused = true)]
async fn a_body_in_one_large_piece_has_a_copy() {
    let mesh = mesh("timeout: 2s");
    for size in [1 << 20, (1 << 20) + 1, 5 << 20] {
        let body = Full::from(vec![7; size]).map_err(|never| match never {}).boxed_unsync();
        assert_eq!(Shadow::default().copy(&mesh, body).await, (size, 0, true));
        assert!(!is_ejected(&mesh));
    }
}

/// A body that breaks off after a second.
fn broken() -> Body {
    let end = tokio_stream::once(()).then(|()| async {
        sleep(seconds(1)).await;
        Err(io::ErrorKind::ConnectionReset.into())
    });
    StreamBody::new(tokio_stream::once(Ok(Frame::data(Bytes::from_static(b"some")))).chain(end)).boxed_unsync()
}

/// A body of two pieces at once that are more than may wait.
fn too_much() -> Body {
    let pieces = [1 << 20, 1].map(|size| Ok(Frame::data(Bytes::from(vec![7; size]))));
    StreamBody::new(tokio_stream::iter(pieces)).boxed_unsync()
}

#[tokio::test(start_paused = true)]
async fn a_mirror_is_not_blamed_for_a_copy_that_is_cut_off() {
    let mesh = mesh("timeout: 2s");
    let (quick, slow) = (Shadow::default(), Shadow { reads_after: 1, ..Shadow::default() });
    assert_eq!(quick.copy(&mesh, broken()).await, (4, 1, false));
    assert!(!is_ejected(&mesh), "the request itself broke off");
    assert_eq!(slow.copy(&mesh, too_much()).await, (0, 1, false));
    assert!(!is_ejected(&mesh), "it had been given up");
    Shadow { echoes: true, ..Shadow::default() }.send(&mesh, broken()).await;
    assert!(!is_ejected(&mesh), "its answer broke off with the request");
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_takes_too_long_is_blamed_where_it_got_the_whole_request() {
    let (mesh, stuck) = (mesh("timeout: 2s"), Shadow { reads_after: 5, ..Shadow::default() });
    stuck.send(&mesh, too_much()).await;
    assert!(!is_ejected(&mesh));
    stuck.send(&mesh, slow(1, 100)).await;
    assert!(is_ejected(&mesh));
}

/// A body of a length that it announces, and does not know to be over then: as of HTTP/2, where the end may come by itself.
struct Announced(Body, u64);

impl http_body::Body for Announced {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.1)
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_whole_with_the_length_that_was_announced() {
    let mesh = mesh("timeout: 2s");
    let late = Shadow { reads_after: 1, ..Shadow::default() };
    assert_eq!(late.copy(&mesh, Announced(slow(2, 100), 200).boxed_unsync()).await, (200, 2, true));
    assert!(!is_ejected(&mesh));
}

#[tokio::test(start_paused = true)]
async fn a_copy_has_what_had_come_before_its_request_failed() {
    let mesh = shop::mesh(2, "mirror: {host: shop.test}\nretries: {attempts: 0}", "loadBalancer: {simple: RANDOM}");
    // What was read of the request, which is sent first, and of its copy.
    let read = Arc::new(Mutex::new(Vec::new()));
    let calls = read.clone();
    let client = service_fn(move |request: Request<RequestBody<Full<Bytes>>>| {
        let is_first = calls.lock().unwrap().is_empty();
        calls.lock().unwrap().push(None);
        let calls = calls.clone();
        async move {
            if is_first {
                return Err(io::Error::from(io::ErrorKind::ConnectionReset));
            }
            let copy = request.into_body().collect().await.map(|copy| copy.to_bytes());
            calls.lock().unwrap()[1] = copy.ok();
            Ok(Response::new(none()))
        }
    });
    let request = Request::put("http://shop.test/").body(Full::from("all of it")).unwrap();
    let answer = MeshRouter::new(&mesh).layer(client).oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 503);
    sleep(seconds(1)).await;
    assert_eq!(*read.lock().unwrap(), [None, Some(Bytes::from_static(b"all of it"))]);
}
