//! Instructions that the router adds to a call, by rule: `cargo bench --bench overhead_instructions`.
//!
//! Needs valgrind and `gungraun-runner` of the same version as the crate. The inner service answers at once; what the
//! bare service costs is the row `bare`, the request's making and dropping aside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench that cannot run must stop")]
#![allow(missing_docs, reason = "what the macros write has none")]

mod overhead_call;
#[path = "../tests/support/mod.rs"]
mod support;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use gungraun::{library_benchmark, library_benchmark_group, main};
use http::Request;
use mesh_router::service::{MeshRouter, MeshService};
use overhead_call::{Bare, Body, request};
use tower::{Layer, Service};

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
