//! gRPC as a local reply has to know it: who speaks it, and how it is answered.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::outcome::{GRPC_STATUS, grpc_number, grpc_status};

const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const APPLICATION_GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// In the extensions of a request of gRPC-Web, as which rules see it. It becomes one of gRPC once it has its rule. An
/// answer made here is plain, for whoever took the request in to tell it in that form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfWeb;

/// Makes the head of a request of gRPC-Web one of gRPC. Its length is that of another body.
pub(super) fn from_web(headers: &mut HeaderMap) {
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, APPLICATION_GRPC);
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
}

/// `application/grpc` or `application/grpc+...`; `application/grpc-web` is none.
#[cfg(feature = "gateway")]
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
            assert_eq!(is_of_grpc(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn a_head_of_grpc_web_is_one_of_grpc() {
        fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
            lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
        }
        let mut head = headers(&[("content-type", "application/grpc-web+proto"), ("content-length", "9"), ("te", "x")]);
        from_web(&mut head);
        let expected = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-accept-encoding", "identity")];
        assert_eq!(head, headers(&expected));
        let mut head = headers(&[("content-type", "application/grpc-web"), ("grpc-accept-encoding", "gzip")]);
        from_web(&mut head);
        assert_eq!(head[ACCEPT_ENCODING], "gzip");
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encoded("100% ö\n".as_bytes()), "100%25 %C3%B6%0A");
    }
}
