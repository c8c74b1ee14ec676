//! What one try came to: the word shared by local replies, retries and outlier detection.
//!
//! ```
//! use mesh_router::outcome::Failure;
//!
//! assert_eq!(Failure::ConnectTimeout.reason(), "connection timeout");
//! ```

use http::StatusCode;

/// What one try came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The upstream answered with this status.
    Status(StatusCode),
    /// No answer came.
    Failure(Failure),
}

/// Why no answer came, in Envoy's classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// The connection was refused or failed, TLS included (flag `UF`).
    ConnectRefused,
    /// The connection could not be opened on this side (flag `UF`).
    ConnectLocal,
    /// The connection was not open within `connectTimeout` (flag `UF`).
    ConnectTimeout,
    /// The upstream closed the connection before it answered (flag `UC`).
    ConnectionTermination,
    /// The upstream reset the stream (flag `UR`).
    RemoteReset,
    /// The upstream refused the stream unprocessed (flag `UR`).
    RefusedStream,
    /// This side reset the stream (flag `LR`).
    LocalReset,
    /// The upstream did not speak HTTP (flag `UPE`).
    ProtocolError,
    /// A limit of `connectionPool` was reached (flag `UO`).
    Overflow,
    /// The try took longer than `perTryTimeout` (flag `UT`).
    PerTryTimeout,
    /// The request took longer than the `timeout` of its route (flag `UT`).
    Timeout,
}

impl Failure {
    /// Whether no byte of the request can have reached the upstream.
    pub fn is_before_request(self) -> bool {
        matches!(self, Failure::ConnectRefused | Failure::ConnectLocal | Failure::ConnectTimeout | Failure::Overflow)
    }

    /// Envoy's words for the reset reason in the body of the local reply.
    pub fn reason(self) -> &'static str {
        match self {
            Failure::ConnectRefused => "remote connection failure",
            Failure::ConnectLocal => "local connection failure",
            Failure::ConnectTimeout => "connection timeout",
            Failure::ConnectionTermination => "connection termination",
            Failure::RemoteReset => "remote reset",
            Failure::RefusedStream => "remote refused stream reset",
            Failure::LocalReset => "local reset",
            Failure::ProtocolError => "protocol error",
            Failure::Overflow => "overflow",
            Failure::PerTryTimeout | Failure::Timeout => "local reset",
        }
    }
}

/// An error that says which [`Failure`] it is; a transport wraps its errors in it.
///
/// The classifier walks the sources of an error for it, so it may stand anywhere in the chain.
#[derive(Debug)]
pub struct FailureError {
    failure: Failure,
    source: crate::error::BoxError,
}

impl FailureError {
    /// Says that `source` is a `failure`.
    pub fn new(failure: Failure, source: impl Into<crate::error::BoxError>) -> Self {
        Self { failure, source: source.into() }
    }

    /// Which failure it is.
    pub fn failure(&self) -> Failure {
        self.failure
    }
}

impl std::fmt::Display for FailureError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.failure.reason())
    }
}

impl std::error::Error for FailureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.source.as_ref())
    }
}
