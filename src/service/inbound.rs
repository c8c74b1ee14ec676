//! The server side: [`InboundRouter`] in front of a whole application.
//!
//! Istio applies no VirtualService to what comes in, so the rules are those of a named gateway. What a rule says of the
//! request itself happens here: match, faults, CORS, redirects, direct responses, rewrites, headers and the timeout. The
//! application is the destination, whichever the rule names; which that was stands in the request's extensions as
//! [`RouteInfo`](super::RouteInfo). Retries and balancing are for those who call. Mirrors are sent only
//! [through a client](InboundRouter::with_mirrors), since the application is not where they lead.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, ready};

use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tower_layer::Layer;
use tower_service::Service;

use super::answer::answer;
use super::deadline_budget::DeadlineBudget;
use super::decide::{Refusal, Verdict};
use super::exchange::Exchange;
use super::future::{passed, poll_deadline, poll_until};
use super::layer::Settings;
use super::local_reply::LocalReply;
use super::mirror::{Copies, Sender};
use super::mirror_body::{MirrorBody, MirrorLoad};
use super::request_body::RequestBody;
use super::response_body::ResponseBody;
use super::route_info::RouteInfo;
use super::router::Routing;
use super::unsent::first_body;
use crate::error::BoxError;
use crate::mesh::Mesh;
use crate::request::{GatewayOrigin, Origin};
use crate::telemetry::{MeshMetrics, RequestRecord, ResponseFlags};

/// Applies the rules of a gateway to the requests that an application serves: a Layer around all of it.
///
/// Made by [`MeshRouter::inbound`](super::MeshRouter::inbound). It goes around a router of the application, not into
/// it: a rewritten path has to be there before the application chooses what answers.
///
/// # Panics
///
/// Its services do where a request or its response has to wait [outside of a tokio runtime](super::MeshService#panics).
#[derive(Clone, Debug)]
pub struct InboundRouter {
    routing: Arc<Routing>,
}

impl InboundRouter {
    pub(super) fn new(mesh: &Mesh, gateway: &str) -> Self {
        let origin = GatewayOrigin::new(gateway);
        mesh.serve_gateway(&origin);
        let routing = Routing {
            mesh: mesh.clone(),
            origin: Origin::Gateway(Arc::new(origin)),
            detour: None,
            metrics: MeshMetrics::received(mesh.workload()),
            settings: Settings::default(),
            mirrors: Arc::default(),
            copies: Copies::Nowhere(Arc::new(AtomicBool::new(false))),
            waits: Arc::default(),
        };
        Self { routing: Arc::new(routing) }
    }

    /// Applies the rules of the gateway `mesh` too, which Istio means for those who call.
    #[must_use]
    pub fn with_mesh_rules(mut self) -> Self {
        let routing = Arc::make_mut(&mut self.routing);
        if let Origin::Gateway(origin) = &mut routing.origin {
            Arc::make_mut(origin).mesh_rules = true;
            routing.mesh.serve_gateway(origin);
        }
        self
    }

    /// Sends the copies that mirrors of rules ask for through `client`; without it there are none, and the first rule
    /// that asks for some is logged.
    ///
    /// They are aimed at endpoints of the mirror's cluster as by [`MeshRouter`](super::MeshRouter), without another one
    /// around the client, and leave when the application is called: not for what is answered here, nor for tunnels.
    /// Their heads are as the application gets them, without what concerns the client's connection only, their bodies
    /// copied while the application reads; what it does not read to the end breaks off. Nobody waits for them, and
    /// they end with the mesh.
    ///
    /// Their version is the one that the server was asked in, which [`Transport`](crate::Transport) needs for
    /// `useClientProtocol`. A client that refuses what an endpoint does not speak, as hyper-util's does, has to be given
    /// another.
    ///
    /// ```
    /// # #[cfg(feature = "client")]
    /// # {
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use http_body_util::Full;
    /// use mesh_router::service::{MeshRouter, RequestBody};
    /// use mesh_router::{Mesh, Transport};
    /// use tower::{Layer, service_fn};
    ///
    /// let mesh = Mesh::new();
    /// let application = service_fn(async |_: Request<RequestBody<Full<Bytes>>>| {
    ///     Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from("hello")))
    /// });
    /// let server = MeshRouter::inbound(&mesh, "web/front").with_mirrors(Transport::new()).layer(application);
    /// # drop(server);
    /// # }
    /// ```
    #[must_use]
    pub fn with_mirrors<C, R>(mut self, client: C) -> Self
    where
        C: Service<Request<RequestBody<MirrorBody>>, Response = Response<R>> + Clone + Send + 'static,
        C::Error: Into<BoxError>,
        C::Future: Send,
        R: Body + Send + 'static,
    {
        let routing = Arc::make_mut(&mut self.routing);
        (routing.copies, routing.waits) = (Copies::through(client), Arc::default());
        self
    }

    /// How many mirrored requests may be under way at once, and how many bytes of their bodies may wait to be sent, as
    /// [`MeshRouter::with_mirror_limits`](super::MeshRouter::with_mirror_limits): 1,024 and 64 MiB if not called.
    #[must_use]
    pub fn with_mirror_limits(mut self, requests: usize, bytes: usize) -> Self {
        Arc::make_mut(&mut self.routing).mirrors = Arc::new(MirrorLoad::new(requests, bytes));
        self
    }
}

impl<S> Layer<S> for InboundRouter {
    type Service = InboundService<S>;

    fn layer(&self, inner: S) -> InboundService<S> {
        InboundService { inner, routing: Arc::clone(&self.routing) }
    }
}

/// An application behind the rules of a gateway; made by [`InboundRouter`].
///
/// Requests for hosts that no rule names reach the application as they are, with the cookies of HTTP/2 in one line. A
/// host with rules of which none matches gets 404, as at a gateway. Errors are the application's own, untouched: what
/// fails here is answered, whatever [`ErrorMode`](super::ErrorMode) its clients are used in.
#[derive(Clone, Debug)]
pub struct InboundService<S> {
    inner: S,
    routing: Arc<Routing>,
}

impl<S> InboundService<S> {
    /// The application.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The application, mutably.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Gives the application back.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B, R> Service<Request<B>> for InboundService<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone,
    B: Body,
    B::Error: Into<BoxError>,
    R: Body,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = InboundFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> InboundFuture<S, B> {
        let (mut head, body) = request.into_parts();
        if let Some(budget) = DeadlineBudget::of(&head.headers) {
            budget.bound(&mut head.extensions);
        }
        let state = match self.routing.decide(&mut head) {
            Verdict::PassThrough(record) => {
                let awaited = !matches!(head.method, Method::HEAD | Method::CONNECT);
                let call = self.inner.call(Request::from_parts(head, RequestBody::new(body)));
                State::PassThrough { call, record: Some(record), awaited }
            }
            Verdict::Forward(exchange) => {
                let copies = self.routing.copies.sender(&exchange);
                let mut visit = Visit { exchange, phase: Phase::Serving, service: None, delayed: None, copies };
                let request = visit.request(head, body);
                State::Forward { call: Some(self.inner.call(request)), timer: None, visit: Some(visit) }
            }
            Verdict::Delay(exchange, delay) => {
                let phase = Phase::Delay(Instant::now() + delay);
                let (service, delayed) = (Some(self.release()), Some(Box::new((head, body))));
                let copies = self.routing.copies.sender(&exchange);
                let visit = Visit { exchange, phase, service, delayed, copies };
                State::Forward { call: None, timer: None, visit: Some(visit) }
            }
            Verdict::Reply(reply) => {
                self.release();
                State::Reply { reply: Some(reply) }
            }
        };
        InboundFuture { state }
    }
}

impl<S: Clone> InboundService<S> {
    /// Gives up what was reserved with the service that is ready; returns one that is not.
    fn release(&mut self) -> S {
        let unready = self.inner.clone();
        drop(std::mem::replace(&mut self.inner, unready));
        self.inner.clone()
    }
}

/// A request on its way to the application.
struct Visit<S, B> {
    exchange: Box<Exchange>,
    phase: Phase,
    service: Option<S>,
    delayed: Option<Box<(Parts, B)>>,
    /// What its copies are sent through, until they are.
    copies: Option<Arc<dyn Sender>>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Delay(Instant),
    Waiting,
    Serving,
}

impl<S, B> Visit<S, B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    /// The request as the application gets it.
    fn request(&mut self, mut head: Parts, body: B) -> Request<RequestBody<B>> {
        self.exchange.note_connect(&head);
        head.extensions.insert(self.exchange.info(ResponseFlags::NONE, ""));
        if let Some(timeout) = self.exchange.deadline.timeout() {
            DeadlineBudget::within(timeout).bound(&mut head.extensions);
        }
        let (body, _) = first_body(&mut self.exchange, body);
        self.send_copies();
        Request::from_parts(head, body)
    }

    /// Sends the copies that are due, once.
    fn send_copies(&mut self) {
        let Some(sender) = self.copies.take() else { return };
        self.exchange.send_mirrors(|saved, exchange, target| sender.send(saved, exchange, target));
    }
}

pin_project! {
    /// Response future of [`InboundService`].
    pub struct InboundFuture<S, B>
    where
        S: Service<Request<RequestBody<B>>>,
    {
        #[pin]
        state: State<S, B, S::Future>,
    }
}

pin_project! {
    #[project = StateProject]
    enum State<S, B, F> {
        Reply { reply: Option<Refusal> },
        PassThrough { #[pin] call: F, record: Option<RequestRecord>, awaited: bool },
        Forward { #[pin] call: Option<F>, #[pin] timer: Option<Sleep>, visit: Option<Visit<S, B>> },
    }
}

impl<S, B> fmt::Debug for InboundFuture<S, B>
where
    S: Service<Request<RequestBody<B>>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Reply { .. } => "answered here",
            State::PassThrough { .. } => "passed through",
            State::Forward { .. } => "forwarded",
        };
        f.debug_tuple("InboundFuture").field(&state).finish()
    }
}

impl<S, B, R> Future for InboundFuture<S, B>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
    B: Body,
    B::Error: Into<BoxError>,
    R: Body,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProject::Reply { reply } => match reply.take() {
                Some(refusal) => Poll::Ready(Ok(refusal.reply.into_response(refusal.exchange))),
                None => Poll::Pending,
            },
            StateProject::PassThrough { call, record, awaited } => {
                let result = ready!(call.poll(cx));
                let Some(mut record) = record.take() else { return Poll::Pending };
                let result =
                    result.inspect_err(|_| record.failed(StatusCode::INTERNAL_SERVER_ERROR, ResponseFlags::NONE));
                Poll::Ready(result.map(|mut response| {
                    // The application may hand on what a client of its own was answered: that was another request.
                    response.extensions_mut().remove::<RouteInfo>();
                    passed(response, record, *awaited)
                }))
            }
            StateProject::Forward { mut call, mut timer, visit: slot } => {
                let Some(visit) = slot else { return Poll::Pending };
                let result = ready!(poll_visit(visit, &mut call, &mut timer, cx));
                call.set(None);
                timer.set(None);
                let Some(Visit { mut exchange, .. }) = slot.take() else { return Poll::Pending };
                Poll::Ready(match result {
                    Ok(Ok(response)) => Ok(answer(response, exchange, None, None)),
                    Ok(Err(reply)) => Ok(reply.into_response(exchange)),
                    Err(error) => {
                        exchange.failed(StatusCode::INTERNAL_SERVER_ERROR);
                        Err(error)
                    }
                })
            }
        }
    }
}

/// An answer, of the application or made here; or the application's error.
type Served<R, E> = Result<Result<Response<R>, LocalReply>, E>;

/// Goes from phase to phase until there is an answer: the application's, or one made here.
fn poll_visit<S, B, R>(
    visit: &mut Visit<S, B>,
    call: &mut Pin<&mut Option<S::Future>>,
    timer: &mut Pin<&mut Option<Sleep>>,
    cx: &mut Context<'_>,
) -> Poll<Served<R, S::Error>>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
    B: Body,
    B::Error: Into<BoxError>,
{
    loop {
        match visit.phase {
            Phase::Delay(until) => {
                ready!(poll_until(timer, until, cx));
                if let Some(delayed) = &mut visit.delayed
                    && let Err(reply) = visit.exchange.admit_delayed(&mut delayed.0)
                {
                    return Poll::Ready(Ok(Err(reply)));
                }
                visit.phase = Phase::Waiting;
            }
            Phase::Waiting => {
                let Some((mut service, delayed)) = visit.service.take().zip(visit.delayed.take()) else {
                    return Poll::Pending;
                };
                match service.poll_ready(cx) {
                    Poll::Ready(ready) => ready?,
                    Poll::Pending => {
                        (visit.service, visit.delayed) = (Some(service), Some(delayed));
                        return Poll::Pending;
                    }
                }
                let (head, body) = *delayed;
                call.set(Some(service.call(visit.request(head, body))));
                visit.phase = Phase::Serving;
            }
            Phase::Serving => {
                if let Some(Poll::Ready(result)) = call.as_mut().as_pin_mut().map(|call| call.poll(cx)) {
                    return Poll::Ready(result.map(Ok));
                }
                let expired = ready!(poll_deadline(&mut visit.exchange.deadline, timer, true, cx));
                return Poll::Ready(Ok(Err(visit.exchange.expired(expired))));
            }
        }
    }
}
