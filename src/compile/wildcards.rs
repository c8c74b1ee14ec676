//! Hosts of VirtualServices that are wildcards within a wildcard of a service.

use super::names;
use super::report::Report;
use super::services::Services;
use super::virtual_services::MeantVirtualService;
use crate::error::{Problem, Severity};

/// Says where a service has the requests for a narrower host, as in Istio: of its VirtualServices it asks only for
/// those whose hosts cover its own.
pub(crate) fn review(virtual_services: &[MeantVirtualService<'_>], services: &Services, report: &mut Report) {
    let all = services.visible();
    for meant in virtual_services.iter().filter(|meant| meant.gateways.iter().any(|gateway| gateway == names::MESH)) {
        for (number, host) in meant.hosts.iter().enumerate().filter(|(_, host)| names::is_wildcard(host)) {
            let covering = all.iter().find(|service| names::covers(&service.host, host));
            let Some(service) = covering.filter(|_| !all.iter().any(|service| names::covers(host, &service.host)))
            else {
                continue;
            };
            let path = format!("spec.hosts[{number}]");
            let message = format!(
                "without effect on the ports of the service {}: rules hold for services that their host covers, not \
                 for a part of one",
                service.host
            );
            let problem = Problem::new(Severity::Warning, path.as_str(), message)
                .with_resource(meant.name.clone())
                .with_place(meant.resource.place(&path));
            report.push(problem.with_help(format!("write a ServiceEntry for {host}, or the host {}", service.host)));
        }
    }
}
