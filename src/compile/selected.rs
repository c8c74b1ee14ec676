//! The pods and workloads that selectors select: each is made an endpoint once, whatever selects it.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::endpoints::{KnownEndpoint, PortNames, Sources, Topology, Where, from_workload, merged_labels, node_of};
use super::pods::{named_ports, takes_requests};
use super::services::selects;
use crate::config::{Pod, Resource, WorkloadEntry, WorkloadSelector};

/// The annotation of a WorkloadEntry whose health is probed.
const PROBED: &str = "proxy.istio.io/health-checks-enabled";
/// How the annotation says so.
const TRUE: [&str; 6] = ["1", "t", "T", "TRUE", "true", "True"];

/// What selectors choose from, made when the first one asks.
#[derive(Default)]
pub(super) struct Selectable<'a> {
    pods: OnceCell<Pools<'a>>,
    workloads: OnceCell<Pools<'a>>,
}

/// By namespace.
type Pools<'a> = HashMap<&'a str, Pool>;

/// The endpoints of a namespace.
#[derive(Default)]
struct Pool {
    /// By the names of their resources.
    endpoints: Vec<KnownEndpoint>,
    /// Which of them have a label, in order.
    by_label: HashMap<(String, String), Vec<usize>>,
}

impl Pool {
    fn add(&mut self, endpoint: KnownEndpoint) {
        for (name, value) in &*endpoint.labels {
            self.by_label.entry((name.clone(), value.clone())).or_default().push(self.endpoints.len());
        }
        self.endpoints.push(endpoint);
    }

    /// Those that have all labels of `selector`: among those with the rarest of them.
    fn selected(&self, selector: &BTreeMap<String, String>) -> Vec<KnownEndpoint> {
        let with = |(name, value): (&String, &String)| self.by_label.get(&(name.clone(), value.clone()));
        let lists = selector.iter().map(|label| with(label).map_or(&[][..], Vec::as_slice));
        let Some(rarest) = lists.min_by_key(|numbers| numbers.len()) else { return self.endpoints.clone() };
        let endpoints = rarest.iter().filter_map(|&number| self.endpoints.get(number));
        endpoints.filter(|endpoint| selects(selector, &endpoint.labels)).cloned().collect()
    }
}

impl<'a> Sources<'a> {
    /// The pods and workloads of a namespace that have the labels, in this order and by their names.
    pub(super) fn selected(&self, selector: &WorkloadSelector, namespace: &str) -> Vec<KnownEndpoint> {
        let pods = self.selectable.pods.get_or_init(|| {
            let pods = self.pods.each().map(|pod| (pod, self.pod(pod)));
            pools(pods)
        });
        let mut endpoints = pods.get(namespace).map_or_else(Vec::new, |pods| pods.selected(&selector.labels));
        endpoints.extend(self.selected_workloads(&selector.labels, namespace));
        endpoints
    }

    /// The workloads of a namespace that have the labels, those that follow from where they are among them, by their
    /// names. One that was found not healthy is none.
    pub(super) fn selected_workloads(
        &self,
        selector: &BTreeMap<String, String>,
        namespace: &str,
    ) -> Vec<KnownEndpoint> {
        let workloads = self.selectable.workloads.get_or_init(|| {
            let healthy = self.workloads.iter().filter(|entry| is_healthy(entry));
            pools(healthy.map(|entry| (entry, from_workload(&entry.spec, Some(merged_labels(entry))))))
        });
        workloads.get(namespace).map_or_else(Vec::new, |workloads| workloads.selected(selector))
    }

    /// A pod as an endpoint; none if it has no address or takes no requests.
    fn pod(&self, pod: &Resource<Pod>) -> Option<KnownEndpoint> {
        let status = pod.spec.status.as_ref().filter(|status| takes_requests(pod, status))?;
        let node = node_of(pod);
        let locality = self.locality(&pod.meta.labels, node);
        let topology = Topology { locality: &locality, node, network: "" };
        Some(KnownEndpoint {
            address: Where::Ip(status.pod_ip.parse().ok()?),
            ports: PortNames::OrTarget(Arc::new(named_ports(pod))),
            labels: Arc::new(topology.added_to(pod.meta.labels.clone())),
            locality: locality.as_str().into(),
            node: node.into(),
            weight: 1,
            healthy: true,
        })
    }
}

/// Resources that are endpoints, by their namespaces.
fn pools<'a, T: 'a>(each: impl Iterator<Item = (&'a Resource<T>, Option<KnownEndpoint>)>) -> Pools<'a> {
    let mut each: Vec<_> = each.filter_map(|(resource, endpoint)| Some((resource, endpoint?))).collect();
    each.sort_by_key(|(resource, _)| resource.meta.name.as_str());
    let mut pools = Pools::new();
    for (resource, endpoint) in each {
        pools.entry(resource.namespace()).or_default().add(endpoint);
    }
    pools
}

/// Whether a workload takes requests. One that is probed does not before it was found healthy; of others nobody asks.
fn is_healthy(entry: &Resource<WorkloadEntry>) -> bool {
    let probed = entry.meta.annotations.get(PROBED).is_some_and(|probed| TRUE.contains(&probed.as_str()));
    let found = || entry.conditions.iter().find(|condition| condition.condition_type == "Healthy");
    !probed || found().is_some_and(|condition| condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn selector(labels: &[(&str, &str)]) -> WorkloadSelector {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        WorkloadSelector { labels }
    }

    #[test]
    fn what_is_selected_has_every_label_and_is_made_once() {
        let workload = |name: &str, labels: &str| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}}}\n\
                 spec: {{address: 10.0.0.1, locality: r1/z1, labels: {{{labels}}}}}\n---\n"
            )
        };
        let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {app: one}}\n\
                   status: {podIP: 10.0.0.2, phase: Running}\n---\n";
        let all = workload("c", "app: one, v: '2'") + &workload("b", "app: two") + &workload("a", "app: one") + pod;
        let config = Config::from_yaml(&all, "it.yaml").unwrap();
        let sources = Sources::new(&config);
        let select = |labels: &[(&str, &str)]| sources.selected(&selector(labels), "default");
        for (labels, count) in [
            (&[("app", "one")][..], 3),
            (&[("app", "one"), ("v", "2")], 1),
            (&[("app", "one"), ("v", "3")], 0),
            (&[("app", "two"), ("v", "2")], 0),
            (&[("topology.kubernetes.io/zone", "z1")], 3),
            (&[], 4),
        ] {
            assert_eq!(select(labels).len(), count, "{labels:?}");
        }
        assert!(sources.selected(&selector(&[("app", "one")]), "elsewhere").is_empty());
        let (one, other) = (select(&[("app", "one")]), select(&[("v", "2")]));
        assert!(matches!(&one[0].address, Where::Ip(ip) if ip.to_string() == "10.0.0.2"), "pods come first");
        assert!(!one[1].labels.contains_key("v"), "by their names");
        assert!(Arc::ptr_eq(&one[2].labels, &other[0].labels), "two selectors take one endpoint");
    }
}
