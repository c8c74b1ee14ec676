//! VT1 to VT6.

use super::{good, resource, says};

const ROUTE: &str = "route: [{destination: {host: b}}]";

fn tls(rule: &str) -> String {
    resource("VirtualService", &format!("{{hosts: [a.com, '*.b.com'], tls: [{rule}]}}"))
}

fn tcp(rule: &str) -> String {
    resource("VirtualService", &format!("{{hosts: [a.com], tcp: [{rule}]}}"))
}

#[test]
fn vt1_a_tls_rule_has_a_match_and_a_route() {
    says(&tls(&format!("{{{ROUTE}}}")), &["error VT1 spec.tls[0]"]);
    says(&tls("{match: [{sniHosts: [a.com]}]}"), &["error VT1 spec.tls[0]"]);
    good(&tls(&format!("{{match: [{{sniHosts: [a.com]}}], {ROUTE}}}")));
}

#[test]
fn vt2_a_tls_match_has_server_names() {
    says(&tls(&format!("{{match: [{{port: 443}}], {ROUTE}}}")), &["error VT2 spec.tls[0].match[0]"]);
    says(&tls(&format!("{{match: [{{sniHosts: [a_b]}}], {ROUTE}}}")), &["error VT2 spec.tls[0].match[0].sniHosts[0]"]);
    says(
        &tls(&format!("{{match: [{{sniHosts: [1.2.3.4]}}], {ROUTE}}}")),
        &["warning VT2 spec.tls[0].match[0].sniHosts[0]"],
    );
}

#[test]
fn vt3_server_names_are_hosts_of_the_virtual_service() {
    good(&tls(&format!("{{match: [{{sniHosts: [a.com, x.b.com, '*.x.b.com', '*.b.com']}}], {ROUTE}}}")));
    for sni in ["c.com", "b.com", "'*.com'", "'*.a.com'"] {
        says(
            &tls(&format!("{{match: [{{sniHosts: [{sni}]}}], {ROUTE}}}")),
            &["error VT3 spec.tls[0].match[0].sniHosts[0]"],
        );
    }
}

#[test]
fn vt4_connections_have_subnets_ports_labels_and_gateways() {
    let cases = [
        ("destinationSubnets: [10.0.0.0/33]", "destinationSubnets[0]"),
        ("destinationSubnets: [10.0.0.0/8, x]", "destinationSubnets[1]"),
        ("port: 65536", "port"),
        ("sourceLabels: {'a b': c}", "sourceLabels.a b"),
        ("gateways: [/]", "gateways[0]"),
    ];
    for (field, path) in cases {
        says(&tcp(&format!("{{match: [{{{field}}}], {ROUTE}}}")), &[&format!("error VT4 spec.tcp[0].match[0].{path}")]);
        says(
            &tls(&format!("{{match: [{{sniHosts: [a.com], {field}}}], {ROUTE}}}")),
            &[&format!("error VT4 spec.tls[0].match[0].{path}")],
        );
    }
    good(&tcp(&format!("{{match: [{{destinationSubnets: [10.0.0.1, '::/0'], port: 1, gateways: [mesh]}}], {ROUTE}}}")));
}

#[test]
fn vt5_a_tcp_rule_has_a_route() {
    says(&tcp("{match: [{port: 1}]}"), &["error VT5 spec.tcp[0]"]);
    good(&tcp(&format!("{{{ROUTE}}}")));
}

#[test]
fn vt6_destinations_and_weights() {
    says(&tcp("{route: [{weight: 1}]}"), &["error VT6 spec.tcp[0].route[0]"]);
    says(&tcp("{route: [{destination: {host: '*'}}]}"), &["error VT6 spec.tcp[0].route[0].destination.host"]);
    says(&tcp("{route: [{destination: {host: b}, weight: -1}]}"), &["error VT6 spec.tcp[0].route[0].weight"]);
    says(&tcp("{route: [{destination: {host: b}}, {destination: {host: c}}]}"), &["error VT6 spec.tcp[0].route"]);
}
