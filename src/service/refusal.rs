//! What a proxy says of a request before any rule is asked: [`Refusal`].

use http::header::HeaderMap;
use http::{Request, StatusCode};

use super::grpc::{grpc_headers, is_grpc};
use super::local_reply::body_headers;
use crate::outcome::grpc_status;

/// An answer that depends on nothing but the head it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: &'static str,
}

impl Refusal {
    /// `status` with `body`; a client that speaks gRPC gets both in headers.
    pub(crate) fn of<B>(request: &Request<B>, status: StatusCode, body: &'static str) -> Self {
        if is_grpc(request.headers()) {
            let mut headers = HeaderMap::new();
            grpc_headers(&mut headers, grpc_status(status), body.as_bytes());
            return Self { status: StatusCode::OK, headers, body: "" };
        }
        Self::plain(status, body)
    }

    /// `status` with `body`, whatever the client speaks.
    pub(crate) fn plain(status: StatusCode, body: &'static str) -> Self {
        let mut headers = HeaderMap::new();
        body_headers(&mut headers, body.len());
        Self { status, headers, body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_is_told_in_its_language() {
        let plain = Refusal::of(&Request::new(()), StatusCode::BAD_REQUEST, "Bad Request");
        assert_eq!((plain.status.as_u16(), plain.body), (400, "Bad Request"));
        assert_eq!(plain.headers["content-type"], "text/plain");
        assert_eq!(plain.headers["content-length"], "11");
        let request = Request::builder().header("content-type", "application/grpc").body(()).unwrap();
        let grpc = Refusal::of(&request, StatusCode::BAD_REQUEST, "");
        assert_eq!((grpc.status.as_u16(), grpc.body), (200, ""));
        assert_eq!(grpc.headers["grpc-status"], "13");
    }
}
