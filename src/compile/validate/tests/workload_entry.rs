//! VW1 to VW4.

use super::{good, lines, resource, says};

fn entry(fields: &str) -> String {
    resource("WorkloadEntry", &format!("{{{fields}}}"))
}

#[test]
fn vw1_there_is_an_address_or_a_network() {
    says(&entry("labels: {a: b}"), &["error VW1 spec"]);
    says(&entry("network: n"), &["warning VW1 spec.network"]);
    assert!(lines(&entry("network: n")).contains("it is left out: Istio would reach it"));
    good(&entry("address: 1.2.3.4, network: n"));
}

#[test]
fn vw2_unix_sockets_are_files_without_ports() {
    good(&entry("address: 'unix:///run/a'"));
    good(&entry("address: 'unix://@a'"));
    says(&entry("address: 'unix://run/a'"), &["error VW2 spec.address"]);
    says(&entry("address: 'unix:///run/'"), &["error VW2 spec.address"]);
    says(&entry("address: 'unix:///run/a', ports: {http: 80}"), &["error VW2 spec.ports"]);
}

#[test]
fn vw3_an_address_is_one() {
    for address in ["a.com", "a", "'::1'"] {
        good(&entry(&format!("address: {address}")));
    }
    for address in ["'*.a.com'", "a_b", "1.2.3"] {
        says(&entry(&format!("address: {address}")), &["error VW3 spec.address"]);
    }
}

#[test]
fn vw4_ports_and_labels_are_well_formed() {
    good(&entry("address: a, ports: {http: 80}, labels: {a: b}"));
    says(&entry("address: a, ports: {ht_tp: 80}"), &["error VW4 spec.ports.ht_tp"]);
    says(&entry("address: a, ports: {http: 0}"), &["error VW4 spec.ports.http"]);
    says(&entry("address: a, labels: {a: ' '}"), &["error VW4 spec.labels.a"]);
}

#[test]
fn crd_limits_of_workloads() {
    let ports = (0..129).map(|number| format!("p{number}: 1")).collect::<Vec<_>>().join(", ");
    says(&entry(&format!("address: a, ports: {{{ports}}}")), &["error CRD spec.ports"]);
    let long = "a".repeat(254);
    says(&entry(&format!("address: a, serviceAccount: {long}")), &["error CRD spec.serviceAccount"]);
    let name = "a".repeat(62);
    good(&entry(&format!("address: a, ports: {{{name}: 1}}")));
    says(&entry(&format!("address: a, ports: {{{name}a: 1}}")), &[&format!("error CRD spec.ports.{name}a")]);
    says(&entry("address: 'unix://@a/'"), &["error CRD spec.address"]);
}
