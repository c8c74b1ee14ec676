//! What the requests are counted as that an application serves: those it fails, and those whose client leaves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/counted.rs"]
mod counted;
#[path = "support/shop.rs"]
mod shop;

use std::io;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use mesh_router::service::{MeshRouter, RequestBody, ResponseBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_stream::{self as stream, StreamExt};
use tower::{Layer, ServiceExt, service_fn};

use counted::{counted, label};

type Body = UnsyncBoxBody<Bytes, io::Error>;

const RULES: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: web}
spec: {hosts: [shop.test], gateways: [front], http: [{route: [{destination: {host: backend}}]}]}
";

/// A host with a rule, and one without.
const HOSTS: [&str; 2] = ["shop.test", "else.test"];

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// One part, and then an end, or nothing for ever.
fn body(ends: bool) -> Body {
    let part = stream::iter([Ok(Frame::data(Bytes::from_static(b"part")))]);
    if ends {
        StreamBody::new(part).boxed_unsync()
    } else {
        StreamBody::new(part.chain(stream::pending())).boxed_unsync()
    }
}

/// What an application makes of a request.
async fn serve(
    request: http::request::Builder,
    answer: impl FnOnce() -> io::Result<Response<Body>> + Clone,
) -> io::Result<Response<ResponseBody<Body>>> {
    let mesh = shop::published(RULES);
    let application = service_fn(move |_: Request<RequestBody<Body>>| std::future::ready((answer.clone())()));
    MeshRouter::inbound(&mesh, "web/front").layer(application).oneshot(request.body(empty()).unwrap()).await
}

#[test]
fn what_an_application_fails_is_counted_alike_whether_or_not_a_rule_names_its_host() {
    for host in HOSTS {
        for (content, expected) in [("text/plain", ["500", "", "-"]), ("application/grpc", ["200", "2", "-"])] {
            let line = counted(async {
                let request = Request::post(format!("http://{host}/")).header("content-type", content);
                serve(request, || Err(io::Error::other("no"))).await.unwrap_err();
            });
            let names = ["response_code", "grpc_response_status", "response_flags"];
            assert_eq!(names.map(|name| label(&line, name)), expected, "{host}: {line}");
        }
    }
}

/// The flags of a request whose client reads so many frames of the answer and goes away.
fn flags(method: Method, host: &str, status: u16, ends: bool, frames: usize) -> String {
    flags_of(method, host, Response::builder().status(status), ends, frames)
}

/// The same of an answer with this head.
fn flags_of(method: Method, host: &str, head: http::response::Builder, ends: bool, frames: usize) -> String {
    let (head, ()) = head.body(()).unwrap().into_parts();
    let line = counted(async {
        let request = Request::builder().method(method).uri(format!("http://{host}/"));
        let answer = move || Ok(Response::from_parts(head, body(ends)));
        let mut answer = serve(request, answer).await.unwrap();
        for _ in 0..frames {
            answer.body_mut().frame().await.map(Result::unwrap);
        }
    });
    label(&line, "response_flags")
}

#[test]
fn a_client_that_goes_away_is_told_from_one_that_had_all() {
    for host in HOSTS {
        for frames in [0, 1] {
            assert_eq!(flags(Method::GET, host, 200, false, frames), "DC", "{host} {frames}");
        }
        assert_eq!(flags(Method::GET, host, 200, true, 2), "-", "{host}");
        // Whoever serves these lets go of the body with the head.
        for (method, status) in
            [(Method::HEAD, 200), (Method::CONNECT, 200), (Method::GET, 101), (Method::GET, 204), (Method::GET, 304)]
        {
            let name = method.to_string();
            assert_eq!(flags(method, host, status, false, 0), "-", "{host} {name} {status}");
        }
    }
}

#[test]
fn an_answer_is_whole_with_the_length_that_its_head_said() {
    for host in HOSTS {
        // One part of four bytes comes.
        for (length, frames, expected) in
            [("4", 1, "-"), ("3", 1, "-"), ("5", 1, "DC"), ("4", 0, "DC"), ("0", 0, "-"), ("four", 1, "DC")]
        {
            let head = Response::builder().header("content-length", length);
            assert_eq!(flags_of(Method::GET, host, head, false, frames), expected, "{host} {length} {frames}");
        }
        for (method, status) in [(Method::HEAD, 200), (Method::GET, 304)] {
            let head = Response::builder().status(status).header("content-length", "4");
            assert_eq!(flags_of(method, host, head, false, 0), "-", "{host} {status}");
        }
    }
}

/// What the client of a server of HTTP/1.1 gets.
async fn served(host: &str, length: Option<&'static str>) -> String {
    let mesh = shop::published(RULES);
    let front = MeshRouter::inbound(&mesh, "web/front").layer(service_fn(async |_: Request<RequestBody<Incoming>>| {
        let mut answer = Response::new(body(true));
        answer.headers_mut().extend(length.map(|length| (CONTENT_LENGTH, HeaderValue::from_static(length))));
        Ok::<_, io::Error>(answer)
    }));
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    http1::Builder::new().serve_connection(TokioIo::new(server), TowerToHyperService::new(front)).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

#[test]
fn what_a_server_sent_whole_is_counted_so_though_it_asks_for_no_end() {
    for host in HOSTS {
        for (length, content) in [(None, "4\r\npart\r\n0\r\n\r\n"), (Some("4"), "part"), (Some("3"), "par")] {
            let line = counted(async {
                let answer = served(host, length).await;
                assert!(answer.ends_with(&format!("\r\n\r\n{content}")), "{answer}");
            });
            assert_eq!(label(&line, "response_flags"), "-", "{host} {length:?}");
        }
    }
}
