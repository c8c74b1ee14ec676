//! What is not honored where another client than [`Transport`](crate::Transport) owns the connections.

use super::destination_rules::{self, EffectivePolicy};
use super::path::Path;
use super::report::Report;
use super::review::{self, IsSet, Review};
use crate::config::{
    ClientTlsMode, Config, ConnectionPoolSettings, H2UpgradePolicy, HttpSettings, TcpSettings, WorkloadEntry,
};

const WHY: &str = "the client that owns the connections has settings of its own";
const LATER: &str = "over the client of this process it begins when the try is sent, not when that has its connection";
const SOCKET: &str = "over the client of this process no request reaches it: a URI names no unix socket";

/// Names the fields that only the owner of a connection can honor.
pub(crate) fn review(config: &Config, report: &mut Report) {
    for resource in &config.destination_rules {
        review::of(resource, resource.name_of("DestinationRule"), report, |review| {
            destination_rules::each_part(&resource.spec, |policy, _, path| connection(policy, path, review));
        });
    }
    let root = Path::root("spec");
    for resource in &config.virtual_services {
        review::of(resource, resource.name_of("VirtualService"), report, |review| {
            for (number, rule) in resource.spec.http.iter().enumerate() {
                if rule.retries.as_ref().is_some_and(|retries| retries.per_try_timeout.is_some()) {
                    review.warning(&root.item("http", number).field("retries").field("perTryTimeout"), LATER);
                }
            }
        });
    }
    for resource in &config.service_entries {
        review::of(resource, resource.name_of("ServiceEntry"), report, |review| {
            for (number, endpoint) in resource.spec.endpoints.iter().enumerate() {
                socket(endpoint, &root.item("endpoints", number), review);
            }
        });
    }
    for resource in &config.workload_entries {
        review::of(resource, resource.name_of("WorkloadEntry"), report, |review| {
            socket(&resource.spec, &root, review);
        });
    }
}

fn socket(entry: &WorkloadEntry, path: &Path<'_>, review: &mut Review<'_>) {
    if entry.address.starts_with("unix://") {
        review.warning(&path.field("address"), SOCKET);
    }
}

fn connection(policy: EffectivePolicy<'_>, path: &Path<'_>, review: &mut Review<'_>) {
    review.all_without_effect(path, &[("proxyProtocol", policy.proxy_protocol.is_some())], WHY);
    let secured = policy.tls.is_some_and(|tls| tls.mode != ClientTlsMode::Disable);
    review.all_without_effect(path, &[("tls", secured)], "the client sends plain HTTP to the endpoint");
    let Some(ConnectionPoolSettings { tcp, http }) = policy.connection_pool else { return };
    let pool = path.field("connectionPool");
    if let Some(TcpSettings {
        max_connections,
        connect_timeout,
        tcp_keepalive,
        max_connection_duration,
        idle_timeout,
    }) = tcp
    {
        let fields = [
            ("maxConnections", max_connections.is_set()),
            ("connectTimeout", connect_timeout.is_set()),
            ("tcpKeepalive", tcp_keepalive.is_set()),
            ("maxConnectionDuration", max_connection_duration.is_set()),
            ("idleTimeout", idle_timeout.is_set()),
        ];
        review.all_without_effect(&pool.field("tcp"), &fields, WHY);
    }
    // What counts requests is done here, whoever has the connections: `_`.
    if let Some(HttpSettings {
        http1_max_pending_requests,
        http2_max_requests: _,
        max_requests_per_connection,
        max_retries: _,
        idle_timeout,
        h2_upgrade_policy,
        use_client_protocol,
        max_concurrent_streams,
        http2_keep_alive,
    }) = http
    {
        let fields = [
            ("http1MaxPendingRequests", http1_max_pending_requests.is_set()),
            ("maxRequestsPerConnection", max_requests_per_connection.is_set()),
            ("idleTimeout", idle_timeout.is_set()),
            ("h2UpgradePolicy", *h2_upgrade_policy == H2UpgradePolicy::Upgrade),
            ("useClientProtocol", use_client_protocol.is_set()),
            ("maxConcurrentStreams", max_concurrent_streams.is_set()),
            ("http2KeepAlive", http2_keep_alive.is_set()),
        ];
        review.all_without_effect(&pool.field("http"), &fields, WHY);
    }
}
