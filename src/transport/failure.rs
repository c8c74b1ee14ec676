//! Which [`Failure`] an error is. Types and kinds decide, never texts.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use super::connect::Target;
use crate::outcome::{Failure, FailureError, is_local, of_hyper, of_unanswered};

/// No connection, and to where.
#[derive(Debug)]
struct ConnectError {
    target: Box<str>,
    source: io::Error,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no connection to {}", self.target)
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// One error that several requests came to that waited for the same connection.
#[derive(Debug)]
struct SharedError(Arc<FailureError>);

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection waited for was not opened")
    }
}

impl Error for SharedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// The error of an attempt for one of those who waited for it; the last gets the error itself.
pub(super) fn shared(error: Arc<FailureError>) -> FailureError {
    Arc::try_unwrap(error).unwrap_or_else(|error| FailureError::new(error.failure(), SharedError(error)))
}

/// A limit of the cluster has been reached.
pub(super) fn of_overflow(what: &'static str) -> FailureError {
    FailureError::new(Failure::Overflow, what)
}

/// The cluster admits no more requests to its connections.
pub(super) fn of_full_cluster() -> FailureError {
    of_overflow("too many requests are under way")
}

/// The transport went away under a request that waited.
pub(super) fn of_lost_turn() -> FailureError {
    FailureError::new(Failure::ConnectLocal, "the transport was taken down")
}

/// The attempt to open a connection was dropped.
pub(super) fn of_lost_attempt() -> FailureError {
    FailureError::new(Failure::ConnectLocal, "the attempt to open a connection broke off")
}

/// The connection to `target` could not be opened.
pub(super) fn of_connect(target: &Target, error: io::Error) -> FailureError {
    let failure = if is_local(&error) {
        Failure::ConnectLocal
    } else if error.kind() == ErrorKind::TimedOut {
        Failure::ConnectTimeout
    } else {
        Failure::ConnectRefused
    };
    FailureError::new(failure, ConnectError { target: target.to_string().into(), source: error })
}

/// The connection to `target` was not open within `limit`.
pub(super) fn of_connect_timeout(target: &Target, limit: Duration) -> FailureError {
    let source = io::Error::new(ErrorKind::TimedOut, format!("not open within {limit:?}"));
    FailureError::new(Failure::ConnectTimeout, ConnectError { target: target.to_string().into(), source })
}

/// The name of `target` had no turn to be looked up within `limit`: that says nothing of it.
pub(super) fn of_late_turn(target: &Target, limit: Duration) -> FailureError {
    let why = format!("no turn to be looked up within {limit:?}, for too many names are");
    let source = io::Error::new(ErrorKind::TimedOut, why);
    FailureError::new(Failure::Overflow, ConnectError { target: target.to_string().into(), source })
}

/// The proxy `target` was reached, and what it was asked to lead to was not within `limit`: that says nothing of it.
pub(super) fn of_unanswered_tunnel(target: &Target, limit: Duration) -> FailureError {
    let source = io::Error::new(ErrorKind::TimedOut, format!("it did not lead on within {limit:?}"));
    FailureError::new(Failure::LocalReset, ConnectError { target: target.to_string().into(), source })
}

/// An answer came that says its length in more than one way.
pub(super) fn of_unsound_answer() -> FailureError {
    FailureError::new(Failure::ProtocolError, "the answer says its length in more than one way")
}

/// An answer came that changes the protocol of a connection, for which nobody had asked.
pub(super) fn of_unasked_switch() -> FailureError {
    FailureError::new(Failure::ProtocolError, "the answer switches protocols unasked")
}

/// An answer of HTTP/2 came with more lines than one may have: Envoy says no more of it than that its stream was reset.
pub(super) fn of_long_head() -> FailureError {
    FailureError::new(Failure::RemoteReset, "the head of the answer has too many lines")
}

/// A body was reset without an error, before its end.
pub(super) fn of_cut_body() -> FailureError {
    FailureError::new(Failure::RemoteReset, "the stream was reset before the end of its body")
}

/// A request was sent, and the connection ended; something had come of an answer, or nothing but announcements of one.
pub(super) fn of_answer(error: hyper::Error, heard: bool) -> FailureError {
    match of_hyper(&error) {
        // What has begun and does not go on is no HTTP.
        Failure::ConnectionTermination if heard => FailureError::new(Failure::ProtocolError, error),
        failure => FailureError::new(failure, error),
    }
}

/// A request was to be sent on a connection that is closed, and nobody had asked for its body.
///
/// The next request of a connection that is closing waits in hyper for a stream to be opened for it, and falls with the
/// task that would have done it. No byte of it was written, as with those behind it, but it does not come back.
pub(super) fn of_unopened(error: hyper::Error) -> FailureError {
    if error.is_user() { FailureError::new(Failure::RefusedStream, error) } else { of_stream(error) }
}

/// The same as of an exchange, of one over HTTP/2.
pub(super) fn of_stream(error: hyper::Error) -> FailureError {
    FailureError::new(of_unanswered(&error), error)
}

/// A request was sent, or about to be, and no answer came.
pub(super) fn of_exchange(error: hyper::Error) -> FailureError {
    FailureError::new(of_hyper(&error), error)
}
