//! A generated client of tonic over our own transport: no channel, and a rule that tries again by grpc-status.
//!
//! ```text
//! cargo run --example tonic_client
//! ```

mod echo;

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use mesh_router::config::Config;
use mesh_router::{BoxError, Mesh, MeshRouter, Transport};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use tower::Layer;

pub(crate) use echo::{echo_client::EchoClient, echo_server::Echo, echo_server::EchoServer};

/// The message of the service.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Words {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
}

/// Says everything again; the first time it is asked for one thing it is not available.
#[derive(Default)]
struct Flaky {
    asked: AtomicBool,
}

type Answers = Box<dyn Stream<Item = Result<Words, Status>> + Send + Unpin>;

#[tonic::async_trait]
impl Echo for Flaky {
    type ManyStream = Answers;
    type ChatStream = Answers;

    async fn once(&self, request: Request<Words>) -> Result<Response<Words>, Status> {
        match self.asked.swap(true, Ordering::Relaxed) {
            false => Err(Status::unavailable("not yet")),
            true => Ok(Response::new(request.into_inner())),
        }
    }

    async fn many(&self, _: Request<Words>) -> Result<Response<Answers>, Status> {
        Err(Status::unimplemented("see chat"))
    }

    async fn all(&self, _: Request<Streaming<Words>>) -> Result<Response<Words>, Status> {
        Err(Status::unimplemented("see chat"))
    }

    async fn chat(&self, request: Request<Streaming<Words>>) -> Result<Response<Answers>, Status> {
        Ok(Response::new(Box::new(request.into_inner())))
    }
}

pub(crate) async fn run() -> Result<String, BoxError> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let service = EchoServer::new(Flaky::default());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move { server.serve_connection(TokioIo::new(stream), service).await });
        }
        Ok::<_, Infallible>(())
    });

    let mesh = Mesh::new();
    let rules = include_str!("rules.yaml").replace("PORT", &address.port().to_string());
    println!("{}", mesh.apply(Config::from_yaml(&rules, "rules.yaml")?)?);
    let service = MeshRouter::new(&mesh).layer(Transport::new());
    let mut client = EchoClient::with_origin(service, "http://echo.test".parse()?);

    let once = client.once(Words { text: "tried twice".into() }).await?.into_inner().text;
    let words = ["and", "streamed"].map(|text| Words { text: text.into() });
    let mut chat = client.chat(tokio_stream::iter(words)).await?.into_inner();
    let mut said = vec![once];
    while let Some(words) = chat.next().await {
        said.push(words?.text);
    }
    Ok(said.join(" "))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    println!("{}", run().await?);
    Ok(())
}
