//! VE1 to VE16.

use super::{good, resource, says};

const HTTP: &str = "ports: [{number: 80, name: http, protocol: HTTP}]";

fn entry(fields: &str) -> String {
    resource("ServiceEntry", &format!("{{hosts: [a.com], {fields}}}"))
}

fn fixed(fields: &str) -> String {
    entry(&format!("resolution: STATIC, {HTTP}, {fields}"))
}

fn dns(fields: &str) -> String {
    entry(&format!("resolution: DNS, {HTTP}, {fields}"))
}

#[test]
fn ve1_a_selector_has_plain_labels() {
    good(&fixed("workloadSelector: {labels: {a: b}}"));
    says(&fixed("workloadSelector: {}"), &["warning VE1 spec.workloadSelector.labels"]);
    says(&fixed("workloadSelector: {labels: {'': b}}"), &["error VE1 spec.workloadSelector.labels"]);
    says(&fixed("workloadSelector: {labels: {a: 'b*'}}"), &["error VE1 spec.workloadSelector.labels.a"]);
    let labels = |count| (0..count).map(|number| format!("a{number}: b")).collect::<Vec<_>>().join(", ");
    good(&fixed(&format!("workloadSelector: {{labels: {{{}}}}}", labels(256))));
    let many = fixed(&format!("workloadSelector: {{labels: {{{}}}}}", labels(257)));
    says(&many, &["error CRD spec.workloadSelector.labels"]);
    let long = fixed(&format!("workloadSelector: {{labels: {{a: {}}}}}", "b".repeat(64)));
    says(&long, &["error CRD spec.workloadSelector.labels.a"]);
}

#[test]
fn ve2_a_selector_or_endpoints() {
    says(
        &fixed("workloadSelector: {labels: {a: b}}, endpoints: [{address: 1.2.3.4}]"),
        &["error VE2 spec.workloadSelector"],
    );
}

#[test]
fn ve3_hosts_are_names() {
    let hosts = |hosts: &str| resource("ServiceEntry", &format!("{{hosts: {hosts}, resolution: STATIC, {HTTP}}}"));
    good(&hosts("[a, b.com, '*.c.com']"));
    says(&hosts("[]"), &["error VE3 spec"]);
    says(&hosts("['*']"), &["error VE3 spec.hosts[0]"]);
    says(&hosts("[a_b]"), &["error VE3 spec.hosts[0]"]);
    says(&hosts("['*foo.com']"), &["warning VE3 spec.hosts[0]"]);
    let many = (0..257).map(|number| format!("h{number}")).collect::<Vec<_>>().join(", ");
    says(&hosts(&format!("[{many}]")), &["error CRD spec.hosts"]);
}

#[test]
fn ve4_addresses_are_addresses() {
    good(&fixed("addresses: [1.2.3.4, 10.0.0.0/8]"));
    good(&dns("addresses: [1.2.3.4]"));
    says(&fixed("addresses: [a]"), &["error VE4 spec.addresses[0]"]);
    says(&dns("addresses: [1.2.3.4, 10.0.0.0/8]"), &["error VE4 spec.addresses[1]"]);
    let long = "1".repeat(65);
    says(&fixed(&format!("addresses: ['{long}']")), &["error CRD spec.addresses[0]", "error VE4 spec.addresses[0]"]);
}

#[test]
fn ve5_ports_have_numbers_names_and_protocols() {
    let ports = |ports: &str| entry(&format!("resolution: STATIC, ports: [{ports}]"));
    good(&ports("{number: 80, name: a, protocol: http, targetPort: 8080}, {number: 81, name: b}"));
    says(&ports("{number: 80, name: a}, {number: 81, name: a}"), &["error VE5 spec.ports[1].name"]);
    says(&ports("{number: 80, name: a}, {number: 80, name: b}"), &["error VE5 spec.ports[1].number"]);
    says(&ports("{number: 80}"), &["error VE5 spec.ports[0]"]);
    says(&ports("{number: 80, name: a_b}"), &["error VE5 spec.ports[0].name"]);
    says(&ports("{number: 80, name: a, protocol: QUIC}"), &["error VE5 spec.ports[0].protocol"]);
    says(&ports("{name: a}"), &["error VE5 spec.ports[0].number"]);
    says(&ports("{number: 80, name: a, targetPort: 65536}"), &["error VE5 spec.ports[0].targetPort"]);
}

#[test]
fn ve6_tcp_needs_addresses() {
    let tcp = "ports: [{number: 80, name: a, protocol: TCP}]";
    says(&entry(tcp), &["warning VE6 spec.ports[0]"]);
    good(&entry(&format!("{tcp}, addresses: [1.2.3.4]")));
    let allocated = entry(&format!("{tcp}, resolution: STATIC"));
    good(&allocated);
    let refused = allocated
        .replace("name: a}, spec", "name: a, labels: {networking.istio.io/enable-autoallocate-ip: 'False'}}, spec");
    says(&refused, &["warning VE6 spec.ports[0]"]);
}

#[test]
fn ve7_none_has_no_endpoints() {
    good(&entry(HTTP));
    says(&entry(&format!("{HTTP}, endpoints: [{{address: 1.2.3.4}}]")), &["error VE7 spec.endpoints"]);
    says(&entry(&format!("{HTTP}, workloadSelector: {{labels: {{a: b}}}}")), &["warning VE7 spec.workloadSelector"]);
}

#[test]
fn ve8_static_endpoints_are_addresses() {
    good(&fixed("endpoints: [{address: 1.2.3.4, ports: {http: 8080}}, {address: 'unix:///a'}]"));
    says(&fixed("endpoints: [{address: a.com}]"), &["error VE8 spec.endpoints[0].address"]);
    says(&fixed("endpoints: [{address: 1.2.3.4, ports: {other: 1}}]"), &["error VE8 spec.endpoints[0].ports.other"]);
    says(&fixed("endpoints: [{}]"), &["error VW1 spec.endpoints[0]"]);
    says(&fixed("endpoints: [{network: n}]"), &["warning VW1 spec.endpoints[0].network"]);
    says(&fixed("endpoints: [{address: 'unix://a'}]"), &["error VW2 spec.endpoints[0].address"]);
    let two = "resolution: STATIC, ports: [{number: 1, name: a, protocol: HTTP}, {number: 2, name: b, protocol: HTTP}]";
    says(&entry(&format!("{two}, endpoints: [{{address: 'unix:///a'}}]")), &["error VE8 spec.endpoints[0].address"]);
}

#[test]
fn ve9_dns_without_endpoints_resolves_its_hosts() {
    good(&dns(""));
    let wildcard =
        |fields: &str| resource("ServiceEntry", &format!("{{hosts: ['*.a.com'], resolution: DNS, {HTTP}, {fields}}}"));
    says(&wildcard(""), &["error VE9 spec.hosts[0]"]);
    good(&wildcard("endpoints: [{address: b.com}]"));
}

#[test]
fn ve10_round_robin_resolves_one_name() {
    let rr = |endpoints: &str| entry(&format!("resolution: DNS_ROUND_ROBIN, {HTTP}, endpoints: [{endpoints}]"));
    good(&rr("{address: b.com}"));
    says(&rr("{address: b.com}, {address: c.com}"), &["error VE10 spec.endpoints"]);
}

#[test]
fn ve11_dns_endpoints_are_names() {
    good(&dns("endpoints: [{address: b.com, ports: {http: 1}, labels: {a: b}}, {address: 1.2.3.4}]"));
    says(&dns("endpoints: [{address: '*.b.com'}]"), &["error VE11 spec.endpoints[0].address"]);
    says(&dns("endpoints: [{address: 'unix:///a'}]"), &["error VE11 spec.endpoints[0].address"]);
    says(&dns("endpoints: [{address: b.com, ports: {other: 1}}]"), &["error VE11 spec.endpoints[0].ports.other"]);
    says(&dns("endpoints: [{address: b.com, labels: {'a b': c}}]"), &["error VW4 spec.endpoints[0].labels.a b"]);
}

#[test]
fn ve12_tcp_connections_do_not_name_their_host() {
    let two = |address: &str| {
        resource(
            "ServiceEntry",
            &format!(
                "{{hosts: [a.com, b.com], resolution: DNS, ports: [{{number: 443, name: tls, protocol: TLS}}]{address}}}"
            ),
        )
    };
    says(&two(", addresses: [1.2.3.4]"), &["warning VE12 spec.addresses"]);
    good(&two(""));
}

#[test]
fn ve13_dynamic_dns_resolves_what_is_asked_for() {
    let dynamic = |hosts: &str, fields: &str| {
        resource("ServiceEntry", &format!("{{hosts: [{hosts}], resolution: DYNAMIC_DNS, {fields}}}"))
    };
    good(&dynamic("'*.a.com', '*foo.com'", HTTP));
    says(&dynamic("a.com", HTTP), &["error VE13 spec.hosts[0]"]);
    says(&dynamic("'*.a.com'", &format!("{HTTP}, addresses: [1.2.3.4]")), &["error VE13 spec.addresses"]);
    says(&dynamic("'*.a.com'", &format!("{HTTP}, endpoints: [{{address: 1.2.3.4}}]")), &["error VE13 spec.endpoints"]);
    says(
        &dynamic("'*.a.com'", "ports: [{number: 1, name: a, protocol: HTTPS}]"),
        &["error VE13 spec.ports[0].protocol"],
    );
    let internal = dynamic("'*.a.com'", &format!("{HTTP}, location: MESH_INTERNAL"));
    good(&internal);
    let waypoint = internal.replace("name: a}, spec", "name: a, labels: {istio.io/use-waypoint: w}}, spec");
    says(&waypoint, &["error VE13 spec.location"]);
}

#[test]
fn ve15_several_hosts_are_told_apart() {
    let two = |resolution: &str, protocol: &str| {
        let ports = format!("ports: [{{number: 1, name: a, protocol: {protocol}}}], addresses: [1.2.3.4]");
        resource("ServiceEntry", &format!("{{hosts: [a.com, b.com], resolution: {resolution}, {ports}}}"))
    };
    good(&two("STATIC", "HTTP"));
    good(&two("STATIC", "TLS"));
    good(&two("NONE", "TCP"));
    says(&two("STATIC", "TCP"), &["error VE15 spec.ports[0]"]);
    says(&two("STATIC", "''"), &["error VE15 spec.ports[0]"]);
}

#[test]
fn ve16_service_entries_can_be_for_nobody() {
    good(&fixed("exportTo: ['~']"));
    good(&fixed("exportTo: [., other]"));
    says(&fixed("exportTo: ['~', other]"), &["error VE16 spec.exportTo[0]"]);
    says(&fixed("exportTo: ['*', .]"), &["error VE16 spec.exportTo[0]"]);
}
