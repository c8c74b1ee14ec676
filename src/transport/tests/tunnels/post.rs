//! Tunnels of HTTP/1.1 that are bodies.

use super::*;

/// What is sent for a tunnel in which somebody says `ping`.
const HEAD: &str = "POST / HTTP/1.1\r\nhost: db.test:5432\r\ntransfer-encoding: chunked\r\n\r\n";
const PING: &str = "4\r\nping\r\n";
const END: &str = "0\r\n\r\n";

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// A tunnel that was asked for and answered with `answer`, and the proxy's end of it.
async fn opened(net: &Net, answer: &str) -> (impl AsyncRead + AsyncWrite + Unpin + Send + use<>, DuplexStream) {
    let proxy = async {
        let mut pipe = net.accept().await;
        assert_eq!(read_head(&mut pipe).await, HEAD);
        pipe.write_all(answer.as_bytes()).await.unwrap();
        pipe
    };
    let (stream, pipe) = tokio::join!(connect(net, Protocol::Http1, TunnelMethod::Post), proxy);
    (stream.unwrap(), pipe)
}

async fn read_text(stream: &mut (impl AsyncRead + Unpin), length: usize) -> String {
    let mut text = vec![0; length];
    stream.read_exact(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn the_bytes_of_either_way_are_a_body() {
    for (answer, pong) in [
        (format!("{CHUNKED}5\r\nhello\r\n"), "6\r\n, pong\r\n0\r\n\r\n"),
        ("HTTP/1.1 201 Created\r\ncontent-length: 11\r\n\r\nhello".into(), ", pong"),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello".into(), ", pong"),
        ("HTTP/1.0 200 OK\r\n\r\nhello".into(), ", pong"),
    ] {
        let before = alive_tasks();
        let (mut stream, mut pipe) = opened(&Net::new(), &answer).await;
        assert_eq!(read_text(&mut stream, 3).await, "hel", "{answer}");
        stream.write_all(b"ping").await.unwrap();
        assert_eq!(read_text(&mut pipe, PING.len()).await, PING);
        stream.shutdown().await.unwrap();
        assert_eq!(read_text(&mut pipe, END.len()).await, END);
        // One way has ended, the other has not.
        pipe.write_all(pong.as_bytes()).await.unwrap();
        if !answer.contains("content-length") && !answer.contains("chunked") {
            pipe.shutdown().await.unwrap();
        }
        assert_eq!(rest(&mut stream).await, "lo, pong", "{answer}");
        // It was for this tunnel alone.
        assert_eq!(rest(&mut pipe).await, "");
        settle().await;
        assert_eq!(alive_tasks(), before, "{answer}");
    }
}

#[tokio::test]
async fn much_goes_both_ways_at_once() {
    let net = Net::new();
    net.clone()
        .serve(|_, request| async { Ok(Response::new(request.into_body().map_err(io::Error::other).boxed_unsync())) });
    let stream = connect(&net, Protocol::Http1, TunnelMethod::Post).await.unwrap();
    let sent = vec![b'x'; 1 << 20];
    let (mut from, mut to) = tokio::io::split(stream);
    let write = async {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let mut answered = Vec::new();
    let (read, ()) = tokio::join!(from.read_to_end(&mut answered), write);
    assert!(read.unwrap() == sent.len() && answered == sent, "{} bytes", answered.len());
}

#[tokio::test]
async fn the_end_of_the_answer_is_that_of_the_tunnel() {
    for (answer, last, broken) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", "hello", false),
        (CHUNKED, "5\r\nhello\r\n0\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\n\r\n", "hello", false),
        // What breaks off has no end, and is not to be taken for whole.
        ("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n", "hello", true),
        (CHUNKED, "6\r\nhello", true),
        (CHUNKED, "5\r\nhello\r\n", true),
        (CHUNKED, "5\r\nhello\r\nnonsense\r\n", true),
    ] {
        let before = alive_tasks();
        let (mut stream, mut pipe) = opened(&Net::new(), answer).await;
        stream.write_all(b"ping").await.unwrap();
        assert_eq!(read_text(&mut pipe, PING.len()).await, PING);
        pipe.write_all(last.as_bytes()).await.unwrap();
        if broken || !(answer.contains("content-length") || answer == CHUNKED) {
            pipe.shutdown().await.unwrap();
        }
        assert_eq!(read_text(&mut stream, 5).await, "hello");
        let end = stream.read(&mut [0; 1]).await.map_err(|error| error.kind());
        assert_eq!(end, if broken { Err(io::ErrorKind::UnexpectedEof) } else { Ok(0) }, "{answer}{last}");
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
        assert_eq!(stream.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        stream.shutdown().await.unwrap();
        // The request was not ended, and does not look as if it was.
        assert_eq!(rest(&mut pipe).await, "", "{answer}{last}");
        settle().await;
        assert_eq!(alive_tasks(), before, "{answer}{last}");
    }
}

#[tokio::test]
async fn what_is_let_go_of_looks_whole_only_if_it_was_ended() {
    for (ended, sent) in [(true, true), (true, false), (false, true)] {
        let before = alive_tasks();
        let (mut stream, mut pipe) = opened(&Net::new(), CHUNKED).await;
        stream.write_all(b"ping").await.unwrap();
        if ended {
            stream.shutdown().await.unwrap();
        }
        if sent {
            settle().await;
        }
        assert!(alive_tasks() > before);
        drop(stream);
        // Nothing more comes of the proxy, and nothing ends there.
        assert_eq!(rest(&mut pipe).await, if ended { format!("{PING}{END}") } else { PING.into() }, "{ended} {sent}");
        settle().await;
        assert_eq!(alive_tasks(), before, "{ended} {sent}");
    }
}
