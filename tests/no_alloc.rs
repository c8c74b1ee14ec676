//! Resolving a request, drawing its destination and normalizing a path that is normal already allocate nothing.

#![allow(clippy::unwrap_used, reason = "what is built here is known to be right")]

#[path = "../benches/resolve_shapes/mod.rs"]
mod resolve_shapes;

use std::alloc::System;
use std::hint::black_box;

use http::Request;
use mesh_router::route::{RouteIndex, RouteMatch, RuleSet, StringMatcher, normalize};
use resolve_shapes::{Case, Hit, SHAPES, bookinfo, draw};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How often `work` allocates, at best: other threads of the test harness are counted too.
fn allocations<T>(mut work: impl FnMut() -> T) -> usize {
    let count = |work: &mut dyn FnMut() -> T| {
        let region = Region::new(GLOBAL);
        black_box(work());
        let change = region.change();
        change.allocations + change.reallocations
    };
    (0..5).map(|_| count(&mut work)).min().unwrap()
}

/// Every way through the evaluator that the shapes leave out: each kind of matcher and of subject, a host in upper
/// case, `:path` with a query.
fn every_kind() -> Case {
    let text = StringMatcher::exact;
    let rules = vec![
        RouteMatch::builder().header(":path", StringMatcher::regex("/nothing.*").unwrap()),
        RouteMatch::builder().header("x-line", text("nothing")),
        RouteMatch::builder().query("v", text("1")),
        RouteMatch::builder().method(text("POST")).scheme(text("https")),
        RouteMatch::builder().authority(text("other.test")),
        RouteMatch::builder().without_header("x-line", StringMatcher::present()),
        RouteMatch::builder().uri(StringMatcher::prefix_ignore_case("/NOTHING")),
        RouteMatch::builder().uri(StringMatcher::exact_ignore_case("/NOTHING")),
        RouteMatch::builder().uri(StringMatcher::regex("/nothing[0-9]").unwrap()),
        RouteMatch::builder().uri(StringMatcher::regex(".*/last").unwrap()).header("x-line", text("b")),
    ];
    let rules = rules.into_iter().zip((0..).map(RouteIndex)).map(|(rule, route)| (rule.build(), route)).collect();
    let request = Request::get("http://Reviews.Default.svc.cluster.local/a/last?v=2&v=1").header("x-line", "a");
    Case::with(RuleSet::new(rules), request.header("x-line", "b").body(()).unwrap())
}

#[test]
fn the_request_path_allocates_nothing() {
    assert!(allocations(|| vec![1]) > 0, "the counter counts");
    for (name, shape) in SHAPES {
        for hit in [Hit::First, Hit::Last, Hit::Miss] {
            for count in [1, 16, 1_000] {
                let case = Case::new(shape, count, hit);
                case.resolve();
                assert_eq!(allocations(|| case.resolve()), 0, "{name} {count} {hit:?}");
            }
        }
    }
    let (sample, draw) = (bookinfo(), draw());
    assert!(sample.resolve_and_pick(draw).is_some());
    assert_eq!(allocations(|| sample.resolve_and_pick(draw)), 0);

    let every_kind = every_kind();
    assert!(matches!(every_kind.resolve(), mesh_router::route::Resolution::Route(RouteIndex(9))));
    assert_eq!(allocations(|| every_kind.resolve()), 0);

    for path in ["/api/v1/users", "/.well-known/x", "/a%20b%2Fc"] {
        assert_eq!(allocations(|| normalize::base(path)), 0, "{path}");
        assert_eq!(allocations(|| normalize::merge_slashes(path)), 0, "{path}");
    }
}
