//! Cookies that a client of HTTP/2 may spread over several lines.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/shop.rs"]
mod shop;

use std::convert::Infallible;

use bytes::Bytes;
use http::header::COOKIE;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use mesh_router::service::{MeshRouter, RequestBody};
use tower::{Layer, ServiceExt, service_fn};

/// The cookies that are sent on, a line each, of a request in `version`; nothing if the rule did not match.
async fn sent_on(version: Version, rule: &str) -> Vec<String> {
    let inner = service_fn(async |request: Request<RequestBody<Full<Bytes>>>| {
        let lines = request.headers().get_all(COOKIE).iter().map(|line| line.to_str().unwrap());
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(lines.collect::<Vec<_>>().join("\n"))))
    });
    let mesh = shop::mesh(1, rule, "loadBalancer: {simple: RANDOM}");
    let request = Request::get("http://shop.test/").version(version).header(COOKIE, "a=1").header(COOKIE, "b=2");
    let answer = MeshRouter::new(&mesh).layer(inner).oneshot(request.body(Full::default()).unwrap()).await.unwrap();
    let found = answer.status().is_success();
    let lines = answer.into_body().collect().await.unwrap().to_bytes();
    let lines = String::from_utf8(lines.to_vec()).unwrap();
    lines.lines().filter(|_| found).map(str::to_owned).collect()
}

#[tokio::test]
async fn they_are_one_line_where_no_rule_looks() {
    let inner = service_fn(async |request: Request<RequestBody<Full<Bytes>>>| {
        let lines: Vec<_> = request.headers().get_all(COOKIE).iter().collect();
        assert_eq!(lines, ["a=1; b=2"]);
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let mesh = shop::mesh(1, "timeout: 1s", "loadBalancer: {simple: RANDOM}");
    for uri in ["https://shop.test/", "http://elsewhere.test/"] {
        let request = Request::get(uri).version(Version::HTTP_2).header(COOKIE, "a=1").header(COOKIE, "b=2");
        let request = request.body(Full::default()).unwrap();
        let answer = MeshRouter::new(&mesh).layer(inner).oneshot(request).await.unwrap();
        assert!(answer.status().is_success(), "{uri}");
    }
}

#[tokio::test]
async fn rules_see_one_line() {
    let rule = "match: [{headers: {cookie: {exact: a=1; b=2}}}]";
    assert_eq!(sent_on(Version::HTTP_2, rule).await, ["a=1; b=2"]);
}

#[tokio::test]
async fn what_a_rule_adds_is_a_line_of_its_own() {
    let rule = "headers: {request: {add: {cookie: c=3}}}";
    assert_eq!(sent_on(Version::HTTP_2, rule).await, ["a=1; b=2", "c=3"]);
    assert_eq!(sent_on(Version::HTTP_11, rule).await, ["a=1", "b=2", "c=3"]);
}
