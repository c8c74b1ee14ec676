//! Servers on this machine, and a mesh that leads to them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use mesh_router::Mesh;
use tokio::net::{TcpListener, TcpSocket};
use tower::{Service, service_fn};

use super::shop;

/// Serves HTTP/1.1 and HTTP/2 on a port of its own for as long as the test runs.
pub(crate) async fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<mesh_router::BoxError>> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data: Send, Error: Into<mesh_router::BoxError>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

/// A server that answers with its name, the method, the authority, the path and the body.
pub(crate) async fn echo(name: &'static str) -> SocketAddr {
    serve(service_fn(move |request: Request<Incoming>| async move {
        let (head, body) = request.into_parts();
        let authority = head.headers.get("host").map(|host| host.to_str().unwrap().to_owned());
        let authority = authority.or(head.uri.authority().map(ToString::to_string)).unwrap_or_default();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let path = head.uri.path_and_query().unwrap();
        let text = format!("{name} {} {authority} {path} {body}", head.method);
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(text)))
    }))
    .await
}

/// A server that fails the first `failures` requests with this status, and the number of requests that it saw.
pub(crate) async fn flaky(failures: usize, status: u16) -> (SocketAddr, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let address = serve(service_fn(move |request: Request<Incoming>| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let status = if number < failures { status } else { 200 };
            Ok::<_, Infallible>(Response::builder().status(status).body(Full::new(body)).unwrap())
        }
    }))
    .await;
    (address, seen)
}

/// An address of this machine where nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    let taken = TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = taken.local_addr().unwrap();
    // Nobody else is given it.
    std::mem::forget(taken);
    address
}

/// A mesh whose host `shop.test` is these servers. The rule has these fields besides its route, the destination these
/// in its policy.
pub(crate) fn mesh(servers: &[SocketAddr], rule: &str, policy: &str) -> Mesh {
    mesh_of("HTTP", servers, rule, policy)
}

pub(crate) fn mesh_of(protocol: &str, servers: &[SocketAddr], rule: &str, policy: &str) -> Mesh {
    shop::mesh_of(protocol, servers, rule, &format!("loadBalancer: {{simple: ROUND_ROBIN}}\n{policy}"))
}
