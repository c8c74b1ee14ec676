//! Which of Envoy's failures an error is: by the types in its chain of sources, never by its text.

use std::error::Error;
use std::fmt;
use std::io;
use std::iter;
use std::ptr;
use std::sync::Arc;

#[cfg(feature = "hyper-util-client")]
use hyper_util::client::legacy;

use super::body_error::{BodyError, timed_out};
use crate::outcome::{Failure, FailureError, is_local};

type Classify = dyn Fn(&(dyn Error + Send + Sync + 'static)) -> Option<Failure> + Send + Sync;

/// What an application says about the errors of its client.
#[derive(Clone)]
pub(super) struct Classifier(Arc<Classify>);

impl Classifier {
    pub(super) fn new(
        classify: impl Fn(&(dyn Error + Send + Sync + 'static)) -> Option<Failure> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(classify))
    }

    /// What it says; a classifier that panics has said nothing.
    pub(super) fn classify(&self, error: &(dyn Error + Send + Sync + 'static)) -> Option<Failure> {
        let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (self.0)(error)));
        said.unwrap_or_else(|_| {
            tracing::error!("the classifier of errors panicked; the types of the error decide");
            None
        })
    }
}

impl fmt::Debug for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Classifier")
    }
}

/// The failure that `error` is: what the application's classifier says, else what its types say.
pub(super) fn failure_by(classifier: Option<&Classifier>, error: &(dyn Error + Send + Sync + 'static)) -> Failure {
    classifier.and_then(|classifier| classifier.classify(error)).unwrap_or_else(|| failure(error))
}

/// The failure that `error` is by its types.
///
/// The first [`FailureError`] in the chain decides, or the error of the request's own body, whatever that is made of; else
/// the first error of hyper, or `io::Error` whose kind says something. An error that says nothing counts as a reset by
/// the other side. Of hyper-util's client it is also known whether it came to a connection.
pub(super) fn failure(error: &(dyn Error + 'static)) -> Failure {
    let (mut known, mut connecting) = (None, false);
    for error in iter::successors(Some(error), |error| below(*error)) {
        if let Some(error) = error.downcast_ref::<FailureError>() {
            return error.failure();
        }
        // Of the body that the client was given to send, not of an answer that came through another layer of ours. What
        // is below it, as where it relays such an answer, happened to somebody else.
        if error.downcast_ref().is_some_and(BodyError::is_of_request) {
            return Failure::LocalReset;
        }
        if known.is_none() {
            connecting |= is_connecting(error);
            known = of_type(error);
        }
    }
    match connecting {
        // Whatever was hit on the way to a connection, none came about.
        true => known.filter(|failure| failure.is_connect()).unwrap_or(Failure::ConnectRefused),
        false => known.unwrap_or(Failure::RemoteReset),
    }
}

/// Why the other side had no connection, as far as it says always the same of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoConnection {
    Refused,
    NoRoute,
}

/// What the types of an error say of a connection that did not come about.
pub(super) fn no_connection(error: &(dyn Error + 'static)) -> Option<NoConnection> {
    iter::successors(Some(error), |error| below(*error)).find_map(|error| {
        match error.downcast_ref::<io::Error>()?.kind() {
            io::ErrorKind::ConnectionRefused => Some(NoConnection::Refused),
            io::ErrorKind::HostUnreachable => Some(NoConnection::NoRoute),
            _ => None,
        }
    })
}

/// The error that one stands for: what an `io::Error` wraps is not its source.
fn below<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// Whether hyper-util's client says by this error that it did not come to a connection.
#[cfg(feature = "hyper-util-client")]
fn is_connecting(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref().is_some_and(legacy::Error::is_connect)
}

#[cfg(not(feature = "hyper-util-client"))]
fn is_connecting(_: &(dyn Error + 'static)) -> bool {
    false
}

/// What the type of one error says, whatever its sources are.
fn of_type(error: &(dyn Error + 'static)) -> Option<Failure> {
    // That of a client which is not ours, such as hyper-util's.
    #[cfg(any(feature = "client", feature = "reqwest"))]
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return Some(crate::outcome::of_hyper(error));
    }
    #[cfg(feature = "hyper-util-client")]
    if let Some(error) = error.downcast_ref::<legacy::Error>().filter(|error| !error.is_connect()) {
        return match error.source() {
            // It does not send such a request, as one of HTTP/2 over HTTP/1.1.
            None => Some(Failure::LocalReset),
            Some(cause) => cause.downcast_ref().map(crate::outcome::of_unanswered),
        };
    }
    // A timeout of the rules was none of a connection.
    error.downcast_ref::<io::Error>().filter(|error| !ptr::eq(*error, timed_out())).and_then(io_failure)
}

fn io_failure(error: &io::Error) -> Option<Failure> {
    use io::ErrorKind::*;
    Some(match error.kind() {
        _ if is_local(error) => Failure::ConnectLocal,
        ConnectionRefused | HostUnreachable | NetworkUnreachable | NetworkDown | NotFound | PermissionDenied => {
            Failure::ConnectRefused
        }
        TimedOut => Failure::ConnectTimeout,
        ConnectionReset | ConnectionAborted | BrokenPipe | NotConnected | UnexpectedEof => {
            Failure::ConnectionTermination
        }
        InvalidData => Failure::ProtocolError,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;
    use crate::error::BoxError;

    #[derive(Debug)]
    struct Layer(BoxError);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("connection timeout, refused, reset: text that must not be read")
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(self.0.as_ref())
        }
    }

    #[test]
    fn a_failure_anywhere_in_the_chain_decides() {
        let inner = FailureError::new(Failure::RefusedStream, io::Error::from(io::ErrorKind::TimedOut));
        let error = Layer(Box::new(io::Error::new(io::ErrorKind::BrokenPipe, Layer(Box::new(inner)))));
        assert_eq!(failure(&error), Failure::RefusedStream);
    }

    #[test]
    fn the_outermost_kind_that_says_something_decides() {
        for (kind, expected) in [
            (io::ErrorKind::ConnectionRefused, Failure::ConnectRefused),
            (io::ErrorKind::AddrNotAvailable, Failure::ConnectLocal),
            (io::ErrorKind::TimedOut, Failure::ConnectTimeout),
            (io::ErrorKind::ConnectionReset, Failure::ConnectionTermination),
            (io::ErrorKind::UnexpectedEof, Failure::ConnectionTermination),
            (io::ErrorKind::InvalidData, Failure::ProtocolError),
            (io::ErrorKind::Other, Failure::RemoteReset),
        ] {
            assert_eq!(failure(&Layer(Box::new(io::Error::from(kind)))), expected, "{kind:?}");
        }
        let inner = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(failure(&io::Error::other(inner)), Failure::ConnectRefused);
        // No descriptors are left.
        let (none, memory) = (io::Error::from_raw_os_error(24), io::Error::from(io::ErrorKind::OutOfMemory));
        assert_eq!([none, memory].map(|error| failure(&Layer(Box::new(error)))), [Failure::ConnectLocal; 2]);
    }

    #[test]
    fn of_a_connection_that_was_refused_it_is_known_that_it_was() {
        use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
        let of = |kind| FailureError::new(Failure::ConnectRefused, Layer(Box::new(io::Error::from(kind))));
        assert_eq!(no_connection(&of(ConnectionRefused)), Some(NoConnection::Refused));
        assert_eq!(no_connection(&of(HostUnreachable)), Some(NoConnection::NoRoute));
        let wrapped = io::Error::other(io::Error::from(ConnectionRefused));
        assert_eq!(no_connection(&wrapped), Some(NoConnection::Refused));
        // Envoy adds the address, or what TLS says.
        assert_eq!(no_connection(&of(NetworkUnreachable)), None);
        assert_eq!(no_connection(&FailureError::new(Failure::ConnectRefused, "no TLS")), None);
    }

    #[test]
    fn the_body_of_the_request_is_nobody_elses_failure() {
        let broken = || BodyError::of_request(io::Error::from(io::ErrorKind::ConnectionReset));
        assert_eq!(failure(&Layer(Box::new(broken()))), Failure::LocalReset);
        // However many layers it went through.
        assert_eq!(failure(&BodyError::of_request(BodyError::new(broken()))), Failure::LocalReset);
        assert_eq!(failure(&BodyError::new(broken())), Failure::LocalReset);
        // Whatever it is made of.
        let answer =
            || FailureError::new(Failure::ConnectionTermination, io::Error::from(io::ErrorKind::UnexpectedEof));
        assert_eq!(failure(&Layer(Box::new(BodyError::of_request(BodyError::new(answer()))))), Failure::LocalReset);
        assert_eq!(failure(&BodyError::new(answer())), Failure::ConnectionTermination);
    }

    #[test]
    fn the_body_of_an_answer_is_what_broke_it_off() {
        let broken = |kind: io::ErrorKind| BodyError::new(BodyError::new(io::Error::from(kind)));
        assert_eq!(failure(&broken(io::ErrorKind::ConnectionReset)), Failure::ConnectionTermination);
        assert_eq!(failure(&broken(io::ErrorKind::Other)), Failure::RemoteReset);
        assert_eq!(failure(&BodyError::new(BodyError::timeout())), Failure::RemoteReset);
    }

    #[test]
    fn an_error_that_says_nothing_is_a_reset() {
        assert_eq!(failure(&Layer("timed out".into())), Failure::RemoteReset);
    }
}
