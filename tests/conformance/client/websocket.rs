//! Websocket exchanges.

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

use super::http1::{head_of, read_answer};
use super::{Answer, Target};
use crate::frames;
use crate::http1::{Broken, pattern, text};
use crate::schema::{Frame, HeaderLines, Request};
use crate::upstream::seconds;

/// Upgrades, sends each frame when the one before came back, and closes. What came back is the second value.
pub(crate) async fn exchange(target: &Target, request: &Request) -> (Answer, Vec<String>) {
    let start = Instant::now();
    let (mut answer, mut echoes) = (Answer::default(), Vec::new());
    if let Err(broken) = run(target, request, &mut answer, &mut echoes).await {
        answer.error = Some(broken.to_string());
    }
    answer.elapsed = start.elapsed();
    (answer, echoes)
}

async fn run(target: &Target, request: &Request, answer: &mut Answer, echoes: &mut Vec<String>) -> Result<(), Broken> {
    let (socket, session) = target.connect(&["http/1.1"]).await?;
    answer.note(&session);
    let mut connection = socket.split();
    let (reader, writer) = (&mut connection.reader, &mut connection.writer);
    let request = Request { headers: upgrade(&request.headers), ..request.clone() };
    writer.write_all(&head_of("GET", &request, None)).await?;
    writer.flush().await?;
    read_answer(reader, "GET", answer, None).await?;
    if answer.status != Some(101) {
        return Ok(());
    }
    for frame in &request.send {
        let data = match frame {
            Frame::Sleep(pause) => {
                sleep(seconds(*pause)).await;
                continue;
            }
            Frame::Text(text) => text.as_bytes().to_vec(),
            Frame::Pattern(size) => pattern(*size),
        };
        frames::write(writer, frames::TEXT, &data, true).await?;
        echoes.push(text(&frames::read(reader).await?.1));
    }
    frames::write(writer, frames::CLOSE, &1000_u16.to_be_bytes(), true).await?;
    match frames::read(reader).await?.0 {
        frames::CLOSE => Ok(()),
        opcode => Err(Broken::Malformed(format!("opcode {opcode} where a close frame was due"))),
    }
}

/// The headers of an upgrade; the case's own come last and win.
fn upgrade(own: &HeaderLines) -> HeaderLines {
    let usual = [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", frames::KEY),
    ];
    let usual = usual.into_iter().filter(|(name, _)| !own.has(name));
    let lines = usual.chain(own.iter()).map(|(name, value)| (name.to_owned(), value.to_owned()));
    HeaderLines(lines.collect())
}
