//! Opening connections: to an endpoint, or to a host that is looked up.

use std::io;
use std::net::{IpAddr, SocketAddr};
#[cfg(unix)]
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use http::uri::Authority;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::failure;
use super::lookups::{Answer, by_system, found};
use super::proxy_header;
use super::secure::Secure;
use super::settings::Settings;
use super::terms::Terms;
use super::tunnel;
use super::wire::{Duplex, Wire};
use crate::outcome::FailureError;
use crate::upstream::{Address, Endpoint, Limits, NamedAddress, TcpKeepalive};

/// Opens a connection to an address, for [`TransportBuilder::connector`](super::TransportBuilder::connector).
///
/// Every `Fn(Address) -> impl Future<Output = io::Result<impl AsyncRead + AsyncWrite>>` is one:
///
/// ```
/// use mesh_router::transport::Transport;
/// use mesh_router::upstream::Address;
///
/// let transport = Transport::builder()
///     .connector(|_: Address| async {
///         let (near, _far) = tokio::io::duplex(64 * 1024);
///         Ok(near)
///     })
///     .build();
/// # drop(transport);
/// ```
pub trait Connect: Send + Sync + 'static {
    /// An open connection.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Opens a connection to `address`. One that is [`Named`](Address::Named), as the host of a request that no rule took,
    /// was not looked up: that is left to whoever connects. The kind of an error decides which
    /// [`Failure`](crate::outcome::Failure) it is. The future is dropped when the connect timeout is over.
    fn connect(&self, address: Address) -> impl Future<Output = io::Result<Self::Io>> + Send;
}

impl<C, F, T> Connect for C
where
    C: Fn(Address) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<T>> + Send,
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Io = T;

    fn connect(&self, address: Address) -> impl Future<Output = io::Result<T>> + Send {
        self(address)
    }
}

type Opening = Pin<Box<dyn Future<Output = io::Result<Wire>> + Send>>;

/// What opens the connections of one transport. A user's own type is forgotten here, off the path of a request.
#[derive(Clone)]
pub(super) enum Connector {
    Sockets,
    Own(Arc<dyn Fn(Address) -> Opening + Send + Sync>),
}

impl Connector {
    pub(super) fn of<C: Connect>(connect: C) -> Self {
        let connect = Arc::new(connect);
        Connector::Own(Arc::new(move |address| {
            let connect = connect.clone();
            Box::pin(async move {
                let io: Box<dyn Duplex> = Box::new(connect.connect(address).await?);
                Ok(Wire::Own(io))
            })
        }))
    }

    /// Whether it is the application's own.
    fn is_own(&self) -> bool {
        matches!(self, Connector::Own(_))
    }

    async fn open(&self, address: &Address, nodelay: bool, keepalive: Option<TcpKeepalive>) -> io::Result<Wire> {
        let found;
        let address = match address {
            Address::Logical(host) => {
                let unknown = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                found = Address::Tcp(host.address().ok_or_else(unknown)?);
                &found
            }
            address => address,
        };
        match self {
            Connector::Own(open) => open(address.clone()).await,
            Connector::Sockets => match address {
                Address::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(nodelay)?;
                    if let Some(keepalive) = keepalive {
                        keep_alive(&stream, keepalive)?;
                    }
                    Ok(Wire::Tcp(stream))
                }
                #[cfg(unix)]
                Address::Unix(path) => Ok(Wire::Unix(open_socket(path).await?)),
                #[cfg(not(unix))]
                Address::Unix(_) => Err(io::Error::from(io::ErrorKind::Unsupported)),
                // Names have been looked up before.
                Address::Logical(_) | Address::Named(_) => Err(io::Error::from(io::ErrorKind::NotFound)),
            },
        }
    }
}

/// A socket of this machine. A path that begins with `@` is a name, as Envoy writes those that are no files.
#[cfg(unix)]
async fn open_socket(path: &Path) -> io::Result<UnixStream> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) if cfg!(target_os = "linux") => {
            UnixStream::connect(OsStr::from_bytes(&[b"\0", name].concat())).await
        }
        Some(_) => Err(io::Error::from(io::ErrorKind::Unsupported)),
        None => UnixStream::connect(path).await,
    }
}

/// Lets the system probe a silent connection.
fn keep_alive(stream: &TcpStream, words: TcpKeepalive) -> io::Result<()> {
    let socket = SockRef::from(stream);
    if words == TcpKeepalive::default() {
        return socket.set_keepalive(true);
    }
    let mut keepalive = socket2::TcpKeepalive::new();
    if let Some(time) = words.time {
        keepalive = keepalive.with_time(time);
    }
    if let Some(interval) = words.interval {
        keepalive = keepalive.with_interval(interval);
    }
    if let Some(probes) = words.probes {
        keepalive = keepalive.with_retries(probes.get());
    }
    socket.set_tcp_keepalive(&keepalive)
}

/// A host and a port that a request names itself, without a cluster.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Host {
    /// In lower case; an IPv6 address without brackets.
    pub(super) name: Box<str>,
    pub(super) port: u16,
    /// Whether the request says `https`.
    pub(super) secure: bool,
}

impl Host {
    /// What its connections go by.
    pub(super) fn terms(&self, settings: &Settings) -> Terms {
        let secure = if self.secure { Secure::of_host(settings, &self.name) } else { None };
        Terms::of_host(settings, secure)
    }
}

/// What a request's connection leads to.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Endpoint(Arc<Endpoint>),
    Host(Arc<Host>, Authority),
}

impl Target {
    /// What `Host` says if nobody said anything else.
    pub(super) fn authority(&self) -> &Authority {
        match self {
            Target::Endpoint(endpoint) => &endpoint.authority,
            Target::Host(_, authority) => authority,
        }
    }

    /// The limits that hold for it.
    pub(super) fn limits(&self) -> Option<&Arc<Limits>> {
        match self {
            Target::Endpoint(endpoint) => Some(endpoint.limits()),
            Target::Host(..) => None,
        }
    }

    /// Opens a connection, announces and secures it, within the connect timeout, which begins when it is its turn; when
    /// that was is said beside it.
    pub(super) async fn reach(
        &self,
        settings: &Settings,
        terms: &Terms,
        spoken: Spoken,
    ) -> Result<(Wire, Instant), FailureError> {
        let limit = terms.connect_timeout;
        let turn = tokio::time::timeout(limit, self.look_up(settings)).await;
        let answer = turn.map_err(|_| failure::of_late_turn(self, limit))?;
        let began = Instant::now();
        let reached = tokio::time::timeout(limit, async {
            let wire = match self {
                Target::Endpoint(endpoint) => match &endpoint.address {
                    Address::Named(name) => open_host(settings, name.name(), name.port(), terms, answer).await,
                    address => settings.connector.open(address, settings.nodelay, terms.keepalive).await,
                },
                Target::Host(host, _) => open_host(settings, &host.name, host.port, terms, answer).await,
            };
            prepare(wire?, terms, spoken).await
        });
        let reached = reached.await.map_err(|_| failure::of_connect_timeout(self, limit))?;
        reached.map(|wire| (wire, began)).map_err(|error| failure::of_connect(self, error))
    }

    /// Has its host looked up, when it is its turn; `None` if it needs not be, or that is for a connector of the
    /// application's own.
    async fn look_up(&self, settings: &Settings) -> Option<Answer> {
        let (host, turns) = match self {
            Target::Endpoint(endpoint) => match &endpoint.address {
                Address::Named(name) => (name.name(), Some(endpoint.limits().lookups())),
                _ => return None,
            },
            Target::Host(host, _) => (&*host.name, None),
        };
        let is_found = settings.connector.is_own() || host.parse::<IpAddr>().is_ok();
        if is_found { None } else { Some(settings.lookups.ask(host, turns, by_system).await) }
    }

    /// Has a connection led on, where the terms say so. As in Envoy the connect timeout is not for the proxy's answer:
    /// whoever calls looks after the time.
    pub(super) async fn lead_on(&self, wire: Wire, terms: &Terms) -> Result<Wire, FailureError> {
        let Some(through) = &terms.tunnel else { return Ok(wire) };
        let led_on = tunnel::open(wire, through, &terms.http2).await;
        led_on.map_err(|error| failure::of_connect(self, error))
    }

    /// Opens a connection for requests and shakes hands on it, all within the connect timeout. What lies behind a tunnel
    /// has the transport's own besides.
    pub(super) async fn open<T, F>(
        &self,
        settings: &Settings,
        terms: &Terms,
        spoken: Spoken,
        handshake: impl FnOnce(Wire) -> F,
    ) -> Result<T, FailureError>
    where
        F: Future<Output = Result<T, FailureError>>,
    {
        let (wire, began) = self.reach(settings, terms, spoken).await?;
        let left = match terms.tunnel {
            None => terms.connect_timeout.saturating_sub(began.elapsed()),
            Some(_) => settings.connect_timeout,
        };
        let opened = tokio::time::timeout(left, async {
            let mut wire = self.lead_on(wire, terms).await?;
            if let Some(within) = &terms.within {
                let secured = within.handshake(wire, spoken).await;
                wire = secured.map_err(|error| failure::of_connect(self, error))?;
            }
            handshake(wire).await
        });
        opened.await.unwrap_or_else(|_| {
            Err(match terms.tunnel {
                None => failure::of_connect_timeout(self, terms.connect_timeout),
                Some(_) => failure::of_unanswered_tunnel(self, left),
            })
        })
    }
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    Http1,
    Http2,
    /// Anything.
    Bytes,
}

/// Says who the client is and secures the connection, where the terms say so.
async fn prepare(mut wire: Wire, terms: &Terms, spoken: Spoken) -> io::Result<Wire> {
    if let Some(proxy) = &terms.proxy {
        wire.write_all(&proxy_header::encode(*proxy, &wire)).await?;
    }
    if let Some(secure) = &terms.secure {
        let outer = match &terms.tunnel {
            Some(through) if through.http2 => Spoken::Http2,
            None if terms.within.is_none() => spoken,
            _ => Spoken::Bytes,
        };
        wire = secure.handshake(wire, outer).await?;
    }
    Ok(wire)
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Endpoint(endpoint) => endpoint.address.fmt(f),
            Target::Host(host, _) => write!(f, "{}:{}", host.name, host.port),
        }
    }
}

/// Tries the addresses that `host` has by `answer`, else is, in the resolver's order.
///
/// Each gets an equal share of the time, so that one that swallows packets does not use up that of the others.
async fn open_host(
    settings: &Settings,
    host: &str,
    port: u16,
    terms: &Terms,
    answer: Option<Answer>,
) -> io::Result<Wire> {
    let addresses: Vec<Address> = match (answer, host.parse::<IpAddr>()) {
        (Some(answer), _) => {
            let mut found = found(answer).await?;
            found.iter_mut().for_each(|address| address.set_port(port));
            found.into_iter().map(Address::Tcp).collect()
        }
        (None, Ok(address)) => vec![Address::Tcp(SocketAddr::new(address, port))],
        (None, Err(_)) => vec![Address::Named(NamedAddress::new(host, port))],
    };
    let share = terms.connect_timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        let open = settings.connector.open(&address, settings.nodelay, terms.keepalive);
        match tokio::time::timeout(share, open).await {
            Ok(Ok(wire)) => return Ok(wire),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::from(io::ErrorKind::TimedOut),
        }
    }
    Err(last)
}
