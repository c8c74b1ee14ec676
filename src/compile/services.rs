//! The services a mesh knows, from Kubernetes Services and ServiceEntries, and who sees which.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::endpoints::{self, KnownEndpoint};
use super::names;
use crate::config::{Config, Resolution, Resource, Service, ServiceEntry};
use crate::options::{MeshOptions, Workload};
use crate::upstream::Protocol;

/// The annotation that exports a Kubernetes Service.
const EXPORT_TO: &str = "networking.istio.io/exportTo";
/// The annotation that stands for `trafficDistribution`.
const TRAFFIC_DISTRIBUTION: &str = "networking.istio.io/traffic-distribution";

/// A service: a host with ports and the endpoints behind them.
#[derive(Debug)]
pub(crate) struct KnownService {
    pub(crate) host: String,
    pub(crate) namespace: String,
    pub(crate) ports: Vec<KnownPort>,
    pub(crate) registry: ServiceRegistry,
    /// Addresses that stand for the service in a request's authority.
    pub(crate) addresses: Vec<String>,
    pub(crate) headless: bool,
    pub(crate) discovery: Discovery,
    /// `trafficDistribution`, which fails over by labels.
    pub(crate) traffic_distribution: Option<TrafficDistribution>,
    pub(crate) endpoints: Vec<KnownEndpoint>,
    export_to: Vec<String>,
    created: (Option<String>, String),
}

/// Which registry a service comes from; Kubernetes beats ServiceEntries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ServiceRegistry {
    Kubernetes,
    ServiceEntry,
}

/// How the endpoints of a service are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Discovery {
    /// By address; none is a cluster without endpoints.
    Listed,
    /// By names, every address of which is an endpoint; none is no cluster.
    Names,
    /// By one name, which is one endpoint; none is no cluster.
    LogicalName,
}

/// Which endpoints a Kubernetes Service prefers (`trafficDistribution`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrafficDistribution {
    /// Those of the client's zone (`PreferClose`, `PreferSameZone`).
    SameZone,
    /// Those of the client's node, then of its zone (`PreferSameNode`).
    SameNode,
}

impl TrafficDistribution {
    /// What a Service asks for: by its annotation, else by its field. `None` where it is nothing that is known.
    fn of(service: &Resource<Service>) -> Option<Self> {
        let annotation = service.meta.annotations.get(TRAFFIC_DISTRIBUTION);
        match annotation.unwrap_or(&service.spec.traffic_distribution).as_str() {
            "PreferClose" | "PreferSameZone" => Some(Self::SameZone),
            "PreferSameNode" => Some(Self::SameNode),
            _ => None,
        }
    }
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownPort {
    pub(crate) number: u16,
    pub(crate) name: String,
    pub(crate) protocol: PortProtocol,
    /// The endpoint's port where the endpoint itself names none.
    pub(crate) target: u16,
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

    /// The protocol of a Kubernetes port: `appProtocol`, else the prefix of its name, else a few well-known ports.
    fn of_kubernetes(app_protocol: &str, name: &str, number: u16) -> Self {
        if !app_protocol.is_empty() {
            return match app_protocol.to_ascii_lowercase().as_str() {
                "kubernetes.io/h2c" => Self::Http2,
                "kubernetes.io/ws" => Self::Http,
                "kubernetes.io/wss" => Self::Https,
                other => Self::named(other),
            };
        }
        let prefix = if name.starts_with("grpc-web") { "grpc-web" } else { name.split('-').next().unwrap_or(name) };
        match (Self::named(prefix), number) {
            (Self::Sniffed, 25 | 53 | 3306 | 27017) => Self::Tcp,
            (protocol, _) => protocol,
        }
    }

    /// Whether http rules apply: HTTP of any kind, or not said.
    pub(crate) fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Sniffed)
    }

    /// What is spoken to the endpoints.
    pub(crate) fn upstream(self) -> Protocol {
        match self {
            Self::Http2 => Protocol::Http2,
            Self::Sniffed => Protocol::SameAsDownstream,
            _ => Protocol::Http1,
        }
    }
}

impl ServiceRegistry {
    /// The kind of its resources.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            ServiceRegistry::Kubernetes => "Service",
            ServiceRegistry::ServiceEntry => "ServiceEntry",
        }
    }
}

impl KnownService {
    /// The name of its resource.
    pub(crate) fn name(&self) -> &str {
        &self.created.1
    }

    /// The port with this number.
    pub(crate) fn port(&self, number: u16) -> Option<&KnownPort> {
        self.ports.iter().find(|port| port.number == number)
    }

    /// Every authority that stands for the service, as seen from `client` (a namespace), most common first.
    pub(crate) fn domains(&self, client: &str, domain: &str) -> Vec<String> {
        let mut domains = vec![self.host.clone()];
        let suffix = format!(".{}.svc.{domain}", self.namespace);
        if let (ServiceRegistry::Kubernetes, Some(name)) = (self.registry, self.host.strip_suffix(&suffix)) {
            domains.push(format!("{}.", self.host));
            domains.push(format!("{name}.{}.svc", self.namespace));
            domains.push(format!("{name}.{}", self.namespace));
            if self.namespace == client {
                domains.push(name.to_owned());
            }
        }
        if self.headless {
            let pods: Vec<_> = domains.iter().map(|domain| format!("*.{domain}")).collect();
            domains.extend(pods);
        }
        domains.extend(self.addresses.iter().map(|address| match address.contains(':') {
            true => format!("[{address}]"),
            false => address.clone(),
        }));
        domains
    }
}

/// Every service of a configuration, as one workload sees them.
#[derive(Debug)]
pub(crate) struct Services {
    services: Vec<KnownService>,
    /// For each host, the services of that host which the workload sees, best first.
    by_host: HashMap<String, Vec<usize>>,
}

impl Services {
    /// Gathers the services of `config`.
    pub(crate) fn new(config: &Config, options: &MeshOptions, workload: &Workload) -> Self {
        let sources = endpoints::Sources::new(config);
        let mut services = Vec::new();
        for service in &config.services {
            services.extend(from_kubernetes(service, &sources, options));
        }
        for entry in &config.service_entries {
            from_service_entry(entry, &sources, &mut services);
        }
        let default = &options.default_service_export_to;
        let mut by_host: HashMap<String, Vec<usize>> = HashMap::new();
        for (number, service) in services.iter().enumerate() {
            if names::reach(&service.export_to, default, &service.namespace, &workload.namespace).is_some() {
                by_host.entry(service.host.clone()).or_default().push(number);
            }
        }
        for numbers in by_host.values_mut() {
            numbers.sort_by_key(|&number| {
                let service = &services[number];
                (service.namespace != workload.namespace, service.registry, service.created.clone())
            });
        }
        Self { services, by_host }
    }

    /// The service of this host that the workload sees.
    pub(crate) fn find(&self, host: &str) -> Option<&KnownService> {
        self.by_host.get(host).and_then(|numbers| numbers.first()).map(|&number| &self.services[number])
    }

    /// The same, one of `namespace` first, as gateways look destinations up.
    pub(crate) fn find_near(&self, host: &str, namespace: &str) -> Option<&KnownService> {
        let numbers = self.by_host.get(host)?;
        let near = numbers.iter().find(|&&number| self.services[number].namespace == namespace);
        near.or_else(|| numbers.first()).map(|&number| &self.services[number])
    }

    /// Every service the workload sees, one a host, in the order of their documents.
    pub(crate) fn visible(&self) -> Vec<&KnownService> {
        let mut numbers: Vec<usize> = self.by_host.values().filter_map(|numbers| numbers.first().copied()).collect();
        numbers.sort_unstable();
        numbers.into_iter().map(|number| &self.services[number]).collect()
    }
}

fn from_kubernetes(
    resource: &Resource<Service>,
    sources: &endpoints::Sources<'_>,
    options: &MeshOptions,
) -> Option<KnownService> {
    let namespace = resource.namespace().to_owned();
    let spec = &resource.spec;
    if !spec.external_name.is_empty() {
        return None;
    }
    let mut ports = Vec::new();
    for port in &spec.ports {
        let Ok(number) = u16::try_from(port.port) else { continue };
        if port.protocol.eq_ignore_ascii_case("udp") {
            continue;
        }
        ports.push(KnownPort {
            number,
            name: port.name.clone(),
            protocol: PortProtocol::of_kubernetes(&port.app_protocol, &port.name, number),
            target: number,
        });
    }
    let export_to = resource.meta.annotations.get(EXPORT_TO).map_or_else(Vec::new, |list| {
        list.split(',').map(|namespace| namespace.trim().to_owned()).filter(|namespace| !namespace.is_empty()).collect()
    });
    let headless = spec.cluster_ip.eq_ignore_ascii_case("none");
    let addresses = if headless || spec.cluster_ip.is_empty() { Vec::new() } else { vec![spec.cluster_ip.clone()] };
    Some(KnownService {
        host: format!("{}.{namespace}.svc.{}", resource.meta.name, options.domain).to_ascii_lowercase(),
        endpoints: sources.of_kubernetes(resource, &namespace),
        namespace,
        ports,
        registry: ServiceRegistry::Kubernetes,
        addresses,
        headless,
        discovery: Discovery::Listed,
        traffic_distribution: TrafficDistribution::of(resource),
        export_to,
        created: created(&resource.meta.creation_timestamp, &resource.meta.name),
    })
}

fn from_service_entry(
    resource: &Resource<ServiceEntry>,
    sources: &endpoints::Sources<'_>,
    services: &mut Vec<KnownService>,
) {
    let namespace = resource.namespace();
    let spec = &resource.spec;
    let ports: Vec<KnownPort> = spec
        .ports
        .iter()
        .filter_map(|port| {
            let number = u16::try_from(port.number).ok()?;
            let target = if port.target_port == 0 { number } else { u16::try_from(port.target_port).ok()? };
            let protocol = PortProtocol::named(&port.protocol);
            Some(KnownPort { number, name: port.name.clone(), protocol, target })
        })
        .collect();
    let discovery = match spec.resolution {
        Resolution::Dns => Discovery::Names,
        Resolution::DnsRoundRobin => Discovery::LogicalName,
        _ => Discovery::Listed,
    };
    let known = sources.of_service_entry(resource, discovery);
    // Without endpoints the host is its own; a selector that selects nothing leaves none.
    let itself = discovery != Discovery::Listed && spec.endpoints.is_empty() && spec.workload_selector.is_none();
    for host in &spec.hosts {
        let endpoints = if itself { vec![endpoints::from_host(host)] } else { known.clone() };
        services.push(KnownService {
            host: host.to_ascii_lowercase(),
            namespace: namespace.to_owned(),
            ports: ports.clone(),
            registry: ServiceRegistry::ServiceEntry,
            addresses: spec.addresses.iter().filter(|address| !address.contains('/')).cloned().collect(),
            headless: false,
            discovery,
            traffic_distribution: None,
            endpoints,
            export_to: spec.export_to.clone(),
            created: created(&resource.meta.creation_timestamp, &resource.meta.name),
        });
    }
}

/// The order of age: by time where it is known, else by name.
fn created(timestamp: &Option<String>, name: &str) -> (Option<String>, String) {
    (timestamp.clone(), name.to_owned())
}

/// Labels, shared by the endpoints that have them.
pub(crate) type Labels = Arc<BTreeMap<String, String>>;

/// Whether `labels` hold all of `selector`.
pub(crate) fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Orders resources as Istio does: by the time of their creation, then name, then namespace.
pub(crate) fn by_age<'a, T>(resource: &'a Resource<T>, namespace: &'a str) -> (Option<&'a str>, &'a str, &'a str) {
    (resource.meta.creation_timestamp.as_deref(), &resource.meta.name, namespace)
}
