//! gRPC as a local reply has to know it: who speaks it, and how it is answered.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::outcome::{GRPC_STATUS, grpc_number, grpc_status};

pub(crate) const APPLICATION_GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// In the extensions of a request that came in another form of gRPC: an answer made here is plain, for whoever took the
/// request in to tell it in that form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToldInPlain;

/// `application/grpc` or `application/grpc+...`; `application/grpc-web` is none.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|of| is_of_grpc(of.as_bytes()))
}

/// The same of a `content-type` alone.
pub(super) fn is_of_grpc(content_type: &[u8]) -> bool {
    match content_type.strip_prefix(b"application/grpc") {
        Some(rest) => matches!(rest.first(), None | Some(b'+')),
        None => false,
    }
}

/// A trailers-only response: all of it is in the headers.
pub(crate) fn grpc_headers(headers: &mut HeaderMap, status: impl Into<HeaderValue>, message: &[u8]) {
    headers.insert(CONTENT_TYPE, APPLICATION_GRPC);
    headers.insert(GRPC_STATUS, status.into());
    if !message.is_empty()
        && let Ok(message) = HeaderValue::try_from(percent_encoded(message))
    {
        headers.insert(HeaderName::from_static("grpc-message"), message);
    }
}

/// The status of gRPC that the head of an answer has: its own, else what its status comes to.
pub(super) fn status_of(status: StatusCode, headers: &HeaderMap) -> u32 {
    grpc_number(headers).unwrap_or_else(|| grpc_status(status).into())
}

fn percent_encoded(message: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(message.len());
    for &byte in message {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_by_the_content_type() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", false),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(is_grpc(&headers), expected, "{value}");
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encoded("100% ö\n".as_bytes()), "100%25 %C3%B6%0A");
    }
}
