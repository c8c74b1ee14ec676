//! What endpoints may do to a connection that others share.

use std::time::Duration;

use http::HeaderMap;
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::time::{Instant, sleep};

use super::limits::asking;
use super::*;

/// Serves one connection of HTTP/2; a path like `/3x5` is answered by three frames of five bytes.
async fn serve_frames(net: Net) {
    let mut server = h2::server::handshake(net.accept().await).await.unwrap();
    while let Some(Ok((request, mut respond))) = server.accept().await {
        let (frames, bytes) = request.uri().path()[1..].split_once('x').unwrap();
        let frame = Bytes::from(vec![b'x'; bytes.parse().unwrap()]);
        let mut body = respond.send_response(Response::new(()), false).unwrap();
        for _ in 0..frames.parse().unwrap() {
            body.send_data(frame.clone(), false).unwrap();
        }
        body.send_data(Bytes::new(), true).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_reads_are_in_nobodys_way() {
    // Small frames cost more than their bytes; of large ones 2 MiB come.
    for (unread, length, count) in [("/100000x20", 2_000_000, 1), ("/2500x1024", 2_560_000, 20)] {
        let net = Net::new();
        let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http2));
        tokio::spawn(serve_frames(net.clone()));
        let mut held = Vec::new();
        for _ in 0..count {
            held.push(soon(send(&transport, &endpoint, get(unread))).await.unwrap());
            sleep(Duration::from_millis(1)).await;
        }
        let other = soon(async { text(send(&transport, &endpoint, get("/1x3")).await.unwrap()).await });
        assert_eq!((other.await.as_str(), net.opened()), ("xxx", 1), "{unread}");
        for answer in held {
            assert_eq!(soon(text(answer)).await.len(), length, "{unread}");
        }
    }
}

/// Answers with a head, and with trailers, that have a field as long as the path says.
async fn long<B>(_: usize, request: Request<B>) -> Answer {
    let field = "x".repeat(request.uri().path()[1..].parse().unwrap());
    let fields: HeaderMap = [("x-long".parse().unwrap(), field.parse().unwrap())].into_iter().collect();
    let trailers = Some(Ok(fields.clone()));
    let mut answer = Response::new(full("text").with_trailers(async { trailers }).boxed_unsync());
    answer.headers_mut().extend(fields);
    Ok(answer)
}

#[tokio::test]
async fn a_long_head_comes_through_and_a_longer_one_is_refused() {
    // Envoy's bounds: 80 KiB, and 60 KiB in HTTP/2.
    for (protocol, length, opened) in [(Protocol::Http1, 81_000, 3), (Protocol::Http2, 61_400, 1)] {
        let net = Net::new();
        let (transport, endpoint) = (net.transport(), endpoint(protocol));
        match protocol {
            Protocol::Http2 => net.clone().serve_http2(100, long),
            _ => net.clone().serve(long),
        }
        let answer = send(&transport, &endpoint, get(&format!("/{length}"))).await.unwrap();
        assert_eq!(answer.headers()["x-long"].len(), length);
        let body = answer.into_body().collect().await.unwrap();
        let trailer = body.trailers().map(|trailers| trailers["x-long"].len());
        assert_eq!(trailer, (protocol == Protocol::Http2).then_some(length));
        for too_long in [length + 4_000, length + 40_000] {
            let refused = send(&transport, &endpoint, get(&format!("/{too_long}"))).await;
            assert_eq!(failure_of(refused), Failure::ProtocolError, "{protocol:?} {too_long}");
        }
        let other = send(&transport, &endpoint, get("/1")).await.unwrap();
        assert_eq!((text(other).await.as_str(), net.opened()), ("text", opened), "{protocol:?}");
    }
}

#[tokio::test]
async fn a_head_of_http2_has_a_hundred_lines_at_most() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http2));
    let server = net.clone();
    tokio::spawn(async move {
        let mut server = h2::server::handshake(server.accept().await).await.unwrap();
        while let Some(Ok((request, mut respond))) = server.accept().await {
            let mut answer = Response::new(());
            for _ in 0..request.uri().path()[1..].parse().unwrap() {
                answer.headers_mut().append("x-line", "1".parse().unwrap());
            }
            respond.send_response(answer, true).unwrap();
        }
    });
    // With `:status`.
    let answer = send(&transport, &endpoint, get("/99")).await.unwrap();
    assert_eq!(answer.headers().len(), 99);
    assert_eq!(failure_of(send(&transport, &endpoint, get("/100")).await), Failure::RemoteReset);
    assert_eq!((send(&transport, &endpoint, get("/1")).await.is_ok(), net.opened()), (true, 1));
}

/// What an endpoint says, frame by frame.
struct Said(WriteHalf<DuplexStream>);

impl Said {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;

    /// Accepts a connection, on which it hears nothing.
    async fn accept(net: &Net) -> Self {
        let (mut heard, said) = tokio::io::split(net.accept().await);
        tokio::spawn(async move { tokio::io::copy(&mut heard, &mut tokio::io::sink()).await });
        let mut said = Self(said);
        said.frame(Self::SETTINGS, 0, 0, b"").await;
        said
    }

    async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = vec![0, 0, payload.len() as u8, kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).await.unwrap();
    }

    /// The head of an answer: 200.
    async fn head(&mut self, stream: u32) {
        self.frame(Self::HEADERS, 4, stream, &[0x88]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_for_streams_that_were_given_up_is_in_nobodys_way() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http2));
    let ask = || {
        let (transport, endpoint) = (transport.clone(), endpoint.clone());
        tokio::spawn(async move { send(&transport, &endpoint, get("/")).await.unwrap() })
    };
    let moment = Duration::from_millis(1);
    let kept = ask();
    let mut said = Said::accept(&net).await;
    sleep(moment).await;
    said.head(1).await;
    let kept = kept.await.unwrap();
    let streams: Vec<u32> = (1..1500).map(|number| 2 * number + 1).collect();
    for streams in streams.chunks(100) {
        let asked: Vec<_> = streams.iter().map(|_| ask()).collect();
        sleep(moment).await;
        for stream in streams {
            said.head(*stream).await;
        }
        for given_up in asked {
            drop(soon(given_up).await.unwrap());
        }
        sleep(moment).await;
        for stream in streams {
            said.frame(Said::DATA, 0, *stream, b"late").await;
        }
        sleep(moment).await;
    }
    said.frame(Said::DATA, 1, 1, b"kept").await;
    assert_eq!((soon(text(kept)).await.as_str(), net.opened()), ("kept", 1));
}

#[tokio::test(start_paused = true)]
async fn what_an_endpoint_allows_later_counts_too() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http2));
    let ask = || asking(&transport, &endpoint, "/");
    let moment = Duration::from_millis(1);
    let first = ask();
    let mut said = Said::accept(&net).await;
    for (number, asked) in [first, ask()].into_iter().enumerate() {
        sleep(moment).await;
        said.frame(Said::HEADERS, 5, 2 * number as u32 + 1, &[0x88]).await;
        soon(asked).await.unwrap().unwrap();
    }
    // Long after its first answer: two streams at a time, and none at all.
    let mut other = None;
    for (streams, here, there) in [(2, &[5, 7][..], &[1][..]), (0, &[], &[3, 5, 7])] {
        said.frame(Said::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, streams]).await;
        sleep(moment).await;
        let asked = [ask(), ask(), ask()];
        if other.is_none() {
            other = Some(soon(Said::accept(&net)).await);
        }
        sleep(moment).await;
        for stream in here {
            said.frame(Said::HEADERS, 5, *stream, &[0x88]).await;
        }
        for stream in there {
            other.as_mut().unwrap().frame(Said::HEADERS, 5, *stream, &[0x88]).await;
        }
        for asked in asked {
            soon(asked).await.unwrap().unwrap();
        }
    }
    assert_eq!(net.opened(), 2);
}

#[tokio::test(start_paused = true)]
async fn connections_for_few_requests_are_opened_at_once() {
    let opening = Duration::from_millis(200);
    for (most, opened) in [(1, 20), (5, 4)] {
        let net = Net::new();
        let connector = Arc::new(net.connector());
        let slow = move |address: Address| {
            let connector = connector.clone();
            async move {
                sleep(opening).await;
                connector.connect(address).await
            }
        };
        let transport = Transport::builder().connector(slow).build();
        let max_requests = std::num::NonZeroU32::new(most);
        let few = ConnectionSettings { protocol: Protocol::Http2, max_requests, ..ConnectionSettings::default() };
        let endpoint = endpoint_of(&cluster_with(EndpointConfig::new(([10, 0, 0, 1], 80)), few));
        net.clone().serve_http2(100, |_, _| async { Ok(Response::new(empty())) });
        let began = Instant::now();
        let asks: Vec<_> = (0..20)
            .map(|_| {
                let (transport, endpoint) = (transport.clone(), endpoint.clone());
                tokio::spawn(async move { ask(&transport, &endpoint).await })
            })
            .collect();
        for asked in asks {
            asked.await.unwrap();
        }
        assert_eq!((began.elapsed(), net.opened()), (opening, opened), "{most}");
    }
}
