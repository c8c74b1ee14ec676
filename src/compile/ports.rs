//! The ports of services and what is spoken on them.

use crate::config::{ServiceEntryPort, ServicePort, TargetPort};
use crate::upstream::Protocol;

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownPort {
    pub(crate) number: u16,
    pub(crate) name: String,
    pub(crate) protocol: PortProtocol,
    /// Which port of an endpoint it is, where the endpoint does not say so.
    pub(crate) target: Target,
}

/// Which port of an endpoint serves a port of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The one that the endpoint has under the name of the service's port, else this one.
    Number(u16),
    /// The one that the endpoint has under this name; an endpoint that has none does not serve the port.
    Name(String),
}

impl KnownPort {
    /// A port of a Kubernetes Service; `None` for what is not TCP, or says that it is not.
    pub(crate) fn of_kubernetes(port: &ServicePort) -> Option<Self> {
        let number = u16::try_from(port.port).ok()?;
        if !port.protocol.is_empty() && !port.protocol.eq_ignore_ascii_case("tcp") {
            return None;
        }
        let target = match &port.target_port {
            Some(TargetPort::Number(target)) if *target != 0 => Target::Number(u16::try_from(*target).ok()?),
            Some(TargetPort::Name(name)) if !name.is_empty() => Target::Name(name.clone()),
            _ => Target::Number(number),
        };
        let protocol = PortProtocol::of_kubernetes(&port.app_protocol, &port.name, number)?;
        Some(Self { number, name: port.name.clone(), protocol, target })
    }

    /// A port of a ServiceEntry; `None` for what is not TCP.
    pub(crate) fn of_service_entry(port: &ServiceEntryPort) -> Option<Self> {
        let number = u16::try_from(port.number).ok()?;
        if is_udp(&port.protocol) {
            return None;
        }
        let target = if port.target_port == 0 { number } else { u16::try_from(port.target_port).ok()? };
        let protocol = PortProtocol::named(&port.protocol);
        Some(Self { number, name: port.name.clone(), protocol, target: Target::Number(target) })
    }
}

/// What is spoken on a port (`appProtocol`, the prefix of the port's name, or `protocol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PortProtocol {
    Http,
    Http2,
    Https,
    Tls,
    Tcp,
    /// Not said: told from the first bytes.
    Sniffed,
}

impl PortProtocol {
    /// What a ServiceEntry or Gateway should name, for messages.
    pub(crate) const NAMES: &str = "HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS, TCP, MONGO, REDIS, MYSQL";

    /// The protocol a ServiceEntry or Gateway names, in any case.
    pub(crate) fn named(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "http" | "http_proxy" => Self::Http,
            "http2" | "grpc" | "grpc-web" => Self::Http2,
            "https" => Self::Https,
            "tls" => Self::Tls,
            "tcp" | "mongo" | "mysql" | "redis" => Self::Tcp,
            _ => Self::Sniffed,
        }
    }

    /// Whether a ServiceEntry or Gateway can name it; UDP too, which is never routed.
    pub(crate) fn is_known(name: &str) -> bool {
        is_udp(name) || Self::named(name) != Self::Sniffed
    }

    /// The protocol of a Kubernetes port: `appProtocol`, else the name, both up to their first `-`, else a few well-known
    /// ports. `None` for UDP.
    fn of_kubernetes(app_protocol: &str, name: &str, number: u16) -> Option<Self> {
        let said = match app_protocol {
            "kubernetes.io/h2c" => return Some(Self::Http2),
            "kubernetes.io/ws" => return Some(Self::Http),
            "kubernetes.io/wss" => return Some(Self::Https),
            "" => name,
            other => other,
        };
        // `grpc-web` is what `grpc` is.
        let word = said.split('-').next().unwrap_or(said);
        match (Self::named(word), number) {
            _ if is_udp(word) => None,
            (Self::Sniffed, 25 | 53 | 3306 | 27017) => Some(Self::Tcp),
            (protocol, _) => Some(protocol),
        }
    }

    /// Whether http rules apply: HTTP of any kind, or not said.
    pub(crate) fn is_http(self) -> bool {
        self.says_http() || self == Self::Sniffed
    }

    /// Whether it is said to be HTTP in plain text.
    pub(crate) fn says_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2)
    }

    /// Whether clients open TLS themselves: `tls` rules apply.
    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }

    /// What is spoken to the endpoints.
    pub(crate) fn upstream(self) -> Protocol {
        match self {
            Self::Http2 => Protocol::Http2,
            Self::Sniffed => Protocol::Sniffed,
            _ => Protocol::Http1,
        }
    }
}

/// Whether a protocol is one that no connection is made for.
fn is_udp(name: &str) -> bool {
    name.eq_ignore_ascii_case("udp")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, app_protocol: &str, number: u32) -> ServicePort {
        let (name, app_protocol) = (name.to_owned(), app_protocol.to_owned());
        ServicePort { name, app_protocol, port: number, ..ServicePort::default() }
    }

    #[test]
    fn k3_the_protocol_is_said_by_app_protocol_by_the_name_or_by_the_number() {
        use PortProtocol::*;
        for (name, app_protocol, number, expected) in [
            ("http", "", 80, Http),
            ("http-web", "", 80, Http),
            ("http2-web", "", 80, Http2),
            ("HTTP-web", "", 80, Http),
            ("https-web", "", 443, Https),
            ("grpc", "", 9000, Http2),
            ("grpc-web", "", 9000, Http2),
            ("grpc-web-api", "", 9000, Http2),
            ("GRPC-WEB-api", "", 9000, Http2),
            ("tls-x", "", 443, Tls),
            ("tcp-x", "", 80, Tcp),
            ("mongo", "", 1, Tcp),
            ("mysql-db", "", 1, Tcp),
            ("redis", "", 1, Tcp),
            ("web", "", 80, Sniffed),
            ("httpx", "", 80, Sniffed),
            ("", "", 80, Sniffed),
            ("", "", 3306, Tcp),
            ("smtp", "", 25, Tcp),
            ("dns", "", 53, Tcp),
            ("db", "", 27017, Tcp),
            ("http", "", 3306, Http),
            ("tcp-x", "http", 80, Http),
            ("tcp-x", "HTTP2", 80, Http2),
            ("tcp-x", "kubernetes.io/h2c", 80, Http2),
            ("tcp-x", "kubernetes.io/ws", 80, Http),
            ("tcp-x", "kubernetes.io/wss", 443, Https),
            ("tcp-x", "http-own", 80, Http),
            ("tcp-x", "grpc-web", 80, Http2),
            ("tcp-x", "Kubernetes.io/H2C", 80, Sniffed),
            ("tcp-x", "example.com/own", 80, Sniffed),
            ("tcp-x", "example.com/own", 3306, Tcp),
        ] {
            let known = KnownPort::of_kubernetes(&port(name, app_protocol, number)).unwrap();
            assert_eq!(known.protocol, expected, "{name:?} {app_protocol:?} {number}");
        }
    }

    #[test]
    fn k3_what_is_not_tcp_is_skipped() {
        for (protocol, known) in [("", true), ("TCP", true), ("UDP", false), ("SCTP", false)] {
            let port = ServicePort { protocol: protocol.to_owned(), ..port("http", "", 80) };
            assert_eq!(KnownPort::of_kubernetes(&port).is_some(), known, "{protocol}");
        }
        for (name, app_protocol, known) in
            [("udp", "", false), ("UDP-x", "", false), ("udpx", "", true), ("http", "udp", false)]
        {
            assert_eq!(KnownPort::of_kubernetes(&port(name, app_protocol, 80)).is_some(), known, "{name}");
        }
        for (protocol, known) in [("UDP", false), ("udp", false), ("TCP", true), ("", true)] {
            let port = ServiceEntryPort { protocol: protocol.to_owned(), number: 80, ..ServiceEntryPort::default() };
            assert_eq!(KnownPort::of_service_entry(&port).is_some(), known, "{protocol}");
        }
    }
}
