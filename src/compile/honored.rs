//! Which fields of a resource are honored: every message is taken apart without `..`, so that a field is either named
//! as read elsewhere (`_`) or said aloud where it is set.

use super::path::Path;
use super::review::Review;
use crate::config::{
    ConnectionPoolSettings, DestinationRule, Gateway, H2UpgradePolicy, HttpSettings, LoadBalancerSettings,
    PortTrafficPolicy, Server, ServiceEntry, Subset, TcpSettings, TrafficPolicy, WorkloadEntry,
    ZoneAwareLoadBalancerSetting,
};

/// Names what a DestinationRule says in vain.
pub(crate) fn destination_rule(spec: &DestinationRule, review: &mut Review<'_>) {
    let DestinationRule { host: _, traffic_policy: policy, subsets, export_to: _, workload_selector: _ } = spec;
    let root = Path::root("spec");
    if let Some(policy) = policy {
        traffic_policy(policy, &root.field("trafficPolicy"), review);
    }
    let list = root.field("subsets");
    for (number, Subset { name: _, labels: _, traffic_policy: policy }) in subsets.iter().enumerate() {
        if let Some(policy) = policy {
            traffic_policy(policy, &list.index(number).field("trafficPolicy"), review);
        }
    }
}

fn traffic_policy(policy: &TrafficPolicy, path: &Path<'_>, review: &mut Review<'_>) {
    let TrafficPolicy {
        load_balancer: balancer,
        connection_pool: pool,
        outlier_detection: _,
        tls,
        port_level_settings,
        tunnel,
        proxy_protocol,
        retry_budget: _,
    } = policy;
    load_balancer(balancer.as_ref(), &path.field("loadBalancer"), review);
    connection_pool(pool.as_ref(), &path.field("connectionPool"), review);
    review.not_honored(&path.field("tls"), tls);
    review.not_honored(&path.field("tunnel"), tunnel);
    review.not_honored(&path.field("proxyProtocol"), proxy_protocol);
    let list = path.field("portLevelSettings");
    for (number, entry) in port_level_settings.iter().enumerate() {
        let PortTrafficPolicy { port: _, load_balancer: balancer, connection_pool: pool, outlier_detection: _, tls } =
            entry;
        let path = list.index(number);
        load_balancer(balancer.as_ref(), &path.field("loadBalancer"), review);
        connection_pool(pool.as_ref(), &path.field("connectionPool"), review);
        review.not_honored(&path.field("tls"), tls);
    }
}

fn load_balancer(settings: Option<&LoadBalancerSettings>, path: &Path<'_>, review: &mut Review<'_>) {
    let Some(settings) = settings else { return };
    let LoadBalancerSettings {
        simple: _,
        consistent_hash: _,
        locality_lb_setting: _,
        zone_aware_lb_setting,
        warmup_duration_secs: _,
        warmup: _,
    } = settings;
    let Some(zones) = zone_aware_lb_setting else { return };
    let ZoneAwareLoadBalancerSetting { enabled: _, failover: _, failover_priority: _, min_cluster_size } = zones;
    review.not_honored(&path.field("zoneAwareLbSetting").field("minClusterSize"), min_cluster_size);
}

fn connection_pool(settings: Option<&ConnectionPoolSettings>, path: &Path<'_>, review: &mut Review<'_>) {
    let Some(ConnectionPoolSettings { tcp, http }) = settings else { return };
    if let Some(http) = http {
        http_settings(http, &path.field("http"), review);
    }
    let Some(tcp) = tcp else { return };
    let TcpSettings { max_connections: _, connect_timeout: _, tcp_keepalive, max_connection_duration, idle_timeout } =
        tcp;
    let path = path.field("tcp");
    review.not_honored(&path.field("tcpKeepalive"), tcp_keepalive);
    review.not_honored(&path.field("maxConnectionDuration"), max_connection_duration);
    review.not_honored(&path.field("idleTimeout"), idle_timeout);
}

fn http_settings(settings: &HttpSettings, path: &Path<'_>, review: &mut Review<'_>) {
    let HttpSettings {
        http1_max_pending_requests: _,
        http2_max_requests: _,
        max_requests_per_connection,
        max_retries: _,
        idle_timeout,
        h2_upgrade_policy,
        use_client_protocol,
        max_concurrent_streams,
        http2_keep_alive,
    } = settings;
    review.not_honored(&path.field("maxRequestsPerConnection"), max_requests_per_connection);
    review.not_honored(&path.field("idleTimeout"), idle_timeout);
    if *h2_upgrade_policy == H2UpgradePolicy::Upgrade {
        review.value_not_honored(&path.field("h2UpgradePolicy"), "UPGRADE speaks what the port says");
    }
    review.not_honored(&path.field("useClientProtocol"), use_client_protocol);
    review.not_honored(&path.field("maxConcurrentStreams"), max_concurrent_streams);
    review.not_honored(&path.field("http2KeepAlive"), http2_keep_alive);
}

/// Names what a ServiceEntry says in vain.
pub(crate) fn service_entry(spec: &ServiceEntry, review: &mut Review<'_>) {
    let ServiceEntry {
        hosts: _,
        addresses,
        ports: _,
        location: _,
        resolution: _,
        endpoints,
        workload_selector: _,
        export_to: _,
        subject_alt_names,
    } = spec;
    let root = Path::root("spec");
    let list = root.field("addresses");
    for (number, address) in addresses.iter().enumerate() {
        if address.contains('/') {
            review.value_not_honored(&list.index(number), "a range of addresses stands for no host in a request");
        }
    }
    review.not_honored(&root.field("subjectAltNames"), subject_alt_names);
    let list = root.field("endpoints");
    for (number, endpoint) in endpoints.iter().enumerate() {
        workload(endpoint, &list.index(number), review);
    }
}

/// Names what a WorkloadEntry says in vain.
pub(crate) fn workload_entry(spec: &WorkloadEntry, review: &mut Review<'_>) {
    workload(spec, &Path::root("spec"), review);
}

fn workload(entry: &WorkloadEntry, path: &Path<'_>, review: &mut Review<'_>) {
    let WorkloadEntry { address: _, ports: _, labels: _, network, locality: _, weight: _, service_account } = entry;
    review.not_honored(&path.field("network"), network);
    review.not_honored(&path.field("serviceAccount"), service_account);
}

/// Names what a Gateway says in vain. Servers of other protocols are named where listeners are made.
pub(crate) fn gateway(spec: &Gateway, review: &mut Review<'_>) {
    let Gateway { servers, selector: _ } = spec;
    let root = Path::root("spec");
    let list = root.field("servers");
    for (number, server) in servers.iter().enumerate() {
        let Server { port: _, bind: _, hosts: _, tls, default_endpoint, name } = server;
        let path = list.index(number);
        review.not_honored(&path.field("tls"), tls);
        review.not_honored(&path.field("defaultEndpoint"), default_endpoint);
        review.not_honored(&path.field("name"), name);
    }
}
