//! The pods that EndpointSlices name, by which their endpoints have labels.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::endpoints::SERVICE_NAME;
use crate::config::{EndpointSlice, Pod, PodSpec, PodStatus, Resource, SliceEndpoint};

/// The pods of a configuration, indexed for look-up.
pub(super) struct Pods<'a> {
    /// By namespace and name.
    by_name: HashMap<(&'a str, &'a str), &'a Resource<Pod>>,
    /// Those that take requests, by namespace and address.
    by_ip: HashMap<(&'a str, IpAddr), &'a Resource<Pod>>,
    /// Whether there are pods at all, so that one that is not there is missing.
    any: bool,
}

/// What an address that an EndpointSlice lists belongs to.
pub(super) enum Behind<'a> {
    /// This pod.
    Pod(&'a Resource<Pod>),
    /// No pod that is known.
    Nothing,
    /// A pod that is named and not there, though others are.
    Missing,
}

impl<'a> Pods<'a> {
    /// A pod that has failed is gone. Of several with one address, as on the network of their node, any may be meant:
    /// the first is taken.
    pub(super) fn new(all: &'a [Resource<Pod>]) -> Self {
        let there = || all.iter().filter(|pod| phase(pod) != "Failed");
        let mut by_ip = HashMap::new();
        for pod in there() {
            let status = pod.spec.status.as_ref().filter(|status| takes_requests(pod, status));
            if let Some(ip) = status.and_then(|status| status.pod_ip.parse().ok()) {
                by_ip.entry((pod.namespace(), ip)).or_insert(pod);
            }
        }
        let by_name = there().map(|pod| ((pod.namespace(), pod.meta.name.as_str()), pod)).collect();
        Self { by_name, by_ip, any: !all.is_empty() }
    }

    /// Every one that there is, in any order.
    pub(super) fn each(&self) -> impl Iterator<Item = &'a Resource<Pod>> {
        self.by_name.values().copied()
    }

    /// What an address of an endpoint belongs to: the pod that the endpoint names, or where it names none, the one of its
    /// namespace that has the address.
    pub(super) fn behind(&self, endpoint: &SliceEndpoint, ip: IpAddr, namespace: &str) -> Behind<'a> {
        let (found, otherwise) = match pod_named(endpoint, namespace) {
            Some(name) if self.any => (self.by_name.get(&name), Behind::Missing),
            Some(_) => (None, Behind::Nothing),
            None => (self.by_ip.get(&(namespace, ip)), Behind::Nothing),
        };
        found.map_or(otherwise, |pod| Behind::Pod(pod))
    }

    /// The endpoints of a slice that are left out because the pods that they name are not there, with those names.
    pub(super) fn missing<'e>(&self, slice: &'e Resource<EndpointSlice>) -> Vec<(usize, (&'e str, &'e str))> {
        if !self.any || is_of_names(&slice.spec) || !slice.meta.labels.contains_key(SERVICE_NAME) {
            return Vec::new();
        }
        let staying = slice.spec.endpoints.iter().enumerate().filter(|(_, endpoint)| !is_leaving(endpoint));
        let named = staying.filter_map(|(number, each)| Some((number, pod_named(each, slice.namespace())?)));
        named.filter(|(_, name)| !self.by_name.contains_key(name)).collect()
    }
}

/// The namespace and name of the pod that an endpoint names.
pub(super) fn pod_named<'e>(endpoint: &'e SliceEndpoint, namespace: &'e str) -> Option<(&'e str, &'e str)> {
    let target = endpoint.target_ref.as_ref().filter(|target| target.kind == "Pod")?;
    let namespace = if target.namespace.is_empty() { namespace } else { &target.namespace };
    Some((namespace, &target.name))
}

/// Whether a slice lists names, which are no addresses.
pub(super) fn is_of_names(slice: &EndpointSlice) -> bool {
    slice.address_type.eq_ignore_ascii_case("fqdn")
}

/// Whether an endpoint is on its way out.
pub(super) fn is_leaving(endpoint: &SliceEndpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions.is_some_and(|each| each.ready == Some(false) && each.terminating.unwrap_or(true))
}

fn phase(pod: &Resource<Pod>) -> &str {
    pod.spec.status.as_ref().map_or("", |status| &status.phase)
}

/// Whether a pod takes requests: it has not ended, was not asked to, and says that it is ready. One without conditions is.
pub(super) fn takes_requests(pod: &Resource<Pod>, status: &PodStatus) -> bool {
    let ready = status.conditions.iter().find(|condition| condition.condition_type == "Ready");
    let is_ready = ready.is_none_or(|condition| condition.status == "True");
    is_ready && !matches!(phase(pod), "Succeeded" | "Failed") && pod.meta.deletion_timestamp.is_none()
}

/// The ports of a pod's containers that have names. Of two of one name the first counts.
pub(super) fn named_ports(pod: &Resource<Pod>) -> BTreeMap<String, u16> {
    let mut named = BTreeMap::new();
    let Some(PodSpec { containers, init_containers, .. }) = &pod.spec.spec else { return named };
    let staying = init_containers.iter().filter(|container| container.restart_policy == "Always");
    for port in containers.iter().chain(staying).flat_map(|container| &container.ports) {
        let is_tcp = port.protocol.is_empty() || port.protocol == "TCP";
        if let Ok(number @ 1..) = u16::try_from(port.container_port)
            && is_tcp
            && !port.name.is_empty()
        {
            named.entry(port.name.clone()).or_insert(number);
        }
    }
    named
}
