//! LEAST_REQUEST: the less busy of two; with unequal weights, earliest deadline first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, TryLockError};

use super::balancer::{all_equal, weights_of};
use super::endpoint::{Endpoint, EndpointState};
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
    schedule: Mutex<Schedule>,
}

impl Weighted {
    fn new(weights: Vec<u32>, states: &[Arc<EndpointState>], draws: &mut Draws) -> Self {
        let schedule = Mutex::new(Schedule::new(&weights, states, draws));
        Self { shares: Weights::new(&weights), weights: weights.into(), schedule }
    }

    /// The endpoint due next, or `None` if another pick is at the schedule.
    fn scheduled(&self, states: &[Arc<EndpointState>]) -> Option<usize> {
        let mut schedule = match self.schedule.try_lock() {
            Ok(schedule) => schedule,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        schedule.next(|index| interval(self.weights[index], states[index].active()))
    }

    fn drawn(&self, states: &[Arc<EndpointState>], draws: &mut Draws) -> usize {
        let (first, second) = (self.shares.at(draws.next_u64()), self.shares.at(draws.next_u64()));
        // active / weight, compared without dividing.
        let load = |one: usize, other: usize| u64::from(states[one].active()) * u64::from(self.weights[other]);
        if load(second, first) < load(first, second) { second } else { first }
    }
}

/// The time from one turn of an endpoint to its next.
fn interval(weight: u32, active: u32) -> f64 {
    (f64::from(active) + 1.0) / f64::from(weight)
}

/// The endpoints by when they are due, the earliest at the top.
#[derive(Debug)]
struct Schedule {
    entries: BinaryHeap<Entry>,
    entered: u64,
}

impl Schedule {
    /// Each endpoint starts at a random phase of its interval.
    ///
    /// Envoy starts with every phase whole and makes a random number of picks below the number of hosts, which favors
    /// the heavy endpoints after each change of the set, and says so. From random phases, every endpoint's share is
    /// right from the first pick.
    fn new(weights: &[u32], states: &[Arc<EndpointState>], draws: &mut Draws) -> Self {
        let mut entries = Vec::with_capacity(weights.len());
        for (index, (weight, state)) in weights.iter().zip(states).enumerate() {
            let phase = (draws.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
            let due = phase * interval(*weight, state.active());
            entries.push(Entry { due, entered: index as u64, index: index as u32 });
        }
        Self { entered: entries.len() as u64, entries: entries.into() }
    }

    /// Takes the endpoint that is due first and puts it back for its next turn. Allocates nothing.
    fn next(&mut self, interval: impl Fn(usize) -> f64) -> Option<usize> {
        let mut first = self.entries.peek_mut()?;
        let index = first.index as usize;
        first.due += interval(index);
        first.entered = self.entered;
        self.entered += 1;
        Some(index)
    }
}

#[derive(Debug)]
struct Entry {
    due: f64,
    // Of two due together the one entered first goes first.
    entered: u64,
    index: u32,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        // Turned around: the heap keeps its greatest at the top.
        other.due.total_cmp(&self.due).then(other.entered.cmp(&self.entered))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}
