//! `%GRPC_STATUS%`: [`GrpcStatus`].

use std::io::{Result, Write as _};

use crate::route::fault::GRPC_STATUSES;

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

/// The names of the statuses from 0 on, as [`GrpcStatus::Camel`] writes them.
const CAMEL: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
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
        let names = match self {
            Self::Camel => &CAMEL[..],
            Self::Snake => &GRPC_STATUSES,
            Self::Number => &[],
        };
        match usize::try_from(status).ok().and_then(|status| names.get(status)) {
            Some(name) => out.write_all(name.as_bytes()),
            None => write!(out, "{status}"),
        }
    }
}
