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

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use xxhash_rust::xxh64::xxh64;

use super::deadline::{Deadline, Expired};
use super::deadline_budget::DeadlineBudget;
use super::exchange::Exchange;
use super::https::is_upgrade;
use super::local_reply::LocalReply;
use crate::route::{Forward, RetryOn, RetryPolicy};

/// What one request asks for in place of what its rule says; goes into the extensions of the request.
///
/// Envoy takes such words from `x-envoy-*` headers, which anybody on the wire may send. A typed value comes from this
/// process only. What is not set stays with the rule; for requests that no rule forwards nothing of it counts.
///
/// [`Self::hedge_after`] is not Envoy's `hedge_policy`, which sends another try when `perTryTimeout` passes: it has a time
/// of its own, which ends no try. For [`Self::subset`] neither Istio nor Envoy's headers have a word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestPolicy {
    timeout: Option<Duration>,
    per_try_timeout: Option<Duration>,
    retries: Option<u32>,
    hash: Option<u64>,
    idempotent: Option<bool>,
    hedge_after: Option<Duration>,
    subset: Option<Arc<str>>,
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

    /// Sends a second try beside the first once that has had no answer for so long: to another endpoint where there is
    /// one, with the whole body. The first good answer is the request's, and the other try is given up; a failure, or
    /// an answer that the rule would try again, is only if the other try came to no better.
    ///
    /// It is for requests that are idempotent by their method or by [`Self::idempotent`]; others, and those that ask
    /// for a tunnel, are sent once. The time runs from when the request was sent, or from the end of its body if that
    /// took longer. A body of more than 1 MiB, which is not kept, has no second try. Neither has a request for which
    /// the retry limit of the destination (`maxRetries`, `retryBudget`) or its limits have no place at that moment.
    ///
    /// The second try is one of `retries.attempts`: what these leave may follow once both are over. Where there are no
    /// retries there is still this one try more, and whichever answer comes first is taken. Only a first try is hedged,
    /// not those that follow. [`RouteInfo`](super::RouteInfo) tells the endpoint that answered, and counts both.
    ///
    /// Envoy's `hedge_policy` sends another try when `perTryTimeout` passes, and lets the one before it go on; Istio has
    /// no word for it. Here the time is one of its own: a try still ends with its `perTryTimeout`, which runs for each
    /// of the two.
    #[must_use]
    pub fn hedge_after(mut self, silence: Duration) -> Self {
        self.hedge_after = Some(silence);
        self
    }
}

impl RequestPolicy {
    /// Sends the request to this subset of the destination's host, at the same port, in place of the one its rule
    /// names, or names none. Which destination of several it is, is drawn as ever, and all else that the rule says
    /// holds; what the DestinationRule says for the subset holds in place of what it says for the rule's, but what is
    /// hashed (see [`Self::hash_key`]). An empty name asks for nothing.
    ///
    /// If the DestinationRule defines no such subset, or the rule's own destination is not known, the answer is 503,
    /// `cluster_not_found`, flag `NC`, as for any destination that is not known. Istio has nothing like it. It says
    /// nothing of mirrors, nor at the gateway that an application stands for
    /// ([`MeshRouter::inbound`](super::MeshRouter::inbound)).
    #[must_use]
    pub fn subset(mut self, name: impl Into<Arc<str>>) -> Self {
        self.subset = Some(name.into()).filter(|name| !name.is_empty());
        self
    }

    /// What this does not set is as `otherwise` has it: what a layer asks for where the caller asked for nothing.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use http::Request;
    /// use mesh_router::service::RequestPolicy;
    ///
    /// /// Five seconds, unless the caller said how long.
    /// fn bound<B>(request: &mut Request<B>) {
    ///     let asked = request.extensions_mut().remove::<RequestPolicy>().unwrap_or_default();
    ///     request.extensions_mut().insert(asked.or(RequestPolicy::new().timeout(Duration::from_secs(5))));
    /// }
    /// let minute = RequestPolicy::new().timeout(Duration::from_secs(60));
    /// let mut request = Request::new(());
    /// request.extensions_mut().insert(minute.clone());
    /// bound(&mut request);
    /// assert_eq!(request.extensions().get(), Some(&minute));
    /// ```
    #[must_use]
    pub fn or(self, otherwise: Self) -> Self {
        Self {
            timeout: self.timeout.or(otherwise.timeout),
            per_try_timeout: self.per_try_timeout.or(otherwise.per_try_timeout),
            retries: self.retries.or(otherwise.retries),
            hash: self.hash.or(otherwise.hash),
            idempotent: self.idempotent.or(otherwise.idempotent),
            hedge_after: self.hedge_after.or(otherwise.hedge_after),
            subset: self.subset.or(otherwise.subset),
        }
    }

    /// The hash that the request asks to go by, if it does.
    pub(super) fn asked_hash(head: &Parts) -> Option<u64> {
        head.extensions.get::<Self>()?.hash
    }

    /// The subset that the request asks for, if it does.
    pub(super) fn asked_subset(head: &Parts) -> Option<&str> {
        head.extensions.get::<Self>()?.subset.as_deref()
    }

    /// Takes back the second try beside the first.
    #[cfg(feature = "reqwest")]
    pub(crate) fn never_hedge(&mut self) {
        self.hedge_after = None;
    }
}

/// What a request asked for that matters after its head is gone.
#[derive(Debug, Default)]
pub(super) struct Asks {
    /// How it may be tried again, in place of the rule's.
    pub(super) retry: Option<RetryPolicy>,
    pub(super) idempotent: Option<bool>,
    /// After how long without an answer a second try is sent beside the first.
    pub(super) hedge: Option<Duration>,
}

impl Exchange {
    /// Bounds the request by its rule, by what it asks for itself, and by the budget it has.
    pub(super) fn bound(&mut self, forward: &Forward, head: &Parts) -> Result<(), LocalReply> {
        let (mut timeout, mut per_try) =
            (forward.timeout, forward.retry.as_ref().and_then(|retry| retry.per_try_timeout));
        if let Some(policy) = head.extensions.get::<RequestPolicy>() {
            (timeout, per_try) = (policy.timeout.or(timeout), policy.per_try_timeout.or(per_try));
            self.ask(policy, forward, head);
        }
        // What comes in is tried once, however long that takes.
        let per_try = per_try.filter(|_| !self.inbound);
        self.deadline = Deadline::new(timeout, per_try, self.asked.grpc, &head.headers);
        // What comes in has a caller who counts the time; it is for what goes out from here.
        match head.extensions.get::<DeadlineBudget>().filter(|_| !self.inbound) {
            Some(budget) if budget.is_spent() => Err(self.expired(Expired::Request)),
            Some(budget) => {
                self.deadline.end_by(budget.deadline());
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// What the request asks for beside its timeouts.
    fn ask(&mut self, policy: &RequestPolicy, forward: &Forward, head: &Parts) {
        let RequestPolicy { retries, hash, idempotent, hedge_after, .. } = *policy;
        self.hash = hash;
        if retries.is_some() || idempotent.is_some() || hedge_after.is_some() {
            let retry = retries.map(|attempts| match attempts {
                // Nothing is to be tried again: there is no limit to meet.
                0 => RetryPolicy { attempts, on: RetryOn::NOTHING, ..RetryPolicy::default() },
                _ => RetryPolicy { attempts, ..forward.retry.clone().unwrap_or_default() },
            });
            let repeats = idempotent.unwrap_or_else(|| head.method.is_idempotent()) && !is_upgrade(head);
            let hedge = hedge_after.filter(|_| repeats && !self.inbound);
            self.set_asks(Asks { retry, idempotent, hedge });
        }
    }
}
