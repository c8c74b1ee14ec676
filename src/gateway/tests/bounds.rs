//! What clients of HTTP/2 may do to a connection that has other requests.

use tokio::time::timeout;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// Holds what `/stuck` asks for; the rest is [`echo`]'s.
async fn stuck_or_echo(request: Request<InboundBody>) -> Result<Answer, std::io::Error> {
    if request.uri().path() == "/stuck" {
        let _held = request;
        return std::future::pending().await;
    }
    echo(request).await.map_err(std::io::Error::other)
}

#[tokio::test(start_paused = true)]
async fn uploads_that_nobody_reads_are_in_nobodys_way() {
    // Small frames cost more than their bytes; of large ones 1 MiB comes.
    for (frames, bytes, count) in [(50_000, 20, 1), (1500, 1024, 20)] {
        let client = connect_to(service_fn(stuck_or_echo));
        let (mut sender, connection) = h2::client::handshake(client.stream).await.unwrap();
        tokio::spawn(connection);
        let mut upload = |path: &str| {
            let request = Request::post(format!("http://a.test{path}")).body(()).unwrap();
            sender.send_request(request, false).unwrap()
        };
        let frame = Bytes::from(vec![b'x'; bytes]);
        let mut stuck = Vec::new();
        for _ in 0..count {
            let (answer, mut body) = upload("/stuck");
            for _ in 0..frames {
                body.send_data(frame.clone(), false).unwrap();
            }
            stuck.push((answer, body));
            sleep(Duration::from_millis(1)).await;
        }
        let (answer, mut body) = upload("/other");
        body.send_data("abc".into(), true).unwrap();
        let answer = timeout(MINUTE, answer).await.expect("its body is read").unwrap();
        let text = answer.into_body().data().await.unwrap().unwrap();
        assert_eq!(text, "POST /other body=abc trailers=false", "{count} of {bytes}");
    }
}

/// A client that speaks frame by frame.
struct Frames(DuplexStream);

/// Kind, flags and stream.
type Heard = (u8, u8, u32);

impl Frames {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RESET: u8 = 3;
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;

    /// The flags of a head, with a body behind it and without.
    const HEAD: u8 = 4;
    const WHOLE: u8 = 5;

    async fn greet(stream: DuplexStream) -> Self {
        let mut client = Self(stream);
        let greeting = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(Self::SETTINGS, 0, 0, b"")];
        client.say(greeting.concat()).await;
        client
    }

    async fn say(&mut self, frames: Vec<u8>) {
        self.0.write_all(&frames).await.unwrap();
    }

    async fn hear(&mut self) -> Heard {
        let mut head = [0; 9];
        timeout(MINUTE, self.0.read_exact(&mut head)).await.expect("there is more").expect("the connection is open");
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await.unwrap();
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        assert_ne!(head[3], Self::GOAWAY, "{}", payload.escape_ascii());
        (head[3], head[4], stream)
    }

    /// Waits for the whole answer to the request on `stream`.
    async fn answered(&mut self, stream: u32) {
        let ends = |(kind, flags, of): Heard| of == stream && kind <= Self::HEADERS && flags & 1 == 1;
        while !ends(self.hear().await) {}
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    [&[0, 0, payload.len() as u8, kind, flags], stream.to_be_bytes().as_slice(), payload].concat()
}

/// `POST / HTTP/2.0` to `a.test`.
fn head(flags: u8, stream: u32) -> Vec<u8> {
    frame(Frames::HEADERS, flags, stream, b"\x83\x86\x84\x01\x06a.test")
}

fn streams(count: u32) -> Vec<u32> {
    (0..count).map(|number| 2 * number + 1).collect()
}

#[tokio::test(start_paused = true)]
async fn requests_canceled_at_once_are_in_nobodys_way() {
    let (open, gate) = oneshot::channel();
    let gated = connect(Some(gate));
    let mut client = Frames::greet(gated.stream).await;
    let all = streams(400);
    client.say(head(Frames::WHOLE, all[0])).await;
    sleep(Duration::from_millis(1)).await;
    let canceled = |stream: &u32| [head(Frames::WHOLE, *stream), frame(Frames::RESET, 0, *stream, &[0, 0, 0, 8])];
    client.say(all[1..].iter().flat_map(canceled).flatten().collect()).await;
    sleep(Duration::from_millis(1)).await;
    open.send(()).unwrap();
    client.answered(all[0]).await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_for_uploads_that_were_answered_early_is_in_nobodys_way() {
    let early = connect_to(service_fn(|request: Request<InboundBody>| {
        drop(request);
        ready(Ok::<_, BoxError>(Response::new(Empty::<Bytes>::new())))
    }));
    let mut client = Frames::greet(early.stream).await;
    let all = streams(1500);
    for streams in all.chunks(100) {
        client.say(streams.iter().flat_map(|stream| head(Frames::HEAD, *stream)).collect()).await;
        for _ in streams {
            while client.hear().await.0 != Frames::RESET {}
        }
        client.say(streams.iter().flat_map(|stream| frame(Frames::DATA, 0, *stream, b"late")).collect()).await;
    }
    client.say(head(Frames::WHOLE, 3001)).await;
    client.answered(3001).await;
}
