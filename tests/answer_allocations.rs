//! Publishing what a name was looked up to costs the same however many names there are: each of them is looked up
//! again and again.
#![allow(clippy::unwrap_used, reason = "what is built here is known to be right")]

use std::alloc::System;
use std::fmt::Write;
use std::net::IpAddr;

use mesh_router::Mesh;
use mesh_router::config::Config;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A mesh of `count` services, each a name without an answer.
fn mesh(count: usize) -> Mesh {
    let mut text = String::new();
    for number in 0..count {
        write!(
            text,
            "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: s{number}}}, spec: {{\
             hosts: [s{number}.test], resolution: DNS, ports: [{{number: 80, name: http, protocol: HTTP}}]}}}}\n---\n"
        )
        .unwrap();
    }
    let mesh = Mesh::new();
    assert_eq!(mesh.apply(Config::from_yaml(&text, "names.yaml").unwrap()).unwrap().errors().next(), None);
    mesh
}

/// How many bytes an answer allocates, at best: other threads of the test harness are counted too.
fn bytes_of_an_answer(count: usize) -> usize {
    let mesh = mesh(count);
    let answer = || {
        let region = Region::new(GLOBAL);
        mesh.publish_addresses("s1.test", Some(vec![IpAddr::from([10, 0, 0, 1])]));
        region.change().bytes_allocated
    };
    let bytes = (0..5).map(|_| answer()).min().unwrap();
    assert_eq!(mesh.endpoints().len(), 1);
    bytes
}

#[test]
fn an_answer_costs_the_same_however_many_names_there_are() {
    let few = bytes_of_an_answer(2);
    assert!(few > 0, "the counter counts");
    assert_eq!(bytes_of_an_answer(200), few);
}
