//! Connections whose bytes a later publication passes on in another way.

use super::*;
use crate::config::Config;
use crate::gateway::hello::Hello;
use crate::mesh::Mesh;
use crate::snapshot::Snapshot;

const RULES: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  servers:
  - {port: {number: 9000, name: tcp, protocol: TCP}, hosts: ['*']}
  - {port: {number: 9443, name: tls, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs}
spec:
  hosts: ['*']
  gateways: [gw]
  tcp:
  - {route: [{destination: {host: a.test}, weight: 60}, {destination: {host: m.test}, weight: 40}]}
  tls:
  - {match: [{sniHosts: [one.test]}], route: [{destination: {host: a.test}}]}
  - {match: [{sniHosts: [two.test]}], route: [{destination: {host: b.test}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec: {host: a.test, trafficPolicy: {connectionPool: {tcp: {idleTimeout: 600s}}}}
";

fn publish(mesh: &Mesh, rules: &str, hosts: &[&str]) -> Arc<Snapshot> {
    let service = |(number, host): (usize, &&str)| {
        format!(
            "
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: h{number}}}
spec:
  hosts: [{host}]
  ports: [{{number: 9000, name: tcp, protocol: TCP}}, {{number: 9443, name: tls, protocol: TLS}}]
  resolution: STATIC
  endpoints: [{{address: 10.0.0.{number}}}]"
        )
    };
    let text: String = std::iter::once(rules.to_owned()).chain(hosts.iter().enumerate().map(service)).collect();
    assert_eq!(mesh.apply(Config::from_yaml(&text, "it.yaml").unwrap()).unwrap().errors().next(), None);
    mesh.snapshot()
}

/// A connection to `port` whose client asks for `name`, if in TLS.
fn enter(snapshot: &Snapshot, port: u16, name: Option<&str>) -> Entrance {
    let listener = snapshot.listeners().iter().find(|listener| listener.port == port).unwrap();
    let hello = name.map(|name| Hello { server_name: Some(name.into()), protocols: Box::default() });
    Entrance::new(snapshot, listener, None, hello.as_ref())
}

#[test]
fn it_is_gone_when_its_bytes_would_go_elsewhere_or_in_another_way() {
    let with = |policy: &str| format!("trafficPolicy: {{{policy}, connectionPool: {{tcp: {{idleTimeout: 600s}}}}}}");
    let policy = "trafficPolicy: {connectionPool: {tcp: {idleTimeout: 600s}}}";
    let (tunnel, hash, outliers) = (
        with("tunnel: {targetHost: far.test, targetPort: 443}"),
        with("loadBalancer: {consistentHash: {useSourceIp: true}}"),
        with("outlierDetection: {interval: 1s}"),
    );
    let first = "{match: [{sniHosts: [one.test]}], route: [{destination: {host: a.test}}]}";
    for (from, to, of_tcp, of_one) in [
        ("{destination: {host: a.test}, weight: 60}", "{destination: {host: b.test}, weight: 60}", true, false),
        ("{host: a.test}, weight: 60", "{host: a.test, port: {number: 9443}}, weight: 60", true, false),
        ("weight: 60}, {destination: {host: m.test}, weight: 40}", "weight: 60}", true, false),
        ("{host: m.test}, weight: 40", "{host: m.test}, weight: 30", true, false),
        (first, &first.replace("a.test", "b.test"), false, true),
        (first, "{match: [{sniHosts: [one.test, 'x.test']}], route: [{destination: {host: a.test}}]}", false, false),
        ("idleTimeout: 600s", "idleTimeout: 601s", true, true),
        ("idleTimeout: 600s", "idleTimeout: 600s, maxConnectionDuration: 1h", true, true),
        (policy, &tunnel, true, true),
        (policy, &hash, true, true),
        // What is of a cluster, or nothing at all, is no other way.
        (policy, &outliers, false, false),
        ("idleTimeout: 600s", "idleTimeout: 10m, connectTimeout: 3s", false, false),
        ("\napiVersion", "\n# Moved.\n\napiVersion", false, false),
    ] {
        let mesh = Mesh::new();
        let before = publish(&mesh, RULES, &["a.test", "b.test"]);
        let connections = [enter(&before, 9000, None), enter(&before, 9443, Some("one.test"))];
        let other = enter(&before, 9443, Some("two.test"));
        assert!(RULES.contains(from), "{from}");
        let after = publish(&mesh, &RULES.replace(from, to), &["a.test", "b.test"]);
        let gone = connections.each_ref().map(|entrance| entrance.is_gone(&after));
        assert_eq!((gone, other.is_gone(&after)), ([of_tcp, of_one], false), "{from} {to}");
    }
}

#[test]
fn another_order_of_clusters_and_a_destination_that_is_known_now_are_no_other_way() {
    let mesh = Mesh::new();
    let first = |snapshot: &Snapshot| {
        let listener = snapshot.listeners().iter().find(|listener| listener.port == 9000).unwrap();
        listener.streams.find(None).unwrap().clusters.get(0).destination.for_port(9000)
    };
    let before = publish(&mesh, RULES, &["a.test", "b.test"]);
    let connections = [enter(&before, 9000, None), enter(&before, 9443, Some("one.test"))];
    let more = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec: {hosts: [c.test], \
               http: [{route: [{destination: {host: m.test}}]}]}\n---\n";
    let after = publish(&mesh, &format!("{more}{RULES}"), &["m.test", "a.test", "b.test", "c.test"]);
    assert_ne!(first(&before), first(&after), "it shows nothing");
    for connection in connections {
        assert!(!connection.is_gone(&after));
    }
}

#[tokio::test(start_paused = true)]
async fn it_has_the_time_of_one_whose_listener_is_gone() {
    let mesh = Mesh::new();
    let before = publish(&mesh, RULES, &["a.test", "b.test"]);
    let (entrance, behind, drain) = (enter(&before, 9000, None), mesh.clone(), Drain::new());
    let mut draining = drain.draining().or_when(mesh.subscribe(), move || entrance.is_gone(&behind.load()));
    let began = Instant::now();
    let expires = tokio::time::timeout(Duration::from_secs(3600), draining.expires());
    let (expired, ()) = tokio::join!(expires, async {
        sleep(Duration::from_secs(1)).await;
        publish(&mesh, RULES, &["a.test", "b.test"]);
        sleep(Duration::from_secs(1)).await;
        publish(
            &mesh,
            &RULES.replace("{host: a.test}, weight: 60", "{host: b.test}, weight: 60"),
            &["a.test", "b.test"],
        );
    });
    assert_eq!((expired.is_ok(), began.elapsed()), (true, Duration::from_secs(2 + 45)));
}
