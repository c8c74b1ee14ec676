//! What the requests of one connection share: [`Session`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use http::HeaderValue;

use super::drain::{Alive, Draining};
use super::entrance::Entrance;
use super::framing::Flaw;
use super::idle::Activity;
use crate::dice::Dice;
use crate::request::ListenerOrigin;

/// One connection of a client, shared by its requests, its bytes and the tunnels made of it.
#[derive(Debug)]
pub(super) struct Session {
    /// What `x-forwarded-for` says of the other side; `None` for a Unix socket.
    pub(super) peer: Option<HeaderValue>,
    /// What `x-forwarded-client-cert` says of the certificate that the other side showed.
    pub(super) client_cert: Option<HeaderValue>,
    /// Whether requests of gRPC-Web are made requests of gRPC.
    pub(super) grpc_web: bool,
    /// How many proxies before us are believed.
    pub(super) trusted: u32,
    /// The listener as rules see it.
    pub(super) origin: Arc<ListenerOrigin>,
    pub(super) dice: Dice,
    pub(super) activity: Activity,
    /// How many requests have come.
    requests: AtomicU64,
    /// The number and flaw of the first request that hyper would repair.
    flawed: OnceLock<(u64, Flaw)>,
    /// Whether a request body broke off or was not what its framing promised.
    broken: AtomicBool,
    /// Whether it was told that its listener is gone, or that its client wants it closed.
    leaving: AtomicBool,
    /// Where its client came in.
    entrance: Option<Arc<Entrance>>,
    /// Held so that a drain waits for this connection, and asked for the tunnels made of it.
    guards: (Alive, Draining),
}

impl Session {
    pub(super) fn new(origin: Arc<ListenerOrigin>, dice: Dice, guards: (Alive, Draining)) -> Self {
        let peer = origin.peer.map(|peer| peer.ip().to_canonical().to_string());
        // An address is always a valid header value.
        let peer = peer.and_then(|peer| HeaderValue::from_maybe_shared(peer).ok());
        let (flawed, broken) = (OnceLock::new(), AtomicBool::new(false));
        let (activity, requests) = (Activity::new(), AtomicU64::new(0));
        Self {
            peer,
            client_cert: None,
            grpc_web: false,
            trusted: 0,
            origin,
            dice,
            activity,
            requests,
            flawed,
            broken,
            leaving: AtomicBool::new(false),
            entrance: None,
            guards,
        }
    }

    /// Whether a target may be of `https`: nobody can read it on its way, or there is a proxy before us to ask about that.
    pub(super) fn may_be_https(&self) -> bool {
        self.origin.tls || self.trusted > 0
    }

    /// Whose client came in there.
    pub(super) fn entered(self, entrance: Arc<Entrance>) -> Self {
        Self { entrance: Some(entrance), ..self }
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Self::trusting(0)
    }

    #[cfg(test)]
    pub(super) fn trusting(trusted: u32) -> Self {
        let drain = super::drain::Drain::new();
        let mut origin = ListenerOrigin::new("http.8080", 8080);
        (origin.peer, origin.believes_proto) = (Some(([192, 0, 2, 7], 4000).into()), trusted > 0);
        let session = Self::new(Arc::new(origin), Dice::seeded(1), (drain.alive(), drain.draining()));
        Self { trusted, ..session }
    }

    /// How many requests have come whose head could be read.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The number of a request that comes, from 0. They come one after the other.
    pub(super) fn number(&self) -> u64 {
        let number = self.requests();
        self.requests.store(number + 1, Ordering::Relaxed);
        number
    }

    /// Whether all that have come are over.
    pub(super) fn is_idle(&self) -> bool {
        self.activity.is_idle()
    }

    /// Notes the flaw of a request. None is read after the first.
    pub(super) fn mark(&self, request: u64, flaw: Flaw) {
        let _ = self.flawed.set((request, flaw));
    }

    pub(super) fn flaw_of(&self, request: u64) -> Option<Flaw> {
        self.flawed.get().filter(|(number, _)| *number == request).map(|(_, flaw)| *flaw)
    }

    pub(super) fn mark_broken(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Its listener is gone, or its client wants it closed: the next answer of HTTP/1.1 is the last of the connection.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed) || self.entrance.as_ref().is_some_and(|entrance| entrance.is_left())
    }

    /// Waits until its listener has been gone for long enough.
    pub(super) async fn expires(&self) {
        self.guards.1.clone().expires().await
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}
