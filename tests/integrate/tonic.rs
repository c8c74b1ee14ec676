//! Generated clients of tonic over `MeshService<Transport>`, and its servers behind the rules of a gateway.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mesh_router::service::{MeshService, RouteInfo};
use mesh_router::{Mesh, MeshRouter, Transport};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::service::interceptor::InterceptedService;
use tonic::{Code, Request, Response, Status, Streaming};
use tower::Layer;

use super::examples::tonic_client::{Echo, EchoClient, EchoServer, Words};
use super::loopback::{mesh_of, serve};
use super::shop;

/// Fails with this code so many times; what it was asked is counted.
#[derive(Clone)]
struct Server {
    failures: usize,
    code: Code,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn failing(failures: usize, code: Code) -> Self {
        Self { failures, code, asked: Arc::default() }
    }

    fn well() -> Self {
        Self::failing(0, Code::Ok)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn enter(&self) -> Result<(), Status> {
        match self.asked.fetch_add(1, Ordering::SeqCst) < self.failures {
            true => Err(Status::new(self.code, "told to")),
            false => Ok(()),
        }
    }
}

type Answers = Box<dyn Stream<Item = Result<Words, Status>> + Send + Unpin>;

#[tonic::async_trait]
impl Echo for Server {
    type ManyStream = Answers;
    type ChatStream = Answers;

    async fn once(&self, request: Request<Words>) -> Result<Response<Words>, Status> {
        self.enter()?;
        match request.get_ref().text.as_str() {
            "wait" => std::future::pending().await,
            "headers" => {
                let from = request.metadata().get("x-from").map_or("", |from| from.to_str().unwrap());
                Ok(Response::new(words(from)))
            }
            _ => Ok(Response::new(request.into_inner())),
        }
    }

    async fn many(&self, request: Request<Words>) -> Result<Response<Answers>, Status> {
        self.enter()?;
        let words: Vec<_> = request.get_ref().text.split(' ').map(|word| Ok(words(word))).collect();
        Ok(Response::new(Box::new(tokio_stream::iter(words))))
    }

    async fn all(&self, request: Request<Streaming<Words>>) -> Result<Response<Words>, Status> {
        self.enter()?;
        let words_of: Vec<_> = request.into_inner().map(|words| words.unwrap().text).collect().await;
        Ok(Response::new(words(&words_of.join(" "))))
    }

    async fn chat(&self, request: Request<Streaming<Words>>) -> Result<Response<Answers>, Status> {
        self.enter()?;
        Ok(Response::new(Box::new(request.into_inner())))
    }
}

fn words(text: &str) -> Words {
    Words { text: text.to_owned() }
}

type Client = EchoClient<MeshService<Transport>>;

fn client(mesh: &Mesh) -> Client {
    let service = MeshRouter::new(mesh).layer(Transport::new());
    EchoClient::with_origin(service, "http://shop.test".parse().unwrap())
}

async fn started(server: &Server, rule: &str, policy: &str) -> (Client, Mesh) {
    let mesh = mesh_of("GRPC", &[serve(EchoServer::new(server.clone())).await], rule, policy);
    (client(&mesh), mesh)
}

#[tokio::test]
async fn calls_of_all_four_kinds_go_through() {
    let (mut client, _mesh) = started(&Server::well(), "", "").await;
    let once = client.once(words("hello")).await.unwrap();
    assert_eq!(once.extensions().get::<RouteInfo>().unwrap().attempts(), 1);
    assert_eq!(once.into_inner().text, "hello");
    let many: Vec<_> = client.many(words("a b c")).await.unwrap().into_inner().collect().await;
    assert_eq!(many.into_iter().map(|words| words.unwrap().text).collect::<Vec<_>>(), ["a", "b", "c"]);
    let all = client.all(tokio_stream::iter(["d", "e"].map(words))).await.unwrap();
    assert_eq!(all.into_inner().text, "d e");
}

#[tokio::test]
async fn an_interceptor_adds_to_calls_and_refuses_them() {
    let server = Server::well();
    let mesh = mesh_of("GRPC", &[serve(EchoServer::new(server.clone())).await], "", "");
    let started = |refused: bool| {
        let intercept = move |mut call: Request<()>| {
            call.metadata_mut().insert("x-from", "here".parse().unwrap());
            if refused { Err(Status::unauthenticated("who?")) } else { Ok(call) }
        };
        let service = InterceptedService::new(MeshRouter::new(&mesh).layer(Transport::new()), intercept);
        EchoClient::with_origin(service, "http://shop.test".parse().unwrap())
    };
    assert_eq!(started(false).once(words("headers")).await.unwrap().into_inner().text, "here");
    assert_eq!(started(true).once(words("headers")).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn a_chat_goes_back_and_forth() {
    let (mut client, _mesh) = started(&Server::well(), "", "").await;
    let (sender, said) = mpsc::channel(1);
    sender.send(words("ping")).await.unwrap();
    let mut chat = client.chat(ReceiverStream::new(said)).await.unwrap().into_inner();
    for round in 0..3 {
        assert_eq!(chat.next().await.unwrap().unwrap().text, if round == 0 { "ping" } else { "again" });
        sender.send(words("again")).await.unwrap();
    }
    drop(sender);
    assert_eq!(chat.next().await.unwrap().unwrap().text, "again");
    assert!(chat.next().await.is_none());
}

#[tokio::test]
async fn tries_go_by_the_grpc_status() {
    for (code, tries) in [(Code::Unavailable, 3), (Code::ResourceExhausted, 3), (Code::NotFound, 1)] {
        let server = Server::failing(2, code);
        let rule = "retries: {attempts: 2, retryOn: 'unavailable,resource-exhausted', backoff: 1ms}";
        let (mut client, _mesh) = started(&server, rule, "").await;
        let answer = client.once(words("hello")).await;
        assert_eq!((answer.is_ok(), server.asked()), (tries == 3, tries), "{code:?}");
        if let Err(status) = answer {
            assert_eq!((status.code(), status.message()), (code, "told to"));
        }
    }
}

#[tokio::test]
async fn streams_are_sent_again_as_long_as_nothing_came_back() {
    let server = Server::failing(1, Code::Unavailable);
    let (mut client, _mesh) = started(&server, "retries: {attempts: 1, retryOn: unavailable}", "").await;
    let all = client.all(tokio_stream::iter(["d", "e"].map(words))).await.unwrap();
    assert_eq!((all.into_inner().text.as_str(), server.asked()), ("d e", 2));
}

#[tokio::test]
async fn a_deadline_of_the_client_bounds_that_of_the_rule() {
    let (mut client, _mesh) = started(&Server::well(), "timeout: 60s", "").await;
    let mut request = Request::new(words("wait"));
    request.set_timeout(Duration::from_millis(50));
    let status = client.once(request).await.unwrap_err();
    // As Envoy answers; a channel of tonic would say `Cancelled`.
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "upstream request timeout"));
}

#[tokio::test]
async fn the_health_of_an_endpoint_goes_by_the_grpc_status() {
    let server = Server::failing(usize::MAX, Code::Unavailable);
    let policy = "outlierDetection: {consecutiveGatewayErrors: 2, maxEjectionPercent: 100, baseEjectionTime: 60s}";
    let (mut client, _mesh) = started(&server, "retries: {attempts: 0}", policy).await;
    for message in ["told to", "told to", "no healthy upstream"] {
        let status = client.once(words("hello")).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unavailable, message));
    }
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn a_call_can_be_awaited_in_a_task() {
    let (mut client, _mesh) = started(&Server::well(), "", "").await;
    let task = tokio::spawn(async move { client.once(words("task")).await.unwrap().into_inner().text });
    assert_eq!(task.await.unwrap(), "task");
}

const RULES: &str = r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo, namespace: web}
spec:
  hosts: [shop.test]
  gateways: [front]
  http:
  - match: [{uri: {exact: /test.echo.Echo/Once}}]
    headers: {request: {set: {x-from: front}}}
    timeout: 500ms
    route: [{destination: {host: echo}}]
  - match: [{uri: {exact: /test.echo.Echo/Many}}]
    fault: {abort: {percentage: {value: 100}, grpcStatus: RESOURCE_EXHAUSTED}}
    route: [{destination: {host: echo}}]
  - route: [{destination: {host: echo}}]
";

#[tokio::test]
async fn a_server_stands_behind_the_rules_of_a_gateway() {
    let front = shop::published(RULES);
    let routes = tonic::service::Routes::new(EchoServer::new(Server::well())).prepare();
    let server = serve(MeshRouter::inbound(&front, "web/front").layer(routes)).await;
    let mut client = client(&mesh_of("GRPC", &[server], "retries: {attempts: 0}", ""));
    assert_eq!(client.once(words("headers")).await.unwrap().into_inner().text, "front");
    assert_eq!(client.many(words("a b")).await.unwrap_err().code(), Code::ResourceExhausted);
    let late = client.once(words("wait")).await.unwrap_err();
    assert_eq!((late.code(), late.message()), (Code::Unavailable, "upstream request timeout"));
    let mut chat = client.chat(tokio_stream::iter(["d", "e"].map(words))).await.unwrap().into_inner();
    assert_eq!(chat.next().await.unwrap().unwrap().text, "d");
}
