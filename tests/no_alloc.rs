//! Resolving a request, drawing its destination, picking an endpoint, being admitted, reporting and normalizing a path that is normal already
//! allocate nothing.

#![allow(clippy::unwrap_used, reason = "what is built here is known to be right")]

#[path = "../benches/resolve_shapes/mod.rs"]
mod resolve_shapes;

use std::alloc::System;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http::uri::Authority;
use mesh_router::dice::Dice;
use mesh_router::outcome::{Failure, Outcome};
use mesh_router::route::{RouteIndex, RouteMatch, RuleSet, StringMatcher, normalize};
use mesh_router::upstream::{
    Choice, Cluster, ClusterKey, ClusterSettings, EndpointConfig, Failover, FailoverPlaces, Original, OutlierSettings,
    Placement, Policy, Registry, RetryBudget, Warmup,
};
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

/// Endpoints on two levels and, on each, in two places.
fn balanced(policy: Policy, weighted: bool) -> Arc<Cluster> {
    let mut settings = ClusterSettings::default();
    settings.balancing = policy.into();
    settings.balancing.warmup = Some(Warmup::new(Duration::from_secs(60)));
    let places = FailoverPlaces { own: "eu/z1".into(), to: None, regions_only: true };
    let failover = Failover { places: Some(places), weighted, ..Failover::default() };
    settings.balancing.placement = Placement::Failover(failover);
    let mut outlier = OutlierSettings::default();
    (outlier.errors, outlier.max_ejection_percent) = (NonZeroU32::new(2), 100);
    settings.outlier = Some(outlier);
    let limit = NonZeroU32::new(9);
    (settings.limits.connections, settings.limits.pending, settings.limits.requests) = (limit, limit, limit);
    settings.limits.retry_budget = Some(RetryBudget::default());
    let endpoint = |(number, place): (u8, &str)| {
        let mut config = EndpointConfig::new(([10, 0, 0, number], 80)).with_weight(1 + u32::from(number));
        config.locality = place.into();
        config.with_healthy(number != 0)
    };
    let places = ["eu/z1", "eu/z1", "eu/z2", "us/z1", "us/z2", "us/z2"];
    let endpoints = (0..).zip(places).map(endpoint).collect();
    Registry::new(&Dice::seeded(2)).cluster(ClusterKey::new("a.example", "", 80), settings, endpoints)
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

    let dice = Dice::seeded(1);
    let policies = [Policy::LeastRequest, Policy::RoundRobin, Policy::Random, Policy::RING_HASH, Policy::MAGLEV];
    for (policy, weighted) in policies.into_iter().flat_map(|policy| [(policy, false), (policy, true)]) {
        let cluster = balanced(policy, weighted);
        let tried: Vec<_> = cluster.view().iter().map(|view| view.id).take(3).collect();
        let choice = Choice { tried: &tried, avoid_tried: true, remote_localities: true, ..Choice::default() };
        let pick = || drop(cluster.pick(&mut dice.draws(), &choice));
        pick();
        assert_eq!(allocations(pick), 0, "{policy:?} {weighted}");
        // The second endpoint is ejected: picks and reports look at the clock.
        let endpoint = cluster.endpoints().endpoints()[1].clone();
        cluster.report(&endpoint, Outcome::Failure(Failure::RemoteReset));
        cluster.report(&endpoint, Outcome::Failure(Failure::RemoteReset));
        assert!(endpoint.is_ejected());
        let try_out = || {
            let limits = cluster.limits();
            let permits = (limits.pending(), limits.request(), limits.connection(false), limits.retry());
            let picked = cluster.pick(&mut dice.draws(), &choice);
            for outcome in [Outcome::Failure(Failure::RemoteReset), Outcome::Status(http::StatusCode::OK)] {
                picked.iter().for_each(|picked| cluster.report(picked.endpoint(), outcome));
            }
            permits.0.is_some() && permits.1.is_some() && permits.2.is_some() && permits.3.is_some() && picked.is_some()
        };
        assert!(try_out());
        assert_eq!(allocations(try_out), 0, "{policy:?} {weighted}");
    }

    let registry = Registry::new(&dice);
    let passes = |limit| {
        let mut settings = ClusterSettings::default();
        settings.balancing = Policy::PassThrough.into();
        settings.limits.requests = NonZeroU32::new(limit);
        registry.cluster(ClusterKey::new("b.example", "", 80), settings, Vec::new())
    };
    let original = Original { dialed: Some(Authority::from_static("b.example")), named: None };
    let choice = Choice { original: Some(&original), ..Choice::default() };
    for limit in [1, 2] {
        let cluster = passes(limit);
        let pick = || drop(cluster.pick(&mut dice.draws(), &choice));
        pick();
        assert_eq!(allocations(pick), 0, "passing through");
    }

    for path in ["/api/v1/users", "/.well-known/x", "/a%20b%2Fc"] {
        assert_eq!(allocations(|| normalize::base(path)), 0, "{path}");
        assert_eq!(allocations(|| normalize::merge_slashes(path)), 0, "{path}");
    }
}
