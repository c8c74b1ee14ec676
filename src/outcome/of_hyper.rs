//! Which [`Failure`] an error of hyper is. Types and kinds decide, never texts.

use std::error::Error;
use std::io::{self, ErrorKind};

use super::Failure;

/// From the outside in: what hyper knows itself, then what it hit.
pub(crate) fn of_hyper(error: &hyper::Error) -> Failure {
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
        return of_hyper(cause);
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

/// The same of an exchange that came to no answer. An error of I/O is that of what carries it, whatever kind is left of
/// it: those that hyper makes itself are of bodies, and what h2 says stands in one of its own.
pub(crate) fn of_unanswered(error: &hyper::Error) -> Failure {
    match error.source() {
        Some(cause) if cause.is::<io::Error>() && !error.is_user() => Failure::ConnectionTermination,
        _ => of_hyper(error),
    }
}

fn classify_http2(error: &h2::Error) -> Failure {
    // What carries HTTP/2 broke off. Of that h2 keeps no more than the kind; what is wrong with HTTP/2 it says itself.
    if error.is_io() {
        return Failure::ConnectionTermination;
    }
    // A stream beyond the last one that a GOAWAY names was not looked at, as with REFUSED_STREAM.
    let unprocessed = error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM));
    if unprocessed {
        Failure::RefusedStream
    } else if error.is_remote() && error.reason() == Some(h2::Reason::PROTOCOL_ERROR) {
        Failure::ProtocolError
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
