//! Headers with which a rule steers the router: [`Steering`].
//!
//! Envoy's router reads some `x-envoy-*` headers of a request after the rule has changed it, and sends none of them on.
//! Those of clients are gone by then, so what it obeys is what `headers.request` of the rule says.

use http::StatusCode;
use http::header::{HeaderMap, HeaderName};

use super::{RetryOn, RetryPolicy};
use crate::outcome::number;

const RETRY_ON: &str = "x-envoy-retry-on";
const RETRY_GRPC_ON: &str = "x-envoy-retry-grpc-on";
const MAX_RETRIES: &str = "x-envoy-max-retries";
const STATUSES: &str = "x-envoy-retriable-status-codes";
const HEADERS: &str = "x-envoy-retriable-header-names";
const ALTERNATIVE: &str = "x-envoy-upstream-rq-timeout-alt-response";

/// What the router takes off a request; the last two say nothing by the time it looks at them.
const NAMES: [&str; 8] = [
    RETRY_ON,
    RETRY_GRPC_ON,
    MAX_RETRIES,
    STATUSES,
    HEADERS,
    ALTERNATIVE,
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-upstream-rq-per-try-timeout-ms",
];

/// Whether the router obeys such a header, or takes it away.
pub(super) fn steers(name: &HeaderName) -> bool {
    NAMES.contains(&name.as_str())
}

/// What the headers of a rule say to the router.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Steering {
    /// How it may be tried again, in place of the rule's `retries`, if anything is said of that.
    pub(crate) retry: Option<RetryPolicy>,
    /// Whether a timeout is answered 204 (`x-envoy-upstream-rq-timeout-alt-response`).
    pub(crate) no_content_for_timeout: bool,
}

impl Steering {
    /// Takes these headers off a request for which its rule says `policy`.
    pub(crate) fn take(headers: &mut HeaderMap, policy: Option<&RetryPolicy>) -> Self {
        let retry = retry(headers, policy);
        let no_content_for_timeout = headers.contains_key(ALTERNATIVE);
        Self::forget(headers);
        Self { retry, no_content_for_timeout }
    }

    /// Takes them off unread: a client does not steer.
    pub(crate) fn forget(headers: &mut HeaderMap) {
        for name in NAMES {
            headers.remove(name);
        }
    }
}

/// The policy that follows from `policy` and the headers; without one a single further try, from which no endpoint is
/// left out.
fn retry(headers: &HeaderMap, policy: Option<&RetryPolicy>) -> Option<RetryPolicy> {
    let said = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let words = |name| said(name).split(',').map(str::trim);
    let none =
        || RetryPolicy { attempts: 1, on: RetryOn::NOTHING, ignore_previous_hosts: false, ..RetryPolicy::default() };
    let mut retry = policy.cloned().unwrap_or_else(none);
    let on = RetryOn::named(said(RETRY_ON), false).and(RetryOn::named(said(RETRY_GRPC_ON), true));
    retry.on = retry.on.and(on);
    if let Some(attempts) = number::<u64>(said(MAX_RETRIES).as_bytes()) {
        // Envoy counts in the lower half of it.
        retry.attempts = attempts as u32;
    }
    let statuses = words(STATUSES).filter_map(|word| StatusCode::from_u16(number(word.as_bytes())?).ok());
    retry.statuses = retry.statuses.into_iter().chain(statuses).collect();
    let names = words(HEADERS).filter_map(|word| HeaderName::try_from(word).ok());
    retry.headers = retry.headers.into_iter().chain(names).collect();
    (policy != Some(&retry) && retry.on != RetryOn::NOTHING).then_some(retry)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn taken(lines: &[(&'static str, &'static str)], policy: Option<&RetryPolicy>) -> Steering {
        let lines_of =
            lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut headers: HeaderMap = lines_of.collect();
        headers.insert("x-envoy-upstream-rq-timeout-ms", HeaderValue::from_static("1"));
        let steering = Steering::take(&mut headers, policy);
        assert_eq!(headers.len(), 1, "{lines:?}");
        steering
    }

    #[test]
    fn without_retries_of_the_rule_one_more_try_is_made() {
        let retry = taken(&[(RETRY_ON, "5xx, retriable-headers"), (HEADERS, "x-again, :status")], None).retry.unwrap();
        assert_eq!((retry.attempts, retry.ignore_previous_hosts), (1, false));
        assert_eq!(retry.on, RetryOn::SERVER_ERROR.and(RetryOn::HEADERS));
        assert_eq!(*retry.headers, [HeaderName::from_static("x-again")]);
        let mut answer = HeaderMap::new();
        assert!(!retry.wants_response(StatusCode::OK, &answer));
        answer.insert("x-again", HeaderValue::from_static(""));
        assert!(retry.wants_response(StatusCode::OK, &answer));
    }

    #[test]
    fn what_is_said_comes_to_what_the_rule_says() {
        let policy = RetryPolicy::default();
        let lines = [(RETRY_ON, "reset"), (RETRY_GRPC_ON, "internal,5xx"), (STATUSES, "+404, 0418,x,1503")];
        let retry = taken(&lines, Some(&policy)).retry.unwrap();
        assert_eq!(retry.on, policy.on.and(RetryOn::RESET).and(RetryOn::INTERNAL));
        assert_eq!(*retry.statuses, [StatusCode::NOT_FOUND, StatusCode::IM_A_TEAPOT]);
        assert_eq!((retry.attempts, retry.ignore_previous_hosts), (2, true));
    }

    #[test]
    fn each_list_has_its_own_words() {
        for line in [(RETRY_ON, "unavailable,503"), (RETRY_ON, "5XX"), (RETRY_GRPC_ON, "5xx"), (MAX_RETRIES, "5")] {
            assert_eq!(taken(&[line], None), Steering::default(), "{line:?}");
        }
    }

    #[test]
    fn the_number_of_tries_is_a_number() {
        let policy = RetryPolicy::default();
        for (text, attempts) in [
            ("0", Some(0)),
            (" 3 ", Some(3)),
            ("+3", Some(3)),
            ("-1", None),
            ("1,3", None),
            ("", None),
            ("4294967296", Some(0)),
            ("4294967299", Some(3)),
            ("18446744073709551616", None),
        ] {
            let retry = taken(&[(MAX_RETRIES, text)], Some(&policy)).retry;
            assert_eq!(retry.map(|retry| retry.attempts), attempts, "{text:?}");
        }
    }

    #[test]
    fn a_timeout_may_be_no_error() {
        assert!(taken(&[(ALTERNATIVE, "")], None).no_content_for_timeout);
        assert!(!taken(&[("x-envoy-hedge-on-per-try-timeout", "true")], None).no_content_for_timeout);
    }
}
