//! Which fields of a resource are honored: every message is taken apart without `..`, so that a field is either named
//! as read elsewhere (`_`) or said aloud where it is set.

use std::collections::HashSet;

use super::client_tls;
use super::destination_rules::{self, PolicyOf};
use super::load_balancing;
use super::path::Path;
use super::review::{IsSet, Review};
use super::server_tls;
use super::service_entries;
use super::services::PortProtocol;
use super::validate::has_zone;
use crate::config::{
    ClientTlsMode, ClientTlsSettings, ConnectionPoolSettings, DestinationRule, Gateway, H2UpgradePolicy, HttpRoute,
    HttpSettings, LoadBalancerSettings, PortTrafficPolicy, Resolution, Resource, Server, ServiceEntry, SimpleLb,
    TcpSettings, TrafficPolicy, VirtualService, WorkloadEntry, ZoneAwareLoadBalancerSetting,
};

/// Names what the `http` rules of a VirtualService say in vain; what else they say is looked at where it is read.
pub(crate) fn virtual_service(spec: &VirtualService, review: &mut Review<'_>) {
    let root = Path::root("spec");
    let list = root.field("http");
    for (number, rule) in spec.http.iter().enumerate() {
        http_rule(rule, spec.hosts.is_empty(), &list.index(number), review);
    }
}

fn http_rule(rule: &HttpRoute, is_delegate: bool, path: &Path<'_>, review: &mut Review<'_>) {
    let HttpRoute {
        name: _,
        matches: _,
        route: _,
        redirect,
        direct_response,
        delegate,
        rewrite: _,
        timeout,
        retries,
        fault: _,
        mirror,
        mirrors,
        mirror_percent,
        mirror_percentage,
        cors_policy,
        headers: _,
    } = rule;
    let percentages = [("mirrorPercent", mirror_percent.is_set()), ("mirrorPercentage", mirror_percentage.is_set())];
    let others = [
        ("timeout", timeout.is_set()),
        ("retries", retries.is_set()),
        ("mirror", mirror.is_set()),
        ("mirrors", mirrors.is_set()),
        ("corsPolicy", cors_policy.is_set()),
    ];
    if redirect.is_some() || direct_response.is_some() {
        for fields in [&others[..], &percentages] {
            review.all_without_effect(path, fields, "the rule sends no request on");
        }
        return;
    }
    if mirror_percent.is_set() && mirror_percentage.is_set() {
        review.without_effect(&path.field("mirrorPercent"), "`mirrorPercentage` takes its place");
    }
    // Of a delegate and the rule that leads to it each may have the mirror of the other's percentage.
    if mirror.is_none() && delegate.is_none() && !is_delegate {
        review.all_without_effect(path, &percentages, "there is no `mirror`");
    }
}

/// Names what a DestinationRule says in vain.
pub(crate) fn destination_rule(spec: &DestinationRule, review: &mut Review<'_>) {
    // The rule and its subsets are taken apart there.
    destination_rules::each_policy(spec, |policy, of, path| traffic_policy(policy, of, path, review));
}

fn traffic_policy(policy: &TrafficPolicy, of: PolicyOf, path: &Path<'_>, review: &mut Review<'_>) {
    let TrafficPolicy {
        load_balancer: balancer,
        connection_pool: pool,
        outlier_detection: _,
        tls,
        port_level_settings,
        tunnel: _,
        proxy_protocol: _,
        retry_budget: _,
    } = policy;
    load_balancer(balancer.as_ref(), &path.field("loadBalancer"), review);
    connection_pool(pool.as_ref(), &path.field("connectionPool"), review);
    client_tls(tls.as_ref(), &path.field("tls"), review);
    plain_text(of, tls.as_ref(), &path.field("tls"), review);
    let list = path.field("portLevelSettings");
    let mut ports = HashSet::new();
    for (number, entry) in port_level_settings.iter().enumerate() {
        let PortTrafficPolicy { port, load_balancer: balancer, connection_pool: pool, outlier_detection: _, tls } =
            entry;
        let path = list.index(number);
        if port.as_ref().is_some_and(|port| !ports.insert(port.number)) {
            review.without_effect(&path, "an earlier entry is for the same port");
        }
        load_balancer(balancer.as_ref(), &path.field("loadBalancer"), review);
        connection_pool(pool.as_ref(), &path.field("connectionPool"), review);
        client_tls(tls.as_ref(), &path.field("tls"), review);
        plain_text(of, tls.as_ref(), &path.field("tls"), review);
    }
}

/// Not to secure connections is what holds where nothing is said: it means something only where it takes the place of
/// another block, as that of a subset may. An entry for a port inherits none.
fn plain_text(of: PolicyOf, tls: Option<&ClientTlsSettings>, path: &Path<'_>, review: &mut Review<'_>) {
    if of == PolicyOf::Host && tls.is_some_and(|tls| tls.mode == ClientTlsMode::Disable) {
        review.without_effect(path, "connections are in plain text without it too: no mutual TLS is set up by itself");
    }
}

fn client_tls(tls: Option<&ClientTlsSettings>, path: &Path<'_>, review: &mut Review<'_>) {
    let Some(tls) = tls else { return };
    let ClientTlsSettings {
        mode,
        client_certificate,
        private_key,
        ca_certificates,
        credential_name,
        subject_alt_names,
        sni,
        insecure_skip_verify,
        ca_crl,
    } = tls;
    let identity = [("clientCertificate", client_certificate.is_set()), ("privateKey", private_key.is_set())];
    let others = [
        ("caCertificates", ca_certificates.is_set()),
        ("credentialName", credential_name.is_set()),
        ("subjectAltNames", subject_alt_names.is_set()),
        ("sni", sni.is_set()),
        ("insecureSkipVerify", insecure_skip_verify.is_set()),
        ("caCrl", ca_crl.is_set()),
    ];
    match mode {
        ClientTlsMode::Disable => {
            review.all_without_effect(path, &identity, "DISABLE is plain text");
            review.all_without_effect(path, &others, "DISABLE is plain text");
        }
        ClientTlsMode::IstioMutual => {
            let why = "ISTIO_MUTUAL needs a Transport that was built with the mesh's certificates, and is plain text \
                       without, for a sidecar to secure";
            review.warning(&path.field("mode"), why);
            review.all_without_effect(path, &identity, "ISTIO_MUTUAL has the certificates of the mesh");
            review.all_without_effect(path, &others, "ISTIO_MUTUAL has the certificates of the mesh");
        }
        ClientTlsMode::Simple | ClientTlsMode::Mutual => {
            if *mode == ClientTlsMode::Simple {
                review.all_without_effect(path, &identity, "SIMPLE shows no certificate");
            }
            if sni.is_set()
                && let Some(why) = client_tls::unsaid(sni)
            {
                review.value_not_honored(&path.field("sni"), why);
            }
        }
    }
}

fn load_balancer(settings: Option<&LoadBalancerSettings>, path: &Path<'_>, review: &mut Review<'_>) {
    let Some(settings) = settings else { return };
    let LoadBalancerSettings {
        simple,
        consistent_hash,
        locality_lb_setting: _,
        zone_aware_lb_setting,
        warmup_duration_secs,
        warmup,
    } = settings;
    let warmups = [("warmup", warmup.is_set()), ("warmupDurationSecs", warmup_duration_secs.is_set())];
    if consistent_hash.is_some() || matches!(simple, Some(SimpleLb::Random)) {
        let why = "only ROUND_ROBIN and LEAST_REQUEST give an endpoint that is new less than its share";
        review.all_without_effect(path, &warmups, why);
    } else if warmup.is_some() {
        review.all_without_effect(path, &warmups[1..], "`warmup` takes its place");
    }
    if consistent_hash.as_ref().is_some_and(|hash| load_balancing::hash_policy(hash).is_none()) {
        let message = "there is no key: nothing of a request is hashed, and endpoints are picked at random";
        review.warning(&path.field("consistentHash"), message);
    }
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

/// The annotation of a ServiceEntry that says how its names are connected to.
const CONNECT_STRATEGY: &str = "istio.io/connect-strategy";

/// Names what a ServiceEntry says in vain.
pub(crate) fn service_entry(entry: &Resource<ServiceEntry>, review: &mut Review<'_>) {
    let Resource { meta, spec, .. } = entry;
    let ServiceEntry {
        hosts: _,
        addresses,
        ports: _,
        location: _,
        resolution,
        endpoints,
        workload_selector: _,
        export_to: _,
        subject_alt_names: _,
    } = spec;
    let races = |strategy: &String| strategy.eq_ignore_ascii_case("RACE_FIRST_TCP_CONNECT");
    if meta.annotations.get(CONNECT_STRATEGY).is_some_and(races) {
        let path = Path::root("metadata");
        let path = path.entry("annotations", CONNECT_STRATEGY);
        match resolution {
            Resolution::Dns => review.value_not_honored(&path, "every address is an endpoint of its own"),
            _ => review.without_effect(&path, "only what has resolution DNS asks for it"),
        }
    }
    let root = Path::root("spec");
    let list = root.field("addresses");
    for (number, address) in addresses.iter().enumerate() {
        if service_entries::single(address).is_none() {
            review.value_not_honored(&list.index(number), "a range of addresses stands for no host in a request");
        } else if has_zone(address) {
            review.value_not_honored(&list.index(number), "no request is for an address with a zone");
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
    let WorkloadEntry { address, ports: _, labels: _, network, locality: _, weight: _, service_account } = entry;
    if has_zone(address) {
        review.value_not_honored(&path.field("address"), "no request reaches an address with a zone");
    }
    review.not_honored(&path.field("network"), network);
    review.not_honored(&path.field("serviceAccount"), service_account);
}

/// Names what a Gateway says in vain.
pub(crate) fn gateway(spec: &Gateway, review: &mut Review<'_>) {
    let Gateway { servers, selector: _ } = spec;
    let root = Path::root("spec");
    let list = root.field("servers");
    for (number, server) in servers.iter().enumerate() {
        let Server { port, bind, hosts: _, tls, default_endpoint, name } = server;
        let path = list.index(number);
        if has_zone(bind) {
            review.value_not_honored(&path.field("bind"), "no listener is opened at an address with a zone");
        }
        if let (Some(tls), Some(port)) = (tls, port) {
            server_tls::review(tls, PortProtocol::named(&port.protocol), &path.field("tls"), review);
        }
        review.not_honored(&path.field("defaultEndpoint"), default_endpoint);
        review.not_honored(&path.field("name"), name);
    }
}
