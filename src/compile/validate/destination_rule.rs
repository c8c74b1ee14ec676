//! DestinationRule as a whole: host, subsets, `exportTo`, workloadSelector (VD1, VD4, VD5, VD30, VD31).

use std::collections::HashSet;

use super::names::{self, Exporter};
use super::{Findings, metadata, traffic_policy};
use crate::compile::path::Path;
use crate::config::{DestinationRule, DestinationWorkloadSelector, Resource, Subset};

/// Judges one DestinationRule.
pub(crate) fn destination_rule(resource: &Resource<DestinationRule>, findings: &mut Findings) {
    findings.about("DestinationRule", resource, |findings| {
        metadata(&resource.meta, findings);
        let path = Path::root("spec");
        let DestinationRule { host, traffic_policy, subsets, export_to, workload_selector } = &resource.spec;
        let own = resource.namespace();
        if let Err(message) = names::check_wildcard_domain(host) {
            findings.error("VD1", &path.field("host"), message);
        }
        if let Some(policy) = traffic_policy {
            traffic_policy::judge(policy, &path.field("trafficPolicy"), own, findings);
        }
        self::subsets(subsets, &path, own, findings);
        let exporter = if workload_selector.is_some() { Exporter::SelectingRule } else { Exporter::Rule };
        names::export_to("VD30", &path.field("exportTo"), (exporter, own), export_to, findings);
        if let Some(selector) = workload_selector {
            self::selector(selector, &path.field("workloadSelector"), findings);
        }
    });
}

fn subsets(subsets: &[Subset], path: &Path<'_>, own: &str, findings: &mut Findings) {
    let mut seen = HashSet::new();
    for (index, subset) in subsets.iter().enumerate() {
        let Subset { name, labels, traffic_policy } = subset;
        let path = path.item("subsets", index);
        if name.is_empty() {
            findings.error("VD4", &path, "a subset needs a name");
        } else if !names::is_dns_label(name) {
            findings.error("VD4", &path.field("name"), names::bad_dns_label(name, "a subset"));
        }
        if !seen.insert(name.as_str()) {
            findings.error("VD4", &path.field("name"), format!("duplicate subset `{name}`"));
        }
        names::labels("VD4", &path.field("labels"), labels, findings);
        if let Some(policy) = traffic_policy {
            traffic_policy::judge(policy, &path.field("trafficPolicy"), own, findings);
        }
    }
}

fn selector(selector: &DestinationWorkloadSelector, path: &Path<'_>, findings: &mut Findings) {
    names::selector("VD31", &path.field("matchLabels"), &selector.match_labels, 4096, findings);
}
