//! What the requests of one connection share: [`Session`].

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::HeaderValue;

use super::drain::Alive;
use crate::dice::Dice;

/// One connection of a client, shared by its requests, its bytes and the tunnels made of it.
#[derive(Debug)]
pub(super) struct Session {
    /// What `x-forwarded-for` says of the other side; `None` for a Unix socket.
    pub(super) peer: Option<HeaderValue>,
    pub(super) tls: bool,
    pub(super) dice: Dice,
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
        Self { peer, tls, dice, ambiguous, broken, _alive: alive }
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Self::new(Some(([192, 0, 2, 7], 4000).into()), false, Dice::seeded(1), None)
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
