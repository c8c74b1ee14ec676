//! The service: [`MeshService`].

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::admission::Waits;
use super::decide::{Refusal, Verdict};
use super::detour::Detour;
use super::future::ResponseFuture;
use super::layer::Settings;
use super::mirror::Copies;
use super::mirror_body::MirrorLoad;
use super::request_body::RequestBody;
use super::response_body::ResponseBody;
use super::story::Story;
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
///
/// # Panics
///
/// Where the future of a request, or the body of its response, is polled outside of a tokio runtime that has time, and
/// has to wait for a moment: the end of a timeout, of a fault's delay or of the pause before another try, or the time
/// for a second try beside the first.
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
    /// For a connection whose listener may go before it does.
    pub(super) detour: Option<Arc<dyn Detour>>,
    pub(super) metrics: MeshMetrics,
    pub(super) settings: Settings,
    pub(super) mirrors: Arc<MirrorLoad>,
    pub(super) copies: Copies,
    /// Whether the inner service, or the client beside it, has requests wait where a cluster admits no more.
    pub(super) waits: Arc<Waits>,
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
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
    R: Body + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        match self.routing.decide(&mut head) {
            Verdict::PassThrough(record) => {
                let request = Request::from_parts(head, RequestBody::new(body));
                ResponseFuture::pass_through(self.inner.call(request), record)
            }
            Verdict::Forward(exchange) if exchange.faults_per_try => {
                self.later(Story::waiting(exchange, self.inner.clone(), head, body))
            }
            Verdict::Forward(exchange) => {
                let mut story = Story::new(exchange);
                match story.first_try(&mut head, body) {
                    Ok(body) => {
                        story.again = story.exchange.may_send_more().then(|| self.inner.clone());
                        // The service that is ready is called in place: no clone of it is ready.
                        let call = self.inner.call(Request::from_parts(head, body));
                        if let Some(reply) = story.refused(Some(&self.routing.waits)) {
                            // Nothing has been sent: nothing was polled.
                            return ResponseFuture::reply(Refusal { reply, exchange: story.exchange });
                        }
                        ResponseFuture::forward(Some(call), story)
                    }
                    Err(reply) => {
                        self.release();
                        ResponseFuture::reply(Refusal { reply, exchange: story.exchange })
                    }
                }
            }
            Verdict::Delay(exchange, delay) => {
                self.later(Story::delayed(exchange, self.inner.clone(), delay, head, body))
            }
            Verdict::Reply(reply) => {
                self.release();
                ResponseFuture::reply(reply)
            }
        }
    }
}

impl<S: Clone> MeshService<S> {
    /// Has a request wait for a service that is ready once more.
    fn later<B>(&mut self, mut story: Story<S, B>) -> ResponseFuture<S, B>
    where
        S: Service<Request<RequestBody<B>>>,
    {
        self.release();
        story.waits = Some(Arc::clone(&self.routing.waits));
        ResponseFuture::forward(None, story)
    }

    /// Gives up what was reserved, with the service that is ready.
    fn release(&mut self) {
        let unready = self.inner.clone();
        drop(mem::replace(&mut self.inner, unready));
    }
}
