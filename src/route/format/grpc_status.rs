//! `%GRPC_STATUS%`: [`GrpcStatus`].

use std::io::{Result, Write as _};

/// How a status of gRPC is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrpcStatus {
    /// `NotFound`.
    Camel,
    /// `NOT_FOUND`.
    Snake,
    /// `5`.
    Number,
}

/// The names of the statuses from 0 on.
const NAMES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

impl GrpcStatus {
    /// The way that this argument names.
    pub(super) fn written_as(argument: &str) -> Option<Self> {
        Some(match argument {
            "" | "CAMEL_STRING" => Self::Camel,
            "SNAKE_STRING" => Self::Snake,
            "NUMBER" => Self::Number,
            _ => return None,
        })
    }

    /// Writes a status; one without a name as its number.
    pub(super) fn render(self, status: u32, out: &mut Vec<u8>) -> Result<()> {
        let names = usize::try_from(status).ok().and_then(|status| NAMES.get(status));
        match (self, names) {
            (Self::Camel, Some((name, _))) | (Self::Snake, Some((_, name))) => out.write_all(name.as_bytes()),
            _ => write!(out, "{status}"),
        }
    }
}
