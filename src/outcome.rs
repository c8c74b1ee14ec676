//! What one try came to: the word shared by local replies, retries and outlier detection.
//!
//! ```
//! use mesh_router::outcome::Failure;
//!
//! assert_eq!(Failure::ConnectTimeout.reason(), "connection timeout");
//! ```

#[cfg(any(feature = "client", feature = "reqwest"))]
mod of_hyper;

use std::io::{self, ErrorKind};
use std::str::FromStr;

use http::{HeaderMap, HeaderName, StatusCode};

#[cfg(any(feature = "client", feature = "reqwest"))]
pub(crate) use of_hyper::{of_hyper, of_unanswered};

/// What a gRPC call came to: in the trailers, or in the headers of an answer that is over with them.
pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The number of that status, if these headers or trailers have one.
pub(crate) fn grpc_number<N: FromStr>(headers: &HeaderMap) -> Option<N> {
    number(headers.get(&GRPC_STATUS)?.as_bytes())
}

/// A number as Envoy reads it in a header: white space around it, one `+` and zeros in front of it are no matter.
pub(crate) fn number<N: FromStr>(text: &[u8]) -> Option<N> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

/// The gRPC status that the status of an answer comes to where nobody names one.
pub(crate) fn grpc_status(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// Whether nothing left for want of something on this side: addresses, ports, descriptors, memory.
pub(crate) fn is_local(error: &io::Error) -> bool {
    /// `ENFILE` and `EMFILE`, the same on every unix; they have no kind of their own.
    const NO_DESCRIPTORS: [i32; 2] = [23, 24];

    matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse | ErrorKind::OutOfMemory)
        || cfg!(unix) && error.raw_os_error().is_some_and(|code| NO_DESCRIPTORS.contains(&code))
}

/// What one try came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The upstream answered with this status.
    Status(StatusCode),
    /// The upstream answered a gRPC request: the HTTP status that its gRPC status stands for, or that of the response
    /// if its headers name none.
    Grpc(StatusCode),
    /// No answer came.
    Failure(Failure),
}

impl Outcome {
    /// The outcome of a try that was answered; `grpc` says whether the request was gRPC.
    ///
    /// A gRPC status counts only if it stands in the headers, as in a response that is over with them. One in trailers
    /// is not seen, as in Envoy.
    pub fn of_answer(status: StatusCode, headers: &HeaderMap, grpc: bool) -> Self {
        if !grpc {
            return Outcome::Status(status);
        }
        match headers.get(&GRPC_STATUS) {
            None => Outcome::Grpc(status),
            Some(_) => Outcome::Grpc(http_status(grpc_number(headers))),
        }
    }
}

/// The HTTP status that a gRPC status stands for; what is no gRPC status is an internal error.
fn http_status(grpc: Option<u64>) -> StatusCode {
    match grpc {
        Some(0) => StatusCode::OK,
        // The client went away, which has no registered status.
        Some(1) => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Some(3 | 9 | 11) => StatusCode::BAD_REQUEST,
        Some(4) => StatusCode::GATEWAY_TIMEOUT,
        Some(5) => StatusCode::NOT_FOUND,
        Some(6 | 10) => StatusCode::CONFLICT,
        Some(7) => StatusCode::FORBIDDEN,
        Some(8) => StatusCode::TOO_MANY_REQUESTS,
        Some(12) => StatusCode::NOT_IMPLEMENTED,
        Some(14) => StatusCode::SERVICE_UNAVAILABLE,
        Some(16) => StatusCode::UNAUTHORIZED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
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
    /// This side reset the stream: the body of the request broke off, or a proxy took too long to answer for a tunnel
    /// (flag `LR`). It says nothing of the endpoint.
    LocalReset,
    /// The upstream did not speak HTTP (flag `UPE`).
    ProtocolError,
    /// A limit of `connectionPool` was reached, or too many names were being looked up (flag `UO`). It says nothing of the
    /// endpoint.
    Overflow,
    /// One try took longer than `retries.perTryTimeout` (flag `UT`).
    PerTryTimeout,
    /// All tries together took longer than the rule's `timeout` (flag `UT`).
    Timeout,
}

impl Failure {
    /// Envoy's words for the reset reason in the body of the local reply. A timeout has a body of its own and is named
    /// here for logs.
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
            Failure::PerTryTimeout => "per-try timeout",
            Failure::Timeout => "request timeout",
        }
    }

    /// Whether time ran out for an answer; the local reply is a 504 then.
    pub fn is_timeout(self) -> bool {
        matches!(self, Failure::PerTryTimeout | Failure::Timeout)
    }

    /// Whether no byte of the request can have reached the upstream.
    pub fn is_before_request(self) -> bool {
        self.is_connect() || self == Failure::Overflow
    }

    /// Whether no connection came about.
    pub fn is_connect(self) -> bool {
        matches!(self, Failure::ConnectRefused | Failure::ConnectLocal | Failure::ConnectTimeout)
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

    /// The error that it was made of.
    pub fn into_source(self) -> crate::error::BoxError {
        self.source
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_status_in_the_headers_stands_for_an_http_status() {
        let expected =
            [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401, 500].into_iter();
        for (grpc, http) in expected.enumerate() {
            let headers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), grpc.to_string().parse().unwrap())]);
            let outcome = Outcome::of_answer(StatusCode::OK, &headers, true);
            assert_eq!(outcome, Outcome::Grpc(StatusCode::from_u16(http).unwrap()), "{grpc}");
            assert_eq!(Outcome::of_answer(StatusCode::OK, &headers, false), Outcome::Status(StatusCode::OK));
        }
    }

    #[test]
    fn numbers_are_read_as_envoy_reads_them() {
        for (text, read) in [
            ("14", Some(14)),
            ("+14", Some(14)),
            (" 014\t", Some(14)),
            ("++14", None),
            ("+ 14", None),
            ("-14", None),
            ("14,14", None),
            ("0x14", None),
            ("18446744073709551616", None),
        ] {
            assert_eq!(number::<u64>(text.as_bytes()), read, "{text:?}");
            let headers = HeaderMap::from_iter([(GRPC_STATUS, text.parse().unwrap())]);
            let outcome = Outcome::of_answer(StatusCode::OK, &headers, true);
            let expected = if read.is_some() { 503 } else { 500 };
            assert_eq!(outcome, Outcome::Grpc(StatusCode::from_u16(expected).unwrap()), "{text:?}");
        }
    }

    #[test]
    fn without_a_grpc_status_in_the_headers_the_http_status_counts() {
        let outcome = Outcome::of_answer(StatusCode::BAD_GATEWAY, &HeaderMap::new(), true);
        assert_eq!(outcome, Outcome::Grpc(StatusCode::BAD_GATEWAY));
    }

    #[test]
    fn statuses_become_those_of_grpc() {
        let table = [(400, 13), (401, 16), (403, 7), (404, 12), (429, 14), (502, 14), (503, 14), (504, 14), (500, 2)];
        for (http, grpc) in table {
            assert_eq!(grpc_status(StatusCode::from_u16(http).unwrap()), grpc, "{http}");
        }
    }
}
