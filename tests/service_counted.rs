//! What requests are counted as in `istio_requests_total`: those whose body was cut off, calls of gRPC, copies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/counted.rs"]
mod counted;
#[path = "support/shop.rs"]
mod shop;

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use mesh_router::Mesh;
use mesh_router::options::Workload;
use mesh_router::outcome::{Failure, FailureError};
use mesh_router::service::{MeshRouter, RequestBody};
use tokio_stream::{self as stream, StreamExt};
use tower::{Layer, ServiceExt, service_fn};

use counted::{counted, label};

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What comes after the first part of a body.
#[derive(Clone, Copy, Debug)]
enum Then {
    End,
    Trailers,
    Failure,
    Nothing,
    /// Nothing, but nothing more is due either.
    Silence,
}

/// A body of which all has come but its end.
struct Endless(Option<Bytes>);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.take().map_or(Poll::Pending, |bytes| Poll::Ready(Some(Ok(Frame::data(bytes)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
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
        Then::Silence => Endless(Some(Bytes::from_static(b"first"))).boxed_unsync(),
    }
}

/// The flags that a GET is counted with whose client reads so many frames, at a gateway or as the application's own.
fn flags(at_gateway: bool, then: Then, frames: usize) -> String {
    let request = Request::get("http://shop.test/").body(empty()).unwrap();
    flags_of(request, StatusCode::OK, at_gateway, then, frames)
}

/// The same of any request, answered with `status`.
fn flags_of(request: Request<Body>, status: StatusCode, at_gateway: bool, then: Then, frames: usize) -> String {
    label(&counted_of(request, status, at_gateway, then, frames), "response_flags")
}

/// What is counted of such a request.
fn counted_of(request: Request<Body>, status: StatusCode, at_gateway: bool, then: Then, frames: usize) -> String {
    let line = counted(async {
        let mesh = shop::at_gateway("timeout: 1s");
        let inner = service_fn(move |request: Request<RequestBody<Body>>| async move {
            let mut answer = Response::new(Reading { request: request.into_body(), answer: body(then) });
            *answer.status_mut() = status;
            Ok::<_, Infallible>(answer)
        });
        let mut router = MeshRouter::new(&mesh);
        if at_gateway {
            router = router.with_origin(shop::listener());
        }
        let mut answer = router.layer(inner).oneshot(request).await.unwrap();
        for _ in 0..frames {
            let _ = answer.body_mut().frame().await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    });
    assert!(line.contains(&format!("response_code=\"{}\"", status.as_str())) && line.ends_with(" 1"), "{line}");
    line
}

/// An answer that breaks off with the request, as connections have it.
struct Reading {
    request: RequestBody<Body>,
    answer: Body,
}

impl http_body::Body for Reading {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match Pin::new(&mut self.request).poll_frame(cx) {
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(io::ErrorKind::InvalidData.into()))),
            _ => Pin::new(&mut self.answer).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.answer.size_hint()
    }
}

#[test]
fn what_came_whole_has_no_flag() {
    for at_gateway in [true, false] {
        assert_eq!(flags(at_gateway, Then::End, 2), "-");
        assert_eq!(flags(at_gateway, Then::Trailers, 2), "-", "nothing comes after trailers");
        assert_eq!(flags(at_gateway, Then::Silence, 1), "-", "nobody may ask for more");
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
fn what_breaks_off_is_counted_alike_by_all_who_hand_it_on() {
    let line = counted(async {
        let mesh = shop::at_gateway("timeout: 1s");
        let get = || Request::get("http://shop.test/").body(empty()).unwrap();
        let fails = async |_: Request<RequestBody<Body>>| Ok::<_, Infallible>(Response::new(body(Then::Failure)));
        let behind = MeshRouter::new(&mesh).layer(service_fn(fails));
        let hands_on = service_fn(move |_: Request<RequestBody<Body>>| behind.clone().oneshot(get()));
        let answer = MeshRouter::new(&mesh).layer(hands_on).oneshot(get()).await.unwrap();
        assert!(answer.into_body().collect().await.is_err());
    });
    assert!(line.contains(r#"response_flags="UC""#) && line.ends_with(" 2"), "{line}");
}

#[test]
fn an_answer_without_a_body_is_whole_with_its_head() {
    let head = || Request::head("http://shop.test/").body(empty()).unwrap();
    assert_eq!(flags_of(head(), StatusCode::OK, true, Then::Nothing, 0), "-");
    for status in [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED] {
        let get = Request::get("http://shop.test/").body(empty()).unwrap();
        assert_eq!(flags_of(get, status, true, Then::Nothing, 0), "-");
    }
}

#[test]
fn an_answer_that_breaks_off_with_its_request_is_the_clients_doing() {
    for (at_gateway, expected) in [(true, "DC"), (false, "LR")] {
        let request = Request::post("http://shop.test/").body(body(Then::Failure)).unwrap();
        assert_eq!(flags_of(request, StatusCode::OK, at_gateway, Then::Nothing, 2), expected);
    }
}

#[test]
fn a_client_that_leaves_before_an_answer_is_counted_without_one() {
    let post = || Request::post("http://shop.test/").body(body(Then::Failure)).unwrap();
    let fault = "timeout: 1s\nfault: {delay: {percentage: {value: 100}, fixedDelay: 5s}}";
    for (rule, at_gateway, expected) in [
        ("timeout: 1s", true, ("0", "DC")),
        (fault, true, ("0", "DI,DC")),
        ("timeout: 1s", false, ("503", "LR")),
        (fault, false, ("503", "DI,LR")),
    ] {
        let line = counted(async {
            let mesh = shop::at_gateway(rule);
            let sends = async |request: Request<RequestBody<Body>>| {
                request.into_body().collect().await.map(|_| Response::new(empty()))
            };
            let mut router = MeshRouter::new(&mesh);
            if at_gateway {
                router = router.with_origin(shop::listener());
            }
            router.layer(service_fn(sends)).oneshot(post()).await.unwrap();
        });
        let said = (r#"response_code="#, r#"response_flags="#);
        let expected = (format!("{}\"{}\"", said.0, expected.0), format!("{}\"{}\"", said.1, expected.1));
        assert!(line.contains(&expected.0) && line.contains(&expected.1), "{rule} {at_gateway}: {line}");
    }
}

#[test]
fn a_client_that_leaves_what_a_fault_held_back_is_counted_with_the_delay() {
    let fault = "fault: {delay: {percentage: {value: 100}, fixedDelay: 5s}}";
    for (rule, at_gateway, leaves_after, expected) in
        [("", true, 1, "DC"), (fault, true, 1, "DI,DC"), (fault, true, 6, "DI,DC"), (fault, false, 1, "DI,DC")]
    {
        let line = counted(async {
            let mesh = shop::at_gateway(rule);
            let silent = service_fn(async |_: Request<RequestBody<Body>>| {
                std::future::pending::<Result<Response<Body>, Infallible>>().await
            });
            let mut router = MeshRouter::new(&mesh);
            if at_gateway {
                router = router.with_origin(shop::listener());
            }
            let get = Request::get("http://shop.test/").body(empty()).unwrap();
            let answer = tokio::time::timeout(Duration::from_secs(leaves_after), router.layer(silent).oneshot(get));
            assert!(answer.await.is_err());
        });
        assert!(line.contains(r#"response_code="0""#), "{line}");
        assert!(line.contains(&format!("response_flags=\"{expected}\"")), "{rule} {at_gateway}: {line}");
    }
}

#[test]
fn a_client_that_goes_away_is_told_from_an_application_that_reads_no_further() {
    assert_eq!(flags(true, Then::Nothing, 1), "DC");
    assert_eq!(flags(false, Then::Nothing, 1), "-");
}

const NAMED: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: book}
spec: {clusterIP: 10.0.0.9, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: shop}
spec:
  hosts: [api.test, odd.name.svc.example]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1}]
";

#[test]
fn a_service_is_counted_by_its_own_name_and_namespace() {
    for (host, expected) in [
        ("reviews.book", ["reviews.book.svc.cluster.local", "reviews", "book", "latest"]),
        ("api.test", ["api.test", "api.test", "shop", "latest"]),
        ("odd.name.svc.example", ["odd.name.svc.example", "odd.name.svc.example", "shop", "latest"]),
        ("else.test", ["unknown", "PassthroughCluster", "unknown", "latest"]),
    ] {
        let line = counted(async {
            let mesh = shop::published(NAMED);
            let answers = async |_: Request<RequestBody<Body>>| Ok::<_, Infallible>(Response::new(empty()));
            let get = Request::get(format!("http://{host}/")).body(empty()).unwrap();
            MeshRouter::new(&mesh).layer(service_fn(answers)).oneshot(get).await.unwrap();
        });
        let names = ["service", "service_name", "service_namespace", "canonical_revision"];
        assert_eq!(names.map(|name| label(&line, &format!("destination_{name}"))), expected);
    }
}

#[test]
fn what_an_application_serves_is_counted_as_by_the_proxy_of_a_server() {
    let rules = "
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: book}
spec: {clusterIP: 10.0.0.9, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: book}
spec: {hosts: [reviews.test], gateways: [front], http: [{route: [{destination: {host: reviews}}]}]}
";
    for (host, expected) in [
        ("reviews.test", ["reviews.book.svc.cluster.local", "reviews", "book", "book", "reviews", "v1", "v1"]),
        ("else.test", ["unknown", "InboundPassthroughCluster", "unknown", "book", "reviews", "v1", "v1"]),
    ] {
        let line = counted(async {
            let labels = [("app", "reviews"), ("version", "v1")].map(|(name, value)| (name.into(), value.into()));
            let (namespace, labels) = ("book".to_owned(), labels.into_iter().collect());
            let mesh = Mesh::builder().workload(Workload { namespace, labels, ..Workload::default() }).build();
            let router = MeshRouter::inbound(&mesh, "front");
            shop::publish(&mesh, rules);
            let answers = async |_: Request<RequestBody<Body>>| Ok::<_, Infallible>(Response::new(empty()));
            let get = Request::get(format!("http://{host}/")).body(empty()).unwrap();
            router.layer(service_fn(answers)).oneshot(get).await.unwrap();
        });
        assert_eq!(["reporter", "source_app"].map(|name| label(&line, name)), ["destination", "unknown"]);
        let names = ["service", "service_name", "service_namespace", "workload_namespace", "app", "version"];
        let names = names.into_iter().chain(["canonical_revision"]);
        let counted: Vec<_> = names.map(|name| label(&line, &format!("destination_{name}"))).collect();
        assert_eq!(counted, expected, "{line}");
    }
}

fn call(host: &str) -> Request<Body> {
    Request::post(format!("http://{host}/")).header("content-type", "application/grpc").body(empty()).unwrap()
}

#[test]
fn a_call_that_was_given_no_status_has_that_of_its_code() {
    for (status, then, expected) in [
        (StatusCode::OK, Then::End, ("2", "-")),
        (StatusCode::OK, Then::Failure, ("2", "UC")),
        (StatusCode::NOT_FOUND, Then::Trailers, ("12", "-")),
    ] {
        let line = counted_of(call("shop.test"), status, false, then, 2);
        let counted = (label(&line, "grpc_response_status"), label(&line, "response_flags"));
        assert_eq!((&*counted.0, &*counted.1), expected, "{then:?}");
    }
}

#[test]
fn a_call_that_no_rule_took_fails_as_one_of_grpc() {
    let line = counted(async {
        let mesh = shop::at_gateway("timeout: 1s");
        let fails = async |_: Request<RequestBody<Body>>| {
            let refused = FailureError::new(Failure::ConnectRefused, io::Error::other("told to"));
            Err::<Response<Body>, _>(refused)
        };
        MeshRouter::new(&mesh).layer(service_fn(fails)).oneshot(call("else.test")).await.unwrap_err();
    });
    assert!(line.contains(r#"response_code="200",grpc_response_status="14",response_flags="UF""#), "{line}");
}

#[test]
fn a_try_that_failed_is_counted_so_whatever_becomes_of_its_copies() {
    let line = counted(async {
        let mesh = shop::at_gateway("retries: {attempts: 0}\nmirrors: [{destination: {host: shop.test}}]");
        let fails = async |_: Request<RequestBody<Body>>| {
            Err::<Response<Body>, _>(io::Error::from(io::ErrorKind::ConnectionReset))
        };
        // What no try has read is read for the copy, and breaks off.
        let put = Request::put("http://shop.test/").body(body(Then::Failure)).unwrap();
        let router = MeshRouter::new(&mesh).with_origin(shop::listener());
        assert_eq!(router.layer(service_fn(fails)).oneshot(put).await.unwrap().status(), 503);
    });
    assert!(line.contains(r#"response_code="503",grpc_response_status="",response_flags="UC""#), "{line}");
}

#[test]
fn a_copy_is_no_request_of_a_client() {
    let sent = Arc::new(AtomicUsize::new(0));
    let line = counted(async {
        let mesh = shop::at_gateway("mirrors: [{destination: {host: shop.test}}]");
        let sent = sent.clone();
        let inner = service_fn(move |_: Request<RequestBody<Body>>| {
            sent.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok::<_, Infallible>(Response::new(body(Then::End))))
        });
        let get = Request::get("http://shop.test/").body(empty()).unwrap();
        MeshRouter::new(&mesh).layer(inner).oneshot(get).await.unwrap().into_body().collect().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    });
    assert_eq!(sent.load(Ordering::Relaxed), 2);
    assert!(line.ends_with(" 1"), "{line}");
}
