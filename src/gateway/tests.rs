//! Connections against a service that answers what it was asked.

mod bounds;
mod leaving;
mod led;
mod moved;
mod tunnels;

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tower::service_fn;

use super::body::InboundBody;
use super::connection::Protocols;
use super::drain::Drain;
use super::entrance::Entrance;
use super::exchange::Serve;
use super::session::Session;
use crate::dice::Dice;
use crate::error::BoxError;
use crate::request::ListenerOrigin;

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// Answers with what came, with a trailer, and with the lengths that `x-length` says.
async fn echo(request: Request<InboundBody>) -> Result<Answer, BoxError> {
    let version = request.version();
    let (head, body) = request.into_parts();
    let collected = body.collect().await?;
    let trailers = collected.trailers().is_some();
    let body = String::from_utf8(collected.to_bytes().to_vec())?;
    let text = format!("{} {} body={body} trailers={trailers}", head.method, head.uri.path());
    let own: HeaderMap = [("x-trailer".parse()?, "1".parse()?)].into_iter().collect();
    let body = match head.method {
        Method::HEAD => Empty::new().boxed(),
        _ => Full::from(text).with_trailers(ready(Some(Ok(own)))).boxed(),
    };
    let mut answer = Response::builder().version(version).header("trailer", "x-trailer").body(body)?;
    for length in head.headers.get_all("x-length") {
        answer.headers_mut().append("content-length", length.clone());
    }
    Ok(answer)
}

struct Client {
    stream: DuplexStream,
    served: JoinHandle<Result<(), BoxError>>,
    drain: Drain,
}

/// A connection to a gateway in front of `echo`, whose answers wait for `gate` if there is one.
fn connect(gate: Option<oneshot::Receiver<()>>) -> Client {
    let gate = Arc::new(tokio::sync::Mutex::new(gate));
    let service = service_fn(move |request| {
        let gate = gate.clone();
        async move {
            if let Some(gate) = gate.lock().await.take() {
                let _ = gate.await;
            }
            echo(request).await.map_err(std::io::Error::other)
        }
    });
    connect_to(service)
}

fn connect_to(service: impl Serve + Send + 'static) -> Client {
    connect_in(service, None)
}

fn connect_in(service: impl Serve + Send + 'static, entrance: Option<Arc<Entrance>>) -> Client {
    connect_by(Protocols::new(Duration::from_secs(3600), None), service, entrance)
}

fn connect_by(protocols: Protocols, service: impl Serve + Send + 'static, entrance: Option<Arc<Entrance>>) -> Client {
    let (stream, server) = tokio::io::duplex(1 << 20);
    let drain = Drain::new();
    let (alive, draining) = (drain.alive(), drain.draining());
    let session =
        Session::new(Arc::new(ListenerOrigin::new("http.80", 80)), Dice::seeded(1), (alive, draining.clone()));
    let session = Arc::new(match entrance {
        Some(entrance) => session.entered(entrance),
        None => session,
    });
    let served = tokio::spawn(async move { protocols.serve(server, service, session, draining).await });
    Client { stream, served, drain }
}

/// Everything that is answered until the connection is closed.
async fn ask(text: &str) -> String {
    let mut client = connect(None);
    client.stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn statuses(answer: &str) -> Vec<&str> {
    answer.split("HTTP/1.").skip(1).map(|rest| &rest[2..5]).collect()
}

#[tokio::test(start_paused = true)]
async fn malformed_requests_are_refused() {
    let big = "x".repeat(80_000);
    let huge = "x".repeat(800_000);
    let many = "a: b\r\n".repeat(100);
    for (text, expected) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "200"),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", "426"),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        ("this is not http\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX Bad: 1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX-Bad: a\0b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\n folded: 1\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: abc\r\n\r\nabc", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nabc", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n", "501"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n", "400"),
        ("GET foo HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "404"),
        (&format!("GET / HTTP/1.1\r\nHost: a\r\nX-Big: {big}\r\n\r\n"), "431"),
        (&format!("GET / HTTP/1.1\r\nHost: a\r\nX-Big: {huge}\r\n\r\n"), "431"),
        (&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), "431"),
    ] {
        let answer = ask(text).await;
        assert_eq!(statuses(&answer), [expected], "{:.200}\n{answer}", text);
        assert_eq!(answer.matches("server: istio-envoy\r\n").count(), 1, "{:.200}\n{answer}", text);
    }
}

#[tokio::test(start_paused = true)]
async fn what_hyper_cannot_read_is_refused_in_words() {
    let good = "POST /good HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let huge = "x".repeat(800_000);
    for (bad, words) in [
        ("GET / HTTP/1.1\r\nnonsense\r\n\r\n", "400 Bad Request\r\n.Bad Request"),
        ("GET / HTTP/2.0\r\n\r\n", "426 Upgrade Required\r\n.Upgrade Required"),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "426 Upgrade Required\r\n.Upgrade Required"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: x\r\n\r\n", "501 Not Implemented\r\n.Not Implemented"),
        (
            &format!("GET /{huge} HTTP/1.1\r\n\r\n"),
            "431 Request Header Fields Too Large\r\n.Request Header Fields Too Large",
        ),
    ] {
        let (status, body) = words.split_once('.').unwrap();
        // As the first of a connection, and after others.
        for before in [0, 2] {
            let answer = ask(&format!("{}{bad}", good.repeat(before))).await;
            assert_eq!(answer.matches("POST /good body=abc").count(), before, "{bad:.80}\n{answer}");
            let (_, last) = answer.rsplit_once("HTTP/1.1 ").unwrap();
            assert!(last.starts_with(status) && last.ends_with(&format!("\r\n\r\n{body}")), "{bad:.80}\n{answer}");
            assert!(last.contains("\r\nconnection: close\r\n") && last.contains("\r\ndate: "), "{bad:.80}\n{answer}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_answers_of_hyper_are_reworded() {
    // The body of an answer that looks like one.
    let own = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n";
    let length = own.len();
    let text = format!("POST /good HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{own}");
    let answer = ask(&format!("{text}{text}GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
    assert_eq!(answer.matches(own).count(), 2, "{answer}");
    assert_eq!(answer.matches("server: istio-envoy").count(), 3, "{answer}");
}

#[tokio::test(start_paused = true)]
async fn only_the_malformed_one_of_several_is_refused() {
    let good = "POST /good HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let bad = "POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc";
    let answer = ask(&format!("{good}{good}{bad}{good}")).await;
    assert_eq!(statuses(&answer), ["200", "200", "400"]);
    assert!(answer.contains("POST /good body=abc"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn trailers_of_http1_are_dropped() {
    let answer = ask("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close\r\n\
        Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-a: 1\r\n\r\n")
    .await;
    assert!(answer.contains("body=abc trailers=false"), "{answer}");
    assert!(!answer.contains("x-trailer: 1"), "{answer}");
    assert!(answer.contains("server: istio-envoy"), "{answer}");
    assert_eq!(answer.matches("date: ").count(), 1, "{answer}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_whose_head_says_two_lengths_comes_with_the_first() {
    for (method, second) in [("HEAD", "26"), ("HEAD", "5"), ("GET", "26"), ("GET", "5")] {
        let lengths = format!("X-Length: 26\r\nX-Length: {second}\r\n");
        let answer = ask(&format!("{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lengths}\r\n")).await;
        assert_eq!(statuses(&answer), ["200"], "{method} {second}\n{answer}");
        assert_eq!(answer.matches("content-length: ").count(), 1, "{answer}");
        assert!(answer.contains("\r\ncontent-length: 26\r\n"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_length_that_the_head_does_not_say_is_not_told() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
    let answer = ask(&format!("{head}\r\n")).await;
    assert!(answer.contains("\r\ntransfer-encoding: chunked\r\n") && !answer.contains("content-length"), "{answer}");
    let answer = ask(&format!("{head}X-Length: 26\r\n\r\n")).await;
    assert!(answer.contains("\r\ncontent-length: 26\r\n") && !answer.contains("chunked"), "{answer}");
    let answer = ask(&head.replace("GET", "HEAD").replace("close\r\n", "close\r\n\r\n")).await;
    assert!(!answer.contains("content-length") && !answer.contains("chunked"), "{answer}");

    let client = connect(None);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client.stream)).await.unwrap();
    tokio::spawn(connection);
    for length in [None, Some("26")] {
        let mut request = Request::get("http://a.test/").body(Empty::<Bytes>::new()).unwrap();
        request
            .headers_mut()
            .extend(length.map(|length| (HeaderName::from_static("x-length"), length.parse().unwrap())));
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.headers().get("content-length").map(|said| said.to_str().unwrap()), length);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), 26);
    }
}

#[tokio::test(start_paused = true)]
async fn http2_is_told_from_the_first_bytes_and_keeps_its_trailers() {
    let client = connect(None);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client.stream)).await.unwrap();
    tokio::spawn(connection);
    let trailers: HeaderMap = [("x-a".parse().unwrap(), "1".parse().unwrap())].into_iter().collect();
    let body = Full::<Bytes>::from("abc").with_trailers(ready(Some(Ok(trailers))));
    let request = Request::post("http://a.test/two").body(body).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let collected = response.into_body().collect().await.unwrap();
    assert!(collected.trailers().is_some());
    assert_eq!(collected.to_bytes(), "POST /two body=abc trailers=true");
}

#[tokio::test(start_paused = true)]
async fn a_head_of_http2_may_be_as_large_as_one_of_http1() {
    let client = connect(None);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client.stream)).await.unwrap();
    tokio::spawn(connection);
    for (size, status) in [(61_380, 200), (61_440, 431), (70_000, 431)] {
        let request = Request::get("http://a.test/").header("x", "y".repeat(size)).body(Empty::<Bytes>::new()).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), status, "{size}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_the_request_in_flight_finish() {
    let (open, gate) = oneshot::channel();
    let mut client = connect(Some(gate));
    client.stream.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    tokio::task::yield_now().await;
    let finish = tokio::spawn(client.drain.finish());
    tokio::task::yield_now().await;
    assert!(!finish.is_finished());
    open.send(()).unwrap();
    let mut answer = String::new();
    client.stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("connection: close") && answer.contains("GET /slow"), "{answer}");
    finish.await.unwrap();
    client.served.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_does_not_finish_is_left_after_a_while() {
    // In the middle of a first head, and a client of HTTP/2 that answers nothing.
    for first in [&b"G"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
        let mut drained = connect(None);
        drained.stream.write_all(first).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        drained.drain.finish().await;
        assert_eq!(began.elapsed(), Duration::from_secs(5));

        let (began, mut silent) = (Instant::now(), connect(None));
        silent.stream.write_all(first).await.unwrap();
        silent.served.await.unwrap().unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(3600 + 5));
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_connections_that_are_idle() {
    // One that has said nothing, and one between two requests.
    let silent = connect(None);
    silent.drain.finish().await;
    silent.served.await.unwrap().unwrap();
    let mut idle = connect(None);
    idle.stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    idle.stream.read_u8().await.unwrap();
    idle.drain.finish().await;
    idle.served.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_tells_http2_to_go_away() {
    let client = connect(None);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client.stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://a.test/").body(Empty::<Bytes>::new()).unwrap();
    sender.send_request(request).await.unwrap().into_body().collect().await.unwrap();
    client.drain.finish().await;
    // Whether a side hears of the end or runs into it.
    let _ = client.served.await.unwrap();
    let _ = connection.await.unwrap();
    assert!(sender.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_who_reads_slowly() {
    let client = connect(None);
    let mut http2 = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    http2.initial_stream_window_size(1 << 14);
    let (mut sender, connection) = http2.handshake(TokioIo::new(client.stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://a.test/").body(Full::<Bytes>::from("x".repeat(1 << 18))).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let finish = tokio::spawn(client.drain.finish());
    sleep(Duration::from_secs(60)).await;
    assert!(!finish.is_finished());
    assert!(answer.into_body().collect().await.unwrap().to_bytes().len() > 1 << 18);
    finish.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_requests_ends_after_a_while() {
    let hour = Duration::from_secs(3600);
    let start = Instant::now();
    // The first is long under way, in its answer or, once that is there, in its body; the next never has a whole head.
    for head in ["GET /slow HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na"] {
        let (open, gate) = oneshot::channel();
        let mut client = connect(Some(gate));
        client.stream.write_all(head.as_bytes()).await.unwrap();
        sleep(3 * hour).await;
        open.send(()).unwrap();
        if head.starts_with("POST") {
            sleep(2 * hour).await;
            client.stream.write_all(b"bc").await.unwrap();
        }
        let mut answer = vec![0; 1024];
        let length = client.stream.read(&mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "{head}");
        let answered = Instant::now();
        sleep(hour / 2).await;
        client.stream.write_all(b"GET /partial HTTP/1.1\r\nHo").await.unwrap();
        let mut rest = Vec::new();
        client.stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!((rest.as_slice(), answered.elapsed().as_secs()), (&b""[..], hour.as_secs()), "{head}");
        client.served.await.unwrap().unwrap();
    }
    assert_eq!(start.elapsed().as_secs(), 10 * hour.as_secs());
}

#[tokio::test(start_paused = true)]
async fn http2_without_requests_ends_after_a_while_too() {
    let client = connect(None);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client.stream)).await.unwrap();
    tokio::spawn(connection);
    let half = Duration::from_secs(1800);
    for _ in 0..3 {
        sleep(half).await;
        let request = Request::get("http://a.test/").body(Empty::<Bytes>::new()).unwrap();
        sender.send_request(request).await.unwrap().into_body().collect().await.unwrap();
    }
    let answered = Instant::now();
    let _ = client.served.await.unwrap();
    assert_eq!(answered.elapsed().as_secs(), 2 * half.as_secs());
}

#[tokio::test(start_paused = true)]
async fn connections_may_be_idle_for_ever() {
    let year = Duration::from_secs(365 * 24 * 3600);
    for idle in [Duration::ZERO, Duration::MAX] {
        let mut client = connect_by(Protocols::new(idle, None), service_fn(echo), None);
        for close in ["", "Connection: close\r\n"] {
            sleep(year).await;
            client.stream.write_all(format!("GET / HTTP/1.1\r\nHost: a\r\n{close}").as_bytes()).await.unwrap();
            sleep(year).await;
            client.stream.write_all(b"\r\n").await.unwrap();
        }
        let mut answers = String::new();
        client.stream.read_to_string(&mut answers).await.unwrap();
        assert_eq!(statuses(&answers), ["200", "200"], "{idle:?}");
        client.served.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_promised_body_is_asked_for() {
    let mut client = connect(None);
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 3\r\n\r\n";
    client.stream.write_all(head).await.unwrap();
    let mut interim = [0; 25];
    client.stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.stream.write_all(b"abc").await.unwrap();
    let mut answer = String::new();
    client.stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("POST / body=abc"), "{answer}");
}
