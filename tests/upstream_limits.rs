//! What a cluster admits, and that everything admitted is given back.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mesh_router::dice::Dice;
use mesh_router::upstream::{
    Cluster, ClusterKey, ClusterSettings, InUse, LimitSettings, Limits, Permit, Policy, Registry, RetryBudget,
};
use proptest::prelude::*;

fn all(limit: u32) -> LimitSettings {
    let limit = NonZeroU32::new(limit);
    let mut limits = LimitSettings::default();
    (limits.connections, limits.pending, limits.requests, limits.retries) = (limit, limit, limit, limit);
    limits
}

fn budget(percent: u32, at_least: u32, interval: u64) -> LimitSettings {
    let mut budget = RetryBudget::default();
    budget.millionths = percent * 10_000;
    budget.at_least = at_least;
    budget.interval = Duration::from_secs(interval);
    let mut limits = LimitSettings::default();
    limits.retry_budget = Some(budget);
    limits
}

fn load(registry: &Registry, limits: LimitSettings) -> Arc<Cluster> {
    let mut settings = ClusterSettings::default();
    settings.limits = limits;
    registry.cluster(ClusterKey::new("a.example", "", 80), settings, Vec::new())
}

fn cluster(limits: LimitSettings) -> Arc<Cluster> {
    load(&Registry::new(&Dice::seeded(1)), limits)
}

/// As many permits as there are.
fn take(most: usize, permit: impl Fn() -> Option<Permit>) -> Vec<Permit> {
    (0..most).map_while(|_| permit()).collect()
}

type Ask = fn(&Arc<Limits>) -> Option<Permit>;

const KINDS: [Ask; 4] = [|l| l.connection(false), |l| l.pending(), |l| l.request(), |l| l.retry()];

fn counts(in_use: InUse) -> [u64; 4] {
    [in_use.connections, in_use.pending, in_use.requests, in_use.retries]
}

#[test]
fn each_limit_is_its_own() {
    let cluster = cluster(all(3));
    let limits = cluster.limits();
    for (kind, ask) in KINDS.into_iter().enumerate() {
        let held = take(10, || ask(limits));
        assert_eq!(held.len(), 3, "kind {kind}");
        let mut expected = [0; 4];
        expected[kind] = 3;
        assert_eq!(counts(limits.in_use()), expected);
        drop(held);
        assert_eq!(limits.in_use(), InUse::default());
        assert!(ask(limits).is_some(), "kind {kind}");
    }
}

#[test]
fn without_limits_everything_is_admitted_and_nothing_counted() {
    let cluster = cluster(LimitSettings::default());
    for ask in KINDS {
        let held = take(1000, || ask(cluster.limits()));
        assert_eq!((held.len(), cluster.limits().in_use()), (1000, InUse::default()));
    }
}

#[test]
fn the_first_connection_to_an_endpoint_is_always_admitted() {
    let cluster = cluster(all(2));
    let limits = cluster.limits();
    let held = take(5, || limits.connection(true));
    assert_eq!(limits.in_use().connections, 5);
    assert!(limits.connection(false).is_none());
    drop(held);
    assert_eq!(take(5, || limits.connection(false)).len(), 2);
}

#[test]
fn a_budget_follows_the_requests() {
    let mut settings = budget(20, 3, 0);
    settings.retries = NonZeroU32::new(1);
    let cluster = cluster(settings);
    let limits = cluster.limits();
    let retries = || take(1000, || limits.retry()).len();
    assert_eq!(retries(), 3, "the least, whatever maxRetries says");
    let requests = take(60, || limits.request());
    assert_eq!(retries(), 12);
    let pending = take(44, || limits.pending());
    assert_eq!(retries(), 20, "104 requests");
    drop(requests);
    assert_eq!(retries(), 8, "44 requests");
    drop(pending);
    assert_eq!((retries(), limits.in_use()), (3, InUse::default()));
}

#[tokio::test(start_paused = true)]
async fn a_budget_with_an_interval_remembers_requests() {
    let cluster = cluster(budget(10, 1, 10));
    let limits = cluster.limits();
    let retries = || take(1000, || limits.retry()).len();
    drop(take(100, || limits.request()));
    let held = take(50, || limits.request());
    assert_eq!(retries(), 15);
    tokio::time::advance(Duration::from_secs(5)).await;
    drop(held);
    assert_eq!(retries(), 15);
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(retries(), 5);
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(retries(), 1);
}

#[test]
fn counts_go_on_over_reloads() {
    let registry = Registry::new(&Dice::seeded(1));
    let before = load(&registry, all(4));
    let held = take(3, || before.limits().request());
    let after = load(&registry, all(2));
    assert_eq!(after.limits().in_use().requests, 3);
    assert!(after.limits().request().is_none());
    assert_eq!(take(9, || before.limits().request()).len(), 1, "a request of before");
    drop(held);
    assert_eq!(take(9, || after.limits().request()).len(), 2);
    // Other settings change, limits do not.
    let mut settings = ClusterSettings::default();
    settings.limits = all(2);
    settings.balancing.policy = Policy::Random;
    let other = registry.cluster(ClusterKey::new("a.example", "", 80), settings, Vec::new());
    assert!(Arc::ptr_eq(other.limits(), after.limits()));
}

#[derive(Clone, Debug)]
enum Step {
    Take(usize),
    First,
    Drop(prop::sample::Index),
    Reload(Option<u32>),
    Budget(u32),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0usize..4).prop_map(Step::Take),
        1 => Just(Step::First),
        6 => any::<prop::sample::Index>().prop_map(Step::Drop),
        1 => proptest::option::of(1u32..6).prop_map(Step::Reload),
        1 => (0u32..101).prop_map(Step::Budget),
    ]
}

proptest! {
    #[test]
    fn what_is_admitted_is_given_back(steps in proptest::collection::vec(steps(), 0..200)) {
        let registry = Registry::new(&Dice::seeded(1));
        let mut cluster = load(&registry, all(3));
        // Every cluster is kept, as requests in flight keep theirs.
        let mut kept = vec![cluster.clone()];
        let mut held: Vec<(usize, bool, Permit)> = Vec::new();
        for step in steps {
            let limits = cluster.limits().clone();
            let before = counts(limits.in_use());
            match step {
                Step::Take(kind) => if let Some(permit) = KINDS[kind](&limits) {
                    held.push((kind, counts(limits.in_use()) != before, permit));
                },
                Step::First => if let Some(permit) = limits.connection(true) {
                    held.push((0, counts(limits.in_use()) != before, permit));
                },
                Step::Drop(which) if !held.is_empty() => drop(held.swap_remove(which.index(held.len()))),
                Step::Drop(_) => {}
                Step::Reload(limit) => cluster = load(&registry, limit.map_or_else(LimitSettings::default, all)),
                Step::Budget(percent) => cluster = load(&registry, budget(percent, 1, 0)),
            }
            kept.push(cluster.clone());
            let mut expected = [0; 4];
            held.iter().filter(|(_, counted, _)| *counted).for_each(|(kind, ..)| expected[*kind] += 1);
            prop_assert_eq!(counts(cluster.limits().in_use()), expected);
        }
        held.clear();
        prop_assert_eq!(cluster.limits().in_use(), InUse::default());
    }
}

#[test]
fn counts_return_to_zero_after_threads_raced() {
    let registry = Registry::new(&Dice::seeded(1));
    let cluster = load(&registry, all(5));
    thread::scope(|scope| {
        for kind in 0..4 {
            let cluster = &cluster;
            scope.spawn(move || {
                let mut held = Vec::new();
                for round in 0..5000 {
                    held.extend(KINDS[(kind + round) % 4](cluster.limits()));
                    let in_use = counts(cluster.limits().in_use());
                    assert!(in_use.iter().all(|count| *count <= 5), "{in_use:?}");
                    if round % 3 == 0 {
                        held.clear();
                    }
                }
            });
        }
        scope.spawn(|| (0..200).for_each(|round| drop(load(&registry, all(5 - round % 2)))));
    });
    assert_eq!(cluster.limits().in_use(), InUse::default());
}
