//! The listeners of the gateways that this process stands for, and the routes behind them.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::clusters::Clusters;
use super::l4::{self, At};
use super::names;
use super::path::Path;
use super::report::Report;
use super::review;
use super::routes::{self, Scope};
use super::secrets::Secrets;
use super::server_tls;
use super::services::{PortProtocol, by_age, selects};
use super::tables::TableBuilder;
use super::virtual_services::MeantVirtualService;
use crate::config::{Config, Gateway, Resource, Server, ServerTlsMode};
use crate::error::{Place, Problem, ResourceName, Severity};
use crate::options::Workload;
use crate::route::{Ports, Route, RouteMatch, RouteTable, StreamTable, Unknown};
use crate::snapshot::{Bind, Listener, ListenerProtocol};

/// A listener in the making: the servers that it stands for.
struct Shared<'a> {
    name: Arc<str>,
    bind: Bind,
    port: u16,
    kind: Kind,
    gateway: ResourceName,
    /// The first server's.
    path: String,
    place: Option<Place>,
    /// Several only of HTTP in plaintext.
    servers: Vec<SharedServer<'a>>,
}

/// What a server does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Http,
    /// HTTP in TLS.
    Https,
    Tcp,
    /// Any bytes in TLS, which is ended.
    Ended,
    /// TLS, which is passed on.
    Passed,
}

/// A server and the gateway it belongs to.
struct SharedServer<'a> {
    server: &'a Server,
    hosts: Vec<ServedHost<'a>>,
    /// `namespace/name`.
    gateway: String,
}

/// A host of a server, in lower case.
#[derive(PartialEq, Eq)]
struct ServedHost<'a> {
    /// Whose VirtualServices it is for. `None`: every namespace's.
    namespace: Option<&'a str>,
    host: String,
}

impl<'a> ServedHost<'a> {
    /// The hosts of a server of a Gateway in the namespace `own`.
    fn all(server: &'a Server, own: &'a str) -> Vec<Self> {
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

/// The listeners of every Gateway whose selector fits the workload; one without labels fits all.
pub(crate) fn listeners(
    config: &Config,
    meant: &[&MeantVirtualService<'_>],
    secrets: &Secrets<'_>,
    clusters: &mut Clusters<'_>,
    workload: &Workload,
    report: &mut Report,
) -> Vec<Listener> {
    let mut gateways: Vec<_> = config.gateways.iter().map(|gateway| (gateway.namespace(), gateway)).collect();
    gateways.sort_by(|(one_namespace, one), (other_namespace, other)| {
        by_age(one, one_namespace).cmp(&by_age(other, other_namespace))
    });
    let mut shared: Vec<Shared<'_>> = Vec::new();
    for (namespace, gateway) in &gateways {
        if workload.labels.is_empty() || selects(&gateway.spec.selector, &workload.labels) {
            share(gateway, namespace, &mut shared, report);
        }
    }
    let mut taken = HashMap::new();
    let listeners = shared.into_iter().filter_map(|mut shared| {
        let (kind, path) = (shared.kind, std::mem::take(&mut shared.path));
        let listener = listener(shared, meant, &mut taken, secrets, clusters, workload);
        if listener.protocol != ListenerProtocol::Http && listener.streams.is_empty() {
            report.push(nothing_passed(kind, path, &listener));
            return None;
        }
        Some(listener)
    });
    listeners.collect()
}

/// A server of connections is for `tcp` rules, or for `tls` rules if it leaves TLS to those behind it; what `http` rules
/// look at it does not see. Without any it is not opened, as in Istio.
fn nothing_passed(kind: Kind, server: String, listener: &Listener) -> Problem {
    let (rules, field, help) = match kind {
        Kind::Passed => ("tls", "tls.mode", "write a `tls` rule with `sniHosts`, or end TLS here with `mode: SIMPLE`"),
        _ => {
            ("tcp", "port.protocol", "write a `tcp` rule, or name HTTP here if it is that: HTTP, HTTP2, GRPC or HTTPS")
        }
    };
    let message =
        format!("without effect: no `{rules}` rule of a VirtualService is for this server, which is not opened then");
    Problem::new(Severity::Warning, format!("{server}.{field}"), message)
        .with_resource(listener.gateway.clone())
        .with_place(listener.place.clone())
        .with_help(help)
}

fn listener(
    shared: Shared<'_>,
    meant: &[&MeantVirtualService<'_>],
    taken: &mut HashMap<Bind, HashSet<String>>,
    secrets: &Secrets<'_>,
    clusters: &mut Clusters<'_>,
    workload: &Workload,
) -> Listener {
    let first = shared.servers.first();
    let tls = first.filter(|_| matches!(shared.kind, Kind::Https | Kind::Ended));
    let tls = tls.and_then(|first| first.server.tls.as_ref()).map(|tls| server_tls::settings(tls, secrets));
    let mut table = RouteTable::default();
    let (mut streams, mut server_names) = (StreamTable::default(), Vec::new());
    let bound = first.map_or_else(Vec::new, |first| first.bound(meant));
    let at = At { gateway: first.map_or("", |first| first.gateway.as_str()), port: shared.port };
    let names = first.map_or_else(Vec::new, |first| first.server_names().into_iter().map(Box::from).collect());
    let protocol = match shared.kind {
        Kind::Http => {
            table = self::table(&shared, meant, clusters, workload);
            ListenerProtocol::Http
        }
        Kind::Https => {
            (table, server_names) = (self::table(&shared, meant, clusters, workload), names);
            ListenerProtocol::Http
        }
        Kind::Tcp => {
            streams = l4::tcp(&bound, at, clusters);
            ListenerProtocol::Tcp
        }
        Kind::Ended => {
            (streams, server_names) = (l4::tcp(&bound, at, clusters), names);
            ListenerProtocol::Tcp
        }
        Kind::Passed => {
            let taken = taken.entry(shared.bind.clone()).or_default();
            (streams, server_names) = l4::tls(&bound, at, taken, clusters);
            ListenerProtocol::Tls
        }
    };
    let server_names = server_names.into();
    let named = first.and_then(|first| first.server.port.as_ref()).map_or("", |port| port.protocol.as_str());
    let grpc_web = shared.kind == Kind::Http && named.eq_ignore_ascii_case("GRPC-WEB");
    let Shared { name, bind, port, gateway, place, .. } = shared;
    Listener { name, bind, port, protocol, grpc_web, gateway, place, tls, server_names, table, streams }
}

impl<'a> SharedServer<'a> {
    /// The VirtualServices that are for the gateway and for a host of this server.
    fn bound<'m>(&self, meant: &[&'m MeantVirtualService<'m>]) -> Vec<&'m MeantVirtualService<'m>> {
        let bound = |meant: &&MeantVirtualService<'_>| {
            meant.gateways.contains(&self.gateway) && !served_hosts(&self.hosts, meant).is_empty()
        };
        meant.iter().copied().filter(bound).collect()
    }

    /// The hosts for which requests in plaintext are sent to https: those of its VirtualServices, and its own but for
    /// those of one namespace, which a request cannot name.
    fn redirected(&self, meant: &[&MeantVirtualService<'_>]) -> Vec<String> {
        if !self.server.tls.as_ref().is_some_and(|tls| tls.https_redirect) {
            return Vec::new();
        }
        let bound = meant.iter().filter(|meant| meant.gateways.contains(&self.gateway));
        let served = bound.flat_map(|meant| served_hosts(&self.hosts, meant)).map(str::to_owned);
        let own = self.hosts.iter().filter(|host| host.namespace.is_none()).map(|host| host.host.clone());
        served.chain(own).collect()
    }

    /// Its hosts, without namespaces.
    fn server_names(&self) -> Vec<&str> {
        self.hosts.iter().map(|host| host.host.as_str()).collect()
    }
}

/// Adds the servers of a gateway to the listeners.
fn share<'a>(gateway: &'a Resource<Gateway>, namespace: &'a str, shared: &mut Vec<Shared<'a>>, report: &mut Report) {
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
                place: gateway.place(&path.text()),
                path: path.text(),
                servers: vec![entry],
            }),
            Err(why) => review::of(gateway, resource.clone(), report, |review| review.left_out(&path, &why)),
        }
    }
}

/// `None` for one that is not opened, which is said elsewhere.
fn kind(server: &Server, protocol: PortProtocol) -> Option<Kind> {
    let mode = server.tls.as_ref().map(|tls| tls.mode);
    match (protocol, mode) {
        (PortProtocol::Http | PortProtocol::Http2, _) => Some(Kind::Http),
        (PortProtocol::Tcp | PortProtocol::Sniffed, _) => Some(Kind::Tcp),
        (_, Some(ServerTlsMode::Passthrough)) => Some(Kind::Passed),
        (_, None | Some(ServerTlsMode::AutoPassthrough | ServerTlsMode::IstioMutual)) => None,
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
fn address(server: &Server, number: u32) -> Option<(Bind, u16)> {
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
        Kind::Ended | Kind::Passed => "tls",
    };
    let port_name = server.port.as_ref().map_or("", |port| port.name.as_str());
    let (namespace, gateway) = entry.gateway.split_once('/').unwrap_or_default();
    format!("{protocol}.{port}.{port_name}.{gateway}.{namespace}").into()
}

/// The routes of one host of a listener.
#[derive(Default)]
struct HostRoutes {
    routes: Vec<(RouteMatch, Arc<Route>)>,
    /// Which VirtualServices are in, and for which gateway: two servers may both lead to one.
    taken: HashSet<(usize, String)>,
}

/// The table of one listener: the VirtualServices of a host are joined, the older first, their catch-alls last.
fn table(
    shared: &Shared<'_>,
    meant: &[&MeantVirtualService<'_>],
    clusters: &mut Clusters<'_>,
    workload: &Workload,
) -> RouteTable {
    let mut hosts: Vec<(String, HostRoutes)> = Vec::new();
    let mut numbers = HashMap::new();
    for SharedServer { hosts: own, gateway, .. } in &shared.servers {
        for (number, meant) in meant.iter().enumerate().filter(|(_, meant)| meant.gateways.contains(gateway)) {
            let served = served_hosts(own, meant);
            if served.is_empty() {
                continue;
            }
            let scope = Scope { gateway, workload, port: Some(shared.port) };
            let routes = routes::routes(meant, scope, clusters);
            if routes.is_empty() {
                // It does not apply here: its hosts are those of others.
                continue;
            }
            for host in served {
                let place = *numbers.entry(host.to_owned()).or_insert_with(|| {
                    hosts.push((host.to_owned(), HostRoutes::default()));
                    hosts.len() - 1
                });
                let entry = &mut hosts[place].1;
                if entry.taken.insert((number, gateway.clone())) {
                    entry.routes.extend(routes.iter().cloned());
                }
            }
        }
    }
    let mut builder = TableBuilder::new(Unknown::NotFound);
    for (host, HostRoutes { mut routes, .. }) in hosts {
        routes.sort_by_key(|(matcher, _)| matcher.is_catch_all());
        let set = builder.rule_set(routes);
        builder.virtual_host(&host, [host.as_str()], Ports::any(set));
    }
    for host in shared.servers.iter().flat_map(|server| server.redirected(meant)) {
        builder.https_only(&host);
    }
    builder.build()
}

/// The hosts of a VirtualService that a server with the hosts `own` serves: of each overlapping pair the narrower, once.
fn served_hosts<'a>(own: &'a [ServedHost<'_>], meant: &'a MeantVirtualService<'_>) -> Vec<&'a str> {
    let mut served: Vec<&str> = Vec::new();
    let admitted = own.iter().filter(|host| host.namespace.is_none_or(|namespace| namespace == &*meant.name.namespace));
    for ServedHost { host, .. } in admitted {
        for wanted in &meant.hosts {
            if let Some(host) = names::intersection(host, wanted).filter(|host| !served.contains(host)) {
                served.push(host);
            }
        }
    }
    served
}
