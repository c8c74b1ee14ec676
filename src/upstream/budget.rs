//! How many retries the requests of a cluster allow (`retryBudget`).
//!
//! A fixed number of retries is too many when few requests are under way and too few when many are. A budget allows a
//! share of the requests: when everything fails, the load grows by that share and not by the number of attempts.

use std::time::Duration;

use tokio::time::Instant;

use super::atomics::Window;

/// So many stretches make an interval, as in Envoy.
const STRETCHES: usize = 10;

/// How many of a cluster's requests may be retries at a time (`retryBudget` of a DestinationRule).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RetryBudget {
    /// The share of the requests, in millionths (`percent`): 200 000, that is 20 %.
    pub millionths: u32,
    /// So many are always allowed (`minRetryConcurrency`): 3.
    pub at_least: u32,
    /// The requests that count are those begun in this time, whether they have ended or not (`budgetInterval`). Zero:
    /// those under way.
    pub interval: Duration,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { millionths: 200_000, at_least: 3, interval: Duration::ZERO }
    }
}

impl RetryBudget {
    /// How many retries `requests` allow.
    pub fn allows(&self, requests: u64) -> u64 {
        let share = u128::from(requests) * u128::from(self.millionths) / 1_000_000;
        u64::try_from(share).unwrap_or(u64::MAX).max(u64::from(self.at_least))
    }
}

/// The requests that began lately.
#[derive(Debug)]
pub(super) struct Begun {
    since: Instant,
    /// How long a stretch is, in nanoseconds.
    stretch: u128,
    window: Window<STRETCHES>,
}

impl Begun {
    /// Those of a budget's interval; `None` if it has none.
    pub(super) fn of(budget: &RetryBudget) -> Option<Self> {
        let stretch = budget.interval.as_nanos() / STRETCHES as u128;
        (stretch > 0).then(|| Self { since: Instant::now(), stretch, window: Window::new() })
    }

    pub(super) fn add(&self) {
        self.window.add(self.now());
    }

    pub(super) fn count(&self) -> u64 {
        self.window.count(self.now())
    }

    fn now(&self) -> u32 {
        // It may wrap: what counts is how far stretches are apart.
        (self.since.elapsed().as_nanos() / self.stretch) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_allows_a_share_and_never_less_than_its_least() {
        let budget = RetryBudget::default();
        let allowed: Vec<u64> = [0, 15, 19, 20, 24, 25, 1000].map(|requests| budget.allows(requests)).into();
        assert_eq!(allowed, [3, 3, 3, 4, 4, 5, 200]);
        let nothing = RetryBudget { millionths: 0, at_least: 1, ..budget };
        assert_eq!(nothing.allows(u64::MAX), 1);
        let everything = RetryBudget { millionths: 1_000_000, ..budget };
        assert_eq!(everything.allows(u64::MAX), u64::MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_forgotten_an_interval_after_their_beginning() {
        let budget = RetryBudget { interval: Duration::from_secs(10), ..RetryBudget::default() };
        let begun = Begun::of(&budget).unwrap();
        begun.add();
        tokio::time::advance(Duration::from_secs(5)).await;
        begun.add();
        begun.add();
        assert_eq!(begun.count(), 3);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(begun.count(), 2);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(begun.count(), 0);
    }

    #[test]
    fn without_an_interval_nothing_is_remembered() {
        assert!(Begun::of(&RetryBudget::default()).is_none());
    }
}
