//! HTTP/2 connections of one endpoint, shared by their requests.
//!
//! Usually there is one. A further one is opened when every stream the others allow is taken, one at a time: who comes
//! meanwhile waits for it, and shares its failure. The connections and the attempt to open one are one immutable value
//! behind an `ArcSwap`, so nobody waits for a lock.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Upload;
use super::body::TransportBody;
use super::connect::Target;
use super::failure;
use super::pool::Pool;
use super::settings::Settings;
use super::wire::Wire;
use crate::error::BoxError;
use crate::outcome::FailureError;
use crate::service::RequestBody;

/// The HTTP/2 connections of one endpoint.
pub(super) struct Multiplex<B> {
    state: ArcSwap<State<B>>,
}

struct State<B> {
    connections: Vec<Arc<Connection<B>>>,
    attempt: Option<Arc<Attempt>>,
}

struct Connection<B> {
    sender: http2::SendRequest<Payload<B>>,
    streams: Arc<Streams>,
}

impl<B> Connection<B> {
    fn is_usable(&self) -> bool {
        !self.sender.is_closed()
    }
}

/// What a request gets that wants a stream.
enum Claim<B> {
    Stream(Arc<Connection<B>>, Stream),
    Open(Arc<Attempt>),
    Wait(Arc<Attempt>),
}

impl<B> Multiplex<B> {
    pub(super) fn new() -> Self {
        Self { state: ArcSwap::from_pointee(State { connections: Vec::new(), attempt: None }) }
    }

    fn claim(&self) -> Claim<B> {
        for connection in &self.state.load().connections {
            if connection.is_usable()
                && let Some(stream) = Stream::claim(&connection.streams)
            {
                return Claim::Stream(connection.clone(), stream);
            }
        }
        let own = Arc::new(Attempt::default());
        let before = self.change(|state| match &state.attempt {
            Some(_) => None,
            None => Some(State { connections: state.usable().collect(), attempt: Some(own.clone()) }),
        });
        match &before.attempt {
            Some(attempt) => Claim::Wait(attempt.clone()),
            None => Claim::Open(own),
        }
    }

    /// Replaces the state unless `change` sees nothing to do, and returns the one before.
    fn change(&self, mut change: impl FnMut(&State<B>) -> Option<State<B>>) -> Arc<State<B>> {
        self.state.rcu(|state| change(state).map_or_else(|| state.clone(), Arc::new))
    }

    fn remove(&self, connection: &Arc<Connection<B>>) {
        self.change(|state| {
            let connections = state.usable().filter(|other| !Arc::ptr_eq(other, connection)).collect();
            Some(State { connections, attempt: state.attempt.clone() })
        });
    }

    pub(super) fn sweep(&self, settings: &Settings, now: Instant) {
        let stays = |connection: &Arc<Connection<B>>| {
            connection.is_usable() && !connection.streams.is_idle(settings.idle_timeout, now)
        };
        if !self.state.load().connections.iter().all(stays) {
            self.change(|state| {
                let connections = state.usable().filter(stays).collect();
                Some(State { connections, attempt: state.attempt.clone() })
            });
        }
    }

    /// Lets go of all; each ends with its last stream.
    pub(super) fn clear(&self) {
        self.change(|state| Some(State { connections: Vec::new(), attempt: state.attempt.clone() }));
    }

    pub(super) fn is_empty(&self) -> bool {
        let state = self.state.load();
        state.connections.is_empty() && state.attempt.is_none()
    }
}

impl<B> State<B> {
    fn usable(&self) -> impl Iterator<Item = Arc<Connection<B>>> {
        self.connections.iter().filter(|connection| connection.is_usable()).cloned()
    }
}

impl<B: Upload> Pool<B> {
    /// Sends `request` as a stream of a shared connection.
    ///
    /// If the connection turns out closed before a byte of the request was written, it goes to another one, once.
    pub(super) async fn send_shared(
        self: Arc<Self>,
        target: Target,
        request: Request<RequestBody<B>>,
    ) -> Result<Response<TransportBody>, BoxError> {
        let mut request = request.map(Payload::new);
        let mut again = true;
        loop {
            let (connection, stream) = self.stream(&target).await?;
            let reply = connection.sender.clone().try_send_request(request).await;
            match reply {
                Ok(response) => {
                    stream.streams.hear();
                    return Ok(response.map(|body| TransportBody::stream(body, stream)));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if again => {
                        again = false;
                        self.multiplex.remove(&connection);
                        request = unsent;
                    }
                    _ => return Err(failure::of_exchange(error.into_error()).into()),
                },
            }
        }
    }

    async fn stream(&self, target: &Target) -> Result<(Arc<Connection<B>>, Stream), FailureError> {
        loop {
            match self.multiplex.claim() {
                Claim::Stream(connection, stream) => return Ok((connection, stream)),
                Claim::Wait(attempt) => attempt.wait().await?,
                Claim::Open(attempt) => {
                    let opener = Opener { multiplex: &self.multiplex, attempt };
                    return match self.open_shared(target).await {
                        Ok((connection, stream)) => {
                            if !self.settings.is_closed() {
                                opener.publish(&connection);
                            }
                            Ok((connection, stream))
                        }
                        Err(error) => Err(opener.fail(error)),
                    };
                }
            }
        }
    }

    async fn open_shared(&self, target: &Target) -> Result<(Arc<Connection<B>>, Stream), FailureError> {
        let settings = &*self.settings;
        let handshake = |wire| async {
            let (sender, connection) =
                settings.http2.handshake(TokioIo::new(wire)).await.map_err(failure::of_exchange)?;
            let streams = Arc::new(Streams::new(settings));
            tokio::spawn(drive(connection, streams.clone(), settings.max_concurrent_streams));
            let stream = Stream::first(&streams);
            Ok((Arc::new(Connection { sender, streams }), stream))
        };
        target.open(settings, handshake).await
    }
}

/// Drives a connection until the other side closes it or nobody needs it any more.
async fn drive<B: Upload>(
    connection: http2::Connection<TokioIo<Wire>, Payload<B>, TokioExecutor>,
    streams: Arc<Streams>,
    most: usize,
) {
    let mut connection = connection;
    let mut heard = pin!(streams.heard.notified());
    let mut first = true;
    let driven = std::future::poll_fn(|cx| {
        // hyper looks after the other side's settings elsewhere and does not wake this task for them.
        if first && heard.as_mut().poll(cx).is_ready() {
            first = false;
        }
        let driven = Pin::new(&mut connection).poll(cx);
        streams.limit.store(connection.current_max_send_streams().min(most), Ordering::Relaxed);
        driven
    });
    if let Err(error) = driven.await {
        tracing::debug!(%error, "an HTTP/2 connection ended");
    }
}

/// How many streams of a connection are taken, and how many there may be.
struct Streams {
    active: AtomicUsize,
    limit: AtomicUsize,
    /// Notified when the first answer is there, and so the settings of the other side.
    heard: Notify,
    was_heard: AtomicBool,
    epoch: Instant,
    /// When the last stream ended, in milliseconds after `epoch`.
    idle_since: AtomicU64,
}

impl Streams {
    fn new(settings: &Settings) -> Self {
        Self {
            active: AtomicUsize::new(0),
            limit: AtomicUsize::new(settings.max_concurrent_streams),
            heard: Notify::new(),
            was_heard: AtomicBool::new(false),
            epoch: settings.epoch,
            idle_since: AtomicU64::new(0),
        }
    }

    fn hear(&self) {
        if !self.was_heard.load(Ordering::Relaxed) && !self.was_heard.swap(true, Ordering::Relaxed) {
            self.heard.notify_one();
        }
    }

    fn is_idle(&self, age: Option<Duration>, now: Instant) -> bool {
        let since = self.epoch + Duration::from_millis(self.idle_since.load(Ordering::Relaxed));
        self.active.load(Ordering::Acquire) == 0 && age.is_some_and(|age| now.saturating_duration_since(since) >= age)
    }
}

/// One stream that is taken, until this is dropped.
pub(super) struct Stream {
    streams: Arc<Streams>,
}

impl Stream {
    fn claim(streams: &Arc<Streams>) -> Option<Self> {
        // Counted even if it is one too many: the drop takes it back.
        let stream = Self::first(streams);
        let allowed = streams.active.load(Ordering::Relaxed) <= streams.limit.load(Ordering::Relaxed);
        allowed.then_some(stream)
    }

    fn first(streams: &Arc<Streams>) -> Self {
        streams.active.fetch_add(1, Ordering::Relaxed);
        Self { streams: streams.clone() }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let streams = &self.streams;
        if streams.active.load(Ordering::Relaxed) == 1 {
            let since = Instant::now().saturating_duration_since(streams.epoch).as_millis();
            streams.idle_since.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        streams.active.fetch_sub(1, Ordering::Release);
    }
}

/// One attempt to open a connection, for those who wait for it.
#[derive(Default)]
struct Attempt {
    over: Notify,
    /// `Ok` also if it was given up: whoever waits looks again.
    outcome: OnceLock<Result<(), Arc<FailureError>>>,
}

impl Attempt {
    async fn wait(&self) -> Result<(), FailureError> {
        let mut over = pin!(self.over.notified());
        over.as_mut().enable();
        if self.outcome.get().is_none() {
            over.await;
        }
        match self.outcome.get() {
            Some(Err(error)) => Err(failure::shared(error)),
            _ => Ok(()),
        }
    }
}

/// Whose attempt it is. Dropped on the way, the attempt is over and another request makes the next one.
struct Opener<'a, B> {
    multiplex: &'a Multiplex<B>,
    attempt: Arc<Attempt>,
}

impl<B> Opener<'_, B> {
    fn publish(self, connection: &Arc<Connection<B>>) {
        self.multiplex.change(|state| {
            let connections = state.usable().chain([connection.clone()]).collect();
            Some(State { connections, attempt: state.attempt.clone() })
        });
    }

    fn fail(self, error: FailureError) -> FailureError {
        let error = Arc::new(error);
        let own = failure::shared(&error);
        let _ = self.attempt.outcome.set(Err(error));
        own
    }
}

impl<B> Drop for Opener<'_, B> {
    fn drop(&mut self) {
        self.multiplex.change(|state| {
            state.attempt.as_ref().filter(|attempt| Arc::ptr_eq(attempt, &self.attempt))?;
            Some(State { connections: state.usable().collect(), attempt: None })
        });
        let _ = self.attempt.outcome.set(Ok(()));
        self.attempt.over.notify_waiters();
    }
}

/// A request body as hyper's HTTP/2 wants it: it need not stay in place.
pub(super) enum Payload<B> {
    Ended,
    Open(Pin<Box<RequestBody<B>>>),
}

impl<B: Upload> Payload<B> {
    fn new(body: RequestBody<B>) -> Self {
        if body.is_end_stream() { Payload::Ended } else { Payload::Open(Box::pin(body)) }
    }
}

impl<B: Upload> Body for Payload<B> {
    type Data = <RequestBody<B> as Body>::Data;
    type Error = <RequestBody<B> as Body>::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.get_mut() {
            Payload::Ended => Poll::Ready(None),
            Payload::Open(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Payload::Ended => true,
            Payload::Open(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Payload::Ended => SizeHint::with_exact(0),
            Payload::Open(body) => body.size_hint(),
        }
    }
}
