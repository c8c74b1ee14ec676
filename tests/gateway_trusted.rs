//! What a gateway knows itself, behind proxies whom it believes for whom they ask and how they were asked.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

#[path = "support/gateway.rs"]
mod support;

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http2;
use hyper::server::conn::http2 as served;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_router::config::Config;
use mesh_router::gateway::Server;
use mesh_router::options::MeshOptions;
use mesh_router::request::{ListenerOrigin, Origin};
use mesh_router::{Mesh, MeshRouter, Transport};
use support::{free_port, rules};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tower::{Layer, ServiceExt};

/// An endpoint that answers every request with `ok`, and what came before each answer.
async fn endpoint() -> (u16, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (came, heads) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let head = read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await.unwrap();
            came.send(head).unwrap();
        }
    });
    (port, heads)
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A gateway behind one trusted proxy, with these rules.
async fn start(endpoint: u16, yaml: &str) -> (Server, u16) {
    let port = free_port();
    let (options, _) =
        MeshOptions::from_yaml("defaultConfig: {gatewayTopology: {numTrustedProxies: 1}}", "mesh.yaml").unwrap();
    let mesh = Mesh::builder().options(options).build();
    let (mut config, more) = (rules(&[port], endpoint), Config::from_yaml(yaml, "more.yaml").unwrap());
    if !more.virtual_services.is_empty() {
        config.virtual_services = more.virtual_services;
    }
    config.destination_rules = more.destination_rules;
    assert!(!mesh.apply_strict(config).unwrap().fails_check());
    (Server::builder(&mesh).workers(NonZeroUsize::MIN).start().await.unwrap(), port)
}

/// The head of the answer to a request with this line, on a connection that lives on.
async fn ask(client: &mut TcpStream, line: &str) -> String {
    ask_at(client, "/", line).await
}

async fn ask_at(client: &mut TcpStream, target: &str, line: &str) -> String {
    client.write_all(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n{line}\r\n\r\n").as_bytes()).await.unwrap();
    let head = read_head(client).await;
    client.read_exact(&mut [0; 2]).await.unwrap();
    head
}

fn value<'a>(head: &'a str, name: &str) -> &'a str {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(of, _)| *of == name).unwrap_or_else(|| panic!("{name} of {head}")).1
}

/// As Envoy 1.40: neither the PROXY header nor a cookie that is made of the connection follows `x-forwarded-for`.
#[tokio::test]
async fn whoever_is_spoken_for_a_connection_has_the_same_ends() {
    let (endpoint, mut heads) = endpoint().await;
    let rule = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec:
  host: a.test
  trafficPolicy:
    proxyProtocol: {version: V1}
    loadBalancer: {consistentHash: {httpCookie: {name: made, ttl: 0s}}}
";
    let (_server, port) = start(endpoint, rule).await;
    let mut cookies = Vec::new();
    for clients in [&["203.0.113.9", "2001:db8::7"][..], &["203.0.113.9"]] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let ends = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {port}\r\n", stream.local_addr().unwrap().port());
        for client in clients {
            let answer = ask(&mut stream, &format!("X-Forwarded-For: {client}")).await;
            cookies.push(value(&answer, "set-cookie").to_owned());
            let head = heads.recv().await.unwrap();
            assert!(head.starts_with(&ends), "{head}");
            assert_eq!(value(&head, "x-envoy-external-address"), *client);
        }
    }
    assert_eq!(cookies[0], cookies[1], "of one connection");
    assert_ne!(cookies[0], cookies[2], "of another connection");
}

const SPOKEN_FOR: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec:
  host: a.test
  trafficPolicy: {proxyProtocol: {version: V1}}
";

async fn has_ended(mut stream: TcpStream) {
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_u8()).await;
    assert_eq!(ended.expect("it ends").unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_connection_that_speaks_of_a_client_ends_with_it() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (_server, port) = start(listener.local_addr().unwrap().port(), SPOKEN_FOR).await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        for _ in 0..2 {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        }
        stream
    };
    let visit = async {
        let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        for forwarded in ["203.0.113.9", "2001:db8::7"] {
            ask(&mut client, &format!("X-Forwarded-For: {forwarded}")).await;
        }
    };
    let (stream, ()) = tokio::join!(serve, visit);
    has_ended(stream).await;
}

#[tokio::test]
async fn so_it_does_where_a_gateway_of_ones_own_tells_of_that() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (mesh, transport) = (Mesh::new(), Transport::new());
    let mut config = rules(&[80], listener.local_addr().unwrap().port());
    config.destination_rules = Config::from_yaml(SPOKEN_FOR, "more.yaml").unwrap().destination_rules;
    assert!(!mesh.apply_strict(config).unwrap().fails_check());
    let mut origin = ListenerOrigin::new("http.80.127.0.0.1", 80);
    (origin.peer, origin.local) = (Some(([192, 0, 2, 1], 1).into()), Some(([192, 0, 2, 2], 80).into()));
    origin.open = Some(Arc::default());
    let gateway = MeshRouter::new(&mesh).with_origin(Origin::Listener(Arc::new(origin))).layer(transport.clone());
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("PROXY TCP4 192.0.2.1 192.0.2.2 1 80\r\n"), "{head}");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        stream
    };
    // The gateway goes with its client, and the transport stays.
    let request = Request::get("/").header("host", "a.test").body(Empty::<Bytes>::new()).unwrap();
    let (stream, answer) = tokio::join!(serve, gateway.oneshot(request));
    assert_eq!(answer.unwrap().into_body().collect().await.unwrap().to_bytes(), "ok");
    has_ended(stream).await;
    drop(transport);
}

/// HTTP/2 and a whole URL say the scheme themselves, and a trusted proxy changes that for nobody: rules and header values see the same.
#[tokio::test]
async fn a_scheme_that_is_said_is_the_scheme() {
    let (endpoint, _heads) = endpoint().await;
    let rule = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: told}
spec:
  hosts: ['*']
  gateways: [gw]
  http:
  - match: [{scheme: {exact: https}}]
    route: [{destination: {host: a.test}}]
    headers: {response: {set: {x-told: 'https %REQ(:scheme)%'}}}
  - route: [{destination: {host: a.test}}]
    headers: {response: {set: {x-told: 'http %REQ(:scheme)%'}}}
";
    let (_server, port) = start(endpoint, rule).await;
    let connect = async || TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut stream = connect().await;
    for (said, told) in [("https", "https https"), ("HTTPS", "https https"), ("http", "http http")] {
        assert_eq!(value(&ask(&mut stream, &format!("X-Forwarded-Proto: {said}")).await, "x-told"), told);
    }
    for target in ["https://a.test/", "http://a.test/"] {
        let scheme = target.split(':').next().unwrap();
        let answer = ask_at(&mut stream, target, "X-Forwarded-Proto: http").await;
        assert_eq!(value(&answer, "x-told"), format!("{scheme} {scheme}"), "{answer}");
    }
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(connect().await)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://a.test/").header("x-forwarded-proto", "https");
    let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    assert_eq!(answer.headers()["x-told"], "http http");
}

/// Answers whoever speaks HTTP/2 with the `:scheme` that it was told.
async fn endpoint_of_http2() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tell = service_fn(async |request: Request<hyper::body::Incoming>| {
        let scheme = request.uri().scheme_str().unwrap_or("none");
        Ok::<_, Infallible>(Response::builder().header("x-told", scheme).body(Full::<Bytes>::from("ok")).unwrap())
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(served::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), tell));
        }
    });
    port
}

/// What it is asked by, and not what the connection to the endpoint is.
#[tokio::test]
async fn an_endpoint_of_http2_is_told_the_scheme_of_the_request() {
    let rule = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec:
  host: a.test
  trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}
";
    let (_server, port) = start(endpoint_of_http2().await, rule).await;
    let connect = async || TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut stream = connect().await;
    for scheme in ["https", "http"] {
        let answer = ask(&mut stream, &format!("X-Forwarded-Proto: {scheme}")).await;
        assert_eq!(value(&answer, "x-told"), scheme);
    }
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(connect().await)).await.unwrap();
    tokio::spawn(connection);
    for scheme in ["http", "https"] {
        let request = Request::get(format!("{scheme}://a.test/")).body(Empty::<Bytes>::new()).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().headers()["x-told"], scheme);
    }
}
