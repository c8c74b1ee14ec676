//! Where a client came in: [`Entrance`] tells whether it would come in there again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::hello::Hello;
use crate::request::{ListenerOrigin, Origin};
use crate::service::detour::Detour;
use crate::snapshot::{Bind, Listener, ListenerProtocol, ServerTls, Snapshot};

/// A listener behind a socket that several may share, and the server name that a client asked for there.
#[derive(Debug)]
pub(super) struct Entrance {
    bind: Bind,
    server_name: Option<Box<str>>,
    listener: Arc<str>,
    tls: Option<Arc<ServerTls>>,
    protocol: ListenerProtocol,
    /// The version of the last snapshot by which a request came in here.
    seen: AtomicU64,
    /// Whether one was seen by which its client would not.
    left: AtomicBool,
}

impl Entrance {
    /// To `listener` of a snapshot of this version.
    pub(super) fn new(version: u64, hello: &Hello, listener: &Listener) -> Self {
        Self {
            bind: listener.bind.clone(),
            server_name: hello.server_name.clone(),
            listener: listener.name.clone(),
            tls: listener.tls.clone(),
            protocol: listener.protocol,
            seen: AtomicU64::new(version),
            left: AtomicBool::new(false),
        }
    }

    /// Whether the client would not come to the listener any more, or be asked something else there.
    pub(super) fn is_gone(&self, snapshot: &Snapshot) -> bool {
        !self.now(snapshot).is_some_and(|now| now.name == self.listener && self.asks_the_same(now))
    }

    /// Whether a request has come since the listener was gone.
    pub(super) fn is_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    /// Of a request that comes by a listener which is gone: it comes by the one to which its client would come now, where
    /// nothing else would be asked of it.
    fn redirect(&self, snapshot: &Snapshot, came_by: &ListenerOrigin) -> Option<Origin> {
        let now = self.now(snapshot)?;
        if now.name == self.listener || !self.asks_the_same(now) || !self.trusts_the_same(now) {
            return None;
        }
        let (listener, port) = (now.name.clone(), now.port);
        Some(Origin::Listener(Arc::new(ListenerOrigin { listener, port, ..came_by.clone() })))
    }

    /// The listener to which the client would come now.
    fn now<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a Listener> {
        snapshot.secured_listener(&self.bind, self.server_name.as_deref())
    }

    fn asks_the_same(&self, now: &Listener) -> bool {
        let same = match (&now.tls, &self.tls) {
            (Some(now), Some(before)) => now.asks_the_same(before),
            (now, before) => now.is_none() && before.is_none(),
        };
        same && now.protocol == self.protocol
    }

    /// Whether every certificate of a client that was good is good there.
    fn trusts_the_same(&self, now: &Listener) -> bool {
        let (Some(now), Some(before)) = (&now.tls, &self.tls) else { return true };
        now.roots == before.roots && now.revoked == before.revoked
    }
}

impl Detour for Entrance {
    fn taken(&self, snapshot: &Snapshot, own: &Origin) -> Option<Origin> {
        // Its connection hears of a publication only after the first requests are decided by it.
        if self.seen.load(Ordering::Relaxed) == snapshot.version() {
            return None;
        }
        if !self.is_left() && !self.is_gone(snapshot) {
            self.seen.store(snapshot.version(), Ordering::Relaxed);
            return None;
        }
        self.left.store(true, Ordering::Relaxed);
        match own {
            Origin::Listener(came_by) => self.redirect(snapshot, came_by),
            Origin::Mesh | Origin::Gateway(_) => None,
        }
    }
}
