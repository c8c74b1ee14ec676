//! `MeshRouter` over hyper-util's client, and `Transport` over connections of the application's own.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::rt::{self, ReadBufCursor};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use mesh_router::service::{MeshService, RequestBody, ResponseFlags, RouteInfo};
use mesh_router::upstream::Address;
use mesh_router::{BoxError, Mesh, MeshRouter, Transport};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::loopback::{echo, flaky, mesh, mesh_of, nobody};

type Body = Full<Bytes>;

fn client(mesh: &Mesh) -> MeshService<Client<HttpConnector, RequestBody<Body>>> {
    MeshRouter::new(mesh).layer(Client::builder(TokioExecutor::new()).build_http())
}

async fn ask<S, R>(service: S, body: &'static str) -> Response<String>
where
    S: Service<Request<Body>, Response = Response<R>, Error = BoxError>,
    R: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let request = Request::post("http://shop.test/a").body(Body::from(body)).unwrap();
    let (head, body) = service.oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Response::from_parts(head, String::from_utf8(body.to_vec()).unwrap())
}

fn info<B>(response: &Response<B>) -> &RouteInfo {
    response.extensions().get().unwrap()
}

#[tokio::test]
async fn a_request_goes_to_its_endpoint_under_its_own_name() {
    let mesh = mesh(&[nobody().await, echo("two").await], "retries: {attempts: 1, retryOn: connect-failure}", "");
    let client = client(&mesh);
    for _ in 0..4 {
        assert_eq!(ask(client.clone(), "hello").await.body(), "two POST shop.test /a hello");
    }
}

#[tokio::test]
async fn tries_are_those_of_the_rule() {
    let (server, seen) = flaky(2, 503).await;
    let mesh = mesh(&[server], "retries: {attempts: 2, retryOn: 5xx, backoff: 1ms}", "");
    let response = ask(client(&mesh), "again").await;
    assert_eq!((response.status(), response.body().as_str()), (StatusCode::OK, "again"));
    assert_eq!((info(&response).attempts(), seen.load(Ordering::SeqCst)), (3, 3));
}

/// A server that takes a request and does this with it.
async fn raw(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
        }
    });
    address
}

#[tokio::test]
async fn errors_of_hyper_are_told_apart() {
    for (answer, status, flags) in [
        (&b""[..], 503, ResponseFlags::UPSTREAM_CONNECTION_TERMINATION),
        (b"no http at all\r\n\r\n", 502, ResponseFlags::UPSTREAM_PROTOCOL_ERROR),
    ] {
        let mesh = mesh(&[raw(answer).await], "", "");
        let response = ask(client(&mesh), "").await;
        assert_eq!((response.status().as_u16(), info(&response).flags()), (status, flags));
    }
}

/// A connection that fails as TLS does once a body `hello` was written.
#[derive(Default)]
struct Alerted {
    written: Vec<u8>,
    reader: Option<Waker>,
}

impl rt::Read for Alerted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, _: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.written.windows(5).any(|written| written == b"hello") {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "alert: certificate required")));
        }
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl rt::Write for Alerted {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written.extend_from_slice(bytes);
        self.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Connection for Alerted {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

#[tokio::test]
async fn the_last_word_of_tls_before_an_answer_ends_the_connection() {
    for http2 in [false, true] {
        let mesh = mesh(&["10.1.2.3:8080".parse().unwrap()], "", "");
        let connects = service_fn(|_: Uri| std::future::ready(Ok::<_, io::Error>(Alerted::default())));
        let client = Client::builder(TokioExecutor::new()).http2_only(http2).build::<_, RequestBody<Body>>(connects);
        let response = ask(MeshRouter::new(&mesh).layer(client), "hello").await;
        let found = (response.status().as_u16(), info(&response).flags());
        assert_eq!(found, (503, ResponseFlags::UPSTREAM_CONNECTION_TERMINATION), "{http2}");
    }
}

#[tokio::test]
async fn a_connection_that_fails_is_told_by_the_client_whatever_its_error_says() {
    for (kind, reason) in [
        (io::ErrorKind::Other, "remote connection failure"),
        // As in a TLS handshake.
        (io::ErrorKind::ConnectionReset, "remote connection failure"),
        (io::ErrorKind::AddrNotAvailable, "local connection failure"),
        (io::ErrorKind::TimedOut, "connection timeout"),
    ] {
        let mesh = mesh(&["10.1.2.3:8080".parse().unwrap()], "", "");
        let fails = service_fn(move |_: Uri| {
            let error = io::Error::new(kind, "invalid peer certificate");
            std::future::ready(Err::<TokioIo<TcpStream>, _>(error))
        });
        let client = Client::builder(TokioExecutor::new()).build::<_, RequestBody<Body>>(fails);
        let response = ask(MeshRouter::new(&mesh).layer(client), "").await;
        let (flags, attempts) = (info(&response).flags(), info(&response).attempts());
        assert!(flags.contains(ResponseFlags::UPSTREAM_CONNECTION_FAILURE) && attempts == 3, "{kind:?}: {flags}");
        assert!(response.body().contains(reason), "{}", response.body());
    }
}

#[tokio::test]
async fn a_request_that_the_client_does_not_send_is_nobody_elses_failure() {
    let policy = "outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100, baseEjectionTime: 60s}";
    let mesh = mesh(&[echo("one").await], "", policy);
    let request = Request::get("http://shop.test/").version(http::Version::HTTP_2).body(Body::default()).unwrap();
    let response = client(&mesh).oneshot(request).await.unwrap();
    let info = response.extensions().get::<RouteInfo>().unwrap();
    assert_eq!((info.flags(), info.attempts()), (ResponseFlags::LOCAL_RESET, 1));
    assert!(mesh.endpoints()[0].ejected.is_none());
}

#[tokio::test]
async fn http2_is_the_clients_choice() {
    let mesh = mesh(&[echo("two").await], "", "");
    let http2 = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<RequestBody<Body>>();
    let response = ask(MeshRouter::new(&mesh).layer(http2), "hello").await;
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(response.body(), "two POST shop.test /a hello");
}

/// Clients of two libraries that share a mesh share what they learn.
#[tokio::test]
async fn health_is_shared_by_all_clients_of_a_mesh() {
    let (server, seen) = flaky(usize::MAX, 500).await;
    let policy = "outlierDetection: {consecutive5xxErrors: 2, maxEjectionPercent: 100, baseEjectionTime: 60s}";
    let mesh = mesh(&[server], "retries: {attempts: 0}", policy);
    assert_eq!(ask(client(&mesh), "").await.status().as_u16(), 500);
    assert_eq!(ask(MeshRouter::new(&mesh).layer(Transport::new()), "").await.status().as_u16(), 500);
    let response = ask(client(&mesh), "").await;
    assert_eq!((response.status().as_u16(), info(&response).flags()), (503, ResponseFlags::NO_HEALTHY_UPSTREAM));
    assert_eq!(seen.load(Ordering::SeqCst), 2);
}

/// Answers on a connection that is already there.
fn serve_on(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, name: &'static str) {
    let service = service_fn(move |request: Request<Incoming>| async move {
        let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
        let host = host.or(request.uri().authority().map(ToString::to_string)).unwrap();
        Ok::<_, io::Error>(Response::new(Body::from(format!("{name} {:?} {host}", request.version()))))
    });
    tokio::spawn(async move {
        let server = auto::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(TokioIo::new(io), TowerToHyperService::new(service)).await;
    });
}

#[tokio::test]
async fn a_transport_goes_over_pipes_of_a_test() {
    for (protocol, version) in [("HTTP", "HTTP/1.1"), ("HTTP2", "HTTP/2.0")] {
        let mesh = mesh_of(protocol, &["10.1.2.3:8080".parse().unwrap()], "", "");
        let dialed = Arc::new(Mutex::new(Vec::new()));
        let seen = dialed.clone();
        let transport = Transport::builder().connector(move |address: Address| {
            seen.lock().unwrap().push(address.to_string());
            let (near, far) = tokio::io::duplex(64 * 1024);
            serve_on(far, "pipe");
            async { Ok(near) }
        });
        let service = MeshRouter::new(&mesh).layer(transport.build());
        for _ in 0..3 {
            assert_eq!(ask(service.clone(), "").await.body(), &format!("pipe {version} shop.test"));
        }
        assert_eq!(*dialed.lock().unwrap(), ["10.1.2.3:8080"], "one connection, kept");
    }
}

#[tokio::test]
async fn a_transport_goes_through_a_socket_file() {
    // The names of sockets have to be short.
    let folder = Some(std::env::temp_dir()).filter(|folder| folder.as_os_str().len() < 50).unwrap_or("/tmp".into());
    let path = folder.join(format!("mesh-router-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serve_on(stream, "socket");
        }
    });
    let mesh = mesh(&["10.1.2.3:8080".parse().unwrap()], "", "");
    let to = path.clone();
    let transport = Transport::builder().connector(move |_: Address| UnixStream::connect(to.clone())).build();
    let response = ask(MeshRouter::new(&mesh).layer(transport), "").await;
    assert_eq!(response.body(), "socket HTTP/1.1 shop.test");
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn what_a_connector_says_is_an_error_of_connecting() {
    let mesh = mesh(&["10.1.2.3:8080".parse().unwrap()], "", "");
    let refuse = |_: Address| async { Err::<UnixStream, _>(io::Error::from(io::ErrorKind::ConnectionRefused)) };
    let transport = Transport::builder().connector(refuse).build();
    let response = ask(MeshRouter::new(&mesh).layer(transport), "").await;
    assert_eq!((response.status().as_u16(), info(&response).attempts()), (503, 3));
    assert!(info(&response).flags().contains(ResponseFlags::UPSTREAM_CONNECTION_FAILURE));
}
