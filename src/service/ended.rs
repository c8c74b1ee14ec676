//! What came of a try: [`Ended`].

use http::Response;

use super::deadline::Expired;
use super::local_reply::LocalReply;
use crate::error::BoxError;

/// What came of a try.
pub(super) enum Ended<R> {
    Answer(Response<R>),
    Error(BoxError),
    Expired(Expired),
    /// No try could be made.
    Refused(LocalReply),
}

impl<R> Ended<R> {
    pub(super) fn of<E: Into<BoxError>>(result: Result<Response<R>, E>) -> Self {
        match result {
            Ok(response) => Self::Answer(response),
            Err(error) => Self::Error(error.into()),
        }
    }
}
