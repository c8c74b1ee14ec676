//! Services of Kubernetes, and the endpoints that EndpointSlices list.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::endpoints::{KnownEndpoint, PortNames, Sources, Topology, Where};
use super::ports::KnownPort;
use super::services::{Alias, Discovery, KnownService, Labels, ServiceRegistry, TrafficDistribution};
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
        export_to: export_to(&service.meta),
    })
}

fn host(meta: &Metadata, namespace: &str, options: &MeshOptions) -> String {
    format!("{}.{namespace}.svc.{}", meta.name, options.domain).to_ascii_lowercase()
}

fn export_to(meta: &Metadata) -> Vec<String> {
    let list = meta.annotations.get(EXPORT_TO).map_or("", String::as_str).split(',').map(str::trim);
    list.filter(|namespace| !namespace.is_empty()).map(str::to_owned).collect()
}

impl TrafficDistribution {
    /// What a Service asks for: by its field, else by its annotation, in any case. `None` where it is nothing that is
    /// known.
    fn of(service: &Resource<Service>) -> Option<Self> {
        let annotation = service.meta.annotations.get(TRAFFIC_DISTRIBUTION).map(String::as_str);
        let of_field = Self::named(&service.spec.traffic_distribution, |one, other| one == other);
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
        let headless = spec.cluster_ip.eq_ignore_ascii_case("none");
        let addresses = match spec.cluster_ips.as_slice() {
            _ if headless || spec.cluster_ip.is_empty() => Vec::new(),
            [] => vec![spec.cluster_ip.clone()],
            addresses => addresses.to_vec(),
        };
        let mut endpoints = self.of_kubernetes(resource);
        // Without a node of our own every endpoint is as near as any other; the report says so.
        if is_local(spec) && !workload.node.is_empty() {
            endpoints.retain(|endpoint| *endpoint.node == *workload.node);
        }
        Some(KnownService {
            host: host(&resource.meta, namespace, options),
            namespace: namespace.to_owned(),
            name: resource.meta.name.clone(),
            ports: spec.ports.iter().filter_map(KnownPort::of_kubernetes).collect(),
            registry: ServiceRegistry::Kubernetes,
            addresses,
            headless,
            subject_alt_names: Vec::new(),
            discovery: Discovery::Listed,
            traffic_distribution: TrafficDistribution::of(resource),
            endpoints,
            unlabeled: self.unlabeled(resource),
            aliases: Vec::new(),
            export_to: export_to(&resource.meta),
            created: resource.meta.creation_timestamp.clone(),
        })
    }

    /// The endpoints of its EndpointSlices, and the WorkloadEntries that its selector selects.
    fn of_kubernetes(&self, service: &Resource<Service>) -> Vec<KnownEndpoint> {
        let namespace = service.namespace();
        let mut listed = Listed { sources: self, service: &service.spec, pods: HashSet::new(), endpoints: Vec::new() };
        let mut slices = self.slices_of(namespace, &service.meta.name);
        // A pod that has addresses of both families is one endpoint: at that of the service's own family.
        let family = |slice: &&Resource<EndpointSlice>| slice.spec.address_type.eq_ignore_ascii_case("IPv6");
        let own: Option<IpAddr> = service.spec.cluster_ip.parse().ok();
        slices.sort_by_key(|slice| family(slice) != own.is_some_and(|own| own.is_ipv6()));
        for slice in slices {
            listed.slice(&slice.spec, namespace);
        }
        let mut endpoints = listed.endpoints;
        if !service.spec.selector.is_empty() {
            endpoints.extend(self.selected_workloads(&service.spec.selector, namespace));
        }
        endpoints.retain(|endpoint| Discovery::Listed.takes(endpoint));
        endpoints
    }

    /// How many of the endpoints that EndpointSlices list for a Service are of pods that are not known.
    fn unlabeled(&self, service: &Resource<Service>) -> usize {
        let slices = self.slices_of(service.namespace(), &service.meta.name).into_iter();
        let endpoints = slices.flat_map(|slice| &slice.spec.endpoints);
        endpoints.filter(|endpoint| self.pod_of(endpoint, service.namespace()).is_none()).count()
    }
}

/// The endpoints that the slices of one Service list.
struct Listed<'s, 'a> {
    sources: &'s Sources<'a>,
    service: &'s Service,
    /// Pods with the families that have been listed: namespace, name, whether another family came first.
    pods: HashSet<(String, String, bool)>,
    endpoints: Vec<KnownEndpoint>,
}

impl Listed<'_, '_> {
    fn slice(&mut self, slice: &EndpointSlice, namespace: &str) {
        if slice.address_type.eq_ignore_ascii_case("fqdn") {
            return;
        }
        let ports: BTreeMap<String, u16> =
            slice.ports.iter().filter_map(|port| Some((port.name.clone(), u16::try_from(port.port?).ok()?))).collect();
        let ports = PortNames::Only(Arc::new(ports));
        for endpoint in &slice.endpoints {
            let Some(healthy) = self.health(endpoint) else { continue };
            let pod = self.sources.pod_of(endpoint, namespace);
            let labels = pod.map_or_else(BTreeMap::new, |pod| pod.meta.labels.clone());
            let locality = self.sources.locality(&labels, &endpoint.node_name);
            let topology = Topology { locality: &locality, node: &endpoint.node_name, network: "" };
            let labels: Labels = Arc::new(topology.added_to(labels));
            let addresses = endpoint.addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok());
            let addresses: Vec<_> = addresses.filter(|ip| self.is_first_family(endpoint, namespace, *ip)).collect();
            self.endpoints.extend(addresses.into_iter().map(|ip| KnownEndpoint {
                address: Where::Ip(ip),
                ports: ports.clone(),
                labels: labels.clone(),
                locality: locality.as_str().into(),
                node: endpoint.node_name.as_str().into(),
                weight: 1,
                healthy,
            }));
        }
    }

    /// Whether an endpoint takes requests; `None`: it is on its way out and not known any more. One that is not ready
    /// and stays is known, and used in panic only.
    fn health(&self, endpoint: &SliceEndpoint) -> Option<bool> {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        if conditions.ready.unwrap_or(true) || self.service.publish_not_ready_addresses {
            return Some(true);
        }
        (!conditions.terminating.unwrap_or(true)).then_some(false)
    }

    /// Whether the pod of an endpoint has not been listed with an address of the other family.
    fn is_first_family(&mut self, endpoint: &SliceEndpoint, namespace: &str, ip: IpAddr) -> bool {
        let Some(target) = endpoint.target_ref.as_ref().filter(|target| target.kind == "Pod") else { return true };
        let namespace = if target.namespace.is_empty() { namespace } else { &target.namespace };
        let key = |v6| (namespace.to_owned(), target.name.clone(), v6);
        if self.pods.contains(&key(!ip.is_ipv6())) {
            return false;
        }
        self.pods.insert(key(ip.is_ipv6()));
        true
    }
}
