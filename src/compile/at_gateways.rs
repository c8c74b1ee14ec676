//! What VirtualServices say in vain at gateways: hosts that no server is for, and rules that none of them asks.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::Purpose;
use super::delegate::Delegates;
use super::names;
use super::path::Path;
use super::report::Report;
use super::review::{self, Review};
use super::servers::{Kind, ServedHost, address, kind};
use super::services::{PortProtocol, selects};
use super::virtual_services::MeantVirtualService;
use crate::config::{Config, VirtualService};
use crate::error::ResourceName;
use crate::options::{MeshOptions, Workload};

/// Names the hosts and rules of VirtualServices that do nothing at their gateways, as far as these are known here.
pub(crate) fn review(
    virtual_services: &[MeantVirtualService<'_>],
    gateways: &Gateways<'_>,
    purpose: Purpose<'_>,
    report: &mut Report,
) {
    let Purpose { options, workload, .. } = purpose;
    let delegates = Delegates::new(virtual_services, options);
    let mut roots_of: HashMap<&ResourceName, Vec<&MeantVirtualService<'_>>> = HashMap::new();
    for root in virtual_services.iter().filter(|meant| !meant.hosts.is_empty()) {
        for delegate in root.rules.iter().filter_map(|rule| delegates.find(root, rule.delegate?).ok()) {
            let roots = roots_of.entry(&delegate.name).or_default();
            if roots.last().is_none_or(|last| last.name != root.name) {
                roots.push(root);
            }
        }
        let bound: Vec<_> = gateways.bound(root).collect();
        review::of(root.resource, root.name.clone(), report, |review| {
            if hosts(root, &bound, options, workload, review) {
                Rules { of: root, bound: &bound, gateways }.review(review);
            }
        });
    }
    // A delegate is for the gateways of all that lead to it.
    for delegate in virtual_services.iter().filter(|meant| meant.hosts.is_empty()) {
        let Some(roots) = roots_of.get(&delegate.name) else { continue };
        let bound: Vec<_> = roots.iter().flat_map(|root| gateways.bound(root)).collect();
        review::of(delegate.resource, delegate.name.clone(), report, |review| {
            Rules { of: delegate, bound: &bound, gateways }.review(review);
        });
    }
}

/// Names the hosts that no server is for; whether there is one that is served, or may be.
fn hosts(
    meant: &MeantVirtualService<'_>,
    bound: &[Bound<'_>],
    options: &MeshOptions,
    workload: &Workload,
    review: &mut Review<'_>,
) -> bool {
    let known: Option<Vec<_>> = bound.iter().map(|bound| bound.servers).collect();
    let Some(servers) = known else { return true };
    let all = || servers.iter().copied().flatten();
    let default = &options.default_virtual_service_export_to;
    let own = &*meant.name.namespace;
    let is_seen = names::reach(&meant.resource.spec.export_to, default, own, &workload.namespace).is_some();
    let root = Path::root("spec");
    let list = root.field("hosts");
    let mut some_is_served = false;
    for (number, host) in meant.hosts.iter().enumerate() {
        let why = if !is_seen {
            format!("the VirtualService is not exported to {}, where its gateways are", workload.namespace)
        } else if all().any(|server| server.serves(host, own)) {
            some_is_served = true;
            continue;
        } else if all().any(|server| server.has(host)) {
            format!("{} that have it are for VirtualServices of other namespaces", at("the servers", bound))
        } else {
            format!("{} serves it", at("no server", bound))
        };
        review.without_effect(&list.index(number), &why);
    }
    some_is_served
}

/// `what` at the gateways, by their names.
fn at(what: &str, bound: &[Bound<'_>]) -> String {
    let names: Vec<_> = bound.iter().map(|bound| bound.gateway).collect();
    format!("{what} at {}", names.join(", "))
}

/// The gateways that there are.
pub(super) struct Gateways<'a> {
    /// By `namespace/name`. `None`: what comes there is not known here.
    servers: HashMap<String, Option<Vec<Opened<'a>>>>,
}

/// A server, as the rules for its gateway see it.
struct Opened<'a> {
    kind: Kind,
    port: u16,
    hosts: Vec<ServedHost<'a>>,
    /// Whether requests in plaintext are sent to https.
    redirects: bool,
}

impl Opened<'_> {
    fn has(&self, wanted: &str) -> bool {
        self.hosts.iter().any(|served| names::intersection(&served.host, wanted).is_some())
    }

    /// Whether it has a host for VirtualServices of a namespace.
    fn serves(&self, wanted: &str, namespace: &str) -> bool {
        let meets = |served: &ServedHost<'_>| names::intersection(&served.host, wanted).is_some();
        self.hosts.iter().any(|served| served.namespace.is_none_or(|of| of == namespace) && meets(served))
    }
}

/// A gateway of a VirtualService.
pub(super) struct Bound<'g> {
    /// Whose it is.
    meant: &'g MeantVirtualService<'g>,
    pub(super) gateway: &'g str,
    /// `None`: any request may come, as in the mesh and at gateways that are those of others.
    servers: Option<&'g [Opened<'g>]>,
}

impl Bound<'_> {
    /// The ports of its servers of some kinds that are for a host of the VirtualService; `None`: any.
    fn ports(&self, kinds: &[Kind]) -> Option<Vec<u16>> {
        Some(self.serving(self.servers?, kinds).map(|server| server.port).collect())
    }

    /// The ports where its `http` rules are asked, as far as they are known.
    pub(super) fn http_ports(&self) -> BTreeSet<u16> {
        let serving = self.serving(self.servers.unwrap_or_default(), HTTP.kinds);
        serving.filter(|server| server.kind != Kind::Http || !server.redirects).map(|server| server.port).collect()
    }

    fn serving<'o>(&self, servers: &'o [Opened<'o>], kinds: &[Kind]) -> impl Iterator<Item = &'o Opened<'o>> {
        let Self { meant, .. } = self;
        let is_for = |server: &Opened<'_>| meant.hosts.iter().any(|host| server.serves(host, &meant.name.namespace));
        servers.iter().filter(move |server| kinds.contains(&server.kind) && is_for(server))
    }
}

impl<'a> Gateways<'a> {
    pub(super) fn new(config: &'a Config, purpose: Purpose<'_>) -> Self {
        let mut servers: HashMap<String, Option<Vec<Opened<'a>>>> = HashMap::new();
        let labels = &purpose.workload.labels;
        for gateway in &config.gateways {
            let name = format!("{}/{}", gateway.namespace(), gateway.meta.name);
            let is_of_others = !labels.is_empty() && !selects(&gateway.spec.selector, labels);
            let is_of_application = purpose.gateways.iter().any(|own| *own.gateway == *name);
            let opened = gateway.spec.servers.iter().filter_map(|server| {
                let port = server.port.as_ref()?;
                Some(Opened {
                    kind: kind(server, PortProtocol::named(&port.protocol))?,
                    port: address(server, port.number)?.1,
                    hosts: ServedHost::all(server, gateway.namespace()),
                    redirects: server.tls.as_ref().is_some_and(|tls| tls.https_redirect),
                })
            });
            servers.insert(name, (!is_of_others && !is_of_application).then(|| opened.collect()));
        }
        for own in purpose.gateways {
            servers.entry(own.gateway.to_string()).or_insert(None);
        }
        Self { servers }
    }

    pub(super) fn bound<'g>(&'g self, meant: &'g MeantVirtualService<'g>) -> impl Iterator<Item = Bound<'g>> {
        meant.gateways.iter().map(move |gateway| {
            let servers = self.servers.get(gateway).and_then(|servers| servers.as_deref());
            Bound { meant, gateway, servers }
        })
    }

    /// Whether there is no such gateway, which is said elsewhere.
    fn is_missing(&self, gateway: &str) -> bool {
        gateway != names::MESH && !self.servers.contains_key(gateway)
    }
}

/// The rules of a VirtualService, and the gateways where they are asked.
#[derive(Clone, Copy)]
struct Rules<'r> {
    of: &'r MeantVirtualService<'r>,
    bound: &'r [Bound<'r>],
    gateways: &'r Gateways<'r>,
}

/// A list of rules, and which servers ask it.
struct List {
    field: &'static str,
    kinds: &'static [Kind],
    /// What these servers are.
    servers: &'static str,
}

const HTTP: List = List { field: "http", kinds: &[Kind::Http, Kind::Https], servers: "server of HTTP" };
const TLS: List = List { field: "tls", kinds: &[Kind::Passed], servers: "server with `tls.mode: PASSTHROUGH`" };
const TCP: List =
    List { field: "tcp", kinds: &[Kind::Tcp, Kind::Ended], servers: "server of TCP, or of TLS that it ends," };

impl Rules<'_> {
    fn review(self, review: &mut Review<'_>) {
        let VirtualService { http, tls, tcp, .. } = &self.of.resource.spec;
        self.list(&HTTP, http.iter().map(|rule| rule.matches.iter().map(|at| (&*at.gateways, at.port))), review);
        self.list(&TLS, tls.iter().map(|rule| rule.matches.iter().map(|at| (&*at.gateways, at.port))), review);
        self.list(&TCP, tcp.iter().map(|rule| rule.matches.iter().map(|at| (&*at.gateways, at.port))), review);
    }

    /// Names a list that no server asks, else the matches of its rules that hold at none: of each what it says of
    /// gateways, and of the port.
    fn list<'w>(
        self,
        list: &List,
        rules: impl ExactSizeIterator<Item: Iterator<Item = (&'w [String], u32)>>,
        review: &mut Review<'_>,
    ) {
        if rules.len() == 0 {
            return;
        }
        let root = Path::root("spec");
        let open: Vec<_> = self.bound.iter().map(|bound| (bound.gateway, bound.ports(list.kinds))).collect();
        let is_asked = |ports: &Option<Vec<u16>>| ports.as_ref().is_none_or(|ports| !ports.is_empty());
        if !open.iter().any(|(_, ports)| is_asked(ports)) {
            // Of delegates it is said where their roots are.
            if !self.of.hosts.is_empty() {
                let why = format!("no {} is for its hosts", at(list.servers, self.bound));
                review.without_effect(&root.field(list.field), &why);
            }
            return;
        }
        for (number, matches) in rules.enumerate() {
            let rule = root.item(list.field, number);
            for (number, (gateways, port)) in matches.enumerate() {
                self.matching(list, &open, (gateways, port), &rule.item("match", number), review);
            }
        }
    }

    fn matching(
        self,
        list: &List,
        open: &[(&str, Option<Vec<u16>>)],
        (gateways, port): (&[String], u32),
        path: &Path<'_>,
        review: &mut Review<'_>,
    ) {
        let named: HashSet<_> =
            gateways.iter().map(|gateway| names::gateway(gateway, &self.of.name.namespace)).collect();
        if named.iter().any(|gateway| self.gateways.is_missing(gateway)) {
            return;
        }
        let mut open = open.iter().filter(|(gateway, _)| named.is_empty() || named.contains(*gateway)).peekable();
        if open.peek().is_none() {
            matches_nothing(&path.field("gateways"), "it names no gateway of the VirtualService", review);
            return;
        }
        let mut is_asked = false;
        for (_, ports) in open {
            let Some(ports) = ports else { return };
            if ports.iter().any(|open| port == 0 || port == u32::from(*open)) {
                return;
            }
            is_asked |= !ports.is_empty();
        }
        let (field, why) = match is_asked {
            true => ("port", format!("no {} there has port {port}", list.servers)),
            false => ("gateways", format!("no {} there is for its hosts", list.servers)),
        };
        matches_nothing(&path.field(field), &why, review);
    }
}

/// Names a match that no request meets. Where rules are delegated it may still decide which of them are kept.
fn matches_nothing(path: &Path<'_>, why: &str, review: &mut Review<'_>) {
    review.warning(path, format!("matches nothing: {why}"));
}
