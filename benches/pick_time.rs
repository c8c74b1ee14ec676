//! Time of one pick and its drop, of one pick while two threads pick, and of one publication.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mesh_router::dice::Dice;
use mesh_router::upstream::{Choice, Cluster, Policy};

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

criterion_group! {
    name = picks;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_millis(800));
    targets = alone, against_another_thread, publish
}
criterion_main!(picks);
