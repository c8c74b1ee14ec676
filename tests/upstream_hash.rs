//! RING_HASH and MAGLEV: which endpoint a key belongs to, and which keys move when endpoints go.
#![allow(clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_router::dice::Dice;
use mesh_router::upstream::{
    Address, Balancing, Choice, Cluster, ClusterKey, ClusterSettings, Distribute, EndpointConfig, PlaceShare,
    Placement, Policy, Registry,
};
use proptest::prelude::*;
use xxhash_rust::xxh64::xxh64;

fn cluster(balancing: Balancing, endpoints: Vec<EndpointConfig>) -> Arc<Cluster> {
    let mut settings = ClusterSettings::default();
    settings.balancing = balancing;
    Registry::new(&Dice::seeded(2)).cluster(ClusterKey::new("a.example", "", 80), settings, endpoints)
}

fn host(number: u32) -> EndpointConfig {
    let [.., a, b] = number.to_be_bytes();
    EndpointConfig::new(([10, 0, a, b], 80))
}

/// The owner of a hash.
fn owner(cluster: &Cluster, hash: u64) -> Address {
    let choice = Choice { hash: Some(hash), ..Choice::default() };
    cluster.pick(&mut Dice::seeded(1).draws(), &choice).expect("healthy").endpoint().address.clone()
}

/// The endpoints 127.0.0.1:21001 to 21004, of these weights.
fn loopback(weights: [u32; 4]) -> Vec<EndpointConfig> {
    let endpoint = |(port, weight)| EndpointConfig::new(([127, 0, 0, 1], port)).with_weight(weight);
    (21001..).zip(weights).map(endpoint).collect()
}

/// The last digits of the ports that the keys k0, k1, k2... belong to.
fn owners(cluster: &Cluster, keys: usize) -> String {
    let digit = |key: usize| owner(cluster, xxh64(format!("k{key}").as_bytes(), 0)).to_string().chars().last();
    (0..keys).filter_map(digit).collect()
}

/// Where Envoy 1.40 sent the requests with the header values k0 to k59, given these endpoints.
#[test]
fn keys_belong_to_whom_envoy_gives_them() {
    let maglev = Policy::Maglev { table_size: 1021 };
    let small = Policy::RingHash { minimum_size: 10 };
    for (policy, weights, expected) in [
        (Policy::RING_HASH, [1, 2, 3, 1], "321311431342333112433323221324213322332433332333332312211442"),
        (Policy::RING_HASH, [1; 4], "321411131142313112433323221124211322432423133434331112211442"),
        (small, [1, 2, 3, 1], "434444343444314344133334333334332434334444434341434321443442"),
        (maglev, [1, 2, 3, 1], "432322324311433421213423333344323244333323322233241242433233"),
        (Policy::MAGLEV, [1; 4], "144233142431323343313144434332414334143312133233341111223234"),
    ] {
        let cluster = cluster(policy.into(), loopback(weights));
        assert_eq!(owners(&cluster, 60), expected, "{policy:?} {weights:?}");
    }
}

#[test]
fn places_have_their_shares_of_the_keys_as_envoy_gives_them() {
    for (policy, expected) in [
        (Policy::RING_HASH, "221421432142322222432222221224221222222223132244232212221442"),
        (Policy::Maglev { table_size: 1021 }, "232222224111422121212223222314123224223222222221241242432222"),
    ] {
        let mut balancing = Balancing::from(policy);
        let shares = [("near", 80), ("remote", 20)].map(|(to, weight)| PlaceShare { to: to.into(), weight });
        balancing.placement = Placement::Distribute(Distribute { shares: Some(shares.into()) });
        let mut endpoints = loopback([1, 3, 1, 1]);
        for (endpoint, place) in endpoints.iter_mut().zip(["near", "near", "remote", "remote"]) {
            endpoint.locality = place.into();
        }
        assert_eq!(owners(&cluster(balancing, endpoints), 60), expected, "{policy:?}");
    }
}

#[test]
fn without_a_hash_endpoints_are_picked_at_random() {
    for policy in [Policy::RING_HASH, Policy::MAGLEV] {
        let cluster = cluster(policy.into(), (1..=4).map(host).collect());
        let dice = Dice::seeded(3);
        let mut counts = BTreeMap::<String, u32>::new();
        for _ in 0..4000 {
            let picked = cluster.pick(&mut dice.draws(), &Choice::default()).expect("healthy");
            *counts.entry(picked.endpoint().address.to_string()).or_default() += 1;
        }
        assert_eq!(counts.len(), 4);
        assert!(counts.values().all(|count| *count > 500), "{policy:?}: {counts:?}");
    }
}

#[test]
fn a_pick_that_falls_on_a_tried_endpoint_goes_on_from_it() {
    for policy in [Policy::RING_HASH, Policy::MAGLEV] {
        let cluster = cluster(policy.into(), (1..=5).map(host).collect());
        let mut elsewhere = 0;
        for hash in (0..200u64).map(|key| xxh64(&key.to_le_bytes(), 0)) {
            let choice = Choice { hash: Some(hash), ..Choice::default() };
            let mut draws = Dice::seeded(1).draws();
            let first = cluster.pick(&mut draws, &choice).expect("healthy").endpoint().id;
            let tried = [first];
            let again = Choice { tried: &tried, avoid_tried: true, ..choice };
            let second = cluster.pick(&mut draws, &again).expect("healthy").endpoint().id;
            elsewhere += usize::from(first != second);
            assert_eq!(cluster.pick(&mut draws, &again).expect("healthy").endpoint().id, second);
            let unavoided = Choice { tried: &tried, ..choice };
            assert_eq!(cluster.pick(&mut draws, &unavoided).expect("healthy").endpoint().id, first);
        }
        // Six picks in a row fall on one of five endpoints once in 3125 keys.
        assert!(elsewhere >= 197, "{policy:?}: {elsewhere}");
    }
}

#[test]
fn odd_sizes_are_taken() {
    for policy in [
        Policy::RingHash { minimum_size: 0 },
        Policy::Maglev { table_size: 0 },
        Policy::Maglev { table_size: 1 },
        Policy::Maglev { table_size: 8 },
    ] {
        let cluster = cluster(policy.into(), vec![host(1).with_weight(9), host(2)]);
        for hash in [0, 1, u64::MAX] {
            owner(&cluster, hash);
        }
    }
    let nobody = cluster(Policy::MAGLEV.into(), vec![host(1).with_healthy(false)]);
    assert!(nobody.pick(&mut Dice::seeded(1).draws(), &Choice::default()).is_none());
}

fn weighted(weights: &[u32]) -> Vec<EndpointConfig> {
    (0..).zip(weights).map(|(number, weight)| host(number).with_weight(*weight)).collect()
}

/// The points of a ring, made the slow way from what is written of it.
fn ring(hosts: &[(u32, u32)], minimum: f64) -> Vec<(u64, u32)> {
    let sum: f64 = hosts.iter().map(|(_, weight)| f64::from(*weight)).sum();
    let shares = hosts.iter().map(|(host, weight)| (*host, f64::from(*weight) / sum));
    let least = shares.clone().map(|(_, share)| share).fold(f64::INFINITY, f64::min);
    let scale = ((least * minimum).ceil() / least).min(8_388_608.0);
    let mut points = Vec::new();
    let mut target = 0.0;
    for (number, share) in shares {
        target += scale * share;
        for point in 0.. {
            if points.len() as f64 >= target {
                break;
            }
            points.push((xxh64(format!("{}_{point}", host(number).address).as_bytes(), 0), number));
        }
    }
    points
}

fn ring_of(hosts: impl Iterator<Item = u32>, minimum: u32) -> Vec<(u64, u32)> {
    ring(&hosts.map(|host| (host, 1)).collect::<Vec<_>>(), minimum.into())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_key_belongs_to_the_next_point_on_the_ring(
        weights in proptest::collection::vec(1u32..20, 1..40),
        minimum in 1u64..3000,
        keys in proptest::collection::vec(any::<u64>(), 50),
    ) {
        let cluster = cluster(Policy::RingHash { minimum_size: minimum }.into(), weighted(&weights));
        let hosts: Vec<_> = (0..).zip(weights).collect();
        let points = ring(&hosts, minimum as f64);
        for key in keys.into_iter().chain(points.iter().take(5).map(|(point, _)| *point)) {
            let next = points.iter().filter(|(point, _)| *point >= key).min().or(points.iter().min());
            let expected = next.map(|(_, number)| host(*number).address).expect("a point");
            prop_assert_eq!(owner(&cluster, key), expected);
        }
    }

    #[test]
    fn no_key_moves_on_the_ring_but_those_of_the_endpoint_that_left(
        count in 2u32..100,
        minimum in prop_oneof![Just(1u32), Just(1024)],
        left in any::<prop::sample::Index>(),
        keys in proptest::collection::vec(any::<u64>(), 300),
    ) {
        let left = left.index(count as usize) as u32;
        let hosts = |out: Option<u32>| (0..count).filter(move |number| Some(*number) != out);
        // Where those that stay have more points than before, or sums round otherwise, they take keys from one another.
        let stay = |(_, owner): &(u64, u32)| *owner != left;
        let before: BTreeSet<_> = ring_of(hosts(None), minimum).into_iter().filter(stay).collect();
        prop_assume!(before == ring_of(hosts(Some(left)), minimum).into_iter().collect());
        let policy = Policy::RingHash { minimum_size: minimum.into() };
        let before = cluster(policy.into(), (0..count).map(host).collect());
        let rest = hosts(Some(left)).map(host);
        let sick = (0..count).map(|number| host(number).with_healthy(number != left));
        for after in [cluster(policy.into(), rest.collect()), cluster(policy.into(), sick.collect())] {
            for key in &keys {
                let (one, other) = (owner(&before, *key), owner(&after, *key));
                prop_assert_eq!(one != other, one == host(left).address);
            }
        }
    }

    #[test]
    fn few_keys_move_in_a_table(
        count in 2u32..=100,
        left in any::<prop::sample::Index>(),
    ) {
        let left = left.index(count as usize) as u32;
        let before = cluster(Policy::MAGLEV.into(), (0..count).map(host).collect());
        let sick = (0..count).map(|number| host(number).with_healthy(number != left));
        let after = cluster(Policy::MAGLEV.into(), sick.collect());
        let keys = 65_537u64;
        let moved = (0..keys).filter(|key| owner(&before, *key) != owner(&after, *key)).count();
        prop_assert!(moved as f64 <= 2.0 * keys as f64 / f64::from(count), "{} of {}", moved, keys);
    }

    #[test]
    fn a_table_is_shared_by_weight(weights in proptest::collection::vec(1u32..10, 1..30)) {
        let cluster = cluster(Policy::MAGLEV.into(), weighted(&weights));
        let mut counts = BTreeMap::<String, u32>::new();
        for slot in 0..65_537 {
            *counts.entry(owner(&cluster, slot).to_string()).or_default() += 1;
        }
        let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        for (number, weight) in (0..).zip(&weights) {
            let expected = 65_537.0 * f64::from(*weight) / sum;
            let seen = counts.get(&host(number).address.to_string()).copied().unwrap_or(0);
            // Each is within one turn of its share, and the round that ends halfway takes one more.
            prop_assert!((f64::from(seen) - expected).abs() <= 2.0 + expected * 0.01, "{} of {}", seen, expected);
        }
    }
}
