//! How the door refuses: [`Refused`].

use http::{Method, Request, StatusCode, Version};
use hyper::ext;

use super::framing::Flaw;
use crate::service::refusal::Refusal;

/// A request that is answered at the door, with a status and a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) StatusCode, pub(super) &'static str);

impl Refused {
    /// As Envoy's connection manager refuses.
    pub(super) const fn with(status: StatusCode) -> Self {
        Self(status, "")
    }

    /// What Envoy's codec refuses, which spells the status out.
    pub(super) const BY_CODEC: Self = Self(StatusCode::BAD_REQUEST, "Bad Request");

    pub(super) const TOO_LARGE: Self =
        Self(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Request Header Fields Too Large");

    /// What the client is told. There is no gRPC where Envoy's codec refuses, and none without a path.
    pub(super) fn answer<B>(self, request: &Request<B>) -> Refusal {
        let Self(status, body) = self;
        let by_codec = request.version() < Version::HTTP_2 && status.canonical_reason() == Some(body);
        let has_path = request.method() != Method::CONNECT || request.extensions().get::<ext::Protocol>().is_some();
        match by_codec || !has_path {
            true => Refusal::plain(status, body),
            false => Refusal::of(request, status, body),
        }
    }
}

impl From<Flaw> for Refused {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Ambiguous => Self::BY_CODEC,
            Flaw::Fragment => Self::with(StatusCode::BAD_REQUEST),
            Flaw::Encoded => Self(StatusCode::NOT_IMPLEMENTED, "Not Implemented"),
            Flaw::TooLarge => Self::TOO_LARGE,
            Flaw::Version => Self(StatusCode::UPGRADE_REQUIRED, "Upgrade Required"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_been_read_is_answered_as_grpc() {
        let asked = |version, method: &str| {
            let target = if method == "CONNECT" { "a:80" } else { "/" };
            let request = Request::builder().method(method).uri(target).version(version);
            request.header("content-type", "application/grpc").body(()).unwrap()
        };
        for (refused, version, method, status) in [
            (Refused::BY_CODEC, Version::HTTP_11, "POST", 400),
            (Refused::BY_CODEC, Version::HTTP_2, "POST", 200),
            (Refused::TOO_LARGE, Version::HTTP_11, "POST", 431),
            (Refused::with(StatusCode::BAD_REQUEST), Version::HTTP_11, "POST", 200),
            (Refused::with(StatusCode::NOT_FOUND), Version::HTTP_11, "CONNECT", 404),
            (Refused::with(StatusCode::NOT_FOUND), Version::HTTP_2, "CONNECT", 404),
        ] {
            let answer = refused.answer(&asked(version, method));
            assert_eq!(answer.status.as_u16(), status, "{refused:?} {version:?} {method}");
        }
    }
}
