//! Gateways on real sockets, as the tests of them begin.
#![allow(dead_code, reason = "each test uses its part")]

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

use mesh_router::config::Config;

/// A port that nobody listens on, below those that the system gives to outgoing connections, and no other caller's.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() % 200) as u16 * 100;
    let ports = std::iter::repeat_with(|| 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000);
    // At all addresses: some tests listen there.
    let is_free = |port: &u16| ["127.0.0.1", "0.0.0.0"].iter().all(|ip| TcpListener::bind((*ip, *port)).is_ok());
    ports.take(1000).find(is_free).unwrap()
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
