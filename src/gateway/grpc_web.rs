//! gRPC-Web, which browsers speak, as gRPC to the endpoints and back: [`Asked`], [`Decoder`], [`Answer`].
//!
//! It follows Envoy's filter `grpc_web`, which Istio adds to servers whose protocol is GRPC-WEB. The body of a request is
//! that of gRPC, or its base64; trailers of a response are a last message of its body, marked as such.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame};

use crate::outcome::grpc_status;
use crate::service::grpc::{grpc_headers, is_grpc};
use crate::service::hop::is;
use crate::service::refusal::Refusal;

const PROTO: HeaderValue = HeaderValue::from_static("application/grpc-web+proto");
const TEXT_PROTO: HeaderValue = HeaderValue::from_static("application/grpc-web-text+proto");
/// What stands in front of trailers, where a message has 0 or 1.
const TRAILERS: u8 = 0x80;

/// What a request of gRPC-Web asks for. Its head becomes one of gRPC where its rule is found ([`OfWeb`]).
///
/// [`OfWeb`]: crate::service::grpc::OfWeb
pub(super) struct Asked {
    /// For its body.
    pub(super) decoder: Decoder,
    pub(super) answer: Answer,
}

impl Asked {
    /// `None`: it is none.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let in_text = is_text(headers.get(CONTENT_TYPE)?)?;
        let answer_in_text = headers.get(ACCEPT).and_then(is_text) == Some(true);
        let broken = Arc::default();
        let decoder = Decoder { in_text, rest: BytesMut::new(), broken: Arc::clone(&broken) };
        Some(Self { decoder, answer: Answer { in_text: answer_in_text, broken } })
    }
}

/// Whether a type of gRPC-Web is that of base64; `None`: it is another type.
fn is_text(value: &HeaderValue) -> Option<bool> {
    match value.as_bytes() {
        b"application/grpc-web" | b"application/grpc-web+proto" => Some(false),
        b"application/grpc-web-text" | b"application/grpc-web-text+proto" => Some(true),
        _ => None,
    }
}

/// Whether a type is that of an answer of gRPC-Web, which may have parameters. Base64 is none, as to Envoy.
fn is_answered(value: &HeaderValue) -> bool {
    let kind = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
    is(kind, b"application/grpc-web") || is(kind, b"application/grpc-web+proto")
}

/// Reads the body of a request.
#[derive(Debug)]
pub(super) struct Decoder {
    in_text: bool,
    /// What is not a whole group of four letters yet.
    rest: BytesMut,
    broken: Arc<AtomicBool>,
}

/// A body that is no base64.
#[derive(Debug, thiserror::Error)]
#[error("the body of a request of gRPC-Web is no base64")]
pub(super) struct NoBase64;

impl Decoder {
    /// What a chunk says, as far as it is whole.
    fn decode(&mut self, chunk: Bytes) -> Result<Bytes, NoBase64> {
        if !self.in_text {
            return Ok(chunk);
        }
        self.rest.extend_from_slice(&chunk);
        let whole = self.rest.split_to(self.rest.len() / 4 * 4);
        BASE64_STANDARD.decode(&whole).map(Bytes::from).map_err(|_| self.give_up())
    }

    /// A frame of the body, or its end.
    pub(super) fn frame(&mut self, frame: Option<Frame<Bytes>>) -> Result<Option<Frame<Bytes>>, NoBase64> {
        match frame.map(Frame::into_data) {
            Some(Ok(data)) => self.decode(data).map(|data| Some(Frame::data(data))),
            Some(Err(trailers)) => self.end().map(|()| Some(trailers)),
            None => self.end().map(|()| None),
        }
    }

    /// Whether nothing is left of what was read.
    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The end of the body, which leaves nothing.
    fn end(&mut self) -> Result<(), NoBase64> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.give_up()) }
    }

    fn give_up(&self) -> NoBase64 {
        self.broken.store(true, Ordering::Relaxed);
        NoBase64
    }
}

/// How the answer is written.
#[derive(Debug)]
pub(super) struct Answer {
    in_text: bool,
    /// Whether the body of the request was no base64.
    broken: Arc<AtomicBool>,
}

impl Answer {
    /// The answer to a request whose body was no base64, if it was not.
    pub(super) fn to_broken(&self) -> Option<Refusal> {
        if !self.broken.load(Ordering::Relaxed) {
            return None;
        }
        let (status, mut headers) = (StatusCode::BAD_REQUEST, HeaderMap::new());
        grpc_headers(&mut headers, grpc_status(status), b"Bad gRPC-web request, invalid base64 data.");
        self.name(&mut headers);
        Some(Refusal { status, headers, body: "" })
    }

    /// Whether an answer is gRPC or gRPC-Web, or has no body that would have to be.
    pub(super) fn takes<B: Body>(response: &Response<B>) -> bool {
        let headers = response.headers();
        let speaks = || is_grpc(headers) || headers.get(CONTENT_TYPE).is_some_and(is_answered);
        response.body().is_end_stream() || response.status() == StatusCode::OK && speaks()
    }

    /// Makes the head of an answer that it takes one of gRPC-Web.
    pub(super) fn admit<B>(&self, response: &mut Response<B>) {
        self.name(response.headers_mut());
        response.headers_mut().remove(CONTENT_LENGTH);
    }

    /// Says that an answer is gRPC-Web.
    pub(super) fn name(&self, headers: &mut HeaderMap) {
        headers.insert(CONTENT_TYPE, self.content_type());
    }

    fn content_type(&self) -> HeaderValue {
        if self.in_text { TEXT_PROTO } else { PROTO }
    }

    /// A frame of the body as gRPC-Web has it, which has no trailers.
    pub(super) fn encode(&self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let bytes = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => frame.into_trailers().map(|trailers| last_message(&trailers)).unwrap_or_default(),
        };
        Frame::data(if self.in_text { Bytes::from(BASE64_STANDARD.encode(bytes)) } else { bytes })
    }
}

/// Trailers as a message: how long they are, and a line for each.
fn last_message(trailers: &HeaderMap) -> Bytes {
    let mut lines = BytesMut::new();
    for (name, value) in trailers {
        for part in [name.as_str().as_bytes(), b":", value.as_bytes(), b"\r\n"] {
            lines.extend_from_slice(part);
        }
    }
    let mut message = BytesMut::with_capacity(5 + lines.len());
    message.put_u8(TRAILERS);
    // Trailers are bounded far below that.
    message.put_u32(u32::try_from(lines.len()).unwrap_or(u32::MAX));
    message.unsplit(lines);
    message.freeze()
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use http_body_util::Full;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        line.collect()
    }

    fn asked(kind: &'static str, accept: &'static str) -> Option<Asked> {
        Asked::of(&headers(&[("content-type", kind), ("accept", accept)]))
    }

    #[test]
    fn grpc_web_is_told_by_its_type() {
        assert!(asked("application/grpc-web+proto", "*/*").is_some());
        for other in ["application/grpc", "application/grpc-web+json", "application/grpc-web; a=b", "text/plain", ""] {
            assert!(asked(other, "*/*").is_none(), "{other}");
        }
    }

    #[test]
    fn base64_is_read_in_groups_of_four() {
        let mut decoder = asked("application/grpc-web-text", "*/*").unwrap().decoder;
        let mut read = Vec::new();
        for chunk in ["AA", "AAAAVoZ", "WxsbwA", "="] {
            read.extend_from_slice(&decoder.decode(Bytes::from_static(chunk.as_bytes())).unwrap());
        }
        assert_eq!(read, b"\0\0\0\0\x05hello\0");
        assert!(decoder.end().is_ok());
        let mut plain = asked("application/grpc-web", "*/*").unwrap().decoder;
        assert_eq!(plain.decode(Bytes::from_static(b"!")).unwrap(), "!");
        assert!(plain.end().is_ok());
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for chunks in [&["!!!!"][..], &["AAA=AAAA"], &["AAAA", "A"], &["AA", "A"]] {
            let Asked { mut decoder, answer } = asked("application/grpc-web-text", "*/*").unwrap();
            assert!(answer.to_broken().is_none());
            let mut read = || {
                for chunk in chunks {
                    decoder.decode(Bytes::from_static(chunk.as_bytes()))?;
                }
                decoder.end()
            };
            assert!(read().is_err(), "{chunks:?}");
            let refused = answer.to_broken().unwrap();
            assert_eq!(refused.status, StatusCode::BAD_REQUEST);
            assert_eq!(
                (&refused.headers["grpc-status"], &refused.headers[CONTENT_TYPE]),
                (&"13".parse().unwrap(), &PROTO)
            );
        }
    }

    #[test]
    fn trailers_are_the_last_message() {
        let trailers = || Frame::trailers(headers(&[("grpc-status", "0"), ("x-t", "1")]));
        let plain = asked("application/grpc-web", "application/grpc-web-text, */*").unwrap().answer;
        let message = plain.encode(trailers()).into_data().unwrap();
        assert_eq!(message, &b"\x80\0\0\0\x16grpc-status:0\r\nx-t:1\r\n"[..]);
        assert_eq!(plain.encode(Frame::data(Bytes::from_static(b"x"))).into_data().unwrap(), "x");
        let text = asked("application/grpc-web", "application/grpc-web-text").unwrap().answer;
        assert_eq!(text.encode(trailers()).into_data().unwrap(), "gAAAABZncnBjLXN0YXR1czowDQp4LXQ6MQ0K");
    }

    #[test]
    fn an_answer_is_taken_that_is_grpc_or_empty() {
        let web = asked("application/grpc-web", "application/grpc-web-text+proto").unwrap().answer;
        let answer = |status: u16, kind: &str, body: &'static str| {
            let response = Response::builder().status(status).header(CONTENT_TYPE, kind).header(CONTENT_LENGTH, "1");
            response.body(Full::<Bytes>::from(body)).unwrap()
        };
        for (status, kind, body, taken) in [
            (200, "application/grpc", "x", true),
            (200, "application/grpc+json", "x", true),
            (200, "application/grpc-web", "x", true),
            (200, "Application/Grpc-Web+Proto ; a=b", "x", true),
            (200, "application/grpc;a=b", "x", false),
            (200, "Application/Grpc", "x", false),
            (200, "application/grpcx", "x", false),
            (200, "application/grpc-web+json", "x", false),
            (200, "application/grpc-web-text", "x", false),
            (200, "text/html", "x", false),
            (404, "application/grpc", "x", false),
            (503, "text/plain", "", true),
        ] {
            assert_eq!(Answer::takes(&answer(status, kind, body)), taken, "{status} {kind}");
        }
        for body in ["x", ""] {
            let mut response = answer(200, "application/grpc", body);
            web.admit(&mut response);
            let headers = response.headers();
            assert_eq!((headers.get(CONTENT_LENGTH), &headers[CONTENT_TYPE]), (None, &TEXT_PROTO));
        }
    }
}
