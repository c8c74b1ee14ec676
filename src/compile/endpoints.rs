//! The endpoints behind a service: from ServiceEntries, WorkloadEntries, EndpointSlices and Pods.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use super::pods::Pods;
use super::ports::{KnownPort, Target};
use super::selected::Selectable;
use super::services::{Discovery, KnownService, Labels, selects};
pub(super) use crate::config::kubernetes::SERVICE_NAME;
use crate::config::{Config, EndpointSlice, Node, Pod, Resource, Subset, WorkloadEntry};
use crate::upstream::{
    Address, EndpointConfig, Locality, NETWORK_LABEL, NamedEndpoint, NamedEndpoints, Names, REGION_LABEL,
    SUBZONE_LABEL, ZONE_LABEL,
};

/// The label of the node that something runs on.
pub(super) const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";

/// Labels that say where a workload is, with dots for slashes; they go before what its node says.
const LOCALITY_LABELS: [&str; 2] = ["topology.istio.io/locality", "istio-locality"];

/// One endpoint of a service, before a port is chosen.
#[derive(Clone, Debug)]
pub(crate) struct KnownEndpoint {
    pub(super) address: Where,
    /// Ports by the name of the service's port.
    pub(super) ports: PortNames,
    pub(crate) labels: Labels,
    pub(super) locality: Arc<str>,
    /// The node it runs on, empty if unknown.
    pub(super) node: Arc<str>,
    pub(super) weight: u32,
    pub(super) healthy: bool,
}

/// The address of an endpoint.
#[derive(Clone, Debug)]
pub(super) enum Where {
    Ip(IpAddr),
    Unix(PathBuf),
    /// To be looked up.
    Name(String),
}

/// Which of an endpoint's ports serves a port of the service.
#[derive(Clone, Debug)]
pub(super) enum PortNames {
    /// The named one, else the one that the service names.
    OrTarget(Arc<BTreeMap<String, u16>>),
    /// The named one, else none: an EndpointSlice lists all it has.
    Only(Arc<BTreeMap<String, u16>>),
    /// The one for the number of the service's port, else none.
    ByNumber(Arc<BTreeMap<u16, u16>>),
}

impl KnownEndpoint {
    /// The endpoint as it serves `port`, if it does.
    fn at(&self, port: &KnownPort, names: &Names) -> Option<NamedEndpoint> {
        let number = self.port(port)?;
        let like = |address| EndpointConfig {
            weight: self.weight,
            labels: self.labels.clone(),
            locality: self.locality.clone(),
            healthy: self.healthy,
            ..EndpointConfig::new(address)
        };
        Some(match &self.address {
            Where::Ip(ip) => NamedEndpoint::Known(like(Address::Tcp(SocketAddr::new(*ip, number)))),
            Where::Unix(path) => NamedEndpoint::Known(like(Address::Unix(path.clone()))),
            Where::Name(name) => {
                let nowhere = Address::Tcp(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), number));
                NamedEndpoint::Named { name: names.get(name), port: number, like: like(nowhere) }
            }
        })
    }

    /// The number of its port that serves `port`.
    fn port(&self, port: &KnownPort) -> Option<u16> {
        match (&self.ports, &port.target) {
            (PortNames::Only(ports), _) => ports.get(&port.name).copied(),
            (PortNames::ByNumber(ports), _) => ports.get(&port.number).copied(),
            (PortNames::OrTarget(ports), Target::Number(target)) => {
                Some(ports.get(&port.name).copied().unwrap_or(*target))
            }
            (PortNames::OrTarget(ports), Target::Name(name)) => ports.get(name).copied(),
        }
    }

    /// The same endpoint, which serves `ports` and no others, as one of a service that is found by `discovery`: what is
    /// listed is told apart by the names of ports, what is looked up by their numbers.
    pub(crate) fn bound_to(&self, ports: &[KnownPort], discovery: Discovery) -> Self {
        let served = ports.iter().filter_map(|port| Some((port, self.port(port)?)));
        let ports = match discovery {
            Discovery::Names | Discovery::LogicalName => {
                PortNames::ByNumber(Arc::new(served.map(|(port, number)| (port.number, number)).collect()))
            }
            _ => PortNames::Only(Arc::new(served.map(|(port, number)| (port.name.clone(), number)).collect())),
        };
        Self { ports, ..self.clone() }
    }

    /// The name that has to be looked up for its address.
    #[cfg(feature = "file")]
    pub(crate) fn name(&self) -> Option<&str> {
        match &self.address {
            Where::Name(name) => Some(name),
            Where::Ip(_) | Where::Unix(_) => None,
        }
    }

    /// Whether its address has to be looked up.
    pub(crate) fn is_named(&self) -> bool {
        matches!(self.address, Where::Name(_))
    }

    /// Whether it has an address of IP: no name, no socket.
    pub(crate) fn has_ip(&self) -> bool {
        matches!(self.address, Where::Ip(_))
    }
}

/// The endpoints of one cluster.
pub(crate) struct Found {
    /// As they are now.
    pub(crate) endpoints: Vec<EndpointConfig>,
    /// As they are written, if some are names.
    pub(crate) named: Option<NamedEndpoints>,
}

impl Found {
    /// Leaves out those that are not ready.
    pub(crate) fn retain_healthy(&mut self) {
        self.endpoints.retain(|endpoint| endpoint.healthy);
        if let Some(named) = &mut self.named {
            named.retain_healthy();
        }
    }
}

/// The endpoints of `subset` (`None`: of all) that serve `port`. `None`: there is no cluster, as of names without one.
pub(crate) fn of_cluster(
    service: &KnownService,
    port: &KnownPort,
    subset: Option<&Subset>,
    names: &Names,
) -> Option<Found> {
    let of_subset = |endpoint: &&KnownEndpoint| subset.is_none_or(|subset| selects(&subset.labels, &endpoint.labels));
    let found: Vec<_> =
        service.endpoints.iter().filter(of_subset).filter_map(|endpoint| endpoint.at(port, names)).collect();
    let named = match service.discovery {
        Discovery::Dialed => return Some(Found { endpoints: Vec::new(), named: None }),
        // Nothing of what is looked up for a request has labels.
        Discovery::Requested => return subset.is_none().then_some(Found { endpoints: Vec::new(), named: None }),
        // One that is listed twice stands once to Envoy, as it is listed first.
        Discovery::Listed => {
            return Some(Found { endpoints: NamedEndpoints::strict(found).each().collect(), named: None });
        }
        Discovery::Names | Discovery::LogicalName if found.is_empty() => return None,
        Discovery::Names => NamedEndpoints::strict(found),
        Discovery::LogicalName => NamedEndpoints::logical(found),
    };
    Some(Found { endpoints: named.expand(), named: Some(named) })
}

/// What endpoints are made of, indexed for look-up.
pub(crate) struct Sources<'a> {
    pub(super) workloads: &'a [Resource<WorkloadEntry>],
    pub(super) pods: Pods<'a>,
    nodes: HashMap<&'a str, &'a Resource<Node>>,
    slices: HashMap<(&'a str, &'a str), Vec<&'a Resource<EndpointSlice>>>,
    pub(super) selectable: Selectable<'a>,
}

impl<'a> Sources<'a> {
    pub(crate) fn new(config: &'a Config) -> Self {
        let mut slices: HashMap<_, Vec<_>> = HashMap::new();
        for slice in &config.endpoint_slices {
            if let Some(service) = slice.meta.labels.get(SERVICE_NAME) {
                slices.entry((slice.namespace(), service.as_str())).or_default().push(slice);
            }
        }
        Self {
            workloads: &config.workload_entries,
            pods: Pods::new(&config.pods),
            nodes: config.nodes.iter().map(|node| (node.meta.name.as_str(), node)).collect(),
            slices,
            selectable: Selectable::default(),
        }
    }

    /// The EndpointSlices of a Service.
    pub(super) fn slices_of(&self, namespace: &str, service: &str) -> Vec<&'a Resource<EndpointSlice>> {
        self.slices.get(&(namespace, service)).cloned().unwrap_or_default()
    }

    /// `region/zone/subzone`: of the label, else of the node.
    pub(super) fn locality(&self, labels: &BTreeMap<String, String>, node: &str) -> String {
        if let Some(label) = locality_label(labels) {
            return of_label(label);
        }
        let Some(node) = self.nodes.get(node) else { return String::new() };
        let part = |label: &str| node.meta.labels.get(label).map_or("", String::as_str);
        format!("{}/{}/{}", part(REGION_LABEL), part(ZONE_LABEL), part(SUBZONE_LABEL)).trim_end_matches('/').to_owned()
    }
}

/// What labels say of a workload's locality.
fn locality_label(labels: &BTreeMap<String, String>) -> Option<&String> {
    LOCALITY_LABELS.iter().find_map(|name| labels.get(*name))
}

/// The locality that a label says: a label has no slashes, so that dots may stand for them.
fn of_label(label: &str) -> String {
    if label.contains('/') { label.to_owned() } else { label.replace('.', "/") }
}

/// Where an endpoint runs, as labels say it.
pub(super) struct Topology<'a> {
    pub(super) locality: &'a str,
    pub(super) node: &'a str,
    pub(super) network: &'a str,
}

impl Topology<'_> {
    /// Adds its labels to those of an endpoint. They take the place of what it says itself, but for the network.
    pub(super) fn added_to(&self, mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
        let Locality { region, zone, subzone } = Locality::parse(self.locality);
        let all = [(REGION_LABEL, region), (ZONE_LABEL, zone), (SUBZONE_LABEL, subzone), (HOSTNAME_LABEL, self.node)];
        for (name, value) in all.into_iter().filter(|(_, value)| !value.is_empty()) {
            labels.insert(name.to_owned(), value.to_owned());
        }
        if !self.network.is_empty() && labels.get(NETWORK_LABEL).is_none_or(String::is_empty) {
            labels.insert(NETWORK_LABEL.to_owned(), self.network.to_owned());
        }
        labels
    }
}

/// The node of a pod, empty if unknown.
pub(super) fn node_of(pod: &Resource<Pod>) -> &str {
    pod.spec.spec.as_ref().map_or("", |spec| spec.node_name.as_str())
}

/// The labels of the entry's spec, overridden by those of its metadata.
pub(super) fn merged_labels(entry: &Resource<WorkloadEntry>) -> BTreeMap<String, String> {
    let mut labels = entry.spec.labels.clone();
    labels.extend(entry.meta.labels.iter().map(|(key, value)| (key.clone(), value.clone())));
    labels
}

/// The host itself as an endpoint.
pub(crate) fn from_host(host: &str) -> KnownEndpoint {
    KnownEndpoint {
        address: Where::Name(host.to_owned()),
        ports: PortNames::OrTarget(Arc::default()),
        labels: Arc::default(),
        locality: Arc::from(""),
        node: Arc::from(""),
        weight: 1,
        healthy: true,
    }
}

/// A workload as an endpoint; one without an address is reached through the gateway of its network, which is not known.
pub(super) fn from_workload(entry: &WorkloadEntry, labels: Option<BTreeMap<String, String>>) -> Option<KnownEndpoint> {
    let address = match entry.address.strip_prefix("unix://") {
        Some(path) => Where::Unix(path.into()),
        None if entry.address.is_empty() => return None,
        None => match entry.address.parse() {
            Ok(ip) => Where::Ip(ip),
            Err(_) => Where::Name(entry.address.clone()),
        },
    };
    let labels = labels.unwrap_or_else(|| entry.labels.clone());
    let locality = match locality_label(&labels) {
        Some(label) if entry.locality.is_empty() => of_label(label),
        _ => entry.locality.clone(),
    };
    let ports =
        entry.ports.iter().filter_map(|(name, &number)| Some((name.clone(), u16::try_from(number).ok()?))).collect();
    let topology = Topology { locality: &locality, node: "", network: &entry.network };
    Some(KnownEndpoint {
        address,
        ports: PortNames::OrTarget(Arc::new(ports)),
        labels: Arc::new(topology.added_to(labels)),
        locality: locality.as_str().into(),
        node: Arc::from(""),
        weight: entry.weight,
        healthy: true,
    })
}
