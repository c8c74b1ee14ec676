//! What the requests of one connection share: [`Session`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::HeaderValue;

use super::drain::Alive;
use super::idle::Activity;
use crate::dice::Dice;
use crate::request::ListenerOrigin;

/// One connection of a client, shared by its requests, its bytes and the tunnels made of it.
#[derive(Debug)]
pub(super) struct Session {
    /// What `x-forwarded-for` says of the other side; `None` for a Unix socket.
    pub(super) peer: Option<HeaderValue>,
    pub(super) tls: bool,
    /// How many proxies before us are believed.
    pub(super) trusted: u32,
    /// The listener as rules see it, for requests whose client is somebody else.
    pub(super) origin: Option<Arc<ListenerOrigin>>,
    pub(super) dice: Dice,
    pub(super) activity: Activity,
    /// The number of the first request that says its length in two ways.
    ambiguous: AtomicU64,
    /// Whether a request body broke off or was not what its framing promised.
    broken: AtomicBool,
    /// Held so that a drain waits for this connection.
    _alive: Option<Alive>,
}

impl Session {
    pub(super) fn new(peer: Option<SocketAddr>, tls: bool, dice: Dice, alive: Option<Alive>) -> Self {
        // An address is always a valid header value.
        let peer = peer.and_then(|peer| HeaderValue::from_maybe_shared(peer.ip().to_canonical().to_string()).ok());
        let (ambiguous, broken) = (AtomicU64::new(u64::MAX), AtomicBool::new(false));
        let activity = Activity::new();
        Self { peer, tls, trusted: 0, origin: None, dice, activity, ambiguous, broken, _alive: alive }
    }

    /// Believes so many proxies of what they say about the clients of `origin`.
    pub(super) fn behind(mut self, trusted: u32, origin: &Arc<ListenerOrigin>) -> Self {
        (self.trusted, self.origin) = (trusted, Some(Arc::clone(origin)));
        self
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Self::new(Some(([192, 0, 2, 7], 4000).into()), false, Dice::seeded(1), None)
    }

    #[cfg(test)]
    pub(super) fn trusting(self, trusted: u32) -> Self {
        let mut origin = ListenerOrigin::new("http.8080", 8080);
        origin.peer = Some(([192, 0, 2, 7], 4000).into());
        self.behind(trusted, &Arc::new(origin))
    }

    pub(super) fn mark_ambiguous(&self, request: u64) {
        self.ambiguous.store(request, Ordering::Relaxed);
    }

    pub(super) fn is_ambiguous(&self, request: u64) -> bool {
        self.ambiguous.load(Ordering::Relaxed) == request
    }

    pub(super) fn mark_broken(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}
