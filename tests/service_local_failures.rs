//! Runs of local failures (`splitExternalLocalOriginErrors`): when a request gets its connection one ends, and what it
//! comes to later ends none. Over clients that say when they have a connection, and over those that do not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/shop.rs"]
mod shop;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use mesh_router::outcome::{Failure, FailureError};
use mesh_router::service::{Admission, MeshRouter, RequestBody};
use tokio::time::sleep;
use tokio_stream as stream;
use tower::{Layer, ServiceExt, service_fn};

const APART: &str = "outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 3, \
                     consecutive5xxErrors: 0, maxEjectionPercent: 100}";

type Sent = Request<RequestBody<Empty<Bytes>>>;

/// Comes to what the path says: without a connection at once, with one after a second.
async fn send(mut request: Sent, admits: bool) -> Result<Response<UnsyncBoxBody<Bytes, io::Error>>, FailureError> {
    let admission = request.body_mut().take_aim().filter(|_| admits).map(|aim| aim.admission);
    admission.iter().for_each(Admission::claim);
    admission.iter().for_each(Admission::release);
    if request.uri().path() == "/refused" {
        return Err(FailureError::new(Failure::ConnectRefused, "refused"));
    }
    assert!(admission.iter().all(Admission::acquire));
    sleep(Duration::from_secs(1)).await;
    let frames: &[_] = match request.uri().path() {
        "/reset" => return Err(FailureError::new(Failure::RemoteReset, "reset")),
        "/broken" => &[Ok("x"), Err(io::ErrorKind::ConnectionReset)],
        _ => &[Ok("x")],
    };
    let frame = |frame: &Result<&'static str, io::ErrorKind>| match *frame {
        Ok(text) => Ok(Frame::data(Bytes::from(text))),
        Err(kind) => Err(io::Error::from(kind)),
    };
    let frames: Vec<_> = frames.iter().map(frame).collect();
    Ok(Response::new(StreamBody::new(stream::iter(frames)).boxed_unsync()))
}

/// Whether the only endpoint is ejected after these requests, each sent so many milliseconds after the first.
async fn ejects(admits: bool, rule: &str, requests: &[(u64, &str)]) -> bool {
    let mesh = shop::mesh(1, rule, APART);
    let rules = MeshRouter::new(&mesh).layer(service_fn(move |request: Sent| send(request, admits)));
    let ask = |(at, path): &(u64, &str)| {
        let (at, rules) = (Duration::from_millis(*at), rules.clone());
        let request = Request::get(format!("http://shop.test{path}")).body(Empty::new()).unwrap();
        tokio::spawn(async move {
            sleep(at).await;
            let answer = rules.oneshot(request).await.unwrap();
            _ = answer.into_body().collect().await;
        })
    };
    let asks: Vec<_> = requests.iter().map(ask).collect();
    for asked in asks {
        asked.await.unwrap();
    }
    mesh.endpoints()[0].ejected.is_some()
}

#[tokio::test(start_paused = true)]
async fn failures_of_requests_under_way_together_are_a_run() {
    for admits in [true, false] {
        for failure in ["/refused", "/reset", "/broken", "/late"] {
            let rule = if failure == "/late" { "timeout: 500ms" } else { "retries: {attempts: 0}" };
            assert!(ejects(admits, rule, &[(0, failure); 3]).await, "{admits} {failure}");
            let one_by_one: Vec<_> = (0..5).map(|number| (2000 * number, failure)).collect();
            let found = ejects(admits, rule, &one_by_one).await;
            assert_eq!(found, failure == "/refused", "{admits} {failure}: a connection comes before each");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_of_local_failures_ends_with_a_connection() {
    for (requests, said, unsaid) in [
        ([(0, "/refused"), (1, "/refused"), (2, "/ok"), (1500, "/refused")], false, false),
        // An answer is no connection: it was there before the failures.
        ([(0, "/ok"), (1, "/refused"), (2, "/refused"), (1500, "/refused")], true, true),
        // Where nobody says so, it shows with the answer that there was one.
        ([(0, "/refused"), (1, "/refused"), (2, "/ok"), (500, "/refused")], false, true),
        ([(0, "/reset"), (1, "/refused"), (2, "/refused"), (3, "/ok")], false, true),
    ] {
        for (admits, expected) in [(true, said), (false, unsaid)] {
            let found = ejects(admits, "retries: {attempts: 0}", &requests).await;
            assert_eq!(found, expected, "{admits}: {requests:?}");
        }
    }
}
