//! Limits of `connectionPool`, and `retryBudget`: what a cluster admits at a time.

use std::num::NonZeroU32;

use crate::config::{self, ConnectionPoolSettings};
use crate::upstream::{LimitSettings, RetryBudget};

/// What a policy's blocks say.
pub(crate) fn settings(
    pool: Option<&ConnectionPoolSettings>,
    retry_budget: Option<&config::RetryBudget>,
) -> LimitSettings {
    let mut settings = LimitSettings::default();
    if let Some(tcp) = pool.and_then(|pool| pool.tcp.as_ref()) {
        settings.connections = limit(tcp.max_connections);
    }
    if let Some(http) = pool.and_then(|pool| pool.http.as_ref()) {
        settings.pending = limit(http.http1_max_pending_requests);
        settings.requests = limit(http.http2_max_requests);
        settings.retries = limit(http.max_retries);
    }
    settings.retry_budget = retry_budget.map(budget);
    settings
}

fn budget(words: &config::RetryBudget) -> RetryBudget {
    let config::RetryBudget { percent, min_retry_concurrency, budget_interval } = words;
    let mut budget = RetryBudget::default();
    if let Some(percent) = percent {
        // A cast of what is out of bounds, which validation refuses, stops at the bound.
        budget.millionths = (percent.clamp(0.0, 100.0) * 10_000.0).round() as u32;
    }
    if *min_retry_concurrency > 0 {
        budget.at_least = *min_retry_concurrency;
    }
    budget.interval = budget_interval.as_ref().and_then(|interval| interval.to_std()).unwrap_or_default();
    budget
}

/// Zero is unset, and less is refused by validation.
pub(super) fn limit(number: i32) -> Option<NonZeroU32> {
    u32::try_from(number).ok().and_then(NonZeroU32::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HttpSettings, TcpSettings, units};

    fn of(pool: ConnectionPoolSettings) -> LimitSettings {
        settings(Some(&pool), None)
    }

    #[test]
    fn nothing_said_and_zero_said_are_no_limit() {
        assert_eq!(settings(None, None), LimitSettings::default());
        let zeros = ConnectionPoolSettings { tcp: Some(TcpSettings::default()), http: Some(HttpSettings::default()) };
        assert_eq!(of(zeros), LimitSettings::default());
    }

    #[test]
    fn every_limit_is_taken() {
        let tcp = TcpSettings { max_connections: 1, ..TcpSettings::default() };
        let http = HttpSettings {
            http1_max_pending_requests: 2,
            http2_max_requests: 3,
            max_retries: 4,
            ..HttpSettings::default()
        };
        let found = of(ConnectionPoolSettings { tcp: Some(tcp), http: Some(http) });
        let limits = [found.connections, found.pending, found.requests, found.retries];
        assert_eq!(limits, [1, 2, 3, 4].map(NonZeroU32::new));
    }

    #[test]
    fn a_budget_has_its_defaults() {
        let words = config::RetryBudget::default();
        assert_eq!(settings(None, Some(&words)).retry_budget, Some(RetryBudget::default()));
        let words = config::RetryBudget {
            percent: Some(12.5),
            min_retry_concurrency: 7,
            budget_interval: Some(units::Duration::from_secs(9)),
        };
        let budget = settings(None, Some(&words)).retry_budget.unwrap();
        assert_eq!((budget.millionths, budget.at_least), (125_000, 7));
        assert_eq!(budget.interval, std::time::Duration::from_secs(9));
        for odd in [f64::NAN, -1.0, 1e300] {
            let words = config::RetryBudget { percent: Some(odd), ..config::RetryBudget::default() };
            assert!(settings(None, Some(&words)).retry_budget.unwrap().millionths <= 1_000_000);
        }
    }
}
