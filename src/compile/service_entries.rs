//! ServiceEntries as services: one for each of their hosts.

use super::endpoints::{KnownEndpoint, Sources, from_host, from_workload};
use super::ports::KnownPort;
use super::services::{Discovery, KnownService, ServiceRegistry};
use crate::config::{Resolution, Resource, ServiceEntry};

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
            _ => Discovery::Dialled,
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
            own_ports: ports.len(),
            ports: ports.clone(),
            registry: ServiceRegistry::ServiceEntry,
            addresses: spec.addresses.iter().filter_map(|address| single_address(address)).map(str::to_owned).collect(),
            headless: false,
            subject_alt_names: spec.subject_alt_names.clone(),
            discovery,
            traffic_distribution: None,
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
            Some(selector) => self.selected(selector, entry.namespace()),
        };
        endpoints.retain(|endpoint| discovery.takes(endpoint));
        if discovery == Discovery::LogicalName {
            endpoints.truncate(1);
        }
        endpoints
    }
}

/// The one address that is written, be it as a range of one; `None`: they are more.
pub(crate) fn single_address(address: &str) -> Option<&str> {
    match address.split_once('/') {
        None => Some(address),
        Some((ip, "32")) if !ip.contains(':') => Some(ip),
        Some((ip, "128")) if ip.contains(':') => Some(ip),
        Some(_) => None,
    }
}
