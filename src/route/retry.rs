//! What is tried again, and when (`http[].retries`): [`RetryPolicy`].

use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderMap, HeaderName};

use crate::dice::Draws;
use crate::outcome::{Failure, grpc_number};

/// Which failures are tried again, how often and after which pause (`http[].retries`).
///
/// ```
/// use http::{HeaderMap, StatusCode};
/// use mesh_router::outcome::Failure;
/// use mesh_router::route::RetryPolicy;
///
/// let policy = RetryPolicy::default();
/// assert_eq!(policy.attempts, 2);
/// assert!(policy.wants_failure(Failure::ConnectRefused, false));
/// assert!(!policy.wants_response(StatusCode::SERVICE_UNAVAILABLE, &HeaderMap::new()));
///
/// let mut policy = RetryPolicy::default();
/// (policy.on, policy.statuses) = RetryPolicy::parse_on("gateway-error,409");
/// assert!(policy.wants_response(StatusCode::CONFLICT, &HeaderMap::new()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The most tries after the first, at least 1.
    pub attempts: u32,
    /// How long each try may take, the first included, once its connection is ready and the request was sent
    /// (`perTryTimeout`); one that is not below the timeout of the request counts for nothing.
    pub per_try_timeout: Option<Duration>,
    /// What is tried again (`retryOn`).
    pub on: RetryOn,
    /// The statuses that [`RetryOn::STATUSES`] speaks of: the numbers in `retryOn`.
    pub statuses: Box<[StatusCode]>,
    /// The headers that [`RetryOn::HEADERS`] speaks of. Istio has no word for them; `x-envoy-retriable-header-names`,
    /// which a rule may set, has.
    pub headers: Box<[HeaderName]>,
    /// What the pauses grow from: 25 ms (`backoff`).
    pub backoff: Duration,
    /// Whether a further try avoids the endpoints that were tried, as long as others are found by five picks more.
    pub ignore_previous_hosts: bool,
    /// Whether further tries leave the priorities of those that were tried, two by two (`retryRemoteLocalities`).
    pub remote_localities: bool,
}

/// A set of the conditions of `retryOn`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RetryOn(u16);

const RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");

/// What the conditions are called, and which they are; some say nothing here.
const CONDITIONS: [(&str, RetryOn); 16] = [
    ("5xx", RetryOn::SERVER_ERROR),
    ("gateway-error", RetryOn::GATEWAY_ERROR),
    ("reset", RetryOn::RESET),
    ("reset-before-request", RetryOn::RESET_BEFORE_REQUEST),
    ("connect-failure", RetryOn::CONNECT_FAILURE),
    ("refused-stream", RetryOn::REFUSED_STREAM),
    ("retriable-4xx", RetryOn::CONFLICT),
    ("retriable-status-codes", RetryOn::STATUSES),
    ("envoy-ratelimited", RetryOn::RATE_LIMITED),
    ("cancelled", RetryOn::CANCELLED),
    ("deadline-exceeded", RetryOn::DEADLINE_EXCEEDED),
    ("internal", RetryOn::INTERNAL),
    ("resource-exhausted", RetryOn::RESOURCE_EXHAUSTED),
    ("unavailable", RetryOn::UNAVAILABLE),
    ("retriable-headers", RetryOn::HEADERS),
    // Nothing here speaks HTTP/3.
    ("http3-post-connect-failure", RetryOn::NOTHING),
];

/// The conditions on `grpc-status` in the headers of a response.
const GRPC: [(u64, RetryOn); 5] = [
    (1, RetryOn::CANCELLED),
    (4, RetryOn::DEADLINE_EXCEEDED),
    (8, RetryOn::RESOURCE_EXHAUSTED),
    (13, RetryOn::INTERNAL),
    (14, RetryOn::UNAVAILABLE),
];

impl RetryOn {
    /// No condition.
    pub const NOTHING: Self = Self(0);
    /// `5xx`: any status from 500 to 599, any failure.
    pub const SERVER_ERROR: Self = Self(1);
    /// `gateway-error`: 502, 503 and 504, any failure.
    pub const GATEWAY_ERROR: Self = Self(1 << 1);
    /// `reset`: any failure.
    pub const RESET: Self = Self(1 << 2);
    /// `reset-before-request`: any failure before a byte of the request was sent.
    pub const RESET_BEFORE_REQUEST: Self = Self(1 << 3);
    /// `connect-failure`: no connection.
    pub const CONNECT_FAILURE: Self = Self(1 << 4);
    /// `refused-stream`: the upstream refused the stream unprocessed.
    pub const REFUSED_STREAM: Self = Self(1 << 5);
    /// `retriable-4xx`: 409.
    pub const CONFLICT: Self = Self(1 << 6);
    /// `retriable-status-codes`: the statuses that are listed.
    pub const STATUSES: Self = Self(1 << 7);
    /// `envoy-ratelimited`: responses with `x-envoy-ratelimited`, which nothing else tries again.
    pub const RATE_LIMITED: Self = Self(1 << 8);
    /// `cancelled`: `grpc-status` 1 in the headers, as with the following four.
    pub const CANCELLED: Self = Self(1 << 9);
    /// `deadline-exceeded`: `grpc-status` 4.
    pub const DEADLINE_EXCEEDED: Self = Self(1 << 10);
    /// `internal`: `grpc-status` 13.
    pub const INTERNAL: Self = Self(1 << 11);
    /// `resource-exhausted`: `grpc-status` 8.
    pub const RESOURCE_EXHAUSTED: Self = Self(1 << 12);
    /// `unavailable`: `grpc-status` 14.
    pub const UNAVAILABLE: Self = Self(1 << 13);
    /// `retriable-headers`: responses with one of the headers that are listed.
    pub const HEADERS: Self = Self(1 << 14);
    const ANY_GRPC: Self = Self(0b11111 << 9);

    /// These conditions and those of `other`.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether one of the conditions of `other` is among these.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The conditions that a list names and that are, or are not, about the status of gRPC. Other words say nothing.
    pub(super) fn named(list: &str, grpc: bool) -> Self {
        let of_kind = |condition: &Self| condition.has(Self::ANY_GRPC) == grpc;
        list.split(',').filter_map(|word| condition(word.trim())).filter(of_kind).fold(Self::NOTHING, Self::and)
    }
}

/// The condition of this name.
fn condition(word: &str) -> Option<RetryOn> {
    CONDITIONS.iter().find(|(name, _)| *name == word).map(|(_, condition)| *condition)
}

impl Default for RetryPolicy {
    /// Istio's built-in policy: two more tries for `connect-failure`, `refused-stream`, `unavailable` and `cancelled`,
    /// with other endpoints, after pauses that grow from 25 ms.
    fn default() -> Self {
        let on = RetryOn::CONNECT_FAILURE.and(RetryOn::REFUSED_STREAM).and(RetryOn::UNAVAILABLE);
        Self {
            attempts: 2,
            per_try_timeout: None,
            on: on.and(RetryOn::CANCELLED).and(RetryOn::STATUSES),
            statuses: Box::default(),
            headers: Box::default(),
            backoff: Duration::from_millis(25),
            ignore_previous_hosts: true,
            remote_localities: false,
        }
    }
}

impl RetryPolicy {
    /// The conditions and the statuses of a list as `retryOn` has it. Words that are not known say nothing; blanks
    /// around them do not count.
    pub fn parse_on(list: &str) -> (RetryOn, Box<[StatusCode]>) {
        let mut on = RetryOn::NOTHING;
        let mut statuses = Vec::new();
        for word in list.split(',').map(str::trim) {
            if let Some(condition) = condition(word) {
                on = on.and(condition);
            } else if let Ok(status) = word.parse::<StatusCode>()
                && status.canonical_reason().is_some()
            {
                on = on.and(RetryOn::STATUSES);
                statuses.push(status);
            }
        }
        (on, statuses.into())
    }

    /// Whether a response with this head is tried again. Trailers do not count: a status of gRPC does where it stands
    /// in the headers.
    pub fn wants_response(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        let by_status = match status.as_u16() {
            502..=504 => RetryOn::SERVER_ERROR.and(RetryOn::GATEWAY_ERROR),
            500..=599 => RetryOn::SERVER_ERROR,
            409 => RetryOn::CONFLICT,
            _ => RetryOn::NOTHING,
        };
        let wanted = self.on.has(by_status)
            || (self.on.has(RetryOn::STATUSES) && self.statuses.contains(&status))
            || (self.on.has(RetryOn::HEADERS) && self.headers.iter().any(|name| headers.contains_key(name)))
            || self.wants_grpc_status(headers);
        let rate_limited = || headers.contains_key(&RATE_LIMITED);
        match self.on.has(RetryOn::RATE_LIMITED) {
            true => wanted || rate_limited(),
            false => wanted && !rate_limited(),
        }
    }

    fn wants_grpc_status(&self, headers: &HeaderMap) -> bool {
        if !self.on.has(RetryOn::ANY_GRPC) {
            return false;
        }
        let Some(grpc) = grpc_number::<u64>(headers) else { return false };
        GRPC.iter().any(|(number, condition)| self.on.has(*condition) && grpc == *number)
    }

    /// Whether a try that came to `failure` is followed by another; `request_sent`: bytes of the request had gone
    /// to an upstream before. A limit that is reached is never a reason to try again.
    pub fn wants_failure(&self, failure: Failure, request_sent: bool) -> bool {
        if failure == Failure::Overflow {
            return false;
        }
        let mut wanted = RetryOn::SERVER_ERROR.and(RetryOn::GATEWAY_ERROR).and(RetryOn::RESET);
        if !request_sent {
            wanted = wanted.and(RetryOn::RESET_BEFORE_REQUEST);
        }
        match failure {
            Failure::ConnectRefused | Failure::ConnectLocal | Failure::ConnectTimeout => {
                wanted = wanted.and(RetryOn::CONNECT_FAILURE);
            }
            Failure::RefusedStream => wanted = wanted.and(RetryOn::REFUSED_STREAM),
            _ => {}
        }
        self.on.has(wanted)
    }

    /// The pause before further try number `retry`, counted from 1: any whole milliseconds from none up to below a bound
    /// that begins at [`Self::backoff`], doubles each time and stays at ten times that.
    pub fn backoff(&self, retry: u32, draws: &mut Draws) -> Duration {
        let base = u64::try_from(self.backoff.as_millis()).unwrap_or(u64::MAX);
        let factor = 1u64.checked_shl(retry.saturating_sub(1)).unwrap_or(u64::MAX).min(10);
        Duration::from_millis(draws.below(base.saturating_mul(factor)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn policy(on: &str) -> RetryPolicy {
        let (on, statuses) = RetryPolicy::parse_on(on);
        RetryPolicy { on, statuses, ..RetryPolicy::default() }
    }

    fn head(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let lines = lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        lines.collect()
    }

    fn responses(on: &str, lines: &[(&'static str, &'static str)]) -> Vec<u16> {
        let (policy, head) = (policy(on), head(lines));
        let wanted = |status: &u16| policy.wants_response(StatusCode::from_u16(*status).unwrap(), &head);
        [200, 404, 409, 429, 499, 500, 501, 502, 503, 504, 599].into_iter().filter(wanted).collect()
    }

    #[test]
    fn rt5_responses() {
        for (on, expected) in [
            ("5xx", &[500u16, 501, 502, 503, 504, 599] as &[u16]),
            ("gateway-error", &[502, 503, 504]),
            ("reset", &[]),
            ("reset-before-request", &[]),
            ("connect-failure", &[]),
            ("refused-stream", &[]),
            ("retriable-4xx", &[409]),
            ("retriable-status-codes", &[]),
            ("retriable-status-codes,404,503", &[404, 503]),
            ("429", &[429]),
            ("599", &[]),
            ("retriable-headers,http3-post-connect-failure", &[]),
            ("envoy-ratelimited", &[]),
            ("cancelled,deadline-exceeded,internal,resource-exhausted,unavailable", &[]),
            (" 5xx , 404", &[404, 500, 501, 502, 503, 504, 599]),
        ] {
            assert_eq!(responses(on, &[]), expected, "{on}");
        }
        let default = RetryPolicy::default();
        assert!(!default.wants_response(StatusCode::SERVICE_UNAVAILABLE, &HeaderMap::new()), "RT2");
    }

    #[test]
    fn rt5_a_rate_limited_response_is_tried_again_by_its_own_condition_only() {
        let limited = ("x-envoy-ratelimited", "true");
        assert_eq!(responses("5xx,gateway-error,retriable-4xx,429", &[limited]), [0u16; 0]);
        assert_eq!(responses("envoy-ratelimited", &[limited]).len(), 11);
    }

    #[test]
    fn rt5_a_grpc_status_counts_in_the_headers() {
        for (status, condition) in [
            ("1", "cancelled"),
            ("4", "deadline-exceeded"),
            ("13", "internal"),
            ("8", "resource-exhausted"),
            ("14", "unavailable"),
        ] {
            let answer = head(&[("grpc-status", status)]);
            for (_, other) in GRPC {
                let named = CONDITIONS.iter().find(|(_, condition)| *condition == other).unwrap().0;
                let wanted = policy(named).wants_response(StatusCode::OK, &answer);
                assert_eq!(wanted, named == condition, "{named} for {status}");
            }
        }
        for status in ["14", "+14", "014"] {
            let answer = head(&[("grpc-status", status)]);
            assert!(RetryPolicy::default().wants_response(StatusCode::OK, &answer), "{status}");
        }
        assert!(!RetryPolicy::default().wants_response(StatusCode::OK, &head(&[("grpc-status", "4")])));
        assert!(!policy("5xx").wants_response(StatusCode::OK, &head(&[("grpc-status", "14")])));
    }

    #[test]
    fn rt5_failures() {
        use Failure::*;
        let all = [
            ConnectRefused,
            ConnectLocal,
            ConnectTimeout,
            ConnectionTermination,
            RemoteReset,
            RefusedStream,
            LocalReset,
            ProtocolError,
            Overflow,
        ];
        let resets = &all[..8];
        for (on, sent, expected) in [
            ("5xx", true, resets),
            ("gateway-error", true, resets),
            ("reset", true, resets),
            ("reset-before-request", true, &[]),
            ("reset-before-request", false, resets),
            ("connect-failure", true, &[ConnectRefused, ConnectLocal, ConnectTimeout]),
            ("refused-stream", true, &[RefusedStream]),
            ("connect-failure,refused-stream", false, &[ConnectRefused, ConnectLocal, ConnectTimeout, RefusedStream]),
            ("retriable-4xx,503,retriable-headers,envoy-ratelimited,unavailable", true, &[]),
        ] {
            let wanted: Vec<_> = all.into_iter().filter(|failure| policy(on).wants_failure(*failure, sent)).collect();
            assert_eq!(wanted, expected, "{on} {sent}");
        }
        assert!(!RetryPolicy::default().wants_failure(RemoteReset, false), "RT2");
    }

    #[test]
    fn rt3_numbers_are_statuses_and_other_words_nothing() {
        let (on, statuses) = RetryPolicy::parse_on("503,reset,499,nonsense,,429");
        assert_eq!(on, RetryOn::RESET.and(RetryOn::STATUSES));
        assert_eq!(&*statuses, [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS]);
        assert_eq!(RetryPolicy::parse_on("").0, RetryOn::NOTHING);
    }

    #[test]
    fn rt8_pauses_are_uniform_below_a_bound_that_doubles() {
        let policy = RetryPolicy::default();
        let mut draws = Dice::seeded(23).draws();
        for (retry, bound) in [(1, 25u32), (2, 50), (3, 100), (4, 200), (5, 250), (6, 250), (64, 250), (u32::MAX, 250)]
        {
            let rounds = 100_000u32;
            let pauses: Vec<_> = (0..rounds).map(|_| policy.backoff(retry, &mut draws)).collect();
            let whole = |pause: &Duration| *pause == Duration::from_millis(pause.as_millis() as u64);
            assert!(pauses.iter().all(|pause| whole(pause) && pause.as_millis() < bound.into()), "{retry}");
            let mean = pauses.iter().map(Duration::as_secs_f64).sum::<f64>() * 1000.0 / f64::from(rounds);
            let sigma = f64::from(bound) / f64::from(12 * rounds).sqrt();
            assert!((mean - f64::from(bound - 1) / 2.0).abs() < 5.0 * sigma, "{retry}: {mean}");
            let tenth = bound.div_ceil(10);
            let low = pauses.iter().filter(|pause| pause.as_millis() < tenth.into()).count() as f64;
            let share = f64::from(tenth) / f64::from(bound);
            let expected = f64::from(rounds) * share;
            assert!((low - expected).abs() < 5.0 * (expected * (1.0 - share)).sqrt(), "{retry}: {low}");
        }
    }

    #[test]
    fn rt8_the_base_may_be_any() {
        let policy = |backoff| RetryPolicy { backoff, ..RetryPolicy::default() };
        let mut draws = Dice::seeded(1).draws();
        assert_eq!(policy(Duration::ZERO).backoff(3, &mut draws), Duration::ZERO);
        assert!(policy(Duration::MAX).backoff(u32::MAX, &mut draws) > Duration::ZERO);
        let longest = (0..1000).map(|_| policy(Duration::from_secs(1)).backoff(9, &mut draws)).max().unwrap();
        assert!(longest < Duration::from_secs(10) && longest > Duration::from_secs(9));
    }
}
