//! What one request asks for in place of its rule: [`RequestPolicy`].
//!
//! ```
//! use std::time::Duration;
//!
//! use http::Request;
//! use mesh_router::service::RequestPolicy;
//!
//! // A payment that may take longer than the rule says, and must not be made twice.
//! let policy = RequestPolicy::new().timeout(Duration::from_secs(30)).idempotent(false);
//! let request = Request::post("http://payments/").extension(policy).body(())?;
//! # Ok::<(), http::Error>(())
//! ```

use std::time::Duration;

use http::request::Parts;
use xxhash_rust::xxh64::xxh64;

use super::deadline::{Deadline, Expired};
use super::deadline_budget::DeadlineBudget;
use super::exchange::Exchange;
use super::local_reply::LocalReply;
use crate::route::{Forward, RetryPolicy};

/// What one request asks for in place of what its rule says; goes into the extensions of the request.
///
/// Envoy takes such words from `x-envoy-*` headers, which anybody on the wire may send. A typed value comes from this
/// process only. What is not set stays with the rule; for requests that no rule forwards nothing of it counts.
///
/// There is no choice of a subset here: a snapshot has the subsets that a rule can reach. Send a header and let a rule
/// match it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestPolicy {
    timeout: Option<Duration>,
    per_try_timeout: Option<Duration>,
    retries: Option<u32>,
    hash: Option<u64>,
    idempotent: Option<bool>,
}

impl RequestPolicy {
    /// A policy that asks for nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long all tries together may take, in place of `http[].timeout`; zero is for ever. A deadline of the caller
    /// (`grpc-timeout`, [`DeadlineBudget`]) still bounds it.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long each try may take, in place of `retries.perTryTimeout`; zero is for ever.
    #[must_use]
    pub fn per_try_timeout(mut self, timeout: Duration) -> Self {
        self.per_try_timeout = Some(timeout);
        self
    }

    /// How many further tries there may be, in place of `retries.attempts`; 0 is none. What is tried again, and the
    /// pauses, are the rule's; a rule without retries gets Istio's built-in conditions. The retry budget of the
    /// destination holds.
    #[must_use]
    pub fn retries(mut self, attempts: u32) -> Self {
        self.retries = Some(attempts);
        self
    }

    /// What a consistent hash goes by, in place of `consistentHash.httpHeaderName` and its kin: equal keys get the same
    /// endpoint, that of a request whose header has this value. No cookie is made. It says nothing where the
    /// destination does not balance by hash.
    #[must_use]
    pub fn hash_key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.hash = Some(xxh64(key.as_ref(), 0));
        self
    }

    /// Whether it may be sent more than once, whatever its method and
    /// [`RetrySafety`](crate::service::RetrySafety) say. `false`: it is never tried again, not even if no connection
    /// came about.
    #[must_use]
    pub fn idempotent(mut self, yes: bool) -> Self {
        self.idempotent = Some(yes);
        self
    }
}

/// What a request asked for that matters after its head is gone.
#[derive(Debug, Default)]
pub(super) struct Asks {
    /// How it may be tried again, in place of the rule's.
    pub(super) retry: Option<RetryPolicy>,
    pub(super) idempotent: Option<bool>,
}

impl Exchange {
    /// Bounds the request by its rule, by what it asks for itself, and by the budget it has.
    pub(super) fn bound(&mut self, forward: &Forward, head: &Parts) -> Result<(), LocalReply> {
        let policy = head.extensions.get::<RequestPolicy>().copied();
        let RequestPolicy { timeout, per_try_timeout, retries, hash, idempotent } = policy.unwrap_or_default();
        let timeout = timeout.or(forward.timeout);
        let per_try = per_try_timeout.or(forward.retry.as_ref().and_then(|retry| retry.per_try_timeout));
        self.deadline = Deadline::new(timeout, per_try, self.asked.grpc, &head.headers);
        self.hash = hash;
        if retries.is_some() || idempotent.is_some() {
            let retry = retries.map(|attempts| RetryPolicy { attempts, ..forward.retry.clone().unwrap_or_default() });
            self.set_asks(Asks { retry, idempotent });
        }
        // What comes in has a caller who counts the time; it is for what goes out from here.
        match head.extensions.get::<DeadlineBudget>().filter(|_| !self.inbound) {
            Some(budget) if budget.is_spent() => Err(LocalReply::expired(Expired::Request)),
            Some(budget) => {
                self.deadline.end_by(budget.deadline());
                Ok(())
            }
            None => Ok(()),
        }
    }
}
