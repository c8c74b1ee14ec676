//! Copies of requests: sent beside the first try, and then nobody's concern.
//!
//! A mirror is a request of its own: it has its cluster's balancing, limits and outlier detection, and the route's
//! timeout from the end of the copy on, but no retries. Its answer is read and dropped. It ends with the mesh. The metrics
//! do not count it: nobody asked for it.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{EXPECT, HOST};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version};
use http_body::Body;
use tokio::time::Instant;
use tower_service::Service;

use super::admission::Admission;
use super::classify::{self, Classifier};
use super::completion::Taken;
use super::decide::with_authority;
use super::exchange::Exchange;
use super::extras::MirrorTarget;
use super::hop;
use super::mirror_body::{CopyFate, MirrorBody};
use super::names::X_FORWARDED_FOR;
use super::request_body::RequestBody;
use super::saved_head::SavedHead;
use crate::error::BoxError;
use crate::outcome::{Failure, Outcome};
use crate::request::ListenerOrigin;
use crate::route::Route;
use crate::route::one_line::{self, Side};
use crate::upstream::Choice;

const INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");

/// What copies are sent through.
#[derive(Clone, Debug, Default)]
pub(super) enum Copies {
    /// The service that the request itself goes through.
    #[default]
    Inner,
    /// A client beside it.
    Through(Arc<dyn Sender>),
    /// Nothing: there are none. Whether that was said.
    Nowhere(Arc<AtomicBool>),
}

impl Copies {
    /// They are sent through `client`.
    pub(super) fn through<S, R>(client: S) -> Self
    where
        S: Service<Request<RequestBody<MirrorBody>>, Response = Response<R>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        R: Body + Send + 'static,
    {
        Self::Through(Arc::new(Client(Mutex::new(client))))
    }

    /// Whether there are any. That those of a rule are not sent is said once, for the first rule that has some.
    pub(super) fn go(&self, route: &Route) -> bool {
        let Self::Nowhere(said) = self else { return true };
        if !said.load(Ordering::Relaxed) && !said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                resource = %route.origin.resource, path = %route.origin.path,
                "the mirrors of a rule are not sent: `InboundRouter::with_mirrors` was given no client for them"
            );
        }
        false
    }

    /// The client for the copies of this request, if it has any.
    pub(super) fn sender(&self, exchange: &Exchange) -> Option<Arc<dyn Sender>> {
        match self {
            Self::Through(sender) if !exchange.mirrors().is_empty() => Some(Arc::clone(sender)),
            _ => None,
        }
    }
}

/// A client whose type is forgotten.
pub(super) trait Sender: fmt::Debug + Send + Sync {
    /// Sends one copy, as [`send`] does.
    fn send(&self, saved: &SavedHead, exchange: &Exchange, target: MirrorTarget);
}

/// A client need not be `Sync`: the lock is held while it is cloned.
struct Client<S>(Mutex<S>);

impl<S> fmt::Debug for Client<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").finish_non_exhaustive()
    }
}

impl<S, R> Sender for Client<S>
where
    S: Service<Request<RequestBody<MirrorBody>>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    R: Body + Send + 'static,
{
    fn send(&self, saved: &SavedHead, exchange: &Exchange, target: MirrorTarget) {
        let client = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        send(&client, saved, exchange, target);
    }
}

/// Sends one copy in a task of its own. Without a runtime, an endpoint or room in the limits there is none.
pub(super) fn send<S, B, R>(service: &S, saved: &SavedHead, exchange: &Exchange, mut target: MirrorTarget)
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body + Send + 'static,
    R: Body + Send + 'static,
{
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let Some(mut head) = saved.restore() else { return };
    if exchange.inbound {
        // The head is as the server took it from the connection.
        let websocket = hop::names_websocket(&head.headers);
        hop::drop_hop_by_hop(&mut head.headers, websocket);
        head.headers.remove(EXPECT);
    }
    if target.suffixed && name_shadow(&mut head).is_none() {
        return;
    }
    let mut draws = exchange.draws.clone();
    // What a rule hashes is for its own destinations: a mirror that hashes draws, as with any request without a hash.
    let choice = Choice { original: exchange.original(), ..Choice::default() };
    let Some(picked) = target.cluster.pick(&mut draws, &choice) else { return };
    let timeout = exchange.forward().and_then(|forward| forward.timeout).filter(|timeout| !timeout.is_zero());
    let outlier = target.cluster.settings().outlier.as_ref();
    let timed = outlier.is_some_and(|outlier| timeout.is_some() || outlier.local_failures.is_some());
    let Some(admission) = Admission::of(picked.endpoint(), timed, target.waits.may()) else { return };
    if exchange.listener.is_some() {
        // To whom it is sent the gateway is its client, in whatever version the request came.
        head.version = Version::HTTP_11;
    }
    let Some(aim) = exchange.point_at(&mut head, picked.endpoint()) else { return };
    let aim = aim.with_admission(admission.clone());
    let taken = Taken { picked, admission };
    if let Some(listener) = &exchange.listener {
        exchange.deadline.announce_to_copy(&mut head.headers);
        announce(&mut head.headers, listener);
    }
    let body = target.body.take();
    let copy = body.as_ref().map(MirrorBody::sent);
    let body = body.map_or_else(RequestBody::empty, RequestBody::mirror);
    let request = Request::from_parts(head, body.with_aim(aim));
    let mut published = target.published.clone();
    let (grpc, classifier) = (exchange.asked.grpc, exchange.classifier().cloned());
    let shadow = Shadow { target, taken, grpc, classifier, timeout, sent: Instant::now(), copy };
    let mirrored = shadow.send(service.clone(), request);
    runtime.spawn(async move {
        // The versions end with the mesh.
        let gone = async { while published.changed().await.is_ok() {} };
        first(mirrored, gone).await;
    });
}

/// Says in the head of a copy what a gateway says there beside what it said of the first try: that it asks itself.
fn announce(headers: &mut HeaderMap, listener: &ListenerOrigin) {
    headers.insert(INTERNAL, HeaderValue::from_static("true"));
    if let Some(local) = listener.local
        && let Ok(local) = HeaderValue::try_from(local.ip().to_string())
    {
        one_line::append(headers, &X_FORWARDED_FOR, local, Side::Request);
    }
}

/// Puts the suffix of copies behind the host that a head names; `None` if that makes no name.
fn name_shadow(head: &mut Parts) -> Option<()> {
    if let Some(host) = head.headers.get(HOST) {
        let host = HeaderValue::try_from(shadow_of(host.as_bytes())).ok()?;
        head.headers.insert(HOST, host);
    }
    if let Some(authority) = head.uri.authority() {
        let authority = Authority::try_from(shadow_of(authority.as_str().as_bytes())).ok()?;
        with_authority(head, authority)?;
    }
    Some(())
}

/// The same authority with the suffix before its port, which is what follows the last colon outside of brackets.
fn shadow_of(authority: &[u8]) -> Vec<u8> {
    let last = authority.iter().rposition(|byte| matches!(byte, b':' | b']'));
    let port = last.filter(|at| authority.get(*at) == Some(&b':')).unwrap_or(authority.len());
    let (host, port) = authority.split_at(port);
    [host, b"-shadow", port].concat()
}

/// One copy on its way.
struct Shadow {
    target: MirrorTarget,
    taken: Taken,
    grpc: bool,
    /// What the application says about errors.
    classifier: Option<Classifier>,
    /// How long it may take once all of the request is there.
    timeout: Option<Duration>,
    sent: Instant,
    /// What becomes of its body, if it has one.
    copy: Option<CopyFate>,
}

impl Shadow {
    /// From the service's readiness to the end of the answer.
    async fn send<S, B, R>(self, mut service: S, request: Request<RequestBody<B>>)
    where
        S: Service<Request<RequestBody<B>>, Response = Response<R>>,
        S::Error: Into<BoxError>,
        R: Body,
    {
        let answer = async {
            std::future::poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
            let (admission, waits) = (&self.taken.admission, &self.target.waits);
            // Others may have shown meanwhile that it would be called in vain.
            if admission.is_refused() && !waits.may() {
                return Ok(None);
            }
            let call = service.call(request);
            waits.shown_by(admission);
            if admission.is_refused() {
                return Ok(None);
            }
            call.await.map(Some).map_err(Into::into)
        };
        let answer: Option<Result<_, BoxError>> = self.in_time(answer).await;
        let response = match answer {
            Some(Ok(Some(response))) => response,
            Some(Ok(None)) => return,
            Some(Err(error)) => {
                let failure = classify::failure_by(self.classifier.as_ref(), &*error);
                return self.fail(failure);
            }
            None => return self.fail(Failure::Timeout),
        };
        self.report(Outcome::of_answer(response.status(), response.headers(), self.grpc));
        let mut body = pin!(response.into_body());
        let read = async {
            loop {
                match std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
                    Some(Ok(_)) => {}
                    Some(Err(_)) => return true,
                    None => return false,
                }
            }
        };
        // Late, it is cut off without a word; broken off, it is the endpoint's fault.
        if self.in_time(read).await == Some(true) {
            self.report(Outcome::Failure(Failure::RemoteReset));
        }
    }

    /// What comes of `future` in time.
    async fn in_time<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let Some(timeout) = self.timeout else { return Some(future.await) };
        let mut future = pin!(future);
        let begun = std::future::poll_fn(|cx| match self.poll_begun(cx) {
            Poll::Ready(begun) => Poll::Ready(Err(begun)),
            Poll::Pending => future.as_mut().poll(cx).map(Ok),
        });
        match begun.await {
            Ok(come) => Some(come),
            Err(begun) => tokio::time::timeout_at(begun + timeout, future).await.ok(),
        }
    }

    /// When its time began, which does with the end of the request.
    fn poll_begun(&self, cx: &mut Context<'_>) -> Poll<Instant> {
        self.copy.as_ref().map_or(Poll::Ready(self.sent), |copy| copy.poll_end(cx))
    }

    fn fail(&self, failure: Failure) {
        let failure = if self.broke_off() { Failure::LocalReset } else { failure };
        // Before it has a connection it is nobody's fault, nor where it never got the whole request.
        let late = self.taken.admission.is_connected() && !self.copy.as_ref().is_some_and(CopyFate::is_cut);
        if failure != Failure::Timeout || late {
            self.report(Outcome::Failure(failure));
        }
    }

    /// Whether this side broke the request off, whatever the client makes of that.
    fn broke_off(&self) -> bool {
        self.copy.as_ref().is_some_and(CopyFate::broke_off)
    }

    /// Tells outlier detection, unless it was this side that broke the request off.
    fn report(&self, outcome: Outcome) {
        if !self.broke_off() {
            self.taken.report(&self.target.cluster, outcome);
        }
    }
}

/// Ends with the first of the two.
async fn first(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let poll = |future: Pin<&mut dyn Future<Output = ()>>, cx: &mut Context<'_>| future.poll(cx).is_ready();
    std::future::poll_fn(|cx| match poll(other.as_mut(), cx) || poll(one.as_mut(), cx) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suffix_stands_where_envoy_puts_it() {
        for (authority, expected) in [
            ("example.com", "example.com-shadow"),
            ("example.com:8080", "example.com-shadow:8080"),
            ("[::1]", "[::1]-shadow"),
            ("[2001:db8::1]:80", "[2001:db8::1]-shadow:80"),
            ("10.0.0.1:80", "10.0.0.1-shadow:80"),
            ("example.com:", "example.com-shadow:"),
            ("example.com.", "example.com.-shadow"),
            ("a:b:c", "a:b-shadow:c"),
            ("user@example.com:80", "user@example.com-shadow:80"),
            ("EXAMPLE.com:http", "EXAMPLE.com-shadow:http"),
            (":80", "-shadow:80"),
        ] {
            assert_eq!(shadow_of(authority.as_bytes()), expected.as_bytes(), "{authority}");
        }
    }

    #[test]
    fn uri_and_host_get_it_alike() {
        let named = |uri: &str, host: &str| {
            let (mut head, ()) = Request::get(uri).header(HOST, host).body(()).unwrap().into_parts();
            name_shadow(&mut head).unwrap();
            (head.uri.to_string(), head.headers[HOST].to_str().unwrap().to_owned())
        };
        assert_eq!(named("/a?b", "a.test:81"), ("/a?b".to_owned(), "a.test-shadow:81".to_owned()));
        assert_eq!(named("http://[::1]:80/a", "b"), ("http://[::1]-shadow:80/a".to_owned(), "b-shadow".to_owned()));
    }
}
