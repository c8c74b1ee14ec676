//! Which fields of a resource are honored: every message is taken apart without `..`, so that a field is either named
//! as read elsewhere (`_`) or said aloud where it is set.

use super::path::Path;
use super::review::Review;
use super::server_tls;
use super::services::PortProtocol;
use crate::config::{
    ClientTlsMode, ClientTlsSettings, ConnectionPoolSettings, DestinationRule, Gateway, H2UpgradePolicy, HttpSettings,
    LoadBalancerSettings, PortTrafficPolicy, Server, ServiceEntry, Subset, TcpSettings, TrafficPolicy, WorkloadEntry,
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
        proxy_protocol: _,
        retry_budget: _,
    } = policy;
    load_balancer(balancer.as_ref(), &path.field("loadBalancer"), review);
    connection_pool(pool.as_ref(), &path.field("connectionPool"), review);
    client_tls(tls.as_ref(), &path.field("tls"), review);
    review.not_honored(&path.field("tunnel"), tunnel);
    let list = path.field("portLevelSettings");
    for (number, entry) in port_level_settings.iter().enumerate() {
        let PortTrafficPolicy { port: _, load_balancer: balancer, connection_pool: pool, outlier_detection: _, tls } =
            entry;
        let path = list.index(number);
        load_balancer(balancer.as_ref(), &path.field("loadBalancer"), review);
        connection_pool(pool.as_ref(), &path.field("connectionPool"), review);
        client_tls(tls.as_ref(), &path.field("tls"), review);
    }
}

fn client_tls(tls: Option<&ClientTlsSettings>, path: &Path<'_>, review: &mut Review<'_>) {
    let Some(tls) = tls else { return };
    let ClientTlsSettings {
        mode,
        client_certificate: _,
        private_key: _,
        ca_certificates: _,
        credential_name,
        subject_alt_names: _,
        sni: _,
        insecure_skip_verify: _,
        ca_crl: _,
    } = tls;
    match mode {
        ClientTlsMode::Disable => {}
        ClientTlsMode::IstioMutual => {
            let why = "ISTIO_MUTUAL needs a Transport that was built with the mesh's certificates, and is plain text \
                       without, for a sidecar to secure";
            review.value_not_honored(&path.field("mode"), why);
        }
        ClientTlsMode::Simple | ClientTlsMode::Mutual => {
            if credential_name.starts_with("configmap://") {
                let why = "ConfigMaps are not read: connections fail";
                review.value_not_honored(&path.field("credentialName"), why);
            }
        }
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
    if let Some(tcp) = tcp {
        let TcpSettings {
            max_connections: _,
            connect_timeout: _,
            tcp_keepalive: _,
            max_connection_duration: _,
            idle_timeout: _,
        } = tcp;
    }
    if let Some(http) = http {
        let HttpSettings {
            http1_max_pending_requests: _,
            http2_max_requests: _,
            max_requests_per_connection: _,
            max_retries: _,
            idle_timeout: _,
            h2_upgrade_policy,
            use_client_protocol,
            max_concurrent_streams: _,
            http2_keep_alive: _,
        } = http;
        if *use_client_protocol && *h2_upgrade_policy == H2UpgradePolicy::Upgrade {
            let why = "`useClientProtocol` beats it";
            review.value_not_honored(&path.field("http").field("h2UpgradePolicy"), why);
        }
    }
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
        subject_alt_names: _,
    } = spec;
    let root = Path::root("spec");
    let list = root.field("addresses");
    for (number, address) in addresses.iter().enumerate() {
        if address.contains('/') {
            review.value_not_honored(&list.index(number), "a range of addresses stands for no host in a request");
        }
    }
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

/// Names what a Gateway says in vain.
pub(crate) fn gateway(spec: &Gateway, review: &mut Review<'_>) {
    let Gateway { servers, selector: _ } = spec;
    let root = Path::root("spec");
    let list = root.field("servers");
    for (number, server) in servers.iter().enumerate() {
        let Server { port, bind: _, hosts: _, tls, default_endpoint, name } = server;
        let path = list.index(number);
        if let (Some(tls), Some(port)) = (tls, port) {
            server_tls::review(tls, PortProtocol::named(&port.protocol), &path.field("tls"), review);
        }
        review.not_honored(&path.field("defaultEndpoint"), default_endpoint);
        review.not_honored(&path.field("name"), name);
    }
}
