//! VG1 to VG20.

use super::{good, lines, resource, says};

fn server(port: &str, fields: &str) -> String {
    resource("Gateway", &format!("{{servers: [{{port: {port}, hosts: ['*'], {fields}}}]}}"))
}

fn http(fields: &str) -> String {
    server("{number: 80, name: http, protocol: HTTP}", fields)
}

fn https(tls: &str) -> String {
    server("{number: 443, name: https, protocol: HTTPS}", &format!("tls: {{{tls}}}"))
}

fn hosts(hosts: &str) -> String {
    let port = "{number: 80, name: http, protocol: HTTP}";
    resource("Gateway", &format!("{{servers: [{{port: {port}, hosts: {hosts}}}]}}"))
}

#[test]
fn vg1_a_gateway_has_the_name_of_a_label() {
    says(&http("").replace("name: a}", "name: a.b}"), &["error VG1 metadata.name"]);
    good(&http(""));
}

#[test]
fn vg2_a_gateway_has_servers() {
    says(&resource("Gateway", "{selector: {a: b}}"), &["error VG2 spec"]);
}

#[test]
fn vg3_a_server_has_hosts() {
    says(&hosts("[]"), &["error VG3 spec.servers[0]"]);
}

#[test]
fn vg4_hosts_are_whole_names() {
    good(&hosts("['*', '*/*', ./a.b, ns/a.b, '*/*.a.b', 10.0.0.1, '::ffff:10.0.0.1', 'a.']"));
    for bad in ["/a.b", "ns/", "n_s/a.b", "'~/a.b'", "reviews", "a_b.c", "'*foo.com'", "ns/reviews", "'*-a.b.c'", "''"]
    {
        says(&hosts(&format!("[{bad}]")), &["error VG4 spec.servers[0].hosts[0]"]);
    }
    for bad in ["'2001:db8::1'", "'ns/::1'"] {
        says(&hosts(&format!("[{bad}]")), &["error VG4 spec.servers[0].hosts[0]"]);
    }
}

#[test]
fn vg5_a_port_has_number_protocol_and_name() {
    says(&resource("Gateway", "{servers: [{hosts: ['*']}]}"), &["error VG5 spec.servers[0]"]);
    says(&server("{number: 80, name: a, protocol: QUIC}", ""), &["error VG5 spec.servers[0].port.protocol"]);
    says(&server("{number: 80, name: a}", ""), &["error VG5 spec.servers[0].port.protocol"]);
    says(&server("{number: 0, name: a, protocol: HTTP}", ""), &["error VG5 spec.servers[0].port.number"]);
    says(&server("{number: 65536, name: a, protocol: HTTP}", ""), &["error VG5 spec.servers[0].port.number"]);
    says(&server("{number: 80, protocol: HTTP}", ""), &["error VG5 spec.servers[0].port"]);
    for protocol in ["http", "HTTP2", "grpc", "GRPC-Web", "MONGO", "TCP", "REDIS", "MYSQL"] {
        good(&server(&format!("{{number: 80, name: a, protocol: {protocol}}}"), ""));
    }
    good(&server("{number: 0, name: a, protocol: HTTP}", "bind: 'unix:///a'"));
}

#[test]
fn vg6_target_ports_have_no_effect() {
    says(
        &server("{number: 80, name: a, protocol: HTTP, targetPort: 1}", ""),
        &["error VG6 spec.servers[0].port.targetPort"],
    );
}

#[test]
fn vg7_ports_have_names_of_their_own() {
    let port = "port: {number: 80, name: a, protocol: HTTP}, hosts: ['*']";
    says(
        &resource("Gateway", &format!("{{servers: [{{{port}}}, {{{port}}}]}}")),
        &["error VG7 spec.servers[1].port.name"],
    );
}

#[test]
fn vg8_servers_listen_on_addresses() {
    good(&http("bind: 127.0.0.1"));
    says(&http("bind: localhost"), &["error VG8 spec.servers[0].bind"]);
    let unix = |path: &str| server("{number: 0, name: a, protocol: HTTP}", &format!("bind: 'unix://{path}'"));
    good(&unix("/run/a"));
    good(&unix("@a"));
    for bad in ["", "run/a", "/run/"] {
        says(&unix(bad), &["error VG8 spec.servers[0].bind"]);
    }
    says(&http("bind: 'unix:///a'"), &["error VG8 spec.servers[0].port.number"]);
}

#[test]
fn vg9_tls_protocols_need_tls() {
    for protocol in ["HTTPS", "tls"] {
        says(
            &server(&format!("{{number: 1, name: a, protocol: {protocol}}}"), ""),
            &["error VG9 spec.servers[0].port.protocol"],
        );
    }
    good(&https("mode: SIMPLE, credentialName: a"));
    assert!(lines(&server("{number: 1, name: a, protocol: HTTPS}", "")).contains("needs tls"));
}

#[test]
fn vg10_plain_http_can_redirect() {
    good(&http("tls: {httpsRedirect: true}"));
    says(&http("tls: {mode: SIMPLE, credentialName: a}"), &["error VG10 spec.servers[0].tls"]);
    says(
        &http("tls: {httpsRedirect: true, caCertificates: a}"),
        &["warning VG16 spec.servers[0].tls.caCertificates", "error VG10 spec.servers[0].tls"],
    );
}

#[test]
fn vg11_bytes_have_no_tls() {
    says(&server("{number: 1, name: a, protocol: TCP}", "tls: {}"), &["error VG11 spec.servers[0].tls"]);
}

#[test]
fn vg12_only_http_redirects() {
    says(
        &https("mode: SIMPLE, credentialName: a, httpsRedirect: true"),
        &["warning VG12 spec.servers[0].tls.httpsRedirect"],
    );
}

#[test]
fn vg13_old_versions_need_ciphers() {
    let old = |fields: &str| https(&format!("mode: SIMPLE, credentialName: a, minProtocolVersion: TLSV1_1{fields}"));
    says(&old(""), &["warning VG13 spec.servers[0].tls.minProtocolVersion"]);
    good(&old(", cipherSuites: [AES128-SHA]"));
}

#[test]
fn vg14_ciphers_are_known_and_named_once() {
    let ciphers = |list: &str| https(&format!("mode: SIMPLE, credentialName: a, cipherSuites: {list}"));
    good(&ciphers("[ECDHE-RSA-AES128-GCM-SHA256, ALL, '-AES128-SHA']"));
    says(&ciphers("[RC4]"), &["warning VG14 spec.servers[0].tls.cipherSuites[0]"]);
    says(&ciphers("[AES128-SHA, AES128-SHA]"), &["warning VG14 spec.servers[0].tls.cipherSuites[1]"]);
}

#[test]
fn vg15_the_mesh_has_its_own_certificates() {
    good(&https("mode: ISTIO_MUTUAL"));
    for field in [
        "serverCertificate: a",
        "privateKey: a",
        "caCertificates: a",
        "tlsCertificates: [{}]",
        "credentialName: a",
        "credentialNames: [a]",
    ] {
        let name = field.split(':').next().unwrap();
        says(&https(&format!("mode: ISTIO_MUTUAL, {field}")), &[&format!("error VG15 spec.servers[0].tls.{name}")]);
    }
}

#[test]
fn vg16_pass_through_has_no_certificates() {
    for mode in ["PASSTHROUGH", "AUTO_PASSTHROUGH"] {
        good(&https(&format!("mode: {mode}")));
        says(&https(&format!("mode: {mode}, credentialName: a")), &["warning VG16 spec.servers[0].tls.credentialName"]);
        says(&https(&format!("mode: {mode}, caCrl: a")), &["warning VG16 spec.servers[0].tls.caCrl"]);
    }
}

#[test]
fn vg17_certificates_have_one_source() {
    says(
        &https("mode: SIMPLE, credentialName: a, credentialNames: [b]"),
        &["error VG17 spec.servers[0].tls.credentialNames"],
    );
    says(
        &https("mode: SIMPLE, credentialName: a, serverCertificate: b, privateKey: c"),
        &["error VG17 spec.servers[0].tls.credentialName"],
    );
    good(&https("mode: SIMPLE, credentialNames: [a, b]"));
    says(&https("mode: SIMPLE, credentialNames: [a, b, c]"), &["error CRD spec.servers[0].tls.credentialNames"]);
}

#[test]
fn vg18_tls_has_certificates() {
    let path = "error VG18 spec.servers[0].tls";
    says(&https("mode: SIMPLE"), &[path, path]);
    says(&https("mode: SIMPLE, serverCertificate: a"), &[path]);
    good(&https("mode: SIMPLE, serverCertificate: a, privateKey: b"));
    for mode in ["MUTUAL", "OPTIONAL_MUTUAL"] {
        says(&https(&format!("mode: {mode}, serverCertificate: a, privateKey: b")), &[path]);
        good(&https(&format!("mode: {mode}, serverCertificate: a, privateKey: b, caCertificates: c")));
        good(&https(&format!("mode: {mode}, credentialName: a")));
    }
    says(
        &https("mode: SIMPLE, tlsCertificates: [{serverCertificate: a, privateKey: b}, {serverCertificate: c}]"),
        &["error VG18 spec.servers[0].tls.tlsCertificates[1]"],
    );
}

#[test]
fn vg19_two_certificates_are_served() {
    let one = "{serverCertificate: a, privateKey: b}";
    good(&https(&format!("mode: SIMPLE, tlsCertificates: [{one}, {one}]")));
    let three = https(&format!("mode: SIMPLE, tlsCertificates: [{one}, {one}, {one}]"));
    says(&three, &["warning VG19 spec.servers[0].tls.tlsCertificates"]);
}

#[test]
fn vg20_revocation_is_for_client_certificates() {
    let files = "serverCertificate: a, privateKey: b, caCrl: c";
    says(&https(&format!("mode: SIMPLE, {files}")), &["error VG20 spec.servers[0].tls.caCrl"]);
    good(&https(&format!("mode: MUTUAL, caCertificates: d, {files}")));
    // With a Secret the webhook looks no further (VG18).
    good(&https("mode: MUTUAL, credentialName: a, caCrl: c"));
    says(
        &https("mode: PASSTHROUGH, credentialName: a, caCrl: c"),
        &["warning VG16 spec.servers[0].tls.credentialName", "error VG20 spec.servers[0].tls.caCrl"],
    );
}
