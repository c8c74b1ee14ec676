//! What a snapshot says of a request is what a router does with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use mesh_router::Mesh;
use mesh_router::config::Config;
use mesh_router::options::{MeshOptions, PathNormalization};
use mesh_router::request::{Origin, RequestView};
use mesh_router::route::{Explanation, Resolution};
use mesh_router::service::{MeshRouter, RequestBody, RouteInfo};
use tower::{Layer, ServiceExt, service_fn};

const CONFIG: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop}
spec:
  hosts: [shop.test, plain.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: https, protocol: HTTPS}]
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.test]
  http:
  - match: [{uri: {prefix: /admin}}, {headers: {end-user: {exact: root}}}]
    route: [{destination: {host: shop.test}}]
  - match: [{uri: {prefix: /pub}}]
    route: [{destination: {host: shop.test}}]
  - match: [{uri: {prefix: //}}]
    route: [{destination: {host: shop.test}}]
";

fn mesh(path_normalization: PathNormalization) -> Mesh {
    let mesh = Mesh::builder().options(MeshOptions { path_normalization, ..MeshOptions::default() }).build();
    assert_eq!(mesh.apply(Config::from_yaml(CONFIG, "shop.yaml").unwrap()).unwrap().problems(), []);
    mesh
}

fn explained(mesh: &Mesh, uri: &str) -> Explanation {
    let request = Request::get(uri).body(()).unwrap();
    let view = RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh);
    mesh.snapshot().explain(&Origin::Mesh, &view)
}

/// The status, and where the rule that took the request was written.
async fn routed(mesh: &Mesh, uri: &str) -> (u16, String) {
    let upstream = service_fn(async |_: Request<RequestBody<Empty<Bytes>>>| {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let client = MeshRouter::new(mesh).with_https_routed().layer(upstream);
    let response = client.oneshot(Request::get(uri).body(Empty::new()).unwrap()).await.unwrap();
    let rule = response.extensions().get::<RouteInfo>().and_then(|info| info.rule().map(ToString::to_string));
    (response.status().as_u16(), rule.unwrap_or_default())
}

#[tokio::test]
async fn the_rule_that_is_told_is_the_one_that_takes_the_request() {
    let (base, merged) = (mesh(PathNormalization::Base), mesh(PathNormalization::DecodeAndMergeSlashes));
    for (mesh, uri) in [
        (&base, "http://shop.test/admin"),
        (&base, "http://shop.test/pub/../admin"),
        (&base, "http://shop.test/%61dmin"),
        (&base, "http://shop.test//admin"),
        (&merged, "http://shop.test//admin"),
        (&merged, "http://shop.test/pub%2F..%2Fadmin"),
        (&base, "http://plain.test/admin"),
        // As they are seen where http rules may look into `https`.
        (&base, "https://shop.test/admin"),
        (&base, "https://shop.test/pub/"),
        (&base, "https://shop.test:80/admin"),
        (&base, "https://plain.test/admin"),
    ] {
        let explained = explained(mesh, uri);
        let tried = explained.rules().last().unwrap();
        assert!(tried.failed.is_none(), "{uri}: {explained}");
        let rule = tried.rule.as_ref().unwrap().origin.to_string();
        assert_eq!((200, rule), routed(mesh, uri).await, "{explained}");
    }
    for (uri, status) in [("http://shop.test/other", 404), ("http://shop.test/%00", 400), ("https://nobody.test/", 200)]
    {
        let explained = explained(&base, uri);
        let taken = explained.rules().last().is_some_and(|tried| tried.failed.is_none());
        assert_eq!((taken, routed(&base, uri).await), (false, (status, String::new())), "{explained}");
    }
}

#[test]
fn an_explanation_is_a_line_for_each_rule_that_was_tried() {
    let mesh = mesh(PathNormalization::Base);
    let said = |uri: &str| explained(&mesh, uri).to_string();
    let (admin, root, public, slashes) = (
        "VirtualService default/shop spec.http[0].match[0] (shop.yaml:17:13): ",
        "VirtualService default/shop spec.http[0].match[1] (shop.yaml:17:38): ",
        "VirtualService default/shop spec.http[1].match[0] (shop.yaml:19:13): ",
        "VirtualService default/shop spec.http[2].match[0] (shop.yaml:21:13): ",
    );
    let not = |path: &str| {
        format!(
            "{admin}uri is not prefix \"/admin\": {path:?}\n{root}header end-user is not exact \"root\": absent\n{public}"
        )
    };
    assert_eq!(said("http://shop.test/pub/./a"), not("/pub/a") + "matched");
    let missed = not("/x") + "uri is not prefix \"/pub\": \"/x\"\n" + slashes + "uri is not prefix \"//\": \"/x\"\n";
    assert_eq!(said("http://shop.test/x"), missed + "no rule of shop.test for port 80 matches: 404");
    assert_eq!(said("http://plain.test/"), "ServiceEntry default/shop (shop.yaml:2:1): matched");
    assert_eq!(said("http://nobody.test:81/"), "nothing is known of nobody.test:81: it goes on as it is");
    assert_eq!(said("http://shop.test/%00"), "the path cannot be normalized: 400");
    assert_eq!(explained(&mesh, "http://shop.test/%00").resolution(), Some(Resolution::BadPath));
    let (snapshot, request) = (mesh.snapshot(), Request::options("*").header("host", "shop.test").body(()).unwrap());
    let view = RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh);
    let asterisk = snapshot.explain(&Origin::Mesh, &view).to_string();
    assert_eq!(asterisk, "the path has no slash to begin with, no rule is asked: 404");
}
