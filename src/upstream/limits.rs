//! What a cluster admits at a time: [`Limits`] and the [`Permit`]s they give.

use std::num::NonZeroU32;
use std::sync::Arc;

#[cfg(feature = "client")]
use tokio::sync::Semaphore;

use super::atomics::Gauge;
use super::budget::{Begun, RetryBudget};

/// How much of a cluster may be in use at a time, by this process (`connectionPool` and `retryBudget` of a
/// DestinationRule). Each is without limit if nothing is said, or 0 is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LimitSettings {
    /// Connections (`tcp.maxConnections`).
    pub connections: Option<NonZeroU32>,
    /// Requests that wait for a connection, over HTTP/1 and HTTP/2 (`http.http1MaxPendingRequests`).
    pub pending: Option<NonZeroU32>,
    /// Requests on a connection, over HTTP/1 and HTTP/2 (`http.http2MaxRequests`).
    pub requests: Option<NonZeroU32>,
    /// Retries, their back-off included (`http.maxRetries`).
    pub retries: Option<NonZeroU32>,
    /// Retries, by how many requests there are, in place of `retries` (`retryBudget`).
    pub retry_budget: Option<RetryBudget>,
}

/// What a cluster admits at a time.
///
/// All limits are those of the whole cluster in this process, not of one endpoint or client. They are counted under
/// the cluster's key and go on over reloads. What has no limit is not counted, so that nobody pays for it: where a
/// reload brings a limit, it counts from then on. Connections that were opened under another limit of connections are
/// not kept: those that are idle are closed, the others when their requests are done.
#[derive(Debug)]
pub struct Limits {
    settings: LimitSettings,
    counts: Arc<Counts>,
    begun: Option<Begun>,
}

/// What is in use, shared by all settings that a cluster's key has had.
#[derive(Debug, Default)]
pub(super) struct Counts {
    #[cfg(feature = "client")]
    lookups: Lookups,
    connections: Gauge,
    pending: Gauge,
    requests: Gauge,
    retries: Gauge,
}

/// How many names that requests bring may be looked up at a time: the system's resolver has a thread for each, for as
/// long as the name's server likes, and other clusters need some too.
#[cfg(feature = "client")]
const LOOKUPS: usize = 64;

#[cfg(feature = "client")]
#[derive(Debug)]
struct Lookups(Arc<Semaphore>);

#[cfg(feature = "client")]
impl Default for Lookups {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LOOKUPS)))
    }
}

/// What of a cluster is in use, as far as it is [counted](Limits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InUse {
    /// Connections.
    pub connections: u64,
    /// Requests that wait for a connection.
    pub pending: u64,
    /// Requests on a connection.
    pub requests: u64,
    /// Retries.
    pub retries: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Connection,
    Pending,
    Request,
    Retry,
}

impl Limits {
    pub(super) fn new(settings: LimitSettings, counts: Arc<Counts>) -> Self {
        let begun = settings.retry_budget.as_ref().and_then(Begun::of);
        Self { settings, counts, begun }
    }

    /// The limits.
    pub fn settings(&self) -> &LimitSettings {
        &self.settings
    }

    /// Admits a request to a connection, at the moment it gets one. `None`: there are `http2MaxRequests` already
    /// ([`Failure::Overflow`](crate::outcome::Failure::Overflow)).
    ///
    /// The permit is held until the answer has ended.
    pub fn request(self: &Arc<Self>) -> Option<Permit> {
        let permit = self.request_again()?;
        if let Some(begun) = &self.begun {
            begun.add();
        }
        Some(permit)
    }

    /// The same for a request that was admitted before and gave its place back to wait for a connection: to a budget
    /// with an interval it is the one that began then.
    pub fn request_again(self: &Arc<Self>) -> Option<Permit> {
        self.take(Kind::Request, self.settings.requests)
    }

    /// Admits a request to the queue for a connection. `None`: there are `http1MaxPendingRequests` already
    /// ([`Failure::Overflow`](crate::outcome::Failure::Overflow)).
    ///
    /// A request for which a connection is idle never waits and needs none. One for which a connection must be opened
    /// waits for it. Once it has its connection it needs [`Self::request`]; then this permit is dropped.
    pub fn pending(self: &Arc<Self>) -> Option<Permit> {
        self.take(Kind::Pending, self.settings.pending)
    }

    /// Admits a connection, for as long as it is open. `None`: there are `maxConnections` already, and the request
    /// waits for one of them.
    ///
    /// The `first` connection to an endpoint is always admitted, so that no endpoint is shut out by the others; there
    /// may be more connections than the limit then, by as many as there are endpoints.
    pub fn connection(self: &Arc<Self>, first: bool) -> Option<Permit> {
        let limit = self.settings.connections;
        if first && limit.is_some() {
            self.counts.connections.add();
            return Some(self.permit(Kind::Connection));
        }
        self.take(Kind::Connection, limit)
    }

    /// Admits a retry. `None`: there are `maxRetries` already, or as many as the budget allows; the answer that was to
    /// be retried stands, and nothing failed but the flag `UO` is added.
    ///
    /// The permit is taken when a retry is decided on, before its back-off, and dropped when that try is over.
    pub fn retry(self: &Arc<Self>) -> Option<Permit> {
        self.retry_beside(0)
    }

    /// The same where a budget counts so many requests beside those in use.
    pub(crate) fn retry_beside(self: &Arc<Self>, others: u64) -> Option<Permit> {
        let Some(budget) = &self.settings.retry_budget else { return self.take(Kind::Retry, self.settings.retries) };
        let requests = match &self.begun {
            Some(begun) => begun.count(),
            None => self.counts.requests.count() + self.counts.pending.count() + others,
        };
        self.counts.retries.try_add(budget.allows(requests)).then(|| self.permit(Kind::Retry))
    }

    /// Whose turn it is to look a name up.
    #[cfg(feature = "client")]
    pub(crate) fn lookups(&self) -> &Arc<Semaphore> {
        &self.counts.lookups.0
    }

    /// What is in use now, as far as it is counted.
    pub fn in_use(&self) -> InUse {
        InUse {
            connections: self.counts.connections.count(),
            pending: self.counts.pending.count(),
            requests: self.counts.requests.count(),
            retries: self.counts.retries.count(),
        }
    }

    fn take(self: &Arc<Self>, kind: Kind, limit: Option<NonZeroU32>) -> Option<Permit> {
        match limit {
            Some(limit) => self.gauge(kind).try_add(limit.get().into()).then(|| self.permit(kind)),
            // The budget is a share of them.
            None if self.settings.retry_budget.is_some() && matches!(kind, Kind::Pending | Kind::Request) => {
                self.gauge(kind).add();
                Some(self.permit(kind))
            }
            None => Some(Permit { counted: None }),
        }
    }

    fn permit(self: &Arc<Self>, kind: Kind) -> Permit {
        Permit { counted: Some((Arc::clone(self), kind)) }
    }

    fn gauge(&self, kind: Kind) -> &Gauge {
        match kind {
            Kind::Connection => &self.counts.connections,
            Kind::Pending => &self.counts.pending,
            Kind::Request => &self.counts.requests,
            Kind::Retry => &self.counts.retries,
        }
    }
}

/// Leave to use something of a cluster, given back when it is dropped.
#[derive(Debug)]
#[must_use = "it is given back when it is dropped"]
pub struct Permit {
    /// `None`: it has no limit and is not counted.
    counted: Option<(Arc<Limits>, Kind)>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some((limits, kind)) = &self.counted else { return };
        limits.gauge(*kind).sub();
    }
}
