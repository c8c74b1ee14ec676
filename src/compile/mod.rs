//! The grammar: words become a [`Snapshot`], or say where they do not.
//!
//! The passes, in order: every resource is judged by Istio's validation ([`validate`]) and kept back if it fails; those
//! that are left are understood one by one (names completed, matches compiled, what is not honored said aloud); then
//! they are brought together: which services there are, which rules a workload sees, which clusters they reach, and the
//! route tables of the mesh and of each listener.

mod actions;
mod at_gateways;
mod auto_passthrough;
mod called_ports;
mod certificate_paths;
mod client_tls;
mod clusters;
mod connection_pool;
mod credentials;
mod delegate;
mod destination_rules;
mod discovery;
mod endpoints;
mod foreign;
mod gateways;
mod given;
mod headers;
mod honored;
mod http1;
mod idle_rules;
mod inbound;
mod joined;
mod kubernetes;
mod l4;
mod limits;
mod load_balancing;
mod matches;
mod mesh_options;
mod names;
mod outlier;
mod owners;
mod path;
mod pods;
mod policies;
mod ports;
mod publication;
mod references;
pub(crate) mod report;
mod review;
mod routes;
mod secrets;
mod selected;
mod server_tls;
mod servers;
mod service_entries;
mod services;
mod tables;
mod tunnels;
mod validate;
mod virtual_services;
mod wildcards;
mod winners;

pub(crate) use publication::{Judged, NeededNames, Publication};

use at_gateways::Gateways;
use clusters::Clusters;
use destination_rules::DestinationRules;
use endpoints::Sources;
use given::Given;
use load_balancing::Own;
use report::Report;
use secrets::Secrets;
use services::Services;
use virtual_services::MeantVirtualService;
use winners::Winners;

use crate::config::Config;
use crate::options::{MeshOptions, Workload};
use crate::request::GatewayOrigin;
use crate::route::RegexCache;
use crate::snapshot::{self, Snapshot};
use crate::upstream::{Names, Registry};

/// What a configuration is compiled for.
#[derive(Clone, Copy)]
struct Purpose<'a> {
    options: &'a MeshOptions,
    workload: &'a Workload,
    registry: &'a Registry,
    /// The gateways that applications of this process stand for.
    gateways: &'a [GatewayOrigin],
    names: &'a Names,
    given: &'a Given,
}

/// Compiles a configuration in which every resource is good.
fn compile(
    config: &Config,
    purpose: Purpose<'_>,
    version: u64,
    regexes: &mut RegexCache,
    report: &mut Report,
) -> Snapshot {
    let Purpose { options, workload, .. } = purpose;
    let sources = Sources::new(config);
    let services = Services::new(config, &sources, options, workload);
    let rules = DestinationRules::new(&config.destination_rules, options, workload);
    let secrets = Secrets::new(config, workload);
    let mut clusters = Clusters::new(&services, &rules, &secrets, Own::new(&sources, workload), purpose);
    discovery::review(config, &sources, &services, purpose, report);
    joined::review(config, &services, report);
    idle_rules::review_merged(&rules, report);
    idle_rules::review_hosts(config, purpose, report);
    idle_rules::review_ports(config, &services, options, report);
    let mut meant = understand(config, options, regexes, report);
    discovery::review_gateways(&meant, &services, &clusters, report);
    wildcards::review(&meant, &services, report);
    references::check(&meant, config, &services, &clusters, purpose, report);
    let gateways = Gateways::new(config, purpose);
    at_gateways::review(&meant, &gateways, purpose, report);
    credentials::check(config, &secrets, report);
    delegate::expand(&mut meant, options, regexes, report);
    policies::complete(&mut meant, options);
    let visible = visible(&meant, options, workload);
    let of_mesh: Vec<_> = visible.iter().copied().filter(|meant| meant.is_of_mesh()).collect();
    let mut winners = Winners::default();
    let mesh = tables::mesh(&of_mesh, &services, &mut clusters, options, workload, &mut winners);
    let mesh_https = tables::mesh_https(&of_mesh, &services, &mut clusters, options, workload, &mut winners);
    winners.review(&of_mesh, report);
    let mesh_tls = l4::mesh(&of_mesh, &services, &mut clusters, workload);
    let listeners = gateways::listeners(config, &visible, &secrets, &mut clusters, workload, report);
    called_ports::review(&meant, &visible, &gateways, &clusters, purpose, report);
    let sockets = snapshot::sockets(&listeners);
    let inbound = inbound::tables(purpose.gateways, &visible, &services, &mut clusters, options, workload);
    tunnels::review(config, &clusters.tunnels, report);
    match options.foreign_client {
        true => foreign::review(config, report),
        false => http1::review(config, &services, options, report),
    }
    discovery::review_names_of_certificates(config, &clusters.entries, report);
    let clusters = clusters.entries;
    let (by_key, by_name) = (snapshot::by_key(&clusters), snapshot::by_name(&clusters));
    Snapshot {
        version,
        mesh,
        mesh_https,
        mesh_tls,
        listeners,
        sockets,
        inbound,
        clusters,
        by_key,
        by_name,
        path_normalization: options.path_normalization,
    }
}

/// Understands every resource by itself.
fn understand<'a>(
    config: &'a Config,
    options: &MeshOptions,
    regexes: &mut RegexCache,
    report: &mut Report,
) -> Vec<MeantVirtualService<'a>> {
    for rule in &config.destination_rules {
        review::of(rule, rule.name_of("DestinationRule"), report, |review| {
            honored::destination_rule(&rule.spec, review);
        });
    }
    for entry in &config.service_entries {
        review::of(entry, entry.name_of("ServiceEntry"), report, |review| {
            honored::service_entry(entry, review);
        });
    }
    for entry in &config.workload_entries {
        review::of(entry, entry.name_of("WorkloadEntry"), report, |review| {
            honored::workload_entry(&entry.spec, review);
        });
    }
    for gateway in &config.gateways {
        review::of(gateway, gateway.name_of("Gateway"), report, |review| {
            honored::gateway(&gateway.spec, review);
        });
    }
    let each = config.virtual_services.iter().map(|resource| {
        review::of(resource, resource.name_of("VirtualService"), report, |review| {
            honored::virtual_service(&resource.spec, review);
            virtual_services::understand(resource, options, regexes, review)
        })
    });
    each.collect()
}

/// The VirtualServices that the workload sees: private ones, then those exported to it by name, then public ones; in
/// each group the older first.
fn visible<'m, 'a>(
    meant: &'m [MeantVirtualService<'a>],
    options: &MeshOptions,
    workload: &Workload,
) -> Vec<&'m MeantVirtualService<'a>> {
    let default = &options.default_virtual_service_export_to;
    let mut visible: Vec<_> = meant
        .iter()
        .filter_map(|meant| {
            let reach =
                names::reach(&meant.resource.spec.export_to, default, &meant.name.namespace, &workload.namespace)?;
            Some((reach, meant))
        })
        .collect();
    visible.sort_by(|(one_reach, one), (other_reach, other)| {
        let age = |meant: &'m MeantVirtualService<'a>| services::by_age(meant.resource, &meant.name.namespace);
        one_reach.cmp(other_reach).then_with(|| age(one).cmp(&age(other)))
    });
    visible.into_iter().map(|(_, meant)| meant).collect()
}

#[cfg(test)]
mod tests;
