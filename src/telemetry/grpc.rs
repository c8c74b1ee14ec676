//! What a gRPC call is counted as: [`Grpc`].

use http::{HeaderMap, StatusCode};

use crate::outcome::{GRPC_STATUS, grpc_status, number};

/// The greatest status there is.
const LAST: u16 = 16;

/// The status of a call, if a request is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grpc {
    No,
    /// Nobody has said it.
    Unsaid,
    /// What was said is none.
    Unknown,
    Status(u16),
}

impl Grpc {
    /// What a head or trailers say, if anything.
    pub(super) fn said(headers: &HeaderMap) -> Option<Self> {
        let said = headers.get(&GRPC_STATUS).filter(|said| !said.is_empty())?;
        let status = number(said.as_bytes()).filter(|status| *status <= LAST);
        Some(status.map_or(Self::Unknown, Self::Status))
    }

    /// The label `grpc_response_status` of an answer with this code, which stands for what nobody said.
    pub(super) fn label(self, code: u16) -> String {
        let status = match self {
            Self::No => None,
            Self::Unsaid => StatusCode::from_u16(code).ok().map(grpc_status),
            Self::Unknown => return "-1".to_owned(),
            Self::Status(status) => Some(status),
        };
        status.map(|status| status.to_string()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_says_is_told_by_the_code() {
        for (code, expected) in [(200, "2"), (404, "12"), (413, "2"), (503, "14"), (0, "")] {
            assert_eq!(Grpc::Unsaid.label(code), expected, "{code}");
            assert_eq!(Grpc::Status(5).label(code), "5");
            assert_eq!(Grpc::No.label(code), "");
        }
    }

    #[test]
    fn what_is_said_is_a_status_or_none_that_is_known() {
        let said = |status: &str| Grpc::said(&HeaderMap::from_iter([(GRPC_STATUS, status.parse().unwrap())]));
        assert_eq!(said("0"), Some(Grpc::Status(0)));
        assert_eq!(said("16"), Some(Grpc::Status(16)));
        assert_eq!((said(""), Grpc::said(&HeaderMap::new())), (None, None));
        for unknown in ["17", "-1", "ok", "65536"] {
            assert_eq!(said(unknown).map(|said| said.label(200)), Some("-1".to_owned()), "{unknown}");
        }
    }
}
