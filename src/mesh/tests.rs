//! Answers and rules that are published at one time.

use std::net::IpAddr;

use super::Mesh;
use crate::compile::Judged;
use crate::config::Config;
use crate::snapshot::NewEndpoints;
use crate::upstream::EndpointConfig;
#[cfg(feature = "client")]
use crate::{snapshot::Snapshot, upstream::Endpoint};

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
    assert_eq!(mesh.apply(Config::from_yaml(&text, "a.yaml").unwrap()).unwrap().errors().next(), None);
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

#[test]
fn endpoints_change_with_the_rules_that_they_come_with() {
    let mesh = Mesh::new();
    let config = |[one, other]: [&str; 2]| {
        let entry = |name: &str, endpoints: &str| {
            format!(
                "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: {name}}}, spec: {{hosts: \
                 [{name}.test], ports: [{{number: 80, name: http, protocol: HTTP}}], resolution: STATIC, endpoints: \
                 [{endpoints}]}}}}\n---\n"
            )
        };
        Config::from_yaml(&(entry("one", one) + &entry("other", other)), "a.yaml").unwrap()
    };
    const SOME: &str = "{address: 10.0.0.7}";
    assert_eq!(mesh.apply(config([SOME, ""])).unwrap().errors().next(), None);
    let before = addresses(&mesh);
    let compiled = |endpoints| {
        let version = mesh.snapshot().version() + 1;
        mesh.lock().publish(Judged::new(config(endpoints)), version).0
    };
    drop(compiled(["{address: 10.0.0.8}", SOME]));
    assert_eq!(addresses(&mesh), before, "that one is given up");
    let next = compiled(["", SOME]);
    assert_eq!(addresses(&mesh), before, "it is not out yet");
    mesh.store(next, mesh.report().as_ref().clone());
    assert_eq!(mesh.snapshot().version(), 2);
    let of = |host: &str| mesh.endpoints().iter().filter(|endpoint| &*endpoint.cluster.host == host).count();
    assert_eq!((of("one.test"), of("other.test")), (0, 1));
    // Rules of before find no cluster empty that is about to be left, nor rules of now one that is about to be filled.
    let mut next = compiled([SOME, ""]);
    let hosts = |new: NewEndpoints| new.iter().map(|(cluster, _)| cluster.key.host.to_string()).collect::<Vec<_>>();
    assert_eq!(next.take_endpoints().map(hosts), [["one.test"], ["other.test"]]);
    assert_eq!(next.take_endpoints().map(hosts), [[""; 0]; 2]);
}

#[cfg(feature = "client")]
#[test]
fn connections_are_kept_until_what_makes_others_of_them_is_out() {
    let mesh = Mesh::new();
    let config = |address: u8, timeout: &str| {
        let text = format!(
            "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: a}}, spec: {{hosts: [a.test], \
             ports: [{{number: 80, name: http, protocol: HTTP}}], resolution: STATIC, endpoints: [{{address: \
             10.0.0.{address}}}]}}}}\n---\n{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: \
             {{name: a}}, spec: {{host: a.test, trafficPolicy: {{connectionPool: {{tcp: {{connectTimeout: \
             {timeout}}}}}}}}}}}"
        );
        Config::from_yaml(&text, "a.yaml").unwrap()
    };
    let compiled = |config| {
        let version = mesh.snapshot().version() + 1;
        mesh.lock().publish(Judged::new(config), version).0
    };
    let endpoint = |snapshot: &Snapshot| snapshot.clusters().next().unwrap().endpoints().endpoints()[0].clone();
    let is_kept = |endpoint: &Endpoint| endpoint.standing().is(endpoint.basis());
    assert_eq!(mesh.apply(config(1, "1s")).unwrap().errors().next(), None);
    let first = endpoint(&mesh.snapshot());
    assert!(is_kept(&first));
    // Nothing of these comes out.
    assert_eq!(mesh.check(config(1, "2s")).errors().next(), None);
    mesh.apply_strict(config(1, "2s, unknown: 1")).unwrap_err();
    let given_up = compiled(config(1, "2s"));
    assert!(is_kept(&first) && is_kept(&endpoint(&given_up)));
    drop(given_up);
    let gone = endpoint(&compiled(config(2, "2s")));
    assert!(is_kept(&first));
    for (timeout, last) in [("3s", first), ("1s", gone)] {
        let before = endpoint(&mesh.snapshot());
        let next = compiled(config(1, timeout));
        let after = endpoint(&next);
        assert!(is_kept(&before) && is_kept(&after), "{timeout}: there may be requests by either");
        // As by answers of the meantime.
        mesh.snapshot().clusters().for_each(|cluster| cluster.publish(vec![EndpointConfig::new((ip(3), 80))]));
        assert!(!is_kept(&before) && is_kept(&after), "{timeout}");
        mesh.store(next, mesh.report().as_ref().clone());
        assert!(!is_kept(&before) && is_kept(&after) && !is_kept(&last), "{timeout}");
    }
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
