//! The listeners of the gateways that this process stands for, and the routes behind them.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::clusters::Clusters;
use super::names;
use super::path::Path;
use super::report::Report;
use super::review;
use super::routes::{self, Scope};
use super::services::{PortProtocol, by_age, selects};
use super::tables::TableBuilder;
use super::virtual_services::MeantVirtualService;
use crate::config::{Config, Gateway, Resource, Server};
use crate::error::{Place, ResourceName};
use crate::options::Workload;
use crate::route::{Ports, Route, RouteMatch, RouteTable, Unknown};
use crate::snapshot::{Bind, Listener, ListenerProtocol};

/// A listener in the making: the servers that share its port and bind address.
struct Shared<'a> {
    name: Arc<str>,
    bind: Bind,
    port: u16,
    gateway: ResourceName,
    place: Option<Place>,
    servers: Vec<SharedServer<'a>>,
}

/// A server and the gateway it belongs to.
struct SharedServer<'a> {
    server: &'a Server,
    namespace: &'a str,
    /// `namespace/name`.
    gateway: String,
}

/// The listeners of every Gateway whose selector fits the workload; one without labels fits all.
pub(crate) fn listeners(
    config: &Config,
    meant: &[&MeantVirtualService<'_>],
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
    shared
        .into_iter()
        .map(|shared| {
            let table = table(&shared, meant, clusters, workload);
            let Shared { name, bind, port, gateway, place, .. } = shared;
            Listener { name, bind, port, protocol: ListenerProtocol::Http, gateway, place, table }
        })
        .collect()
}

/// Adds the servers of a gateway to the listeners they share.
fn share<'a>(gateway: &'a Resource<Gateway>, namespace: &'a str, shared: &mut Vec<Shared<'a>>, report: &mut Report) {
    let resource = gateway.name_of("Gateway");
    let full_name = format!("{namespace}/{}", gateway.meta.name);
    let root = Path::root("spec");
    let list = root.field("servers");
    for (number, server) in gateway.spec.servers.iter().enumerate() {
        let path = list.index(number);
        let Some(port) = &server.port else { continue };
        if !matches!(PortProtocol::named(&port.protocol), PortProtocol::Http | PortProtocol::Http2) {
            review::of(gateway, resource.clone(), report, |review| {
                let path = path.field("port");
                let why = format!("a server of protocol {} is not opened", port.protocol);
                review.value_not_honored(&path.field("protocol"), &why);
            });
            continue;
        }
        let Some((name, bind, number)) = address(server, port.number) else { continue };
        let entry = SharedServer { server, namespace, gateway: full_name.clone() };
        match shared.iter_mut().find(|shared| shared.bind == bind) {
            Some(shared) => shared.servers.push(entry),
            None => shared.push(Shared {
                name,
                bind,
                port: number,
                gateway: resource.clone(),
                place: gateway.place(&path.to_string()),
                servers: vec![entry],
            }),
        }
    }
}

/// Where a server listens, and the name of its routes.
fn address(server: &Server, number: u32) -> Option<(Arc<str>, Bind, u16)> {
    if let Some(path) = server.bind.strip_prefix("unix://") {
        return Some((format!("http.0.{}", server.bind).into(), Bind::Unix(path.into()), 0));
    }
    let port = u16::try_from(number).ok()?;
    if server.bind.is_empty() {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        return Some((format!("http.{port}").into(), Bind::Tcp(SocketAddr::new(any, port)), port));
    }
    let ip: IpAddr = server.bind.parse().ok()?;
    Some((format!("http.{port}.{ip}").into(), Bind::Tcp(SocketAddr::new(ip, port)), port))
}

/// The routes of one host of a listener.
#[derive(Default)]
struct HostRoutes {
    routes: Vec<(RouteMatch, Route)>,
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
    let mut numbers = std::collections::HashMap::new();
    for SharedServer { server, namespace, gateway } in &shared.servers {
        for (number, meant) in meant.iter().enumerate().filter(|(_, meant)| meant.gateways.contains(gateway)) {
            let served = served_hosts(server, namespace, meant);
            if served.is_empty() {
                continue;
            }
            let scope = Scope { gateway, workload, port: Some(shared.port) };
            let routes = routes::routes(meant, scope, clusters);
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
    builder.build()
}

/// The hosts of a VirtualService that a server serves: of each overlapping pair the narrower, once.
fn served_hosts<'a>(server: &'a Server, own: &str, meant: &'a MeantVirtualService<'_>) -> Vec<&'a str> {
    let mut served: Vec<&str> = Vec::new();
    for entry in &server.hosts {
        let (namespace, host) = entry.split_once('/').unwrap_or(("*", entry));
        let admitted = match namespace {
            "*" => true,
            "." => &*meant.name.namespace == own,
            named => &*meant.name.namespace == named,
        };
        if !admitted {
            continue;
        }
        for wanted in &meant.hosts {
            if let Some(host) = names::intersection(host, wanted).filter(|host| !served.contains(host)) {
                served.push(host);
            }
        }
    }
    served
}
