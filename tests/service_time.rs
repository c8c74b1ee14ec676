//! How long a gateway says that an answer took, under a clock that stands still.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/shop.rs"]
mod shop;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use mesh_router::service::{MeshRouter, RequestBody};
use tokio::time::sleep;
use tokio_stream::{StreamExt, iter};
use tower::{Layer, ServiceExt, service_fn};

type Body = UnsyncBoxBody<Bytes, Infallible>;

fn milliseconds(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// A body in three parts, each 100 ms after the other.
fn slow() -> Body {
    let parts = iter(["a", "b", "c"]).then(async |part| {
        sleep(milliseconds(100)).await;
        Ok(Frame::data(Bytes::from(part)))
    });
    StreamBody::new(parts).boxed_unsync()
}

/// What the header says where the first `failing` tries are answered with 503, each 200 ms after it has read the
/// request, if it reads it at all.
async fn told(retries: &str, body: Body, reads: bool, failing: u32) -> String {
    let mesh = shop::at_gateway(&format!("retries: {retries}"));
    let tries = Arc::new(AtomicU32::new(0));
    let inner = service_fn(move |request: Request<RequestBody<Body>>| {
        let tries = tries.clone();
        async move {
            if reads {
                request.into_body().collect().await.unwrap();
            }
            sleep(milliseconds(200)).await;
            let status = if tries.fetch_add(1, Ordering::Relaxed) < failing { 503 } else { 200 };
            let answer = Response::builder().status(status).header("x-envoy-upstream-service-time", "its own");
            Ok::<_, Infallible>(answer.body(Empty::<Bytes>::new()).unwrap())
        }
    });
    let gateway = MeshRouter::new(&mesh).with_origin(shop::listener()).layer(inner);
    let response = gateway.oneshot(Request::post("http://shop.test/").body(body).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    response.headers()["x-envoy-upstream-service-time"].to_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn the_time_of_an_answer_begins_with_the_end_of_the_request() {
    let empty = || Empty::new().boxed_unsync();
    for retries in ["{attempts: 0}", "{attempts: 1, retryOn: 5xx}"] {
        assert_eq!(told(retries, empty(), true, 0).await, "200", "{retries}");
        assert_eq!(told(retries, slow(), true, 0).await, "200", "{retries}");
        assert_eq!(told(retries, slow(), false, 0).await, "its own", "it came before that: {retries}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_of_an_answer_is_that_of_all_tries() {
    for body in [Empty::new().boxed_unsync(), slow()] {
        let time = told("{attempts: 1, retryOn: 5xx, backoff: 100ms}", body, true, 1).await;
        // The pause before a retry is drawn from no time to its length.
        assert!((400..=500).contains(&time.parse().unwrap()), "{time}");
    }
}
