//! The servers of Gateways: which of them share a listener, and which are left out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::path::Path;
use super::report::Report;
use super::review;
use super::services::PortProtocol;
use crate::config::{Gateway, Resource, Server, ServerTlsMode};
use crate::error::ResourceName;
use crate::snapshot::Bind;

/// A listener in the making: the servers that it stands for.
pub(super) struct Shared<'a> {
    pub(super) name: Arc<str>,
    pub(super) bind: Bind,
    pub(super) port: u16,
    pub(super) kind: Kind,
    pub(super) gateway: ResourceName,
    pub(super) written: &'a Resource<Gateway>,
    /// The first server's.
    pub(super) path: String,
    /// Several only of HTTP in plaintext.
    pub(super) servers: Vec<SharedServer<'a>>,
}

/// What a server does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Http,
    /// HTTP in TLS.
    Https,
    Tcp,
    /// Any bytes in TLS, which is ended.
    Ended,
    /// TLS, which is passed on by rules.
    Passed,
    /// TLS of the mesh, which is passed on by its server name alone.
    AutoPassed,
}

/// A server and the gateway it belongs to.
pub(super) struct SharedServer<'a> {
    pub(super) server: &'a Server,
    pub(super) hosts: Vec<ServedHost<'a>>,
    /// `namespace/name`.
    pub(super) gateway: String,
}

impl SharedServer<'_> {
    /// Its hosts, without namespaces.
    pub(super) fn server_names(&self) -> Vec<&str> {
        self.hosts.iter().map(|host| host.host.as_str()).collect()
    }
}

/// A host of a server, in lower case.
#[derive(PartialEq, Eq)]
pub(super) struct ServedHost<'a> {
    /// Whose VirtualServices it is for. `None`: every namespace's.
    pub(super) namespace: Option<&'a str>,
    pub(super) host: String,
}

impl<'a> ServedHost<'a> {
    /// The hosts of a server of a Gateway in the namespace `own`.
    pub(super) fn all(server: &'a Server, own: &'a str) -> Vec<Self> {
        let parts = server.hosts.iter().map(|entry| entry.split_once('/').unwrap_or(("*", entry)));
        let host = |(namespace, host): (&'a str, &str)| {
            let namespace = match namespace {
                "*" => None,
                "." => Some(own),
                named => Some(named),
            };
            ServedHost { namespace, host: host.to_ascii_lowercase() }
        };
        parts.map(host).collect()
    }
}

/// Adds the servers of a gateway to the listeners.
pub(super) fn share<'a>(
    gateway: &'a Resource<Gateway>,
    namespace: &'a str,
    shared: &mut Vec<Shared<'a>>,
    report: &mut Report,
) {
    let resource = gateway.name_of("Gateway");
    let full_name = format!("{namespace}/{}", gateway.meta.name);
    let root = Path::root("spec");
    let list = root.field("servers");
    for (number, server) in gateway.spec.servers.iter().enumerate() {
        let path = list.index(number);
        let Some(port) = &server.port else { continue };
        let Some(kind) = kind(server, PortProtocol::named(&port.protocol)) else { continue };
        let Some((bind, number)) = address(server, port.number) else { continue };
        let entry = SharedServer { server, hosts: ServedHost::all(server, namespace), gateway: full_name.clone() };
        match place(&entry, kind, &bind, shared) {
            Ok(Some(at)) => shared[at].servers.push(entry),
            Ok(None) => shared.push(Shared {
                name: name(kind, &entry, &bind, number),
                bind,
                port: number,
                kind,
                gateway: resource.clone(),
                written: gateway,
                path: path.text(),
                servers: vec![entry],
            }),
            Err(why) => review::of(gateway, resource.clone(), report, |review| review.left_out(&path, &why)),
        }
    }
}

/// `None` for one that is not opened, which is said elsewhere.
pub(super) fn kind(server: &Server, protocol: PortProtocol) -> Option<Kind> {
    let mode = server.tls.as_ref().map(|tls| tls.mode);
    match (protocol, mode) {
        (PortProtocol::Http | PortProtocol::Http2, _) => Some(Kind::Http),
        (PortProtocol::Tcp | PortProtocol::Sniffed, _) => Some(Kind::Tcp),
        (_, Some(ServerTlsMode::Passthrough)) => Some(Kind::Passed),
        (_, Some(ServerTlsMode::AutoPassthrough)) => Some(Kind::AutoPassed),
        (_, None) => None,
        (PortProtocol::Https, _) => Some(Kind::Https),
        (PortProtocol::Tls, _) => Some(Kind::Ended),
    }
}

/// Which listener a server joins; none: it is one of its own. An error says why it is left out.
fn place(entry: &SharedServer<'_>, kind: Kind, bind: &Bind, shared: &[Shared<'_>]) -> Result<Option<usize>, String> {
    let plain = |kind| matches!(kind, Kind::Http | Kind::Tcp);
    let mut neighbors = shared.iter().enumerate().filter(|(_, other)| other.bind == *bind).peekable();
    match neighbors.peek() {
        None => return Ok(None),
        Some((at, first)) if first.kind == Kind::Http && kind == Kind::Http => {
            return match first.servers.iter().find_map(|other| twice(entry, other)) {
                Some(host) => Err(format!("another server with `tls` has taken `{host}` on the port")),
                None => Ok(Some(*at)),
            };
        }
        Some((_, first)) if plain(first.kind) || plain(kind) => {
            return Err(format!("{} has taken the port, and only HTTP in plaintext or TLS can be shared", first.name));
        }
        Some(_) => {}
    }
    let names = entry.server_names();
    let taken = neighbors.find_map(|(_, other)| {
        let others: Vec<&str> = other.servers.iter().flat_map(SharedServer::server_names).collect();
        names.iter().find(|name| others.contains(name)).map(|name| (other, name))
    });
    match taken {
        Some((other, name)) => Err(format!("{} has taken `{name}` on the port", other.name)),
        None => Ok(None),
    }
}

/// A host that two servers with `tls` both have: Istio looks at that whether or not they open TLS.
fn twice<'e>(entry: &'e SharedServer<'_>, other: &SharedServer<'_>) -> Option<&'e str> {
    if [entry, other].iter().any(|server| server.server.tls.is_none()) {
        return None;
    }
    entry.hosts.iter().find(|host| other.hosts.contains(host)).map(|host| host.host.as_str())
}

/// Where a server listens, and the port that rules see.
pub(super) fn address(server: &Server, number: u32) -> Option<(Bind, u16)> {
    if let Some(path) = server.bind.strip_prefix("unix://") {
        return Some((Bind::Unix(path.into()), 0));
    }
    let port = u16::try_from(number).ok()?;
    let ip = if server.bind.is_empty() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { server.bind.parse().ok()? };
    Some((Bind::Tcp(SocketAddr::new(ip, port)), port))
}

/// The name of its routes.
fn name(kind: Kind, entry: &SharedServer<'_>, bind: &Bind, port: u16) -> Arc<str> {
    let server = entry.server;
    let at = match bind {
        _ if server.bind.is_empty() => String::new(),
        Bind::Tcp(address) => format!(".{}", address.ip()),
        Bind::Unix(_) => format!(".{}", server.bind),
    };
    let protocol = match kind {
        Kind::Http => return format!("http.{port}{at}").into(),
        Kind::Tcp => return format!("tcp.{port}{at}").into(),
        Kind::Https => "https",
        Kind::Ended | Kind::Passed | Kind::AutoPassed => "tls",
    };
    let port_name = server.port.as_ref().map_or("", |port| port.name.as_str());
    let (namespace, gateway) = entry.gateway.split_once('/').unwrap_or_default();
    format!("{protocol}.{port}.{port_name}.{gateway}.{namespace}").into()
}
