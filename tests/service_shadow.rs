//! The host that copies of requests are sent under.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use mesh_router::config::Config;
use mesh_router::options::MeshOptions;
use mesh_router::request::{ListenerOrigin, Origin};
use mesh_router::service::{MeshRouter, RequestBody};
use mesh_router::{BoxError, Mesh, Transport};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::time::timeout;
use tower::{Layer, ServiceExt, service_fn};

type Body = Empty<Bytes>;

/// A mesh whose rule for `shop.test` sends copies to `shadow` in this protocol.
fn mesh(shadow_host_suffix: bool, shadow: SocketAddr, protocol: &str, rule: &str) -> Mesh {
    let yaml = format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: shop, namespace: web}}
spec:
  hosts: [shop.test]
  resolution: STATIC
  ports: [{{number: 80, name: web, protocol: HTTP}}]
  endpoints: [{{address: 10.0.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: shadow, namespace: web}}
spec:
  hosts: [shadow.test]
  resolution: STATIC
  ports: [{{number: 80, name: web, protocol: {protocol}}}]
  endpoints: [{{address: {}, ports: {{web: {}}}}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: front, namespace: web}}
spec:
  servers: [{{port: {{number: 8080, name: http, protocol: HTTP}}, hosts: ['*']}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop, namespace: web}}
spec:
  hosts: [shop.test]
  gateways: [mesh, front]
  http:
  - route: [{{destination: {{host: shop.test}}}}]
    mirror: {{host: shadow.test}}
{rule}
",
        shadow.ip(),
        shadow.port()
    );
    let options = MeshOptions { shadow_host_suffix, ..MeshOptions::default() };
    let mesh = Mesh::builder().options(options).build();
    assert!(!mesh.apply_strict(Config::from_yaml(&yaml, "shop.yaml").unwrap()).unwrap().fails_check());
    mesh
}

/// The endpoint, `Host` and the authority of the aim, `-` for what is not there.
fn named<B>(request: &Request<RequestBody<B>>) -> [String; 3] {
    let host = request.headers().get("host").map_or("-", |host| host.to_str().unwrap());
    let aim = request.body().aim().expect("a rule took it");
    let authority = aim.authority.as_ref().map_or("-", |authority| authority.as_str());
    [request.uri().authority().unwrap().to_string(), host.to_owned(), authority.to_owned()]
}

/// What the tries and copies of one request are sent under, sorted.
async fn sent(mesh: &Mesh, request: Request<Body>) -> [[String; 3]; 2] {
    let (seen, mut sent) = mpsc::unbounded_channel();
    let inner = service_fn(move |request: Request<RequestBody<Body>>| {
        seen.send(named(&request)).unwrap();
        std::future::ready(Ok::<_, Infallible>(Response::new(Body::new())))
    });
    MeshRouter::new(mesh).layer(inner).oneshot(request).await.unwrap();
    let mut both = [sent.recv().await.unwrap(), sent.recv().await.unwrap()];
    both.sort();
    both
}

fn shadow() -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, 9), 80).into()
}

#[tokio::test]
async fn a_copy_keeps_its_host_unless_the_mesh_says_otherwise() {
    assert!(!MeshOptions::default().shadow_host_suffix);
    for (suffixed, host) in [(false, "shop.test"), (true, "shop.test-shadow")] {
        let mesh = mesh(suffixed, shadow(), "HTTP", "");
        let request = Request::get("http://shop.test/a").body(Body::new()).unwrap();
        let expected = [["10.0.0.1:80", "shop.test", "shop.test"], ["10.0.0.9:80", host, host]];
        assert_eq!(sent(&mesh, request).await, expected);
        // At a gateway's listener the authority of HTTP/1.1 stands in `Host` alone.
        let request = Request::get("/a").header("host", "shop.test").extension(listener());
        let expected = [["10.0.0.1:80", "shop.test", "-"], ["10.0.0.9:80", host, "-"]];
        assert_eq!(sent(&mesh, request.body(Body::new()).unwrap()).await, expected);
    }
}

#[tokio::test]
async fn the_suffix_stands_before_the_port_of_what_the_rule_made_of_the_host() {
    let mesh = mesh(true, shadow(), "HTTP", "    rewrite: {authority: 'new.test:81'}");
    let request = Request::get("http://shop.test:80/a").body(Body::new()).unwrap();
    let expected = ["10.0.0.9:80", "new.test-shadow:81", "new.test-shadow:81"];
    assert_eq!(sent(&mesh, request).await, [["10.0.0.1:80", "new.test:81", "new.test:81"], expected]);
}

#[tokio::test]
async fn copies_of_what_comes_in_have_it_too_and_the_application_does_not() {
    for (suffixed, host) in [(false, "shop.test:8080"), (true, "shop.test-shadow:8080")] {
        let mesh = mesh(suffixed, shadow(), "HTTP", "");
        let (seen, mut copies) = mpsc::unbounded_channel();
        let client = service_fn(move |request: Request<RequestBody<_>>| {
            seen.send(named(&request)).unwrap();
            std::future::ready(Ok::<_, Infallible>(Response::new(Body::new())))
        });
        let application = service_fn(async |request: Request<RequestBody<Body>>| {
            assert_eq!(request.headers()["host"], "shop.test:8080");
            Ok::<_, Infallible>(Response::new(Body::new()))
        });
        let server = MeshRouter::inbound(&mesh, "web/front").with_mirrors(client).layer(application);
        let request = Request::get("/a").header("host", "shop.test:8080").body(Body::new()).unwrap();
        server.oneshot(request).await.unwrap();
        assert_eq!(copies.recv().await.unwrap(), ["10.0.0.9:80", host, "-"]);
    }
}

fn listener() -> Origin {
    Origin::Listener(Arc::new(ListenerOrigin::new("http.8080", 8080)))
}

/// Serves HTTP/1.1 and HTTP/2 and says which authority each request came under.
async fn serve(seen: UnboundedSender<String>) -> SocketAddr {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let answer = service_fn(move |request: Request<Incoming>| {
        let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
        let named = request.uri().authority().map(ToString::to_string).or(host);
        seen.send(format!("{:?} {}", request.version(), named.unwrap())).unwrap();
        std::future::ready(Ok::<_, Infallible>(Response::new(Body::new())))
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = server.accept().await {
            let answer = TowerToHyperService::new(answer.clone());
            let server = auto::Builder::new(TokioExecutor::new());
            tokio::spawn(async move { drop(server.serve_connection(TokioIo::new(stream), answer).await) });
        }
    });
    address
}

#[tokio::test]
async fn the_upstream_of_a_copy_reads_it_in_either_protocol() {
    let (seen, mut read) = mpsc::unbounded_channel();
    let address = serve(seen).await;
    for (protocol, version) in [("HTTP", "HTTP/1.1"), ("HTTP2", "HTTP/2.0")] {
        let mesh = mesh(true, address, protocol, "");
        let transport = Transport::new();
        // Of the request itself nothing leaves.
        let inner = service_fn(move |request: Request<RequestBody<Body>>| {
            let (copy, transport) = (named(&request)[0] == address.to_string(), transport.clone());
            async move { if copy { Ok(transport.oneshot(request).await?) } else { Err(BoxError::from("no copy")) } }
        });
        let client = MeshRouter::new(&mesh).layer(inner);
        for (uri, host) in [("http://shop.test/", "shop.test-shadow"), ("http://shop.test:80/", "shop.test-shadow:80")]
        {
            client.clone().oneshot(Request::get(uri).body(Body::new()).unwrap()).await.unwrap();
            let read = timeout(Duration::from_secs(10), read.recv()).await.expect("a copy arrives");
            assert_eq!(read.unwrap(), format!("{version} {host}"));
        }
    }
}
