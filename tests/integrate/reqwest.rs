//! `MeshRouter` over a client of reqwest.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use mesh_router::integrate::reqwest::{ReqwestService, client_builder};
use mesh_router::options::{MeshOptions, PathNormalization};
use mesh_router::service::{MeshService, ResponseBody, ResponseFlags, RouteInfo};
use mesh_router::{BoxError, Mesh, MeshRouter};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tower::{Layer, ServiceExt, service_fn};

use super::loopback::{echo, flaky, mesh, nobody, serve};
use super::shop;

fn client(mesh: &Mesh) -> MeshService<ReqwestService> {
    MeshRouter::new(mesh).layer(ReqwestService::new(client_builder().build().unwrap()))
}

async fn get(mesh: &Mesh, uri: &str) -> Result<Response<ResponseBody<reqwest::Body>>, BoxError> {
    client(mesh).oneshot(Request::get(uri).body(Full::<Bytes>::default()).unwrap()).await
}

async fn text(response: Response<ResponseBody<reqwest::Body>>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn info(response: &Response<ResponseBody<reqwest::Body>>) -> &RouteInfo {
    response.extensions().get().unwrap()
}

#[tokio::test]
async fn a_request_goes_to_its_endpoint_under_its_own_name() {
    let mesh = mesh(&[echo("one").await], "rewrite: {uri: /v2/}", "");
    let request = Request::post("http://shop.test/a?b=c").body(Full::<Bytes>::from("hello")).unwrap();
    let response = client(&mesh).oneshot(request).await.unwrap();
    assert_eq!(info(&response).attempts(), 1);
    assert_eq!(text(response).await, "one POST shop.test /v2/a?b=c hello");
}

#[tokio::test]
async fn refused_connections_are_tried_elsewhere() {
    let mesh = mesh(&[nobody().await, echo("two").await], "", "");
    for _ in 0..4 {
        assert!(text(get(&mesh, "http://shop.test/").await.unwrap()).await.starts_with("two"));
    }
    let nowhere = super::loopback::mesh(&[nobody().await], "", "");
    let response = get(&nowhere, "http://shop.test/").await.unwrap();
    assert_eq!((response.status(), info(&response).attempts()), (StatusCode::SERVICE_UNAVAILABLE, 3));
    assert!(info(&response).flags().contains(ResponseFlags::UPSTREAM_CONNECTION_FAILURE));
}

#[tokio::test]
async fn tries_are_those_of_the_rule_and_no_more() {
    let (server, seen) = flaky(2, 503).await;
    let mesh = mesh(&[server], "retries: {attempts: 2, retryOn: 5xx, backoff: 1ms}", "");
    let request = Request::post("http://shop.test/").body(Full::<Bytes>::from("again")).unwrap();
    let response = client(&mesh).oneshot(request).await.unwrap();
    assert_eq!((response.status(), info(&response).attempts()), (StatusCode::OK, 3));
    assert_eq!(text(response).await, "again");
    assert_eq!(seen.load(Ordering::SeqCst), 3);
}

/// A server that takes every connection and refuses every stream of it.
async fn refuses_streams() -> (std::net::SocketAddr, mpsc::UnboundedReceiver<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, streams) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    sender.send(()).unwrap();
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                }
            });
        }
    });
    (address, streams)
}

#[tokio::test]
async fn reqwest_does_not_retry_what_the_rule_does_not() {
    // The default of reqwest is to send a refused stream again.
    let eager = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();
    let (server, mut streams) = refuses_streams().await;
    eager.get(format!("http://{server}/")).send().await.unwrap_err();
    let mut alone = 0;
    while streams.try_recv().is_ok() {
        alone += 1;
    }
    assert!(alone > 1, "{alone}");

    let mesh = mesh(&[server], "retries: {attempts: 0}", "");
    let client = MeshRouter::new(&mesh).layer(ReqwestService::new(eager));
    let request = Request::get("http://shop.test/").body(Full::<Bytes>::default()).unwrap();
    let response = client.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(info(&response).details(), "upstream_reset_before_response_started{remote_refused_stream_reset}");
    let mut tries = 0;
    while streams.try_recv().is_ok() {
        tries += 1;
    }
    assert_eq!(tries, 1);
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let server = serve(service_fn(async |request: Request<hyper::body::Incoming>| {
        Ok::<_, io::Error>(Response::new(request.into_body()))
    }))
    .await;
    let mesh = mesh(&[server], "", "");
    let (sender, chunks) = mpsc::channel(1);
    let request = Request::post("http://shop.test/").body(StreamBody::new(ReceiverStream::new(chunks))).unwrap();
    let response = client(&mesh).oneshot(request);
    sender.send(Ok::<_, io::Error>(Frame::data(Bytes::from_static(b"one")))).await.unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
    // The second is sent when the first has come back.
    sender.send(Ok(Frame::data(Bytes::from_static(b"two")))).await.unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "two");
    drop(sender);
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn timeouts_are_told_apart() {
    let server = serve(service_fn(async |_: Request<hyper::body::Incoming>| {
        std::future::pending::<()>().await;
        Ok::<_, io::Error>(Response::new(Full::<Bytes>::default()))
    }))
    .await;
    let ruled = mesh(&[server], "timeout: 500ms", "");
    let response = get(&ruled, "http://shop.test/").await.unwrap();
    assert_eq!((response.status().as_u16(), info(&response).details()), (504, "response_timeout"));

    let own = client_builder().timeout(Duration::from_millis(500)).build().unwrap();
    let mesh = mesh(&[server], "retries: {attempts: 1, retryOn: connect-failure}", "");
    let request = Request::get("http://shop.test/").body(Full::<Bytes>::default()).unwrap();
    let response = MeshRouter::new(&mesh).layer(ReqwestService::new(own)).oneshot(request).await.unwrap();
    assert_eq!((response.status().as_u16(), info(&response).details()), (504, "upstream_per_try_timeout"));
    assert_eq!(info(&response).attempts(), 1);
}

#[tokio::test]
async fn a_server_that_goes_away_ends_the_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1024]).await;
        }
    });
    let mesh = mesh(&[server], "", "");
    let response = get(&mesh, "http://shop.test/").await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(info(&response).flags(), ResponseFlags::UPSTREAM_CONNECTION_TERMINATION);
    let cause = info(&response).cause().unwrap().source().unwrap();
    assert!(cause.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_request));
}

/// What the rule matches is what is sent, or nothing is.
#[tokio::test]
async fn no_other_path_is_sent_than_the_one_that_matched() {
    let options = MeshOptions { path_normalization: PathNormalization::None, ..MeshOptions::default() };
    let mesh = Mesh::builder().options(options).build();
    let (server, seen) = flaky(0, 500).await;
    let rule = "match: [{uri: {prefix: /public/}}]\nretries: {attempts: 0}";
    shop::publish(&mesh, &shop::of("HTTP", &[server], rule, ""));
    for path in ["/public/../secret", "/public/%2e%2E/secret", "/public/\\..\\secret", "/public/."] {
        let response = get(&mesh, &format!("http://shop.test{path}")).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        let local_reset = "upstream_reset_before_response_started{local_reset}";
        assert_eq!(info(&response).details(), local_reset, "{path}");
    }
    assert_eq!(seen.load(Ordering::SeqCst), 0);
    assert_eq!(get(&mesh, "http://shop.test/public/..a").await.unwrap().status(), StatusCode::OK);
    // A host that no rule took is reqwest's own.
    assert_eq!(get(&mesh, &format!("http://{server}/a/../b")).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn unknown_hosts_are_reqwests_own() {
    let server = echo("outside").await;
    let mesh = mesh(&[], "", "");
    assert!(text(get(&mesh, &format!("http://{server}/x")).await.unwrap()).await.starts_with("outside"));
    let error = get(&mesh, &format!("http://{}/", nobody().await)).await.unwrap_err();
    let error = error.source().unwrap().downcast_ref::<reqwest::Error>().unwrap();
    assert!(error.is_connect());
}

#[tokio::test]
async fn a_request_can_be_awaited_in_a_task() {
    let mesh = mesh(&[echo("task").await], "", "");
    let task = tokio::spawn(async move { text(get(&mesh, "http://shop.test/").await.unwrap()).await });
    assert!(task.await.unwrap().starts_with("task"));
}
