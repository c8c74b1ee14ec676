//! Time of one pick and its drop, of one pick while two threads pick, and of one publication.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_types, reason = "a bench reads the real clock")]

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mesh_router::dice::Dice;
use mesh_router::upstream::{Choice, Cluster, Policy};
use tower::Service;
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PendingRequests};

mod pick_clusters;
use pick_clusters::{Weights, cluster, endpoints};

const COUNTS: [u32; 3] = [3, 100, 10_000];

const CASES: [(Policy, Weights); 9] = [
    (Policy::LeastRequest, Weights::Equal),
    (Policy::LeastRequest, Weights::Small),
    (Policy::LeastRequest, Weights::Wild),
    (Policy::RoundRobin, Weights::Equal),
    (Policy::RoundRobin, Weights::Small),
    (Policy::RoundRobin, Weights::Wild),
    (Policy::Random, Weights::Equal),
    (Policy::RING_HASH, Weights::Equal),
    (Policy::MAGLEV, Weights::Equal),
];

fn measure(criterion: &mut Criterion, name: &str, around: impl Fn(&Cluster, &mut dyn FnMut())) {
    let mut group = criterion.benchmark_group(name);
    for (policy, weights) in CASES {
        for count in COUNTS {
            let cluster = cluster(policy, count, weights);
            let mut draws = Dice::seeded(2).draws();
            let id = BenchmarkId::new(format!("{policy:?}/{weights:?}"), count);
            around(&cluster, &mut || {
                group.bench_function(id.clone(), |bencher| {
                    bencher.iter(|| cluster.pick(&mut draws, &Choice::default()))
                });
            });
        }
    }
    group.finish();
}

/// What tower's balancer takes to choose one of ten services and call it, where the call costs nothing: the yardstick.
fn beside_tower(criterion: &mut Criterion) {
    let endpoints = (0..10).map(|_| PendingRequests::new(Instantly, CompleteOnResponse::default()));
    let mut balance = Balance::new(ServiceList::new::<()>(endpoints.collect::<Vec<_>>()));
    let mut cx = Context::from_waker(Waker::noop());
    criterion.bench_function("pick/p2c of tower/10", |bencher| {
        bencher.iter(|| {
            assert!(balance.poll_ready(&mut cx).is_ready());
            pin!(balance.call(())).poll(&mut cx).is_ready()
        });
    });
}

#[derive(Clone)]
struct Instantly;

impl Service<()> for Instantly {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

fn alone(criterion: &mut Criterion) {
    measure(criterion, "pick", |_, bench| bench());
}

fn against_another_thread(criterion: &mut Criterion) {
    measure(criterion, "pick_contended", |cluster, bench| {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut draws = Dice::seeded(3).draws();
                while !done.load(Ordering::Relaxed) {
                    drop(cluster.pick(&mut draws, &Choice::default()));
                }
            });
            bench();
            done.store(true, Ordering::Relaxed);
        });
    });
}

fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish");
    for (policy, weights) in CASES {
        let cluster = cluster(policy, 10_000, weights);
        let full = endpoints(10_000, weights);
        let mut rounds = 0;
        group.bench_function(BenchmarkId::new(format!("{policy:?}/{weights:?}"), 10_000), |bencher| {
            bencher.iter(|| {
                // One endpoint comes or goes, so that every publication changes something.
                rounds += 1;
                cluster.publish(full[rounds % 2..].to_vec());
            });
        });
    }
    group.finish();
}

/// The slowest of many picks, while nothing happens and while all 10,000 addresses change again and again: printed, for
/// criterion knows means only. A sample is eight picks, since one is not much longer than reading the clock.
fn tail_while_publishing(_: &mut Criterion) {
    const SAMPLES: usize = 100_000;
    const PICKS: u32 = 8;
    let sample = |cluster: &Cluster| {
        let mut draws = Dice::seeded(4).draws();
        let one = |_| {
            let begin = Instant::now();
            (0..PICKS).for_each(|_| drop(cluster.pick(&mut draws, &Choice::default())));
            begin.elapsed() / PICKS
        };
        let mut times: Vec<Duration> = (0..SAMPLES).map(one).collect();
        times.sort_unstable();
        [500, 990, 999].map(|share| times[SAMPLES * share / 1000])
    };
    println!("a pick among 10,000: p50, p99, p99.9");
    for (policy, weights) in CASES {
        let cluster = cluster(policy, 10_000, weights);
        let other: Vec<_> = endpoints(20_000, weights).split_off(10_000);
        let both = [other, endpoints(10_000, weights)];
        println!("{policy:?}/{weights:?} alone {:?}", sample(&cluster));
        let (done, mut published) = (AtomicBool::new(false), 0);
        let (times, took) = thread::scope(|scope| {
            let publisher = scope.spawn(|| {
                let begin = Instant::now();
                while !done.load(Ordering::Relaxed) {
                    cluster.publish(both[published % 2].clone());
                    published += 1;
                }
                begin.elapsed() / published.max(1) as u32
            });
            let times = sample(&cluster);
            done.store(true, Ordering::Relaxed);
            (times, publisher.join().unwrap())
        });
        println!("{policy:?}/{weights:?} while published every {took:?} {times:?}");
    }
}

criterion_group! {
    name = picks;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_millis(800));
    targets = beside_tower, alone, against_another_thread, publish, tail_while_publishing
}
criterion_main!(picks);
