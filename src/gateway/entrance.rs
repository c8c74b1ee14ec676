//! Where a client came in: [`Entrance`] tells whether it would come in there again.

use std::sync::Arc;

use super::hello::Hello;
use crate::mesh::Mesh;
use crate::request::{ListenerOrigin, Origin};
use crate::snapshot::{Bind, Listener, ListenerProtocol, ServerTls};

/// A listener behind a socket that several may share, and the server name that a client asked for there.
#[derive(Debug)]
pub(super) struct Entrance {
    mesh: Mesh,
    bind: Bind,
    server_name: Option<Box<str>>,
    listener: Arc<str>,
    tls: Option<Arc<ServerTls>>,
    protocol: ListenerProtocol,
}

impl Entrance {
    pub(super) fn new(mesh: &Mesh, hello: &Hello, listener: &Listener) -> Self {
        Self {
            mesh: mesh.clone(),
            bind: listener.bind.clone(),
            server_name: hello.server_name.clone(),
            listener: listener.name.clone(),
            tls: listener.tls.clone(),
            protocol: listener.protocol,
        }
    }

    /// Whether the client would not come to the listener any more, or be asked something else there.
    pub(super) fn is_gone(&self) -> bool {
        !self.now(|now| now.name == self.listener && self.asks_the_same(now)).unwrap_or(false)
    }

    /// Of a request that comes by a listener which is gone: it comes by the one to which its client would come now, where
    /// nothing else would be asked of it.
    pub(super) fn redirect(&self, came_by: &ListenerOrigin) -> Option<Origin> {
        let may_come =
            |now: &Listener| now.name != self.listener && self.asks_the_same(now) && self.trusts_the_same(now);
        let (listener, port) = self.now(|now| may_come(now).then(|| (now.name.clone(), now.port)))??;
        Some(Origin::Listener(Arc::new(ListenerOrigin { listener, port, ..came_by.clone() })))
    }

    /// What is to be said of the listener to which the client would come now.
    fn now<T>(&self, say: impl FnOnce(&Listener) -> T) -> Option<T> {
        self.mesh.load().secured_listener(&self.bind, self.server_name.as_deref()).map(say)
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
