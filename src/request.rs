//! The request as the rules see it: [`RequestView`], and where it came from: [`Origin`].
//! And one that is made here: [`Tunnel`].
//!
//! ```
//! use http::Request;
//! use mesh_router::request::{Origin, RequestView};
//!
//! let request = Request::get("http://Reviews:9080/api?x=1").body(()).unwrap();
//! let view = RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh);
//! assert_eq!((view.host(), view.port(), view.path(), view.query()), ("Reviews", 9080, "/api", Some("x=1")));
//! ```

mod downstream_tls;
mod tunnel;

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

pub use downstream_tls::{Certificate, DownstreamTls};
pub use tunnel::{Tunnel, TunnelMethod};

pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Where a request came in: it decides which rules are looked at.
///
/// A service built by the layer has one origin for all its requests; a request may carry its own as an extension.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The application itself: rules of the gateway `mesh` apply.
    #[default]
    Mesh,
    /// A listener of a gateway.
    Listener(Arc<ListenerOrigin>),
    /// The clients of this application, which stands for a gateway. One for which nobody called
    /// [`MeshRouter::inbound`](crate::MeshRouter::inbound) has no rules, and its requests get 404.
    Gateway(Arc<GatewayOrigin>),
}

/// The gateway whose rules an application applies to what it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GatewayOrigin {
    /// The gateway as `namespace/name`.
    pub gateway: Arc<str>,
    /// Whether the rules of the gateway `mesh` apply too.
    pub mesh_rules: bool,
}

impl GatewayOrigin {
    /// The gateway `namespace/name`, without the rules of the mesh.
    pub fn new(gateway: impl Into<Arc<str>>) -> Self {
        Self { gateway: gateway.into(), mesh_rules: false }
    }
}

/// A listener that took a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerOrigin {
    /// Which listener of the snapshot: `http.8080` or `http.8080.127.0.0.1` (see [`crate::snapshot::Listener`]).
    pub listener: Arc<str>,
    /// The `server.port.number` of the Gateway.
    pub port: u16,
    /// Whether the connection is TLS: it decides the scheme, unless a trusted proxy says it.
    pub tls: bool,
    /// Whether a trusted proxy says it, in `x-forwarded-proto`.
    pub(crate) believes_proto: bool,
    /// The address of the client: of the other side, or what a trusted proxy there says of it.
    pub peer: Option<SocketAddr>,
    /// The address of the other side, if `peer` is somebody else.
    pub direct_peer: Option<SocketAddr>,
    /// The address of this side.
    pub local: Option<SocketAddr>,
    /// What is known of the TLS of the connection, for header values that tell it.
    pub secured: Option<Arc<DownstreamTls>>,
    /// One of its own for each connection, let go of with it: upstream connections that are for this client alone
    /// (`proxyProtocol`) are closed then. `None`: nobody says, and up to 1,024 of them stay for their idle time.
    pub open: Option<Arc<()>>,
}

impl ListenerOrigin {
    /// The listener `listener` on `port`, without TLS and addresses.
    pub fn new(listener: impl Into<Arc<str>>, port: u16) -> Self {
        Self {
            listener: listener.into(),
            port,
            tls: false,
            believes_proto: false,
            peer: None,
            direct_peer: None,
            local: None,
            secured: None,
            open: None,
        }
    }

    /// The two ends of the connection, whoever the client is.
    pub(crate) fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.direct_peer.or(self.peer).zip(self.local)
    }
}

/// The request head, prepared once and lent to every matcher. It borrows and allocates nothing.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    method: &'a Method,
    headers: &'a HeaderMap,
    scheme: &'a str,
    tls: bool,
    /// What a trusted proxy says of the scheme.
    forwarded_proto: Option<&'a [u8]>,
    authority: &'a str,
    host: &'a str,
    port: u16,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> RequestView<'a> {
    /// Prepares the head. The authority is that of the URI, else the `Host` header.
    ///
    /// The path is taken as it stands: normalize it first ([`crate::route::normalize`]) and use [`Self::with_path`].
    pub fn new(method: &'a Method, uri: &'a Uri, headers: &'a HeaderMap, origin: &Origin) -> Self {
        let authority = match uri.authority() {
            Some(authority) => authority.as_str(),
            None => headers.get(HOST).and_then(|host| std::str::from_utf8(host.as_bytes()).ok()).unwrap_or(""),
        };
        // The application's own URI may say who it is; on the wire that is a part of the name, as for Envoy.
        // Byte by byte: names are too short for a search by words to pay.
        let user = match origin {
            Origin::Mesh => authority.bytes().rposition(|byte| byte == b'@'),
            Origin::Listener(_) | Origin::Gateway(_) => None,
        };
        let authority = user.map_or(authority, |at| &authority[at + 1..]);
        let scheme = uri.scheme_str();
        let (tls, believes_proto) = match origin {
            Origin::Listener(listener) => (listener.tls, listener.believes_proto),
            Origin::Mesh | Origin::Gateway(_) => (scheme == Some("https"), false),
        };
        // A gateway keeps one line of it.
        let said = if believes_proto { headers.get(X_FORWARDED_PROTO) } else { None };
        let forwarded_proto = said.map(HeaderValue::as_bytes);
        let says = |scheme: &str| forwarded_proto.is_some_and(|said| said.eq_ignore_ascii_case(scheme.as_bytes()));
        let is_https = says("https") || tls && !says("http");
        let scheme = scheme.unwrap_or(if is_https { "https" } else { "http" });
        let (host, port) = split_port(authority);
        let port = match origin {
            Origin::Listener(listener) => listener.port,
            Origin::Mesh | Origin::Gateway(_) => port.unwrap_or(if scheme == "https" { 443 } else { 80 }),
        };
        // Of `http://a.test?x=1` there is only a query to Envoy, which no rule takes; an application means the root.
        let rootless = !matches!(origin, Origin::Mesh) && begins_with_query(uri);
        let (path, query) = (if rootless { "" } else { uri.path() }, uri.query());
        Self { method, headers, scheme, tls, forwarded_proto, authority, host, port, path, query }
    }

    /// The same request with its path replaced, for one that had to be normalized.
    #[must_use]
    pub fn with_path(mut self, path: &'a str) -> Self {
        self.path = path;
        self
    }

    /// The method.
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// The headers.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// `http` or `https`: of the URI, else what a trusted proxy says, else of the connection.
    pub fn scheme(&self) -> &'a str {
        self.scheme
    }

    /// Whether it came over TLS: through a listener with TLS, or as `https` from the application itself.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whether it came by `https`, as `httpsRedirect` asks: in the very word of a trusted proxy, whatever the scheme is.
    pub(crate) fn came_by_https(&self) -> bool {
        self.came_by() == b"https"
    }

    /// How it came: what a trusted proxy says, in its own words, else the connection.
    pub(crate) fn came_by(&self) -> &'a [u8] {
        self.forwarded_proto.unwrap_or(if self.tls { b"https" } else { b"http" })
    }

    /// Whether a trusted proxy leaves empty how it was asked. By Envoy there is no rule for such a request.
    pub(crate) fn came_by_nothing(&self) -> bool {
        self.forwarded_proto.is_some_and(<[u8]>::is_empty)
    }

    /// `:authority` as sent, with its port; of an application's own request without user information.
    pub fn authority(&self) -> &'a str {
        self.authority
    }

    /// The authority without its port, as sent; brackets of an IPv6 address are kept.
    pub fn host(&self) -> &'a str {
        self.host
    }

    /// The port the client addressed: of the authority, else of the scheme; at a gateway that of the server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path without its query.
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// The query without its `?`.
    pub fn query(&self) -> Option<&'a str> {
        self.query
    }
}

/// Whether there is a query right behind the authority: `http` has a slash then where there is none.
pub(crate) fn begins_with_query(uri: &Uri) -> bool {
    uri.path_and_query().is_some_and(|all| all.as_str().starts_with('?'))
}

/// Splits `host:port`. What is no number in the place of a port is none, and no part of the host either.
fn split_port(authority: &str) -> (&str, Option<u16>) {
    let colon = authority.bytes().rposition(|byte| byte == b':');
    match colon.map(|at| (&authority[..at], &authority[at + 1..])) {
        Some((host, port)) if !host.is_empty() && !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_split_off_names_and_addresses() {
        assert_eq!(split_port("a.test"), ("a.test", None));
        assert_eq!(split_port("a.test:80"), ("a.test", Some(80)));
        assert_eq!(split_port("[::1]:80"), ("[::1]", Some(80)));
        assert_eq!(split_port("[::1]"), ("[::1]", None));
        assert_eq!(split_port(":80"), (":80", None));
        for odd in ["a:b", "a:", "a:99999"] {
            assert_eq!(split_port(odd), ("a", None));
        }
    }

    #[test]
    fn a_query_without_a_path_is_of_the_root_to_an_application_alone() {
        let headers = HeaderMap::new();
        let listener = Origin::Listener(Arc::new(ListenerOrigin::new("http.80", 80)));
        let gateway = Origin::Gateway(Arc::new(GatewayOrigin::new("a/b")));
        for (uri, origin, path) in [
            ("http://a.test?x=1", &Origin::Mesh, "/"),
            ("http://a.test?x=1", &listener, ""),
            ("http://a.test?x=1", &gateway, ""),
            ("http://a.test", &listener, "/"),
            ("http://a.test/?x=1", &listener, "/"),
            ("*", &listener, "*"),
        ] {
            let uri = Uri::from_static(uri);
            assert_eq!(RequestView::new(&Method::GET, &uri, &headers, origin).path(), path, "{uri} {origin:?}");
        }
    }

    #[test]
    fn who_asks_is_no_part_of_the_name_that_an_application_calls() {
        let uri = Uri::from_static("http://u:p@a.test:81/");
        let headers = HeaderMap::new();
        let host = |origin: &Origin| RequestView::new(&Method::GET, &uri, &headers, origin).host().to_owned();
        assert_eq!(host(&Origin::Mesh), "a.test");
        assert_eq!(host(&Origin::Listener(Arc::new(ListenerOrigin::new("http.81", 81)))), "u:p@a.test");
    }
}
