//! The rules as a middleware of reqwest.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Extensions, Request, Response, StatusCode};
use http_body_util::Full;
use mesh_router::integrate::reqwest::{MeshMiddleware, client_builder};
use mesh_router::service::{DeadlineBudget, ErrorMode, MeshError, RequestPolicy, RouteInfo};
use mesh_router::{Mesh, MeshRouter};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tower::service_fn;

use super::loopback::{echo, flaky, mesh, nobody, serve};

fn client(mesh: &Mesh) -> ClientWithMiddleware {
    ClientBuilder::new(client_builder().build().unwrap()).with(MeshMiddleware::new(mesh)).build()
}

fn attempts(response: &reqwest::Response) -> u32 {
    response.extensions().get::<RouteInfo>().unwrap().attempts()
}

#[tokio::test]
async fn a_program_stays_as_it_is() {
    let mesh = mesh(&[echo("one").await], "headers: {response: {set: {x-rule: shop}}}", "");
    let response = client(&mesh).post("http://shop.test/a?b=c").body("hello").send().await.unwrap();
    assert_eq!(response.url().as_str(), "http://shop.test/a?b=c");
    assert_eq!(response.headers()["x-rule"], "shop");
    assert!(response.remote_addr().is_some());
    assert_eq!(response.text().await.unwrap(), "one POST shop.test /a?b=c hello");
}

#[tokio::test]
async fn tries_go_to_other_endpoints() {
    let mesh = mesh(&[nobody().await, echo("two").await], "", "");
    for _ in 0..4 {
        let response = client(&mesh).get("http://shop.test/").send().await.unwrap();
        assert!(response.text().await.unwrap().starts_with("two"));
    }
}

#[tokio::test]
async fn streamed_bodies_are_sent_again() {
    let (server, seen) = flaky(1, 503).await;
    let mesh = mesh(&[server], "retries: {attempts: 2, retryOn: 5xx, backoff: 1ms}", "");
    let (sender, chunks) = tokio::sync::mpsc::channel(2);
    for chunk in ["one", "two"] {
        sender.send(Ok::<_, std::io::Error>(chunk)).await.unwrap();
    }
    drop(sender);
    let body = reqwest::Body::wrap_stream(ReceiverStream::new(chunks));
    let response = client(&mesh).post("http://shop.test/").body(body).send().await.unwrap();
    assert_eq!((response.status(), attempts(&response)), (StatusCode::OK, 2));
    assert_eq!(response.text().await.unwrap(), "onetwo");
    assert_eq!(seen.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn answers_stream() {
    let (sender, chunks) = tokio::sync::mpsc::channel(1);
    let chunks = Arc::new(Mutex::new(Some(chunks)));
    let server = serve(service_fn(move |_: Request<hyper::body::Incoming>| {
        let chunks = chunks.lock().unwrap().take().unwrap();
        let frames = ReceiverStream::new(chunks)
            .map(|chunk: bytes::Bytes| Ok::<_, std::io::Error>(http_body::Frame::data(chunk)));
        async { Ok::<_, std::io::Error>(Response::new(http_body_util::StreamBody::new(frames))) }
    }))
    .await;
    let mesh = mesh(&[server], "", "");
    let mut answer = client(&mesh).get("http://shop.test/").send().await.unwrap().bytes_stream();
    for chunk in ["one", "two"] {
        sender.send(bytes::Bytes::from_static(chunk.as_bytes())).await.unwrap();
        assert_eq!(answer.next().await.unwrap().unwrap(), chunk);
    }
    drop(sender);
    assert!(answer.next().await.is_none());
}

/// Counts what passes.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicUsize>);

#[async_trait::async_trait]
impl Middleware for Counter {
    async fn handle(
        &self,
        request: reqwest::Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<reqwest::Response> {
        self.0.fetch_add(1, Ordering::SeqCst);
        next.run(request, extensions).await
    }
}

#[tokio::test]
async fn middlewares_after_it_see_every_try_and_those_before_it_one_request() {
    let (server, _) = flaky(2, 503).await;
    let mesh = mesh(&[server], "retries: {attempts: 2, retryOn: 5xx, backoff: 1ms}", "");
    let (before, after) = (Counter::default(), Counter::default());
    let client = ClientBuilder::new(client_builder().build().unwrap())
        .with(before.clone())
        .with(MeshMiddleware::new(&mesh))
        .with(after.clone())
        .build();
    assert_eq!(client.get("http://shop.test/").send().await.unwrap().status(), StatusCode::OK);
    assert_eq!((before.0.load(Ordering::SeqCst), after.0.load(Ordering::SeqCst)), (1, 3));
}

#[tokio::test]
async fn a_try_that_is_given_up_does_not_hold_up_the_next() {
    let slow = serve(service_fn(async |_: Request<hyper::body::Incoming>| {
        std::future::pending::<()>().await;
        Ok::<_, std::io::Error>(Response::new(Full::<bytes::Bytes>::default()))
    }))
    .await;
    let rule = "retries: {attempts: 2, perTryTimeout: 500ms, retryOn: reset, backoff: 1ms}";
    let mesh = mesh(&[slow, echo("fast").await], rule, "");
    for _ in 0..2 {
        let response = client(&mesh).get("http://shop.test/").send().await.unwrap();
        assert!(response.text().await.unwrap().starts_with("fast"));
    }
}

#[tokio::test]
async fn errors_are_reqwests_own_where_no_rule_took_the_request() {
    let mesh = mesh(&[], "", "");
    let error = client(&mesh).get(format!("http://{}/", nobody().await)).send().await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    let nowhere = super::loopback::mesh(&[nobody().await], "", "");
    let response = client(&nowhere).get("http://shop.test/").send().await.unwrap();
    assert_eq!((response.status(), attempts(&response)), (StatusCode::SERVICE_UNAVAILABLE, 3));
}

#[tokio::test]
async fn a_request_can_be_awaited_in_a_task() {
    let mesh = mesh(&[echo("task").await], "", "");
    let task = tokio::spawn(async move {
        let response = client(&mesh).get("http://shop.test/").send().await.unwrap();
        response.text().await.unwrap()
    });
    assert!(task.await.unwrap().starts_with("task"));
}

#[tokio::test]
async fn a_request_says_what_it_wants_for_itself() {
    let (server, seen) = flaky(usize::MAX, 503).await;
    let mesh = mesh(&[server], "retries: {attempts: 2, retryOn: 5xx, backoff: 1ms}", "");
    let once = client(&mesh).get("http://shop.test/").with_extension(RequestPolicy::new().retries(0));
    assert_eq!(attempts(&once.send().await.unwrap()), 1);
    let spent = client(&mesh).get("http://shop.test/").with_extension(DeadlineBudget::within(Duration::ZERO));
    assert_eq!(spent.send().await.unwrap().status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_timeout_of_reqwest_bounds_all_tries() {
    let slow = serve(service_fn(async |_: Request<hyper::body::Incoming>| {
        std::future::pending::<()>().await;
        Ok::<_, std::io::Error>(Response::new(Full::<bytes::Bytes>::default()))
    }))
    .await;
    // All of them together would take more than 100 s.
    let rule = "retries: {attempts: 1000, perTryTimeout: 100ms, retryOn: reset, backoff: 1ms}";
    let mesh = mesh(&[slow], rule, "");
    let began = tokio::time::Instant::now();
    let request = client(&mesh).get("http://shop.test/").timeout(Duration::from_secs(1));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert!(began.elapsed() < Duration::from_secs(50), "{:?}", began.elapsed());
    assert!(attempts(&response) > 1);
}

#[tokio::test]
async fn failures_are_errors_of_a_middleware_where_a_router_asks_for_them() {
    let mesh = mesh(&[nobody().await], "", "");
    let router = MeshRouter::new(&mesh).with_error_mode(ErrorMode::Return);
    let client = ClientBuilder::new(client_builder().build().unwrap()).with(MeshMiddleware::from(router)).build();
    let failed = client.get("http://shop.test/").send().await.unwrap_err();
    let reqwest_middleware::Error::Middleware(failed) = failed else { panic!("{failed:?}") };
    let error = failed.downcast_ref::<MeshError>().unwrap();
    assert_eq!((error.status(), error.info().attempts()), (StatusCode::SERVICE_UNAVAILABLE, 3));
    let connect = |error: &(dyn std::error::Error + 'static)| {
        error.downcast_ref::<reqwest_middleware::Error>().is_some_and(|error| error.is_connect())
    };
    assert!(failed.chain().any(connect), "{failed:?}");
    // What no rule takes is reqwest's own error as ever.
    let error = client.get(format!("http://{}/", nobody().await)).send().await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
}

/// Its timeouts stand for those that a request had itself.
#[tokio::test]
async fn a_timeout_of_the_rule_is_one_to_reqwest() {
    let slow = serve(service_fn(async |request: Request<hyper::body::Incoming>| {
        if request.uri().path() == "/head" {
            std::future::pending::<()>().await;
        }
        let frames = tokio_stream::pending::<Result<http_body::Frame<bytes::Bytes>, std::io::Error>>();
        Ok::<_, std::io::Error>(Response::new(http_body_util::StreamBody::new(frames)))
    }))
    .await;
    let mesh = mesh(&[slow], "timeout: 500ms", "");
    let response = client(&mesh).get("http://shop.test/body").send().await.unwrap();
    let error = response.text().await.unwrap_err();
    assert!(error.is_timeout() && error.is_decode(), "{error:?}");

    let router = MeshRouter::new(&mesh).with_error_mode(ErrorMode::Return);
    let client = ClientBuilder::new(client_builder().build().unwrap()).with(MeshMiddleware::from(router)).build();
    let failed = client.get("http://shop.test/head").send().await.unwrap_err();
    let reqwest_middleware::Error::Middleware(failed) = failed else { panic!("{failed:?}") };
    assert!(failed.is::<MeshError>());
    let is_timeout = |error: &(dyn std::error::Error + 'static)| {
        error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
    };
    assert!(failed.chain().any(is_timeout), "{failed:?}");
}

#[tokio::test]
async fn an_answer_that_no_rule_took_tells_where_it_came_from() {
    let server = serve(service_fn(async |request: Request<hyper::body::Incoming>| {
        let answer = Response::builder();
        let answer = match request.uri().path() {
            "/old" => answer.status(StatusCode::SEE_OTHER).header("location", "/new"),
            _ => answer,
        };
        answer.body(Full::<bytes::Bytes>::default())
    }))
    .await;
    let mesh = mesh(&[server], "", "");
    let follows = reqwest::Client::builder().no_proxy().build().unwrap();
    let client = ClientBuilder::new(follows).with(MeshMiddleware::new(&mesh)).build();
    let ask = async |url: &str| client.get(url).send().await.unwrap().url().to_string();
    assert_eq!(ask(&format!("http://{server}/old")).await, format!("http://{server}/new"));
    assert_eq!(ask(&format!("http://{server}/new?a#b")).await, format!("http://{server}/new?a#b"));
    assert_eq!(ask("http://shop.test/old").await, "http://shop.test/old");
    // A middleware that answers itself names none.
    let own = ClientBuilder::new(client_builder().build().unwrap()).with(MeshMiddleware::new(&mesh));
    let answer = own.with(Second::default()).build().get("http://other.test/a").send().await.unwrap();
    assert_eq!(answer.url().as_str(), "http://other.test/a");
}

/// The end of a chain: the second try fails at once, all others are answered after a while.
#[derive(Clone, Default)]
struct Second(Counter);

#[async_trait::async_trait]
impl Middleware for Second {
    async fn handle(
        &self,
        _: reqwest::Request,
        _: &mut Extensions,
        _: Next<'_>,
    ) -> reqwest_middleware::Result<reqwest::Response> {
        if self.0.0.fetch_add(1, Ordering::SeqCst) == 1 {
            return Err(reqwest_middleware::Error::middleware(std::io::Error::other("refused")));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(Response::new("yes").into())
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_not_hedged_wherever_it_asks_for_that() {
    let policy = RequestPolicy::new().hedge_after(Duration::from_millis(10));
    for converted in [false, true] {
        let mesh = mesh(&[([10, 0, 0, 1], 80).into(), ([10, 0, 0, 2], 80).into()], "retries: {attempts: 0}", "");
        let second = Second::default();
        let client = ClientBuilder::new(client_builder().build().unwrap())
            .with(MeshMiddleware::new(&mesh))
            .with(second.clone())
            .build();
        let answer = async {
            if converted {
                let request = Request::get("http://shop.test/").extension(policy.clone()).body("").unwrap();
                client.execute(request.try_into().unwrap()).await
            } else {
                client.get("http://shop.test/").with_extension(policy.clone()).send().await
            }
        };
        let answer = tokio::time::timeout(Duration::from_secs(60), answer).await.expect("it ends").unwrap();
        assert_eq!((answer.status(), second.0.0.load(Ordering::SeqCst)), (StatusCode::OK, 1), "{converted}");
    }
}
