//! What cannot be known of endpoints, and what is said of it.

use std::collections::HashMap;
use std::net::IpAddr;

use super::Purpose;
use super::clusters::{Asker, Clusters};
use super::endpoints::{SERVICE_NAME, Sources};
use super::kubernetes;
use super::names;
use super::path::Path;
use super::pods::is_of_names;
use super::report::Report;
use super::review::{self, Review};
use super::services::{Discovery, Services, selects};
use super::virtual_services::{Match, MeantVirtualService, Rule, Target};
use crate::config::{
    Config, DestinationRule, EndpointSlice, Pod, Resolution, Resource, Service, ServiceEntry, ServicePort,
    WorkloadEntry,
};
use crate::options::{MeshOptions, Workload};
use crate::snapshot::ClusterEntry;

/// Says where endpoints are not what was asked for.
pub(crate) fn review(
    config: &Config,
    sources: &Sources<'_>,
    services: &Services,
    purpose: Purpose<'_>,
    report: &mut Report,
) {
    let Purpose { options, workload, .. } = purpose;
    let by_name: HashMap<_, _> =
        config.services.iter().map(|service| ((service.namespace(), &*service.meta.name), service)).collect();
    for slice in &config.endpoint_slices {
        review::of(slice, slice.name_of("EndpointSlice"), report, |review| {
            pods(slice, sources, review);
            unread(slice, &by_name, review);
        });
    }
    without_service(config, &by_name, report);
    without_slices(config, report);
    for service in &config.services {
        review::of(service, service.name_of("Service"), report, |review| {
            values(&service.spec, review);
            locality(service, workload, review);
        });
    }
    for rule in &config.destination_rules {
        review::of(rule, rule.name_of("DestinationRule"), report, |review| subsets(rule, services, options, review));
    }
    let is_ip = |address: &str| address.is_empty() || address.parse::<std::net::IpAddr>().is_ok();
    let others: Vec<_> = config.workload_entries.iter().filter(|workload| !is_ip(&workload.spec.address)).collect();
    for entry in &config.service_entries {
        review::of(entry, entry.name_of("ServiceEntry"), report, |review| named(entry, &others, review));
    }
}

/// Says where a gateway is told to go where its clients connected to, which is the gateway.
pub(crate) fn review_gateways(
    virtual_services: &[MeantVirtualService<'_>],
    services: &Services,
    clusters: &Clusters<'_>,
    report: &mut Report,
) {
    for meant in virtual_services {
        let asker = Asker::Gateway(&meant.name.namespace);
        let rules = meant.rules.iter().filter(|rule| is_of_gateways(meant, rule));
        for target in rules.flat_map(|rule| &rule.destinations).map(|to| &to.target) {
            let Target { host, path, .. } = target;
            let Some(service) = services.find(host) else { continue };
            let (what, help) = match service.discovery {
                Discovery::Dialed => ("resolution NONE", "write `resolution: DNS`"),
                // It goes by the name that is asked for, whatever its balancer.
                Discovery::Requested => continue,
                _ if clusters.passes_through(target, asker) => {
                    ("the load balancer PASSTHROUGH", "write another one in its DestinationRule")
                }
                _ => continue,
            };
            let message = format!(
                "{host} has {what}, which leads where the client connected to: clients of a gateway connect to the \
                 gateway, and their requests get 503"
            );
            review::of(meant.resource, meant.name.clone(), report, |review| {
                review.warning_with_help(&Path::root(path).field("host"), message, help.to_owned());
            });
        }
    }
}

/// Whether a rule can hold at a gateway.
fn is_of_gateways(meant: &MeantVirtualService<'_>, rule: &Rule<'_>) -> bool {
    let some = |gateways: &[String]| gateways.iter().any(|gateway| gateway != names::MESH);
    let holds = |entry: &Match<'_>| entry.gateways.is_empty() || some(&entry.gateways);
    some(&meant.gateways) && rule.matches.as_ref().is_none_or(|matches| matches.iter().any(holds))
}

/// Says where names that certificates must have are looked at by no cluster: none is secured, or the rule of the host
/// has names of its own.
pub(crate) fn review_names_of_certificates(config: &Config, clusters: &[ClusterEntry], report: &mut Report) {
    for entry in config.service_entries.iter().filter(|entry| !entry.spec.subject_alt_names.is_empty()) {
        let names = &entry.spec.subject_alt_names;
        let hosts = &entry.spec.hosts;
        let looks = |ClusterEntry { cluster, .. }: &ClusterEntry| {
            let tls = cluster.settings().connection.tls.as_ref();
            hosts.iter().any(|host| host.eq_ignore_ascii_case(&cluster.key.host))
                && tls.is_some_and(|tls| tls.subject_alt_names.iter().map(|name| &**name).eq(names))
        };
        if !clusters.iter().any(looks) {
            let why = "no DestinationRule has its connections secured, or it has names of its own";
            review::of(entry, entry.name_of("ServiceEntry"), report, |review| {
                review.without_effect(&Path::root("spec").field("subjectAltNames"), why);
            });
        }
    }
}

/// Words of a Service that Kubernetes does not know: they say nothing here.
fn values(service: &Service, review: &mut Review<'_>) {
    let Service { service_type, internal_traffic_policy, traffic_distribution, .. } = service;
    let path = Path::root("spec");
    let fields: [(&str, &String, &[&str]); 3] = [
        ("type", service_type, &["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]),
        ("internalTrafficPolicy", internal_traffic_policy, &["Cluster", "Local"]),
        ("trafficDistribution", traffic_distribution, &["PreferClose", "PreferSameZone", "PreferSameNode"]),
    ];
    for (field, value, known) in fields {
        if !value.is_empty() && !known.contains(&value.as_str()) {
            review.without_effect(&path.field(field), &format!("{value:?} is none of {}", known.join(", ")));
        }
    }
}

/// A Service for one node, in a process that does not know its own.
fn locality(service: &Resource<Service>, workload: &Workload, review: &mut Review<'_>) {
    if kubernetes::is_local(&service.spec) && workload.node.is_empty() {
        let path = Path::root("spec");
        let why = "the node of this process is not known: the endpoints of every node are used";
        review.value_not_honored(&path.field("internalTrafficPolicy"), why);
    }
}

/// Endpoints that are not there before their pods are.
fn pods(slice: &Resource<EndpointSlice>, sources: &Sources<'_>, review: &mut Review<'_>) {
    let missing = sources.pods.missing(slice);
    let [(first, (namespace, name)), others @ ..] = missing.as_slice() else { return };
    let more = match others.len() {
        0 => String::new(),
        1 => ", and so is 1 more endpoint of this slice".to_owned(),
        others => format!(", and so are {others} more endpoints of this slice"),
    };
    let why = format!("it is of the Pod {namespace}/{name}, which is not among the Pods that there are{more}");
    review.left_out(&Path::root("endpoints").index(*first), &why);
}

/// Services by namespace and name.
type ByName<'a> = HashMap<(&'a str, &'a str), &'a Resource<Service>>;

/// What an EndpointSlice lists that its Service does not have.
fn unread(slice: &Resource<EndpointSlice>, services: &ByName<'_>, review: &mut Review<'_>) {
    let Some(owner) = slice.meta.labels.get(SERVICE_NAME) else {
        let why = format!("no label {SERVICE_NAME} says of which Service it is");
        return review.without_effect(&Path::root("metadata").field("labels"), &why);
    };
    if is_of_names(&slice.spec) {
        return review.without_effect(&Path::root("addressType"), "endpoints with names are none, in Istio neither");
    }
    let list = Path::root("endpoints");
    for (number, endpoint) in slice.spec.endpoints.iter().enumerate() {
        let endpoint_path = list.index(number);
        for (number, address) in endpoint.addresses.iter().enumerate() {
            if address.parse::<IpAddr>().is_err() {
                review.left_out(&endpoint_path.item("addresses", number), &format!("{address:?} is no IP address"));
            }
        }
    }
    let Some(service) = services.get(&(slice.namespace(), owner)) else { return };
    let list = Path::root("ports");
    for (number, port) in slice.spec.ports.iter().enumerate() {
        let path = list.index(number);
        let is_wanted = |known: &ServicePort| known.name == port.name;
        if !service.spec.ports.iter().any(is_wanted) {
            let names: Vec<_> = service.spec.ports.iter().map(|port| format!("{:?}", port.name)).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let why = format!("ports go by their names, and of those Service {owner} has {names}");
            review.without_effect(&path.field("name"), &why);
        } else if port.port.is_none() {
            review.without_effect(&path, "it has no number");
        }
    }
}

/// EndpointSlices of Services that are not there: said once, as these may be left out on purpose.
fn without_service(config: &Config, services: &ByName<'_>, report: &mut Report) {
    let owned = config.endpoint_slices.iter().filter_map(|slice| Some((slice, slice.meta.labels.get(SERVICE_NAME)?)));
    let mut missing = owned.filter(|(slice, owner)| !services.contains_key(&(slice.namespace(), owner.as_str())));
    let Some((first, owner)) = missing.next() else { return };
    let more = match missing.count() {
        0 => String::new(),
        others => format!(", nor are those of {others} more EndpointSlices"),
    };
    review::of(first, first.name_of("EndpointSlice"), report, |review| {
        let path = Path::root("metadata");
        let why = format!("Service {}/{owner} is not there{more}", first.namespace());
        review.without_effect(&path.entry("labels", SERVICE_NAME), &why);
    });
}

/// Selectors of Services where only Pods are there to be selected: said once, however many there are.
fn without_slices(config: &Config, report: &mut Report) {
    if !config.endpoint_slices.is_empty() {
        return;
    }
    let is_selected = |service: &Resource<Service>, pod: &Resource<Pod>| {
        let Service { selector, .. } = &service.spec;
        !selector.is_empty() && pod.namespace() == service.namespace() && selects(selector, &pod.meta.labels)
    };
    let first = config.services.iter().find(|service| config.pods.iter().any(|pod| is_selected(service, pod)));
    if let Some(service) = first {
        review::of(service, service.name_of("Service"), report, |review| {
            let why = "the endpoints of Services are those of EndpointSlices, of which there is none";
            review.without_effect(&Path::root("spec").field("selector"), why);
        });
    }
}

/// Subsets are made by the labels of pods, which an EndpointSlice only names.
fn subsets(rule: &Resource<DestinationRule>, services: &Services, options: &MeshOptions, review: &mut Review<'_>) {
    let host = names::complete(&rule.spec.host, rule.namespace(), &options.domain);
    let Some(service) = services.find(&host).filter(|service| service.unlabeled > 0) else { return };
    let path = Path::root("spec");
    let list = path.field("subsets");
    let labeled = rule.spec.subsets.iter().enumerate().filter(|(_, subset)| !subset.labels.is_empty());
    for (number, _) in labeled {
        let message = format!(
            "{} of the endpoints of {host} are in no subset: subsets are made by the labels of Pods, and no Pod of \
             theirs is there",
            service.unlabeled
        );
        review.warning(&list.index(number).field("labels"), message);
    }
}

/// Workloads that are selected and have names or sockets where addresses are needed.
fn named(entry: &Resource<ServiceEntry>, others: &[&Resource<WorkloadEntry>], review: &mut Review<'_>) {
    let Some(selector) = &entry.spec.workload_selector else { return };
    if entry.spec.resolution != Resolution::Static {
        return;
    }
    for workload in others.iter().filter(|workload| workload.namespace() == entry.namespace()) {
        let address = &workload.spec.address;
        if selects(&selector.labels, &super::endpoints::merged_labels(workload)) {
            let why = match address.starts_with("unix://") {
                true => "is a socket, and only `endpoints` may name one",
                false => "is a name, and STATIC takes addresses only",
            };
            let name = &workload.meta.name;
            let message = format!("WorkloadEntry {name} is left out: its address {address} {why}");
            review.warning(&Path::root("spec").field("workloadSelector"), message);
        }
    }
}
