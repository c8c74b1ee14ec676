//! Gateways on real sockets, as the tests of them begin.
#![allow(dead_code, reason = "each test uses its part")]

use mesh_router::config::Config;

/// A port of 127.0.0.1 that nobody listens on.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Gateways on `ports` in front of one upstream, all of them of HTTP.
pub(crate) fn rules(ports: &[u16], upstream: u16) -> Config {
    rules_of("HTTP", ports, "HTTP", upstream)
}

/// The same, of which each side speaks its protocol.
pub(crate) fn rules_of(spoken: &str, ports: &[u16], by_upstream: &str, upstream: u16) -> Config {
    let mut text = format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: vs}}
spec:
  hosts: ['*']
  gateways: [gw]
  http:
  - route:
    - destination: {{host: a.test}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: se}}
spec:
  hosts: [a.test]
  ports: [{{number: 80, name: http, protocol: {by_upstream}}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{http: {upstream}}}}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: gw}}
spec:
  servers:"
    );
    for port in ports {
        text += &format!(
            "\n  - port: {{number: {port}, name: http-{port}, protocol: {spoken}}}\n    bind: 127.0.0.1\n    hosts: ['*']"
        );
    }
    Config::from_yaml(&text, "rules.yaml").unwrap()
}
