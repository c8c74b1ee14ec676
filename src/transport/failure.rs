//! Which [`Failure`] an error is. Types and kinds decide, never texts.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use super::connect::Target;
use crate::outcome::{Failure, FailureError};

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

/// The transport went away under a request that waited.
pub(super) fn of_lost_turn() -> FailureError {
    FailureError::new(Failure::ConnectLocal, "the transport was taken down")
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

/// Whether no packet left for want of something on this side: addresses, ports, descriptors, memory.
fn is_local(error: &io::Error) -> bool {
    /// `ENFILE` and `EMFILE`, the same on every unix; they have no kind of their own.
    const NO_DESCRIPTORS: [i32; 2] = [23, 24];

    matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse | ErrorKind::OutOfMemory)
        || cfg!(unix) && error.raw_os_error().is_some_and(|code| NO_DESCRIPTORS.contains(&code))
}

/// A request was sent, or about to be, and no answer came.
pub(super) fn of_exchange(error: hyper::Error) -> FailureError {
    FailureError::new(classify(&error), error)
}

/// From the outside in: what hyper knows itself, then what it hit.
fn classify(error: &hyper::Error) -> Failure {
    if error.is_parse() {
        return Failure::ProtocolError;
    }
    // The application's body failed, or it went away. What is below is not about this connection.
    if error.is_user() {
        return Failure::LocalReset;
    }
    // Not sent any more, because of what is below: for example bytes that came before it.
    if error.is_canceled()
        && let Some(cause) = error.source().and_then(|cause| cause.downcast_ref())
    {
        return classify(cause);
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() || error.is_timeout() {
        return Failure::ConnectionTermination;
    }
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return classify_http2(error);
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return classify_io(error);
        }
        source = error.source();
    }
    // What is left is an unexpected message: bytes that nobody had asked for.
    Failure::ProtocolError
}

fn classify_http2(error: &h2::Error) -> Failure {
    if let Some(error) = error.get_io() {
        return classify_io(error);
    }
    // A stream beyond the last one that a GOAWAY names was not looked at, as with REFUSED_STREAM.
    let unprocessed = error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM));
    if unprocessed {
        Failure::RefusedStream
    } else if error.is_remote() {
        Failure::RemoteReset
    } else if error.is_library() {
        Failure::ProtocolError
    } else {
        Failure::LocalReset
    }
}

fn classify_io(error: &io::Error) -> Failure {
    // The other side's last word, such as that it does not take our certificate.
    #[cfg(feature = "tls")]
    if error.get_ref().is_some_and(|error| error.is::<rustls::Error>()) {
        return Failure::ConnectionTermination;
    }
    match error.kind() {
        ErrorKind::InvalidData | ErrorKind::InvalidInput => Failure::ProtocolError,
        _ => Failure::ConnectionTermination,
    }
}
