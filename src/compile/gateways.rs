//! The listeners of the gateways that this process stands for, and the routes behind them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::auto_passthrough;
use super::clusters::Clusters;
use super::l4::{self, At};
use super::names;
use super::report::Report;
use super::routes::{self, Scope};
use super::secrets::Secrets;
use super::server_tls;
use super::servers::{Kind, ServedHost, Shared, SharedServer, share};
use super::services::{KnownService, by_age, selects};
use super::tables::TableBuilder;
use super::virtual_services::MeantVirtualService;
use crate::config::{Config, Gateway, Resource};
use crate::error::{Problem, ResourceName, Severity};
use crate::options::Workload;
use crate::route::{Ports, Route, RouteMatch, RouteTable, RuleOrigin, StreamTable, Unknown};
use crate::snapshot::{Bind, Listener, ListenerProtocol};

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
    let listeners = shared.into_iter().filter_map(|shared| {
        let (kind, path, written) = (shared.kind, shared.path.clone(), shared.written);
        let listener = listener(shared, meant, &mut taken, secrets, clusters, workload);
        if listener.protocol != ListenerProtocol::Http && listener.streams.is_empty() {
            report.push(nothing_passed(kind, &path, written, listener.gateway));
            return None;
        }
        Some(listener)
    });
    listeners.collect()
}

/// A server of connections is for `tcp` rules, or for `tls` rules if it leaves TLS to those behind it; what `http` rules
/// look at it does not see. Without any it is not opened, as in Istio.
fn nothing_passed(kind: Kind, server: &str, written: &Resource<Gateway>, gateway: ResourceName) -> Problem {
    let (what, field, help) = match kind {
        Kind::Passed => (
            "no `tls` rule of a VirtualService is",
            "tls.mode",
            "write a `tls` rule with `sniHosts`, or end TLS here with `mode: SIMPLE`",
        ),
        Kind::AutoPassed => ("no service of the mesh is", "hosts", "name hosts of Services, as `*.local` does"),
        _ => (
            "no `tcp` rule of a VirtualService is",
            "port.protocol",
            "write a `tcp` rule, or name HTTP here if it is that: HTTP, HTTP2, GRPC or HTTPS",
        ),
    };
    let message = format!("without effect: {what} for this server, which is not opened then");
    let path = format!("{server}.{field}");
    let place = written.place(&path);
    Problem::new(Severity::Warning, path, message).with_resource(gateway).with_place(place).with_help(help)
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
        Kind::AutoPassed => {
            let Shared { gateway, written, path, .. } = &shared;
            let origin = RuleOrigin { resource: gateway.clone(), path: path.clone(), place: written.place(path) };
            let admits = |service: &KnownService| first.is_some_and(|first| first.covers(service));
            (streams, server_names) = auto_passthrough::streams(admits, &origin, clusters);
            ListenerProtocol::Tls
        }
    };
    let server_names = server_names.into();
    let named = first.and_then(|first| first.server.port.as_ref()).map_or("", |port| port.protocol.as_str());
    let grpc_web = shared.kind == Kind::Http && named.eq_ignore_ascii_case("GRPC-WEB");
    let place = shared.written.place(&shared.path);
    let Shared { name, bind, port, gateway, .. } = shared;
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

    /// Whether requests in plaintext are sent to https.
    fn redirects(&self) -> bool {
        self.server.tls.as_ref().is_some_and(|tls| tls.https_redirect)
    }

    /// Whether a service is behind one of its hosts.
    fn covers(&self, service: &KnownService) -> bool {
        self.hosts.iter().any(|ServedHost { namespace, host }| {
            namespace.is_none_or(|namespace| namespace == service.namespace) && names::covers(host, &service.host)
        })
    }
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
    // Hosts for which requests in plaintext are sent to https: of servers that want it those of their VirtualServices, and
    // their own but for those of one namespace, which a request cannot name.
    let mut https_only: Vec<String> = Vec::new();
    for server in &shared.servers {
        let SharedServer { hosts: own, gateway, .. } = server;
        if server.redirects() {
            let own = own.iter().filter(|host| host.namespace.is_none());
            https_only.extend(own.map(|host| host.host.clone()));
        }
        for (number, meant) in meant.iter().enumerate().filter(|(_, meant)| meant.gateways.contains(gateway)) {
            let served = served_hosts(own, meant);
            if served.is_empty() {
                continue;
            }
            let scope = Scope { gateways: &[gateway.as_str()], workload, port: Some(shared.port) };
            let routes = routes::routes(meant, scope, clusters);
            if routes.is_empty() {
                // It does not apply here: its hosts are those of others.
                continue;
            }
            if server.redirects() {
                https_only.extend(served.iter().map(|host| (*host).to_owned()));
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
    for host in https_only {
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
