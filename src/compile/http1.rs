//! What is said of HTTP/2 where connections speak HTTP/1.

use super::connection_pool;
use super::destination_rules;
use super::names;
use super::path::Path;
use super::report::Report;
use super::review::{self, IsSet, Review};
use super::services::{KnownPort, Services};
use crate::config::{Config, ConnectionPoolSettings};
use crate::options::MeshOptions;
use crate::upstream::Protocol;

/// Names the settings of HTTP/2 that no port they are for can use. Of a host that is not known, as of a wildcard,
/// nothing is said.
pub(crate) fn review(config: &Config, services: &Services, options: &MeshOptions, report: &mut Report) {
    for rule in &config.destination_rules {
        let host = names::complete(&rule.spec.host, rule.namespace(), &options.domain);
        let ports: Vec<&KnownPort> = services.every(&host).flat_map(|service| &service.ports).collect();
        review::of(rule, rule.name_of("DestinationRule"), report, |review| {
            destination_rules::each_part(&rule.spec, |policy, wanted, path| {
                let is_meant = |port: &&KnownPort| wanted.is_none_or(|wanted| wanted == u32::from(port.number));
                let ports: Vec<_> = ports.iter().copied().filter(is_meant).collect();
                pool(policy.connection_pool, &ports, options, path, review);
            });
        });
    }
}

fn pool(
    pool: Option<&ConnectionPoolSettings>,
    ports: &[&KnownPort],
    options: &MeshOptions,
    path: &Path<'_>,
    review: &mut Review<'_>,
) {
    let Some(http) = pool.and_then(|pool| pool.http.as_ref()) else { return };
    // What is spoken in TLS of the application's own, or in bytes, is not known here.
    let speaks_http1 = |port: &&KnownPort| {
        port.protocol.is_http() && connection_pool::protocol(Some(http), port.protocol, options) == Protocol::Http1
    };
    if ports.is_empty() || !ports.iter().all(speaks_http1) {
        return;
    }
    let fields = [
        ("maxConcurrentStreams", http.max_concurrent_streams.is_set()),
        ("http2KeepAlive", http.http2_keep_alive.is_set()),
    ];
    let why = "its connections speak HTTP/1: neither the protocol of the port nor `h2UpgradePolicy` asks for HTTP/2";
    review.all_without_effect(&path.field("connectionPool").field("http"), &fields, why);
}
