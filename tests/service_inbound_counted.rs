//! What the requests are counted as that an application serves: those it fails, and those whose client leaves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/counted.rs"]
mod counted;
#[path = "support/shop.rs"]
mod shop;

use std::io;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use mesh_router::service::{MeshRouter, RequestBody, ResponseBody};
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
    let line = counted(async {
        let request = Request::builder().method(method).uri(format!("http://{host}/"));
        let answer = move || Ok(Response::builder().status(status).body(body(ends)).unwrap());
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
