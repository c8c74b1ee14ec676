//! Answers that begin before their request has ended, and go on after it: nothing of the request is held for them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/shop.rs"]
mod shop;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use mesh_router::BoxError;
use mesh_router::service::{MeshRouter, RequestBody};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The body of a request: what is sent, until the sender is gone.
struct Fed(mpsc::Receiver<Bytes>);

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(cx).map(|data| data.map(|data| Ok(Frame::data(data))))
    }
}

/// A piece of a body, for as long as that is held.
struct Piece(Arc<[u8]>);

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn endless() -> Body {
    StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, io::Error>>()).boxed_unsync()
}

/// Answers with the first piece of a request. The rest it reads beside its answer, or lets go.
async fn answer_at_once(mut body: RequestBody<Body>, reads_on: bool) -> Response<Body> {
    body.frame().await.unwrap().unwrap();
    if reads_on {
        tokio::spawn(body.collect());
    }
    Response::new(endless())
}

async fn nothing_is_held_once_it_is_over(rule: &str, reads_on: bool) {
    let mesh = shop::mesh(1, rule, "loadBalancer: {simple: RANDOM}");
    let first = Arc::new(AtomicBool::new(true));
    let service = service_fn(move |request: Request<RequestBody<Body>>| {
        let first = first.swap(false, Ordering::Relaxed);
        async move {
            if first {
                return Ok(answer_at_once(request.into_body(), reads_on).await);
            }
            // A copy.
            request.into_body().collect().await?;
            Ok::<_, BoxError>(Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync()))
        }
    });
    let ((feed, fed), piece) = (mpsc::channel(2), Arc::<[u8]>::from([7; 1000]));
    for _ in 0..2 {
        feed.send(Bytes::from_owner(Piece(piece.clone()))).await.unwrap();
    }
    let request = Request::put("http://shop.test/").body(Fed(fed).boxed_unsync()).unwrap();
    let answer = MeshRouter::new(&mesh).layer(service).oneshot(request).await.unwrap();
    let feed = Some(feed).filter(|_| !reads_on);
    sleep(Duration::from_secs(10)).await;
    assert!(feed.is_none_or(|feed| feed.is_closed()), "{rule}: its body");
    assert_eq!(Arc::strong_count(&piece), 1, "{rule}, read on: {reads_on}: pieces");
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0, "{rule}, read on: {reads_on}: its copy");
    assert!(!answer.body().is_end_stream());
    drop(answer);
    shop::nothing_is_left(&mesh);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_over_is_let_go_while_its_answer_goes_on() {
    for rule in [
        "retries: {attempts: 0}",
        "retries: {attempts: 1, retryOn: '503'}",
        "retries: {attempts: 0}\ntimeout: 100s",
        "retries: {attempts: 0}\nmirror: {host: shop.test}",
        "timeout: 100s\nmirror: {host: shop.test}",
    ] {
        for reads_on in [false, true] {
            nothing_is_held_once_it_is_over(rule, reads_on).await;
        }
    }
}
