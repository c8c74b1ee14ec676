//! The call that both benches of `overhead` measure: a service that answers at once, and a request for it.

#![allow(clippy::unwrap_used, reason = "what is built here is known to be right")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use tower::Service;

pub(crate) type Body = Empty<Bytes>;

/// Answers at once.
#[derive(Clone)]
pub(crate) struct Bare;

impl<B> Service<Request<B>> for Bare {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    #[inline(never)]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        black_box(&request);
        ready(Ok(Response::new(Body::new())))
    }
}

/// A request for `host` with six headers.
pub(crate) fn request(host: &str) -> Request<Body> {
    Request::get(format!("http://{host}/api/v1/products/0/reviews?limit=10"))
        .header("host", host)
        .header("user-agent", "curl/8.0")
        .header("accept", "*/*")
        .header("end-user", "jason")
        .header("x-request-id", "3b1f0c1e-55aa-4c1e-9a9b-0123456789ab")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .body(Body::new())
        .unwrap()
}
