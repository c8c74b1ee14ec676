//! Whom outlier detection blames for a body that breaks off, and for an error that the application knows better.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/shop.rs"]
mod shop;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use mesh_router::outcome::{Failure, FailureError};
use mesh_router::service::{MeshRouter, RequestBody, ResponseFlags, RouteInfo};
use mesh_router::{BoxError, Mesh};
use tokio::time::sleep;
use tokio_stream as stream;
use tower::{Layer, ServiceExt, service_fn};

type Body = UnsyncBoxBody<Bytes, io::Error>;

const STRICT: &str = "outlierDetection: {consecutive5xxErrors: 1, baseEjectionTime: 60s, maxEjectionPercent: 100}";

fn part() -> Frame<Bytes> {
    Frame::data(Bytes::from_static(b"part"))
}

fn broken() -> Body {
    StreamBody::new(stream::iter([Ok(part()), Err(io::ErrorKind::ConnectionReset.into())])).boxed_unsync()
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// What another client of HTTP does: when it answers, and how much of an error it hands on.
#[derive(Clone, Copy, Debug)]
enum Client {
    /// Once it has read the body, whose error it wraps.
    Wraps,
    /// The same, but it says nothing of the error.
    Hides,
    /// At once: the body of its answer breaks off with that of the request, which is let go then.
    AnswersFirst,
}

/// The body of an answer that goes on until the request does not.
struct Until(Option<RequestBody<Body>>);

impl http_body::Body for Until {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(request) = &mut self.0 else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(request).poll_frame(cx));
        if matches!(frame, Some(Err(_))) {
            self.0 = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|_| io::Error::from(io::ErrorKind::InvalidData).into())))
    }
}

async fn send(client: Client, request: Request<RequestBody<Body>>) -> Result<Response<Until>, BoxError> {
    let body = request.into_body();
    if let Client::AnswersFirst = client {
        return Ok(Response::new(Until(Some(body))));
    }
    match (client, body.collect().await) {
        (_, Ok(_)) => Ok(Response::new(Until(None))),
        (Client::Hides, Err(_)) => Err(io::Error::other("it did not work").into()),
        (_, Err(error)) => Err(io::Error::other(error).into()),
    }
}

/// How many of two servers are ejected after a request with this body, and what is told of it.
async fn ejected(client: Client, rule: &str, body: Body) -> (usize, RouteInfo) {
    let mesh = shop::mesh(2, rule, STRICT);
    let service = MeshRouter::new(&mesh).layer(service_fn(move |request| send(client, request)));
    let answer = service.oneshot(Request::put("http://shop.test/").body(body).unwrap()).await.unwrap();
    let info = answer.extensions().get::<RouteInfo>().unwrap().clone();
    let _ = answer.into_body().collect().await;
    (count_ejected(&mesh), info)
}

fn count_ejected(mesh: &Mesh) -> usize {
    let snapshot = mesh.snapshot();
    snapshot.clusters().flat_map(|cluster| cluster.view()).filter(|endpoint| endpoint.ejected.is_some()).count()
}

#[tokio::test(start_paused = true)]
async fn who_breaks_off_a_request_blames_nobody() {
    for client in [Client::Wraps, Client::Hides, Client::AnswersFirst] {
        for rule in ["", "retries: {attempts: 0}"] {
            assert_eq!(ejected(client, rule, broken()).await.0, 0, "{client:?}, {rule}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_breaks_off_a_request_is_told_so_whatever_its_client_says() {
    for client in [Client::Wraps, Client::Hides] {
        for rule in ["", "retries: {attempts: 0}", "retries: {attempts: 0}\ntimeout: 3s"] {
            let (ejected, info) = ejected(client, rule, broken()).await;
            assert_eq!((ejected, info.flags()), (0, ResponseFlags::LOCAL_RESET), "{client:?}, {rule}");
            assert_eq!(info.details(), "upstream_reset_before_response_started{local_reset}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_relays_an_answer_that_breaks_off_is_told_that_the_request_did() {
    // Only the client reads the body, and only it tells how that ended.
    let mesh = shop::mesh(2, "retries: {attempts: 0}", "loadBalancer: {simple: RANDOM}");
    let error = FailureError::new(Failure::ConnectionTermination, io::Error::from(io::ErrorKind::UnexpectedEof));
    let answer = StreamBody::new(stream::iter([Ok(part()), Err(io::Error::other(error))])).boxed_unsync();
    let service = MeshRouter::new(&mesh).layer(service_fn(move |request| send(Client::Wraps, request)));
    let answer = service.oneshot(Request::put("http://shop.test/").body(answer).unwrap()).await.unwrap();
    let info = answer.extensions().get::<RouteInfo>().unwrap();
    assert_eq!((answer.status().as_u16(), info.flags()), (503, ResponseFlags::LOCAL_RESET));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_breaks_off_is_to_blame() {
    let mesh = shop::mesh(2, "retries: {attempts: 0}", STRICT);
    let breaks_off = |_: Request<RequestBody<Body>>| async { Ok::<_, io::Error>(Response::new(broken())) };
    let request = Request::get("http://shop.test/").body(empty()).unwrap();
    let answer = MeshRouter::new(&mesh).layer(service_fn(breaks_off)).oneshot(request).await.unwrap();
    assert!(answer.into_body().collect().await.is_err());
    assert_eq!(count_ejected(&mesh), 1);
}

/// How many of two servers are ejected whose answer is that of a server behind them, which says this; `rule` is that of
/// the layer between the two.
async fn ejected_before(rule: &str, body: fn() -> Body) -> usize {
    let (near, far) = (shop::mesh(2, "retries: {attempts: 0}", STRICT), shop::mesh(1, rule, STRICT));
    let get = || Request::get("http://shop.test/").body(empty()).unwrap();
    let behind =
        service_fn(move |_: Request<RequestBody<Body>>| async move { Ok::<_, io::Error>(Response::new(body())) });
    let behind = MeshRouter::new(&far).layer(behind);
    let hands_on = service_fn(move |_: Request<RequestBody<Body>>| behind.clone().oneshot(get()));
    let answer = MeshRouter::new(&near).layer(hands_on).oneshot(get()).await.unwrap();
    assert!(answer.into_body().collect().await.is_err());
    count_ejected(&near)
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_breaks_off_is_to_blame_whichever_layer_hands_that_on() {
    assert_eq!(ejected_before("retries: {attempts: 0}", broken).await, 1);
    let late = || StreamBody::new(stream::pending()).boxed_unsync();
    assert_eq!(ejected_before("timeout: 1s", late).await, 1, "its time is over there");
}

#[tokio::test(start_paused = true)]
async fn the_application_says_who_is_to_blame_for_the_error_of_a_mirror_too() {
    for known in [None, Some(Failure::LocalReset)] {
        let mesh = shop::mesh(2, "retries: {attempts: 0}\nmirror: {host: shop.test}", STRICT);
        let fails = service_fn(|_: Request<RequestBody<Body>>| async { Err::<Response<Body>, _>(fmt::Error) });
        let router = MeshRouter::new(&mesh).with_classifier(move |error| {
            assert!(error.is::<fmt::Error>());
            known
        });
        let answer =
            router.layer(fails).oneshot(Request::get("http://shop.test/").body(empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 503);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(count_ejected(&mesh), if known.is_some() { 0 } else { 2 });
    }
}

#[tokio::test(start_paused = true)]
async fn the_application_is_asked_once_about_an_error() {
    let (mesh, asked) = (shop::mesh(1, "retries: {attempts: 0}", STRICT), Arc::new(AtomicUsize::new(0)));
    let count = asked.clone();
    let router = MeshRouter::new(&mesh).with_classifier(move |_| {
        Some([Failure::ConnectTimeout, Failure::LocalReset][count.fetch_add(1, Ordering::Relaxed).min(1)])
    });
    let fails = service_fn(|_: Request<RequestBody<Body>>| async { Err::<Response<Body>, _>(fmt::Error) });
    let answer = router.layer(fails).oneshot(Request::get("http://shop.test/").body(empty()).unwrap()).await.unwrap();
    let info = answer.extensions().get::<RouteInfo>().unwrap();
    assert_eq!((asked.load(Ordering::Relaxed), info.flags()), (1, ResponseFlags::UPSTREAM_CONNECTION_FAILURE));
    assert_eq!(count_ejected(&mesh), 1);
}
