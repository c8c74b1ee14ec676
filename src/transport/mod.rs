//! Connections: [`Transport`], the inner service that honors what only the owner of a connection can.
//!
//! To the [`MeshRouter`](crate::service) above it, a transport is a tower Service like any other, with two advantages:
//! it gets the chosen endpoint as a typed value, so it dials one address and sends another name, and its pools are per
//! endpoint, so a balancer's choice is what happens.
//!
//! ```
//! use http::Request;
//! use http_body_util::{BodyExt, Empty};
//! use bytes::Bytes;
//! use mesh_router::service::RequestBody;
//! use mesh_router::transport::Transport;
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
//! # let address = listener.local_addr().unwrap();
//! # tokio::spawn(async move {
//! #     let (mut stream, _) = listener.accept().await.unwrap();
//! #     let _ = stream.read(&mut [0; 1024]).await.unwrap();
//! #     stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.unwrap();
//! # });
//! let transport = Transport::new();
//! let request = Request::get(format!("http://{address}/")).body(RequestBody::new(Empty::<Bytes>::new())).unwrap();
//! let response = transport.oneshot(request).await.unwrap();
//! assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
//! # }
//! ```

mod admission;
mod asked;
mod body;
pub(crate) mod bounds;
mod connect;
pub(crate) mod executor;
mod failure;
mod future;
pub(crate) mod head;
mod joined;
mod line;
mod lookups;
mod multiplex;
mod payload;
mod place;
mod pool;
mod pools;
mod proxy_header;
mod queue;
mod secure;
mod settings;
mod stack;
mod streams;
mod terms;
mod tunnel;
mod tunnel_http2;
mod tunnel_post;
mod upload;
mod wire;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Version};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

pub use body::TransportBody;
pub use connect::Connect;
pub use future::TransportFuture;
#[cfg(feature = "gateway")]
pub(crate) use joined::poll_write_joined;
#[cfg(feature = "tls")]
pub use settings::MeshCertificates;
pub use settings::TransportBuilder;
#[cfg(feature = "gateway")]
pub(crate) use wire::Cut;

use connect::{Host, Spoken, Target};
use head::Wish;
use payload::Payload;
use pool::Pool;
use pools::Inner;
use terms::{Terms, Variant};
use upload::Upload;

use crate::error::BoxError;
use crate::outcome::{Failure, FailureError};
use crate::request::Tunnel;
use crate::service::https::bare;
use crate::service::{Admission, Aim, Https, RequestBody};
use crate::upstream::{ConnectionSettings, Endpoint, Protocol, TlsMode};

/// Sends requests over connections of its own, HTTP/1.1 and HTTP/2, in TLS where the cluster says so (feature `tls`).
///
/// A request with an [`Aim`] goes to that endpoint, as the [`ConnectionSettings`] of its cluster say; `Host` or
/// `:authority` says what the aim says. A request without one (a host that no rule knows) goes where its URI says: the
/// host is looked up and its addresses are tried in turn, in the protocol of the request, and for `https` in TLS with
/// the authorities that the system trusts.
/// An aim with [`Https`] is secured to the host of the request, within or in place of what the cluster says of TLS, and
/// through a tunnel if it has one.
///
/// Connections are pooled for each endpoint. HTTP/1.1 takes the one used last; one that turns out closed before a byte
/// of the request was written is replaced without anybody's notice, which is the only thing sent twice here. HTTP/2
/// shares one connection, and opens another when the streams that the other side allows are taken.
///
/// A request that finds no connection waits, in the order of arrival, for the next one that is given back or opened: as
/// many are opened as requests wait for, within the [`Limits`](crate::upstream::Limits) of the cluster. An attempt that
/// fails fails all who wait for that endpoint, and so nobody waits longer than `connectTimeout` for one, as long again for
/// the turn of a name that is looked up, and [`TransportBuilder::connect_timeout`] more where it leads through a tunnel. A
/// request that is given up leaves the queue; the connection that was opened for it stays.
///
/// An HTTP/1.1 connection whose answer is complete before its upload goes on with that. It is closed in the middle of it
/// where that takes longer than it may be idle, where a request waits for its place for longer than a connection may
/// take to open, and where it carries no further request anyway.
///
/// Connections with other settings, and those for another name in the TLS handshake or another client in a PROXY
/// header, are others: after a change of settings new requests get new ones, and the old ones finish what is under way.
/// The same is true after a change of `maxConnections`, and of the connections to endpoints that leave their cluster:
/// what of these is idle is closed at once. A connection for another client goes with that client's own, where
/// [`ListenerOrigin::open`](crate::request::ListenerOrigin::open) tells of it.
///
/// Who calls can bring any number of hosts. Where these set connections apart, as the name in the TLS handshake does,
/// those for 1,024 hosts and endpoints are kept beside those in use, and 128 for each client with connections of its
/// own. Of more, one of the quarter that was asked for least of late goes, whichever; a request counts for more some
/// seconds after the last than at once after it. Of the names that requests bring (`resolution: DYNAMIC_DNS`) 64 are
/// looked up at a time for each cluster: a connection whose turn does not come within `connectTimeout` has met a limit
/// ([`Failure::Overflow`]), and its endpoint is not blamed; from its turn on it has that time to open.
///
/// Clones are cheap and share the pools. Dropping the last one closes what is idle; what is under way is finished. A
/// transport belongs to one runtime, whose tasks drive its connections.
///
/// Every error is a [`FailureError`] with Envoy's class of the failure, those of a response's body too.
///
/// # Panics
///
/// Where one of its futures is polled outside of a tokio runtime. That needs I/O and time: no connection opens without.
#[derive(Clone)]
pub struct Transport {
    inner: Arc<Inner>,
}

impl Transport {
    /// A transport with the defaults of [`TransportBuilder`].
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Sets up a transport.
    pub fn builder() -> TransportBuilder {
        TransportBuilder::new()
    }

    /// Closes idle connections at once, and the others when their request is done. For all clones.
    ///
    /// Requests that still come get a connection of their own, which is closed after them.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl Transport {
    /// Opens a connection to `endpoint` for bytes of any protocol, secured and announced as the
    /// [`ConnectionSettings`] of its cluster say. It is not pooled and counts against no limit.
    ///
    /// `host` is the name in the TLS handshake and in the certificate where the cluster names none; `client` is whom a
    /// PROXY header speaks of, with the address that it dialed. With a `tunnel` the endpoint is a forward proxy that is
    /// asked for it first: what is read and written then is what comes and goes at its other end.
    ///
    /// # Errors
    ///
    /// If the connection cannot be opened and secured, or not within the `connectTimeout` of the cluster. As in Envoy that
    /// does not bound the answer to a tunnel, which is waited for until the future is dropped. A proxy that answers
    /// anything but 2xx refuses ([`Failure::ConnectRefused`]).
    pub async fn connect(
        &self,
        endpoint: &Arc<Endpoint>,
        host: &str,
        client: Option<(SocketAddr, SocketAddr)>,
        tunnel: Option<&Arc<Tunnel>>,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>, FailureError> {
        self.open(endpoint, Some(host), client, tunnel, false, ()).await
    }

    /// The same as what it is. Without a `host` there is no name but those of the cluster; for bytes that are `sealed` the
    /// endpoint's TLS is not opened. `pending` is held until the endpoint is reached, be it a proxy that leads on later.
    pub(crate) async fn open<P>(
        &self,
        endpoint: &Arc<Endpoint>,
        host: Option<&str>,
        client: Option<(SocketAddr, SocketAddr)>,
        tunnel: Option<&Arc<Tunnel>>,
        sealed: bool,
        pending: P,
    ) -> Result<wire::Wire, FailureError> {
        let connection = endpoint.connection();
        let variant = Variant {
            name: host.filter(|_| takes_host(connection)).map(|host| host.to_ascii_lowercase().into()),
            client: client.filter(|_| connection.proxy_protocol.is_some()).map(Box::new),
            https: None,
            tunnel: tunnel.cloned(),
            sealed,
        };
        let settings = &self.inner.settings;
        let (own, pool);
        let terms = match variant.client {
            // Nobody else will ask for these.
            Some(_) => {
                own = Terms::of_endpoint(settings, connection, &variant);
                &own
            }
            // A pool for its terms only, which have read certificates: it never has a connection.
            None => {
                pool = self.inner.of_endpoint::<http_body_util::Empty<bytes::Bytes>>(endpoint, variant, None);
                &pool.terms
            }
        };
        let target = Target::Endpoint(endpoint.clone());
        let (wire, _) = target.reach(settings, terms, Spoken::Bytes).await?;
        drop(pending);
        target.lead_on(wire, terms).await
    }
}

impl Default for Transport {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

impl<B> Service<Request<RequestBody<B>>> for Transport
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<TransportBody>;
    type Error = BoxError;
    type Future = TransportFuture<B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<RequestBody<B>>) -> TransportFuture<B> {
        match request.body_mut().take_aim() {
            Some(Aim { endpoint, authority, says_https, admission, client, client_open, https }) => {
                admission.claim();
                let is_whole = https.as_ref().is_some_and(|https| https.is_whole);
                let http2 = match endpoint.connection().protocol {
                    _ if is_whole => request.version() == Version::HTTP_2,
                    Protocol::Http1 => false,
                    Protocol::Http2 => true,
                    Protocol::SameAsDownstream | Protocol::Sniffed => request.version() == Version::HTTP_2,
                };
                let variant = variant(endpoint.connection(), authority.as_ref(), &request, client, https);
                let pool = self.inner.of_endpoint(&endpoint, variant, client_open);
                let name = (authority.as_ref(), says_https);
                send(pool, Target::Endpoint(endpoint), name, http2, request, admission)
            }
            None => match self_named(&request) {
                Ok((host, authority)) => {
                    let pool = self.inner.of_host(&host);
                    let http2 = request.version() == Version::HTTP_2;
                    let target = Target::Host(Arc::new(host), authority);
                    send(pool, target, (None, false), http2, request, Admission::default())
                }
                Err(error) => TransportFuture::failed(error),
            },
        }
    }
}

fn send<B: Upload>(
    pool: Arc<Pool<B>>,
    target: Target,
    (authority, https): (Option<&Authority>, bool),
    http2: bool,
    mut request: Request<RequestBody<B>>,
    admission: Admission,
) -> TransportFuture<B> {
    if http2 {
        let tunnel = head::ask_by_stream(&mut request);
        head::to_http2(&mut request, authority, target.authority(), https);
        let answer = pool.send_shared(target, request.map(Payload::new), admission);
        if tunnel {
            return TransportFuture::story(async {
                let mut response = answer.await?;
                head::answer_by_upgrade(&mut response);
                Ok(response)
            });
        }
        return TransportFuture::story(answer);
    }
    head::to_http1(&mut request, authority, target.authority());
    head::say_body(&mut request);
    let wish = Wish::of(&request);
    match pool.checkout() {
        Some(line) if !admission.acquire() => {
            pool.park(line);
            TransportFuture::failed(failure::of_full_cluster())
        }
        Some(mut line) => {
            line.as_mut().start(request, pool);
            TransportFuture::sending(line, target, wish, admission)
        }
        None => TransportFuture::story(pool.send(target, request, admission, false)),
    }
}

/// Which connections of an endpoint will do for a request.
fn variant<B>(
    connection: &ConnectionSettings,
    authority: Option<&Authority>,
    request: &Request<B>,
    client: Option<Box<(SocketAddr, SocketAddr)>>,
    https: Option<Box<Https>>,
) -> Variant {
    let named = || {
        let host = authority.map(Authority::host);
        let host = host.or_else(|| host_of(request.headers().get(HOST)?.as_bytes()))?;
        Some(host.trim_matches(['[', ']']).to_ascii_lowercase().into())
    };
    Variant {
        // Where a request names none it is a name that no certificate has.
        name: takes_host(connection).then(|| named().unwrap_or_default()),
        client: client.filter(|_| connection.proxy_protocol.is_some()),
        https: https.filter(|https| takes(https, connection)),
        tunnel: None,
        sealed: false,
    }
}

/// Whether a host sets the endpoint's connections apart.
fn takes_host(connection: &ConnectionSettings) -> bool {
    connection.tls.as_ref().is_some_and(|tls| tls.takes_host())
}

/// Whether the application's own TLS sets connections apart: not where the endpoint's takes its place.
fn takes(https: &Https, connection: &ConnectionSettings) -> bool {
    https.is_whole || connection.tls.as_ref().is_none_or(|tls| tls.mode == TlsMode::IstioMutual)
}

/// The host of a `Host` header.
fn host_of(header: &[u8]) -> Option<&str> {
    let host = std::str::from_utf8(header).ok()?;
    match host.rsplit_once(':') {
        // Not a part of an IPv6 address.
        Some((host, port)) if !port.ends_with(']') => Some(host),
        _ => Some(host),
    }
}

/// Where a request leads by itself: the authority of its URI, else its `Host`.
fn self_named<B>(request: &Request<B>) -> Result<(Host, Authority), FailureError> {
    let refuse =
        |why: &str| FailureError::new(Failure::ConnectRefused, io::Error::new(io::ErrorKind::Unsupported, why));
    let uri = request.uri();
    let secure = uri.scheme() == Some(&Scheme::HTTPS);
    if secure && cfg!(not(feature = "tls")) {
        return Err(refuse("https needs TLS, which this build has not: the feature `tls` brings it"));
    }
    if !secure && uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP) {
        return Err(refuse("this transport speaks http and https"));
    }
    let named = request.headers().get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let Some(authority) = uri.authority().cloned().or(named) else {
        return Err(refuse("the request names no host: its URI has no authority and it has no valid Host header"));
    };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase().into();
    let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
    Ok((Host { name, port, secure }, bare(authority.clone()).unwrap_or(authority)))
}
