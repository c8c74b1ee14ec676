//! Why a body broke off: [`BodyError`].
//!
//! ```
//! use mesh_router::service::BodyError;
//!
//! let error = BodyError::new(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
//! assert!(!error.is_timeout());
//! assert!(std::error::Error::source(&error).is_some());
//! assert!(error.into_source().is::<std::io::Error>());
//! ```

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::LazyLock;

use crate::error::BoxError;

/// Why a body of a request or response broke off: the error of the body it was made of, or what the rules did to it.
#[derive(Debug)]
pub struct BodyError {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Inner(BoxError),
    /// The same of a request on its way.
    Request(BoxError),
    Timeout,
    Superseded,
    Lagging,
    BrokenOff,
}

impl BodyError {
    /// The error of an inner body, which becomes the source.
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self { kind: Kind::Inner(error.into()) }
    }

    /// The error of the body of a request, which becomes the source: not that of an answer, whoever hands that on.
    pub(super) fn of_request(error: impl Into<BoxError>) -> Self {
        Self { kind: Kind::Request(error.into()) }
    }

    /// The route's timeout passed after the head of the response had been sent (Envoy resets the stream).
    pub(super) fn timeout() -> Self {
        Self { kind: Kind::Timeout }
    }

    /// The try that read it was given up.
    pub(super) fn superseded() -> Self {
        Self { kind: Kind::Superseded }
    }

    /// A mirror did not keep up with the request it copies.
    pub(super) fn lagging() -> Self {
        Self { kind: Kind::Lagging }
    }

    /// It broke off while another try read it.
    pub(super) fn broken_off() -> Self {
        Self { kind: Kind::BrokenOff }
    }

    /// The error that it was made of; itself if it says what the rules did.
    pub fn into_source(self) -> BoxError {
        match self.kind {
            Kind::Inner(error) | Kind::Request(error) => error,
            Kind::Timeout | Kind::Superseded | Kind::Lagging | Kind::BrokenOff => self.into(),
        }
    }

    /// Whether it was the body of a request, which this side sends.
    pub(super) fn is_of_request(&self) -> bool {
        match self.kind {
            Kind::Request(_) | Kind::Superseded | Kind::Lagging | Kind::BrokenOff => true,
            Kind::Inner(_) | Kind::Timeout => false,
        }
    }

    /// Whether it was the timeout of the route (`http[].timeout`). Its source is then an `io::Error` that says so too.
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind, Kind::Timeout)
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Inner(_) | Kind::Request(_) | Kind::BrokenOff => "the body broke off",
            Kind::Timeout => "the timeout of the route passed before the response was complete",
            Kind::Superseded => "the try that sent the body was given up",
            Kind::Lagging => "the mirror did not keep up with the request",
        })
    }
}

impl Error for BodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            Kind::Inner(error) | Kind::Request(error) => Some(error.as_ref()),
            Kind::Timeout => Some(timed_out()),
            Kind::Superseded | Kind::Lagging | Kind::BrokenOff => None,
        }
    }
}

/// The source of a timeout of the rules, for those who look for an error of this kind, as reqwest does.
pub(super) fn timed_out() -> &'static io::Error {
    static TIMED_OUT: LazyLock<io::Error> = LazyLock::new(|| io::ErrorKind::TimedOut.into());
    &TIMED_OUT
}
