//! Requests over HTTP/2, each on its own connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::Uri;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Answer, Target, body_of};
use crate::schema::Request;
use crate::upstream::http2::{headers_of, map_of};

const WINDOW: u32 = 1 << 24;

type Problem = Box<dyn std::error::Error + Send + Sync>;

/// Sends a request and reads the whole answer; `grpc` frames the message and adds its headers.
pub(crate) async fn request(target: &Target, request: &Request, grpc: bool) -> Answer {
    let start = Instant::now();
    let mut answer = Answer::default();
    if let Err(problem) = exchange(target, request, grpc, &mut answer).await {
        answer.error = Some(problem.to_string());
    }
    answer.elapsed = start.elapsed();
    answer
}

async fn exchange(target: &Target, words: &Request, grpc: bool, answer: &mut Answer) -> Result<(), Problem> {
    let body = if grpc { Some(frame(words.message.as_deref().unwrap_or(""))) } else { body_of(words).map(Bytes::from) };
    let mut open = Open::connect(target, answer).await?;
    let (response, mut stream) = open.send(words, target, grpc, body.is_none())?;
    let uploading = async move {
        let Some(body) = body else { return Ok(()) };
        upload(&mut stream, body, words).await
    };
    let downloading = async {
        let mut body = receive(response, answer).await?;
        download(&mut body, answer).await
    };
    tokio::pin!(uploading, downloading);
    // an answer may be complete before the request is, and a failed upload may have been answered
    tokio::select! {
        biased;
        outcome = &mut downloading => outcome,
        _ = &mut uploading => downloading.await,
    }
}

/// A message in the framing of gRPC.
fn frame(message: &str) -> Bytes {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(message.as_bytes());
    framed.freeze()
}

/// A connection with its driver, which ends with it.
pub(super) struct Open {
    sender: h2::client::SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Open {
    pub(super) async fn connect(target: &Target, answer: &mut Answer) -> Result<Open, Problem> {
        let (socket, session) = target.connect(&["h2"]).await?;
        answer.note(&session);
        let (sender, connection) = h2::client::Builder::new()
            .initial_connection_window_size(WINDOW)
            .enable_push(false)
            .handshake::<_, Bytes>(socket)
            .await?;
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Open { sender: sender.ready().await?, driver })
    }

    pub(super) fn send(
        &mut self,
        words: &Request,
        target: &Target,
        grpc: bool,
        end: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Problem> {
        let scheme = words.scheme.as_deref().unwrap_or(if target.tls.is_some() { "https" } else { "http" });
        let path = words.path.as_deref().unwrap_or(if grpc { "/test.Echo/Say" } else { "/" });
        let uri = Uri::builder().scheme(scheme).authority(words.host.as_str()).path_and_query(path).build()?;
        let method = words.method.as_deref().unwrap_or(if grpc { "POST" } else { "GET" });
        let mut request = http::Request::builder().method(method).uri(uri).body(())?;
        let lines: Vec<(String, &str)> =
            words.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        *request.headers_mut() = map_of(lines.iter().map(|(name, value)| (name.as_str(), *value)))?;
        if grpc {
            request
                .headers_mut()
                .extend(map_of([("content-type", "application/grpc"), ("te", "trailers")].into_iter())?);
        }
        Ok(self.sender.send_request(request, end)?)
    }
}

async fn upload(stream: &mut SendStream<Bytes>, body: Bytes, words: &Request) -> Result<(), Problem> {
    let trailers = map_of(words.trailers.iter())?;
    stream.send_data(body, trailers.is_empty())?;
    if !trailers.is_empty() {
        stream.send_trailers(trailers)?;
    }
    Ok(())
}

/// Waits for the head, informational answers on the way.
pub(super) async fn receive(mut response: ResponseFuture, answer: &mut Answer) -> Result<RecvStream, h2::Error> {
    let info = &mut answer.info;
    let response = poll_fn(|cx| {
        while let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
            info.push(interim.status().as_u16());
        }
        Pin::new(&mut response).poll(cx)
    })
    .await?;
    answer.status = Some(response.status().as_u16());
    answer.headers = headers_of(response.headers());
    Ok(response.into_body())
}

/// The next part of a body; a reset without an error ends it.
pub(super) async fn part(body: &mut RecvStream) -> Result<Option<Bytes>, h2::Error> {
    match body.data().await {
        None => Ok(None),
        Some(Ok(data)) => {
            body.flow_control().release_capacity(data.len())?;
            Ok(Some(data))
        }
        Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => Ok(None),
        Some(Err(error)) => Err(error),
    }
}

async fn download(body: &mut RecvStream, answer: &mut Answer) -> Result<(), Problem> {
    while let Some(data) = part(body).await? {
        answer.body.extend_from_slice(&data);
    }
    if let Ok(Some(trailers)) = body.trailers().await {
        answer.trailers = headers_of(&trailers);
    }
    Ok(())
}
