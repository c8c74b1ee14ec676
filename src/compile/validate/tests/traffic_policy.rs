//! VD2, VD3, VD6 to VD12, VD24 to VD28.

use super::{good, lines, policy, says};

fn outlier(fields: &str) -> String {
    policy(&format!("{{outlierDetection: {{{fields}}}}}"))
}

fn pool(fields: &str) -> String {
    policy(&format!("{{connectionPool: {{{fields}}}}}"))
}

fn tls(fields: &str) -> String {
    policy(&format!("{{tls: {{{fields}}}}}"))
}

#[test]
fn vd2_a_policy_is_not_empty() {
    says(&policy("{}"), &["error VD2 spec.trafficPolicy"]);
    good(&policy("{tls: {}}"));
    good(&policy("{retryBudget: {}}"));
}

#[test]
fn vd3_a_tunnel_has_no_proxy_protocol() {
    let tunnel = "tunnel: {targetHost: b.c, targetPort: 80}";
    good(&policy(&format!("{{{tunnel}}}")));
    good(&policy("{proxyProtocol: {version: V2}}"));
    says(&policy(&format!("{{{tunnel}, proxyProtocol: {{}}}}")), &["error VD3 spec.trafficPolicy.proxyProtocol"]);
}

#[test]
fn vd6_settings_of_ports_have_a_port_and_a_block() {
    let ports = |fields: &str| policy(&format!("{{portLevelSettings: [{{{fields}}}]}}"));
    good(&ports("port: {number: 80}, loadBalancer: {simple: RANDOM}"));
    says(&ports("loadBalancer: {simple: RANDOM}"), &["error VD6 spec.trafficPolicy.portLevelSettings[0]"]);
    says(&ports("port: {number: 80}"), &["error VD6 spec.trafficPolicy.portLevelSettings[0]"]);
    says(&ports("port: {}, tls: {}"), &["warning VD6 spec.trafficPolicy.portLevelSettings[0].port"]);
    says(
        &ports("port: {number: 80}, connectionPool: {}"),
        &["error VD9 spec.trafficPolicy.portLevelSettings[0].connectionPool"],
    );
    says(
        &ports("port: {number: 80}, loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}"),
        &["warning VD21 spec.trafficPolicy.portLevelSettings[0].loadBalancer.localityLbSetting.failover"],
    );
}

#[test]
fn vd7_outlier_detection_has_durations_and_percentages() {
    good(&outlier("interval: 1s, baseEjectionTime: 1ms, maxEjectionPercent: 100, minHealthPercent: 0"));
    let cases = [
        ("interval: 0s", "interval"),
        ("baseEjectionTime: 1us", "baseEjectionTime"),
        ("maxEjectionPercent: 101", "maxEjectionPercent"),
        ("minHealthPercent: -1", "minHealthPercent"),
        ("consecutiveLocalOriginFailures: 1", "consecutiveLocalOriginFailures"),
    ];
    for (field, path) in cases {
        says(&outlier(field), &[&format!("error VD7 spec.trafficPolicy.outlierDetection.{path}")]);
    }
    good(&outlier("consecutiveLocalOriginFailures: 1, splitExternalLocalOriginErrors: true"));
    good(&outlier("consecutiveLocalOriginFailures: 0"));
}

#[test]
fn vd8_consecutive_errors_is_deprecated() {
    says(&outlier("consecutiveErrors: 5"), &["warning VD8 spec.trafficPolicy.outlierDetection.consecutiveErrors"]);
}

#[test]
fn crd_ranges_of_policies() {
    good(&outlier("outlierDetectionHttpErrorCodes: [100, 599]"));
    says(
        &outlier("outlierDetectionHttpErrorCodes: [500, 600]"),
        &["error CRD spec.trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes[1]"],
    );
    good(&policy("{retryBudget: {percent: 100}}"));
    says(&policy("{retryBudget: {percent: 100.5}}"), &["error CRD spec.trafficPolicy.retryBudget.percent"]);
}

#[test]
fn vd9_a_pool_is_not_empty() {
    says(&pool(""), &["error VD9 spec.trafficPolicy.connectionPool"]);
    good(&pool("tcp: {}"));
    good(&pool("http: {}"));
}

#[test]
fn vd10_limits_are_not_negative_and_durations_not_nothing() {
    let http = [
        "http1MaxPendingRequests",
        "http2MaxRequests",
        "maxRequestsPerConnection",
        "maxRetries",
        "maxConcurrentStreams",
    ];
    for name in http {
        says(
            &pool(&format!("http: {{{name}: -1}}")),
            &[&format!("error VD10 spec.trafficPolicy.connectionPool.http.{name}")],
        );
        good(&pool(&format!("http: {{{name}: 0}}")));
    }
    let cases = [
        ("tcp: {maxConnections: -1}", "tcp.maxConnections"),
        ("tcp: {connectTimeout: 0s}", "tcp.connectTimeout"),
        ("tcp: {maxConnectionDuration: 1us}", "tcp.maxConnectionDuration"),
        ("tcp: {idleTimeout: -1s}", "tcp.idleTimeout"),
        ("tcp: {idleTimeout: 1.5ms}", "tcp.idleTimeout"),
        ("tcp: {tcpKeepalive: {time: 0s}}", "tcp.tcpKeepalive.time"),
        ("tcp: {tcpKeepalive: {interval: 0s}}", "tcp.tcpKeepalive.interval"),
        ("http: {idleTimeout: 0s}", "http.idleTimeout"),
    ];
    for (fields, path) in cases {
        says(&pool(fields), &[&format!("error VD10 spec.trafficPolicy.connectionPool.{path}")]);
    }
    good(&pool("tcp: {idleTimeout: 0s}"));
}

#[test]
fn vd11_one_says_which_protocol_goes_upstream() {
    let path = "error VD11 spec.trafficPolicy.connectionPool.http.useClientProtocol";
    says(&pool("http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}"), &[path]);
    good(&pool("http: {h2UpgradePolicy: DO_NOT_UPGRADE, useClientProtocol: true}"));
}

#[test]
fn vd12_http2_keep_alive_has_both_durations() {
    let path = "error VD12 spec.trafficPolicy.connectionPool.http.http2KeepAlive";
    says(&pool("http: {http2KeepAlive: {}}"), &[path, path]);
    says(&pool("http: {http2KeepAlive: {interval: 1s}}"), &[path]);
    says(&pool("http: {http2KeepAlive: {interval: 0s, timeout: 1s}}"), &[&format!("{path}.interval")]);
    good(&pool("http: {http2KeepAlive: {interval: 1s, timeout: 1s}}"));
}

#[test]
fn vd24_mutual_tls_has_a_certificate() {
    let path = "error VD24 spec.trafficPolicy.tls";
    says(&tls("mode: MUTUAL"), &[path, path]);
    says(&tls("mode: MUTUAL, clientCertificate: a"), &[path]);
    good(&tls("mode: MUTUAL, clientCertificate: a, privateKey: b"));
    good(&tls("mode: MUTUAL, credentialName: a"));
    good(&tls("mode: SIMPLE"));
}

#[test]
fn vd25_a_secret_or_files() {
    for file in ["clientCertificate", "privateKey", "caCertificates", "caCrl"] {
        for mode in ["SIMPLE", "MUTUAL"] {
            says(
                &tls(&format!("mode: {mode}, credentialName: a, {file}: b")),
                &[&format!("error VD25 spec.trafficPolicy.tls.{file}")],
            );
        }
    }
    good(&tls("mode: ISTIO_MUTUAL, credentialName: a, caCrl: b"));
}

#[test]
fn vd26_what_is_not_verified_is_not_named() {
    let simple = |fields: &str| tls(&format!("mode: SIMPLE, insecureSkipVerify: true, {fields}"));
    for field in ["caCertificates: a", "subjectAltNames: [a]", "credentialName: a"] {
        let name = field.split(':').next().unwrap();
        says(&simple(field), &[&format!("error VD26 spec.trafficPolicy.tls.{name}")]);
    }
    good(&simple("sni: a"));
    good(&tls("mode: MUTUAL, insecureSkipVerify: true, credentialName: a"));
    says(
        &tls("mode: MUTUAL, insecureSkipVerify: true, clientCertificate: a, privateKey: b, subjectAltNames: [c]"),
        &["error VD26 spec.trafficPolicy.tls.subjectAltNames"],
    );
    good(&tls("mode: SIMPLE, insecureSkipVerify: false, caCertificates: a"));
}

#[test]
fn vd27_a_config_map_is_in_the_rules_namespace() {
    good(&tls("mode: SIMPLE, credentialName: 'configmap://default/a'"));
    for bad in ["configmap://other/a", "configmap://a", "configmap:///a", "configmap://default/"] {
        says(
            &tls(&format!("mode: SIMPLE, credentialName: '{bad}'")),
            &["error VD27 spec.trafficPolicy.tls.credentialName"],
        );
    }
    // `check` fails on every ConfigMap.
    let told = lines(&tls("mode: SIMPLE, credentialName: 'configmap://a'"));
    assert!(told.contains("(name a Secret, ConfigMaps are not read)"), "{told}");
    good(&tls("mode: SIMPLE, credentialName: a"));
}

#[test]
fn vd28_a_tunnel_leads_somewhere() {
    let tunnel = |fields: &str| policy(&format!("{{tunnel: {{{fields}}}}}"));
    good(&tunnel("protocol: POST, targetHost: 10.0.0.1, targetPort: 80"));
    says(&tunnel("protocol: GET, targetHost: a, targetPort: 80"), &["error VD28 spec.trafficPolicy.tunnel.protocol"]);
    says(&tunnel("targetHost: '*.a', targetPort: 80"), &["error VD28 spec.trafficPolicy.tunnel.targetHost"]);
    says(
        &tunnel(""),
        &["error VD28 spec.trafficPolicy.tunnel.targetHost", "error VD28 spec.trafficPolicy.tunnel.targetPort"],
    );
}
