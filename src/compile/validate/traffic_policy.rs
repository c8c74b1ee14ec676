//! trafficPolicy: of a rule, a subset or a port (VD2, VD3, VD5 to VD8, VD28, VD29).

use super::{Findings, client_tls, connection_pool, load_balancer, names, numbers};
use crate::compile::path::Path;
use crate::config::{
    ClientTlsSettings, ConnectionPoolSettings, LoadBalancerSettings, OutlierDetection, PortTrafficPolicy,
    TrafficPolicy, TunnelSettings,
};

/// Judges the policy of a rule or of a subset. `own` is the namespace of the rule.
pub(crate) fn judge(policy: &TrafficPolicy, path: &Path<'_>, own: &str, findings: &mut Findings) {
    if *policy == TrafficPolicy::default() {
        findings.error("VD2", path, "the trafficPolicy is empty").help("leave it out");
    }
    // The version of `proxyProtocol` is an enumeration: decoding has refused what is none (VD29).
    let TrafficPolicy { tunnel, proxy_protocol, retry_budget, port_level_settings, .. } = policy;
    if tunnel.is_some() && proxy_protocol.is_some() {
        findings.error("VD3", &path.field("proxyProtocol"), "`tunnel` and `proxyProtocol` cannot be together");
    }
    let blocks = Blocks {
        load_balancer: policy.load_balancer.as_ref(),
        connection_pool: policy.connection_pool.as_ref(),
        outlier_detection: policy.outlier_detection.as_ref(),
        tls: policy.tls.as_ref(),
    };
    blocks.judge(path, own, findings);
    ports(port_level_settings, path, own, findings);
    if let Some(tunnel) = tunnel {
        self::tunnel(tunnel, &path.field("tunnel"), findings);
    }
    if let Some(percent) = retry_budget.as_ref().and_then(|budget| budget.percent) {
        let path = path.field("retryBudget");
        numbers::percent("CRD", &path.field("percent"), percent, findings);
    }
}

/// The blocks that ports can have too.
struct Blocks<'a> {
    load_balancer: Option<&'a LoadBalancerSettings>,
    connection_pool: Option<&'a ConnectionPoolSettings>,
    outlier_detection: Option<&'a OutlierDetection>,
    tls: Option<&'a ClientTlsSettings>,
}

impl Blocks<'_> {
    fn judge(&self, path: &Path<'_>, own: &str, findings: &mut Findings) {
        let Blocks { load_balancer, connection_pool, outlier_detection, tls } = *self;
        if let Some(outlier) = outlier_detection {
            self::outlier_detection(outlier, &path.field("outlierDetection"), findings);
        }
        if let Some(pool) = connection_pool {
            connection_pool::judge(pool, &path.field("connectionPool"), findings);
        }
        if let Some(balancer) = load_balancer {
            load_balancer::judge(balancer, &path.field("loadBalancer"), outlier_detection.is_some(), findings);
        }
        if let Some(tls) = tls {
            client_tls::judge(tls, &path.field("tls"), own, findings);
        }
    }
}

fn ports(ports: &[PortTrafficPolicy], path: &Path<'_>, own: &str, findings: &mut Findings) {
    numbers::at_most(&path.field("portLevelSettings"), ports.len(), 4096, "ports", findings);
    for (index, policy) in ports.iter().enumerate() {
        let path = path.item("portLevelSettings", index);
        let PortTrafficPolicy { port, load_balancer, connection_pool, outlier_detection, tls } = policy;
        match port {
            None => {
                findings.error("VD6", &path, "the settings of a port need the port").help("write `port: {number: N}`");
            }
            Some(port) if !(1..=65535).contains(&port.number) => {
                let message = format!("there is no port {}: these settings never apply", port.number);
                findings.warning("VD6", &path.field("port"), message);
            }
            Some(_) => {}
        }
        let blocks = Blocks {
            load_balancer: load_balancer.as_ref(),
            connection_pool: connection_pool.as_ref(),
            outlier_detection: outlier_detection.as_ref(),
            tls: tls.as_ref(),
        };
        if load_balancer.is_none() && connection_pool.is_none() && outlier_detection.is_none() && tls.is_none() {
            findings.error("VD6", &path, "the settings of a port are empty");
        }
        blocks.judge(&path, own, findings);
    }
}

fn outlier_detection(outlier: &OutlierDetection, path: &Path<'_>, findings: &mut Findings) {
    numbers::duration("VD7", &path.field("interval"), outlier.interval, findings);
    numbers::duration("VD7", &path.field("baseEjectionTime"), outlier.base_ejection_time, findings);
    let percents =
        [("maxEjectionPercent", outlier.max_ejection_percent), ("minHealthPercent", outlier.min_health_percent)];
    for (name, percent) in percents {
        numbers::percent("VD7", &path.field(name), percent.into(), findings);
    }
    let local = outlier.consecutive_local_origin_failures.is_some_and(|failures| failures > 0);
    if local && !outlier.split_external_local_origin_errors {
        findings
            .error("VD7", &path.field("consecutiveLocalOriginFailures"), "local failures are not counted by themselves")
            .help("set `splitExternalLocalOriginErrors: true`");
    }
    if outlier.consecutive_errors != 0 {
        findings
            .warning("VD8", &path.field("consecutiveErrors"), "consecutiveErrors is deprecated and ignored")
            .help("write `consecutive5xxErrors` or `consecutiveGatewayErrors`");
    }
    for (index, code) in outlier.outlier_detection_http_error_codes.iter().enumerate() {
        if !(100..=599).contains(code) {
            let path = path.item("outlierDetectionHttpErrorCodes", index);
            findings.error("CRD", &path, format!("the HTTP status {code} is not within 100..=599"));
        }
    }
}

fn tunnel(tunnel: &TunnelSettings, path: &Path<'_>, findings: &mut Findings) {
    let TunnelSettings { protocol, target_host, target_port } = tunnel;
    if !matches!(protocol.as_str(), "" | "CONNECT" | "POST") {
        findings
            .error("VD28", &path.field("protocol"), format!("`{protocol}` is no way to open a tunnel"))
            .help("write `CONNECT` or `POST`");
    }
    if let Err(message) = names::check_fqdn_or_ip(target_host) {
        findings.error("VD28", &path.field("targetHost"), message);
    }
    numbers::port("VD28", &path.field("targetPort"), *target_port, findings);
}
