//! What came of a try: [`Ended`], and what of that is remembered.

use http::{Response, Version};

use super::completion::Taken;
use super::deadline::Expired;
use super::exchange::Exchange;
use super::local_reply::LocalReply;
use crate::error::BoxError;
use crate::outcome::{Failure, Outcome};
use crate::upstream::{Endpoint, Permit, Protocol};

/// What came of a try.
pub(super) enum Ended<R> {
    Answer(Response<R>),
    /// With the failure that it is.
    Error(BoxError, Failure),
    Expired(Expired),
    /// No try could be made.
    Refused(LocalReply),
}

impl Exchange {
    /// Remembers of a try that failed whether an endpoint may have had some of the request.
    pub(super) fn note(&mut self, outcome: Option<Outcome>) {
        if let Some(Outcome::Failure(failure)) = outcome {
            self.request_sent |= !failure.is_before_request();
        }
    }

    /// Remembers what was spoken in a try that is over.
    pub(super) fn note_spoken(&mut self, endpoint: &Endpoint, outcome: Option<Outcome>) {
        let connected = match outcome {
            Some(Outcome::Failure(failure)) => !failure.is_before_request(),
            outcome => outcome.is_some(),
        };
        self.spoken = connected.then(|| self.spoken_with(endpoint));
    }

    fn spoken_with(&self, endpoint: &Endpoint) -> Version {
        let of_client = self.version.filter(|version| *version == Version::HTTP_2).unwrap_or(Version::HTTP_11);
        match endpoint.connection().protocol {
            Protocol::Http2 => Version::HTTP_2,
            Protocol::SameAsDownstream => of_client,
            Protocol::Sniffed if self.listener.is_none() => of_client,
            Protocol::Http1 | Protocol::Sniffed => Version::HTTP_11,
        }
    }

    /// A place for a retry after a try that came to this. As in Envoy a budget counts that try as well, though it may have
    /// given its own place back, unless it was a stream of HTTP/2 that is over.
    pub(super) fn place_for_retry<R>(&self, taken: Option<&Taken>, ended: &Ended<R>) -> Option<Permit> {
        let limits = self.cluster.as_ref()?.limits();
        let Some(Taken { picked, admission }) = taken else { return limits.retry() };
        let is_stream = self.spoken_with(picked.endpoint()) == Version::HTTP_2;
        // An answer whose body is yet to come holds it, and what has no connection does not.
        let (is_held, is_answer) = (admission.is_held(), matches!(ended, Ended::Answer(_)));
        let counts = !is_stream || is_held == is_answer;
        if is_held && !counts {
            admission.release();
        }
        limits.retry_beside(u64::from(counts && !is_held))
    }
}
