//! Failures as errors: which they are, what they say, and that nothing else is different.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use mesh_router::config::Config;
use mesh_router::dice::Dice;
use mesh_router::options::{MeshOptions, OutboundTrafficPolicy};
use mesh_router::outcome::{Failure, FailureError};
use mesh_router::service::{
    DeadlineBudget, ErrorMode, MeshError, MeshRouter, RequestBody, ResponseBody, ResponseFlags, RouteInfo,
};
use mesh_router::upstream::EndpointView;
use mesh_router::{BoxError, Mesh};
use metrics_exporter_prometheus::PrometheusBuilder;
use tower::{Layer, ServiceExt, service_fn};

type Body = Full<Bytes>;
type Answer = Response<ResponseBody<Body>>;

const SHOP: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop}
spec:
  hosts: [shop.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: empty}
spec:
  hosts: [empty.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: []
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop.test
  trafficPolicy:
    connectionPool: {http: {http2MaxRequests: 1}}
    outlierDetection: {consecutive5xxErrors: 2, baseEjectionTime: 60s, maxEjectionPercent: 100}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.test]
  http:
  - {match: [{uri: {prefix: /once}}], retries: {attempts: 0}, route: [{destination: {host: shop.test}}]}
  - {match: [{uri: {prefix: /again}}], retries: {attempts: 1, retryOn: 5xx}, route: [{destination: {host: shop.test}}]}
  - {match: [{uri: {prefix: /slow}}], timeout: 2s, route: [{destination: {host: shop.test}}]}
  - match: [{uri: {prefix: /tries}}]
    retries: {attempts: 1, perTryTimeout: 1s, retryOn: reset}
    route: [{destination: {host: shop.test}}]
  - match: [{uri: {prefix: /held}}]
    fault: {delay: {percentage: {value: 100}, fixedDelay: 1s}}
    retries: {attempts: 0}
    route: [{destination: {host: shop.test}}]
  - {match: [{uri: {prefix: /unknown}}], route: [{destination: {host: shop.test, subset: none}}]}
  - {match: [{uri: {prefix: /empty}}], route: [{destination: {host: empty.test}}]}
  - {match: [{uri: {prefix: /redirect}}], redirect: {uri: /new}}
  - {match: [{uri: {prefix: /direct}}], directResponse: {status: 503, body: {string: closed}}}
  - match: [{uri: {prefix: /abort}}]
    fault: {abort: {percentage: {value: 100}, httpStatus: 503}}
    route: [{destination: {host: shop.test}}]
  - match: [{uri: {prefix: /grpc}}]
    fault: {abort: {percentage: {value: 100}, grpcStatus: UNAVAILABLE}}
    route: [{destination: {host: shop.test}}]
  - match: [{uri: {prefix: /cors}}]
    corsPolicy: {allowOrigins: [{exact: 'http://a.test'}], allowMethods: [GET]}
    route: [{destination: {host: shop.test}}]
";

fn mesh() -> Mesh {
    let outbound_traffic_policy = OutboundTrafficPolicy::RegistryOnly;
    let options = MeshOptions { outbound_traffic_policy, ..MeshOptions::default() };
    let mesh = Mesh::builder().options(options).dice(Dice::seeded(3)).build();
    assert_eq!(mesh.apply(Config::from_yaml(SHOP, "shop.yaml").unwrap()).unwrap().errors().next(), None);
    mesh
}

/// What the client below does with every try.
#[derive(Clone, Copy, Debug)]
enum Does {
    Answers(u16),
    Fails(Failure),
    Hangs,
}

async fn serve(does: Does) -> Result<Response<Body>, BoxError> {
    match does {
        Does::Answers(status) => Ok(Response::builder().status(status).body(Body::default()).unwrap()),
        Does::Fails(failure) => Err(FailureError::new(failure, io::Error::other("told to")).into()),
        Does::Hangs => std::future::pending().await,
    }
}

async fn ask(mesh: &Mesh, mode: ErrorMode, does: Does, request: Request<Body>) -> Result<Answer, BoxError> {
    let inner = service_fn(move |_: Request<RequestBody<Body>>| serve(does));
    MeshRouter::new(mesh).with_error_mode(mode).layer(inner).oneshot(request).await
}

fn request(method: Method, uri: &str) -> Request<Body> {
    Request::builder().method(method).uri(uri).body(Body::default()).unwrap()
}

fn get(uri: &str) -> Request<Body> {
    request(Method::GET, uri)
}

/// All that a [`RouteInfo`] says.
fn told(info: &RouteInfo) -> String {
    let (cluster, endpoint) = (info.cluster(), info.endpoint().map(|endpoint| &endpoint.address));
    let decided = (info.rule(), info.destination(), cluster, endpoint);
    let cause = info.cause().map(|cause| cause.downcast_ref::<FailureError>().unwrap().failure());
    format!("{decided:?} {} {} {} {cause:?}", info.attempts(), info.flags(), info.details())
}

/// What came of a request: status and all that is told of it.
#[derive(Debug)]
enum Came {
    Answer(StatusCode, String),
    Error(MeshError),
}

/// What a request left behind.
#[derive(Debug, PartialEq)]
struct Left {
    /// Every endpoint with its requests and whether it is ejected.
    endpoints: Vec<(String, u32, bool)>,
    metrics: Vec<String>,
}

/// Sends a request over a mesh of its own, which counts for itself.
fn meet(mode: ErrorMode, does: Does, request: Request<Body>) -> (Came, Left) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let (came, endpoints) = metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mesh = mesh();
            let came = match ask(&mesh, mode, does, request).await {
                Ok(answer) => Came::Answer(answer.status(), told(answer.extensions().get().unwrap())),
                Err(error) => Came::Error(*error.downcast().unwrap()),
            };
            let views: Vec<_> = mesh.snapshot().clusters().flat_map(|cluster| cluster.view()).collect();
            let endpoint = |view: &EndpointView| (view.address.to_string(), view.active, view.ejected.is_some());
            (came, views.iter().map(endpoint).collect())
        })
    });
    let mut metrics: Vec<_> = recorder.handle().render().lines().map(str::to_owned).collect();
    metrics.sort();
    (came, Left { endpoints, metrics })
}

const START: &str = "upstream_reset_before_response_started";
const SHOP_TRIED: &str = "cluster outbound|80||shop.test, endpoint 10.0.0.1:80";

#[test]
fn every_failure_comes_out_as_an_error_and_nothing_else_is_different() {
    use Failure::{ConnectRefused, ConnectTimeout, ProtocolError, RemoteReset};
    let of = |number: usize| {
        let place = ["35:14", "36:14", "37:14", "38:13", "41:13", "45:14", "46:14"][number];
        format!("rule VirtualService default/shop spec.http[{number}].match[0] (shop.yaml:{place})")
    };
    let rule = |number: usize| format!("{}, {SHOP_TRIED}", of(number));
    let failed = |status: u16, flags: &str, reason: &str, number: usize, tries: &str| {
        format!("{status} {flags} {START}{{{reason}}}, {}, {tries}", rule(number))
    };
    let none = Does::Answers(200);
    for (uri, does, line) in [
        ("http://nobody.test/", none, "502 - direct_response, the host is not in the registry".to_owned()),
        ("http://shop.test/else", none, "404 NR route_not_found".to_owned()),
        ("http://shop.test/once%00", none, "400 - path_normalization_failed".to_owned()),
        ("http://shop.test/unknown", none, format!("503 NC cluster_not_found, {}", of(5))),
        (
            "http://shop.test/empty",
            none,
            format!("503 UH no_healthy_upstream, {}, cluster outbound|80||empty.test", of(6)),
        ),
        (
            "http://shop.test/once",
            Does::Fails(ConnectRefused),
            failed(503, "UF", "remote_connection_failure", 0, "1 try"),
        ),
        ("http://shop.test/once", Does::Fails(ProtocolError), failed(502, "UPE", "protocol_error", 0, "1 try")),
        // The second failure ejects the endpoint.
        ("http://shop.test/again", Does::Fails(RemoteReset), failed(503, "URX,UR", "remote_reset", 1, "2 tries")),
        ("http://shop.test/slow", Does::Hangs, format!("504 UT response_timeout, {}, 1 try", rule(2))),
        ("http://shop.test/tries", Does::Hangs, format!("504 URX,UT upstream_per_try_timeout, {}, 2 tries", rule(3))),
        ("http://shop.test/held", Does::Fails(ConnectTimeout), failed(503, "DI,UF", "connection_timeout", 4, "1 try")),
    ] {
        for grpc in [false, true] {
            let asked = || {
                let mut request = get(uri);
                if grpc {
                    request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
                }
                request
            };
            let (answered, left) = meet(ErrorMode::Respond, does, asked());
            let (returned, left_by_error) = meet(ErrorMode::Return, does, asked());
            let (Came::Answer(status, info), Came::Error(error)) = (&answered, &returned) else {
                panic!("{uri} {answered:?} {returned:?}")
            };
            assert_eq!(error.to_string(), line);
            let said = format!("{} {}", error.status().as_u16(), error.info());
            assert_eq!(said, line.replace(", the host is not in the registry", ""));
            assert!(format!("{:?}", error.info()).len() < 1000, "{:?}", error.info());
            assert_eq!(*status, if grpc { StatusCode::OK } else { error.status() }, "{uri}");
            assert_eq!(*info, told(error.info()), "{uri}");
            assert_eq!(left, left_by_error, "{uri}");
            assert_eq!(left.endpoints.iter().any(|(_, _, ejected)| *ejected), error.info().attempts() == 2, "{uri}");
            let counted: Vec<_> = left.metrics.iter().filter(|line| line.starts_with("istio_requests_total")).collect();
            let call = match error.status().as_u16() {
                _ if !grpc => "",
                400 => "13",
                404 => "12",
                _ => "14",
            };
            let (code, flags) = (status.as_u16(), error.info().flags());
            let said = format!(r#"response_code="{code}",grpc_response_status="{call}",response_flags="{flags}"}} 1"#);
            assert!(matches!(&counted[..], [line] if line.ends_with(&said)), "{counted:?}");
        }
    }
}

#[test]
fn what_a_rule_or_an_upstream_says_stays_an_answer() {
    for (path, does, status, details) in [
        ("/redirect", Does::Hangs, 301, "direct_response"),
        ("/direct", Does::Hangs, 503, "direct_response"),
        ("/abort", Does::Hangs, 503, "fault_filter_abort"),
        ("/grpc", Does::Hangs, 200, "fault_filter_abort"),
        ("/cors", Does::Hangs, 200, "direct_response"),
        ("/once", Does::Answers(503), 503, "via_upstream"),
        ("/again", Does::Answers(500), 500, "via_upstream"),
    ] {
        let ask = || {
            let method = if path == "/cors" { Method::OPTIONS } else { Method::GET };
            let mut request = request(method, &format!("http://shop.test{path}"));
            let headers = request.headers_mut();
            headers.insert("origin", "http://a.test".parse().unwrap());
            headers.insert("access-control-request-method", "GET".parse().unwrap());
            request
        };
        let (answered, left) = meet(ErrorMode::Respond, does, ask());
        let (returned, left_by_other) = meet(ErrorMode::Return, does, ask());
        let (Came::Answer(one, info), Came::Answer(other, same)) = (&answered, &returned) else {
            panic!("{details} {answered:?} {returned:?}")
        };
        assert_eq!((one.as_u16(), other), (status, one), "{details}");
        assert!(info.contains(details), "{info}");
        assert_eq!((info, left), (same, left_by_other));
    }
}

#[tokio::test]
async fn a_request_beyond_the_limits_is_an_error_too() {
    let mesh = mesh();
    let mut first = Box::pin(ask(&mesh, ErrorMode::Return, Does::Hangs, get("http://shop.test/once")));
    tokio_test::assert_pending!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())));
    let error = ask(&mesh, ErrorMode::Return, Does::Hangs, get("http://shop.test/once")).await.unwrap_err();
    let error = error.downcast_ref::<MeshError>().unwrap();
    assert_eq!(error.info().flags(), ResponseFlags::UPSTREAM_OVERFLOW);
    assert_eq!((error.status(), error.info().attempts()), (StatusCode::SERVICE_UNAVAILABLE, 0));
    assert!(error.source().is_none());
}

#[tokio::test]
async fn a_budget_that_is_spent_is_an_error_too() {
    let mut request = get("http://shop.test/once");
    request.extensions_mut().insert(DeadlineBudget::within(Duration::ZERO));
    let error = ask(&mesh(), ErrorMode::Return, Does::Hangs, request).await.unwrap_err();
    assert_eq!(error.downcast_ref::<MeshError>().unwrap().status(), StatusCode::GATEWAY_TIMEOUT);
    let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
    assert_eq!(source.kind(), io::ErrorKind::TimedOut);
}

/// Whatever its source says to others, no connection was waited for.
#[tokio::test(start_paused = true)]
async fn a_timeout_of_rules_below_is_a_reset() {
    let below = mesh();
    let inner = service_fn(move |_: Request<RequestBody<Body>>| {
        let below = below.clone();
        async move { ask(&below, ErrorMode::Return, Does::Hangs, get("http://shop.test/slow")).await }
    });
    let above = MeshRouter::new(&mesh()).with_error_mode(ErrorMode::Return).layer(inner);
    let error = above.oneshot(get("http://shop.test/once")).await.unwrap_err();
    assert_eq!(error.downcast_ref::<MeshError>().unwrap().info().flags(), ResponseFlags::UPSTREAM_REMOTE_RESET);
    assert!(error.source().unwrap().source().unwrap().is::<io::Error>());
}

#[tokio::test]
async fn the_source_is_what_the_inner_service_said() {
    let error = ask(&mesh(), ErrorMode::Return, Does::Fails(Failure::RemoteReset), get("http://shop.test/once")).await;
    let error = error.unwrap_err();
    let source = error.source().and_then(|source| source.downcast_ref::<FailureError>()).unwrap();
    assert_eq!(source.source().unwrap().to_string(), "told to");
    let line = format!("{error:?}");
    assert!(line.contains("503 UR ") && line.contains("told to") && line.len() < 400, "{line}");
}

#[tokio::test]
async fn errors_of_what_no_rule_took_are_the_inner_services_own() {
    for mode in [ErrorMode::Respond, ErrorMode::Return] {
        let does = Does::Fails(Failure::ConnectRefused);
        let error = ask(&Mesh::new(), mode, does, get("http://nobody.test/")).await.unwrap_err();
        assert!(error.downcast_ref::<FailureError>().is_some(), "{error:?}");
    }
}

#[tokio::test]
async fn what_comes_in_is_answered_all_the_same() {
    let rules = SHOP.replace("  hosts: [shop.test]\n  http:", "  hosts: [shop.test]\n  gateways: [front]\n  http:");
    let mesh = Mesh::new();
    assert_eq!(mesh.apply(Config::from_yaml(&rules, "shop.yaml").unwrap()).unwrap().errors().next(), None);
    let application =
        service_fn(async |_: Request<RequestBody<Body>>| Ok::<_, Infallible>(Response::new(Body::default())));
    let server = MeshRouter::inbound(&mesh, "default/front").layer(application);
    let Ok(answer) = server.oneshot(get("http://shop.test/else")).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}
