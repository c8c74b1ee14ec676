//! Answers and rules that are published at one time.

use std::net::IpAddr;

use super::Mesh;
use crate::config::Config;
use crate::upstream::EndpointConfig;

const NAMED: &str = "resolution: DNS";
const STATIC: &str = "resolution: STATIC, endpoints: [{address: 10.0.0.7}]";

fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn apply(mesh: &Mesh, resolution: &str) {
    let text = format!(
        "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: a}}, spec: {{hosts: [a.test], \
         ports: [{{number: 80, name: http, protocol: HTTP}}], {resolution}}}}}"
    );
    mesh.apply(Config::from_yaml(&text, "a.yaml").unwrap()).unwrap();
}

fn addresses(mesh: &Mesh) -> Vec<String> {
    mesh.endpoints().iter().map(|endpoint| endpoint.address.to_string()).collect()
}

/// A mesh whose host is a name with an answer.
fn named() -> Mesh {
    let mesh = Mesh::new();
    apply(&mesh, NAMED);
    mesh.publish_addresses("a.test", Some(vec![ip(1)]));
    assert_eq!(addresses(&mesh), ["10.0.0.1:80"]);
    mesh
}

#[test]
fn an_answer_for_the_rules_of_before_does_not_undo_what_is_published() {
    let (to_static, to_given) = (named(), named());
    for (mesh, expected) in [(to_static, "10.0.0.7:80"), (to_given, "10.0.0.8:80")] {
        let before = mesh.snapshot();
        match expected {
            "10.0.0.7:80" => apply(&mesh, STATIC),
            _ => assert!(mesh.set_endpoints("a.test", 80, vec![EndpointConfig::new((ip(8), 80))])),
        }
        // As by somebody who has loaded the snapshot before the next one was stored.
        before.publish_answers(Some("a.test"));
        assert_eq!(addresses(&mesh), [expected]);
        before.publish_answers(None);
        assert_eq!(addresses(&mesh), [expected]);
    }
}

#[test]
fn what_was_given_does_not_come_back_with_the_snapshot_of_before() {
    let mesh = named();
    mesh.set_endpoints("a.test", 80, vec![EndpointConfig::new((ip(8), 80))]);
    let before = mesh.snapshot();
    mesh.unset_endpoints("a.test", 80);
    before.publish_given("a.test", 80, &[EndpointConfig::new((ip(9), 80))]);
    assert_eq!(addresses(&mesh), [""; 0], "the name is to be looked up anew");
}

#[test]
fn answers_of_the_meantime_hold_as_soon_as_the_rules_are_out() {
    let mesh = named();
    apply(&mesh, NAMED);
    mesh.publish_addresses("a.test", Some(vec![ip(2)]));
    assert_eq!(addresses(&mesh), ["10.0.0.2:80"], "the cluster is the same, and of the rules of now");
}

#[cfg(feature = "file")]
#[test]
fn a_name_is_awaited_as_long_as_any_configuration_awaits_it() {
    let mesh = Mesh::new();
    let _claim = mesh.claim_names(std::time::Duration::ZERO).unwrap();
    let awaiting = |hosts: &str| {
        let text = format!(
            "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: a}}, spec: {{hosts: {hosts}, \
             ports: [{{number: 80, name: http, protocol: HTTP}}], {NAMED}}}}}"
        );
        mesh.prepare(Config::from_yaml(&text, "a.yaml").unwrap(), false).unwrap()
    };
    let needed = || mesh.needed_names().iter().map(|name| name.name().to_string()).collect::<Vec<_>>();
    let (one, other) = (awaiting("[d.test, b.test]"), awaiting("[c.test, a.test, d.test]"));
    assert_eq!(needed(), ["a.test", "b.test", "c.test", "d.test"]);
    drop(one);
    assert_eq!(needed(), ["a.test", "c.test", "d.test"]);
    mesh.publish_addresses("d.test", Some(vec![ip(1)]));
    assert_eq!(mesh.needed_names()[2].addresses(), [ip(1)], "no snapshot needs it yet");
    drop(other);
    assert_eq!(needed(), [""; 0]);
}
