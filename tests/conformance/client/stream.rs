//! Uploads in lock step: a chunk goes out when the one before has come back.

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

use super::http1::head_of;
use super::http2::{Open, part, receive};
use super::{Answer, Target};
use crate::http1::{Broken, Chunk, pattern, read_chunk, read_head, write_end, write_part};
use crate::schema::{Proto, Request};
use crate::upstream::seconds;

/// Number of chunks and the bytes in each, unless the case says so.
const CHUNKS: usize = 5;
const SIZE: usize = 1000;

type Problem = Box<dyn std::error::Error + Send + Sync>;

/// What a stream sends in all.
pub(crate) fn upload_of(request: &Request) -> Vec<u8> {
    chunk_of(request).repeat(request.chunks.unwrap_or(CHUNKS))
}

fn chunk_of(request: &Request) -> Vec<u8> {
    pattern(request.size.unwrap_or(SIZE))
}

/// Runs the exchange; the caller bounds its time.
pub(crate) async fn exchange(target: &Target, request: &Request) -> Answer {
    let start = Instant::now();
    let mut answer = Answer::default();
    let outcome = match request.proto {
        Proto::H1 => over_http1(target, request, &mut answer).await.map_err(|broken| broken.to_string()),
        Proto::H2 => over_http2(target, request, &mut answer).await.map_err(|problem| problem.to_string()),
    };
    answer.error = outcome.err();
    answer.elapsed = start.elapsed();
    answer
}

async fn over_http1(target: &Target, request: &Request, answer: &mut Answer) -> Result<(), Broken> {
    let (socket, session) = target.connect(&["http/1.1"]).await?;
    answer.note(&session);
    let mut connection = socket.split();
    let (reader, writer) = (&mut connection.reader, &mut connection.writer);
    let chunk = chunk_of(request);
    let pause = seconds(request.pause.unwrap_or(0.0));
    let mut left = request.chunks.unwrap_or(CHUNKS);
    let request = Request { chunked: true, ..request.clone() };
    writer.write_all(&head_of(request.method.as_deref().unwrap_or("POST"), &request, Some(b""))).await?;
    write_part(writer, &chunk, true).await?;
    left -= 1;
    let head = read_head(reader).await?;
    answer.status = Some(head.status()?);
    answer.headers = head.headers;
    let mut wanted = chunk.len();
    let mut ended = false;
    while let Chunk::Data(data) = read_chunk(reader).await? {
        answer.body.extend(data);
        if answer.body.len() < wanted || ended {
            continue;
        }
        if left > 0 {
            sleep(pause).await;
            write_part(writer, &chunk, true).await?;
            left -= 1;
            wanted += chunk.len();
        } else {
            write_end(writer, std::iter::empty()).await?;
            ended = true;
        }
    }
    Ok(())
}

async fn over_http2(target: &Target, request: &Request, answer: &mut Answer) -> Result<(), Problem> {
    let chunk = Bytes::from(chunk_of(request));
    let pause = seconds(request.pause.unwrap_or(0.0));
    let mut left = request.chunks.unwrap_or(CHUNKS);
    let request =
        Request { method: Some(request.method.clone().unwrap_or_else(|| "POST".to_owned())), ..request.clone() };
    let mut open = Open::connect(target, answer).await?;
    let (response, mut stream) = open.send(&request, target, false, false)?;
    stream.send_data(chunk.clone(), false)?;
    left -= 1;
    let mut body = receive(response, answer).await?;
    let mut wanted = chunk.len();
    let mut ended = false;
    while let Some(data) = part(&mut body).await? {
        answer.body.extend_from_slice(&data);
        if answer.body.len() < wanted || ended {
            continue;
        }
        if left > 0 {
            sleep(pause).await;
            stream.send_data(chunk.clone(), false)?;
            left -= 1;
            wanted += chunk.len();
        } else {
            stream.send_data(Bytes::new(), true)?;
            ended = true;
        }
    }
    Ok(())
}
