use std::future::poll_fn;
use std::time::Duration;

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use super::*;

async fn numbered<B>(number: usize, _: Request<B>) -> Answer {
    Ok(Response::new(full(number.to_string())))
}

#[tokio::test]
async fn requests_share_one_connection() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http2));
    let (gate, waiting) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    net.clone().serve_http2(100, {
        let (gate, waiting) = (gate.clone(), waiting.clone());
        move |number, _| {
            let (gate, waiting) = (gate.clone(), waiting.clone());
            async move {
                waiting.fetch_add(1, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                Ok(Response::new(full(number.to_string())))
            }
        }
    });
    // All at once: they wait for one connection, and not each for its own.
    let asks: Vec<_> = (0..50)
        .map(|_| {
            let (transport, endpoint) = (transport.clone(), endpoint.clone());
            tokio::spawn(async move { ask(&transport, &endpoint).await })
        })
        .collect();
    settle().await;
    settle().await;
    assert_eq!((waiting.load(Ordering::SeqCst), net.opened()), (50, 1));
    gate.add_permits(50);
    for asked in asks {
        assert_eq!(asked.await.unwrap(), "1");
    }
}

#[tokio::test]
async fn another_connection_is_opened_when_all_streams_are_taken() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http2));
    net.clone().serve_http2(2, numbered);
    // The first answer brings the settings of the other side.
    ask(&transport, &endpoint).await;
    settle().await;
    let mut taken = Vec::new();
    for _ in 0..5 {
        taken.push(send(&transport, &endpoint, get("/")).await.unwrap());
        settle().await;
    }
    assert_eq!(net.opened(), 3);
    drop(taken);
    settle().await;
    ask(&transport, &endpoint).await;
    assert_eq!(net.opened(), 3);
}

#[tokio::test]
async fn own_limit_of_streams() {
    let net = Net::new();
    let transport = Transport::builder().connector(net.connector()).http2_max_concurrent_streams(1).build();
    let endpoint = endpoint(Protocol::Http2);
    net.clone().serve_http2(100, numbered);
    let first = send(&transport, &endpoint, get("/")).await.unwrap();
    let second = send(&transport, &endpoint, get("/")).await.unwrap();
    assert_eq!((text(first).await, text(second).await), ("1".into(), "2".into()));
}

#[tokio::test]
async fn the_name_goes_out_and_not_the_address() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http2));
    net.clone().serve_http2(100, |_, request| async move {
        Ok(Response::new(full(format!("{} {:?} {:?}", request.uri(), request.version(), request.headers()))))
    });
    let mut request = get("/path?q=1");
    request.headers_mut().insert("connection", "close".parse().unwrap());
    let seen = text(send(&transport, &endpoint, request).await.unwrap()).await;
    assert_eq!(seen, "http://a.test/path?q=1 HTTP/2.0 {}");
}

#[tokio::test]
async fn a_host_that_no_uri_has_a_place_for_goes_out_as_it_is() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http2));
    net.clone().serve_http2(100, |_, request| async move {
        let authority = request.uri().authority().map(Authority::as_str);
        let host = request.headers().get("host").map(|host| host.to_str().unwrap());
        Ok(Response::new(full(format!("{authority:?} {host:?} {}", request.uri().path()))))
    });
    for (host, seen) in [
        (Some("a:b:c"), "None Some(\"a:b:c\") /x"),
        (Some("["), "None Some(\"[\") /x"),
        (Some("a%zz"), "None Some(\"a%zz\") /x"),
        (Some(""), "None Some(\"\") /x"),
        (Some("me@a.test:8080"), "Some(\"me@a.test:8080\") None /x"),
        (None, "Some(\"10.0.0.1:80\") None /x"),
    ] {
        let mut request = Request::get("/x");
        request = match host {
            Some(host) => request.header("host", host),
            None => request,
        };
        let aim = Aim::new(endpoint.clone(), None);
        let request = request.body(RequestBody::new(empty()).with_aim(aim)).unwrap();
        assert_eq!(text(transport.clone().oneshot(request).await.unwrap()).await, seen);
    }
}

#[tokio::test]
async fn a_websocket_is_asked_for_by_an_extended_connect() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http2));
    net.clone().serve_http2(100, |_, mut request: Request<Incoming>| async move {
        let protocol = request.extensions().get::<hyper::ext::Protocol>().map(|protocol| protocol.as_str().to_owned());
        let seen = format!("{} {} {protocol:?} {:?}", request.method(), request.uri(), request.headers());
        tokio::spawn(async move {
            let mut io = TokioIo::new(hyper::upgrade::on(&mut request).await.unwrap());
            io.write_all(seen.as_bytes()).await.unwrap();
            io.shutdown().await.unwrap();
        });
        Ok(Response::new(empty()))
    });
    // The settings of the other side tell whether it may be asked.
    let plain = Request::get("/").body(empty()).unwrap();
    drop(send(&transport, &endpoint, plain).await.unwrap());
    settle().await;
    let request = Request::get("/ws?a=b").header("host", "a.test").header("sec-websocket-version", "13");
    let request = request.header("connection", "Upgrade").header("upgrade", "WebSocket").body(empty()).unwrap();
    let mut response = send(&transport, &endpoint, request).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["upgrade"]), (101, &"websocket".parse().unwrap()));
    let mut seen = String::new();
    TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap()).read_to_string(&mut seen).await.unwrap();
    assert_eq!(seen, r#"CONNECT http://a.test/ws?a=b Some("websocket") {"sec-websocket-version": "13"}"#);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_takes_its_stream_until_it_ends() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http2));
    net.clone().serve_http2(1, |number, mut request: Request<Incoming>| async move {
        if request.method() != Method::CONNECT {
            return numbered(number, request).await;
        }
        tokio::spawn(async move {
            let mut io = TokioIo::new(hyper::upgrade::on(&mut request).await.unwrap());
            let _ = io.read_to_end(&mut Vec::new()).await;
        });
        Ok(Response::new(empty()))
    });
    // The first answer brings the settings of the other side.
    ask(&transport, &endpoint).await;
    settle().await;
    let request = Request::get("/ws").header("connection", "Upgrade").header("upgrade", "websocket");
    let mut response = send(&transport, &endpoint, request.body(empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 101);
    let tunnel = hyper::upgrade::on(&mut response).await.unwrap();
    let mut body = response.into_body();
    assert!(body.is_end_stream() && body.frame().await.is_none());
    assert_eq!(soon(ask(&transport, &endpoint)).await, "2", "the tunnel is still there");
    drop((tunnel, body));
    settle().await;
    assert_eq!(ask(&transport, &endpoint).await, "1");
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_taken_until_its_upload_is_over_too() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http2));
    let (feed, body) = fed();
    let early = tokio::spawn({
        let (transport, endpoint) = (transport.clone(), endpoint.clone());
        async move { send(&transport, &endpoint, Request::post("/").body(body).unwrap()).await.unwrap() }
    });
    let mut server = h2::server::Builder::new();
    let mut server = server.max_concurrent_streams(1).handshake::<_, Bytes>(net.accept().await).await.unwrap();
    tokio::spawn(async move {
        let mut uploads = Vec::new();
        while let Some(Ok((request, mut respond))) = server.accept().await {
            respond.send_response(Response::new(()), true).unwrap();
            uploads.push(request);
        }
    });
    assert_eq!(text(early.await.unwrap()).await, "");
    settle().await;
    net.clone().serve_http2(100, |_, _| numbered(2, Request::new(())));
    assert_eq!(soon(ask(&transport, &endpoint)).await, "2", "the other side counts the upload");
    drop(feed);
    settle().await;
    assert_eq!(ask(&transport, &endpoint).await, "");
}

#[tokio::test]
async fn the_protocol_of_the_request_decides_where_the_cluster_says_so() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::SameAsDownstream));
    let serve = |_, request: Request<Incoming>| async move {
        let seen = format!("{:?} {:?}", request.version(), request.headers()["cookie"]);
        Answer::Ok(Response::new(full(seen)))
    };
    for (version, answer) in [(http::Version::HTTP_11, "HTTP/1.1 \"a=1; b=2\""), (http::Version::HTTP_2, "HTTP/2.0")] {
        let mut request = Request::get("/").version(version).body(empty()).unwrap();
        request.headers_mut().insert("cookie", "a=1; b=2".parse().unwrap());
        let (transport, endpoint) = (transport.clone(), endpoint.clone());
        let asking = tokio::spawn(async move { text(send(&transport, &endpoint, request).await.unwrap()).await });
        let io = TokioIo::new(net.accept().await);
        let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        let service = service_fn(move |request| serve(1, request));
        tokio::spawn(async move { server.serve_connection(io, service).await.unwrap() });
        assert!(asking.await.unwrap().starts_with(answer));
    }
}

#[tokio::test]
async fn trailers_come_through() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http2));
    net.clone().serve_http2(100, |_, request| async move {
        let sent = request.into_body().collect().await.unwrap();
        let trailers = sent.trailers().cloned().unwrap();
        Ok(Response::new(full(sent.to_bytes()).with_trailers(async { Some(Ok(trailers)) }).boxed_unsync()))
    });
    let trailers = http::HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let body = full("message").with_trailers(std::future::ready(Some(Ok(trailers.clone())))).boxed_unsync();
    let answer = send(&transport, &endpoint, Request::post("/").body(body).unwrap()).await.unwrap();
    let answer = answer.into_body().collect().await.unwrap();
    assert_eq!((answer.trailers().cloned(), answer.to_bytes()), (Some(trailers), Bytes::from("message")));
}

/// What the transport makes of a server that does this with its first stream.
async fn against<F: Future<Output = ()> + Send + 'static>(
    serve: impl FnOnce(h2::server::Connection<DuplexStream, Bytes>, h2::server::SendResponse<Bytes>) -> F,
) -> Failure {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http2));
    let asking = tokio::spawn(async move { send(&transport, &endpoint, get("/")).await });
    let mut server = h2::server::handshake(net.accept().await).await.unwrap();
    let (_, respond) = server.accept().await.unwrap().unwrap();
    tokio::spawn(serve(server, respond));
    let result = asking.await.unwrap();
    assert_eq!(net.opened(), 1, "nothing is sent twice here");
    failure_of(result)
}

#[tokio::test]
async fn resets_are_told_apart() {
    for (reason, failure) in [
        (h2::Reason::REFUSED_STREAM, Failure::RefusedStream),
        (h2::Reason::INTERNAL_ERROR, Failure::RemoteReset),
        (h2::Reason::CANCEL, Failure::RemoteReset),
    ] {
        let seen = against(move |mut server, mut respond| async move {
            respond.send_reset(reason);
            let _ = server.accept().await;
        });
        assert_eq!(seen.await, failure, "{reason}");
    }
}

#[tokio::test]
async fn a_connection_that_ends_is_a_termination() {
    let seen = against(|server, respond| async move { drop((server, respond)) });
    assert_eq!(seen.await, Failure::ConnectionTermination);
}

#[tokio::test]
async fn a_peer_that_speaks_http1_is_a_protocol_error() {
    use tokio::io::AsyncWriteExt;

    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http2));
    let asking = tokio::spawn(async move { send(&transport, &endpoint, get("/")).await });
    let mut far = net.accept().await;
    far.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    assert_eq!(failure_of(asking.await.unwrap()), Failure::ProtocolError);
}

#[tokio::test]
async fn a_connection_that_says_goodbye_is_left_and_finishes_its_streams() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http2));
    let asking = tokio::spawn({
        let (transport, endpoint) = (transport.clone(), endpoint.clone());
        async move { ask(&transport, &endpoint).await }
    });
    let mut server = h2::server::handshake(net.accept().await).await.unwrap();
    let (_, mut respond) = server.accept().await.unwrap().unwrap();
    server.graceful_shutdown();
    tokio::spawn(async move { while server.accept().await.is_some() {} });
    settle().await;
    net.clone().serve_http2(100, |_, _| numbered(2, Request::new(())));
    assert_eq!(ask(&transport, &endpoint).await, "2");
    respond.send_response(Response::new(()), false).unwrap().send_data("old".into(), true).unwrap();
    assert_eq!((asking.await.unwrap().as_str(), net.opened()), ("old", 2));
}

/// Whether the stream of an answer was reset, so many seconds after its reader had all but its end and dropped it.
async fn is_reset_after(seconds: u64, method: Method) -> bool {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http2));
    let request = Request::builder().method(&method).uri("/").body(empty()).unwrap();
    let asking = tokio::spawn(async move { send(&transport, &endpoint, request).await });
    let mut server = h2::server::handshake(net.accept().await).await.unwrap();
    let (_, mut respond) = server.accept().await.unwrap().unwrap();
    tokio::spawn(async move { while server.accept().await.is_some() {} });
    let head = Response::builder().header("content-length", "4").body(()).unwrap();
    let mut stream = respond.send_response(head, false).unwrap();
    if method == Method::GET {
        stream.send_data("text".into(), false).unwrap();
    }
    let mut answer = asking.await.unwrap().unwrap();
    if method == Method::GET {
        assert_eq!(answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "text");
    }
    drop(answer);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let reset = poll_fn(|cx| Poll::Ready(stream.poll_reset(cx).is_ready())).await;
    if !reset {
        stream.send_data(Bytes::new(), true).unwrap();
        settle().await;
    }
    reset
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_not_reset_of_which_only_the_end_is_to_come() {
    for method in [Method::GET, Method::HEAD] {
        assert!(!is_reset_after(4, method.clone()).await, "{method}");
        assert!(is_reset_after(6, method.clone()).await, "{method}: there has to be one");
    }
}

/// Accepts a connection and answers with heads alone, until it is told to say goodbye; what was begun goes on.
async fn serve_until_goodbye(net: &Net) -> Arc<tokio::sync::Notify> {
    let mut server = h2::server::handshake(net.accept().await).await.unwrap();
    let goodbye = Arc::new(tokio::sync::Notify::new());
    let said = goodbye.clone();
    tokio::spawn(async move {
        let mut streams = Vec::new();
        loop {
            tokio::select! {
                accepted = server.accept() => match accepted {
                    Some(Ok((_, mut respond))) => streams.push(respond.send_response(Response::new(()), false).unwrap()),
                    _ => return,
                },
                () = said.notified() => server.graceful_shutdown(),
            }
        }
    });
    goodbye
}

#[tokio::test]
async fn a_request_finds_its_way_past_several_that_said_goodbye() {
    let net = Net::new();
    let transport = Transport::builder().connector(net.connector()).http2_max_concurrent_streams(2).build();
    let endpoint = endpoint(Protocol::Http2);
    let (mut long, mut goodbyes) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let asking = [get("/"), get("/")].map(|request| {
            let (transport, endpoint) = (transport.clone(), endpoint.clone());
            tokio::spawn(async move { send(&transport, &endpoint, request).await.unwrap() })
        });
        goodbyes.push(serve_until_goodbye(&net).await);
        for answer in asking {
            long.push(answer.await.unwrap());
        }
    }
    // Of each connection one stream ends and one goes on.
    let long: Vec<_> = long.into_iter().step_by(2).collect();
    settle().await;
    goodbyes.iter().for_each(|goodbye| goodbye.notify_one());
    settle().await;
    net.clone().serve_http2(100, |_, _| numbered(4, Request::new(())));
    assert_eq!(ask(&transport, &endpoint).await, "4");
    assert_eq!((net.opened(), long.len()), (4, 3));
}

#[tokio::test]
async fn a_request_that_waits_for_its_stream_when_the_other_side_says_goodbye_is_refused() {
    for upload in [false, true] {
        let net = Net::new();
        let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http2));
        let asking = || {
            let (transport, endpoint) = (transport.clone(), endpoint.clone());
            let body = if upload { full("upload") } else { empty() };
            tokio::spawn(async move { send(&transport, &endpoint, Request::post("/").body(body).unwrap()).await })
        };
        // They get the connection before the settings of the other side have come.
        let (under_way, more) = (asking(), [asking(), asking(), asking()]);
        let mut server = h2::server::Builder::new();
        let mut server = server.max_concurrent_streams(1).handshake::<_, Bytes>(net.accept().await).await.unwrap();
        let first = server.accept().await.unwrap().unwrap();
        let goodbye = Arc::new(tokio::sync::Notify::new());
        let said = goodbye.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    accepted = server.accept() => if accepted.is_none() { return },
                    () = said.notified() => server.graceful_shutdown(),
                }
            }
        });
        settle().await;
        // There is but one stream.
        goodbye.notify_one();
        for asked in more {
            assert_eq!(failure_of(asked.await.unwrap()), Failure::RefusedStream);
        }
        assert_eq!(net.opened(), 1);
        drop((first, under_way));
    }
}

#[tokio::test]
async fn a_body_given_up_resets_its_stream_and_keeps_the_connection() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http2));
    let asking = tokio::spawn({
        let (transport, endpoint) = (transport.clone(), endpoint.clone());
        async move { send(&transport, &endpoint, get("/")).await.unwrap() }
    });
    let mut server = h2::server::handshake(net.accept().await).await.unwrap();
    let (_, mut respond) = server.accept().await.unwrap().unwrap();
    let mut stream = respond.send_response(Response::new(()), false).unwrap();
    tokio::spawn(async move {
        while let Some(Ok((_, mut respond))) = server.accept().await {
            respond.send_response(Response::new(()), true).unwrap();
        }
    });
    drop(asking.await.unwrap());
    let reset = std::future::poll_fn(|cx| stream.poll_reset(cx)).await.unwrap();
    assert_eq!(reset, h2::Reason::CANCEL);
    assert_eq!((ask(&transport, &endpoint).await.as_str(), net.opened()), ("", 1));
}

#[tokio::test]
async fn those_who_wait_share_a_failure_and_inherit_an_attempt() {
    let refusing = Transport::builder()
        .connector(|_: Address| async {
            tokio::task::yield_now().await;
            Err::<DuplexStream, _>(io::Error::from(io::ErrorKind::ConnectionRefused))
        })
        .build();
    let endpoint = endpoint(Protocol::Http2);
    let asks = (0..2).map(|_| send(&refusing, &endpoint, get("/")));
    for result in futures_of(asks).await {
        assert_eq!(failure_of(result), Failure::ConnectRefused);
    }

    let net = Net::new();
    let transport = net.transport();
    let mut first = Box::pin(send(&transport, &endpoint, get("/")));
    let polled = std::future::poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx))).await;
    assert!(polled.is_pending());
    let second = tokio::spawn({
        let (transport, endpoint) = (transport.clone(), endpoint.clone());
        async move { ask(&transport, &endpoint).await }
    });
    settle().await;
    drop(first);
    net.clone().serve_http2(100, |_, _| numbered(7, Request::new(())));
    assert_eq!(second.await.unwrap(), "7");
}

async fn futures_of<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(cx)
            {
                *output = Some(ready);
            }
        }
        if outputs.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
