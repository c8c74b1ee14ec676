//! Which endpoints are picked: the healthy ones, by their weights, and rather not those already tried.
#![allow(clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use mesh_router::dice::Dice;
use mesh_router::upstream::{Address, Choice, Cluster, ClusterKey, ClusterSettings, EndpointConfig, Policy, Registry};

const POLICIES: [Policy; 3] = [Policy::LeastRequest, Policy::RoundRobin, Policy::Random];

fn cluster(policy: Policy, endpoints: Vec<EndpointConfig>) -> Arc<Cluster> {
    let mut settings = ClusterSettings::default();
    settings.balancing.policy = policy;
    Registry::new(&Dice::seeded(2)).cluster(ClusterKey::new("a.example", "", 80), settings, endpoints)
}

fn host(host: u8) -> EndpointConfig {
    EndpointConfig::new(([10, 0, 0, host], 80))
}

/// How often each endpoint is picked from an idle cluster, in the order of their publication.
fn counts(cluster: &Cluster, dice: &Dice, picks: u32) -> Vec<u32> {
    let mut counts = BTreeMap::new();
    for view in cluster.view() {
        counts.insert(view.id, 0);
    }
    for _ in 0..picks {
        let picked = cluster.pick(&mut dice.draws(), &Choice::default()).expect("healthy");
        *counts.entry(picked.endpoint().id).or_default() += 1;
    }
    counts.into_values().collect()
}

#[test]
fn no_healthy_endpoint_gives_none() {
    let dice = Dice::seeded(1);
    for policy in POLICIES {
        assert!(cluster(policy, Vec::new()).pick(&mut dice.draws(), &Choice::default()).is_none());
        let sick = cluster(policy, vec![host(1).with_healthy(false), host(2).with_healthy(false).with_weight(2)]);
        assert!(sick.pick(&mut dice.draws(), &Choice::default()).is_none());
        assert_eq!(sick.view().len(), 2);
    }
}

#[test]
fn an_endpoint_that_is_not_healthy_is_not_picked() {
    let dice = Dice::seeded(1);
    for policy in POLICIES {
        let cluster = cluster(policy, vec![host(1), host(2).with_healthy(false).with_weight(50), host(3)]);
        let counts = counts(&cluster, &dice, 400);
        assert_eq!(counts[1], 0, "{policy:?}");
        assert!(counts[0] > 100 && counts[2] > 100, "{policy:?}: {counts:?}");
    }
}

#[test]
fn weights_count_but_for_random() {
    let dice = Dice::seeded(1);
    // Unset is 1.
    let endpoints = || vec![host(1).with_weight(0), host(2).with_weight(2), host(3).with_weight(7)];
    assert_eq!(counts(&cluster(Policy::RoundRobin, endpoints()), &dice, 1000), [100, 200, 700]);
    let least_request = counts(&cluster(Policy::LeastRequest, endpoints()), &dice, 1000);
    for (count, share) in least_request.iter().zip([100u32, 200, 700]) {
        assert!(count.abs_diff(share) <= 3, "{least_request:?}");
    }
    let random = counts(&cluster(Policy::Random, endpoints()), &dice, 90_000);
    for count in &random {
        // 5 sigma
        assert!(count.abs_diff(30_000) < 708, "{random:?}");
    }
}

#[test]
fn weighted_least_request_shuns_the_busy() {
    let dice = Dice::seeded(1);
    let cluster = cluster(Policy::LeastRequest, vec![host(1).with_weight(2), host(2).with_weight(1)]);
    // Hold what falls on the first: at 9 held, its weight is 2/10 against 1.
    let mut held = Vec::new();
    while held.len() < 9 {
        let picked = cluster.pick(&mut dice.draws(), &Choice::default()).expect("healthy");
        if picked.endpoint().weight == 2 {
            held.push(picked);
        }
    }
    let counts = counts(&cluster, &dice, 1200);
    assert!(counts[0].abs_diff(200) <= 10, "{counts:?}");
}

#[test]
fn one_address_is_one_endpoint_and_the_first_stands() {
    let cluster = cluster(Policy::RoundRobin, vec![host(1).with_weight(3), host(2), host(1).with_weight(9)]);
    let weights: Vec<_> = cluster.view().iter().map(|view| view.weight).collect();
    assert_eq!(weights, [3, 1]);
}

#[test]
fn round_robin_does_not_pick_a_tried_endpoint_among_two() {
    let dice = Dice::seeded(1);
    let cluster = cluster(Policy::RoundRobin, vec![host(1), host(2)]);
    for _ in 0..20 {
        let first = cluster.pick(&mut dice.draws(), &Choice::default()).expect("healthy").endpoint().id;
        let second = cluster
            .pick(&mut dice.draws(), &Choice { tried: &[first], avoid_tried: true, ..Choice::default() })
            .expect("healthy")
            .endpoint()
            .id;
        assert_ne!(first, second);
    }
}

#[test]
fn the_sixth_pick_stands_even_if_tried() {
    let dice = Dice::seeded(1);
    let cluster = cluster(Policy::Random, vec![host(1), host(2)]);
    let tried = cluster.view()[0].id;
    let picks = 100_000u32;
    let mut again = 0;
    for _ in 0..picks {
        let picked = cluster
            .pick(&mut dice.draws(), &Choice { tried: &[tried], avoid_tried: true, ..Choice::default() })
            .expect("healthy");
        again += u32::from(picked.endpoint().id == tried);
    }
    // Six picks in a row fall on the tried one: 1/64, at 5 sigma.
    assert!((f64::from(again) - f64::from(picks) / 64.0).abs() < 5.0 * 39.3, "{again}");
}

#[test]
fn a_single_endpoint_is_picked_again() {
    let dice = Dice::seeded(1);
    for policy in POLICIES {
        let cluster = cluster(policy, vec![host(1)]);
        let tried = [cluster.view()[0].id];
        assert!(
            cluster
                .pick(&mut dice.draws(), &Choice { tried: &tried, avoid_tried: true, ..Choice::default() })
                .is_some(),
            "{policy:?}"
        );
        assert_eq!(cluster.view()[0].active, 0);
    }
}

#[test]
fn huge_weights_are_taken() {
    let dice = Dice::seeded(1);
    for policy in POLICIES {
        let endpoints = (0..10_000u32).map(|host| {
            let [.., a, b] = host.to_be_bytes();
            EndpointConfig::new(([10, 0, a, b], 80)).with_weight(u32::MAX - host)
        });
        let cluster = cluster(policy, endpoints.collect());
        for _ in 0..100 {
            assert!(cluster.pick(&mut dice.draws(), &Choice::default()).is_some());
        }
    }
}

#[test]
fn an_authority_leads_to_its_endpoint_and_nowhere_else() {
    let v6: std::net::SocketAddr = "[fe80::1%3]:8080".parse().expect("an address");
    let mut unix = host(1);
    unix.address = Address::Unix(PathBuf::from("/run/app.sock"));
    let cluster = cluster(Policy::RoundRobin, vec![host(1), EndpointConfig::new(v6), unix]);
    let set = cluster.endpoints();
    let authorities: Vec<_> = set.endpoints().iter().map(|endpoint| endpoint.authority.as_str()).collect();
    assert_eq!(authorities, ["10.0.0.1:80", "[fe80::1]:8080", "unix-socket.invalid"]);
    assert_eq!(set.endpoints()[2].address.to_string(), "unix:///run/app.sock");
}
