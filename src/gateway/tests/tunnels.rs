//! Tunnels, and whose end is whose.

use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use tokio::io::copy_bidirectional;

use super::*;

/// How long it may take until it is known that a client is gone.
const SOON: Duration = Duration::from_secs(10);

/// A connection to a gateway, and the endpoint's end of that to which it passes its requests on.
async fn between() -> (Client, DuplexStream) {
    let (near, upstream) = tokio::io::duplex(1 << 16);
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let sender = Arc::new(tokio::sync::Mutex::new(sender));
    let client = connect_to(service_fn(move |request: Request<InboundBody>| {
        let sender = sender.clone();
        async move { sender.lock().await.send_request(request).await }
    }));
    (client, upstream)
}

async fn read_head(stream: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn accept(upstream: &mut DuplexStream) {
    read_head(upstream).await;
    let accepted = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    upstream.write_all(accepted).await.unwrap();
}

/// Both ends of the tunnel of a client of HTTP/1.1.
async fn of_http1() -> (DuplexStream, DuplexStream) {
    let (mut client, mut upstream) = between().await;
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.stream.write_all(head).await.unwrap();
    accept(&mut upstream).await;
    assert!(read_head(&mut client.stream).await.starts_with("HTTP/1.1 101"));
    (client.stream, upstream)
}

/// The same of one of HTTP/2, with the wire that leads to the gateway.
async fn of_http2() -> (TokioIo<Upgraded>, DuplexStream, JoinHandle<()>) {
    let (mut client, mut upstream) = between().await;
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let wire = tokio::spawn(async move { drop(copy_bidirectional(&mut far, &mut client.stream).await) });
    let stream = TokioIo::new(near);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    // Until then it does not know that the other side takes extended CONNECTs.
    sleep(Duration::from_secs(1)).await;
    let connect = Request::connect("http://a.test/").extension(Protocol::from_static("websocket"));
    let asking = tokio::spawn(sender.send_request(connect.body(Empty::<Bytes>::new()).unwrap()));
    accept(&mut upstream).await;
    let answer = asking.await.unwrap().unwrap();
    (TokioIo::new(hyper::upgrade::on(answer).await.unwrap()), upstream, wire)
}

/// Whether nobody is at the other end any more, who has told that nothing more comes.
async fn is_let_go(mut one: impl AsyncReadExt + AsyncWriteExt + Unpin) -> bool {
    let mut rest = Vec::new();
    one.read_to_end(&mut rest).await.unwrap();
    sleep(SOON).await;
    rest.is_empty() && one.write_all(b"x").await.is_err()
}

#[tokio::test(start_paused = true)]
async fn the_end_of_either_side_is_that_of_both_in_http1() {
    let (mut client, upstream) = of_http1().await;
    client.shutdown().await.unwrap();
    assert!(is_let_go(upstream).await);
    let (client, mut upstream) = of_http1().await;
    upstream.shutdown().await.unwrap();
    assert!(is_let_go(client).await);
}

#[tokio::test(start_paused = true)]
async fn what_a_client_of_http1_still_sends_does_not_keep_the_end_from_it() {
    let (mut client, mut upstream) = of_http1().await;
    upstream.write_all(b"bye").await.unwrap();
    drop(upstream);
    sleep(Duration::from_millis(500)).await;
    client.write_all(b"more").await.unwrap();
    let mut last = String::new();
    client.read_to_string(&mut last).await.unwrap();
    assert_eq!(last, "bye");
}

#[tokio::test(start_paused = true)]
async fn a_client_of_http2_that_has_ended_still_hears_the_endpoint() {
    let (mut client, mut upstream, _wire) = of_http2().await;
    client.write_all(b"ask").await.unwrap();
    client.shutdown().await.unwrap();
    let mut asked = String::new();
    upstream.read_to_string(&mut asked).await.unwrap();
    sleep(SOON).await;
    upstream.write_all(b"answer").await.unwrap();
    drop(upstream);
    let mut answered = String::new();
    client.read_to_string(&mut answered).await.unwrap();
    assert_eq!((asked.as_str(), answered.as_str()), ("ask", "answer"));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_let_go_when_its_client_of_http2_is_gone() {
    // Its stream is canceled.
    let (client, upstream, _wire) = of_http2().await;
    drop(client);
    assert!(is_let_go(upstream).await);
    // Its connection is gone, some time after it has ended.
    let (mut client, upstream, wire) = of_http2().await;
    client.shutdown().await.unwrap();
    sleep(SOON).await;
    wire.abort();
    assert!(is_let_go(upstream).await);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_reads_nothing_is_let_go_too() {
    let (mut client, mut upstream, wire) = of_http2().await;
    // Until there is no room on the way.
    while let Ok(written) = tokio::time::timeout(SOON, client.write_all(&[0; 1 << 16])).await {
        written.unwrap();
    }
    wire.abort();
    sleep(SOON).await;
    assert!(upstream.write_all(b"x").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_endpoint_is_that_of_a_client_of_http2() {
    let (client, mut upstream, _wire) = of_http2().await;
    upstream.shutdown().await.unwrap();
    assert!(is_let_go(client).await);
    sleep(SOON).await;
    assert!(upstream.write_all(b"x").await.is_err());
}
