//! What the rules add to each library's client over loopback: `cargo bench --bench integrations`.
//!
//! A closed loop with 32 requests in flight, client and server on a thread each. The ways of a library are measured in
//! turns in one run and compared by their medians, because the machine is never the same twice. The CPU is that of the
//! client's thread. The features of the crate are all on. Everything is measured twice: without a timeout, and with one
//! that is the rule's here and the library's own there. `-- tonic` measures that library alone. Without `--bench`, as
//! `cargo test --benches` has it, each way is only tried.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench that cannot run must stop")]

use std::convert::Infallible;
use std::future::ready;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body::Body;
use http_body_util::{BodyExt, Either, Empty, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use mesh_router::config::Config;
use mesh_router::integrate::reqwest::{MeshMiddleware, ReqwestService, client_builder};
use mesh_router::service::RequestBody;
use mesh_router::{BoxError, Mesh, MeshRouter, Transport};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::client::{Grpc, GrpcService};
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;
use tower::timeout::Timeout;
use tower::{Layer, Service, ServiceExt, service_fn};

const IN_FLIGHT: usize = 32;

/// That of the rule for `timed.test`.
const TIMEOUT: Duration = Duration::from_secs(10);

const RULES: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: bench}
spec:
  hosts: [bench.test, timed.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: grpc, protocol: GRPC}]
  endpoints: [{address: 127.0.0.1, ports: {http: PORT, grpc: PORT}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bench}
spec:
  hosts: [bench.test]
  http:
  - match: [{uri: {prefix: /}}]
    route: [{destination: {host: bench.test}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: timed}
spec:
  hosts: [timed.test]
  http:
  - match: [{uri: {prefix: /}}]
    timeout: 10s
    route: [{destination: {host: timed.test}}]
";

/// A round of so many requests.
type Round = Pin<Box<dyn Future<Output = Figures>>>;

/// A way to make requests, by its name. A round is boxed, its requests are not: what that would cost is no library's.
struct Way {
    name: &'static str,
    round: Box<dyn Fn(usize) -> Round>,
}

impl Way {
    fn new<A>(name: &'static str, call: impl Fn() -> A + Send + Sync + 'static) -> Self
    where
        A: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let call = Arc::new(call);
        Self { name, round: Box::new(move |requests| Box::pin(round(call.clone(), requests))) }
    }

    /// `GET /` through a service.
    fn get<S, R>(name: &'static str, service: S, url: &str) -> Self
    where
        S: Service<Request<Empty<Bytes>>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        R: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let url: Uri = url.parse().unwrap();
        Self::new(name, move || {
            let mut request = Request::new(Empty::new());
            *request.uri_mut() = url.clone();
            let answer = service.clone().oneshot(request);
            async move { whole(answer.await.map_err(Into::into)?).await }
        })
    }

    /// A unary call through a service, with this timeout of its own.
    fn unary<S>(name: &'static str, service: S, url: &str, timeout: Option<Duration>) -> Self
    where
        S: GrpcService<tonic::body::Body, Future: Send> + Clone + Send + Sync + 'static,
        S::ResponseBody: Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static,
    {
        let client = Grpc::with_origin(service, url.parse().unwrap());
        Self::new(name, move || {
            let mut client = client.clone();
            async move {
                client.ready().await.map_err(Into::into)?;
                let path = "/bench.Bench/Nothing".parse()?;
                let mut request = tonic::Request::new(());
                if let Some(timeout) = timeout {
                    request.set_timeout(timeout);
                }
                client.unary(request, path, ProstCodec::<(), ()>::default()).await?;
                Ok(())
            }
        })
    }
}

/// Reads an answer, which has to be a good one.
async fn whole<B: Body<Error: Into<BoxError>>>(response: Response<B>) -> Result<(), BoxError> {
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.map_err(Into::into)?;
    Ok(())
}

/// Where the ways of a library lead, and with which timeout.
struct Course<'a> {
    direct: &'a str,
    /// The host of the rule.
    host: &'static str,
    router: &'a MeshRouter,
    timeout: Option<Duration>,
}

fn hyper(Course { direct, host, router, timeout }: &Course<'_>) -> Vec<Way> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let ruled = Client::builder(TokioExecutor::new()).build_http::<RequestBody<Empty<Bytes>>>();
    let url = format!("http://{host}/");
    let name = "hyper-util's client";
    vec![
        match timeout {
            Some(timeout) => Way::get(name, Timeout::new(client, *timeout), direct),
            None => Way::get(name, client, direct),
        },
        Way::get("MeshRouter over it", router.layer(ruled), &url),
        Way::get("MeshRouter over Transport", router.layer(Transport::new()), &url),
    ]
}

fn reqwest(Course { direct, host, router, timeout }: &Course<'_>) -> Vec<Way> {
    let bare = match timeout {
        Some(timeout) => client_builder().timeout(*timeout),
        None => client_builder(),
    };
    let (bare, direct) = (bare.build().unwrap(), reqwest::Url::parse(direct).unwrap());
    let client = || client_builder().build().unwrap();
    let middleware = MeshMiddleware::from((*router).clone());
    let ruled = reqwest_middleware::ClientBuilder::new(client()).with(middleware).build();
    let url = format!("http://{host}/");
    let named = reqwest::Url::parse(&url).unwrap();
    vec![
        Way::new("reqwest's client", move || {
            let answer = bare.get(direct.clone()).send();
            async move { whole(answer.await?.into()).await }
        }),
        Way::new("MeshMiddleware in it", move || {
            let answer = ruled.get(named.clone()).send();
            async move { whole(answer.await?.into()).await }
        }),
        Way::get("MeshRouter over it", router.layer(ReqwestService::new(client())), &url),
    ]
}

fn tonic(Course { direct, host, router, timeout }: &Course<'_>) -> Vec<Way> {
    let channel = Endpoint::from_shared((*direct).to_owned()).unwrap().connect_lazy();
    let ruled = router.layer(Transport::new());
    vec![
        Way::unary("tonic's channel", channel, direct, *timeout),
        Way::unary("MeshRouter over Transport", ruled, &format!("http://{host}:81"), None),
    ]
}

/// Requests per second, median and 99th percentile of their times, and CPU of one, in microseconds.
type Figures = [f64; 4];

async fn round<A>(call: Arc<impl Fn() -> A + Send + Sync + 'static>, requests: usize) -> Figures
where
    A: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let left = Arc::new(AtomicUsize::new(requests));
    let (start, busy) = (Instant::now(), busy());
    let mut tasks = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (call, left) = (call.clone(), left.clone());
        tasks.spawn(async move {
            let mut times = Vec::new();
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                let start = Instant::now();
                call().await.unwrap();
                times.push(start.elapsed());
            }
            times
        });
    }
    let mut times = tasks.join_all().await.concat();
    let (busy, elapsed) = (self::busy() - busy, start.elapsed());
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    [requests as f64 / elapsed.as_secs_f64(), at(0.5), at(0.99), busy / requests as f64]
}

/// How long this thread has run, in microseconds; not a number where Linux does not say.
fn busy() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).map_or(f64::NAN, |nanos| nanos / 1e3)
}

async fn compare(title: &str, ways: Vec<Way>, rounds: usize, requests: usize) {
    let mut seen = vec![Vec::new(); ways.len()];
    for number in 0..=rounds {
        for (way, seen) in ways.iter().zip(&mut seen) {
            let figures = (way.round)(requests).await;
            // The first one opens connections.
            if number > 0 {
                seen.push(figures);
            }
        }
    }
    println!("\n{title:27}{:>10}{:>9}{:>9}{:>9}   ratios to the first", "req/s", "p50 us", "p99 us", "cpu us");
    let mut first = None;
    for (way, seen) in ways.iter().zip(&seen) {
        let medians: Figures = std::array::from_fn(|figure| {
            let mut values: Vec<f64> = seen.iter().map(|figures| figures[figure]).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        });
        let [rate, half, most, cpu] = medians;
        let first = first.get_or_insert(medians);
        let ratios =
            std::array::from_fn::<_, 4, _>(|figure| format!("{:.2}", medians[figure] / first[figure])).join("  ");
        println!("{:27}{rate:>10.0}{half:>9.0}{most:>9.0}{cpu:>9.1}   {ratios}", way.name);
    }
}

/// A server on a thread of its own, of HTTP/1.1 and of the unary calls of gRPC.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let accept = async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let service = TowerToHyperService::new(service_fn(answer));
            let server = auto::Builder::new(TokioExecutor::new());
            tokio::spawn(async move { server.serve_connection(TokioIo::new(stream), service).await.map_err(drop) });
        }
    };
    std::thread::spawn(move || runtime().block_on(accept));
    address
}

async fn answer(request: Request<Incoming>) -> Result<Response<impl Body<Data = Bytes, Error = BoxError>>, Infallible> {
    let kind = request.headers().get("content-type").cloned();
    drop(request.into_body().collect().await);
    let Some(kind) = kind else { return Ok(Response::new(Either::Left(Full::from("hello")))) };
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    // An empty message.
    let body = Full::from(&[0; 5][..]).with_trailers(ready(Some(Ok::<_, Infallible>(trailers))));
    let mut response = Response::new(Either::Right(body));
    response.headers_mut().insert("content-type", kind);
    Ok(response)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A library by its name, with its ways to a server, through the rules and past them.
type Library = (&'static str, fn(&Course<'_>) -> Vec<Way>);

fn main() {
    let (options, names): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|argument| argument.starts_with('-'));
    let measured = options.iter().any(|option| option == "--bench");
    let (rounds, requests) = if measured { (11, 10_000) } else { (1, 64) };
    let address = serve();
    let mesh = Mesh::new();
    let rules = RULES.replace("PORT", &address.port().to_string());
    let report = mesh.apply(Config::from_yaml(&rules, "bench.yaml").unwrap()).unwrap();
    assert_eq!(report.errors().count(), 0, "{report}");
    let (direct, router) = (format!("http://{address}/"), MeshRouter::new(&mesh));
    runtime().block_on(async {
        let libraries: [Library; 3] = [("hyper", hyper), ("reqwest", reqwest), ("tonic", tonic)];
        let asked = |name: &str| names.is_empty() || names.iter().any(|asked| asked == name);
        for (name, ways) in libraries.into_iter().filter(|(name, _)| asked(name)) {
            for (host, timeout) in [("bench.test", None), ("timed.test", Some(TIMEOUT))] {
                let course = Course { direct: &direct, host, router: &router, timeout };
                let title = timeout.map_or(name.to_owned(), |timeout| format!("{name}, timeout {timeout:?}"));
                compare(&title, ways(&course), rounds, requests).await;
            }
        }
    });
}
