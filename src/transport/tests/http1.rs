use futures_poll::poll_once;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Polling by hand.
mod futures_poll {
    use std::pin::Pin;
    use std::task::Poll;

    pub(super) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
    }
}

/// Answers with the number of the connection.
async fn numbered(number: usize, _: Request<Incoming>) -> Answer {
    Ok(Response::new(full(number.to_string())))
}

#[tokio::test]
async fn a_hundred_requests_share_one_connection() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http1));
    net.clone().serve(numbered);
    for _ in 0..100 {
        assert_eq!(ask(&transport, &endpoint).await, "1");
    }
    assert_eq!(net.opened(), 1);
}

#[tokio::test]
async fn the_connection_used_last_is_used_first() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http1));
    net.clone().serve(numbered);
    let mut responses = Vec::new();
    for _ in 0..3 {
        responses.push(send(&transport, &endpoint, get("/")).await.unwrap());
    }
    assert_eq!(net.opened(), 3, "as many connections as requests at a time");
    for (response, number) in responses.into_iter().zip(["1", "2", "3"]) {
        assert_eq!(text(response).await, number);
    }
    for _ in 0..10 {
        assert_eq!(ask(&transport, &endpoint).await, "3");
    }
    assert_eq!(net.opened(), 3);
}

#[tokio::test]
async fn every_end_of_a_body_gives_the_connection_back() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http1));
    net.clone().serve(|_, request| async move {
        let (feed, body) = fed();
        let answer = Response::builder();
        Ok(match request.uri().path() {
            "/none" => answer.status(204).body(empty()),
            "/known" => answer.body(full("known")),
            "/chunked" => {
                feed.send(data("chunked")).await.unwrap();
                answer.body(body)
            }
            _ => {
                let trailers = http::HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())]);
                feed.send(Ok(http_body::Frame::trailers(trailers))).await.unwrap();
                answer.header("trailer", "x-sum").body(body)
            }
        }
        .unwrap())
    });

    let none = send(&transport, &endpoint, get("/none")).await.unwrap();
    assert!(none.body().is_end_stream());
    // Not read to its `None`, as a server does that knows the length.
    let mut known = send(&transport, &endpoint, get("/known")).await.unwrap().into_body();
    assert_eq!(known.size_hint().exact(), Some(5));
    assert_eq!(known.frame().await.unwrap().unwrap().into_data().unwrap(), "known");
    assert!(known.is_end_stream());
    let head = Request::head("/known").body(empty()).unwrap();
    let head = send(&transport, &endpoint, head).await.unwrap();
    assert!(head.body().is_end_stream());
    let chunked = send(&transport, &endpoint, get("/chunked")).await.unwrap();
    assert_eq!(text(chunked).await, "chunked");
    // Not asked for what comes after the trailers.
    let mut request = get("/trailers");
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    let mut trailers = send(&transport, &endpoint, request).await.unwrap().into_body();
    assert_eq!(trailers.frame().await.unwrap().unwrap().into_trailers().unwrap()["x-sum"], "1");
    let again = send(&transport, &endpoint, get("/none")).await.unwrap();
    assert_eq!(net.opened(), 1);
    drop((none, known, head, trailers, again));
}

#[tokio::test]
async fn a_body_given_up_closes_its_connection() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http1));
    let asking = tokio::spawn({
        let (transport, endpoint) = (transport.clone(), endpoint.clone());
        async move { send(&transport, &endpoint, get("/")).await.unwrap() }
    });
    let mut far = net.accept().await;
    far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await.unwrap();
    drop(asking.await.unwrap());
    let mut sent = Vec::new();
    far.read_to_end(&mut sent).await.unwrap();
    assert!(sent.starts_with(b"GET / HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&sent));
    net.clone().serve(numbered);
    ask(&transport, &endpoint).await;
    assert_eq!(net.opened(), 2);
}

#[tokio::test]
async fn a_body_that_has_come_gives_the_connection_back_unread() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http1));
    net.clone().serve(numbered);
    for _ in 0..20 {
        let response = send(&transport, &endpoint, get("/")).await.unwrap();
        settle().await;
        drop(response);
    }
    assert_eq!(net.opened(), 1);
}

/// Who gives up the answer gives up the request.
#[tokio::test]
async fn an_answer_given_up_ends_the_upload() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http1));
    net.clone().serve(|number, request| async move {
        tokio::spawn(request.into_body().collect());
        Ok(Response::new(full(number.to_string())))
    });
    let (feed, body) = fed();
    let early = send(&transport, &endpoint, Request::post("/").body(body).unwrap()).await.unwrap();
    feed.send(data("part")).await.unwrap();
    settle().await;
    drop(early);
    feed.closed().await;
    assert_eq!(ask(&transport, &endpoint).await, "2");
}

#[tokio::test]
async fn a_future_given_up_closes_its_connection() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http1));
    // Fresh, then reused.
    for _ in 0..2 {
        let mut asking = Box::pin(send(&transport, &endpoint, get("/")));
        assert!(poll_once(&mut asking).await.is_pending());
        let mut far = net.accept().await;
        settle().await;
        assert!(poll_once(&mut asking).await.is_pending());
        settle().await;
        far.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        drop(asking.await.unwrap());
        let mut asking = Box::pin(send(&transport, &endpoint, get("/")));
        assert!(poll_once(&mut asking).await.is_pending());
        settle().await;
        drop(asking);
        let mut sent = Vec::new();
        far.read_to_end(&mut sent).await.unwrap();
        assert_eq!(sent.windows(5).filter(|bytes| bytes == b"GET /").count(), 2);
    }
    assert_eq!(net.opened(), 2);
}

#[tokio::test]
async fn an_idle_connection_closed_by_the_other_side_is_replaced() {
    for noticed in [true, false] {
        let net = Net::new();
        let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http1));
        let asking = tokio::spawn({
            let (transport, endpoint) = (transport.clone(), endpoint.clone());
            async move { ask(&transport, &endpoint).await }
        });
        let mut far = net.accept().await;
        far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n0").await.unwrap();
        assert_eq!(asking.await.unwrap(), "0");
        settle().await;
        drop(far);
        if noticed {
            settle().await;
        }
        net.clone().serve(|_, request| async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            Ok(Response::new(full(body)))
        });
        // Not idempotent, and safe all the same: nothing was written.
        let post = Request::post("/").body(full("upload")).unwrap();
        assert_eq!(text(send(&transport, &endpoint, post).await.unwrap()).await, "upload");
        assert_eq!(net.opened(), 2);
    }
}

#[tokio::test]
async fn a_connection_closed_before_the_answer_is_a_termination() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http1));
    let asking = send(&transport, &endpoint, get("/"));
    let (result, ()) = tokio::join!(asking, async {
        let mut far = net.accept().await;
        let _ = far.read(&mut [0; 1024]).await.unwrap();
    });
    assert_eq!(failure_of(result), Failure::ConnectionTermination);
    assert_eq!(net.opened(), 1, "bytes were written: it is not sent again");
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_a_protocol_error() {
    for unasked in [true, false] {
        let net = Net::new();
        let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http1));
        let asking = send(&transport, &endpoint, get("/"));
        let (result, ()) = tokio::join!(asking, async {
            let mut far = net.accept().await;
            if !unasked {
                let _ = far.read(&mut [0; 1024]).await.unwrap();
            }
            far.write_all(b"220 mail.test ESMTP\r\n\r\n").await.unwrap();
            settle().await;
        });
        assert_eq!(failure_of(result), Failure::ProtocolError);
    }
}

#[tokio::test]
async fn what_only_announces_an_answer_is_none() {
    for (pieces, failure) in [
        (&["HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"][..], Failure::ConnectionTermination),
        (&["HTTP/1.1 100 Continue\r\n\r", "\n"], Failure::ConnectionTermination),
        (&["HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n"], Failure::ConnectionTermination),
        (&["HTTP/1.1 103 Early Hints\r\n"], Failure::ProtocolError),
        (&["HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 20"], Failure::ProtocolError),
    ] {
        let net = Net::new();
        let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http1));
        let (result, ()) = tokio::join!(send(&transport, &endpoint, get("/")), async {
            let mut far = net.accept().await;
            let _ = far.read(&mut [0; 1024]).await.unwrap();
            for piece in pieces {
                far.write_all(piece.as_bytes()).await.unwrap();
                settle().await;
            }
        });
        assert_eq!(failure_of(result), failure, "{pieces:?}");
    }
}

#[tokio::test]
async fn an_answer_that_says_its_length_twice_is_a_protocol_error() {
    for (method, second) in [("GET", 3), ("HEAD", 3), ("HEAD", 4)] {
        let net = Net::new();
        let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http1));
        let request = Request::builder().method(method).body(empty()).unwrap();
        let (result, ()) = tokio::join!(send(&transport, &endpoint, request), async {
            let mut far = net.accept().await;
            let _ = far.read(&mut [0; 1024]).await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: {second}\r\n\r\n");
            far.write_all(head.as_bytes()).await.unwrap();
        });
        assert_eq!(failure_of(result), Failure::ProtocolError, "{method} {second}");
    }
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http2));
    net.clone().serve_http2(100, |_, _| async {
        let twice = Response::builder().header("content-length", "3").header("content-length", "3");
        Ok(twice.body(full("abc")).unwrap())
    });
    assert_eq!(failure_of(send(&transport, &endpoint, get("/")).await), Failure::ProtocolError);
    assert_eq!(net.opened(), 1);
}

#[tokio::test]
async fn a_request_body_that_fails_is_a_local_reset() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http1));
    net.clone().serve(|_, request| async move {
        let _ = request.into_body().collect().await;
        Ok(Response::new(empty()))
    });
    let (feed, body) = fed();
    feed.send(Err(io::Error::other("the application changed its mind"))).await.unwrap();
    let result = send(&transport, &endpoint, Request::post("/").body(body).unwrap()).await;
    assert_eq!(failure_of(result), Failure::LocalReset);
}

#[tokio::test]
async fn a_body_cut_short_is_an_error_of_the_body() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http1));
    let asking = send(&transport, &endpoint, get("/"));
    let (result, ()) = tokio::join!(asking, async {
        let mut far = net.accept().await;
        let _ = far.read(&mut [0; 1024]).await.unwrap();
        far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await.unwrap();
    });
    let error = result.unwrap().into_body().collect().await.unwrap_err();
    assert_eq!(error.failure(), Failure::ProtocolError, "what has begun and does not go on is no HTTP");
}

#[tokio::test]
async fn the_name_goes_out_and_not_the_address() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http1));
    let asking = send(&transport, &endpoint, get("/path?q=1"));
    let (result, sent) = tokio::join!(asking, async {
        let mut far = net.accept().await;
        let mut sent = vec![0; 1024];
        let length = far.read(&mut sent).await.unwrap();
        far.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        String::from_utf8_lossy(&sent[..length]).into_owned()
    });
    result.unwrap();
    assert_eq!(sent, "GET /path?q=1 HTTP/1.1\r\nhost: a.test\r\n\r\n");
}

#[tokio::test]
async fn an_upgrade_takes_its_connection_along() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http1));
    net.clone().serve(|number, mut request| async move {
        if request.uri().path() != "/ws" {
            return numbered(number, request).await;
        }
        tokio::spawn(async move {
            let mut io = TokioIo::new(hyper::upgrade::on(&mut request).await.unwrap());
            let mut ping = [0; 4];
            io.read_exact(&mut ping).await.unwrap();
            io.write_all(&ping).await.unwrap();
        });
        let answer = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "echo");
        Ok(answer.body(empty()).unwrap())
    });
    let request = Request::get("/ws").header("connection", "upgrade").header("upgrade", "echo");
    let mut response = send(&transport, &endpoint, request.body(empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 101);
    let mut io = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    drop(response);
    assert_eq!(ask(&transport, &endpoint).await, "2", "not the connection of the upgrade");
    io.write_all(b"ping").await.unwrap();
    let mut pong = Vec::new();
    io.read_to_end(&mut pong).await.unwrap();
    assert_eq!(pong, b"ping");
}

#[tokio::test]
async fn another_protocol_that_nobody_asked_for_is_a_protocol_error() {
    for is_idle in [false, true] {
        let net = Net::new();
        let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http1));
        let asking = async {
            if is_idle {
                send(&transport, &endpoint, get("/")).await.unwrap();
            }
            failure_of(send(&transport, &endpoint, get("/")).await)
        };
        let (failure, rest) = tokio::join!(asking, async {
            let mut far = net.accept().await;
            if is_idle {
                let _ = far.read(&mut [0; 1024]).await.unwrap();
                far.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            }
            let _ = far.read(&mut [0; 1024]).await.unwrap();
            far.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").await.unwrap();
            far.read(&mut [0; 1]).await.unwrap()
        });
        assert_eq!((failure, rest, net.opened()), (Failure::ProtocolError, 0, 1), "idle: {is_idle}");
    }
}

#[tokio::test]
async fn large_bodies_flow_both_ways_in_lock_step() {
    const PIECES: usize = 320;
    let piece = Bytes::from(vec![7; 64 * 1024]);
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let net = Net::new();
        let (transport, endpoint) = (net.transport(), endpoint(protocol));
        // Echoes each piece as it comes: nothing of the answer exists before its part of the request.
        let echo = |_, request: Request<Incoming>| async move {
            Ok(Response::new(request.into_body().map_err(io::Error::other).boxed_unsync()))
        };
        match protocol {
            Protocol::Http2 => net.clone().serve_http2(100, echo),
            _ => net.clone().serve(echo),
        }
        let (feed, body) = fed();
        let mut answer = send(&transport, &endpoint, Request::post("/").body(body).unwrap()).await.unwrap().into_body();
        let mut received = 0;
        for sent in 1..=PIECES {
            feed.send(data(piece.clone())).await.unwrap();
            while received < sent * piece.len() {
                received += answer.frame().await.unwrap().unwrap().into_data().unwrap().len();
            }
        }
        drop(feed);
        assert!(answer.collect().await.unwrap().to_bytes().is_empty());
        assert_eq!((received, net.opened()), (20 * 1024 * 1024, 1));
    }
}

#[tokio::test]
async fn a_connection_is_not_reused_before_its_upload_is_over() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http1));
    net.clone().serve(|number, request| async move {
        tokio::spawn(request.into_body().collect());
        numbered_text(number)
    });
    let (feed, body) = fed();
    feed.send(data("begin")).await.unwrap();
    let early = send(&transport, &endpoint, Request::post("/").body(body).unwrap()).await.unwrap();
    assert_eq!(text(early).await, "1");
    assert_eq!(ask(&transport, &endpoint).await, "2");
    feed.send(data("end")).await.unwrap();
    drop(feed);
    settle().await;
    // Both are idle now; the second is used, and with it busy the first.
    let second = send(&transport, &endpoint, get("/")).await.unwrap();
    assert_eq!(ask(&transport, &endpoint).await, "1");
    assert_eq!((text(second).await.as_str(), net.opened()), ("2", 2));
}

fn numbered_text(number: usize) -> Answer {
    Ok(Response::new(full(number.to_string())))
}

#[tokio::test]
async fn an_answer_that_says_close_is_believed() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http1));
    net.clone().serve(|number, _| async move {
        let answer = Response::builder().header("connection", "close");
        Ok(answer.body(full(number.to_string())).unwrap())
    });
    for number in ["1", "2", "3"] {
        assert_eq!(ask(&transport, &endpoint).await, number);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_share_a_transport() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http1));
    net.clone().serve(numbered);
    let asks = (0..16).map(|_| {
        let (transport, endpoint) = (transport.clone(), endpoint.clone());
        tokio::spawn(async move {
            for _ in 0..200 {
                ask(&transport, &endpoint).await;
            }
        })
    });
    for asked in asks.collect::<Vec<_>>() {
        asked.await.unwrap();
    }
    // 16 are needed. A driver that had not come to rest yet costs one more now and then, but not with every request.
    assert!(net.opened() < 320, "{} connections for 3200 requests, 16 at a time", net.opened());
}
