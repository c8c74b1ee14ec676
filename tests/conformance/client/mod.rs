//! Clients that show everything: informational answers, exact header lines, trailers, how a connection ended.

pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod raw;
pub(crate) mod stream;
pub(crate) mod tcp;
pub(crate) mod websocket;

mod old_tls;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::{TlsConnector, TlsStream};

use crate::certs::Certs;
use crate::http1::{Headers, header, pattern};
use crate::schema::{ClientTls, IpAddrWord, Request};
use crate::tls;
use crate::wire::Socket;

/// What came back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: Option<u16>,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Headers,
    /// Informational answers before the final one.
    pub(crate) info: Vec<u16>,
    /// Why the answer is not whole.
    pub(crate) error: Option<String>,
    pub(crate) elapsed: Duration,
    /// The `${i}` of the request.
    pub(crate) key: usize,
    pub(crate) alpn: Option<String>,
    pub(crate) peer_cn: Option<String>,
}

impl Answer {
    pub(crate) fn upstream(&self) -> Option<&str> {
        header(&self.headers, "x-upstream")
    }

    pub(crate) fn failed(error: impl fmt::Display) -> Answer {
        Answer { error: Some(error.to_string()), ..Answer::default() }
    }

    /// Takes over what a connection's handshake showed.
    fn note(&mut self, session: &Session) {
        self.alpn.clone_from(&session.alpn);
        self.peer_cn.clone_from(&session.peer_cn);
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = &self.error {
            return write!(f, "error({error})");
        }
        let status = self.status.map_or_else(|| "no status".to_owned(), |status| status.to_string());
        let body: String = String::from_utf8_lossy(&self.body).chars().take(80).collect();
        write!(f, "{status} from {} body={body:?}", self.upstream().unwrap_or("no upstream"))
    }
}

/// Where a client connects to and how.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) port: u16,
    pub(crate) tls: Option<ClientTls>,
    pub(crate) source: Option<IpAddr>,
    pub(crate) certs: Arc<Certs>,
}

/// What a TLS handshake showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    pub(crate) alpn: Option<String>,
    pub(crate) peer_cn: Option<String>,
}

impl Target {
    pub(crate) fn new(
        port: u16,
        tls: Option<&ClientTls>,
        source: Option<&IpAddrWord>,
        certs: &Arc<Certs>,
    ) -> Result<Target, String> {
        let source = source.map(IpAddrWord::address).transpose()?;
        Ok(Target { port, tls: tls.cloned(), source, certs: certs.clone() })
    }

    /// Connects; `alpn` is offered unless the case names its own.
    pub(crate) async fn connect(&self, alpn: &[&str]) -> io::Result<(Socket, Session)> {
        let socket = TcpSocket::new_v4()?;
        if let Some(source) = self.source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).await?;
        let Some(words) = &self.tls else { return Ok((Socket::plain(stream), Session::default())) };
        self.secure(stream, words, alpn).await
    }

    async fn secure(&self, stream: TcpStream, words: &ClientTls, alpn: &[&str]) -> io::Result<(Socket, Session)> {
        let _ = stream.set_nodelay(true);
        if let Some("1.0" | "1.1") = words.max_version.as_deref() {
            return old_tls::refused(stream, words.sni.as_deref()).await;
        }
        let config = tls::client(words, &self.certs, alpn).map_err(io::Error::other)?;
        let name = words.sni.clone().unwrap_or_else(|| "127.0.0.1".to_owned());
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let (_, state) = stream.get_ref();
        let session = Session {
            alpn: state.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
            peer_cn: state.peer_certificates().and_then(|chain| self.certs.common_name(chain.first()?)),
        };
        Ok((Socket::tls(TlsStream::Client(stream)), session))
    }
}

/// The body of a request, if it has one.
fn body_of(request: &Request) -> Option<Vec<u8>> {
    match (request.body_size, &request.body) {
        (Some(size), _) => Some(pattern(size)),
        (None, Some(body)) => Some(body.as_str().as_bytes().to_vec()),
        (None, None) => None,
    }
}
