//! Services of Kubernetes, and the endpoints that EndpointSlices list.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::endpoints::{KnownEndpoint, PortNames, Sources, Topology, Where, node_of};
use super::pods::{Behind, is_leaving, is_of_names, pod_named};
use super::ports::KnownPort;
use super::services::{Alias, Discovery, KnownService, ServiceRegistry, TrafficDistribution};
use crate::config::{EndpointSlice, Metadata, Resource, Service, SliceEndpoint};
use crate::options::{MeshOptions, Workload};

/// The annotation that exports a Service.
const EXPORT_TO: &str = "networking.istio.io/exportTo";
/// The annotation that stands for `trafficDistribution`.
const TRAFFIC_DISTRIBUTION: &str = "networking.istio.io/traffic-distribution";

/// Whether a Service is another name of a host and has no endpoints.
fn is_alias(service: &Service) -> bool {
    service.service_type == "ExternalName" && !service.external_name.is_empty()
}

/// Whether a Service has no address of its own. It has no workloads but pods then.
fn is_headless(service: &Service) -> bool {
    service.cluster_ip.eq_ignore_ascii_case("none")
}

/// Whether a Service is for clients and endpoints of one node.
pub(crate) fn is_local(service: &Service) -> bool {
    service.internal_traffic_policy == "Local"
}

/// The other name that a Service of type ExternalName is.
pub(crate) fn alias(service: &Resource<Service>, options: &MeshOptions) -> Option<Alias> {
    is_alias(&service.spec).then(|| Alias {
        host: host(&service.meta, service.namespace(), options),
        namespace: service.namespace().to_owned(),
        target: service.spec.external_name.trim_end_matches('.').to_ascii_lowercase(),
        sole_port: match service.spec.ports.as_slice() {
            [port] => u16::try_from(port.port).ok(),
            _ => None,
        },
        export_to: export_to(&service.meta),
    })
}

pub(super) fn host(meta: &Metadata, namespace: &str, options: &MeshOptions) -> String {
    format!("{}.{namespace}.svc.{}", meta.name, options.domain).to_ascii_lowercase()
}

fn export_to(meta: &Metadata) -> Vec<String> {
    let list = meta.annotations.get(EXPORT_TO).map_or("", String::as_str).split(',').map(str::trim);
    list.filter(|namespace| !namespace.is_empty()).map(str::to_owned).collect()
}

impl TrafficDistribution {
    /// What a service asks for: by the field of a Service, else by its annotation, in any case. `None` where it is
    /// nothing that is known.
    pub(super) fn of(field: &str, meta: &Metadata) -> Option<Self> {
        let annotation = meta.annotations.get(TRAFFIC_DISTRIBUTION).map(String::as_str);
        let of_field = Self::named(field, |one, other| one == other);
        of_field.or_else(|| Self::named(annotation?, str::eq_ignore_ascii_case))
    }

    fn named(name: &str, is: fn(&str, &str) -> bool) -> Option<Self> {
        if is(name, "PreferSameNode") {
            return Some(Self::SameNode);
        }
        (is(name, "PreferClose") || is(name, "PreferSameZone")).then_some(Self::SameZone)
    }
}

impl Sources<'_> {
    /// A Service of Kubernetes; none if it is an alias.
    pub(crate) fn kubernetes(
        &self,
        resource: &Resource<Service>,
        options: &MeshOptions,
        workload: &Workload,
    ) -> Option<KnownService> {
        let spec = &resource.spec;
        if is_alias(spec) {
            return None;
        }
        let namespace = resource.namespace();
        let headless = is_headless(spec);
        let addresses = match spec.cluster_ips.as_slice() {
            _ if headless || spec.cluster_ip.is_empty() => Vec::new(),
            [] => vec![spec.cluster_ip.clone()],
            addresses => addresses.to_vec(),
        };
        let (mut endpoints, unlabeled) = self.of_kubernetes(resource);
        // Without a node of our own every endpoint is as near as any other; the report says so.
        if is_local(spec) && !workload.node.is_empty() {
            endpoints.retain(|endpoint| *endpoint.node == *workload.node);
        }
        let ports: Vec<_> = spec.ports.iter().filter_map(KnownPort::of_kubernetes).collect();
        Some(KnownService {
            host: host(&resource.meta, namespace, options),
            namespace: namespace.to_owned(),
            name: resource.meta.name.clone(),
            place: resource.place(""),
            own_ports: spec.ports.len(),
            ports,
            registry: ServiceRegistry::Kubernetes,
            mesh_external: false,
            addresses,
            headless,
            subject_alt_names: Vec::new(),
            discovery: Discovery::Listed,
            traffic_distribution: TrafficDistribution::of(&spec.traffic_distribution, &resource.meta),
            endpoints,
            unlabeled,
            aliases: Vec::new(),
            export_to: export_to(&resource.meta),
            labels: Default::default(),
            created: resource.meta.creation_timestamp,
        })
    }

    /// The endpoints of its EndpointSlices, and the WorkloadEntries that its selector selects; and how many of those
    /// that the slices list are of no pod that is known.
    fn of_kubernetes(&self, service: &Resource<Service>) -> (Vec<KnownEndpoint>, usize) {
        let namespace = service.namespace();
        let mut listed = Listed::new(self, &service.spec);
        let mut slices = self.slices_of(namespace, &service.meta.name);
        // A pod that has addresses of both families is one endpoint: at that of the service's own family.
        let family = |slice: &&Resource<EndpointSlice>| slice.spec.address_type.eq_ignore_ascii_case("IPv6");
        let own: Option<IpAddr> = service.spec.cluster_ip.parse().ok();
        slices.sort_by_key(|slice| family(slice) != own.is_some_and(|own| own.is_ipv6()));
        for slice in slices {
            listed.slice(&slice.spec, namespace);
        }
        let unlabeled = listed.unlabeled.len();
        let mut endpoints = once(listed.endpoints);
        if !service.spec.selector.is_empty() && !is_headless(&service.spec) {
            let workloads = self.selected_workloads(&service.spec.selector, namespace);
            endpoints.extend(workloads.into_iter().filter(KnownEndpoint::has_ip));
        }
        (endpoints, unlabeled)
    }
}

/// Endpoints, each port of an address in one of them only: slices may list an endpoint twice while it moves from one to
/// another. Which of them is the fresh one is not known: one that is ready counts before one that is not, then the first.
fn once(mut endpoints: Vec<KnownEndpoint>) -> Vec<KnownEndpoint> {
    let mut order: Vec<usize> = (0..endpoints.len()).collect();
    order.sort_by_key(|&number| !endpoints[number].healthy);
    let mut taken: HashSet<(IpAddr, &str)> = HashSet::new();
    let mut fewer = Vec::new();
    for number in order {
        let KnownEndpoint { address: Where::Ip(ip), ports: PortNames::Only(ports), .. } = &endpoints[number] else {
            continue;
        };
        let left: Vec<_> = ports.iter().filter(|port| taken.insert((*ip, port.0.as_str()))).collect();
        if left.len() < ports.len() {
            let left = left.into_iter().map(|(name, port)| (name.clone(), *port));
            fewer.push((number, left.collect::<BTreeMap<_, _>>()));
        }
    }
    for (number, left) in fewer {
        endpoints[number].ports = PortNames::Only(Arc::new(left));
    }
    endpoints.retain(|endpoint| !matches!(&endpoint.ports, PortNames::Only(ports) if ports.is_empty()));
    endpoints
}

/// The endpoints that the slices of one Service list.
struct Listed<'s, 'a> {
    sources: &'s Sources<'a>,
    service: &'s Service,
    /// Pods with the families that have been listed: namespace, name, whether another family came first.
    pods: HashSet<(String, String, bool)>,
    endpoints: Vec<KnownEndpoint>,
    /// The addresses of those whose pods, and so whose labels, are not known.
    unlabeled: HashSet<IpAddr>,
}

impl<'s, 'a> Listed<'s, 'a> {
    fn new(sources: &'s Sources<'a>, service: &'s Service) -> Self {
        Self { sources, service, pods: HashSet::new(), endpoints: Vec::new(), unlabeled: HashSet::new() }
    }

    fn slice(&mut self, slice: &EndpointSlice, namespace: &str) {
        if is_of_names(slice) {
            return;
        }
        let ports: BTreeMap<String, u16> =
            slice.ports.iter().filter_map(|port| Some((port.name.clone(), u16::try_from(port.port?).ok()?))).collect();
        let ports = PortNames::Only(Arc::new(ports));
        for endpoint in &slice.endpoints {
            let Some(healthy) = self.health(endpoint) else { continue };
            for ip in endpoint.addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok()) {
                self.address(endpoint, ip, namespace, &ports, healthy);
            }
        }
    }

    /// One of the addresses of an endpoint. One whose pod is still to come would be without the labels that decide which
    /// requests it takes: it is not listed before.
    fn address(&mut self, endpoint: &SliceEndpoint, ip: IpAddr, namespace: &str, ports: &PortNames, healthy: bool) {
        let pod = match self.sources.pods.behind(endpoint, ip, namespace) {
            Behind::Missing => return,
            Behind::Pod(pod) => Some(pod),
            Behind::Nothing => None,
        };
        if !self.is_first_family(endpoint, namespace, ip) {
            return;
        }
        if pod.is_none() {
            self.unlabeled.insert(ip);
        }
        let labels = pod.map_or_else(BTreeMap::new, |pod| pod.meta.labels.clone());
        let node = pod.map(node_of).filter(|node| !node.is_empty()).unwrap_or(&endpoint.node_name);
        let locality = self.sources.locality(&labels, node);
        let topology = Topology { locality: &locality, node, network: "" };
        self.endpoints.push(KnownEndpoint {
            address: Where::Ip(ip),
            ports: ports.clone(),
            labels: Arc::new(topology.added_to(labels)),
            locality: locality.as_str().into(),
            node: node.into(),
            weight: 1,
            healthy,
        });
    }

    /// Whether an endpoint takes requests; `None`: it is on its way out and not known any more. One that is not ready
    /// and stays is known, and used in panic only.
    fn health(&self, endpoint: &SliceEndpoint) -> Option<bool> {
        let is_ready = endpoint.conditions.as_ref().is_none_or(|conditions| conditions.ready.unwrap_or(true));
        if is_ready || self.service.publish_not_ready_addresses {
            return Some(true);
        }
        (!is_leaving(endpoint)).then_some(false)
    }

    /// Whether the pod of an endpoint has not been listed with an address of the other family.
    fn is_first_family(&mut self, endpoint: &SliceEndpoint, namespace: &str, ip: IpAddr) -> bool {
        let Some((namespace, name)) = pod_named(endpoint, namespace) else { return true };
        let key = |v6| (namespace.to_owned(), name.to_owned(), v6);
        if self.pods.contains(&key(!ip.is_ipv6())) {
            return false;
        }
        self.pods.insert(key(ip.is_ipv6()));
        true
    }
}
