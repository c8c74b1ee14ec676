//! When a request has ended: its endpoint is busy until then, and not after.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use mesh_router::Mesh;
use mesh_router::service::{MeshRouter, RequestBody, ResponseBody, RouteInfo};
use proptest::prelude::*;
use tower::{Layer, ServiceExt, service_fn};

type Body = Full<Bytes>;
type Sent = Request<RequestBody<Body>>;

/// One thing that a scripted body says.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Says {
    Wait,
    Data,
    Trailers,
    Failure,
}

/// A body that says what it is told to, then no more; it may announce its end with its last frame.
#[derive(Clone, Debug, Default)]
struct Scripted {
    says: VecDeque<Says>,
    announces: bool,
}

impl Scripted {
    fn new(announces: bool, says: &[Says]) -> Self {
        Self { says: says.iter().copied().collect(), announces }
    }
}

impl http_body::Body for Scripted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(match self.says.pop_front() {
            None => None,
            Some(Says::Data) => Some(Ok(Frame::data(Bytes::from_static(b"data")))),
            Some(Says::Trailers) => Some(Ok(Frame::trailers(HeaderMap::new()))),
            Some(Says::Failure) => Some(Err(io::ErrorKind::BrokenPipe.into())),
            Some(Says::Wait) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.announces && self.says.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::default()).unwrap()
}

fn active(mesh: &Mesh) -> u32 {
    support::reviews(mesh).iter().map(|endpoint| endpoint.active).sum()
}

async fn answer(mesh: &Mesh, body: Scripted) -> ResponseBody<Scripted> {
    let inner = service_fn(move |_: Sent| std::future::ready(Ok::<_, Infallible>(Response::new(body.clone()))));
    let response = MeshRouter::new(mesh).layer(inner).oneshot(get("http://reviews/")).await.unwrap();
    response.into_body()
}

#[tokio::test]
async fn a_body_that_was_born_empty_has_ended() {
    let mesh = support::mesh();
    let body = answer(&mesh, Scripted::new(true, &[])).await;
    assert!(body.is_end_stream());
    assert_eq!(active(&mesh), 0);
}

#[tokio::test]
async fn a_body_ends_when_it_says_that_there_is_no_more() {
    let mesh = support::mesh();
    let mut body = answer(&mesh, Scripted::new(false, &[Says::Data])).await;
    body.frame().await.unwrap().unwrap();
    assert_eq!(active(&mesh), 1);
    assert!(body.frame().await.is_none());
    assert_eq!(active(&mesh), 0);
}

#[tokio::test]
async fn a_body_ends_with_an_error() {
    let mesh = support::mesh();
    let mut body = answer(&mesh, Scripted::new(false, &[Says::Failure, Says::Data])).await;
    assert_eq!(active(&mesh), 1);
    let error = body.frame().await.unwrap().unwrap_err();
    let inner = std::error::Error::source(&error).and_then(|error| error.downcast_ref::<io::Error>());
    assert_eq!(inner.map(io::Error::kind), Some(io::ErrorKind::BrokenPipe));
    assert_eq!(active(&mesh), 0);
}

#[tokio::test]
async fn a_body_ends_with_the_frame_after_which_nothing_comes() {
    for last in [Says::Data, Says::Trailers] {
        let mesh = support::mesh();
        let mut body = answer(&mesh, Scripted::new(true, &[Says::Data, last])).await;
        body.frame().await.unwrap().unwrap();
        assert_eq!(active(&mesh), 1);
        body.frame().await.unwrap().unwrap();
        assert_eq!(active(&mesh), 0, "{last:?}");
    }
}

#[tokio::test]
async fn a_body_ends_when_it_is_dropped() {
    let mesh = support::mesh();
    let body = answer(&mesh, Scripted::new(false, &[Says::Data])).await;
    assert_eq!(active(&mesh), 1);
    drop(body);
    assert_eq!(active(&mesh), 0);
}

#[tokio::test]
async fn a_try_that_failed_has_ended_before_its_answer_is_read() {
    let mesh = support::mesh();
    let inner =
        service_fn(async |_: Sent| Err::<Response<Scripted>, _>(io::Error::from(io::ErrorKind::ConnectionRefused)));
    let response = MeshRouter::new(&mesh).layer(inner).oneshot(get("http://reviews/")).await.unwrap();
    assert_eq!((response.status().as_u16(), active(&mesh)), (503, 0));
}

#[tokio::test]
async fn a_request_in_flight_keeps_what_it_was_given() {
    let mesh = support::mesh();
    let (mut service, mut handle) = tower_test::mock::spawn_layer(MeshRouter::new(&mesh));
    tokio_test::assert_ready_ok!(service.poll_ready());
    let early = service.call(get("http://reviews/"));
    support::move_reviews(&mesh, "10.0.1.2");
    tokio_test::assert_ready_ok!(service.poll_ready());
    let late = service.call(get("http://reviews/"));
    for (call, expected) in [(early, "10.0.1.1:9080"), (late, "10.0.1.2:9080")] {
        let (sent, reply): (Sent, _) = handle.next_request().await.unwrap();
        assert_eq!(sent.uri().authority().unwrap(), expected);
        reply.send_response(Response::new(Body::default()));
        let response = call.await.unwrap();
        let info = response.extensions().get::<RouteInfo>().unwrap();
        assert_eq!(info.endpoint().unwrap().address.to_string(), expected);
    }
}

fn says() -> impl Strategy<Value = Vec<Says>> {
    let one = prop_oneof![Just(Says::Wait), Just(Says::Data), Just(Says::Trailers), Just(Says::Failure)];
    proptest::collection::vec(one, 0..6)
}

proptest! {
    /// Wherever it is given up, while it waits for the head or in the middle of the body, nothing stays counted.
    #[test]
    fn a_request_that_is_given_up_is_not_counted(
        waits in 0usize..4,
        polls in 0usize..12,
        announces: bool,
        says in says(),
    ) {
        let mesh = support::mesh();
        let script = Scripted::new(announces, &says);
        let inner = service_fn(move |_: Sent| {
            let (mut left, script) = (waits, script.clone());
            poll_fn(move |_| {
                if left == 0 {
                    return Poll::Ready(Ok::<_, Infallible>(Response::new(script.clone())));
                }
                left -= 1;
                Poll::Pending
            })
        });
        let mut call = Box::pin(MeshRouter::new(&mesh).layer(inner).oneshot(get("http://reviews/")));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut body = None;
        for _ in 0..polls {
            match &mut body {
                None => {
                    if let Poll::Ready(response) = call.as_mut().poll(&mut cx) {
                        body = Some(response.unwrap().into_body());
                    } else {
                        prop_assert_eq!(active(&mesh), 1);
                    }
                }
                Some(body) => {
                    let ended = matches!(Pin::new(body).poll_frame(&mut cx), Poll::Ready(None | Some(Err(_))));
                    if ended {
                        prop_assert_eq!(active(&mesh), 0);
                        break;
                    }
                }
            }
        }
        drop((call, body));
        prop_assert_eq!(active(&mesh), 0);
    }
}
