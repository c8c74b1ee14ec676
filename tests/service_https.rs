//! `https` requests of an application: sealed for http rules, sent by tls rules, opened by `with_https_routed`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use mesh_router::config::Config;
use mesh_router::dice::Dice;
use mesh_router::options::Workload;
use mesh_router::outcome::{Failure, FailureError};
use mesh_router::service::{MeshRouter, RequestBody, ResponseBody, ResponseFlags, RouteInfo};
use mesh_router::{BoxError, Mesh};
use tower::{Layer, ServiceExt, service_fn};

type Body = Empty<Bytes>;
type Sent = Request<RequestBody<Body>>;

const CONFIG: &str = r"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop}
spec:
  hosts: [shop.test, '*.shop.test', '*.wide.test', sealed.test]
  resolution: NONE
  ports: [{number: 443, name: tls, protocol: TLS}, {number: 80, name: http, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: egress}
spec:
  hosts: [egress.test]
  resolution: STATIC
  ports: [{number: 443, name: tls, protocol: TLS}, {number: 8443, name: other, protocol: TLS}]
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: egress}
spec: {host: egress.test, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 2, maxEjectionPercent: 100}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.test, '*.shop.test', '*.wide.test']
  tls:
  - match: [{sniHosts: ['*.shop.test'], port: 443}]
    route: [{destination: {host: egress.test, port: {number: 8443}}}]
  - match: [{sniHosts: [shop.test, a.shop.test]}]
    route: [{destination: {host: egress.test}}]
  - match: [{sniHosts: [a.wide.test], sourceLabels: {app: other}}, {sniHosts: [b.wide.test], sourceLabels: {app: me}}]
    route: [{destination: {host: egress.test}}]
  - match: [{sniHosts: [c.wide.test], gateways: [elsewhere/gateway]}, {sniHosts: [d.wide.test], sourceNamespace: other}]
    route: [{destination: {host: egress.test}}]
";

/// Rules that see what is inside.
const OPEN: &str = r"
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: open}
spec:
  hosts: [open.test]
  resolution: STATIC
  ports: [{number: 443, name: https, protocol: HTTPS}, {number: 8080, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.2}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: open}
spec:
  hosts: [open.test]
  tls: [{match: [{sniHosts: [open.test]}], route: [{destination: {host: egress.test, port: {number: 443}}}]}]
  http:
  - match: [{port: 443, uri: {prefix: /old}}]
    rewrite: {uri: /new, authority: renamed.test}
    mirrors: [{destination: {host: egress.test, port: {number: 443}}}]
    route: [{destination: {host: open.test, port: {number: 443}}}]
  - match: [{port: 443, scheme: {exact: http}}]
    directResponse: {status: 418}
";

fn mesh(text: &str) -> Mesh {
    let mut workload = Workload::default();
    workload.labels.insert("app".into(), "me".into());
    let mesh = Mesh::builder().dice(Dice::seeded(1)).workload(workload).build();
    let report = mesh.apply(Config::from_yaml(text, "https.yaml").unwrap()).unwrap();
    assert_eq!(report.errors().count(), 0, "{report}");
    mesh
}

/// What the client below was asked for: the URI, the `Host`, the endpoint, and the server name with a `!` if it goes
/// from end to end.
fn seen(request: &Sent) -> [String; 4] {
    let host = request.headers().get("host").map_or("-", |host| host.to_str().unwrap());
    let aim = request.body().aim();
    let https = aim.and_then(|aim| aim.https.as_ref());
    let whole = |is_whole| if is_whole { "!" } else { "" };
    [
        request.uri().to_string(),
        host.to_owned(),
        aim.map_or("-".to_owned(), |aim| aim.endpoint.authority.to_string()),
        https.map_or("-".to_owned(), |https| format!("{}{}", https.server_name, whole(https.is_whole))),
    ]
}

#[derive(Clone, Default)]
struct Client {
    seen: Arc<Mutex<Vec<[String; 4]>>>,
    fails: Arc<Mutex<Vec<Failure>>>,
}

impl Client {
    async fn get(&self, router: &MeshRouter, uri: &str) -> Result<Response<ResponseBody<Body>>, BoxError> {
        let client = self.clone();
        let inner = service_fn(move |request: Sent| {
            client.seen.lock().unwrap().push(seen(&request));
            let failure = client.fails.lock().unwrap().pop();
            std::future::ready(match failure {
                Some(failure) => Err(FailureError::new(failure, io::Error::other("as told"))),
                None => Ok(Response::builder().status(500).body(Body::new()).unwrap()),
            })
        });
        router.layer(inner).oneshot(Request::get(uri).body(Body::new()).unwrap()).await
    }

    fn last(&self) -> [String; 4] {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

async fn sent(router: &MeshRouter, uri: &str) -> [String; 4] {
    let client = Client::default();
    client.get(router, uri).await.unwrap();
    client.last()
}

#[tokio::test]
async fn tls_rules_send_https_by_its_server_name_and_leave_it_whole() {
    let router = MeshRouter::new(&mesh(CONFIG));
    for (uri, endpoint, name) in [
        ("https://shop.test/x?y", "10.0.0.1:443", "shop.test!"),
        // The most specific name, not the first.
        ("https://a.shop.test/", "10.0.0.1:443", "a.shop.test!"),
        ("https://b.shop.test/", "10.0.0.1:8443", "b.shop.test!"),
        ("https://b.wide.test/", "10.0.0.1:443", "b.wide.test!"),
    ] {
        assert_eq!(sent(&router, uri).await, [uri, "-", endpoint, name], "{uri}");
    }
    assert_eq!(sent(&router, "https://Shop.TEST/").await[3], "shop.test!", "names have no case");
}

#[tokio::test]
async fn tls_rules_lead_through_the_tunnel_of_their_destination_and_http_rules_do_not() {
    let tunnel = "trafficPolicy: {tunnel: {targetHost: behind.test, targetPort: 8443}, outlier";
    let http = r"
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web}
spec:
  hosts: [web.test]
  resolution: STATIC
  ports: [{number: 443, name: https, protocol: HTTPS}, {number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.2}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec: {hosts: [web.test], http: [{route: [{destination: {host: egress.test, port: {number: 443}}}]}]}
";
    let mesh = mesh(&format!("{}{http}", CONFIG.replace("trafficPolicy: {outlier", tunnel)));
    for (router, uri, asked) in [
        (MeshRouter::new(&mesh), "https://shop.test/", Some("CONNECT behind.test:8443")),
        (MeshRouter::new(&mesh).with_https_routed(), "https://shop.test/", Some("CONNECT behind.test:8443")),
        (MeshRouter::new(&mesh).with_https_routed(), "https://web.test/", None),
        (MeshRouter::new(&mesh), "http://web.test/", None),
    ] {
        let inner = service_fn(|request: Sent| {
            let aim = request.body().aim().unwrap();
            assert_eq!(aim.endpoint.authority.host(), "10.0.0.1");
            let tunnel = aim.https.as_ref().and_then(|https| https.tunnel.as_ref());
            let response =
                Response::builder().header("asked", tunnel.map_or(String::new(), |tunnel| tunnel.to_string()));
            std::future::ready(Ok::<_, BoxError>(response.body(Body::new()).unwrap()))
        });
        let response = router.layer(inner).oneshot(Request::get(uri).body(Body::new()).unwrap()).await.unwrap();
        assert_eq!(response.headers()["asked"], asked.unwrap_or_default(), "{uri}");
    }
}

#[tokio::test]
async fn what_no_tls_rule_names_goes_on_as_it_is() {
    let router = MeshRouter::new(&mesh(&format!("{CONFIG}{OPEN}")));
    for uri in [
        "https://sealed.test/",
        // No service speaks TLS there.
        "https://shop.test:80/",
        "https://shop.test:8443/",
        // For others: a label, a gateway, a namespace.
        "https://a.wide.test/",
        "https://c.wide.test/",
        "https://d.wide.test/",
    ] {
        assert_eq!(sent(&router, uri).await, [uri, "-", "-", "-"], "{uri}");
    }
    // http rules do not see it.
    let whole = ["https://open.test/old", "-", "10.0.0.1:443", "open.test!"];
    assert_eq!(sent(&router, "https://open.test/old").await, whole);
}

/// Services without endpoints, one by a tls rule and one by an http rule.
const PASSES: &str = r"
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: sealed}
spec:
  hosts: [sealed.test]
  tls: [{match: [{sniHosts: [sealed.test]}], route: [{destination: {host: sealed.test, port: {number: 443}}}]}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: passing}
spec:
  hosts: [passing.test]
  resolution: NONE
  ports: [{number: 443, name: https, protocol: HTTPS}, {number: 80, name: http, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: passing}
spec:
  hosts: [passing.test]
  http: [{match: [{port: 443}], route: [{destination: {host: passing.test, port: {number: 443}}}]}]
";

#[tokio::test]
async fn https_that_passes_through_goes_to_port_443_where_it_names_none() {
    let mesh = mesh(&format!("{CONFIG}{PASSES}"));
    let (whole, routed) = (MeshRouter::new(&mesh), MeshRouter::new(&mesh).with_https_routed());
    for (router, uri, endpoint) in [
        (&whole, "https://sealed.test/", "sealed.test:443"),
        (&whole, "https://user@sealed.test:443/", "sealed.test:443"),
        (&routed, "https://passing.test/", "passing.test:443"),
        (&routed, "https://passing.test:443/", "passing.test:443"),
        (&whole, "http://passing.test/", "passing.test:80"),
    ] {
        assert_eq!(sent(router, uri).await[2], endpoint, "{uri}");
    }
}

#[tokio::test]
async fn of_what_is_sealed_only_the_connection_is_judged() {
    let mesh = mesh(CONFIG);
    let (router, client) = (MeshRouter::new(&mesh), Client::default());
    for _ in 0..5 {
        assert_eq!(client.get(&router, "https://shop.test/").await.unwrap().status(), 500);
    }
    assert_eq!(client.last()[2], "10.0.0.1:443");

    for _ in 0..2 {
        client.fails.lock().unwrap().push(Failure::ConnectRefused);
        let answer = client.get(&router, "https://shop.test/").await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        let info = answer.extensions().get::<RouteInfo>().unwrap();
        assert_eq!((info.flags(), info.attempts()), (ResponseFlags::UPSTREAM_CONNECTION_FAILURE, 1));
    }
    let answer = client.get(&router, "https://shop.test/").await.unwrap();
    let info = answer.extensions().get::<RouteInfo>().unwrap();
    assert_eq!(info.flags(), ResponseFlags::NO_HEALTHY_UPSTREAM, "it is ejected");
    assert_eq!(client.seen.lock().unwrap().len(), 7);
}

#[tokio::test]
async fn http_rules_apply_to_https_where_the_application_wants_it() {
    let router = MeshRouter::new(&mesh(&format!("{CONFIG}{OPEN}"))).with_https_routed();
    let routed = ["https://10.0.0.2:443/new", "renamed.test", "10.0.0.2:443", "renamed.test"];
    let client = Client::default();
    client.get(&router, "https://open.test/old").await.unwrap();
    while client.seen.lock().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    let mut requests = client.seen.lock().unwrap().clone();
    requests.sort();
    let mirrored = ["https://10.0.0.1:443/new", "renamed.test", "10.0.0.1:443", "renamed.test"];
    assert_eq!(requests, [mirrored.map(str::to_owned), routed.map(str::to_owned)]);

    // The rules of the host are for this port, so that what none of them takes goes nowhere.
    let answer = Client::default().get(&router, "https://open.test/else").await.unwrap();
    assert_eq!(answer.extensions().get::<RouteInfo>().unwrap().flags(), ResponseFlags::NO_ROUTE);
    // A port of HTTP, on which the application wants TLS all the same.
    let other = ["https://10.0.0.2:8080/", "open.test:8080", "10.0.0.2:8080", "open.test"];
    assert_eq!(sent(&router, "https://open.test:8080/").await, other);
    // No http rule is written for these.
    assert_eq!(sent(&router, "https://shop.test/").await[3], "shop.test!");
    assert_eq!(sent(&router, "https://nobody.test/").await, ["https://nobody.test/", "-", "-", "-"]);
}

#[tokio::test(start_paused = true)]
async fn every_try_of_it_is_https() {
    let router = MeshRouter::new(&mesh(&format!("{CONFIG}{OPEN}"))).with_https_routed();
    let client = Client::default();
    client.fails.lock().unwrap().extend([Failure::ConnectRefused, Failure::ConnectRefused]);
    client.get(&router, "https://open.test:8080/").await.unwrap();
    let seen = client.seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|seen| seen[0] == "https://10.0.0.2:8080/" && seen[3] == "open.test"), "{seen:?}");
}

#[test]
fn the_report_says_over_which_client_tls_rules_hold() {
    let report = Mesh::new().apply(Config::from_yaml(CONFIG, "https.yaml").unwrap()).unwrap();
    let said = report.problems().iter().find(|problem| problem.path == "spec.tls").expect("it is said");
    assert!(said.message.contains("Transport only"), "{said}");
    // What holds in the mesh alone is honored there.
    assert!(!report.to_string().contains("sourceLabels"), "{report}");
}
