//! What came of a try: [`Ended`], and what of that is remembered.

use http::{Response, Version};

use super::deadline::Expired;
use super::exchange::Exchange;
use super::local_reply::LocalReply;
use crate::error::BoxError;
use crate::outcome::{Failure, Outcome};
use crate::upstream::{Endpoint, Protocol};

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
        let of_client = self.version.filter(|version| *version == Version::HTTP_2).unwrap_or(Version::HTTP_11);
        self.spoken = connected.then(|| match endpoint.connection().protocol {
            Protocol::Http2 => Version::HTTP_2,
            Protocol::SameAsDownstream => of_client,
            Protocol::Sniffed if self.listener.is_none() => of_client,
            Protocol::Http1 | Protocol::Sniffed => Version::HTTP_11,
        });
    }
}
