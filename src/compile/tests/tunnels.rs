//! Which rules lead through a tunnel.

use super::*;

const DOCUMENTS: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: proxy}
spec:
  hosts: [proxy.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 90, name: tcp, protocol: TCP}]
  endpoints: [{address: 10.0.0.9}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: direct}
spec:
  hosts: [direct.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 90, name: tcp, protocol: TCP}]
  endpoints: [{address: 10.0.0.9}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: far}
spec:
  hosts: [far.test]
  resolution: NONE
  ports: [{number: 443, name: tls, protocol: TLS}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: proxy}
spec:
  host: proxy.test
  trafficPolicy:
    portLevelSettings: [{port: {number: 90}, loadBalancer: {simple: RANDOM}}]
    tunnel: {targetHost: whole.test, targetPort: 1}
  subsets:
  - {name: own, trafficPolicy: {tunnel: {protocol: POST, targetHost: '2001:db8::1', targetPort: 2}}}
  - {name: none, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
  - {name: bare}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  servers: [{port: {number: 90, name: tcp, protocol: TCP}, hosts: ['*']}]
---
";

const IDLE: &str = "without effect: ";

fn to(host: &str, subset: &str) -> String {
    format!("{{destination: {{host: {host}, subset: '{subset}', port: {{number: 90}}}}, weight: 1}}")
}

/// What is published, of which everything is good.
fn publish(rules: &str) -> (Arc<Snapshot>, Report) {
    let (snapshot, report) = published(&format!("{DOCUMENTS}{}", virtual_service("it", rules)), MeshOptions::default());
    assert_eq!(report.errors().count(), 0, "{report}");
    (snapshot, report)
}

/// What is asked for on connections that a `tcp` rule sends to these destinations, and the tunnels that none is led
/// through.
fn of_route(destinations: &[String]) -> (Option<String>, Vec<String>) {
    let rules = format!("hosts: ['*']\ngateways: [gw]\ntcp: [{{route: [{}]}}]", destinations.join(", "));
    let (snapshot, report) = publish(&rules);
    let idle = report.problems().iter().filter(|problem| problem.message.starts_with(IDLE));
    let idle = idle.map(|problem| problem.path.clone()).collect();
    let route = snapshot.listeners()[0].streams.find(None).unwrap();
    (route.tunnel.as_ref().map(|tunnel| tunnel.to_string()), idle)
}

#[test]
fn tu1_a_tunnel_is_of_the_subset_that_a_rule_names_else_of_the_host() {
    let (whole, own) = ("spec.trafficPolicy.tunnel", "spec.subsets[0].trafficPolicy.tunnel");
    for (destinations, tunnel, idle) in [
        // A port has no tunnel, and takes none away.
        (vec![to("proxy.test", "")], Some("CONNECT whole.test:1"), vec![own]),
        (vec![to("proxy.test", "own")], Some("POST [2001:db8::1]:2"), vec![whole]),
        (vec![to("proxy.test", "none")], None, vec![whole, own]),
        (vec![to("proxy.test", "bare")], None, vec![whole, own]),
        // Of several destinations the first one's host says what all have.
        (vec![to("proxy.test", "own"), to("direct.test", "")], Some("CONNECT whole.test:1"), vec![own]),
        (vec![to("direct.test", ""), to("proxy.test", "")], None, vec![whole, own]),
    ] {
        let found = of_route(&destinations);
        let idle = idle.into_iter().map(str::to_owned).collect();
        assert_eq!(found, (tunnel.map(str::to_owned), idle), "{destinations:?}");
    }
}

#[test]
fn tu2_http_rules_go_through_none_and_that_is_said() {
    let rules = "hosts: [it.test]\nhttp: [{route: [{destination: {host: proxy.test, port: {number: 80}}}]}]";
    let (snapshot, report) = publish(rules);
    let route = route(&snapshot, "http://it.test/").unwrap();
    assert_eq!(destination(&snapshot, &route), "proxy.test");
    assert_eq!(forward(&route).tunnel, None);
    let idle = report.problems().iter().filter(|problem| problem.message.starts_with(IDLE));
    // The server of connections has no rule here.
    let idle: Vec<_> = idle.filter(|problem| problem.path != "spec.servers[0].port.protocol").collect();
    let paths: Vec<_> = idle.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["spec.trafficPolicy.tunnel", "spec.subsets[0].trafficPolicy.tunnel"]);
    assert!(idle.iter().all(|problem| problem.message.ends_with("`http` rules go through no tunnel")), "{report}");
}

#[test]
fn tls_rules_of_a_client_lead_through_them_too() {
    let rules = format!(
        "hosts: [far.test]\ntls: [{{match: [{{sniHosts: [far.test]}}], route: [{}]}}]",
        to("proxy.test", "own")
    );
    let (snapshot, _) = publish(&rules);
    let route = snapshot.mesh_tls.find("far.test", 443).unwrap();
    assert_eq!(forward(route).tunnel.as_ref().unwrap().to_string(), "POST [2001:db8::1]:2");
}
