//! Connections whose listener is gone, while the gateway goes on.

use super::*;

/// How long they have for another request.
const TIME: Duration = Duration::from_secs(45);

/// A connection that has said nothing, one in the middle of its first head, and one between two requests, of which the
/// listener is then gone; with the rest of a request.
async fn leaving() -> [(Client, &'static str); 3] {
    let (silent, mut halfway, mut used) = (connect(None), connect(None), connect(None));
    halfway.stream.write_all(b"GET /last HT").await.unwrap();
    used.stream.write_all(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n0\r\n\r\n") {
        answer.push(used.stream.read_u8().await.unwrap());
    }
    assert!(!String::from_utf8(answer).unwrap().contains("connection:"));
    let whole = "GET /last HTTP/1.1\r\nHost: a\r\n\r\n";
    let clients = [(silent, whole), (halfway, whole.strip_prefix("GET /last HT").unwrap()), (used, whole)];
    clients.iter().for_each(|(client, _)| client.drain.leave());
    clients
}

#[tokio::test(start_paused = true)]
async fn their_next_answer_is_the_last() {
    let clients = leaving().await;
    sleep(TIME - Duration::from_secs(1)).await;
    let began = Instant::now();
    for (mut client, rest) in clients {
        client.stream.write_all(rest.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(statuses(&answer), ["200"]);
        assert!(answer.contains("\r\nconnection: close\r\n") && answer.contains("GET /last"), "{answer}");
        client.served.await.unwrap().unwrap();
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_answer_under_way_is_the_last() {
    let (open, gate) = oneshot::channel();
    let mut client = connect(Some(gate));
    client.stream.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    tokio::task::yield_now().await;
    client.drain.leave();
    sleep(TIME / 2).await;
    open.send(()).unwrap();
    let mut answer = String::new();
    client.stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\r\nconnection: close\r\n") && answer.contains("GET /slow"), "{answer}");
    client.served.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_asks_nothing_more_is_left_in_the_end() {
    let began = Instant::now();
    for (mut client, _) in leaving().await {
        let mut nothing = Vec::new();
        client.stream.read_to_end(&mut nothing).await.unwrap();
        assert_eq!((nothing.len(), began.elapsed()), (0, TIME));
        client.served.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_too_long_is_cut() {
    let (began, (open, gate)) = (Instant::now(), oneshot::channel());
    let mut client = connect(Some(gate));
    client.stream.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    tokio::task::yield_now().await;
    client.drain.leave();
    let mut nothing = Vec::new();
    client.stream.read_to_end(&mut nothing).await.unwrap();
    assert_eq!((nothing.len(), began.elapsed(), open.is_closed()), (0, TIME, true));
    client.served.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_gateway_does_not_wait_for_them() {
    for ((client, _), farewell) in leaving().await.into_iter().zip([0, 5, 0]) {
        let began = Instant::now();
        client.drain.finish().await;
        assert_eq!(began.elapsed(), Duration::from_secs(farewell));
        client.served.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn http2_is_told_to_go_away_at_once() {
    let (began, client) = (Instant::now(), connect(None));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client.stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://a.test/").body(Empty::<Bytes>::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    client.drain.leave();
    sleep(Duration::from_secs(1)).await;
    // What is under way is not lost.
    assert!(sender.is_closed());
    assert!(!answer.into_body().collect().await.unwrap().to_bytes().is_empty());
    let _ = client.served.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_has_the_same_time() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let accepted = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    // Its listener may go before or after it is there.
    for goes_first in [true, false] {
        let (near, mut upstream) = tokio::io::duplex(1 << 16);
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        let sender = Arc::new(tokio::sync::Mutex::new(sender));
        let mut client = connect_to(service_fn(move |request: Request<InboundBody>| {
            let sender = sender.clone();
            async move { sender.lock().await.send_request(request).await }
        }));
        client.stream.write_all(head).await.unwrap();
        upstream.read_u8().await.unwrap();
        let mut left = Instant::now();
        if goes_first {
            client.drain.leave();
            sleep(TIME - Duration::from_secs(5)).await;
        }
        upstream.write_all(accepted).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(client.stream.read_u8().await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101") && !answer.contains("close"), "{answer}");
        if !goes_first {
            sleep(TIME).await;
            client.drain.leave();
            left = Instant::now();
        }
        let mut nothing = Vec::new();
        client.stream.read_to_end(&mut nothing).await.unwrap();
        assert_eq!((nothing.len(), left.elapsed()), (0, TIME));
    }
}
