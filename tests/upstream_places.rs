//! Which endpoints are picked by where they are: priorities, failover, shares of places, panic.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use http::StatusCode;
use http::uri::Authority;
use mesh_router::dice::Dice;
use mesh_router::outcome::Outcome;
use mesh_router::upstream::{
    Balancing, Choice, Cluster, ClusterKey, ClusterSettings, Distribute, EndpointConfig, EndpointId, Failover,
    FailoverLabel, FailoverPlaces, Original, OutlierSettings, PlaceShare, Placement, Policy, Registry,
};

const PICKS: u32 = 20_000;

fn cluster(settings: ClusterSettings, endpoints: Vec<EndpointConfig>) -> Arc<Cluster> {
    Registry::new(&Dice::seeded(2)).cluster(ClusterKey::new("a.example", "", 80), settings, endpoints)
}

fn settings(policy: Policy, placement: Placement) -> ClusterSettings {
    let mut settings = ClusterSettings::default();
    settings.balancing = Balancing::from(policy);
    settings.balancing.placement = placement;
    settings
}

fn host(number: u8, place: &str) -> EndpointConfig {
    let mut config = EndpointConfig::new(([10, 0, 0, number], 80));
    config.locality = place.into();
    config
}

/// The number of an endpoint of [`host`].
fn number(cluster: &Cluster, dice: &Dice, choice: &Choice<'_>) -> Option<u8> {
    let picked = cluster.pick(&mut dice.draws(), choice)?;
    let text = picked.endpoint().address.to_string();
    text.strip_prefix("10.0.0.")?.strip_suffix(":80")?.parse().ok()
}

/// The part of the picks that falls on each endpoint.
fn parts(cluster: &Cluster, choice: &Choice<'_>) -> BTreeMap<u8, f64> {
    let dice = Dice::seeded(5);
    let mut parts = BTreeMap::new();
    for _ in 0..PICKS {
        let number = number(cluster, &dice, choice).expect("healthy");
        *parts.entry(number).or_default() += 1.0 / f64::from(PICKS);
    }
    parts
}

fn assert_parts(cluster: &Cluster, choice: &Choice<'_>, law: &[(u8, f64)]) {
    let parts = parts(cluster, choice);
    assert_eq!(parts.keys().collect::<Vec<_>>(), law.iter().map(|(number, _)| number).collect::<Vec<_>>(), "{parts:?}");
    for (number, expected) in law {
        let sigma = (expected * (1.0 - expected) / f64::from(PICKS)).sqrt();
        assert!((parts[number] - expected).abs() <= 5.0 * sigma + 1e-9, "{parts:?} against {law:?}");
    }
}

fn nobody(cluster: &Cluster) -> bool {
    cluster.pick(&mut Dice::seeded(1).draws(), &Choice::default()).is_none()
}

fn near(to: Option<&str>) -> Placement {
    let places = FailoverPlaces { own: "eu/z1/s1".into(), to: to.map(Into::into), regions_only: false };
    Placement::Failover(Failover { places: Some(places), ..Failover::default() })
}

/// One in each place, the nearest first.
const PLACES: [&str; 6] = ["eu/z1/s1", "eu/z1/s2", "eu/z2/s1", "us/z1/s1", "ap/z1/s1", ""];

/// The order in which endpoints of these places are used when those before them are not healthy.
fn order(placement: &Placement, places: &[&str]) -> Vec<Vec<u8>> {
    let mut left: Vec<u8> = (0..).zip(places).map(|(number, _)| number).collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let configs = (0..).zip(places).map(|(number, place)| host(number, place).with_healthy(left.contains(&number)));
        let cluster = cluster(settings(Policy::Random, placement.clone()), configs.collect());
        let used: Vec<u8> = parts(&cluster, &Choice::default()).into_keys().collect();
        left.retain(|number| !used.contains(number));
        order.push(used);
    }
    order
}

#[test]
fn ll3_the_nearest_place_comes_first() {
    assert_eq!(order(&near(None), &PLACES), [vec![0], vec![1], vec![2], vec![3, 4, 5]]);
    assert_eq!(order(&near(Some("ap")), &PLACES), [vec![0], vec![1], vec![2], vec![4], vec![3, 5]]);
    assert_eq!(order(&Placement::Anywhere, &PLACES), [vec![0, 1, 2, 3, 4, 5]]);
    let unknown = FailoverPlaces { own: "".into(), to: None, regions_only: false };
    let unknown = Placement::Failover(Failover { places: Some(unknown), ..Failover::default() });
    assert_eq!(order(&unknown, &PLACES), [vec![5], vec![0, 1, 2, 3, 4]]);
}

#[test]
fn ll9_by_zones_the_own_region_comes_first() {
    let regions = |to: Option<&str>| {
        let places = FailoverPlaces { own: "eu/z1/s1".into(), to: to.map(Into::into), regions_only: true };
        Placement::Failover(Failover { places: Some(places), ..Failover::default() })
    };
    assert_eq!(order(&regions(None), &PLACES), [vec![0, 1, 2], vec![3, 4, 5]]);
    assert_eq!(order(&regions(Some("us")), &PLACES), [vec![0, 1, 2], vec![3], vec![4, 5]]);
}

fn labels(labels: &[(&str, &str)]) -> Arc<[FailoverLabel]> {
    let label =
        |(name, value): &(&str, &str)| FailoverLabel { name: (*name).into(), value: (*value).into(), written: false };
    labels.iter().map(label).collect()
}

/// The place of an endpoint, and its labels.
type Labeled<'a> = (&'a str, &'a [(&'a str, &'a str)]);

/// The order in which endpoints with these labels are used.
fn label_order(failover: Failover, endpoints: &[Labeled<'_>]) -> Vec<Vec<u8>> {
    let config = |(number, (place, labels)): (u8, &Labeled<'_>)| {
        let mut config = host(number, place);
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        config.labels = Arc::new(labels.collect());
        config
    };
    let configs: Vec<_> = (0..).zip(endpoints).map(config).collect();
    let mut left: Vec<u8> = (0..configs.len() as u8).collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let configs = configs.iter().cloned().zip(0u8..);
        let configs = configs.map(|(config, number)| config.with_healthy(left.contains(&number)));
        let settings = settings(Policy::Random, Placement::Failover(failover.clone()));
        let used: Vec<u8> = parts(&cluster(settings, configs.collect()), &Choice::default()).into_keys().collect();
        left.retain(|number| !used.contains(number));
        order.push(used);
    }
    order
}

#[test]
fn ll5_the_first_label_that_differs_decides() {
    let failover = Failover { labels: labels(&[("a", "1"), ("b", "2"), ("c", "")]), ..Failover::default() };
    let endpoints: &[(&str, &[_])] = &[
        ("", &[("b", "2"), ("c", "")]),
        ("", &[("a", "1"), ("b", "2"), ("c", "3")]),
        ("", &[("a", "1"), ("b", "2")]),
        ("", &[("a", "1"), ("c", "")]),
        ("", &[]),
    ];
    assert_eq!(label_order(failover, endpoints), [vec![2], vec![1], vec![3], vec![0, 4]]);
}

#[test]
fn ll5_a_network_apart_comes_after_all_others() {
    let network = "topology.istio.io/network";
    let zone = "topology.kubernetes.io/zone";
    let endpoints: &[(&str, &[_])] = &[
        ("eu/z1", &[(network, "n2")]),
        ("eu/z1", &[(network, "n1")]),
        ("eu/z2", &[(network, "n2")]),
        // The place says more than the label.
        ("eu/z2", &[(network, "n1"), (zone, "z1")]),
        ("", &[(network, "n1"), (zone, "z1")]),
    ];
    let failover = Failover { labels: labels(&[(network, "n1"), (zone, "z1")]), ..Failover::default() };
    assert_eq!(label_order(failover, endpoints), [vec![1, 4], vec![3], vec![0], vec![2]]);
    // As a label among others it decides like any.
    let failover = Failover { labels: labels(&[(zone, "z1"), (network, "n1")]), ..Failover::default() };
    assert_eq!(label_order(failover, endpoints), [vec![1, 4], vec![0], vec![2, 3]]);
}

#[test]
fn ll5_places_tell_apart_those_with_the_same_labels() {
    let places = FailoverPlaces { own: "eu/z1/s1".into(), to: Some("us".into()), regions_only: false };
    let failover = Failover { labels: labels(&[("v", "1")]), places: Some(places), weighted: true };
    let one: &[_] = &[("v", "1")];
    let endpoints: &[(&str, &[_])] = &[("ap", one), ("us", &[]), ("eu/z1/s1", &[]), ("us", one), ("eu/z1", one)];
    assert_eq!(label_order(failover, endpoints), [vec![4], vec![3], vec![0], vec![2], vec![1]]);
}

#[test]
fn loads_go_over_as_the_near_endpoints_fail() {
    let near_and_far = |healthy: u8| {
        let near = (0..10).map(move |number| host(number, "eu/z1/s1").with_healthy(number < healthy));
        near.chain((10..20).map(|number| host(number, "us"))).collect::<Vec<_>>()
    };
    for policy in [Policy::LeastRequest, Policy::RoundRobin, Policy::Random, Policy::RING_HASH, Policy::MAGLEV] {
        for (healthy, load) in [(10, 1.0), (8, 1.0), (7, 0.98), (5, 0.7), (1, 0.14), (0, 0.0)] {
            let cluster = cluster(settings(policy, near(None)), near_and_far(healthy));
            let parts = parts(&cluster, &Choice::default());
            let seen: f64 = parts.range(..10).map(|(_, part)| part).sum();
            let sigma = (load * (1.0 - load) / f64::from(PICKS)).sqrt();
            assert!((seen - load).abs() <= 5.0 * sigma + 1e-9, "{policy:?} {healthy}: {seen} for {load}");
            assert!(parts.range(healthy..10).next().is_none(), "{policy:?}: {parts:?}");
        }
    }
}

#[test]
fn pr3_the_hash_chooses_the_level() {
    let endpoints = || vec![host(0, "eu/z1/s1"), host(1, "eu/z1/s1").with_healthy(false), host(2, "us")];
    for policy in [Policy::RING_HASH, Policy::MAGLEV] {
        let cluster = cluster(settings(policy, near(None)), endpoints());
        let of = |hash| number(&cluster, &Dice::seeded(1), &Choice { hash: Some(hash), ..Choice::default() });
        assert_eq!([0, 69, 70, 99, 169, 170].map(of), [Some(0), Some(0), Some(2), Some(2), Some(0), Some(2)]);
    }
}

/// A cluster in which these endpoints are ejected.
fn ejected(mut settings: ClusterSettings, endpoints: Vec<EndpointConfig>, out: &[usize]) -> Arc<Cluster> {
    let mut outlier = OutlierSettings::default();
    outlier.errors = NonZeroU32::new(1);
    outlier.max_ejection_percent = 100;
    settings.outlier = Some(outlier);
    let cluster = cluster(settings, endpoints);
    for number in out {
        let set = cluster.endpoints();
        cluster.report(&set.endpoints()[*number], Outcome::Status(StatusCode::INTERNAL_SERVER_ERROR));
    }
    cluster
}

// On a clock that stands still building a set takes no time, and no set is put off.
#[tokio::test(start_paused = true)]
async fn pr4_below_the_threshold_everyone_is_picked() {
    let endpoints = || (0..4).map(|number| host(number, "")).collect::<Vec<_>>();
    for policy in [Policy::LeastRequest, Policy::RoundRobin, Policy::Random, Policy::RING_HASH, Policy::MAGLEV] {
        let mut settings = settings(policy, Placement::Anywhere);
        settings.balancing.panic_threshold = 50;
        let half = ejected(settings.clone(), endpoints(), &[0, 1]);
        assert_eq!(parts(&half, &Choice::default()).into_keys().collect::<Vec<_>>(), [2, 3], "{policy:?}");
        let most = ejected(settings.clone(), endpoints(), &[0, 1, 2]);
        assert_eq!(parts(&most, &Choice::default()).len(), 4, "{policy:?}");
        let all = ejected(settings.clone(), endpoints(), &[0, 1, 2, 3]);
        assert_eq!(parts(&all, &Choice::default()).len(), 4, "{policy:?}");
        settings.balancing.panic_threshold = 0;
        assert_eq!(parts(&ejected(settings.clone(), endpoints(), &[0, 1, 2]), &Choice::default()).len(), 1);
        assert!(nobody(&ejected(settings, endpoints(), &[0, 1, 2, 3])), "{policy:?}");
    }
}

// On a clock that stands still building a set takes no time, and no set is put off.
#[tokio::test(start_paused = true)]
async fn pr4_nobody_panics_while_another_level_takes_all() {
    let mut settings = settings(Policy::Random, near(None));
    settings.balancing.panic_threshold = 90;
    let endpoints = (0..4).map(|number| host(number, "eu/z1/s1")).chain([host(9, "us")]).collect();
    let cluster = ejected(settings, endpoints, &[0, 1, 2, 3]);
    assert_parts(&cluster, &Choice::default(), &[(9, 1.0)]);
}

fn distribute(shares: Option<&[(&str, u32)]>) -> Placement {
    let shares = shares
        .map(|shares| shares.iter().map(|(to, weight)| PlaceShare { to: (*to).into(), weight: *weight }).collect());
    Placement::Distribute(Distribute { shares })
}

#[test]
fn ll6_places_have_the_shares_that_are_written() {
    let placement = distribute(Some(&[("eu/z1/*", 80), ("eu/z2/*", 20)]));
    let endpoints = || vec![host(0, "eu/z1/s1"), host(1, "eu/z1/s1"), host(2, "eu/z2/s1"), host(3, "us/z1/s1")];
    let law = [(0, 0.4), (1, 0.4), (2, 0.2)];
    for policy in [Policy::LeastRequest, Policy::RoundRobin, Policy::Random, Policy::MAGLEV] {
        let cluster = cluster(settings(policy, placement.clone()), endpoints());
        assert_parts(&cluster, &Choice::default(), &law);
    }
    // 1024 points are shared as well as chance has it.
    let ring = parts(&cluster(settings(Policy::RING_HASH, placement), endpoints()), &Choice::default());
    assert!((ring[&0] + ring[&1] - 0.8).abs() < 0.1 && !ring.contains_key(&3), "{ring:?}");
}

#[tokio::test(start_paused = true)]
async fn ll6_endpoints_without_a_share_are_no_part_of_those_that_may_be_ejected() {
    let mut outlier = OutlierSettings::default();
    (outlier.errors, outlier.max_ejection_percent) = (NonZeroU32::new(1), 50);
    let mut settings = settings(Policy::RoundRobin, distribute(Some(&[("eu", 100)])));
    settings.outlier = Some(outlier);
    for (near, left) in [(1, 1), (2, 1), (3, 2), (4, 2)] {
        let endpoints = (0..near).map(|number| host(number, "eu/z1")).chain((9..14).map(|far| host(far, "us/z1")));
        let cluster = cluster(settings.clone(), endpoints.collect());
        for number in 0..near {
            let set = Arc::clone(&cluster.endpoints());
            let error = Outcome::Status(StatusCode::INTERNAL_SERVER_ERROR);
            cluster.report(&set.endpoints()[usize::from(number)], error);
        }
        assert_eq!(parts(&cluster, &Choice::default()).len(), left, "of {near}");
    }
}

#[test]
fn ll6_a_share_is_split_by_the_weight_of_its_places_rounded_up() {
    let placement = distribute(Some(&[("eu", 70), ("us", 30)]));
    let endpoints = vec![host(0, "eu/z1").with_weight(2), host(1, "eu/z2"), host(2, "us")];
    let cluster = cluster(settings(Policy::RoundRobin, placement), endpoints);
    // 46.7 and 23.3 of 70: 47 and 24.
    assert_parts(&cluster, &Choice::default(), &[(0, 47.0 / 101.0), (1, 24.0 / 101.0), (2, 30.0 / 101.0)]);
}

#[test]
fn ll6_where_nothing_is_written_places_weigh_as_their_endpoints() {
    let endpoints = vec![host(0, "eu").with_weight(3), host(1, "us"), host(2, "us")];
    let cluster = cluster(settings(Policy::RoundRobin, distribute(None)), endpoints);
    assert_parts(&cluster, &Choice::default(), &[(0, 0.6), (1, 0.2), (2, 0.2)]);
}

#[test]
fn a_place_has_less_when_more_than_a_few_of_it_fail() {
    let placement = distribute(Some(&[("eu", 50), ("us", 50)]));
    let endpoints = |healthy: u8| {
        let near = (0..4).map(move |number| host(number, "eu").with_healthy(number < healthy));
        near.chain([host(9, "us")]).collect::<Vec<_>>()
    };
    for (healthy, weight) in [(4, 1.0), (3, 1.0), (2, 0.7), (1, 0.35), (0, 0.0)] {
        let cluster = cluster(settings(Policy::RoundRobin, placement.clone()), endpoints(healthy));
        let far = parts(&cluster, &Choice::default())[&9];
        assert!((far - 1.0 / (1.0 + weight)).abs() < 1e-3, "{healthy}: {far}");
    }
}

#[test]
fn rr_goes_round_in_each_place() {
    let placement = distribute(Some(&[("eu", 50), ("us", 50)]));
    let endpoints = vec![host(0, "eu"), host(1, "eu"), host(2, "us"), host(3, "us")];
    let cluster = cluster(settings(Policy::RoundRobin, placement), endpoints);
    let dice = Dice::seeded(1);
    let mut counts = [0; 4];
    for _ in 0..40 {
        counts[usize::from(number(&cluster, &dice, &Choice::default()).unwrap())] += 1;
    }
    assert_eq!(counts, [10; 4]);
}

#[test]
fn rt11_after_two_tries_other_places_are_tried() {
    let endpoints = vec![host(0, "eu/z1/s1"), host(1, "eu/z1/s1"), host(2, "eu/z2"), host(3, "us")];
    let cluster = cluster(settings(Policy::Random, near(None)), endpoints);
    let ids: Vec<EndpointId> = cluster.view().iter().map(|view| view.id).collect();
    let used = |tried: &[EndpointId]| {
        let choice = Choice { tried, remote_localities: true, ..Choice::default() };
        parts(&cluster, &choice).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(used(&[]), [0, 1]);
    assert_eq!(used(&ids[..1]), [0, 1]);
    assert_eq!(used(&ids[..2]), [2]);
    assert_eq!(used(&ids[..3]), [2]);
    assert_eq!(used(&[ids[0], ids[1], ids[2], ids[2]]), [3]);
    // All were tried: from the beginning.
    assert_eq!(used(&[ids[0], ids[1], ids[2], ids[2], ids[3], ids[3]]), [0, 1]);
    let stay = Choice { tried: &ids[..2], ..Choice::default() };
    assert_eq!(parts(&cluster, &stay).into_keys().collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn rh6_hashes_stay_where_they_belong() {
    let endpoints = vec![host(0, "eu/z1/s1"), host(1, "us")];
    for policy in [Policy::RING_HASH, Policy::MAGLEV] {
        let cluster = cluster(settings(policy, near(None)), endpoints.clone());
        let id = cluster.view()[0].id;
        let choice = Choice { tried: &[id, id], remote_localities: true, hash: Some(99), ..Choice::default() };
        assert_eq!(number(&cluster, &Dice::seeded(1), &choice), Some(0));
    }
}

#[test]
fn lb2_who_passes_through_goes_where_the_client_went() {
    let cluster = cluster(settings(Policy::PassThrough, Placement::Anywhere), vec![host(1, "")]);
    assert!(nobody(&cluster));
    let original = Original { dialed: Some(Authority::from_static("192.0.2.1:9")), named: None };
    let choice = Choice { original: Some(&original), ..Choice::default() };
    let dice = Dice::seeded(1);
    let picked = cluster.pick(&mut dice.draws(), &choice).unwrap();
    assert_eq!(picked.endpoint().authority, "192.0.2.1:9");
    assert_eq!(picked.endpoint().active(), 1);
    let again = cluster.pick(&mut dice.draws(), &choice).unwrap();
    assert_eq!((again.endpoint().id, again.endpoint().active()), (picked.endpoint().id, 2));
}

#[test]
fn more_levels_than_there_can_be_share_the_last() {
    let names: Vec<String> = (0..200).map(|number| format!("l{number}")).collect();
    let all: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let failover = Failover { labels: labels(&all), ..Failover::default() };
    let config = |number: u8| {
        let mut config = host(number, "");
        let labels = names.iter().take(usize::from(number)).map(|name| (name.clone(), "1".to_owned()));
        config.labels = Arc::new(labels.collect());
        config
    };
    let endpoints = (0..=199).map(|number| config(number).with_healthy(number < 73)).collect();
    let cluster = cluster(settings(Policy::Random, Placement::Failover(failover)), endpoints);
    // The nearest 127 each have a level; the last one holds those with 72 labels and fewer.
    assert_eq!(parts(&cluster, &Choice::default()).len(), 73);
}
