//! What the connections of one pool go by: the words of the cluster, else those of the transport.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http2;

use super::executor::Executor;
use super::secure::Secure;
use super::settings::Settings;
use crate::request::Tunnel;
use crate::service::Https;
use crate::upstream::{ConnectionSettings, Protocol, ProxyVersion, TcpKeepalive};

/// What sets the connections to one endpoint apart from each other, beside their settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Variant {
    /// The host of the request in lower case, where it is the name in the TLS handshake or in the certificate.
    pub(super) name: Option<Box<str>>,
    /// The client and the address that it dialed, where a PROXY header says so.
    pub(super) client: Option<Box<(SocketAddr, SocketAddr)>>,
    /// The TLS that the application asked for, where the endpoint's own does not take its place.
    pub(super) https: Option<Box<Https>>,
    /// What the endpoint is asked for before bytes flow.
    pub(super) tunnel: Option<Arc<Tunnel>>,
    /// Whether what flows is TLS of the mesh already, around which the endpoint's own is not opened.
    pub(super) sealed: bool,
}

impl Variant {
    /// Whether nothing sets it apart.
    pub(super) fn is_usual(&self) -> bool {
        self.name.is_none() && self.client.is_none() && self.https.is_none() && self.tunnel.is_none() && !self.sealed
    }
}

/// What every connection of one pool goes by.
pub(super) struct Terms {
    /// How long one may be without a request.
    pub(super) idle: Option<Duration>,
    /// How old one may become.
    pub(super) most_age: Option<Duration>,
    /// How many requests one carries.
    pub(super) most_requests: Option<u32>,
    /// How many requests share an HTTP/2 connection.
    pub(super) streams: usize,
    pub(super) http2: http2::Builder<Executor>,
    pub(super) connect_timeout: Duration,
    pub(super) keepalive: Option<TcpKeepalive>,
    pub(super) proxy: Option<Proxy>,
    pub(super) secure: Option<Secure>,
    /// What is asked for within that.
    pub(super) tunnel: Option<Through>,
    /// What is secured within all that: the application's own TLS.
    pub(super) within: Option<Secure>,
    /// Whether TLS that the other side leaves without a word has come to its end, as it has for Envoy.
    pub(super) unsaid_ends: bool,
}

/// A PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proxy {
    pub(super) version: ProxyVersion,
    /// The client and the address that it dialed; `None`: the connection is this process' own.
    pub(super) client: Option<(SocketAddr, SocketAddr)>,
}

/// A tunnel, and how it is asked for.
#[derive(Clone, Debug)]
pub(super) struct Through {
    pub(super) tunnel: Arc<Tunnel>,
    /// Whether the endpoint speaks HTTP/2.
    pub(super) http2: bool,
}

impl Terms {
    /// Those of an endpoint.
    pub(super) fn of_endpoint(settings: &Settings, connection: &ConnectionSettings, variant: &Variant) -> Self {
        let mut terms = Self::of_transport(settings);
        terms.connect_timeout = connection.connect_timeout;
        if let Some(idle) = connection.idle_timeout {
            terms.idle = (!idle.is_zero()).then_some(idle);
        }
        terms.most_age = connection.max_connection_duration.filter(|age| !age.is_zero());
        terms.most_requests = connection.max_requests.map(|most| most.get());
        if let Some(streams) = connection.max_concurrent_streams {
            terms.streams = usize::try_from(streams.get()).unwrap_or(usize::MAX);
        }
        if let Some(ping) = connection.http2_keep_alive {
            terms.http2.keep_alive_interval(ping.interval).keep_alive_timeout(ping.timeout).keep_alive_while_idle(true);
        }
        terms.keepalive = connection.keepalive;
        terms.proxy =
            connection.proxy_protocol.map(|version| Proxy { version, client: variant.client.as_deref().copied() });
        let tls = connection.tls.as_ref().filter(|_| !variant.sealed);
        terms.secure = tls.and_then(|tls| Secure::new(settings, tls, variant.name.as_deref()));
        if let Some(https) = variant.https.as_ref().filter(|https| https.is_whole || terms.secure.is_none()) {
            terms.within = Secure::of_host(settings, &https.server_name);
        }
        // What the application has secured itself is as strict as it would be without us.
        terms.unsaid_ends = terms.within.is_none();
        let tunnel = variant.tunnel.as_ref().or(variant.https.as_ref().and_then(|https| https.tunnel.as_ref()));
        let http2 = connection.protocol == Protocol::Http2;
        terms.tunnel = tunnel.map(|tunnel| Through { tunnel: tunnel.clone(), http2 });
        terms
    }

    /// Those of a host that a request names itself.
    pub(super) fn of_host(settings: &Settings, secure: Option<Secure>) -> Self {
        Self { secure, ..Self::of_transport(settings) }
    }

    fn of_transport(settings: &Settings) -> Self {
        Self {
            idle: settings.idle_timeout,
            most_age: None,
            most_requests: None,
            streams: settings.max_concurrent_streams,
            http2: settings.http2.clone(),
            connect_timeout: settings.connect_timeout,
            keepalive: None,
            proxy: None,
            secure: None,
            tunnel: None,
            within: None,
            unsaid_ends: false,
        }
    }

    /// How many of those who wait one new HTTP/2 connection is for.
    pub(super) fn each(&self) -> usize {
        self.most_requests.map_or(self.streams, |most| self.streams.min(most as usize))
    }

    /// How often connections have to be looked at.
    pub(super) fn period(&self) -> Option<Duration> {
        [self.idle, self.most_age].into_iter().flatten().min().map(|shortest| shortest / 8)
    }
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terms").field("idle", &self.idle).field("most_age", &self.most_age).finish_non_exhaustive()
    }
}
