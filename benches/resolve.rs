//! Instructions of `RouteTable::resolve`, view included, by the shape of the rules and their number.
//!
//! Needs valgrind and `gungraun-runner` of the same version as the crate. What is asked for: on `prefixes`, `exacts`,
//! `headers`, `names` and `nested` no more than twice the instructions from 16 to 10,000 rules.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs, reason = "what the macros write has none")]

mod resolve_shapes;

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use mesh_router::route::{ClusterIndex, Resolution, RuleSet};
use resolve_shapes::{Case, Hit, Shape, bookinfo, draw, rules};

/// Warmed up, so that a regular expression has made its work space.
fn case(shape: Shape, count: usize, hit: Hit) -> Case {
    let case = Case::new(shape, count, hit);
    case.resolve();
    case
}

fn small(indexed: bool, count: usize, hit: Hit) -> Case {
    let make = if indexed { RuleSet::new_indexed } else { RuleSet::new_unindexed };
    Case::with(make(rules(Shape::Prefixes, count)), Case::new(Shape::Prefixes, count, hit).request)
}

macro_rules! shape {
    ($name:ident, $shape:expr) => {
        #[library_benchmark]
        #[bench::first_16(case($shape, 16, Hit::First))]
        #[bench::last_16(case($shape, 16, Hit::Last))]
        #[bench::miss_16(case($shape, 16, Hit::Miss))]
        #[bench::first_1000(case($shape, 1_000, Hit::First))]
        #[bench::last_1000(case($shape, 1_000, Hit::Last))]
        #[bench::miss_1000(case($shape, 1_000, Hit::Miss))]
        #[bench::first_10000(case($shape, 10_000, Hit::First))]
        #[bench::last_10000(case($shape, 10_000, Hit::Last))]
        #[bench::miss_10000(case($shape, 10_000, Hit::Miss))]
        fn $name(case: Case) -> (Case, Resolution) {
            let resolution = black_box(&case).resolve();
            (case, resolution)
        }
    };
}

shape!(prefixes, Shape::Prefixes);
shape!(exacts, Shape::Exacts);
shape!(headers, Shape::Headers);
shape!(names, Shape::Names);
shape!(nested, Shape::Nested);
shape!(regexes, Shape::Regexes);

// Where the index begins to pay.
#[library_benchmark]
#[bench::scan_2_last(small(false, 2, Hit::Last))]
#[bench::scan_4_first(small(false, 4, Hit::First))]
#[bench::scan_4_last(small(false, 4, Hit::Last))]
#[bench::scan_8_last(small(false, 8, Hit::Last))]
#[bench::scan_16_last(small(false, 16, Hit::Last))]
#[bench::index_2_last(small(true, 2, Hit::Last))]
#[bench::index_4_first(small(true, 4, Hit::First))]
#[bench::index_4_last(small(true, 4, Hit::Last))]
#[bench::index_8_last(small(true, 8, Hit::Last))]
#[bench::index_16_last(small(true, 16, Hit::Last))]
fn threshold(case: Case) -> (Case, Resolution) {
    let resolution = black_box(&case).resolve();
    (case, resolution)
}

#[library_benchmark]
#[bench::weighted(bookinfo(), draw())]
fn sample(case: Case, draw: u64) -> (Case, Option<ClusterIndex>) {
    let cluster = black_box(&case).resolve_and_pick(draw);
    (case, cluster)
}

library_benchmark_group!(
    name = resolve;
    benchmarks = prefixes, exacts, headers, names, nested, regexes, threshold, sample
);
main!(library_benchmark_groups = resolve);
