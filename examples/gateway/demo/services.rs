//! The services of bookinfo, as small as they can be. They call each other through the mesh, in process.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_router::service::{MeshRouter, MeshService};
use mesh_router::transport::Transport;
use mesh_router::{BoxError, Mesh};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt};

type Client = MeshService<Transport>;

/// One version of one service.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Service {
    Productpage,
    Details,
    Ratings,
    Reviews { version: u8 },
}

impl Service {
    pub(crate) const ALL: [Service; 6] = [
        Service::Productpage,
        Service::Details,
        Service::Ratings,
        Service::Reviews { version: 1 },
        Service::Reviews { version: 2 },
        Service::Reviews { version: 3 },
    ];

    /// Its name in the template of the rules.
    pub(crate) fn name(self) -> String {
        match self {
            Service::Productpage => "productpage".to_owned(),
            Service::Details => "details".to_owned(),
            Service::Ratings => "ratings".to_owned(),
            Service::Reviews { version } => format!("reviews-v{version}"),
        }
    }

    /// Serves on a free port. What it asks of others goes by the rules of `mesh`.
    pub(crate) async fn start(self, mesh: &Mesh) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let client = MeshRouter::new(mesh).layer(Transport::new());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let client = client.clone();
                let answer = service_fn(move |request| answer(self, client.clone(), request));
                let connection =
                    http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), answer);
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, service = %self.name(), "a connection ended badly");
                    }
                });
            }
        });
        Ok(address)
    }

    /// A line for itself and for each service that it asked.
    async fn lines(self, client: Client, headers: &HeaderMap) -> Result<String, BoxError> {
        Ok(match self {
            Service::Productpage => {
                let details = ask(client.clone(), "details", "/details/0", headers);
                let reviews = ask(client, "reviews", "/reviews/0", headers);
                let (details, reviews) = tokio::try_join!(details, reviews)?;
                format!("productpage v1: The Comedy of Errors\n{details}{reviews}")
            }
            Service::Details => "details v1: William Shakespeare, 1595, 200 pages\n".to_owned(),
            Service::Ratings => "ratings v1: 5 4\n".to_owned(),
            Service::Reviews { version: 1 } => "reviews v1: no stars\n".to_owned(),
            Service::Reviews { version } => {
                let color = if version == 2 { "black" } else { "red" };
                let ratings = ask(client, "ratings", "/ratings/0", headers).await?;
                format!("reviews v{version}: {color} stars\n{ratings}")
            }
        })
    }
}

async fn answer(
    service: Service,
    client: Client,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = match service.lines(client, request.headers()).await {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{}: {error}\n", service.name())),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    Ok(response)
}

/// Asks another service for the same user.
async fn ask(client: Client, service: &str, path: &str, headers: &HeaderMap) -> Result<String, BoxError> {
    let uri = format!("http://{service}.default.svc.cluster.local:9080{path}");
    let mut request = Request::get(uri).body(Empty::<Bytes>::new())?;
    if let Some(user) = headers.get("end-user") {
        request.headers_mut().insert("end-user", HeaderValue::clone(user));
    }
    let response = client.oneshot(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    if status == StatusCode::OK { Ok(text) } else { Err(format!("{service} answered {status}: {text}").into()) }
}
