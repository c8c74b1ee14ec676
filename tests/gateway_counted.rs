//! What connections of TCP are counted as in Istio's metrics.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

#[path = "support/gateway.rs"]
mod support;

use std::num::NonZeroUsize;
use std::time::Duration;

use mesh_router::Mesh;
use mesh_router::config::Config;
use mesh_router::gateway::Server;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use support::free_port;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// A gateway's port for each of these hosts of the namespace `shop`, those behind at the port `upstream`, but for `dead`,
/// where nobody is.
fn rules(ports: &[(&str, u16)], upstream: u16, dead: u16) -> Config {
    let service = |host: &str, rest: &str| {
        format!(
            "
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {host}, namespace: shop}}
spec: {{hosts: [{host}.svc], ports: [{{number: 80, name: tcp, protocol: TCP}}], resolution: STATIC, {rest}}}"
        )
    };
    let at = |port: u16| format!("endpoints: [{{address: 127.0.0.1, ports: {{tcp: {port}}}}}]");
    let mut text = [
        service("echo", &at(upstream)),
        service("sole", &at(upstream)),
        service("dead", &at(dead)),
        service("none", "workloadSelector: {labels: {app: none}}"),
    ]
    .concat();
    text += "
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: sole, namespace: shop}
spec: {host: sole.svc, trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}}";
    for (host, port) in ports {
        text += &format!(
            "
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {host}}}
spec: {{hosts: ['*'], gateways: [{host}], tcp: [{{route: [{{destination: {{host: {host}.svc}}}}]}}]}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {host}}}
spec: {{servers: [{{port: {{number: {port}, name: tcp, protocol: TCP}}, bind: 127.0.0.1, hosts: ['*']}}]}}"
        );
    }
    Config::from_yaml(&text, "rules.yaml").unwrap()
}

/// Sends back what comes, twice, for as long as anything does.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 64];
                while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                    stream.write_all(&bytes[..read].repeat(2)).await.unwrap();
                }
            });
        }
    });
    port
}

/// What is counted of the connections to `service` with these flags: how many were opened and closed, and the bytes that
/// were received and sent.
fn counted(text: &str, service: &str, flags: &str) -> [u64; 4] {
    ["connections_opened", "connections_closed", "received_bytes", "sent_bytes"].map(|what| {
        let counted = |line: &&str| {
            line.starts_with(&format!("istio_tcp_{what}_total{{"))
                && line.contains(&format!("destination_service=\"{service}\""))
                && line.contains(&format!("response_flags=\"{flags}\""))
        };
        let line = text.lines().find(counted);
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    })
}

/// Waits until that is counted.
async fn until(recorder: &PrometheusHandle, service: &str, flags: &str, expected: [u64; 4]) {
    let reached = async {
        while counted(&recorder.render(), service, flags) != expected {
            tokio::task::yield_now().await;
        }
    };
    let reached = timeout(Duration::from_secs(10), reached).await;
    assert!(reached.is_ok(), "{service} {flags}: {:?}", counted(&recorder.render(), service, flags));
}

/// A connection that has been answered.
async fn answered(port: u16) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    client.write_all(b"ping").await.unwrap();
    client.read_exact(&mut [0; 8]).await.unwrap();
    client
}

/// One that is closed without a word.
async fn refused(port: u16) {
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    assert!(!matches!(client.read(&mut [0; 8]).await, Ok(1..)));
}

#[tokio::test]
async fn connections_are_counted_as_they_begin_and_end_and_bytes_as_they_move() {
    let recorder = PrometheusBuilder::new().install_recorder().unwrap();
    let ports = ["echo", "sole", "dead", "none", "nowhere"].map(|host| (host, free_port()));
    let mesh = Mesh::new();
    assert_eq!(mesh.apply(rules(&ports, echo().await, free_port())).unwrap().errors().next(), None);
    let server = Server::builder(&mesh).workers(NonZeroUsize::MIN).start().await.unwrap();
    let [echo, sole, dead, none, nowhere] = ports.map(|(_, port)| port);

    let client = answered(echo).await;
    until(&recorder, "echo.svc", "-", [1, 0, 4, 8]).await;
    drop(client);
    until(&recorder, "echo.svc", "-", [1, 1, 4, 8]).await;
    let text = recorder.render();
    let opened = text.lines().find(|line| line.starts_with("istio_tcp_connections_opened_total{")).unwrap();
    for label in [
        r#"reporter="source""#,
        r#"request_protocol="tcp""#,
        r#"destination_service_name="echo.svc""#,
        r#"destination_service_namespace="shop""#,
        r#"connection_security_policy="unknown""#,
    ] {
        assert!(opened.contains(label), "{label} in {opened}");
    }
    assert!(!opened.contains("response_code") && !opened.contains("grpc"), "{opened}");

    let first = answered(sole).await;
    refused(sole).await;
    until(&recorder, "sole.svc", "UO", [1, 1, 0, 0]).await;
    until(&recorder, "sole.svc", "-", [1, 0, 4, 8]).await;
    drop(first);
    for (port, service, flags) in [(dead, "dead.svc", "UF,URX"), (none, "none.svc", "UH"), (nowhere, "unknown", "NC")] {
        refused(port).await;
        until(&recorder, service, flags, [1, 1, 0, 0]).await;
    }
    server.drain(Duration::ZERO).await;
}
