//! Earliest deadline first: who is due next, for balancers whose weights change from turn to turn.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Mutex, TryLockError};

use crate::dice::Draws;

/// The time from one turn of an endpoint to its next: an endpoint counts as much as its weight, shared by what it is
/// busy with and one more.
pub(super) fn interval(weight: f64, active: u32) -> f64 {
    (f64::from(active) + 1.0) / weight
}

/// A schedule that nobody waits for.
#[derive(Debug)]
pub(super) struct Schedule {
    deadlines: Mutex<Deadlines>,
}

/// The endpoints by when they are due, the earliest at the top.
#[derive(Debug)]
struct Deadlines {
    entries: BinaryHeap<Entry>,
    entered: u64,
}

impl Schedule {
    /// Each endpoint starts at a random phase of its interval.
    ///
    /// Envoy starts with every phase whole and makes a random number of picks below the number of hosts, which favors
    /// the heavy endpoints after each change of the set. From random phases every endpoint can expect its share of any
    /// stretch of the schedule's time, the first as well.
    pub(super) fn new(intervals: impl Iterator<Item = f64>, draws: &mut Draws) -> Self {
        let mut entries = Vec::new();
        for (index, interval) in intervals.enumerate() {
            let phase = (draws.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
            entries.push(Entry { due: phase * interval, entered: index as u64, index: index as u32 });
        }
        Self { deadlines: Mutex::new(Deadlines { entered: entries.len() as u64, entries: entries.into() }) }
    }

    /// Takes the endpoint that is due first and puts it back for its next turn, after `interval`. `None` if another
    /// pick is at it. Allocates nothing.
    pub(super) fn next(&self, interval: impl Fn(usize) -> f64) -> Option<usize> {
        let mut deadlines = match self.deadlines.try_lock() {
            Ok(deadlines) => deadlines,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let entered = deadlines.entered;
        deadlines.entered += 1;
        let mut first = deadlines.entries.peek_mut()?;
        let index = first.index as usize;
        first.due += interval(index);
        first.entered = entered;
        Some(index)
    }

    /// When each endpoint is due and the number of its entry, in the order of the endpoints.
    #[cfg(test)]
    #[allow(clippy::expect_used)]
    pub(super) fn entries(&self) -> Vec<(f64, u64)> {
        let deadlines = self.deadlines.lock().expect("not poisoned");
        let mut entries = vec![(0.0, 0); deadlines.entries.len()];
        for entry in &deadlines.entries {
            entries[entry.index as usize] = (entry.due, entry.entered);
        }
        entries
    }

    /// What another pick does while it is at it.
    #[cfg(test)]
    #[allow(clippy::expect_used)]
    pub(super) fn hold(&self) -> impl Drop + '_ {
        self.deadlines.lock().expect("not poisoned")
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
