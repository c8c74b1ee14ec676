//! Instructions that the router adds to a call, by rule: `cargo bench --bench overhead_instructions`.
//!
//! Needs valgrind and `gungraun-runner` of the same version as the crate. The inner service answers at once; what the
//! bare service costs is the row `bare`, the request's making and dropping aside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench that cannot run must stop")]
#![allow(missing_docs, reason = "what the macros write has none")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use gungraun::{library_benchmark, library_benchmark_group, main};
use http::{Request, Response};
use http_body_util::Empty;
use mesh_router::service::{MeshRouter, MeshService};
use tower::{Layer, Service};

type Body = Empty<Bytes>;

/// Answers at once.
#[derive(Clone)]
struct Bare;

impl<B> Service<Request<B>> for Bare {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    #[inline(never)]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        black_box(&request);
        ready(Ok(Response::new(Body::new())))
    }
}

fn request(host: &str) -> Request<Body> {
    Request::get(format!("http://{host}/api/v1/products/0/reviews?limit=10"))
        .header("host", host)
        .header("user-agent", "curl/8.0")
        .header("accept", "*/*")
        .header("end-user", "jason")
        .header("x-request-id", "3b1f0c1e-55aa-4c1e-9a9b-0123456789ab")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .body(Body::new())
        .unwrap()
}

/// A service that has served this host before, and one more request for it.
fn routed(host: &str) -> (MeshService<Bare>, Request<Body>) {
    let mut service = MeshRouter::new(&support::mesh()).layer(Bare);
    for _ in 0..32 {
        call(&mut service, request(host));
    }
    (service, request(host))
}

fn bare_service() -> (Bare, Request<Body>) {
    (Bare, request("plain"))
}

fn call<S: Service<Request<Body>>>(service: &mut S, request: Request<Body>) {
    let mut cx = Context::from_waker(Waker::noop());
    let answered = pin!(service.call(request)).poll(&mut cx);
    assert!(matches!(answered, Poll::Ready(Ok(_))));
}

#[library_benchmark]
#[bench::bare(bare_service())]
fn bare((mut service, request): (Bare, Request<Body>)) -> Bare {
    call(&mut service, request);
    service
}

#[library_benchmark]
#[bench::pass_through(routed("elsewhere"))]
#[bench::plain(routed("plain"))]
#[bench::headers(routed("reviews"))]
#[bench::bookinfo(routed("bookinfo"))]
fn layer((mut service, request): (MeshService<Bare>, Request<Body>)) -> MeshService<Bare> {
    call(&mut service, request);
    service
}

library_benchmark_group!(name = overhead, benchmarks = [bare, layer]);
main!(library_benchmark_groups = overhead);
