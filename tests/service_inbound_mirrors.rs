//! Copies of what an application serves, sent through a client beside it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/shop.rs"]
mod shop;

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use mesh_router::dice::Dice;
use mesh_router::integrate::reqwest::{ReqwestService, client_builder};
use mesh_router::service::{InboundRouter, MeshRouter, MirrorBody, RequestBody};
use mesh_router::{BoxError, Mesh, Transport};
use shop::nothing_is_left;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};
use tokio_stream::StreamExt;
use tower::{Layer, ServiceExt, service_fn};
use tracing::{Level, Metadata, Subscriber, span};

type Body = UnsyncBoxBody<Bytes, io::Error>;

const SHADOW: &str = r"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shadow, namespace: web}
spec:
  hosts: [shadow.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.9}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shadow, namespace: web}
spec:
  host: shadow.test
  trafficPolicy:
    connectionPool: {http: {http2MaxRequests: 5, http1MaxPendingRequests: 5}}
    outlierDetection: {consecutive5xxErrors: 3, baseEjectionTime: 60s, maxEjectionPercent: 100}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: web}
spec:
  hosts: [shop.test]
  gateways: [front]
  http:
  - match: [{uri: {prefix: /old}}]
    mirror: {host: shadow.test}
    redirect: {uri: /new}
  - route: [{destination: {host: backend}}]
";

/// A mesh whose rule for the application has these fields besides its route.
fn mesh(fields: &str) -> Mesh {
    shop::published(&format!("{SHADOW}{}", shop::indented(4, fields)))
}

fn inbound(mesh: &Mesh, client: &Client) -> InboundRouter {
    let client = client.clone();
    MeshRouter::inbound(mesh, "web/front")
        .with_mirrors(service_fn(move |request: Request<RequestBody<MirrorBody>>| client.clone().serve(request)))
}

/// A copy as the client got it.
#[derive(Debug)]
struct Copied {
    at: Instant,
    head: Parts,
    body: Result<usize, String>,
}

/// Where copies go: each is answered after a while, with this status.
#[derive(Clone)]
struct Client {
    answer: (Duration, u16),
    copies: Arc<Mutex<Vec<Copied>>>,
}

impl Client {
    fn new(milliseconds: u64, status: u16) -> Self {
        Self { answer: (Duration::from_millis(milliseconds), status), copies: Arc::default() }
    }

    fn take(&self) -> Vec<Copied> {
        std::mem::take(&mut *self.copies.lock().unwrap())
    }

    async fn serve(self, request: Request<RequestBody<MirrorBody>>) -> Result<Response<Empty<Bytes>>, BoxError> {
        let (at, (head, body)) = (Instant::now(), request.into_parts());
        assert_eq!(body.aim().unwrap().endpoint.address.to_string(), "10.0.0.9:80");
        let body = body.collect().await.map(|body| body.to_bytes().len()).map_err(|error| error.to_string());
        let failed = body.is_err();
        self.copies.lock().unwrap().push(Copied { at, head, body });
        if failed {
            return Err("the copy broke off".into());
        }
        sleep(self.answer.0).await;
        Ok(Response::builder().status(self.answer.1).body(Empty::new()).unwrap())
    }
}

/// Reads so many bytes of a request's body, and then answers with what it read of which path.
async fn application(request: Request<RequestBody<Body>>) -> Result<Response<Body>, Infallible> {
    let wanted = request.headers().get("x-read").map_or(usize::MAX, |read| read.to_str().unwrap().parse().unwrap());
    let path = request.uri().path().to_owned();
    let (mut body, mut read) = (request.into_body(), 0);
    while read < wanted
        && let Some(frame) = body.frame().await
    {
        read += frame.unwrap().into_data().map_or(0, |data| data.len());
    }
    Ok(Response::builder().header("x-said", format!("{path} {read}")).body(none()).unwrap())
}

fn none() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body of so many chunks of 100 bytes, each some time after the one before.
fn chunks(count: usize, apart: Duration) -> Body {
    let frames = tokio_stream::iter(0..count).then(move |_| async move {
        sleep(apart).await;
        Ok(Frame::data(Bytes::from(vec![7; 100])))
    });
    StreamBody::new(frames).boxed_unsync()
}

async fn ask(router: &InboundRouter, request: Request<Body>) -> Response<()> {
    let response = router.layer(service_fn(application)).oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    body.collect().await.unwrap();
    Response::from_parts(head, ())
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).header("host", "shop.test").body(none()).unwrap()
}

/// As much as others need to do what they can do now.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_goes_to_the_mirror_and_nobody_waits_for_it() {
    let mesh = mesh("mirror: {host: shadow.test}\nrewrite: {uri: /v2/}\nheaders: {request: {set: {x-from: front}}}");
    let (client, began) = (Client::new(60_000, 200), Instant::now());
    let mut request = get("/a?b=c");
    let headers = request.headers_mut();
    for (name, value) in [("connection", "close, x-hop"), ("x-hop", "1"), ("te", "gzip"), ("x-own", "1")] {
        headers.insert(name, value.parse().unwrap());
    }
    headers.insert("transfer-encoding", "chunked".parse().unwrap());
    headers.insert("expect", "100-continue".parse().unwrap());
    let response = ask(&inbound(&mesh, &client), request).await;
    assert_eq!((response.status(), &response.headers()["x-said"]), (StatusCode::OK, &"/v2/a 0".parse().unwrap()));
    settle().await;
    assert!(began.elapsed() < Duration::from_secs(1));
    let copies = client.take();
    let [Copied { head, body: Ok(0), .. }] = &copies[..] else { panic!("{copies:?}") };
    assert_eq!(head.uri, "http://10.0.0.9:80/v2/a?b=c");
    let mut names: Vec<_> = head.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["host", "x-envoy-original-path", "x-from", "x-own"], "what concerns one connection stays there");
    assert_eq!(head.headers["host"], "shop.test");
    assert_eq!(mesh.snapshot().clusters().map(|cluster| cluster.limits().in_use().requests).sum::<u64>(), 1);
    sleep(Duration::from_secs(61)).await;
    nothing_is_left(&mesh);
}

#[tokio::test(start_paused = true)]
async fn the_body_is_copied_while_the_application_reads_it() {
    let client = Client::new(0, 200);
    for fields in ["mirror: {host: shadow.test}", "mirror: {host: shadow.test}\ntimeout: 5s"] {
        let mesh = mesh(fields);
        let request = Request::post("http://shop.test/").body(chunks(3, Duration::from_secs(1))).unwrap();
        let response = ask(&inbound(&mesh, &client), request).await;
        assert_eq!(response.headers()["x-said"], "/ 300");
        settle().await;
        let copies = client.take();
        let [Copied { body: Ok(300), at, .. }] = &copies[..] else { panic!("{copies:?}") };
        assert!(at.elapsed() >= Duration::from_secs(3), "it left with the head");
        nothing_is_left(&mesh);
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_application_does_not_read_breaks_the_copy_off() {
    let mesh = mesh("mirror: {host: shadow.test}");
    let client = Client::new(0, 200);
    let request = Request::post("http://shop.test/").header("x-read", 100).body(chunks(3, Duration::ZERO)).unwrap();
    let response = ask(&inbound(&mesh, &client), request).await;
    assert_eq!(response.headers()["x-said"], "/ 100");
    settle().await;
    let copies = client.take();
    assert!(matches!(&copies[..], [Copied { body: Err(_), .. }]), "{copies:?}");
    nothing_is_left(&mesh);
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_delayed_request_leaves_when_that_does() {
    let delay = "fault: {delay: {percentage: {value: 100}, fixedDelay: 3s}}\nmirror: {host: shadow.test}";
    let (mesh, client, began) = (mesh(delay), Client::new(0, 200), Instant::now());
    let request = Request::post("http://shop.test/").body(chunks(1, Duration::ZERO)).unwrap();
    ask(&inbound(&mesh, &client), request).await;
    settle().await;
    let copies = client.take();
    let [Copied { body: Ok(100), at, .. }] = &copies[..] else { panic!("{copies:?}") };
    assert_eq!(*at - began, Duration::from_secs(3));
    nothing_is_left(&mesh);
}

#[tokio::test(start_paused = true)]
async fn what_is_answered_here_has_no_copy() {
    let abort = "fault: {abort: {percentage: {value: 100}, httpStatus: 429}}\nmirror: {host: shadow.test}";
    let client = Client::new(0, 200);
    let mesh_of_aborts = mesh(abort);
    assert_eq!(ask(&inbound(&mesh_of_aborts, &client), get("/")).await.status(), StatusCode::TOO_MANY_REQUESTS);
    let mesh = mesh("mirror: {host: shadow.test}");
    assert_eq!(ask(&inbound(&mesh, &client), get("/old")).await.status(), StatusCode::MOVED_PERMANENTLY);
    settle().await;
    assert_eq!(client.take().len(), 0);
    nothing_is_left(&mesh);
}

#[tokio::test(start_paused = true)]
async fn a_copy_asks_for_a_websocket_and_for_no_other_tunnel() {
    let mesh = mesh("mirror: {host: shadow.test}");
    let client = Client::new(0, 200);
    let ask_for = |protocol: &str| {
        let mut upgrade = get("/");
        upgrade.headers_mut().insert("upgrade", protocol.parse().unwrap());
        upgrade.headers_mut().insert("connection", "keep-alive, upgrade".parse().unwrap());
        upgrade
    };
    let mut connect = get("/");
    *connect.method_mut() = Method::CONNECT;
    for request in [ask_for("WebSocket"), ask_for("h2c"), connect] {
        ask(&inbound(&mesh, &client), request).await;
    }
    settle().await;
    let copies = client.take();
    let copied: Vec<_> =
        copies.iter().map(|copy| ["upgrade", "connection"].map(|name| copy.head.headers.get(name))).collect();
    let [Some(upgrade), Some(connection)] = copied[0] else { panic!("{copies:?}") };
    assert_eq!((upgrade, connection), (&"WebSocket".parse().unwrap(), &"keep-alive, upgrade".parse().unwrap()));
    assert_eq!(copied[1..], [[None, None]]);
    nothing_is_left(&mesh);
}

/// Counts warnings.
struct Warnings(Arc<AtomicUsize>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target().ends_with("mirror")
    }

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn without_a_client_there_is_no_copy_and_that_is_said_once() {
    let warnings = Arc::new(AtomicUsize::new(0));
    let _logged = tracing::subscriber::set_default(Warnings(warnings.clone()));
    let unmirrored = mesh("timeout: 1s");
    ask(&MeshRouter::inbound(&unmirrored, "web/front"), get("/")).await;
    assert_eq!(warnings.load(Ordering::Relaxed), 0);
    let mesh = mesh("mirror: {host: shadow.test}");
    let router = MeshRouter::inbound(&mesh, "web/front").with_mirror_limits(10, 10);
    for _ in 0..3 {
        let request = Request::post("http://shop.test/").body(chunks(1, Duration::ZERO)).unwrap();
        assert_eq!(ask(&router, request).await.headers()["x-said"], "/ 100");
        assert_eq!(warnings.load(Ordering::Relaxed), 1);
    }
    nothing_is_left(&mesh);
}

#[tokio::test(start_paused = true)]
async fn one_draw_decides_for_all_mirrors_of_a_request() {
    let half = "{destination: {host: shadow.test}, percentage: {value: 50}}";
    let mesh = mesh(&format!("mirrors: [{half}, {half}]"));
    let (client, mut copied) = (Client::new(0, 200), 0u32);
    let router = inbound(&mesh, &client);
    for _ in 0..400 {
        ask(&router, get("/")).await;
        settle().await;
        match client.take().len() {
            0 => {}
            2 => copied += 1,
            odd => panic!("{odd} copies"),
        }
    }
    // Five sigma: the square root of 400 / 4 is 10.
    assert!(copied.abs_diff(200) < 50, "{copied}");
}

#[tokio::test(start_paused = true)]
async fn copies_have_bounds_of_their_own() {
    let mesh = mesh("mirror: {host: shadow.test}");
    let client = Client::new(60_000, 200);
    let sent = async |router: InboundRouter| {
        for _ in 0..9 {
            assert_eq!(ask(&router, get("/")).await.status(), StatusCode::OK);
        }
        settle().await;
        let sent = client.take().len();
        sleep(Duration::from_secs(100)).await;
        sent
    };
    assert_eq!(sent(inbound(&mesh, &client)).await, 5, "the limits of the mirror's cluster");
    assert_eq!(sent(inbound(&mesh, &client).with_mirror_limits(2, 0)).await, 2);
    assert_eq!(sent(inbound(&mesh, &client).with_mirror_limits(0, 0)).await, 0);
    nothing_is_left(&mesh);
    // Of a body that has to wait for the client too much may wait.
    let slow = MeshRouter::inbound(&mesh, "web/front").with_mirror_limits(9, 150).with_mirrors(service_fn(
        async |request: Request<RequestBody<MirrorBody>>| {
            sleep(Duration::from_secs(1)).await;
            assert!(request.into_body().collect().await.is_err());
            Ok::<_, BoxError>(Response::new(Empty::<Bytes>::new()))
        },
    ));
    let request = Request::post("http://shop.test/").body(chunks(3, Duration::ZERO)).unwrap();
    assert_eq!(ask(&slow, request).await.headers()["x-said"], "/ 300", "the request itself goes on");
    sleep(Duration::from_secs(2)).await;
    nothing_is_left(&mesh);
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_fails_is_ejected_and_gets_no_more() {
    let (mesh, client) = (mesh("mirror: {host: shadow.test}"), Client::new(0, 503));
    let router = inbound(&mesh, &client);
    for _ in 0..9 {
        assert_eq!(ask(&router, get("/")).await.status(), StatusCode::OK);
        settle().await;
    }
    // Panic mode is off in Istio: where nobody is healthy nobody is picked.
    assert_eq!(client.take().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_takes_too_long_is_ejected_and_gets_no_more() {
    let (mesh, client) = (mesh("mirror: {host: shadow.test}\ntimeout: 300ms"), Client::new(1000, 200));
    let router = inbound(&mesh, &client);
    for _ in 0..9 {
        assert_eq!(ask(&router, get("/")).await.status(), StatusCode::OK);
        sleep(Duration::from_millis(400)).await;
    }
    assert_eq!(client.take().len(), 3);
    nothing_is_left(&mesh);
}

#[tokio::test(start_paused = true)]
async fn a_mirror_whose_answer_breaks_off_is_ejected_and_gets_no_more() {
    let strict = SHADOW.replace("consecutive5xxErrors: 3", "consecutive5xxErrors: 1");
    let mesh = shop::published(&format!("{strict}    mirror: {{host: shadow.test}}\n"));
    let copies = Arc::new(AtomicUsize::new(0));
    let count = copies.clone();
    let router =
        MeshRouter::inbound(&mesh, "web/front").with_mirrors(service_fn(move |_: Request<RequestBody<MirrorBody>>| {
            count.fetch_add(1, Ordering::Relaxed);
            let broken = StreamBody::new(tokio_stream::once(Err::<Frame<Bytes>, _>(io::Error::other("broken"))));
            std::future::ready(Ok::<_, BoxError>(Response::new(broken)))
        }));
    for _ in 0..5 {
        assert_eq!(ask(&router, get("/")).await.status(), StatusCode::OK);
        settle().await;
    }
    assert_eq!(copies.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_need_only_be_sent() {
    #[derive(Clone)]
    struct NotShared(Arc<Mutex<Vec<Copied>>>, Cell<u32>);

    let (mesh, client) = (mesh("mirror: {host: shadow.test}"), Client::new(0, 200));
    let own = NotShared(client.copies.clone(), Cell::new(0));
    let router = MeshRouter::inbound(&mesh, "web/front").with_mirrors(service_fn(move |request| {
        own.1.set(own.1.get() + 1);
        Client { answer: (Duration::ZERO, 200), copies: own.0.clone() }.serve(request)
    }));
    fn shared<T: Clone + Send + Sync>(value: T) -> T {
        value
    }
    ask(&shared(router), get("/")).await;
    settle().await;
    assert_eq!(client.take().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn copies_go_over_our_own_transport() {
    let (mesh, (near, mut far)) = (mesh("mirror: {host: shadow.test}"), tokio::io::duplex(1 << 16));
    let near = Mutex::new(Some(near));
    let connect = move |_| std::future::ready(near.lock().unwrap().take().ok_or(io::Error::other("one is enough")));
    let router = MeshRouter::inbound(&mesh, "web/front").with_mirrors(Transport::builder().connector(connect).build());
    let request = Request::post("/x").version(Version::HTTP_2).header("content-length", 200);
    let request = request.header("host", "shop.test").header("cookie", "a=1").header("cookie", "b=2");
    let response = ask(&router, request.body(chunks(2, Duration::from_secs(1))).unwrap()).await;
    assert_eq!(response.headers()["x-said"], "/x 200");
    let mut text = String::new();
    while !text.contains("\r\n\r\n") || text.len() < text.find("\r\n\r\n").unwrap() + 4 + 200 {
        let mut chunk = [0; 1024];
        let read = far.read(&mut chunk).await.unwrap();
        assert!(read > 0, "{text}");
        text.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
    }
    far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /x HTTP/1.1\r\n"), "{head}");
    for line in ["content-length: 200", "host: shop.test", "cookie: a=1; b=2"] {
        assert!(head.lines().any(|of_head| of_head == line), "{line}: {head}");
    }
    assert_eq!(body.len(), 200);
    settle().await;
    let clusters = mesh.snapshot();
    assert!(clusters.clusters().all(|cluster| cluster.limits().in_use().requests == 0));
}

/// Other clients can be given too.
#[test]
fn clients_of_others_fit() {
    let mesh = mesh("");
    let router = MeshRouter::inbound(&mesh, "web/front");
    let of_reqwest = ReqwestService::new(client_builder().build().unwrap());
    let of_hyper = legacy::Client::builder(TokioExecutor::new()).build_http::<RequestBody<MirrorBody>>();
    let router = router.with_mirrors(of_reqwest).with_mirrors(of_hyper);
    drop(router.layer(service_fn(application)));
}

#[tokio::test(start_paused = true)]
async fn copies_end_with_the_mesh() {
    let (mesh, client) = (mesh("mirror: {host: shadow.test}"), Client::new(3_600_000, 200));
    ask(&inbound(&mesh, &client), get("/")).await;
    settle().await;
    assert_eq!(client.take().len(), 1);
    let tasks = tokio::runtime::Handle::current().metrics();
    assert_eq!(tasks.num_alive_tasks(), 1);
    drop(mesh);
    settle().await;
    assert_eq!(tasks.num_alive_tasks(), 0);
}

/// Requests and answers are given up after any time.
#[tokio::test(start_paused = true)]
async fn a_request_given_up_at_any_moment_leaves_nothing_behind() {
    let rule = "timeout: 500ms\nmirror: {host: shadow.test}\n\
                fault: {delay: {percentage: {value: 50}, fixedDelay: 100ms}}";
    let (mesh, mut draws) = (mesh(rule), Dice::seeded(11).draws());
    for _ in 0..300 {
        let (client, wait) = (Client::new(draws.below(100), 200), Duration::from_millis(draws.below(900)));
        let application = service_fn(move |request: Request<RequestBody<Body>>| async move {
            let response = application(request).await;
            sleep(wait).await;
            response
        });
        let body = chunks(draws.below(3) as usize, Duration::from_millis(draws.below(100)));
        let request = Request::post("http://shop.test/").body(body).unwrap();
        let patience = Duration::from_millis(draws.below(1000));
        drop(tokio::time::timeout(patience, inbound(&mesh, &client).layer(application).oneshot(request)).await);
    }
    sleep(Duration::from_secs(10)).await;
    nothing_is_left(&mesh);
}
