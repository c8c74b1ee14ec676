//! From text to a published snapshot: 10,000 prefix rules in one VirtualService.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use mesh_router::Mesh;
use mesh_router::config::Config;

const RULES: usize = 10_000;

fn text() -> String {
    let mut text = String::from(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: backend}
spec:
  hosts: [backend.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: backend}
spec:
  host: backend.test
  subsets: [{name: v1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: big}
spec:
  hosts: [backend.test]
  http:
",
    );
    for number in 0..RULES {
        let _ = write!(
            text,
            "  - match:
    - uri:
        prefix: /svc/{number:05}/
    route:
    - destination:
        host: backend.test
        subset: v1
"
        );
    }
    text
}

fn compile(criterion: &mut Criterion) {
    let text = text();
    let read = |text: &str| Config::from_yaml(text, "big.yaml").expect("good YAML");
    let mut group = criterion.benchmark_group("compile/10000");
    group.sample_size(10);
    group.bench_function("read", |bencher| bencher.iter(|| read(black_box(&text))));
    group.bench_function("publish", |bencher| {
        let mesh = Mesh::new();
        bencher.iter_batched(|| read(&text), |config| mesh.apply(config), BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, compile);
criterion_main!(benches);
