//! gRPC-Web through a gateway on real sockets, to an endpoint that knows gRPC alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

#[path = "support/gateway.rs"]
mod support;

use std::convert::Infallible;
use std::num::NonZeroUsize;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_router::Mesh;
use mesh_router::gateway::Server;
use support::{free_port, rules_of};
use tokio::net::{TcpListener, TcpStream};

/// Says what it was sent, with its type, and then that it went well; `/none` is no gRPC.
async fn endpoint(request: Request<Incoming>) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    if request.uri().path() == "/none" {
        let response = Response::builder().status(StatusCode::NOT_FOUND).header("content-type", "text/html");
        return Ok(response.body(Full::from("<html>").boxed()).unwrap());
    }
    let kind = request.headers()["content-type"].clone();
    assert_eq!(request.headers()["te"], "trailers");
    let said = request.into_body().collect().await.unwrap().to_bytes();
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    let body = Full::from(said).with_trailers(async { Some(Ok(trailers)) });
    Ok(Response::builder()
        .header("content-type", "application/grpc")
        .header("x-kind", kind)
        .body(body.boxed())
        .unwrap())
}

async fn serve() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serving = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(serving.serve_connection(TokioIo::new(stream), service_fn(endpoint)));
        }
    });
    port
}

/// A gateway whose server speaks `protocol`, in front of the endpoint.
async fn start(protocol: &str) -> (Server, u16) {
    start_before(protocol, serve().await).await
}

async fn start_before(protocol: &str, endpoint: u16) -> (Server, u16) {
    let port = free_port();
    let mesh = Mesh::new();
    assert!(!mesh.apply_strict(rules_of(protocol, &[port], "GRPC", endpoint)).unwrap().fails_check());
    let server = Server::builder(&mesh).workers(NonZeroUsize::MIN).start().await.unwrap();
    (server, port)
}

async fn ask(port: u16, path: &str, lines: &[(&str, &str)], body: &'static str) -> Response<Bytes> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post(path).header("host", "a.test");
    let request = lines.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = sender.send_request(request.body(Full::<Bytes>::from(body)).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

/// The status, and a header of the answer.
fn told<'a>(response: &'a Response<Bytes>, name: &str) -> (u16, &'a str) {
    (response.status().as_u16(), response.headers()[name].to_str().unwrap())
}

#[tokio::test]
async fn a_browser_reaches_an_endpoint_of_grpc() {
    let (_server, port) = start("grpc-web").await;
    let kind = ("content-type", "application/grpc-web+proto");
    let response = ask(port, "/s/M", &[kind], "\0\0\0\0\x05hello").await;
    assert_eq!(told(&response, "x-kind"), (200, "application/grpc"));
    assert_eq!(response.headers()["content-type"], "application/grpc-web+proto");
    assert_eq!(response.body(), &b"\0\0\0\0\x05hello\x80\0\0\0\x0fgrpc-status:0\r\n"[..]);

    let text = "application/grpc-web-text";
    let response = ask(port, "/s/M", &[("content-type", text), ("accept", text)], "AAAAAAVoZWxsbw==").await;
    assert_eq!(response.headers()["content-type"], "application/grpc-web-text+proto");
    assert_eq!(response.body(), "AAAAAAVoZWxsbw==gAAAAA9ncnBjLXN0YXR1czowDQo=");
}

#[tokio::test]
async fn what_is_no_grpc_web_is_said_in_its_head() {
    let (_server, port) = start("GRPC-WEB").await;
    let response = ask(port, "/none", &[("content-type", "application/grpc-web")], "").await;
    assert_eq!(told(&response, "grpc-status"), (404, "12"));
    assert_eq!((&response.headers()["grpc-message"], &**response.body()), (&"<html>".parse().unwrap(), &b""[..]));

    let response = ask(port, "/s/M", &[("content-type", "application/grpc-web-text")], "AAAA!").await;
    assert_eq!(told(&response, "grpc-status"), (400, "13"));
    assert_eq!(response.headers()["server"], "istio-envoy");
}

#[tokio::test]
async fn an_answer_of_the_gateway_has_its_status_of_http_too() {
    let (_server, port) = start_before("GRPC-WEB", free_port()).await;
    let response = ask(port, "/s/M", &[("content-type", "application/grpc-web")], "").await;
    assert_eq!(told(&response, "grpc-status"), (503, "14"));
    assert_eq!(told(&response, "content-type").1, "application/grpc-web+proto");
    assert!(told(&response, "grpc-message").1.ends_with("remote connection failure"));
}

#[tokio::test]
async fn other_servers_leave_it_as_it_is() {
    let (_server, port) = start("HTTP").await;
    let kind = ("content-type", "application/grpc-web+proto");
    let response = ask(port, "/s/M", &[kind, ("te", "trailers")], "hello").await;
    assert_eq!(told(&response, "x-kind"), (200, "application/grpc-web+proto"));
    assert_eq!(response.body(), "hello");
}
