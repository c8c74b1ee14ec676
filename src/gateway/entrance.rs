//! Where a client came in: [`Entrance`] tells whether it would come in there again.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::hello::Hello;
use crate::request::{ListenerOrigin, Origin};
use crate::route::{StreamRoute, WeightedCluster};
use crate::service::detour::Detour;
use crate::snapshot::{Bind, Listener, ListenerProtocol, ServerTls, Snapshot};
use crate::upstream::ClusterKey;

/// A listener behind a socket that several may share, and how a client came to it.
#[derive(Debug)]
pub(super) struct Entrance {
    bind: Bind,
    /// The address that it dialed.
    dialed: Option<IpAddr>,
    is_secured: bool,
    /// Whom it wants to talk to in TLS.
    server_name: Option<Box<str>>,
    listener: Arc<str>,
    tls: Option<Arc<ServerTls>>,
    protocol: ListenerProtocol,
    grpc_web: bool,
    /// How its bytes are passed on, if they are.
    way: Option<Way>,
    /// The version of the last snapshot by which a request came in here.
    seen: AtomicU64,
    /// Whether one was seen by which its client would not.
    left: AtomicBool,
}

impl Entrance {
    /// To `listener` of a snapshot, of a client that dialed an address and began with `hello`, if with TLS.
    pub(super) fn new(snapshot: &Snapshot, listener: &Listener, dialed: Option<IpAddr>, hello: Option<&Hello>) -> Self {
        let server_name = hello.and_then(|hello| hello.server_name.clone());
        let route = listener.streams.find(server_name.as_deref());
        Self {
            bind: listener.bind.clone(),
            dialed,
            is_secured: hello.is_some(),
            way: route.map(|route| Way::new(route, listener.port, snapshot)),
            server_name,
            listener: listener.name.clone(),
            tls: listener.tls.clone(),
            protocol: listener.protocol,
            grpc_web: listener.grpc_web,
            seen: AtomicU64::new(snapshot.version()),
            left: AtomicBool::new(false),
        }
    }

    /// Whether the client would not come to the listener any more, or be asked something else there, or its bytes go
    /// another way.
    pub(super) fn is_gone(&self, snapshot: &Snapshot) -> bool {
        let is_same = |now: &Listener| {
            now.name == self.listener && self.asks_the_same(now) && self.goes_the_same_way(now, snapshot)
        };
        !self.behind(&self.bind, snapshot).is_some_and(is_same)
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
        self.behind(&bind_now(&self.bind, self.dialed, snapshot), snapshot)
    }

    /// The listener that takes a client like this one at a socket.
    fn behind<'a>(&self, bind: &Bind, snapshot: &'a Snapshot) -> Option<&'a Listener> {
        match self.is_secured {
            true => snapshot.secured_listener(bind, self.server_name.as_deref()),
            false => snapshot.plain_listener(bind),
        }
    }

    fn asks_the_same(&self, now: &Listener) -> bool {
        let same = match (&now.tls, &self.tls) {
            (Some(now), Some(before)) => now.asks_the_same(before),
            (now, before) => now.is_none() && before.is_none(),
        };
        same && now.protocol == self.protocol && now.grpc_web == self.grpc_web
    }

    fn goes_the_same_way(&self, now: &Listener, snapshot: &Snapshot) -> bool {
        match (&self.way, now.streams.find(self.server_name.as_deref())) {
            (Some(before), Some(route)) => before.is_that_of(route, now.port, snapshot),
            (before, route) => before.is_none() && route.is_none(),
        }
    }

    /// Whether every certificate of a client that was good is good there.
    fn trusts_the_same(&self, now: &Listener) -> bool {
        let (Some(now), Some(before)) = (&now.tls, &self.tls) else { return true };
        now.roots == before.roots && now.revoked == before.revoked
    }
}

/// What a rule says of connections, apart from where it is written: to Envoy, what sets one filter chain apart from another.
#[derive(Debug)]
struct Way {
    route: Arc<StreamRoute>,
    /// The clusters of its destinations, as far as they are known. Their places are those of one snapshot.
    keys: Box<[Option<ClusterKey>]>,
}

impl Way {
    fn new(route: &Arc<StreamRoute>, port: u16, snapshot: &Snapshot) -> Self {
        let keys = route.clusters.iter().map(|(_, to)| key(to, port, snapshot).cloned()).collect();
        Self { route: route.clone(), keys }
    }

    /// Whether `now` says the same in another snapshot. Of a destination that is unknown in one its name counts.
    fn is_that_of(&self, now: &StreamRoute, port: u16, snapshot: &Snapshot) -> bool {
        let StreamRoute { clusters, hash, idle_timeout, max_duration, tunnel, sealed, origin: _ } = &*self.route;
        let mut split = clusters.iter().zip(&self.keys).zip(now.clusters.iter());
        let is_same_split = split.all(|(((weight, to), before), (weight_now, to_now))| {
            let is_same = match (before, key(to_now, port, snapshot)) {
                (Some(before), Some(now)) => before == now,
                _ => to.name == to_now.name,
            };
            weight == weight_now && is_same
        });
        is_same_split
            && clusters.len() == now.clusters.len()
            && (hash, idle_timeout, max_duration) == (&now.hash, &now.idle_timeout, &now.max_duration)
            && (tunnel, sealed) == (&now.tunnel, &now.sealed)
    }
}

/// The cluster of a destination for connections to `port`.
fn key<'a>(to: &WeightedCluster, port: u16, snapshot: &'a Snapshot) -> Option<&'a ClusterKey> {
    Some(&snapshot.cluster(to.destination.for_port(port)?)?.key)
}

/// Where a client comes that dialed this address and came to the socket `bind`: there, or if no listener is there any
/// more, to the narrowest that takes what comes to the address.
pub(super) fn bind_now<'a>(bind: &'a Bind, dialed: Option<IpAddr>, snapshot: &Snapshot) -> Cow<'a, Bind> {
    let (Bind::Tcp(socket), Some(dialed), false) = (bind, dialed, snapshot.listens_at(bind)) else {
        return Cow::Borrowed(bind);
    };
    let all = match dialed {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let mut binds = [dialed, all].into_iter().map(|ip| Bind::Tcp(SocketAddr::new(ip, socket.port())));
    binds.find(|bind| snapshot.listens_at(bind)).map_or(Cow::Borrowed(bind), Cow::Owned)
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
