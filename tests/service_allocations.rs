//! How many allocations the router adds to a call, by name. One test in its own process: others would be counted too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::alloc::System;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use mesh_router::service::{MeshRouter, RequestBody};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

type Body = Empty<Bytes>;

#[derive(Clone)]
struct Bare;

impl Service<Request<RequestBody<Body>>> for Bare {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<RequestBody<Body>>) -> Self::Future {
        ready(Ok(Response::new(Body::new())))
    }
}

fn request(host: &str, named: bool) -> Request<Body> {
    let mut request = Request::get(format!("http://{host}/api/v1/products/0/reviews?limit=10"))
        .header("user-agent", "curl/8.0")
        .header("accept", "*/*")
        .header("end-user", "jason")
        .header("x-request-id", "3b1f0c1e-55aa-4c1e-9a9b-0123456789ab")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    if named {
        request = request.header("host", host);
    }
    request.body(Body::new()).unwrap()
}

/// Allocations and reallocations from the call to the end of the body; the request is made before.
fn count(host: &str, named: bool) -> usize {
    let mut service = MeshRouter::new(&support::mesh()).layer(Bare);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut counted = 0;
    // The first calls to each cluster make what is made once.
    for call in 0..64 {
        let request = request(host, named);
        let region = Region::new(ALLOCATOR);
        let response = std::pin::pin!(service.call(request)).poll(&mut cx);
        assert!(matches!(&response, Poll::Ready(Ok(response)) if response.status() == 200), "{host}");
        drop(response);
        let change = region.change();
        if call >= 32 {
            counted = counted.max(change.allocations + change.reallocations);
        }
    }
    counted
}

#[test]
fn a_call_allocates_no_more_than_this() {
    for (name, host, named, budget) in [
        // The extensions of the response: their map, its table and the RouteInfo.
        ("plain route", "plain", true, 3),
        // The value of the Host header; there is room for it in the map.
        ("plain route without a Host header", "plain", false, 4),
        ("pass-through", "elsewhere", true, 0),
        // The extensions of the response (3), the rewritten path, the one it had as a header value, and room for three
        // more headers (2). The head is saved in bytes that the thread keeps, and no timer is made.
        ("bookinfo", "bookinfo", true, 7),
    ] {
        let counted = count(host, named);
        println!("{name}: {counted}");
        assert!(counted <= budget, "{name}: {counted} allocations, {budget} at most");
    }
}
