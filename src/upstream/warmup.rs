//! Warmup: endpoints that are new get their share of the requests little by little (Envoy's slow start).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::LONGEST;
use super::endpoint::{Endpoint, EndpointState};
use super::schedule::{Schedule, interval};
use super::weights::Weights;
use crate::dice::Draws;

/// The least age that is reckoned with: Envoy counts milliseconds and begins with one.
const YOUNGEST: Duration = Duration::from_millis(1);

/// How often who finds the schedule locked draws again, if what it drew is too new.
const DRAWS: u32 = 32;

/// How an endpoint that is new warms up (`loadBalancer.warmup`). ROUND_ROBIN and LEAST_REQUEST honor it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warmup {
    /// How long it takes, counted from when the endpoint became known (`duration`).
    pub duration: Duration,
    /// The least part of its weight that an endpoint has, in percent (`minimumPercent`): 10.
    pub minimum_percent: f64,
    /// How fast the part grows at first: after the fraction `t` of the duration it is `t` to the power of one by this
    /// (`aggression`): 1.
    pub aggression: f64,
}

impl Warmup {
    /// A warmup of `duration` with Istio's defaults.
    pub fn new(duration: Duration) -> Self {
        Self { duration, minimum_percent: 10.0, aggression: 1.0 }
    }

    /// The part of its weight that an endpoint of this age has, above 0 and at most 1.
    pub fn part(&self, age: Duration) -> f64 {
        if age >= self.duration {
            return 1.0;
        }
        let fraction = age.max(YOUNGEST).as_secs_f64() / self.duration.as_secs_f64();
        let aggression = if self.aggression > 0.0 { self.aggression } else { 1.0 };
        fraction.powf(1.0 / aggression).max(self.minimum_percent / 100.0).min(1.0)
    }
}

/// How endpoints are picked as long as one of them warms up: earliest deadline first by the weights of the moment.
#[derive(Debug)]
pub(super) struct Warming {
    warmup: Warmup,
    states: Box<[Arc<EndpointState>]>,
    weights: Box<[u32]>,
    shares: Weights,
    schedule: Schedule,
    /// LEAST_REQUEST counts what an endpoint is busy with.
    by_activity: bool,
    until: Instant,
    over: AtomicBool,
}

impl Warming {
    /// `None`: no endpoint is new.
    pub(super) fn new(warmup: Warmup, hosts: &[Arc<Endpoint>], by_activity: bool, draws: &mut Draws) -> Option<Self> {
        let now = Instant::now();
        let until = hosts.iter().map(|host| host.state().since() + warmup.duration.min(LONGEST)).max()?;
        if until <= now || hosts.len() < 2 {
            return None;
        }
        let states: Box<[_]> = hosts.iter().map(|host| Arc::clone(host.state())).collect();
        let weights: Box<[u32]> = hosts.iter().map(|host| host.weight).collect();
        let interval = |(state, weight): (&Arc<_>, &u32)| turn(&warmup, state, *weight, now, by_activity);
        let schedule = Schedule::new(states.iter().zip(&weights).map(interval), draws);
        let shares = Weights::new(&weights);
        Some(Self { warmup, states, shares, weights, schedule, by_activity, until, over: AtomicBool::new(false) })
    }

    /// The index of the chosen endpoint, or `None` once all are warm.
    pub(super) fn choose(&self, draws: &mut Draws) -> Option<usize> {
        if self.over.load(Ordering::Relaxed) {
            return None;
        }
        let now = Instant::now();
        if now >= self.until {
            self.over.store(true, Ordering::Relaxed);
            return None;
        }
        let turn = |index: usize| self.turn(index, now);
        Some(self.schedule.next(turn).unwrap_or_else(|| self.drawn(draws, now)))
    }

    fn turn(&self, index: usize, now: Instant) -> f64 {
        turn(&self.warmup, &self.states[index], self.weights[index], now, self.by_activity)
    }

    /// Without the schedule: one endpoint by the weights of the moment; for LEAST_REQUEST the less busy for its weight
    /// of two.
    fn drawn(&self, draws: &mut Draws, now: Instant) -> usize {
        let first = self.by_weight(draws, now);
        if !self.by_activity {
            return first;
        }
        let second = self.by_weight(draws, now);
        if self.turn(second, now) < self.turn(first, now) { second } else { first }
    }

    /// An endpoint drawn by its whole weight is taken as often as the part of it says.
    fn by_weight(&self, draws: &mut Draws, now: Instant) -> usize {
        let mut index = self.shares.at(draws.next_u64());
        for _ in 0..DRAWS {
            let part = self.warmup.part(now.saturating_duration_since(self.states[index].since()));
            if (draws.next_u64() >> 11) as f64 <= part * (1u64 << 53) as f64 {
                break;
            }
            index = self.shares.at(draws.next_u64());
        }
        index
    }
}

/// The time from one turn of an endpoint to its next.
fn turn(warmup: &Warmup, state: &EndpointState, weight: u32, now: Instant, by_activity: bool) -> f64 {
    let part = warmup.part(now.saturating_duration_since(state.since()));
    interval(f64::from(weight) * part, if by_activity { state.active() } else { 0 })
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::super::cluster::ClusterSettings;
    use super::super::endpoint::EndpointConfig;
    use super::*;
    use crate::dice::Dice;

    fn hosts(weights: &[u32]) -> Vec<Arc<Endpoint>> {
        let host = |(number, weight): (u8, &u32)| {
            let config = EndpointConfig::new(([10, 0, 0, number], 80)).with_weight(*weight);
            let state = Arc::new(EndpointState::new(&config.address));
            Arc::new(Endpoint::new(config, &ClusterSettings::default(), state))
        };
        (0..).zip(weights).map(host).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_locked_schedule_is_not_waited_for() {
        let old = hosts(&[2]);
        tokio::time::advance(Duration::from_secs(50)).await;
        let hosts: Vec<_> = old.into_iter().chain(hosts(&[4])).collect();
        tokio::time::advance(Duration::from_secs(50)).await;
        let mut draws = Dice::seeded(1).draws();
        // The first is warm, the second halfway: 2 to 2.
        let warmup = Warmup::new(Duration::from_secs(100));
        let warming = Warming::new(warmup, &hosts, false, &mut draws).expect("one is new");
        let _held = warming.schedule.hold();
        let picks = 100_000;
        let second = (0..picks).filter(|_| warming.choose(&mut draws) == Some(1)).count();
        // 5 sigma
        assert!(second.abs_diff(picks / 2) < 791, "{second}");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_new_for_ever() {
        let hosts = hosts(&[1, 1]);
        let mut draws = Dice::seeded(1).draws();
        let warmup = Warmup::new(Duration::from_secs(10));
        let warming = Warming::new(warmup, &hosts, true, &mut draws).expect("both are new");
        assert!(warming.choose(&mut draws).is_some());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(warming.choose(&mut draws), None);
        assert!(Warming::new(warmup, &hosts, true, &mut draws).is_none());
    }
}
