//! What a cluster says about its connections: words for whoever opens them, and nothing that is open.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What is spoken to the endpoints of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP/1.1 (ports named or marked `http`).
    #[default]
    Http1,
    /// HTTP/2, without TLS by prior knowledge (`http2`, `grpc`, `h2UpgradePolicy: UPGRADE`).
    Http2,
    /// What the request came in with (`useClientProtocol`).
    SameAsDownstream,
    /// What the application's request has; HTTP/1.1 for those that come to a gateway, whose clients may well prefer
    /// HTTP/2 to endpoints that do not know it (ports without a protocol).
    Sniffed,
}

/// How connections to the endpoints of a cluster are opened, secured and kept
/// (`connectionPool`, `tls` and `proxyProtocol` of a DestinationRule).
///
/// They are compared by value: endpoints whose settings did not change keep their connections over a reload, others
/// get new ones while the old ones finish what is under way. Idle ones are closed at once, those of endpoints that
/// leave their cluster too.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionSettings {
    /// How long opening a connection may take, the TLS handshake included (`tcp.connectTimeout`): 10 s. The answer of a
    /// forward proxy is not.
    pub connect_timeout: Duration,
    /// What is spoken (the port's protocol, `http.h2UpgradePolicy`, `http.useClientProtocol`): HTTP/1.1.
    pub protocol: Protocol,
    /// How it is secured (`tls`). `None`: not at all.
    pub tls: Option<Arc<TlsSettings>>,
    /// Keep-alive of the operating system (`tcp.tcpKeepalive`). `None`: off.
    pub keepalive: Option<TcpKeepalive>,
    /// How long a connection without a request is kept (`http.idleTimeout`, else `tcp.idleTimeout`). Zero: for ever.
    /// `None`: as long as the transport says, which is 1 h.
    pub idle_timeout: Option<Duration>,
    /// How old a connection may become; what is under way on it then is finished (`tcp.maxConnectionDuration`).
    /// `None`: any age.
    pub max_connection_duration: Option<Duration>,
    /// How many requests a connection carries before it is closed (`http.maxRequestsPerConnection`). `None`: any number.
    pub max_requests: Option<NonZeroU32>,
    /// How many requests share an HTTP/2 connection at a time (`http.maxConcurrentStreams`). `None`: as many as the
    /// transport says, which is 1024. The other side may allow fewer.
    pub max_concurrent_streams: Option<NonZeroU32>,
    /// PINGs on HTTP/2 connections (`http.http2KeepAlive`). `None`: as the transport says, which is none.
    pub http2_keep_alive: Option<Http2KeepAlive>,
    /// The PROXY header that goes first (`proxyProtocol`). `None`: there is none.
    pub proxy_protocol: Option<ProxyVersion>,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            protocol: Protocol::default(),
            tls: None,
            keepalive: None,
            idle_timeout: None,
            max_connection_duration: None,
            max_requests: None,
            max_concurrent_streams: None,
            http2_keep_alive: None,
            proxy_protocol: None,
        }
    }
}

/// Keep-alive of the operating system; what is `None` is as the system has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TcpKeepalive {
    /// So many unanswered probes end a connection (`probes`).
    pub probes: Option<NonZeroU32>,
    /// How long a connection is silent before the first probe (`time`).
    pub time: Option<Duration>,
    /// How long after one probe the next comes (`interval`).
    pub interval: Option<Duration>,
}

/// PINGs that find dead HTTP/2 connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Http2KeepAlive {
    /// After how much silence one is sent (`interval`).
    pub interval: Duration,
    /// How long its answer may take before the connection counts as dead (`timeout`).
    pub timeout: Duration,
}

impl Http2KeepAlive {
    /// A PING after `interval`, whose answer may take `timeout`.
    pub fn new(interval: Duration, timeout: Duration) -> Self {
        Self { interval, timeout }
    }
}

/// The form of a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProxyVersion {
    /// The line of text.
    V1,
    /// The binary one.
    V2,
}

/// How connections to the endpoints of a cluster are secured (`tls` of a DestinationRule), as words: where the
/// certificates are, not what is in them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TlsSettings {
    /// Whose certificates are used.
    pub mode: TlsMode,
    /// The certificate that is presented, and its key.
    pub identity: Option<Identity>,
    /// The authorities that the endpoint's certificate must come from (`caCertificates`). `None`: the system's.
    pub roots: Option<Pem>,
    /// Revoked certificates (`caCrl`).
    pub revoked: Option<Pem>,
    /// The name in the handshake (`sni`). `None`: the host of the request that opens the connection, after rewrites,
    /// unless that is an address. Bytes that a gateway passes on have none.
    pub server_name: Option<Box<str>>,
    /// The names of which the endpoint's certificate must have one, DNS or URI, exactly (`subjectAltNames` here, else
    /// of the ServiceEntry). Empty: any.
    pub subject_alt_names: Box<[Box<str>]>,
    /// Whether the certificate must also be for the name in the handshake, or the host where that is none: yes. Not for a
    /// DestinationRule that says `sni` or `subjectAltNames`, nor for bytes without a name in the handshake, as istiod has
    /// Envoy verify it.
    pub verify_name: bool,
    /// Whether any certificate is taken (`insecureSkipVerify`).
    pub skip_verify: bool,
}

impl TlsSettings {
    /// Verified against the system's authorities and the host of the request, with nothing presented.
    pub fn new(mode: TlsMode) -> Self {
        Self {
            mode,
            identity: None,
            roots: None,
            revoked: None,
            server_name: None,
            subject_alt_names: Box::default(),
            verify_name: true,
            skip_verify: false,
        }
    }

    /// Whether the host of a request says how the connection for it is secured: requests to different hosts then have
    /// different connections.
    pub fn takes_host(&self) -> bool {
        self.mode == TlsMode::Simple && self.server_name.is_none()
    }
}

/// Whose certificates a secured connection uses. Without TLS (`DISABLE`) there are no [`TlsSettings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsMode {
    /// The endpoint's (`SIMPLE`, and `MUTUAL` where an identity is set).
    Simple,
    /// The mesh's own on both sides (`ISTIO_MUTUAL`): those that the transport was built with.
    IstioMutual,
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The certificate, and those between it and the authority.
    pub certificates: Pem,
    /// Its private key.
    pub key: Pem,
}

/// Where PEM text is.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pem {
    /// In a file, which is read again when it changes.
    File(PathBuf),
    /// Here: it came with a Secret.
    Text(Arc<[u8]>),
    /// Nowhere: what was named and is not there. No connection is opened that needs it.
    Missing(Box<str>),
}

/// Texts are not shown, they may be keys.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pem::File(path) => f.debug_tuple("File").field(path).finish(),
            Pem::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Pem::Missing(what) => f.debug_tuple("Missing").field(what).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_not_shown() {
        let identity = Identity {
            certificates: Pem::File("/etc/certs/tls.crt".into()),
            key: Pem::Text(Arc::from(&b"-----BEGIN PRIVATE KEY-----"[..])),
        };
        let shown = format!("{identity:?}");
        assert!(shown.contains("/etc/certs/tls.crt") && shown.contains("27 bytes"), "{shown}");
        assert!(!shown.contains("PRIVATE"), "{shown}");
    }
}
