//! What came of a try: [`Ended`].

use http::Response;

use super::deadline::Expired;
use super::local_reply::LocalReply;
use crate::error::BoxError;
use crate::outcome::Failure;

/// What came of a try.
pub(super) enum Ended<R> {
    Answer(Response<R>),
    /// With the failure that it is.
    Error(BoxError, Failure),
    Expired(Expired),
    /// No try could be made.
    Refused(LocalReply),
}
