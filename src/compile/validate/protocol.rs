//! The protocols a port can name.

/// What a port's `protocol` says, as far as validation tells protocols apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP in plain text: HTTP, HTTP2, GRPC, GRPC-WEB, HTTP_PROXY.
    Http(&'static str),
    /// TLS: HTTPS, TLS.
    Tls(&'static str),
    /// Bytes: TCP, MONGO, REDIS, MYSQL.
    Tcp(&'static str),
    /// UDP, which is known and never routed.
    Udp,
}

/// What to write, for messages.
pub(crate) const KNOWN: &str = "HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS, TCP, MONGO, REDIS, MYSQL";

const PROTOCOLS: [Protocol; 12] = [
    Protocol::Http("HTTP"),
    Protocol::Http("HTTP2"),
    Protocol::Http("GRPC"),
    Protocol::Http("GRPC-WEB"),
    Protocol::Http("HTTP_PROXY"),
    Protocol::Tls("HTTPS"),
    Protocol::Tls("TLS"),
    Protocol::Tcp("TCP"),
    Protocol::Tcp("MONGO"),
    Protocol::Tcp("REDIS"),
    Protocol::Tcp("MYSQL"),
    Protocol::Udp,
];

impl Protocol {
    /// The protocol of that name, in any case.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        PROTOCOLS.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(name))
    }

    /// Its name in upper case.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http(name) | Self::Tls(name) | Self::Tcp(name) => name,
            Self::Udp => "UDP",
        }
    }

    /// Whether requests can be read from it without ending TLS.
    pub(crate) fn is_http(self) -> bool {
        matches!(self, Self::Http(_))
    }

    /// Whether it is TLS.
    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether it is bytes to whoever does not end TLS.
    pub(crate) fn is_opaque(self) -> bool {
        matches!(self, Self::Tls(_) | Self::Tcp(_))
    }
}
