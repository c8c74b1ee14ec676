//! ServiceEntries as services: one for each of their hosts.

use super::endpoints::{KnownEndpoint, Sources, from_host, from_workload};
use super::ports::KnownPort;
use super::services::{Discovery, KnownService, ServiceRegistry, TrafficDistribution};
use crate::config::{Location, Resolution, Resource, ServiceEntry};

/// The address that one of `addresses` is, if it is one and no range.
pub(super) fn single(address: &str) -> Option<&str> {
    let Some((address, bits)) = address.split_once('/') else { return Some(address) };
    let all = if address.contains(':') { "128" } else { "32" };
    (bits == all).then_some(address)
}

impl Sources<'_> {
    /// The services of a ServiceEntry; all have its ports and endpoints.
    pub(crate) fn service_entry(&self, resource: &Resource<ServiceEntry>) -> Vec<KnownService> {
        let spec = &resource.spec;
        let ports: Vec<_> = spec.ports.iter().filter_map(KnownPort::of_service_entry).collect();
        let discovery = match spec.resolution {
            Resolution::Dns => Discovery::Names,
            Resolution::DnsRoundRobin => Discovery::LogicalName,
            Resolution::Static => Discovery::Listed,
            Resolution::DynamicDns => Discovery::Requested,
            // What a later version has goes where the client leads it.
            _ => Discovery::Dialed,
        };
        let known = self.of_service_entry(resource, discovery);
        // Without endpoints the host is its own; a selector that selects nothing leaves none.
        let names = matches!(discovery, Discovery::Names | Discovery::LogicalName);
        let itself = names && spec.endpoints.is_empty() && spec.workload_selector.is_none();
        let selector = spec.workload_selector.as_ref().map(|selector| selector.labels.clone()).unwrap_or_default();
        let service = |host: &String| KnownService {
            host: host.to_ascii_lowercase(),
            namespace: resource.namespace().to_owned(),
            name: resource.meta.name.clone(),
            place: resource.place(""),
            own_ports: spec.ports.len(),
            ports: ports.clone(),
            registry: ServiceRegistry::ServiceEntry,
            mesh_external: spec.location == Location::MeshExternal,
            addresses: spec.addresses.iter().filter_map(|address| single(address)).map(str::to_owned).collect(),
            headless: false,
            subject_alt_names: spec.subject_alt_names.clone(),
            discovery,
            traffic_distribution: TrafficDistribution::of("", &resource.meta),
            endpoints: if itself { vec![from_host(host)] } else { known.clone() },
            unlabeled: 0,
            aliases: Vec::new(),
            export_to: spec.export_to.clone(),
            labels: [resource.meta.labels.clone(), selector.clone()],
            created: resource.meta.creation_timestamp,
        };
        spec.hosts.iter().map(service).collect()
    }

    /// Its own endpoints, else the workloads and pods that it selects in its namespace. Of names that are one endpoint
    /// there is one.
    fn of_service_entry(&self, entry: &Resource<ServiceEntry>, discovery: Discovery) -> Vec<KnownEndpoint> {
        let mut endpoints = match &entry.spec.workload_selector {
            None => entry.spec.endpoints.iter().filter_map(|endpoint| from_workload(endpoint, None)).collect(),
            Some(selector) => {
                let mut selected = self.selected(selector, entry.namespace());
                // Sockets are those of `endpoints` only.
                selected.retain(|endpoint| discovery != Discovery::Listed || endpoint.has_ip());
                selected
            }
        };
        endpoints.retain(|endpoint| discovery.takes(endpoint));
        if discovery == Discovery::LogicalName {
            endpoints.truncate(1);
        }
        endpoints
    }
}
