//! A gateway on real sockets: opened, changed, used and drained.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

#[path = "support/gateway.rs"]
mod support;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_router::Mesh;
use mesh_router::config::{Config, Resolution};
use mesh_router::gateway::Server;
use mesh_router::options::MeshOptions;
use support::{free_port, rules, rules_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(10);

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn mesh(ports: &[u16], upstream: u16) -> Mesh {
    let mesh = Mesh::new();
    assert!(!mesh.apply_strict(rules(ports, upstream)).unwrap().fails_check());
    mesh
}

/// Someone who answers requests when told to.
struct Upstream {
    port: u16,
    requests: mpsc::UnboundedReceiver<(String, TcpStream)>,
}

impl Upstream {
    /// Hands out each request with the connection it came on.
    async fn start() -> Self {
        let listener = TcpListener::bind(local(0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    let head = read_head(&mut stream).await;
                    let _ = sender.send((head, stream));
                });
            }
        });
        Self { port, requests }
    }

    /// Answers every request with its name and closes.
    async fn always() -> u16 {
        let mut upstream = Self::start().await;
        let port = upstream.port;
        tokio::spawn(async move {
            while let Some((_, stream)) = upstream.requests.recv().await {
                answer(stream).await;
            }
        });
        port
    }

    async fn next(&mut self) -> (String, TcpStream) {
        timeout(LONG, self.requests.recv()).await.expect("a request arrives").unwrap()
    }
}

async fn answer(mut stream: TcpStream) {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await.unwrap();
}

/// Reads to the end of a head.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

async fn send(port: u16, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(local(port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn read_all(mut stream: TcpStream) -> String {
    let mut text = String::new();
    timeout(LONG, stream.read_to_string(&mut text)).await.expect("the connection ends").unwrap();
    text
}

async fn get(port: u16) -> String {
    read_all(send(port, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await).await
}

/// A connection whose first request has been answered.
async fn answered(port: u16, upstream: &mut Upstream) -> TcpStream {
    let mut stream = send(port, "GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    answer(upstream.next().await.1).await;
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200"));
    stream.read_exact(&mut [0; 2]).await.unwrap();
    stream
}

/// Waits until the port is open, or closed.
async fn until(port: u16, open: bool) {
    let reached = async {
        while TcpStream::connect(local(port)).await.is_ok() != open {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, reached).await.unwrap_or_else(|_| panic!("port {port} is open: {}", !open));
}

async fn start(mesh: &Mesh) -> Server {
    let workers = NonZeroUsize::new(2).unwrap();
    Server::builder(mesh).workers(workers).admin(local(0)).start().await.unwrap()
}

#[tokio::test]
async fn requests_go_through_every_worker() {
    let port = free_port();
    let mesh = mesh(&[port], Upstream::always().await);
    let server = start(&mesh).await;
    for _ in 0..20 {
        let answer = get(port).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
        assert!(answer.contains("server: istio-envoy"), "{answer}");
    }
    server.drain(LONG).await;
    until(port, false).await;
}

#[tokio::test]
async fn ports_that_the_system_chooses_are_told() {
    let mesh = mesh(&[80, 8080], Upstream::always().await);
    let server = Server::builder(&mesh).map_port(80, 0).map_port(8080, 0).start().await.unwrap();
    let ports = [80, 8080].map(|port| server.address(port).unwrap().port());
    assert_ne!(ports[0], ports[1]);
    for port in ports {
        assert!(get(port).await.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(server.address(81), None);

    assert_eq!(mesh.apply(rules(&[8080], Upstream::always().await)).unwrap().errors().next(), None);
    until(ports[0], false).await;
    assert_eq!((server.address(80), server.address(8080).unwrap().port()), (None, ports[1]));
}

#[tokio::test]
async fn listeners_follow_the_mesh() {
    let (first, second) = (free_port(), free_port());
    let mut upstream = Upstream::start().await;
    let mesh = mesh(&[first], upstream.port);
    let server = start(&mesh).await;

    // A connection of a listener that stays lives on; one more listener is opened.
    let (mut kept, mut idle) = (answered(first, &mut upstream).await, answered(first, &mut upstream).await);
    assert_eq!(mesh.apply(rules(&[first, second], upstream.port)).unwrap().errors().next(), None);
    until(second, true).await;
    kept.write_all(b"GET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    let (_, held) = upstream.next().await;

    // The listener goes; the request in flight does not, and who has a connection may ask once more.
    assert_eq!(mesh.apply(rules(&[second], upstream.port)).unwrap().errors().next(), None);
    until(first, false).await;
    answer(held).await;
    let last = read_all(kept).await;
    assert!(last.starts_with("HTTP/1.1") && last.ends_with("ok"), "{last}");
    idle.write_all(b"GET /3 HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    let late = read_all(idle).await;
    assert!(late.starts_with("HTTP/1.1 404") && late.contains("\r\nconnection: close\r\n"), "{late}");

    // And it comes back.
    assert_eq!(mesh.apply(rules(&[first, second], upstream.port)).unwrap().errors().next(), None);
    until(first, true).await;
    server.drain(LONG).await;
}

#[tokio::test]
async fn what_is_spoken_changes_behind_an_open_socket() {
    let mut upstream = Upstream::start().await;
    let mesh = mesh(&[80], upstream.port);
    let server = Server::builder(&mesh).map_port(80, 0).map_port(81, 0).start().await.unwrap();
    let address = server.address(80).unwrap();
    let mut idle = answered(address.port(), &mut upstream).await;
    assert_eq!(mesh.apply(rules_of("GRPC-WEB", &[80, 81], "HTTP", upstream.port)).unwrap().errors().next(), None);
    let followed = async {
        while server.address(81).is_none() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, followed).await.unwrap();
    // Another socket would have another port.
    assert_eq!(server.address(80), Some(address));
    let fresh = answered(address.port(), &mut upstream).await;
    idle.write_all(b"GET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    answer(upstream.next().await.1).await;
    let last = read_all(idle).await;
    assert!(last.starts_with("HTTP/1.1 200") && last.contains("\r\nconnection: close\r\n"), "{last}");
    drop(fresh);
}

#[tokio::test]
async fn a_port_that_is_taken_refuses_the_start_and_names_the_gateway() {
    let taken = std::net::TcpListener::bind(local(0)).unwrap();
    let (port, free) = (taken.local_addr().unwrap().port(), free_port());
    let mesh = mesh(&[free, port], 1);
    let error = Server::builder(&mesh).start().await.unwrap_err();
    let text = error.to_string();
    assert!(error.is_io(), "{text}");
    assert!(text.contains("rules.yaml:") && text.contains(&port.to_string()), "{text}");
    until(free, false).await;
}

#[tokio::test]
async fn a_port_that_is_taken_later_leaves_the_others_alone() {
    let taken = std::net::TcpListener::bind(local(0)).unwrap();
    let (first, bad, third) = (free_port(), taken.local_addr().unwrap().port(), free_port());
    let upstream = Upstream::always().await;
    let mesh = mesh(&[first], upstream);
    let server = start(&mesh).await;
    assert_eq!(mesh.apply(rules(&[first, bad, third], upstream)).unwrap().errors().next(), None);
    until(third, true).await;
    assert!(get(first).await.starts_with("HTTP/1.1 200"));
    assert!(server.is_ready());
}

#[tokio::test]
async fn ports_may_be_mapped() {
    let port = free_port();
    let mesh = mesh(&[80], Upstream::always().await);
    let _server = Server::builder(&mesh).map_port(80, port).start().await.unwrap();
    assert!(get(port).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn buffers_have_a_size_that_can_be() {
    for bytes in [0, 8191, usize::MAX] {
        let mesh = mesh(&[80], Upstream::always().await);
        let server = Server::builder(&mesh).map_port(80, 0).buffer_size(bytes).start().await.unwrap();
        assert!(get(server.address(80).unwrap().port()).await.starts_with("HTTP/1.1 200"), "{bytes}");
    }
}

#[tokio::test]
async fn a_drain_is_not_ready_and_finishes_what_is_in_flight() {
    let port = free_port();
    let mut upstream = Upstream::start().await;
    let mesh = mesh(&[port], upstream.port);
    let server = start(&mesh).await;
    let admin = server.admin_address().unwrap().port();
    let ready = "GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert!(read_all(send(admin, ready).await).await.starts_with("HTTP/1.1 200"));

    let client = send(port, "GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let (_, held) = upstream.next().await;
    let drain = tokio::spawn(server.drain(LONG));
    until(port, false).await;
    let not_ready = read_all(send(admin, ready).await).await;
    assert!(not_ready.starts_with("HTTP/1.1 503") && not_ready.ends_with("not ready\n"), "{not_ready}");
    answer(held).await;
    let answered = read_all(client).await;
    assert!(answered.starts_with("HTTP/1.1 200") && answered.ends_with("ok"), "{answered}");
    timeout(LONG, drain).await.unwrap().unwrap();
}

/// Whoever tells it anything of listeners panics.
struct Panicking;

impl tracing::Subscriber for Panicking {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("mesh_router::gateway")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn event(&self, _: &tracing::Event<'_>) {
        panic!("told to");
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn it_is_not_ready_once_what_opens_listeners_panicked() {
    let (first, second) = (free_port(), free_port());
    let mesh = mesh(&[first], 1);
    let server = start(&mesh).await;
    let admin = server.admin_address().unwrap().port();
    assert!(server.is_ready());
    let told = tracing::subscriber::set_default(Panicking);
    assert!(!mesh.apply_strict(rules(&[second], 1)).unwrap().fails_check());
    let panicked = async {
        while server.is_ready() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, panicked).await.expect("it is noticed");
    drop(told);
    let not_ready = send(admin, "GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(read_all(not_ready).await.starts_with("HTTP/1.1 503"));
    timeout(LONG, server.drain(LONG)).await.expect("it ends");
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let port = free_port();
    let mut upstream = Upstream::start().await;
    let mesh = mesh(&[port], upstream.port);
    let server = start(&mesh).await;
    let client = send(port, "GET /never HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let _held = upstream.next().await;
    timeout(LONG, server.drain(Duration::from_millis(50))).await.unwrap();
    assert_eq!(read_all(client).await, "");
}

#[tokio::test]
async fn a_websocket_is_a_tunnel() {
    let port = free_port();
    let mut upstream = Upstream::start().await;
    let mesh = mesh(&[port], upstream.port);
    let _server = start(&mesh).await;
    let head = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut client = send(port, head).await;
    let (request, mut stream) = upstream.next().await;
    assert!(request.to_lowercase().contains("upgrade: websocket"), "{request}");
    let accepted = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(accepted).await.unwrap();
    let switched = read_head(&mut client).await;
    assert!(switched.starts_with("HTTP/1.1 101"), "{switched}");
    assert!(!switched.contains("content-length"), "{switched}");
    client.write_all(b"ping").await.unwrap();
    let mut four = [0; 4];
    stream.read_exact(&mut four).await.unwrap();
    assert_eq!(&four, b"ping");
    stream.write_all(b"pong").await.unwrap();
    client.read_exact(&mut four).await.unwrap();
    assert_eq!(&four, b"pong");
    drop(stream);
    assert_eq!(read_all(client).await, "");
}

#[tokio::test]
async fn a_websocket_of_http2_is_a_tunnel_to_http1() {
    let port = free_port();
    let mut upstream = Upstream::start().await;
    let mesh = mesh(&[port], upstream.port);
    let _server = start(&mesh).await;
    let stream = TokioIo::new(TcpStream::connect(local(port)).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    // With the first answer the client knows that this server takes extended CONNECTs.
    let first = tokio::spawn(sender.send_request(Request::get("http://a.test/").body(Empty::<Bytes>::new()).unwrap()));
    answer(upstream.next().await.1).await;
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    let connect = Request::connect("http://a.test/ws").extension(Protocol::from_static("websocket"));
    let response = tokio::spawn(sender.send_request(connect.body(Empty::new()).unwrap()));
    let (request, mut stream) = upstream.next().await;
    assert!(request.starts_with("GET /ws HTTP/1.1\r\n"), "{request}");
    let accepted = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(accepted).await.unwrap();
    let response = response.await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    let mut client = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    client.write_all(b"ping").await.unwrap();
    let mut four = [0; 4];
    stream.read_exact(&mut four).await.unwrap();
    assert_eq!(&four, b"ping");
    stream.write_all(b"pong").await.unwrap();
    client.read_exact(&mut four).await.unwrap();
    assert_eq!(&four, b"pong");
}

#[tokio::test]
async fn a_websocket_of_http2_that_a_rule_answers_has_the_body_of_the_answer() {
    let port = free_port();
    let text = format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: vs}}
spec:
  hosts: ['*']
  gateways: [gw]
  http: [{{directResponse: {{status: 200, body: {{string: closed today}}}}}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: gw}}
spec:
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, bind: 127.0.0.1, hosts: ['*']}}]
"
    );
    let mesh = Mesh::new();
    assert!(!mesh.apply_strict(Config::from_yaml(&text, "rules.yaml").unwrap()).unwrap().fails_check());
    let _server = start(&mesh).await;
    let stream = TokioIo::new(TcpStream::connect(local(port)).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let first = sender.send_request(Request::get("http://a.test/").body(Empty::<Bytes>::new()).unwrap());
    assert_eq!(first.await.unwrap().status(), 200);
    let ask = |protocol| {
        let connect = Request::connect("http://a.test/ws").extension(Protocol::from_static(protocol));
        connect.body(Empty::new()).unwrap()
    };
    let response = sender.send_request(ask("websocket")).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = String::new();
    let mut tunnel = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    tunnel.read_to_string(&mut body).await.unwrap();
    assert_eq!(body, "closed today");
    let refused = sender.send_request(ask("connect-ip")).await.unwrap();
    assert_eq!(refused.status(), 403, "nothing of it is served");
}

#[tokio::test]
async fn an_early_answer_needs_no_body() {
    let port = free_port();
    let mut upstream = Upstream::start().await;
    let mesh = mesh(&[port], upstream.port);
    let _server = start(&mesh).await;
    let head = "POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5000\r\n\r\n";
    let client = send(port, head).await;
    let (request, mut stream) = upstream.next().await;
    assert!(!request.to_lowercase().contains("expect:"), "{request}");
    stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let answered = timeout(LONG, async {
        let mut client = client;
        loop {
            let head = read_head(&mut client).await;
            if !head.starts_with("HTTP/1.1 100") {
                break head;
            }
        }
    });
    assert!(answered.await.unwrap().starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn the_upstream_sees_who_called_and_nothing_of_one_hop() {
    let port = free_port();
    let mut upstream = Upstream::start().await;
    let mesh = mesh(&[port], upstream.port);
    let _server = start(&mesh).await;
    let head = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-Forwarded-For: 10.0.0.1\r\n\
                X-Request-Id: mine\r\nX-Envoy-Max-Retries: 9\r\n\r\n";
    let _client = send(port, head).await;
    let (request, _) = upstream.next().await;
    let request = request.to_lowercase();
    for expected in ["host: a.test\r\n", "x-forwarded-for: 10.0.0.1,127.0.0.1\r\n", "x-forwarded-proto: http\r\n"] {
        assert!(request.contains(expected), "{request}");
    }
    for dropped in ["x-hop", "x-envoy-max-retries", "mine", "connection: x"] {
        assert!(!request.contains(dropped), "{request}");
    }
}

#[tokio::test]
async fn a_server_that_is_dropped_ends() {
    let port = free_port();
    let mesh = mesh(&[port], 1);
    let server = start(&mesh).await;
    drop(server);
    until(port, false).await;
}

#[tokio::test]
async fn a_trusted_proxy_says_for_whom_it_asks_and_how_it_was_asked() {
    let mut upstream = Upstream::start().await;
    let port = free_port();
    let (options, report) =
        MeshOptions::from_yaml("defaultConfig: {gatewayTopology: {numTrustedProxies: 1}}", "mesh.yaml").unwrap();
    assert_eq!(report.problems(), []);
    let mesh = Mesh::builder().options(options).build();
    let mut config = rules(&[port], upstream.port);
    let secure = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: secure, creationTimestamp: '2020-01-01T00:00:00Z'}
spec:
  hosts: ['*']
  gateways: [gw]
  http: [{match: [{scheme: {exact: https}}], directResponse: {status: 418}}]
";
    config.virtual_services.splice(0..0, Config::from_yaml(secure, "secure.yaml").unwrap().virtual_services);
    assert!(!mesh.apply_strict(config).unwrap().fails_check());
    let _server = start(&mesh).await;
    let ask = |proto: &str| {
        format!(
            "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.9\r\nX-Forwarded-Proto: {proto}\r\n\r\n"
        )
    };
    let _client = send(port, &ask("http")).await;
    let (head, _) = upstream.next().await;
    assert!(head.contains("\r\nx-envoy-external-address: 192.0.2.9\r\n"), "{head}");
    assert!(head.contains("\r\nx-forwarded-for: 6.6.6.6, 192.0.2.9,127.0.0.1\r\n"), "{head}");
    assert!(read_head(&mut send(port, &ask("https")).await).await.starts_with("HTTP/1.1 418"));
}

#[tokio::test]
async fn names_are_looked_up_before_the_gateway_is_ready() {
    let upstream = Upstream::always().await;
    let port = free_port();
    let mesh = Mesh::new();
    let mut config = rules(&[port], upstream);
    let entry = &mut config.service_entries[0].spec;
    entry.resolution = Resolution::Dns;
    entry.endpoints[0].address = "localhost".to_owned();
    assert!(!mesh.apply_strict(config).unwrap().fails_check());
    let _server = start(&mesh).await;
    assert!(get(port).await.starts_with("HTTP/1.1 200"));
}
