//! What a cluster and its endpoints keep over publications, and what they forget.
#![allow(clippy::expect_used)]

use std::sync::Arc;

use http::uri::Authority;
use mesh_router::dice::Dice;
use mesh_router::upstream::{
    Address, Choice, Cluster, ClusterKey, ClusterSettings, ConnectionSettings, EndpointConfig, EndpointId, Original,
    Picked, Policy, Protocol, Registry,
};

fn key() -> ClusterKey {
    ClusterKey::new("reviews.default.svc.cluster.local", "v1", 9080)
}

fn settings(balancer: Policy) -> ClusterSettings {
    let mut settings = ClusterSettings::default();
    settings.balancing.policy = balancer;
    settings
}

fn hosts(hosts: impl IntoIterator<Item = u8>) -> Vec<EndpointConfig> {
    hosts.into_iter().map(|host| EndpointConfig::new(([10, 0, 0, host], 80))).collect()
}

fn ids(cluster: &Cluster) -> Vec<EndpointId> {
    cluster.view().iter().map(|view| view.id).collect()
}

/// The last bytes of the addresses of the next picks.
fn picks(cluster: &Cluster, dice: &Dice, count: usize) -> Vec<u8> {
    let next = || match &cluster.pick(&mut dice.draws(), &Choice::default()).expect("healthy").endpoint().address {
        Address::Tcp(std::net::SocketAddr::V4(v4)) => v4.ip().octets()[3],
        other => unreachable!("{other} was not published"),
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn the_same_settings_give_the_same_cluster() {
    let registry = Registry::new(&Dice::seeded(1));
    let before = registry.cluster(key(), settings(Policy::Random), hosts([1, 2]));
    let [one, two] = ids(&before)[..] else { panic!("two endpoints") };
    let after = registry.cluster(key(), settings(Policy::Random), hosts([3, 2]));
    assert!(Arc::ptr_eq(&before, &after));
    assert_eq!(ids(&after)[1], two);
    assert!(![one, two].contains(&ids(&after)[0]));
}

#[test]
fn publishing_the_same_replaces_nothing() {
    let registry = Registry::new(&Dice::seeded(1));
    let cluster = registry.cluster(key(), settings(Policy::LeastRequest), hosts([1, 2, 1]));
    let before = cluster.endpoints();
    cluster.publish(hosts([1, 2, 2]));
    assert!(Arc::ptr_eq(&before, &cluster.endpoints()));
    cluster.publish(hosts([2, 1]));
    assert!(!Arc::ptr_eq(&before, &cluster.endpoints()));
}

#[test]
fn other_settings_give_another_cluster_over_the_same_endpoint_states() {
    let dice = Dice::seeded(1);
    let registry = Registry::new(&dice);
    let before = registry.cluster(key(), settings(Policy::LeastRequest), hosts([1]));
    let picked = before.pick(&mut dice.draws(), &Choice::default()).expect("healthy");
    let mut other = settings(Policy::RoundRobin);
    let mut connection = ConnectionSettings::default();
    connection.protocol = Protocol::Http2;
    other.connection = Arc::new(connection);
    let after = registry.cluster(key(), other, hosts([1]));
    assert!(!Arc::ptr_eq(&before, &after));
    assert_eq!(ids(&before), ids(&after));
    assert_eq!(after.endpoints().endpoints()[0].connection().protocol, Protocol::Http2);
    assert_eq!((before.view()[0].active, after.view()[0].active), (1, 1));
    drop(picked);
    assert_eq!((before.view()[0].active, after.view()[0].active), (0, 0));
}

/// A request whose client connected to `authority`.
fn led_to(cluster: &Cluster, authority: &'static str) -> Picked {
    let original = Original { dialed: Some(Authority::from_static(authority)), named: None };
    let choice = Choice { original: Some(&original), ..Choice::default() };
    cluster.pick(&mut Dice::seeded(1).draws(), &choice).expect("it leads somewhere")
}

#[test]
fn where_requests_lead_by_themselves_is_known_under_other_settings() {
    let registry = Registry::new(&Dice::seeded(1));
    let load = |connect_timeout: u64| {
        let mut settings = settings(Policy::PassThrough);
        let mut connection = ConnectionSettings::default();
        connection.connect_timeout = std::time::Duration::from_secs(connect_timeout);
        settings.connection = Arc::new(connection);
        registry.cluster(key(), settings, Vec::new())
    };
    let before = load(1);
    let (busy, idle) = (led_to(&before, "10.0.0.1"), led_to(&before, "10.0.0.2").endpoint().id);
    let after = load(2);
    // While the rules are compiled requests go on by those of before.
    let late = led_to(&before, "10.0.0.3").endpoint().id;
    drop(before);
    let again = led_to(&after, "10.0.0.1");
    assert_eq!((again.endpoint().id, again.endpoint().active()), (busy.endpoint().id, 2));
    assert_eq!(again.endpoint().connection().connect_timeout.as_secs(), 2);
    assert_eq!(busy.endpoint().connection().connect_timeout.as_secs(), 1, "what is under way goes on as it began");
    drop(busy);
    assert_eq!(again.endpoint().active(), 1);
    assert_eq!([led_to(&after, "10.0.0.2").endpoint().id, led_to(&after, "10.0.0.3").endpoint().id], [idle, late]);
    assert!(Arc::ptr_eq(again.endpoint(), led_to(&after, "10.0.0.1").endpoint()), "it is made once");
    // As long as anything passes through.
    let (id, last) = (again.endpoint().id, registry.cluster(key(), settings(Policy::Random), Vec::new()));
    drop((again, after));
    assert_ne!(led_to(&load(2), "10.0.0.1").endpoint().id, id);
    drop(last);
}

#[test]
fn an_endpoint_with_a_request_on_it_is_known_when_it_comes_back() {
    let dice = Dice::seeded(1);
    let registry = Registry::new(&dice);
    let cluster = registry.cluster(key(), settings(Policy::LeastRequest), hosts([1]));
    let picked = cluster.pick(&mut dice.draws(), &Choice::default()).expect("healthy");
    cluster.publish(Vec::new());
    assert!(cluster.pick(&mut dice.draws(), &Choice::default()).is_none());
    cluster.publish(hosts([1]));
    assert_eq!(ids(&cluster), [picked.endpoint().id]);
    assert_eq!(cluster.view()[0].active, 1);
}

#[test]
fn round_robin_goes_on_where_it_stood() {
    let dice = Dice::seeded(1);
    let registry = Registry::new(&dice);
    let load = |count: u8, connect_timeout: u64| {
        let mut settings = settings(Policy::RoundRobin);
        let mut connection = ConnectionSettings::default();
        connection.connect_timeout = std::time::Duration::from_secs(connect_timeout);
        settings.connection = Arc::new(connection);
        registry.cluster(key(), settings, hosts(0..count))
    };
    let cluster = load(4, 1);
    let first = picks(&cluster, &dice, 3);
    let next = |steps: u8| (first[0] + steps) % 4;
    assert_eq!(first, [next(0), next(1), next(2)]);
    assert_eq!(picks(&load(4, 1), &dice, 1), [next(3)], "same settings");
    assert_eq!(picks(&load(4, 2), &dice, 1), [next(4)], "another timeout");
    cluster.publish(hosts(0..8));
    cluster.publish(hosts(0..4));
    assert_eq!(picks(&cluster, &dice, 1), [next(5)], "endpoints that came and went");
}

#[test]
fn a_cluster_nobody_holds_is_forgotten() {
    let registry = Registry::new(&Dice::seeded(1));
    let cluster = registry.cluster(key(), settings(Policy::Random), hosts([1]));
    let before = ids(&cluster);
    assert_eq!(registry.clusters().len(), 1);
    drop(cluster);
    assert!(registry.clusters().is_empty());
    assert_ne!(ids(&registry.cluster(key(), settings(Policy::Random), hosts([1]))), before);
}

#[test]
fn a_cluster_that_is_not_retained_starts_anew() {
    let registry = Registry::new(&Dice::seeded(1));
    let before = registry.cluster(key(), settings(Policy::Random), hosts([1]));
    registry.retain(|_| false);
    let after = registry.cluster(key(), settings(Policy::Random), hosts([1]));
    assert!(!Arc::ptr_eq(&before, &after));
    assert_ne!(ids(&before), ids(&after));
}

#[test]
fn seeded_runs_repeat_whatever_other_clusters_there_are() {
    for policy in [Policy::LeastRequest, Policy::RoundRobin, Policy::Random] {
        let run = |others: u16| {
            let dice = Dice::seeded(42);
            let registry = Registry::new(&dice);
            let unequal = |index: usize, endpoint: EndpointConfig| endpoint.with_weight(1 + index as u32);
            let endpoints = || hosts(0..9).into_iter().enumerate().map(|(index, e)| unequal(index, e)).collect();
            let other = |port| registry.cluster(ClusterKey::new("other", "", port), settings(policy), endpoints());
            let _others: Vec<_> = (0..others).map(other).collect();
            picks(&registry.cluster(key(), settings(policy), endpoints()), &dice, 200)
        };
        assert_eq!(run(0), run(5), "{policy:?}");
    }
}
