//! Active requests are counted once up and once down, whatever is published in between.
#![allow(clippy::expect_used)]

use std::sync::Arc;
use std::thread;

use mesh_router::dice::Dice;
use mesh_router::upstream::{Choice, Cluster, ClusterKey, ClusterSettings, EndpointConfig, Picked, Policy, Registry};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Pick,
    Drop(prop::sample::Index),
    Publish(Vec<(u8, u32, bool)>),
    Reload(Policy, Vec<(u8, u32, bool)>),
}

fn policies() -> impl Strategy<Value = Policy> {
    prop_oneof![Just(Policy::LeastRequest), Just(Policy::RoundRobin), Just(Policy::Random)]
}

fn endpoint_lists() -> impl Strategy<Value = Vec<(u8, u32, bool)>> {
    proptest::collection::vec((0u8..6, 0u32..4, prop::bool::weighted(0.8)), 0..8)
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => Just(Step::Pick),
        4 => any::<prop::sample::Index>().prop_map(Step::Drop),
        1 => endpoint_lists().prop_map(Step::Publish),
        1 => (policies(), endpoint_lists()).prop_map(|(policy, list)| Step::Reload(policy, list)),
    ]
}

fn configs(list: &[(u8, u32, bool)]) -> Vec<EndpointConfig> {
    let config = |(host, weight, healthy): &(u8, u32, bool)| {
        EndpointConfig::new(([10, 0, 0, *host], 80)).with_weight(*weight).with_healthy(*healthy)
    };
    list.iter().map(config).collect()
}

fn load(registry: &Registry, policy: Policy, list: &[(u8, u32, bool)]) -> Arc<Cluster> {
    let mut settings = ClusterSettings::default();
    settings.balancing.policy = policy;
    registry.cluster(ClusterKey::new("a.example", "", 80), settings, configs(list))
}

fn assert_counts(cluster: &Cluster, held: &[Picked]) {
    for view in cluster.view() {
        let busy = held.iter().filter(|picked| picked.endpoint().address == view.address).count();
        assert_eq!(view.active as usize, busy, "{}", view.address);
    }
}

proptest! {
    #[test]
    fn every_view_shows_the_picks_that_are_held(policy in policies(), list in endpoint_lists(),
        steps in proptest::collection::vec(steps(), 0..120)) {
        let dice = Dice::seeded(11);
        let registry = Registry::new(&dice);
        let mut cluster = load(&registry, policy, &list);
        let mut held = Vec::new();
        for step in steps {
            match step {
                Step::Pick => held.extend(cluster.pick(&mut dice.draws(), &Choice::default())),
                Step::Drop(which) if !held.is_empty() => drop(held.swap_remove(which.index(held.len()))),
                Step::Drop(_) => {}
                Step::Publish(list) => cluster.publish(configs(&list)),
                Step::Reload(policy, list) => cluster = load(&registry, policy, &list),
            }
            assert_counts(&cluster, &held);
        }
        held.clear();
        assert_counts(&cluster, &held);
    }
}

#[test]
fn counts_return_to_zero_after_threads_raced() {
    for policy in [Policy::LeastRequest, Policy::RoundRobin, Policy::Random] {
        let dice = Dice::seeded(3);
        let registry = Registry::new(&dice);
        let full: Vec<_> = (0..6).map(|host| (host, u32::from(host) + 1, true)).collect();
        let cluster = load(&registry, policy, &full);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut held = Vec::new();
                    for round in 0..3000 {
                        held.extend(cluster.pick(&mut dice.draws(), &Choice::default()));
                        if round % 7 == 0 {
                            held.clear();
                        }
                    }
                });
            }
            scope.spawn(|| {
                for round in 0..200 {
                    cluster.publish(configs(&full[round % 4..]));
                }
            });
        });
        cluster.publish(configs(&full));
        assert_eq!(cluster.view().iter().map(|view| view.active).sum::<u32>(), 0, "{policy:?}");
    }
}
