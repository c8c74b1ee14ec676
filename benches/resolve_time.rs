//! Time of `RouteTable::resolve`, view included, by the shape of the rules and their number.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod resolve_shapes;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use resolve_shapes::{Case, Hit, SHAPES, bookinfo, draw};

fn shapes(criterion: &mut Criterion) {
    for (name, shape) in SHAPES {
        let mut group = criterion.benchmark_group(name);
        for count in [16, 1_000, 10_000] {
            for hit in [Hit::First, Hit::Last, Hit::Miss] {
                let case = Case::new(shape, count, hit);
                let id = BenchmarkId::new(format!("{hit:?}").to_lowercase(), count);
                group.bench_function(id, |bencher| bencher.iter(|| black_box(&case).resolve()));
            }
        }
        group.finish();
    }
}

fn sample(criterion: &mut Criterion) {
    let (case, draw) = (bookinfo(), draw());
    criterion.bench_function("bookinfo", |bencher| bencher.iter(|| black_box(&case).resolve_and_pick(draw)));
}

criterion_group!(benches, shapes, sample);
criterion_main!(benches);
