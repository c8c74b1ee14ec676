//! What ends with a request.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;

use super::admission::Admission;
use super::body_error::BodyError;
use super::classify;
use super::local_reply::failure_reply;
use crate::outcome::{Failure, Outcome};
use crate::telemetry::{RequestRecord, ResponseFlags};
use crate::upstream::{Cluster, Picked};

/// What a try holds of its cluster.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) picked: Picked,
    pub(super) admission: Admission,
}

impl Taken {
    /// Tells outlier detection what the try came to.
    pub(super) fn report(&self, cluster: &Cluster, outcome: Outcome) {
        cluster.report_try(self.picked.endpoint(), outcome, self.admission.before());
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // A transport may still hold the other end of it.
        self.admission.release();
    }
}

/// A request whose answer came before its own end, as far as that answer has to know of it: nothing of it is held.
#[derive(Clone, Debug)]
pub(super) struct Unfinished(Arc<AtomicBool>);

impl Unfinished {
    /// One that broke off, or has not yet.
    pub(super) fn new(broken: bool) -> Self {
        Self(Arc::new(AtomicBool::new(broken)))
    }

    /// Its body breaks off. Whoever is told of that is told afterwards.
    pub(super) fn break_off(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_broken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Held from the answer until the body has ended; its drop is the end of the request.
#[derive(Debug)]
pub(super) struct Completion {
    pub(super) taken: Option<Taken>,
    pub(super) record: Option<RequestRecord>,
    /// Whose outlier detection is told of a body that breaks off.
    pub(super) cluster: Option<Arc<Cluster>>,
    /// How many bytes of the body a client on a connection of its own waits for, and went away if it is given up before
    /// them; [`UNTOLD`](Self::UNTOLD): it waits for its end.
    pub(super) awaited: u64,
    /// The request, if there was more of it to come: what breaks off with that is no fault of the endpoint.
    pub(super) request: Option<Unfinished>,
}

impl Completion {
    /// Nobody said how many there are.
    pub(super) const UNTOLD: u64 = u64::MAX;

    pub(super) fn new(taken: Option<Taken>, record: Option<RequestRecord>) -> Self {
        Self { taken, record, cluster: None, awaited: 0, request: None }
    }

    /// The body failed, after a head that may have been good.
    pub(super) fn broke_off(mut self, error: &BodyError) {
        let failure = if error.is_timeout() {
            Failure::Timeout
        } else if self.request.as_ref().is_some_and(Unfinished::is_broken) {
            Failure::LocalReset
        } else {
            error.source().map_or(Failure::RemoteReset, classify::failure)
        };
        self.cut_off(match failure {
            Failure::LocalReset if self.awaited > 0 => ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION,
            failure => failure_reply(failure).1,
        });
        // A timeout here is the rule's, and says nothing of the endpoint once it has answered.
        if let Some((cluster, taken)) = self.cluster.as_ref().zip(self.taken.as_ref()).filter(|_| !error.is_timeout()) {
            taken.report(cluster, Outcome::Failure(failure));
        }
    }

    /// So many bytes of the body came. Whoever sends one of a known length asks neither for more nor for its end.
    pub(super) fn came(&mut self, bytes: usize) {
        self.awaited = self.awaited.saturating_sub(bytes as u64);
    }

    /// The body came to its end.
    pub(super) fn ended(mut self) {
        self.awaited = 0;
    }

    fn cut_off(&mut self, flags: ResponseFlags) {
        self.awaited = 0;
        if let Some(record) = &mut self.record {
            record.add_flags(flags);
        }
    }

    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(record) = &mut self.record {
            record.trailers(trailers);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if self.awaited > 0 {
            self.cut_off(ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION);
        }
    }
}
