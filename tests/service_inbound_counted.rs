//! What the requests are counted as that an application serves: those that it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/counted.rs"]
mod counted;
#[path = "support/shop.rs"]
mod shop;

use std::io;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use mesh_router::service::{MeshRouter, RequestBody, ResponseBody};
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
