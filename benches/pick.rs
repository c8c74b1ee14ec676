//! Instructions and allocations of 100 picks, each dropped before the next: the balancers at 3, 100 and 10,000
//! endpoints.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use gungraun::{Dhat, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use mesh_router::dice::{Dice, Draws};
use mesh_router::upstream::{Choice, Cluster, Policy};

mod pick_clusters;
use pick_clusters::{Weights, cluster};

/// A cluster that was picked from before, as after the first request.
fn warm(policy: Policy, count: u32, weights: Weights) -> (Arc<Cluster>, Draws) {
    let cluster = cluster(policy, count, weights);
    let mut draws = Dice::seeded(2).draws();
    drop(cluster.pick(&mut draws, &Choice::default()));
    (cluster, draws)
}

#[library_benchmark(setup = warm)]
#[bench::least_request_equal_3(Policy::LeastRequest, 3, Weights::Equal)]
#[bench::least_request_equal_100(Policy::LeastRequest, 100, Weights::Equal)]
#[bench::least_request_equal_10000(Policy::LeastRequest, 10_000, Weights::Equal)]
#[bench::least_request_small_3(Policy::LeastRequest, 3, Weights::Small)]
#[bench::least_request_small_100(Policy::LeastRequest, 100, Weights::Small)]
#[bench::least_request_small_10000(Policy::LeastRequest, 10_000, Weights::Small)]
#[bench::round_robin_equal_3(Policy::RoundRobin, 3, Weights::Equal)]
#[bench::round_robin_equal_100(Policy::RoundRobin, 100, Weights::Equal)]
#[bench::round_robin_equal_10000(Policy::RoundRobin, 10_000, Weights::Equal)]
#[bench::round_robin_small_3(Policy::RoundRobin, 3, Weights::Small)]
#[bench::round_robin_small_100(Policy::RoundRobin, 100, Weights::Small)]
#[bench::round_robin_small_10000(Policy::RoundRobin, 10_000, Weights::Small)]
#[bench::round_robin_wild_3(Policy::RoundRobin, 3, Weights::Wild)]
#[bench::round_robin_wild_100(Policy::RoundRobin, 100, Weights::Wild)]
#[bench::round_robin_wild_10000(Policy::RoundRobin, 10_000, Weights::Wild)]
#[bench::random_equal_3(Policy::Random, 3, Weights::Equal)]
#[bench::random_equal_100(Policy::Random, 100, Weights::Equal)]
#[bench::random_equal_10000(Policy::Random, 10_000, Weights::Equal)]
#[bench::ring_hash_equal_3(Policy::RING_HASH, 3, Weights::Equal)]
#[bench::ring_hash_equal_100(Policy::RING_HASH, 100, Weights::Equal)]
#[bench::ring_hash_equal_10000(Policy::RING_HASH, 10_000, Weights::Equal)]
#[bench::maglev_equal_3(Policy::MAGLEV, 3, Weights::Equal)]
#[bench::maglev_equal_100(Policy::MAGLEV, 100, Weights::Equal)]
#[bench::maglev_equal_10000(Policy::MAGLEV, 10_000, Weights::Equal)]
fn pick_100((cluster, mut draws): (Arc<Cluster>, Draws)) -> Arc<Cluster> {
    for _ in 0..100 {
        drop(black_box(cluster.pick(&mut draws, &Choice::default())));
    }
    cluster
}

library_benchmark_group!(name = picks; benchmarks = pick_100);
main!(config = LibraryBenchmarkConfig::default().tool(Dhat::default()); library_benchmark_groups = picks);
