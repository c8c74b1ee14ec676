//! One request and its response at a gateway: [`Exchange`] is the service that hyper calls.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, SERVER};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::upgrade::OnUpgrade;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::body::{InboundBody, OutboundBody};
use super::door::{self, Admitted, Protocol};
use super::forwarded;
use super::grpc_web::{Answer, Asked};
use super::head;
use super::idle::Busy;
use super::retold::Retold;
use super::session::Session;
use super::tunnel;
use crate::error::BoxError;
use crate::service::RouteInfo;
use crate::service::grpc::OfWeb;
use crate::service::https::UnservedUpgrade;
use crate::service::refusal::Refusal;

/// What answers requests. It has no more to it than its bounds, which every such service meets.
pub(super) trait Serve:
    Service<Request<InboundBody>, Response = Response<<Self as Serve>::Body>, Error: Into<BoxError>, Future: Send + 'static>
{
    type Body: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;
}

impl<S, B> Serve for S
where
    S: Service<Request<InboundBody>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Body = B;
}

/// What a gateway does with the requests of one connection before and after the mesh.
///
/// `inner` must always be ready, as a router over [`crate::transport::Transport`] is: hyper lends its service, so that
/// one clone serves all requests of a connection.
#[derive(Debug)]
pub(super) struct Exchange<S> {
    inner: RefCell<S>,
    session: Arc<Session>,
}

impl<S> Exchange<S> {
    pub(super) fn new(inner: S, session: Arc<Session>) -> Self {
        Self { inner: RefCell::new(inner), session }
    }
}

impl<S: Serve> hyper::service::Service<Request<Incoming>> for Exchange<S> {
    type Response = Response<OutboundBody<S::Body>>;
    type Error = Infallible;
    type Future = ExchangeFuture<S::Future, S::Body>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let number = self.session.number();
        let version = request.version();
        let session = &self.session;
        let admitted = match door::admit(&request, session.flaw_of(number), session.may_be_https()) {
            Ok(admitted) => admitted,
            Err(refused) => return ExchangeFuture::Refused { refusal: Some(refused.answer(&request)), version },
        };
        let http2 = version >= Version::HTTP_2;
        if !http2 {
            head::forget_user(request.uri_mut());
        }
        let tunnel = (admitted != Admitted::Plain).then(|| hyper::upgrade::on(&mut request));
        let keyless = matches!(admitted, Admitted::Stream(_)) && head::ask_by_upgrade(&mut request, &self.session);
        let tunnel = tunnel.map(|client| Tunnel { client, keyless });
        if matches!(admitted, Admitted::Upgrade(Protocol::Other) | Admitted::Stream(Protocol::Other)) {
            request.extensions_mut().insert(UnservedUpgrade);
        }
        forwarded::believe(&mut request, &self.session);
        let comes_unasked = request.body().is_end_stream() || !request.headers().contains_key(EXPECT);
        head::forward(request.headers_mut(), admitted, &self.session);
        let asked = self.session.grpc_web.then(|| Asked::of(request.headers())).flatten();
        if asked.is_some() {
            request.extensions_mut().insert(OfWeb);
        }
        let (decoder, web) = asked.map(|asked| (Box::new(asked.decoder), asked.answer)).unzip();
        let busy = Busy::new(&self.session);
        let request = request.map(|body| InboundBody::new(body, http2, comes_unasked, busy.clone()).decoded(decoder));
        let future = self.inner.borrow_mut().call(request);
        ExchangeFuture::Forwarded { future, tunnel, http2, busy: Some(busy), web }
    }
}

/// A connection of a client that is to become a tunnel.
pub(super) struct Tunnel {
    client: OnUpgrade,
    /// Whether the key of the handshake is ours.
    keyless: bool,
}

pin_project! {
    /// The future of [`Exchange`].
    #[project = ExchangeProjection]
    pub(super) enum ExchangeFuture<F, B> {
        // `None`: it was given.
        Refused { refusal: Option<Refusal>, version: Version },
        Forwarded { #[pin] future: F, tunnel: Option<Tunnel>, http2: bool, busy: Option<Busy>, web: Option<Answer> },
        Retold { #[pin] retold: Retold<B>, http2: bool, busy: Option<Busy> },
    }
}

impl<F, B, E> Future for ExchangeFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
{
    type Output = Result<Response<OutboundBody<B>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(match self.as_mut().project() {
            ExchangeProjection::Refused { refusal, version } => match refusal.take() {
                Some(refusal) => refuse(refusal, *version < Version::HTTP_2),
                None => return Poll::Pending,
            },
            ExchangeProjection::Forwarded { future, tunnel, http2, busy, web } => {
                let result = ready!(future.poll(cx));
                let last = is_last(busy, *http2);
                let mut response = if !*http2 && busy.as_ref().is_some_and(|busy| busy.is_broken()) {
                    // Whatever came of it: the client did not send what it announced.
                    refuse(Refusal::plain(StatusCode::BAD_REQUEST, "Bad Request"), true)
                } else if let Some(refused) = web.as_ref().and_then(Answer::to_broken) {
                    // Of a connection that was to become a tunnel nothing was read along.
                    refuse(refused, tunnel.is_some() && !*http2)
                } else {
                    match (result, web.take()) {
                        (Ok(response), Some(web)) if tunnel.is_none() && !Answer::takes(&response) => {
                            let (retold, http2, busy) = (Retold::new(response, web), *http2, busy.take());
                            self.set(Self::Retold { retold, http2, busy });
                            return self.poll(cx);
                        }
                        (Ok(response), web) => finish(response, tunnel.take(), *http2, (busy.take(), web)),
                        (Err(error), _) => {
                            tracing::debug!(error = %error.into(), "no rule took a request and its host did not answer");
                            reply(StatusCode::SERVICE_UNAVAILABLE, false)
                        }
                    }
                };
                end_with(&mut response, last);
                response
            }
            ExchangeProjection::Retold { retold, http2, busy } => {
                let mut response = ready!(retold.poll(cx)).map(|()| OutboundBody::empty());
                dress(&mut response, *http2);
                end_with(&mut response, is_last(busy, *http2));
                response
            }
        }))
    }
}

fn finish<B>(
    mut response: Response<B>,
    tunnel: Option<Tunnel>,
    http2: bool,
    (busy, web): (Option<Busy>, Option<Answer>),
) -> Response<OutboundBody<B>>
where
    B: Body<Data = Bytes> + Send + 'static,
{
    let trailers = http2 && response.version() >= Version::HTTP_2;
    let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    dress(&mut response, http2);
    match (switching, tunnel) {
        (false, Some(Tunnel { client, .. })) => {
            head::refuse_tunnel(response.headers_mut(), http2);
            let by_upstream = response.extensions().get().is_none_or(RouteInfo::is_by_upstream);
            if !by_upstream && http2 && response.status().is_success() {
                // hyper takes it for the tunnel, and what comes through that for the body.
                response.headers_mut().remove(CONTENT_LENGTH);
                let (parts, body) = response.into_parts();
                tokio::spawn(tunnel::say(client, body));
                return Response::from_parts(parts, OutboundBody::empty());
            }
            if !by_upstream || response.status().as_u16() >= 400 {
                return OutboundBody::of(response, trailers, busy);
            }
            // Only an error may say more than that the tunnel is not there.
            for name in [CONTENT_LENGTH, CONTENT_TYPE] {
                response.headers_mut().remove(name);
            }
            response.map(|_| OutboundBody::empty())
        }
        (false, None) => {
            if let Some(web) = &web {
                web.admit(&mut response);
            }
            let tells_length = response.status() == StatusCode::NOT_MODIFIED && !http2;
            let response = OutboundBody::of(response, trailers, busy);
            response.map(|body| body.telling_length(tells_length).translated(web))
        }
        (true, Some(Tunnel { client, keyless })) => {
            let upstream = hyper::upgrade::on(&mut response);
            if http2 {
                head::answer_by_stream(&mut response, keyless);
            }
            let (parts, body) = response.into_parts();
            tokio::spawn(tunnel::run(client, upstream, http2, (body, busy)));
            Response::from_parts(parts, OutboundBody::empty())
        }
        // A rule asked for it, and not the client.
        (true, None) => reply(StatusCode::BAD_GATEWAY, false),
    }
}

/// Whether the connection of a request ends with its answer, since its listener is gone. HTTP/2 has words of its own.
fn is_last(busy: &Option<Busy>, http2: bool) -> bool {
    !http2 && busy.as_ref().is_some_and(|busy| busy.is_leaving())
}

/// Tells the client that an answer is the `last`, unless the connection becomes a tunnel.
fn end_with<B>(response: &mut Response<B>, last: bool) {
    if last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Makes a head one of this connection.
fn dress<B>(response: &mut Response<B>, http2: bool) {
    let status = response.status();
    head::backward(response.headers_mut(), status == StatusCode::SWITCHING_PROTOCOLS);
    if status == StatusCode::NO_CONTENT {
        // It never has one (RFC 9110, 8.6).
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    // A status has words of its own, whatever the endpoint called it; to one that has none hyper would say `<none>`.
    match status.canonical_reason() {
        Some(_) => response.extensions_mut().remove::<ReasonPhrase>(),
        None => response.extensions_mut().insert(ReasonPhrase::from_static(b"Unknown")),
    };
    *response.version_mut() = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
}

/// An answer at the door, with which a connection of HTTP/1.1 ends.
fn refuse<B>(refusal: Refusal, close: bool) -> Response<OutboundBody<B>> {
    let mut response = reply(refusal.status, close).map(|_: OutboundBody<B>| OutboundBody::words(refusal.body));
    response.headers_mut().extend(refusal.headers);
    response
}

/// An answer of the gateway itself, without a body.
fn reply<B>(status: StatusCode, close: bool) -> Response<OutboundBody<B>> {
    let mut response = Response::new(OutboundBody::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(SERVER, HeaderValue::from_static("istio-envoy"));
    if close {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
