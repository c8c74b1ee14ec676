//! Hosts of VirtualServices that are wildcards within a wildcard of a service.

use super::names;
use super::path::Path;
use super::report::Report;
use super::review;
use super::services::Services;
use super::virtual_services::MeantVirtualService;

/// Says where a service has the requests for a narrower host, as in Istio: of its VirtualServices it asks only for
/// those whose hosts cover its own. Rules of `tls` are not asked for in this way.
pub(crate) fn review(virtual_services: &[MeantVirtualService<'_>], services: &Services, report: &mut Report) {
    let of_mesh = virtual_services.iter().filter(|meant| meant.is_of_mesh() && !meant.rules.is_empty());
    let hosts =
        of_mesh.flat_map(|meant| meant.hosts.iter().enumerate().map(move |(number, host)| (meant, number, host)));
    let wildcards: Vec<_> = hosts.filter(|(.., host)| names::is_wildcard(host)).collect();
    if wildcards.is_empty() {
        return;
    }
    let all = services.visible();
    for (meant, number, host) in wildcards {
        let covering = all.iter().find(|service| names::covers(&service.host, host));
        let is_covered_only = !all.iter().any(|service| names::covers(host, &service.host));
        let Some(service) = covering.filter(|_| is_covered_only) else { continue };
        let message = format!(
            "without effect on the ports of the service {}: http rules hold for services that their host covers, \
             not for a part of one",
            service.host
        );
        let help = format!("write a ServiceEntry for {host}, or the host {}", service.host);
        review::of(meant.resource, meant.name.clone(), report, |review| {
            review.warning_with_help(&Path::root("spec").field("hosts").index(number), message, help);
        });
    }
}
