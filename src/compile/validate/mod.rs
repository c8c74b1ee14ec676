//! Istio's own validation of each resource: what its webhook and its CRDs refuse, and what they warn of; and what
//! Kubernetes refuses of Services.
//!
//! One function a kind; each looks at one resource and nothing else, and notes every problem, not only the first. A
//! problem names its rule: `V*` for all kinds, `VS*` VirtualService, `VH*` its http rules, `VT*` its tls and tcp rules,
//! `VD*` DestinationRule, `VG*` Gateway, `VE*` ServiceEntry, `VW*` WorkloadEntry, `VK*` Service, `CRD` for the limits
//! of the API server's schema. Two things are judged otherwise than in Istio: `timeout: 0s` is taken with a warning,
//! and a redirect code that Envoy cannot serve is an error. What Istio means to warn of and loses on the way is said
//! here.

mod addresses;
mod client_tls;
mod connection_pool;
mod destination_rule;
mod earlier;
mod findings;
mod gateway;
mod half_read;
mod http_action;
mod http_match;
mod http_policy;
mod http_route;
mod l4_route;
mod load_balancer;
mod locality;
mod names;
mod numbers;
mod server_tls;
mod service;
mod service_entry;
mod shadow;
mod strings;
mod traffic_policy;
mod virtual_service;
mod workload_entry;

#[cfg(test)]
mod tests;

use std::cell::RefCell;

pub(crate) use addresses::has_zone;
pub(crate) use destination_rule::destination_rule;
pub(crate) use earlier::Earlier;
pub(crate) use findings::Findings;
pub(crate) use gateway::gateway;
pub(crate) use half_read::half_read;
pub(crate) use http_policy::retries;
pub(crate) use locality::{judge as locality, zone_aware};
pub(crate) use numbers::duration;
pub(crate) use service::service;
pub(crate) use service_entry::service_entry;
pub(crate) use virtual_service::virtual_service;
pub(crate) use workload_entry::workload_entry;

use super::path::Path;
use super::report::Report;
use crate::config::{Config, Metadata, Resource};
use crate::error::ResourceName;
use crate::route::RegexCache;

/// Whether a text is a regular expression, in the meaning of the matchers.
pub(crate) type CheckRegex<'a> = dyn Fn(&str) -> Result<(), String> + 'a;

/// Keeps the good resources in `config`; the names of the others go to `bad`, what is wrong to `report`. What comes
/// back are the regular expressions, compiled for the matchers.
pub(crate) fn keep_good(config: &mut Config, report: &mut Report, bad: &mut Vec<ResourceName>) -> RegexCache {
    let regexes = RefCell::new(RegexCache::new());
    let regex = |pattern: &str| {
        let compiled = regexes.borrow_mut().matcher(pattern);
        compiled.map(drop).map_err(|error| error.message().to_owned())
    };
    let mut judgment = Judgment { findings: Findings::new(), bad };
    judgment.keep(&mut config.virtual_services, "VirtualService", |resource, findings| {
        virtual_service(resource, &regex, findings);
    });
    judgment.keep(&mut config.destination_rules, "DestinationRule", destination_rule);
    judgment.keep(&mut config.gateways, "Gateway", gateway);
    judgment.keep(&mut config.service_entries, "ServiceEntry", service_entry);
    judgment.keep(&mut config.workload_entries, "WorkloadEntry", workload_entry);
    judgment.keep(&mut config.services, "Service", service);
    report.problems.extend(judgment.findings.into_problems());
    regexes.into_inner()
}

struct Judgment<'a> {
    findings: Findings,
    bad: &'a mut Vec<ResourceName>,
}

impl Judgment<'_> {
    fn keep<T>(&mut self, resources: &mut Vec<Resource<T>>, kind: &str, check: impl Fn(&Resource<T>, &mut Findings)) {
        resources.retain(|resource| {
            let before = self.findings.errors();
            check(resource, &mut self.findings);
            let good = self.findings.errors() == before;
            if !good {
                self.bad.push(resource.name_of(kind));
            }
            good
        });
    }
}

/// What holds for every kind: annotations that Istio refuses.
fn metadata(meta: &Metadata, findings: &mut Findings) {
    const DRY_RUN: &str = "istio.io/dry-run";
    const INTERNAL: [&str; 3] =
        ["internal.istio.io/webhook-always-reject", "internal.istio.io/parent-namespace", "internal.istio.io/parents"];
    let root = Path::root("metadata");
    for name in meta.annotations.keys() {
        let path = root.entry("annotations", name);
        if name == DRY_RUN {
            findings.error("V3", &path, format!("the annotation `{name}` is for AuthorizationPolicy only"));
        } else if INTERNAL.contains(&name.as_str()) {
            findings.error("V4", &path, format!("the annotation `{name}` is Istio's own: resources cannot set it"));
        }
    }
}
