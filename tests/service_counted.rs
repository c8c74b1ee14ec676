//! What a request is counted as whose body was cut off: `istio_requests_total` says it in `response_flags`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/shop.rs"]
mod shop;

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use mesh_router::service::{MeshRouter, RequestBody};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio_stream::{self as stream, StreamExt};
use tower::{Layer, ServiceExt, service_fn};

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What comes after the first part of a body.
#[derive(Clone, Copy, Debug)]
enum Then {
    End,
    Trailers,
    Failure,
    Nothing,
}

fn body(then: Then) -> Body {
    let first = stream::iter([Ok(Frame::data(Bytes::from_static(b"first")))]);
    match then {
        Then::End => StreamBody::new(first).boxed_unsync(),
        Then::Trailers => {
            let trailers = stream::iter([Ok(Frame::trailers(HeaderMap::new()))]);
            StreamBody::new(first.chain(trailers)).boxed_unsync()
        }
        Then::Failure => {
            let failure = stream::iter([Err(io::ErrorKind::ConnectionReset.into())]);
            StreamBody::new(first.chain(failure)).boxed_unsync()
        }
        Then::Nothing => StreamBody::new(first.chain(stream::pending())).boxed_unsync(),
    }
}

/// The flags that a request is counted with whose client reads so many frames, at a gateway or as the application's own.
fn flags(at_gateway: bool, then: Then, frames: usize) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mesh = shop::at_gateway("timeout: 1s");
            let inner = service_fn(move |_: Request<RequestBody<Empty<Bytes>>>| {
                std::future::ready(Ok::<_, Infallible>(Response::new(body(then))))
            });
            let mut router = MeshRouter::new(&mesh);
            if at_gateway {
                router = router.with_origin(shop::listener());
            }
            let request = Request::get("http://shop.test/").body(Empty::<Bytes>::new()).unwrap();
            let mut answer = router.layer(inner).oneshot(request).await.unwrap();
            for _ in 0..frames {
                let _ = answer.body_mut().frame().await;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        });
    });
    let text = recorder.handle().render();
    let counted: Vec<_> = text.lines().filter(|line| line.starts_with("istio_requests_total")).collect();
    let [line] = counted[..] else { panic!("{counted:?}") };
    assert!(line.contains(r#"response_code="200""#) && line.ends_with(" 1"), "{line}");
    let (_, flags) = line.split_once(r#"response_flags=""#).unwrap();
    flags.split_once('"').unwrap().0.to_owned()
}

#[test]
fn what_came_whole_has_no_flag() {
    for at_gateway in [true, false] {
        assert_eq!(flags(at_gateway, Then::End, 2), "-");
        assert_eq!(flags(at_gateway, Then::Trailers, 2), "-", "nothing comes after trailers");
    }
}

#[test]
fn what_breaks_off_is_counted_as_that() {
    for at_gateway in [true, false] {
        assert_eq!(flags(at_gateway, Then::Failure, 2), "UC");
        assert_eq!(flags(at_gateway, Then::Nothing, 2), "UT");
    }
}

#[test]
fn a_client_that_goes_away_is_told_from_an_application_that_reads_no_further() {
    assert_eq!(flags(true, Then::Nothing, 1), "DC");
    assert_eq!(flags(false, Then::Nothing, 1), "-");
}
