//! What the router adds to a call, beside tower's usual stack: `cargo bench --bench overhead`.
//!
//! The features of the crate are all on; no recorder is installed, without which `metrics` measures nothing.
//!
//! The inner service answers at once, so that everything above it is seen. After criterion's figures the ratios are
//! taken again in turns in one run, because the machine is never the same twice. How many allocations a call costs is
//! a test: `tests/service_allocations.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench that cannot run must stop")]

mod overhead_call;
#[path = "../tests/support/mod.rs"]
mod support;

use std::future::{Ready, ready};
use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use http::{Request, Response};
use mesh_router::BoxError;
use mesh_router::service::MeshRouter;
use overhead_call::{Bare, Body, request};
use tokio::runtime::Runtime;
use tokio::time::Instant;
use tower::balance::p2c::Balance;
use tower::buffer::Buffer;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PendingRequests};
use tower::retry::Policy;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

/// Two retries of server errors.
#[derive(Clone)]
struct Twice(u8);

impl Policy<Request<Body>, Response<Body>, BoxError> for Twice {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Request<Body>, result: &mut Result<Response<Body>, BoxError>) -> Option<Ready<()>> {
        let failed = result.as_ref().map_or(true, |response| response.status().is_server_error());
        (failed && self.0 > 0).then(|| {
            self.0 -= 1;
            ready(())
        })
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        Some(request.clone())
    }
}

/// `load_shed`, `timeout`, `retry`, `buffer` and `balance` over ten endpoints: what is stacked by hand today.
fn usual() -> impl Service<Request<Body>, Response = Response<Body>> {
    let endpoints = (0..10).map(|_| PendingRequests::new(Bare, CompleteOnResponse::default())).collect::<Vec<_>>();
    let balance = Balance::new(ServiceList::new::<Request<Body>>(endpoints));
    let timeout = Duration::from_secs(1);
    ServiceBuilder::new().load_shed().timeout(timeout).retry(Twice(2)).service(Buffer::new(balance, 1024))
}

/// `calls` calls with a clone of `request` each.
async fn run<S: Service<Request<Body>>>(service: &mut S, request: &Request<Body>, calls: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..calls {
        let Ok(ready) = service.ready().await else { panic!("the service is gone") };
        black_box(ready.call(request.clone()).await.is_ok());
    }
    start.elapsed()
}

fn times(runtime: &Runtime) {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("overhead");
    let router = MeshRouter::new(&support::mesh());
    let mut bench = |name: &str, host: &str, service: &mut dyn FnMut(&Request<Body>, u64) -> Duration| {
        let request = request(host);
        group.bench_function(name, |bencher| bencher.iter_custom(|calls| service(&request, calls)));
    };
    bench("bare", "plain", &mut |request, calls| runtime.block_on(run(&mut Bare, request, calls)));
    let routes = [
        ("plain route", "plain"),
        ("route with headers", "reviews"),
        ("bookinfo", "bookinfo"),
        ("pass-through", "elsewhere"),
    ];
    for (name, host) in routes {
        let mut service = router.layer(Bare);
        bench(name, host, &mut |request, calls| runtime.block_on(run(&mut service, request, calls)));
    }
    let mut service = runtime.block_on(async { usual() });
    bench("usual stack", "plain", &mut |request, calls| runtime.block_on(run(&mut service, request, calls)));
    group.finish();
}

fn ratios(runtime: &Runtime) {
    const CALLS: u64 = 20_000;
    const ROUNDS: usize = 31;
    runtime.block_on(async {
        let router = MeshRouter::new(&support::mesh());
        let (mut bare, mut plain, mut rich, mut usual) = (Bare, router.layer(Bare), router.layer(Bare), usual());
        let mut bookinfo = router.layer(Bare);
        let (to_plain, to_rich, to_bookinfo) = (request("plain"), request("reviews"), request("bookinfo"));
        let mut rounds: [Vec<f64>; 5] = Default::default();
        for _ in 0..ROUNDS {
            let times = [
                run(&mut bare, &to_plain, CALLS).await,
                run(&mut plain, &to_plain, CALLS).await,
                run(&mut rich, &to_rich, CALLS).await,
                run(&mut bookinfo, &to_bookinfo, CALLS).await,
                run(&mut usual, &to_plain, CALLS).await,
            ];
            for (round, time) in rounds.iter_mut().zip(times) {
                round.push(time.as_nanos() as f64 / CALLS as f64);
            }
        }
        let [bare, plain, rich, bookinfo, usual] = rounds.map(|mut round| {
            round.sort_by(f64::total_cmp);
            round[ROUNDS / 2]
        });
        println!("over the bare call ({bare:.0} ns), median of {ROUNDS} rounds in turns:");
        println!("usual stack        {:6.0} ns", usual - bare);
        println!("plain route        {:6.0} ns  {:.2} of it", plain - bare, (plain - bare) / (usual - bare));
        println!("route with headers {:6.0} ns  {:.2} of it", rich - bare, (rich - bare) / (usual - bare));
        println!("bookinfo           {:6.0} ns  {:.2} of it", bookinfo - bare, (bookinfo - bare) / (usual - bare));
    });
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    times(&runtime);
    ratios(&runtime);
}
