//! Over connections in memory whose other half is a hyper server or the test itself.

mod bounds;
mod connecting;
mod crowds;
mod http1;
mod http2;
mod life;
mod limits;
mod published;
#[cfg(feature = "tls")]
mod tls;
mod tunnels;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::uri::Authority;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::DuplexStream;
use tokio::sync::{Mutex, mpsc};
use tower::ServiceExt;

use super::*;
use crate::dice::Dice;
use crate::request::TunnelMethod;
use crate::upstream::{
    Address, Choice, Cluster, ClusterKey, ClusterSettings, ConnectionSettings, Endpoint, EndpointConfig, Original,
    Registry,
};

// With a boxed error the compiler cannot see that `oneshot`'s future is `Send`; hyper-util's client has that too.
type TestBody = UnsyncBoxBody<Bytes, io::Error>;
type Answer = Result<Response<TestBody>, Infallible>;

/// A network of pipes: what the transport dials, the test accepts.
#[derive(Clone)]
struct Net {
    opened: Arc<AtomicUsize>,
    pipes: mpsc::UnboundedSender<DuplexStream>,
    accepted: Arc<Mutex<mpsc::UnboundedReceiver<DuplexStream>>>,
}

impl Net {
    fn new() -> Self {
        let (pipes, accepted) = mpsc::unbounded_channel();
        Self { opened: Arc::default(), pipes, accepted: Arc::new(Mutex::new(accepted)) }
    }

    fn transport(&self) -> Transport {
        Transport::builder().connector(self.connector()).build()
    }

    fn connector(&self) -> impl Connect {
        let (opened, pipes) = (self.opened.clone(), self.pipes.clone());
        move |_: Address| {
            opened.fetch_add(1, Ordering::SeqCst);
            let (near, far) = tokio::io::duplex(64 * 1024);
            let sent = pipes.send(far).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused));
            std::future::ready(sent.map(|()| near))
        }
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    async fn accept(&self) -> DuplexStream {
        self.accepted.lock().await.recv().await.unwrap()
    }

    /// Serves every connection with HTTP/1.1; `answer` also gets the number of the connection, from 1.
    fn serve<F, A>(self, answer: A)
    where
        A: Fn(usize, Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let Self { accepted, pipes, .. } = self;
        drop(pipes);
        tokio::spawn(async move {
            let mut number = 0;
            while let Some(pipe) = accepted.lock().await.recv().await {
                number += 1;
                let answer = answer.clone();
                let service = service_fn(move |request| answer(number, request));
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(server.serve_connection(TokioIo::new(pipe), service).with_upgrades());
            }
        });
    }

    /// Serves every connection with HTTP/2 and at most `streams` streams.
    fn serve_http2<F, A>(self, streams: u32, answer: A)
    where
        A: Fn(usize, Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let Self { accepted, pipes, .. } = self;
        drop(pipes);
        tokio::spawn(async move {
            let mut number = 0;
            while let Some(pipe) = accepted.lock().await.recv().await {
                number += 1;
                let answer = answer.clone();
                let service = service_fn(move |request| answer(number, request));
                let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                server.max_concurrent_streams(streams).enable_connect_protocol();
                tokio::spawn(server.serve_connection(TokioIo::new(pipe), service));
            }
        });
    }
}

fn full(text: impl Into<Bytes>) -> TestBody {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}

fn empty() -> TestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body whose frames come from elsewhere.
struct Fed(mpsc::Receiver<Result<http_body::Frame<Bytes>, io::Error>>);

impl Body for Fed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(cx)
    }
}

type Feed = mpsc::Sender<Result<http_body::Frame<Bytes>, io::Error>>;

fn fed() -> (Feed, TestBody) {
    let (feed, frames) = mpsc::channel(1);
    (feed, Fed(frames).boxed_unsync())
}

fn data(bytes: impl Into<Bytes>) -> Result<http_body::Frame<Bytes>, io::Error> {
    Ok(http_body::Frame::data(bytes.into()))
}

fn cluster(config: EndpointConfig, protocol: Protocol) -> Arc<Cluster> {
    cluster_with(config, ConnectionSettings { protocol, ..ConnectionSettings::default() })
}

fn cluster_with(config: EndpointConfig, connection: ConnectionSettings) -> Arc<Cluster> {
    let settings = ClusterSettings { connection: Arc::new(connection), ..ClusterSettings::default() };
    Registry::new(&Dice::seeded(1)).cluster(ClusterKey::new("a.test", "", 80), settings, vec![config])
}

/// The one endpoint of `cluster`.
fn endpoint_of(cluster: &Cluster) -> Arc<Endpoint> {
    cluster.pick(&mut Dice::seeded(1).draws(), &Choice::default()).unwrap().endpoint().clone()
}

fn endpoint_at(address: impl Into<Address>, protocol: Protocol) -> Arc<Endpoint> {
    endpoint_of(&cluster(EndpointConfig::new(address), protocol))
}

fn endpoint(protocol: Protocol) -> Arc<Endpoint> {
    endpoint_at(([10, 0, 0, 1], 80), protocol)
}

/// `request` as the service above sends it to `endpoint`, under the name `a.test`.
fn aimed(endpoint: &Arc<Endpoint>, mut request: Request<TestBody>) -> Request<RequestBody<TestBody>> {
    let authority = Authority::from_static("a.test");
    let uri = format!("http://{}{}", endpoint.authority, request.uri().path_and_query().unwrap());
    *request.uri_mut() = uri.parse().unwrap();
    request.headers_mut().insert("host", "a.test".parse().unwrap());
    let aim = Aim::new(endpoint.clone(), Some(authority));
    request.map(|body| RequestBody::new(body).with_aim(aim))
}

fn get(path: &str) -> Request<TestBody> {
    Request::get(path).body(empty()).unwrap()
}

type Got = Result<Response<TransportBody>, BoxError>;

async fn send(transport: &Transport, endpoint: &Arc<Endpoint>, request: Request<TestBody>) -> Got {
    transport.clone().oneshot(aimed(endpoint, request)).await
}

async fn text(response: Response<TransportBody>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Sends GET / and reads the answer.
async fn ask(transport: &Transport, endpoint: &Arc<Endpoint>) -> String {
    text(send(transport, endpoint, get("/")).await.unwrap()).await
}

/// The same, but what hangs fails after a minute, which the paused clock makes short.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(std::time::Duration::from_secs(60), future).await.expect("it comes to an end")
}

fn failure_of(result: Got) -> Failure {
    result.unwrap_err().downcast_ref::<FailureError>().unwrap().failure()
}

/// Lets everything run that can.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

fn alive_tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}
