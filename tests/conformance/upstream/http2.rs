//! An upstream's HTTP/2, gRPC included.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::log::Record;
use super::reply::Reply;
use super::{Served, seconds};
use crate::http1::{Headers, bytes, header, text};
use crate::schema::{Behavior, Close};

const CONNECTION_WINDOW: u32 = 1 << 24;
const STREAMS: u32 = 1000;

/// Serves one connection; its streams end with it.
pub(crate) async fn serve<I>(served: Arc<Served>, io: I) -> Result<(), h2::Error>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = h2::server::Builder::new()
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .handshake::<I, Bytes>(io)
        .await?;
    let mut streams = JoinSet::new();
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        let served = served.clone();
        let behavior = served.ledger.next_behavior();
        let record = record_of(&served, &request);
        let number = served.ledger.record(record.clone());
        streams.spawn(async move {
            let exchange = Exchange { served: &served, behavior, record, number };
            // a stream the peer has reset is no concern of the others
            let _ = exchange.run(request.into_body(), respond).await;
        });
    }
    Ok(())
}

fn record_of(served: &Served, request: &Request<RecvStream>) -> Record {
    let uri = request.uri();
    let mut record = Record {
        method: request.method().to_string(),
        path: uri.path_and_query().map_or_else(String::new, ToString::to_string),
        authority: uri.authority().map_or_else(String::new, ToString::to_string),
        headers: headers_of(request.headers()),
        proto: "h2",
        sni: served.sni.clone(),
        ..Record::default()
    };
    record.set_body(b"");
    record
}

/// Header lines of a map; the crumbs of a cookie are one line again.
pub(crate) fn headers_of(map: &HeaderMap) -> Headers {
    let mut lines = Headers::new();
    for (name, value) in map {
        let value = text(value.as_bytes());
        match lines.iter_mut().find(|(key, _)| name == "cookie" && key == "cookie") {
            Some((_, cookie)) => *cookie = format!("{cookie}; {value}"),
            None => lines.push((name.to_string(), value)),
        }
    }
    lines
}

/// A map of header lines; what HTTP cannot carry is an error.
pub(crate) fn map_of<'a>(lines: impl Iterator<Item = (&'a str, &'a str)>) -> Result<HeaderMap, http::Error> {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(HeaderName::try_from(name)?, HeaderValue::from_bytes(&bytes(value))?);
    }
    Ok(map)
}

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

struct Exchange<'a> {
    served: &'a Served,
    behavior: Behavior,
    record: Record,
    number: usize,
}

impl Exchange<'_> {
    async fn run(mut self, mut body: RecvStream, mut respond: SendResponse<Bytes>) -> Outcome {
        if self.behavior.close == Some(Close::Early) {
            respond.send_reset(self.reset_reason());
            return Ok(());
        }
        if self.behavior.stream_echo {
            return self.echo(body, respond).await;
        }
        let mut data = Vec::new();
        if !self.behavior.early_reply {
            while let Some(part) = body.data().await {
                let part = part?;
                body.flow_control().release_capacity(part.len())?;
                data.extend_from_slice(&part);
            }
            if let Some(trailers) = body.trailers().await? {
                self.record.trailers = headers_of(&trailers);
            }
            self.record.set_body(&data);
            self.served.ledger.complete(self.number, self.record.clone());
        }
        let _in_flight = self.served.ledger.begin();
        sleep(seconds(self.behavior.delay)).await;
        if self.behavior.close == Some(Close::Before) {
            respond.send_reset(self.reset_reason());
            return Ok(());
        }
        let content_type = header(&self.record.headers, "content-type").unwrap_or("");
        if content_type.starts_with("application/grpc") {
            return self.answer_grpc(data, respond);
        }
        self.answer(respond).await
    }

    fn reset_reason(&self) -> Reason {
        self.behavior.h2_error.map_or(Reason::INTERNAL_ERROR, Reason::from)
    }

    fn head(&self, status: u16, lines: &Headers) -> Result<Response<()>, http::Error> {
        let mut response = Response::builder().status(status).body(())?;
        *response.headers_mut() = map_of(lines.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
        Ok(response)
    }

    async fn echo(self, mut body: RecvStream, mut respond: SendResponse<Bytes>) -> Outcome {
        let head = self.head(200, &vec![("x-upstream".to_owned(), self.served.name.clone())])?;
        let mut stream = respond.send_response(head, false)?;
        while let Some(part) = body.data().await {
            let part = part?;
            body.flow_control().release_capacity(part.len())?;
            stream.send_data(part, false)?;
        }
        Ok(stream.send_data(Bytes::new(), true)?)
    }

    async fn answer(self, mut respond: SendResponse<Bytes>) -> Outcome {
        let reply = Reply::of(&self.served.name, &self.behavior, &self.record);
        let bodiless = reply.is_bodiless(&self.record.method);
        let mut stream = respond.send_response(self.head(reply.status, &reply.headers)?, bodiless)?;
        if bodiless {
            return Ok(());
        }
        if self.behavior.close == Some(Close::Mid) {
            send(&mut stream, Bytes::copy_from_slice(reply.first_half()), false).await?;
            // a reset overtakes what is not sent yet
            sleep(Duration::from_millis(100)).await;
            stream.send_reset(Reason::INTERNAL_ERROR);
            return Ok(());
        }
        sleep(seconds(self.behavior.delay_body)).await;
        let trailers = map_of(self.behavior.trailers.iter())?;
        send(&mut stream, Bytes::from(reply.body), trailers.is_empty()).await?;
        if !trailers.is_empty() {
            stream.send_trailers(trailers)?;
        }
        Ok(())
    }

    /// Echoes the message; a status that is not zero comes with the head, or in trailers if so asked.
    fn answer_grpc(self, message: Vec<u8>, mut respond: SendResponse<Bytes>) -> Outcome {
        let behavior = &self.behavior;
        let own = |lines: &mut Headers, more: &crate::schema::HeaderLines| {
            lines.extend(more.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())));
        };
        let mut lines = vec![
            ("content-type".to_owned(), "application/grpc".to_owned()),
            ("x-upstream".to_owned(), self.served.name.clone()),
        ];
        own(&mut lines, &behavior.headers);
        let mut tail = vec![("grpc-status".to_owned(), behavior.grpc_status.to_string())];
        if let Some(message) = &behavior.grpc_message {
            tail.push(("grpc-message".to_owned(), message.clone()));
        }
        own(&mut tail, &behavior.trailers);
        let status = behavior.status.unwrap_or(200);
        if behavior.grpc_status != 0 && !behavior.grpc_in_trailers {
            lines.extend(tail);
            respond.send_response(self.head(status, &lines)?, true)?;
            return Ok(());
        }
        let mut stream = respond.send_response(self.head(status, &lines)?, false)?;
        stream.send_data(Bytes::from(message), false)?;
        stream.send_trailers(map_of(tail.iter().map(|(name, value)| (name.as_str(), value.as_str())))?)?;
        Ok(())
    }
}

/// Sends a body as fast as the peer's window opens.
async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes, end: bool) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let Some(room) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else {
            return Err(Reason::CANCEL.into());
        };
        let part = data.split_to(room?.min(data.len()));
        let last = end && data.is_empty();
        stream.send_data(part, last)?;
        if last {
            return Ok(());
        }
    }
    if end { stream.send_data(data, true) } else { Ok(()) }
}
