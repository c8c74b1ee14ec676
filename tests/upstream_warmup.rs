//! Warmup: an endpoint that is new gets its share of the requests little by little.
#![allow(clippy::expect_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mesh_router::dice::Dice;
use mesh_router::upstream::{
    Balancing, Choice, Cluster, ClusterKey, ClusterSettings, EndpointConfig, Policy, Registry, Warmup,
};

const DURATION: Duration = Duration::from_secs(100);

fn host(number: u8) -> EndpointConfig {
    EndpointConfig::new(([10, 0, 0, number], 80))
}

fn cluster(policy: Policy, warmup: Option<Warmup>, endpoints: Vec<EndpointConfig>) -> Arc<Cluster> {
    let mut settings = ClusterSettings::default();
    settings.balancing = Balancing::from(policy);
    settings.balancing.warmup = warmup;
    Registry::new(&Dice::seeded(2)).cluster(ClusterKey::new("a.example", "", 80), settings, endpoints)
}

/// Endpoints 1 and 2 are warm, endpoint 3 came just now.
async fn one_is_new(policy: Policy, warmup: Warmup) -> Arc<Cluster> {
    let cluster = cluster(policy, Some(warmup), vec![host(1), host(2)]);
    tokio::time::advance(DURATION).await;
    cluster.publish(vec![host(1), host(2), host(3)]);
    cluster
}

/// The part of the picks, none of which is held, that falls on endpoint `number`.
fn part(cluster: &Cluster, number: u8) -> f64 {
    let dice = Dice::seeded(3);
    let picks = 4000;
    let address = host(number).address;
    let fell = |_: &u32| {
        let picked = cluster.pick(&mut dice.draws(), &Choice::default()).expect("healthy");
        picked.endpoint().address == address
    };
    (0..picks).filter(fell).count() as f64 / f64::from(picks)
}

#[test]
fn wu2_a_part_grows_from_its_least_to_the_whole() {
    let warmup = Warmup::new(DURATION);
    let at = |warmup: Warmup, seconds: u64| warmup.part(Duration::from_secs(seconds));
    for (seconds, part) in [(0, 0.1), (5, 0.1), (10, 0.1), (50, 0.5), (99, 0.99), (100, 1.0), (1000, 1.0)] {
        assert!((at(warmup, seconds) - part).abs() < 1e-12, "{seconds}");
    }
    let eager = Warmup { aggression: 2.0, ..warmup };
    assert!((at(eager, 25) - 0.5).abs() < 1e-12);
    let slow = Warmup { aggression: 0.5, minimum_percent: 1.0, ..warmup };
    assert!((at(slow, 50) - 0.25).abs() < 1e-12);
    let least = Warmup { minimum_percent: 0.0, ..warmup };
    assert!((at(least, 0) - 1e-5).abs() < 1e-12);
    assert!((at(Warmup { minimum_percent: 100.0, ..warmup }, 1) - 1.0).abs() < 1e-12);
}

#[tokio::test(start_paused = true)]
async fn wu1_a_new_endpoint_warms_up() {
    for policy in [Policy::RoundRobin, Policy::LeastRequest] {
        let cluster = one_is_new(policy, Warmup::new(DURATION)).await;
        for (advance, part_of_weight) in [(0, 0.1), (25, 0.25), (25, 0.5), (40, 0.9)] {
            tokio::time::advance(Duration::from_secs(advance)).await;
            let expected = part_of_weight / (2.0 + part_of_weight);
            let seen = part(&cluster, 3);
            assert!((seen - expected).abs() < 0.01, "{policy:?} {part_of_weight}: {seen} for {expected}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_warm_is_one_like_the_others() {
    let cluster = one_is_new(Policy::RoundRobin, Warmup::new(DURATION)).await;
    tokio::time::advance(DURATION).await;
    let mut counts = BTreeMap::new();
    for _ in 0..30 {
        let picked = cluster.pick(&mut Dice::seeded(1).draws(), &Choice::default()).expect("healthy");
        *counts.entry(picked.endpoint().id).or_insert(0) += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [10, 10, 10]);
}

#[tokio::test(start_paused = true)]
async fn wu3_where_all_are_new_nobody_has_less() {
    for policy in [Policy::RoundRobin, Policy::LeastRequest] {
        let cluster = cluster(policy, Some(Warmup::new(DURATION)), vec![host(1), host(2).with_weight(3)]);
        assert!((part(&cluster, 1) - 0.25).abs() < 0.01, "{policy:?}");
        tokio::time::advance(Duration::from_secs(50)).await;
        assert!((part(&cluster, 1) - 0.25).abs() < 0.01, "{policy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn wu1_others_do_not_warm_up() {
    for policy in [Policy::Random, Policy::RING_HASH, Policy::MAGLEV] {
        let with = one_is_new(policy, Warmup::new(DURATION)).await;
        let without = cluster(policy, None, vec![host(1), host(2), host(3)]);
        assert!((part(&with, 3) - part(&without, 3)).abs() < 0.03, "{policy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_comes_back_while_it_is_known_stays_warm() {
    let cluster = one_is_new(Policy::RoundRobin, Warmup::new(DURATION)).await;
    let first = cluster.pick(&mut Dice::seeded(1).draws(), &Choice::default()).expect("healthy");
    // Its state lives on with the request.
    let address = first.endpoint().address.clone();
    let rest = || [1, 2, 3].map(host).into_iter().filter(|host| host.address != address);
    cluster.publish(rest().collect());
    cluster.publish(rest().chain([EndpointConfig::new(address.clone())]).collect());
    tokio::time::advance(Duration::from_secs(50)).await;
    // One of weight 1/2 besides two whole ones, whichever came back.
    assert!((part(&cluster, 3) - 0.2).abs() < 0.01);
}

#[tokio::test(start_paused = true)]
async fn least_request_counts_what_an_endpoint_is_busy_with() {
    let cluster = one_is_new(Policy::LeastRequest, Warmup::new(DURATION)).await;
    tokio::time::advance(Duration::from_secs(50)).await;
    // Endpoints 1 and 2 at 9 requests each weigh 1/10 against 1/2.
    let mut held = Vec::new();
    while held.len() < 18 {
        let picked = cluster.pick(&mut Dice::seeded(held.len() as u64).draws(), &Choice::default()).expect("healthy");
        let fits = picked.endpoint().address != host(3).address && picked.endpoint().active() <= 9;
        if fits {
            held.push(picked);
        }
    }
    let seen = part(&cluster, 3);
    assert!((seen - 0.5 / 0.7).abs() < 0.01, "{seen}");
}

#[tokio::test(start_paused = true)]
async fn a_warmup_may_last_for_ever() {
    let cluster = cluster(Policy::RoundRobin, Some(Warmup::new(Duration::MAX)), vec![host(1), host(2)]);
    tokio::time::advance(DURATION).await;
    assert!((part(&cluster, 1) - 0.5).abs() < 0.01);
}
