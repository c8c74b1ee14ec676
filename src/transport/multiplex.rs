//! HTTP/2 connections of one endpoint, shared by their requests.
//!
//! Usually there is one. A further one is opened when every stream the others allow is taken. The connections are one
//! immutable value behind an `ArcSwap`, so a request that finds a stream waits for nobody.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use http::{Method, Request, Response, StatusCode};
use hyper::client::conn::http2;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::Upload;
use super::admission::Gate;
use super::body::TransportBody;
use super::bounds::MAX_LINES;
use super::connect::{Spoken, Target};
use super::executor::Executor;
use super::failure;
use super::head;
use super::payload::Payload;
use super::place::{Place, Placed};
use super::pool::{Pool, TRIES};
use super::queue::{Opening, Queue};
use super::streams::{Stream, Streams};
use super::terms::Terms;
use crate::error::BoxError;
use crate::outcome::FailureError;
use crate::service::Admission;

/// The HTTP/2 connections of one endpoint.
pub(super) struct Multiplex<B> {
    connections: ArcSwap<Vec<Arc<Connection<B>>>>,
    pub(super) queue: Queue<Claimed<B>>,
}

struct Connection<B> {
    sender: http2::SendRequest<Payload<B>>,
    streams: Arc<Streams>,
    allows: Arc<dyn Allows>,
}

/// What the other side of a connection allows.
trait Allows: Send + Sync {
    /// How many streams at a time, as far as was read of it; `None`: that is looked at elsewhere just now, or it is over.
    fn streams(&self) -> Option<usize>;
}

impl<B> Connection<B> {
    fn is_usable(&self) -> bool {
        !self.sender.is_closed() && !self.streams.is_spent()
    }
}

/// A stream for one request.
pub(super) struct Claimed<B> {
    sender: http2::SendRequest<Payload<B>>,
    stream: Stream,
}

impl<B> Claimed<B> {
    fn of(connection: &Arc<Connection<B>>) -> Option<Self> {
        // Settings may come at any time, and wake nobody who would tell of them.
        if let Some(limit) = connection.allows.streams() {
            connection.streams.allow(limit);
        }
        Some(Self { stream: Stream::claim(&connection.streams)?, sender: connection.sender.clone() })
    }
}

impl<B> Multiplex<B> {
    pub(super) fn new() -> Self {
        Self { connections: ArcSwap::default(), queue: Queue::new() }
    }

    fn claim(&self) -> Option<Claimed<B>> {
        let connections = self.connections.load();
        let claimed = connections.iter().filter(|connection| connection.is_usable()).find_map(Claimed::of);
        // This stream may be the last.
        self.drop_spent_of(&connections);
        claimed
    }

    pub(super) fn drop_spent(&self) {
        self.drop_spent_of(&self.connections.load());
    }

    /// Lets go of the connections that carry no further stream: each ends with its last, and makes room for another.
    fn drop_spent_of(&self, connections: &[Arc<Connection<B>>]) {
        if !connections.iter().all(|connection| connection.is_usable()) {
            self.change(|connection| connection.is_usable(), None);
        }
    }

    /// Keeps the connections that `stays` says, and those of `more`.
    fn change(&self, stays: impl Fn(&Arc<Connection<B>>) -> bool, more: Option<&Arc<Connection<B>>>) {
        self.connections.rcu(|connections| -> Vec<_> {
            connections.iter().filter(|connection| stays(connection)).chain(more).cloned().collect()
        });
    }

    pub(super) fn sweep(&self, terms: &Terms, now: Instant) {
        let stays = |connection: &Arc<Connection<B>>| connection.is_usable() && !connection.streams.is_idle(terms, now);
        if !self.connections.load().iter().all(stays) {
            self.change(stays, None);
        }
    }

    /// Lets go of all; each ends with its last stream.
    pub(super) fn clear(&self) {
        self.connections.store(Arc::default());
    }

    /// Whether streams are open, be it for bodies alone.
    pub(super) fn is_busy(&self) -> bool {
        self.connections.load().iter().any(|connection| connection.streams.is_taken())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.connections.load().is_empty()
    }
}

impl<B: Upload> Pool<B> {
    /// Sends `request` as a stream of a shared connection.
    ///
    /// If the connection turns out closed before a byte of the request was written, it goes to another one; the last
    /// time to a fresh one.
    pub(super) async fn send_shared(
        self: Arc<Self>,
        target: Target,
        mut request: Request<Payload<B>>,
        admission: Admission,
    ) -> Result<Response<TransportBody>, BoxError> {
        let gate = Gate(admission);
        let asks_for_head = request.method() == Method::HEAD;
        let mut tries = 0;
        loop {
            tries += 1;
            let Claimed { mut sender, stream } = self.stream(&target, &gate, tries == TRIES).await?;
            let half = request.body_mut().share(stream);
            match sender.try_send_request(request).await {
                Ok(response) => {
                    half.streams().hear();
                    // `:status` is a line too.
                    if response.headers().len() >= MAX_LINES {
                        return Err(failure::of_long_head().into());
                    }
                    if !head::says_length_once(response.headers()) {
                        return Err(failure::of_unsound_answer().into());
                    }
                    let is_tunnel = response.extensions().get::<OnUpgrade>().is_some();
                    let status = response.status();
                    let bare = asks_for_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
                    let stream = |body| TransportBody::stream(body, half, is_tunnel, gate.0.clone());
                    return Ok(response.map(|body| stream(body).with_nothing_in_it(bare)));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if tries < TRIES => {
                        self.multiplex.change(|other| !half.is_of(&other.streams), None);
                        request = unsent;
                    }
                    None if sender.is_closed() && !half.is_begun() => {
                        return Err(failure::of_unopened(error.into_error()).into());
                    }
                    _ => return Err(failure::of_stream(error.into_error()).into()),
                },
            }
        }
    }

    async fn stream(self: &Arc<Self>, target: &Target, gate: &Gate, fresh: bool) -> Result<Claimed<B>, FailureError> {
        let queue = &self.multiplex.queue;
        if !fresh
            && queue.is_empty()
            && let Some(claimed) = self.multiplex.claim()
        {
            gate.enter()?;
            return Ok(claimed);
        }
        let turn = queue.join(target, gate.wait(target)?);
        if !fresh {
            self.settle_shared();
        }
        if !self.open_more_shared(&Handle::current()) {
            self.settle_shared();
        }
        let claimed = turn.await?;
        gate.enter()?;
        Ok(claimed)
    }

    /// Gives the streams that are free to those who wait.
    pub(super) fn settle_shared(&self) {
        while !self.multiplex.queue.is_empty() {
            let Some(claimed) = self.multiplex.claim() else { return };
            drop(self.multiplex.queue.serve(claimed));
        }
    }

    /// Opens as many connections as those who wait need and are allowed; whether there is one to wait for.
    pub(super) fn open_more_shared(self: &Arc<Self>, runtime: &Handle) -> bool {
        let mut any = false;
        while let Some(opening) = self.multiplex.queue.open_one_more(self.terms.each()) {
            any = true;
            runtime.spawn(self.clone().open_shared(opening));
        }
        any
    }

    async fn open_shared(self: Arc<Self>, opening: Opening) {
        let Opening { target, permit } = opening;
        let place = Place::new(permit, self.vacancy(), true, Handle::current());
        let queue = &self.multiplex.queue;
        // Over before the place is free again: nobody tries for those who are told of its failure.
        let attempt = queue.attempt();
        let handshake = |wire| self.shake_hands(Placed::new(wire, place.clone()));
        let connection = match target.open(&self.settings, &self.terms, Spoken::Http2, handshake).await {
            Ok(connection) => connection,
            Err(error) => return attempt.failed(error),
        };
        drop(place);
        attempt.opened();
        // First those who waited for it: it may not be kept.
        while !queue.is_empty() {
            let Some(claimed) = Claimed::of(&connection) else { break };
            drop(queue.serve(claimed));
        }
        if !self.settings.is_closed() && !self.is_retired() {
            self.multiplex.change(|other| other.is_usable(), Some(&connection).filter(|it| it.is_usable()));
            if self.is_retired() {
                // In between, and the others may have been let go of already.
                self.multiplex.clear();
            }
            self.settle_shared();
        }
        self.open_more_shared(&Handle::current());
    }

    async fn shake_hands(self: &Arc<Self>, wire: Placed) -> Result<Arc<Connection<B>>, FailureError> {
        let (sender, connection) = self.terms.http2.handshake(TokioIo::new(wire)).await.map_err(failure::of_stream)?;
        let streams = Streams::new(&self.terms, self.multiplex.queue.waiting().clone(), self.vacancy());
        let connection = Arc::new(Driven(Mutex::new(Some(connection))));
        tokio::spawn(drive(Driving(connection.clone()), streams.clone()));
        Ok(Arc::new(Connection { sender, streams, allows: connection }))
    }
}

type Http2<B> = http2::Connection<TokioIo<Placed>, Payload<B>, Executor>;

/// A connection, for the task that drives it and for those who ask what it allows; gone once it is over.
struct Driven<B: Upload>(Mutex<Option<Http2<B>>>);

impl<B: Upload> Driven<B> {
    fn lock(&self) -> MutexGuard<'_, Option<Http2<B>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drives it on; also how many streams it allows.
    fn poll(&self, cx: &mut Context<'_>) -> (Poll<hyper::Result<()>>, Option<usize>) {
        let mut driven = self.lock();
        let Some(connection) = driven.as_mut() else { return (Poll::Ready(Ok(())), None) };
        (Pin::new(&mut *connection).poll(cx), Some(connection.current_max_send_streams()))
    }
}

impl<B: Upload> Allows for Driven<B> {
    fn streams(&self) -> Option<usize> {
        Some(self.0.try_lock().ok()?.as_ref()?.current_max_send_streams())
    }
}

/// Held by the task that drives a connection, which ends with it.
struct Driving<B: Upload>(Arc<Driven<B>>);

impl<B: Upload> Drop for Driving<B> {
    fn drop(&mut self) {
        let over = self.0.lock().take();
        drop(over);
    }
}

/// Drives a connection until the other side closes it or nobody needs it any more.
async fn drive<B: Upload>(driving: Driving<B>, streams: Arc<Streams>) {
    let mut heard = pin!(streams.heard.notified());
    let mut first = true;
    let driven = std::future::poll_fn(|cx| {
        // hyper looks after the other side's settings elsewhere and does not wake this task for them.
        if first && heard.as_mut().poll(cx).is_ready() {
            first = false;
        }
        let (driven, limit) = driving.0.poll(cx);
        limit.into_iter().for_each(|limit| streams.allow(limit));
        driven
    });
    if let Err(error) = driven.await {
        tracing::debug!(%error, "an HTTP/2 connection ended");
    }
}
