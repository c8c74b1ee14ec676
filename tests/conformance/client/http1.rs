//! Requests over HTTP/1.1.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use super::{Answer, Session, Target, body_of, old_tls};
use crate::http1::{Broken, Head, bytes, header, read_chunked, read_head, read_sized, write_end, write_part};
use crate::schema::Request;
use crate::wire::{Connection, Reader, Writer};

/// How long an upload may go on after its answer is complete.
const LATE_UPLOAD: Duration = Duration::from_millis(200);

/// The longest body that is written with its head.
const SMALL: usize = 1024;

/// A client that keeps its connection.
#[derive(Debug)]
pub(crate) struct Client {
    target: Target,
    kept: Option<(Connection, Session)>,
}

impl Client {
    pub(crate) fn new(target: Target) -> Client {
        Client { target, kept: None }
    }

    /// Drops the connection.
    pub(crate) fn close(&mut self) {
        self.kept = None;
    }

    /// Sends a request and reads the whole answer. A kept connection that turns out closed before any byte of an
    /// answer is replaced, once.
    pub(crate) async fn request(&mut self, request: &Request) -> Answer {
        let start = Instant::now();
        let mut answer = Answer::default();
        let mut outcome = self.attempt(request, &mut answer).await;
        if let Err(Attempt { reused: true, broken }) = &outcome
            && answer.status.is_none()
            && is_idle_close(broken)
        {
            answer = Answer::default();
            outcome = self.attempt(request, &mut answer).await;
        }
        if let Err(Attempt { broken, .. }) = outcome {
            let accepted = matches!(&broken, Broken::Io(error) if error.to_string() == old_tls::ACCEPTED);
            answer.error = (!accepted).then(|| broken.to_string());
        }
        answer.elapsed = start.elapsed();
        answer
    }

    async fn attempt(&mut self, request: &Request, answer: &mut Answer) -> Result<(), Attempt> {
        let reused = self.kept.is_some();
        let failed = |broken| Attempt { reused, broken };
        let (mut connection, session) = match self.kept.take() {
            Some(kept) => kept,
            None => {
                let (socket, session) =
                    self.target.connect(&["http/1.1"]).await.map_err(|error| failed(Broken::Io(error)))?;
                (socket.split(), session)
            }
        };
        answer.note(&session);
        if exchange(&mut connection, request, answer).await.map_err(failed)? {
            self.kept = Some((connection, session));
        }
        Ok(())
    }
}

/// A failed attempt, and whether its connection had served before.
struct Attempt {
    reused: bool,
    broken: Broken,
}

/// Whether a failure looks like the close of an idle connection.
fn is_idle_close(broken: &Broken) -> bool {
    match broken {
        Broken::BeforeHead => true,
        Broken::Io(error) => matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe),
        _ => false,
    }
}

/// One request and its answer; tells whether the connection can serve another.
async fn exchange(connection: &mut Connection, request: &Request, answer: &mut Answer) -> Result<bool, Broken> {
    let method = request.method.as_deref().unwrap_or("GET");
    let mut body = body_of(request);
    let Connection { reader, writer } = connection;
    let mut head = head_of(method, request, body.as_deref());
    if !request.chunked && !request.expect_continue {
        // Who reads the head has the body too, as from other clients.
        head.extend(body.take_if(|body| body.len() <= SMALL).unwrap_or_default());
    }
    writer.write_all(&head).await?;
    writer.flush().await?;
    let Some(body) = body.filter(|body| !body.is_empty()) else {
        return read_answer(reader, method, answer, None).await;
    };
    if request.expect_continue {
        let head = read_head(reader).await?;
        if head.status()? != 100 {
            read_answer(reader, method, answer, Some(head)).await?;
            return Ok(false);
        }
        answer.info.push(100);
        send_body(writer, request, &body).await?;
        return read_answer(reader, method, answer, None).await;
    }
    let sending = send_body(writer, request, &body);
    let reading = read_answer(reader, method, answer, None);
    tokio::pin!(sending, reading);
    tokio::select! {
        biased;
        sent = &mut sending => {
            // an answer may have come before the peer stopped reading
            let reusable = reading.await?;
            Ok(reusable && sent.is_ok())
        }
        reusable = &mut reading => {
            let reusable = reusable?;
            Ok(reusable && matches!(timeout(LATE_UPLOAD, sending).await, Ok(Ok(()))))
        }
    }
}

/// The head of a request, its lines as the case has them.
pub(super) fn head_of(method: &str, request: &Request, body: Option<&[u8]>) -> Vec<u8> {
    let mut head = format!("{method} {} HTTP/1.1\r\n", request.path.as_deref().unwrap_or("/"));
    if !request.headers.has("host") {
        head.push_str(&format!("host: {}\r\n", request.host));
    }
    for (name, value) in request.headers.iter() {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = body
        && !request.headers.has("content-length")
        && !request.headers.has("transfer-encoding")
    {
        match request.chunked {
            true => head.push_str("transfer-encoding: chunked\r\n"),
            false => head.push_str(&format!("content-length: {}\r\n", body.len())),
        }
    }
    head.push_str("\r\n");
    bytes(&head)
}

async fn send_body(writer: &mut Writer, request: &Request, body: &[u8]) -> io::Result<()> {
    for part in body.chunks(64 * 1024) {
        write_part(writer, part, request.chunked).await?;
    }
    if request.chunked {
        write_end(writer, request.trailers.iter()).await?;
    }
    Ok(())
}

/// Reads an answer, `first` being a head that is already there; tells whether the connection can serve another.
pub(super) async fn read_answer(
    reader: &mut Reader,
    method: &str,
    answer: &mut Answer,
    first: Option<Head>,
) -> Result<bool, Broken> {
    let mut head = match first {
        Some(head) => head,
        None => read_head(reader).await?,
    };
    while let status @ (100 | 102..200) = head.status()? {
        answer.info.push(status);
        head = read_head(reader).await?;
    }
    let status = head.status()?;
    let (chunked, length) = (head.is_chunked(), head.length()?);
    let closing = header(&head.headers, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let reusable = !closing && head.line.starts_with("HTTP/1.1");
    (answer.status, answer.headers) = (Some(status), head.headers);
    if method == "HEAD" || matches!(status, 101 | 204 | 304) {
        return Ok(reusable);
    }
    if chunked {
        answer.trailers = read_chunked(reader, &mut answer.body).await?;
    } else if let Some(length) = length {
        read_sized(reader, length, &mut answer.body).await?;
    } else {
        tokio::io::AsyncReadExt::read_to_end(reader, &mut answer.body).await?;
        return Ok(false);
    }
    Ok(reusable)
}
