//! The endpoints behind a service: from ServiceEntries, WorkloadEntries, EndpointSlices and Pods.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use super::services::{Discovery, KnownPort, KnownService, Labels, selects};
use crate::config::{
    Config, EndpointSlice, Node, Pod, PodStatus, Resource, Service, ServiceEntry, Subset, WorkloadEntry,
    WorkloadSelector,
};
use crate::upstream::{Address, EndpointConfig, NamedEndpoint, NamedEndpoints, Names};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const LOCALITY_LABEL: &str = "istio-locality";
const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const SUBZONE: &str = "topology.istio.io/subzone";

/// One endpoint of a service, before a port is chosen.
#[derive(Clone, Debug)]
pub(crate) struct KnownEndpoint {
    address: Where,
    /// Ports by the name of the service's port.
    ports: PortNames,
    pub(crate) labels: Labels,
    locality: Arc<str>,
    weight: u32,
    healthy: bool,
}

#[derive(Clone, Debug)]
enum Where {
    Ip(IpAddr),
    Unix(PathBuf),
    /// To be looked up.
    Name(String),
}

/// Which of an endpoint's ports serves a port of the service.
#[derive(Clone, Debug)]
enum PortNames {
    /// The named one, else the service's target port.
    OrTarget(Arc<BTreeMap<String, u16>>),
    /// The named one, else none: an EndpointSlice lists all it has.
    Only(Arc<BTreeMap<String, u16>>),
}

impl KnownEndpoint {
    /// The endpoint as it serves `port`, if it does.
    fn at(&self, port: &KnownPort, names: &Names) -> Option<NamedEndpoint> {
        let number = match &self.ports {
            PortNames::OrTarget(ports) => ports.get(&port.name).copied().unwrap_or(port.target),
            PortNames::Only(ports) => *ports.get(&port.name)?,
        };
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

    /// Whether its address has to be looked up.
    fn is_named(&self) -> bool {
        matches!(self.address, Where::Name(_))
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
        Discovery::Listed => return Some(Found { endpoints: NamedEndpoints::strict(found).expand(), named: None }),
        Discovery::Names | Discovery::LogicalName if found.is_empty() => return None,
        Discovery::Names => NamedEndpoints::strict(found),
        Discovery::LogicalName => NamedEndpoints::logical(found),
    };
    Some(Found { endpoints: named.expand(), named: Some(named) })
}

/// What endpoints are made of, indexed for look-up.
pub(crate) struct Sources<'a> {
    workloads: Vec<(&'a str, &'a Resource<WorkloadEntry>)>,
    pods: HashMap<(&'a str, &'a str), &'a Resource<Pod>>,
    nodes: HashMap<&'a str, &'a Resource<Node>>,
    slices: HashMap<(&'a str, &'a str), Vec<&'a Resource<EndpointSlice>>>,
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
            workloads: config.workload_entries.iter().map(|entry| (entry.namespace(), entry)).collect(),
            pods: config.pods.iter().map(|pod| ((pod.namespace(), pod.meta.name.as_str()), pod)).collect(),
            nodes: config.nodes.iter().map(|node| (node.meta.name.as_str(), node)).collect(),
            slices,
        }
    }

    /// The endpoints of a ServiceEntry: its own, else the workloads and pods it selects in its namespace.
    ///
    /// What has a name for its address is no endpoint where endpoints are `Listed`; of a `LogicalName` there is one.
    pub(crate) fn of_service_entry(&self, entry: &Resource<ServiceEntry>, discovery: Discovery) -> Vec<KnownEndpoint> {
        let mut endpoints = match &entry.spec.workload_selector {
            None => entry.spec.endpoints.iter().filter_map(|endpoint| from_workload(endpoint, None)).collect(),
            Some(selector) => self.selected(selector, entry.namespace()),
        };
        match discovery {
            Discovery::Listed => endpoints.retain(|endpoint| !endpoint.is_named()),
            Discovery::Names => {}
            Discovery::LogicalName => endpoints.truncate(1),
        }
        endpoints
    }

    /// The workloads and pods of a namespace that have the labels.
    fn selected(&self, selector: &WorkloadSelector, namespace: &str) -> Vec<KnownEndpoint> {
        let mut endpoints = self.selected_workloads(&selector.labels, namespace);
        for ((pod_namespace, _), pod) in &self.pods {
            if *pod_namespace == namespace && selects(&selector.labels, &pod.meta.labels) {
                endpoints.extend(self.pod(pod));
            }
        }
        sorted(endpoints)
    }

    /// The endpoints of a Kubernetes Service: its EndpointSlices, and the WorkloadEntries its selector selects.
    pub(crate) fn of_kubernetes(&self, service: &Resource<Service>, namespace: &str) -> Vec<KnownEndpoint> {
        let mut endpoints = Vec::new();
        for slice in self.slices.get(&(namespace, service.meta.name.as_str())).into_iter().flatten() {
            self.slice(slice, namespace, &mut endpoints);
        }
        if !service.spec.selector.is_empty() {
            endpoints.extend(self.selected_workloads(&service.spec.selector, namespace));
        }
        endpoints.retain(|endpoint| !endpoint.is_named());
        endpoints
    }

    fn selected_workloads(&self, selector: &BTreeMap<String, String>, namespace: &str) -> Vec<KnownEndpoint> {
        let mut endpoints = Vec::new();
        for (own, entry) in &self.workloads {
            let labels = merged_labels(entry);
            if *own == namespace && selects(selector, &labels) {
                endpoints.extend(from_workload(&entry.spec, Some(labels)));
            }
        }
        endpoints
    }

    fn pod(&self, pod: &Resource<Pod>) -> Option<KnownEndpoint> {
        let node = pod.spec.spec.as_ref().map_or("", |spec| spec.node_name.as_str());
        Some(KnownEndpoint {
            address: Where::Ip(pod.spec.status.as_ref()?.pod_ip.parse().ok()?),
            ports: PortNames::OrTarget(Arc::default()),
            labels: Arc::new(pod.meta.labels.clone()),
            locality: self.locality(pod.meta.labels.get(LOCALITY_LABEL), node).into(),
            weight: 1,
            healthy: is_ready(pod.spec.status.as_ref()?),
        })
    }

    fn slice(&self, slice: &Resource<EndpointSlice>, namespace: &str, out: &mut Vec<KnownEndpoint>) {
        if slice.spec.address_type.eq_ignore_ascii_case("fqdn") {
            return;
        }
        let ports: BTreeMap<String, u16> = slice
            .spec
            .ports
            .iter()
            .filter_map(|port| Some((port.name.clone(), u16::try_from(port.port?).ok()?)))
            .collect();
        let ports = Arc::new(ports);
        for endpoint in &slice.spec.endpoints {
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            let ready = conditions.ready.unwrap_or(true);
            // Not ready and on its way out: not sent. Not ready and staying: known, and used in panic only.
            if !ready && conditions.terminating.unwrap_or(true) {
                continue;
            }
            let pod = endpoint.target_ref.as_ref().filter(|target| target.kind == "Pod").and_then(|target| {
                let pod_namespace = if target.namespace.is_empty() { namespace } else { &target.namespace };
                self.pods.get(&(pod_namespace, target.name.as_str()))
            });
            let labels: Labels = pod.map_or_else(Arc::default, |pod| Arc::new(pod.meta.labels.clone()));
            let locality: Arc<str> = self.locality(labels.get(LOCALITY_LABEL), &endpoint.node_name).into();
            for ip in endpoint.addresses.iter().filter_map(|address| address.parse().ok()) {
                out.push(KnownEndpoint {
                    address: Where::Ip(ip),
                    ports: PortNames::Only(ports.clone()),
                    labels: labels.clone(),
                    locality: locality.clone(),
                    weight: 1,
                    healthy: ready,
                });
            }
        }
    }

    /// `region/zone/subzone`: of the label (dots for slashes), else of the node.
    fn locality(&self, label: Option<&String>, node: &str) -> String {
        if let Some(label) = label {
            return label.replace('.', "/");
        }
        let Some(node) = self.nodes.get(node) else { return String::new() };
        let part = |label: &str| node.meta.labels.get(label).map_or("", String::as_str);
        format!("{}/{}/{}", part(REGION), part(ZONE), part(SUBZONE)).trim_end_matches('/').to_owned()
    }
}

/// Whether the pod says that it is ready; one without conditions is.
fn is_ready(status: &PodStatus) -> bool {
    let ready = status.conditions.iter().find(|condition| condition.condition_type == "Ready");
    ready.is_none_or(|condition| condition.status == "True")
}

/// Pods come from a map: their order is made that of their addresses.
fn sorted(mut endpoints: Vec<KnownEndpoint>) -> Vec<KnownEndpoint> {
    endpoints.sort_by_key(|endpoint| match &endpoint.address {
        Where::Ip(ip) => (Some(*ip), None),
        Where::Unix(path) => (None, Some(path.clone())),
        Where::Name(name) => (None, Some(name.into())),
    });
    endpoints
}

/// The labels of the entry's spec, overridden by those of its metadata.
fn merged_labels(entry: &Resource<WorkloadEntry>) -> BTreeMap<String, String> {
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
        weight: 1,
        healthy: true,
    }
}

/// A workload as an endpoint; one without an address is reached through the gateway of its network, which is not known.
fn from_workload(entry: &WorkloadEntry, labels: Option<BTreeMap<String, String>>) -> Option<KnownEndpoint> {
    let address = match entry.address.strip_prefix("unix://") {
        Some(path) => Where::Unix(path.into()),
        None if entry.address.is_empty() => return None,
        None => match entry.address.parse() {
            Ok(ip) => Where::Ip(ip),
            Err(_) => Where::Name(entry.address.clone()),
        },
    };
    let labels = labels.unwrap_or_else(|| entry.labels.clone());
    let locality = match labels.get(LOCALITY_LABEL) {
        Some(label) if entry.locality.is_empty() => label.replace('.', "/"),
        _ => entry.locality.clone(),
    };
    let ports =
        entry.ports.iter().filter_map(|(name, &number)| Some((name.clone(), u16::try_from(number).ok()?))).collect();
    Some(KnownEndpoint {
        address,
        ports: PortNames::OrTarget(Arc::new(ports)),
        labels: Arc::new(labels),
        locality: locality.into(),
        weight: entry.weight,
        healthy: true,
    })
}
