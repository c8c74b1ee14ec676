//! LEAST_REQUEST: the less busy of two; with unequal weights, earliest deadline first.

use std::sync::Arc;

use super::balancer::{all_equal, weights_of};
use super::endpoint::{Endpoint, EndpointState};
use super::schedule::{Schedule, interval};
use super::weights::Weights;
use crate::dice::Draws;

#[derive(Debug)]
pub(super) struct LeastRequest {
    states: Box<[Arc<EndpointState>]>,
    weighted: Option<Weighted>,
}

impl LeastRequest {
    pub(super) fn new(eligible: &[Arc<Endpoint>], draws: &mut Draws) -> Self {
        let states: Box<[_]> = eligible.iter().map(|endpoint| Arc::clone(endpoint.state())).collect();
        let weights = weights_of(eligible);
        let weighted = (!all_equal(&weights)).then(|| Weighted::new(weights, &states, draws));
        Self { states, weighted }
    }

    pub(super) fn choose(&self, draws: &mut Draws) -> usize {
        let Some(weighted) = &self.weighted else {
            let count = self.states.len() as u64;
            let (first, second) = (draws.below(count) as usize, draws.below(count) as usize);
            return if self.states[second].active() < self.states[first].active() { second } else { first };
        };
        weighted.scheduled(&self.states).unwrap_or_else(|| weighted.drawn(&self.states, draws))
    }
}

/// The balancer for unequal weights.
///
/// An endpoint that was picked is due again after `(active + 1) / weight`, as in Envoy. Who finds the schedule locked
/// by another pick does not wait: it draws two endpoints by weight and takes the one with fewer active requests for
/// its weight, the first if they are even. Both ways an idle cluster gets exactly the shares of its weights.
#[derive(Debug)]
struct Weighted {
    weights: Box<[u32]>,
    shares: Weights,
    schedule: Schedule,
}

impl Weighted {
    fn new(weights: Vec<u32>, states: &[Arc<EndpointState>], draws: &mut Draws) -> Self {
        let idle = weights.iter().zip(states).map(|(weight, state)| interval(f64::from(*weight), state.active()));
        let schedule = Schedule::new(idle, draws);
        Self { shares: Weights::new(&weights), weights: weights.into(), schedule }
    }

    /// The endpoint due next, or `None` if another pick is at the schedule.
    fn scheduled(&self, states: &[Arc<EndpointState>]) -> Option<usize> {
        self.schedule.next(|index| interval(f64::from(self.weights[index]), states[index].active()))
    }

    fn drawn(&self, states: &[Arc<EndpointState>], draws: &mut Draws) -> usize {
        let (first, second) = (self.shares.at(draws.next_u64()), self.shares.at(draws.next_u64()));
        // active / weight, compared without dividing.
        let load = |one: usize, other: usize| u64::from(states[one].active()) * u64::from(self.weights[other]);
        if load(second, first) < load(first, second) { second } else { first }
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::cluster::ClusterSettings;
    use super::super::endpoint::{EndpointConfig, Picked};
    use super::*;
    use crate::dice::Dice;

    fn endpoints(weights: &[u32]) -> Vec<Arc<Endpoint>> {
        let endpoint = |(index, weight): (usize, &u32)| {
            let config = EndpointConfig::new(([10, 0, 0, index as u8], 80)).with_weight(*weight);
            let state = Arc::new(EndpointState::new(&config.address));
            Arc::new(Endpoint::new(config, &ClusterSettings::default(), state))
        };
        weights.iter().enumerate().map(endpoint).collect()
    }

    fn busy(endpoint: &Arc<Endpoint>, active: u32) -> Vec<Picked> {
        (0..active).map(|_| Picked::new(Arc::clone(endpoint))).collect()
    }

    fn assert_law(counts: &[u64], law: &[f64]) {
        let picks = counts.iter().sum::<u64>() as f64;
        for (count, probability) in counts.iter().zip(law) {
            let sigma = (picks * probability * (1.0 - probability)).sqrt();
            assert!((*count as f64 - picks * probability).abs() <= 5.0 * sigma, "{counts:?} against {law:?}");
        }
    }

    /// What two draws with replacement, the first of a tie, come to in the long run.
    fn two_choices_law(actives: &[u32]) -> Vec<f64> {
        let count = actives.len();
        let mut law = vec![0.0; count];
        for first in 0..count {
            for second in 0..count {
                let taken = if actives[second] < actives[first] { second } else { first };
                law[taken] += 1.0 / (count * count) as f64;
            }
        }
        law
    }

    #[test]
    fn equal_weights_take_the_less_busy_of_two() {
        for actives in [vec![0, 0, 0], vec![3, 0, 1], vec![2, 2, 0, 5, 5], vec![1]] {
            let endpoints = endpoints(&vec![4; actives.len()]);
            let _busy: Vec<_> =
                endpoints.iter().zip(&actives).map(|(endpoint, active)| busy(endpoint, *active)).collect();
            let mut draws = Dice::seeded(5).draws();
            let balancer = LeastRequest::new(&endpoints, &mut draws);
            let mut counts = vec![0; actives.len()];
            for _ in 0..200_000 {
                counts[balancer.choose(&mut draws)] += 1;
            }
            assert_law(&counts, &two_choices_law(&actives));
        }
    }

    #[test]
    fn a_locked_schedule_is_not_waited_for() {
        let endpoints = endpoints(&[1, 2, 7]);
        let mut draws = Dice::seeded(6).draws();
        let balancer = LeastRequest::new(&endpoints, &mut draws);
        let weighted = balancer.weighted.as_ref().expect("unequal weights");
        let _held = weighted.schedule.hold();
        let mut counts = [0; 3];
        for _ in 0..200_000 {
            counts[balancer.choose(&mut draws)] += 1;
        }
        assert_law(&counts, &[0.1, 0.2, 0.7]);
    }

    #[test]
    fn the_draw_takes_the_less_busy_for_its_weight() {
        let endpoints = endpoints(&[1, 3]);
        // 1/1 against 2/3: the second is less busy for its weight, so only two draws of the first take the first.
        let _busy = (busy(&endpoints[0], 1), busy(&endpoints[1], 2));
        let mut draws = Dice::seeded(7).draws();
        let balancer = LeastRequest::new(&endpoints, &mut draws);
        let weighted = balancer.weighted.as_ref().expect("unequal weights");
        let mut counts = [0; 2];
        for _ in 0..200_000 {
            counts[weighted.drawn(&balancer.states, &mut draws)] += 1;
        }
        assert_law(&counts, &[1.0 / 16.0, 15.0 / 16.0]);
    }

    #[test]
    fn the_first_pick_follows_the_weights_roughly() {
        // Many fresh clients: a light endpoint is not shunned by all of them at once.
        let endpoints = endpoints(&[1, 1, 8]);
        let mut counts = [0u32; 3];
        for seed in 0..20_000 {
            let mut draws = Dice::seeded(seed).draws();
            counts[LeastRequest::new(&endpoints, &mut draws).choose(&mut draws)] += 1;
        }
        assert!(counts[0] > 800 && counts[1] > 800 && counts[2] > 14_000, "{counts:?}");
    }

    /// Earliest deadline first by looking through the whole list, from given first deadlines.
    struct Slowly {
        weights: Vec<u32>,
        active: Vec<u32>,
        entries: Vec<(f64, u64)>,
        entered: u64,
    }

    impl Slowly {
        fn choose(&mut self) -> usize {
            let mut first = 0;
            for (index, entry) in self.entries.iter().enumerate() {
                if *entry < self.entries[first] {
                    first = index;
                }
            }
            let now = self.entries[first].0;
            let weight = f64::from(self.weights[first]) / f64::from(self.active[first] + 1);
            self.entries[first] = (now + 1.0 / weight, self.entered);
            self.entered += 1;
            first
        }
    }

    proptest! {
        #[test]
        fn unequal_weights_are_earliest_deadline_first(
            // Powers of two, for which the oracle's division and ours round alike.
            weights in proptest::collection::vec((0u32..8).prop_map(|power| 1 << power), 2..20),
            steps in proptest::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..300),
            seed in any::<u64>(),
        ) {
            prop_assume!(!all_equal(&weights));
            let endpoints = endpoints(&weights);
            let mut draws = Dice::seeded(seed).draws();
            let balancer = LeastRequest::new(&endpoints, &mut draws);
            let weighted = balancer.weighted.as_ref().expect("unequal weights");
            let entries = weighted.schedule.entries();
            let entered = weights.len() as u64;
            let mut oracle = Slowly { weights: weights.clone(), active: vec![0; weights.len()], entries, entered };
            let mut held: Vec<(usize, Picked)> = Vec::new();
            for (release, which) in steps {
                if release && !held.is_empty() {
                    let (index, picked) = held.swap_remove(which.index(held.len()));
                    drop(picked);
                    oracle.active[index] -= 1;
                } else {
                    let index = balancer.choose(&mut draws);
                    prop_assert_eq!(index, oracle.choose());
                    held.push((index, Picked::new(Arc::clone(&endpoints[index]))));
                    oracle.active[index] += 1;
                }
            }
        }

        #[test]
        fn an_idle_cluster_gets_the_shares_of_its_weights(
            weights in proptest::collection::vec(prop_oneof![1u32..10, 1u32..=u32::MAX], 2..30),
            picks in 1u64..5000,
        ) {
            let endpoints = endpoints(&weights);
            prop_assume!(!all_equal(&weights));
            let mut draws = Dice::seeded(picks).draws();
            let balancer = LeastRequest::new(&endpoints, &mut draws);
            let mut counts = vec![0u64; weights.len()];
            for _ in 0..picks {
                counts[balancer.choose(&mut draws)] += 1;
            }
            let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            for (weight, count) in weights.iter().zip(counts) {
                let share = f64::from(*weight) / total;
                // Each endpoint is within one turn of the schedule's time, and so is that time of the picks.
                let bound = 1.0 + share * weights.len() as f64;
                prop_assert!((count as f64 - share * picks as f64).abs() <= bound, "{count} for {weight}");
            }
        }
    }
}
