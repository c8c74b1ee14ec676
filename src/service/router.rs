//! The service: [`MeshService`].

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::decide::Verdict;
use super::future::ResponseFuture;
use super::request_body::RequestBody;
use super::response_body::ResponseBody;
use crate::error::BoxError;
use crate::mesh::Mesh;
use crate::request::Origin;
use crate::telemetry::MeshMetrics;

/// Sends requests where the rules of a [`Mesh`] say, through the inner service.
///
/// Made by [`MeshRouter`](super::MeshRouter). A clone costs a clone of the inner service and one reference count; all
/// clones share the mesh.
///
/// Readiness is that of the inner service: it is one transport to all endpoints. What a request that is answered here
/// had reserved of it is released.
#[derive(Clone, Debug)]
pub struct MeshService<S> {
    inner: S,
    routing: Arc<Routing>,
}

/// What all clones of a service share.
#[derive(Clone, Debug)]
pub(super) struct Routing {
    pub(super) mesh: Mesh,
    pub(super) origin: Origin,
    pub(super) metrics: MeshMetrics,
}

impl<S> MeshService<S> {
    pub(super) fn new(inner: S, routing: Arc<Routing>) -> Self {
        Self { inner, routing }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, mutably.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Gives the inner service back.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B, R> Service<Request<B>> for MeshService<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    R: Body,
{
    type Response = Response<ResponseBody<R>>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let verdict = self.routing.decide(&mut head);
        let body = RequestBody::new(body);
        match verdict {
            // The service that is ready is called in place: no clone of it is ready.
            Verdict::Try(attempt, aim) => {
                let call = self.inner.call(Request::from_parts(head, body.with_aim(aim)));
                ResponseFuture::first_try(call, attempt)
            }
            Verdict::PassThrough(record) => {
                ResponseFuture::pass_through(self.inner.call(Request::from_parts(head, body)), record)
            }
            Verdict::Reply(reply) => {
                // What was reserved goes with the service that is ready.
                let unready = self.inner.clone();
                drop(mem::replace(&mut self.inner, unready));
                ResponseFuture::reply(reply)
            }
        }
    }
}
