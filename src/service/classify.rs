//! Which of Envoy's failures an error is: by the types in its chain of sources, never by its text.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::body_error::BodyError;
use crate::outcome::{Failure, FailureError};

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

/// The failure that `error` is.
///
/// The first [`FailureError`] in the chain decides, else the first error of hyper, of the request's own body, or
/// `io::Error` whose kind says something; an error that says nothing counts as a reset by the other side.
pub(super) fn failure(error: &(dyn Error + 'static)) -> Failure {
    let mut known = None;
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<FailureError>() {
            return error.failure();
        }
        if known.is_none() {
            known = of_type(error);
        }
        next = error.source();
        // An io::Error shows the source of the error in it, not that error.
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            next = Some(inner);
        }
    }
    known.unwrap_or(Failure::RemoteReset)
}

/// What the type of one error says, whatever its sources are.
fn of_type(error: &(dyn Error + 'static)) -> Option<Failure> {
    // That of a client which is not ours, such as hyper-util's.
    #[cfg(any(feature = "client", feature = "reqwest"))]
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return Some(crate::outcome::of_hyper(error));
    }
    // Of the body that the client was given to send, not of an answer that came through another layer of ours.
    if error.downcast_ref().is_some_and(BodyError::is_of_request) {
        return Some(Failure::LocalReset);
    }
    error.downcast_ref::<io::Error>().and_then(|error| io_failure(error.kind()))
}

fn io_failure(kind: io::ErrorKind) -> Option<Failure> {
    use io::ErrorKind::*;
    Some(match kind {
        ConnectionRefused | HostUnreachable | NetworkUnreachable | NotFound | PermissionDenied => {
            Failure::ConnectRefused
        }
        AddrInUse | AddrNotAvailable | NetworkDown => Failure::ConnectLocal,
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
    }

    #[test]
    fn the_body_of_the_request_is_nobody_elses_failure() {
        let broken = || BodyError::of_request(io::Error::from(io::ErrorKind::ConnectionReset));
        assert_eq!(failure(&Layer(Box::new(broken()))), Failure::LocalReset);
        // However many layers it went through.
        assert_eq!(failure(&BodyError::of_request(BodyError::new(broken()))), Failure::LocalReset);
        assert_eq!(failure(&BodyError::new(broken())), Failure::LocalReset);
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
