//! Answers made by the router: their form, and which event leads to which.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use mesh_router::outcome::{Failure, FailureError};
use mesh_router::service::{MeshRouter, RequestBody, ResponseBody, RouteInfo};
use mesh_router::{BoxError, Mesh};
use tower::{Layer, ServiceExt, service_fn};

type Body = Full<Bytes>;
type Sent = Request<RequestBody<Body>>;

fn ask(method: Method, uri: &str, content_type: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(uri).header("content-type", content_type);
    request.body(Body::default()).unwrap()
}

/// What `request` gets if no endpoint may be reached.
async fn answer(mesh: &Mesh, request: Request<Body>) -> Response<ResponseBody<Body>> {
    let inner = service_fn(async |_: Sent| -> Result<Response<Body>, Infallible> { unreachable!() });
    MeshRouter::new(mesh).layer(inner).oneshot(request).await.unwrap()
}

/// What a request gets if its try ends with `error`.
async fn after<E: Into<BoxError> + Send + 'static>(
    error: impl Fn() -> E + Clone + Send + 'static,
    request: Request<Body>,
) -> Response<ResponseBody<Body>> {
    let inner = service_fn(move |_: Sent| std::future::ready(Err::<Response<Body>, E>(error())));
    MeshRouter::new(&support::mesh()).layer(inner).oneshot(request).await.unwrap()
}

fn info(response: &Response<ResponseBody<Body>>) -> &RouteInfo {
    response.extensions().get().unwrap()
}

#[tokio::test]
async fn every_event_has_its_answer() {
    for (mesh, host, status, body, flags, details, rule) in [
        (support::mesh(), "closed", 404, "", "NR", "route_not_found", None),
        (support::registry_only(), "elsewhere", 502, "", "-", "direct_response", None),
        (support::mesh(), "missing", 503, "", "NC", "cluster_not_found", Some("missing")),
        (support::mesh(), "empty", 503, "no healthy upstream", "UH", "no_healthy_upstream", Some("empty")),
    ] {
        let response = answer(&mesh, ask(Method::GET, &format!("http://{host}/"), "text/html")).await;
        assert_eq!(response.status(), status, "{host}");
        assert_eq!((info(&response).flags().to_string().as_str(), info(&response).details()), (flags, details));
        assert_eq!(info(&response).attempts(), 0);
        let headers = response.headers();
        assert_eq!(headers.get("x-rule").map(|rule| rule.to_str().unwrap()), rule, "{host}");
        if body.is_empty() {
            assert!(!headers.contains_key("content-type") && !headers.contains_key("content-length"), "{host}");
        } else {
            assert_eq!(headers["content-type"], "text/plain");
            assert_eq!(headers["content-length"], body.len().to_string());
        }
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body, "{host}");
    }
}

#[tokio::test]
async fn about_an_asterisk_no_rule_is_asked() {
    let mut request = ask(Method::OPTIONS, "*", "text/html");
    request.headers_mut().insert("host", "plain".parse().unwrap());
    let response = answer(&support::mesh(), request).await;
    assert_eq!((response.status().as_u16(), info(&response).details()), (404, "absolute_path_rejected"));
    assert_eq!((info(&response).flags().to_string().as_str(), info(&response).rule()), ("-", None));
}

#[tokio::test]
async fn the_answer_to_head_has_the_length_and_no_body() {
    let response = answer(&support::mesh(), ask(Method::HEAD, "http://empty/", "text/html")).await;
    assert_eq!(response.headers()["content-length"], "19");
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test]
async fn the_answer_to_grpc_is_all_in_its_headers() {
    for (host, status, message) in
        [("closed", "12", None), ("missing", "14", None), ("empty", "14", Some("no healthy upstream"))]
    {
        let request = ask(Method::POST, &format!("http://{host}/"), "application/grpc+proto");
        let response = answer(&support::mesh(), request).await;
        assert_eq!(response.status(), 200, "{host}");
        let headers = response.headers();
        assert_eq!(
            (&headers["content-type"], &headers["grpc-status"]),
            (&"application/grpc".parse().unwrap(), &status.parse().unwrap())
        );
        assert_eq!(headers.get("grpc-message").map(|message| message.to_str().unwrap()), message, "{host}");
        assert!(!headers.contains_key("content-length"));
        assert_eq!(headers.contains_key("x-rule"), host != "closed", "{host}");
        assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn every_failure_has_its_answer() {
    let start = "upstream connect error or disconnect/reset before headers. ";
    // Whether the default policy tries again after it.
    for (failure, status, flags, reason, retried) in [
        (Failure::ConnectRefused, 503, "UF", "remote connection failure", true),
        (Failure::ConnectLocal, 503, "UF", "local connection failure", true),
        (Failure::ConnectTimeout, 503, "UF", "connection timeout", true),
        (Failure::ConnectionTermination, 503, "UC", "connection termination", false),
        (Failure::RemoteReset, 503, "UR", "remote reset", false),
        (Failure::RefusedStream, 503, "UR", "remote refused stream reset", true),
        (Failure::LocalReset, 503, "LR", "local reset", false),
        (Failure::ProtocolError, 502, "UPE", "protocol error", false),
        (Failure::Overflow, 503, "UO", "overflow", false),
    ] {
        // By the default policy there are two retries (RT1); the flags say that they are used up, and the body that
        // there were some (RT9). Without a policy there is one try and no word of others.
        for (host, used_up) in [("reviews", retried), ("once", false)] {
            let error = move || FailureError::new(failure, io::Error::from(io::ErrorKind::BrokenPipe));
            let response = after(error, ask(Method::GET, &format!("http://{host}/"), "text/html")).await;
            assert_eq!(response.status(), status, "{failure:?} {host}");
            let (flags, attempts, prefix) = match used_up {
                true => (format!("URX,{flags}"), 3, "retried and the latest reset reason: "),
                false => (flags.to_owned(), 1, "reset reason: "),
            };
            assert_eq!(info(&response).flags().to_string(), flags, "{failure:?} {host}");
            assert_eq!(info(&response).attempts(), attempts, "{failure:?} {host}");
            assert!(info(&response).cause().unwrap().downcast_ref::<FailureError>().is_some());
            assert_eq!(response.headers().contains_key("x-envoy-overloaded"), failure == Failure::Overflow);
            assert_eq!(response.headers()["x-rule"], host);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, format!("{start}{prefix}{reason}"), "{failure:?} {host}");
        }
    }
}

#[tokio::test]
async fn a_failure_towards_grpc_is_unavailable() {
    let error = || io::Error::from(io::ErrorKind::ConnectionReset);
    let response = after(error, ask(Method::POST, "http://reviews/", "application/grpc")).await;
    assert_eq!((response.status().as_u16(), &response.headers()["grpc-status"]), (200, &"14".parse().unwrap()));
    assert!(response.headers()["grpc-message"].to_str().unwrap().ends_with("connection termination"));
}

#[tokio::test]
async fn a_path_that_cannot_be_normalized_is_a_bad_request() {
    let response = answer(&support::mesh(), ask(Method::GET, "http://reviews/a%00", "text/html")).await;
    assert_eq!((response.status().as_u16(), info(&response).details()), (400, "path_normalization_failed"));
}
