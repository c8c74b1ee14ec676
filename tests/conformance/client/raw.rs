//! Bytes as they are.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::{Answer, Target};

/// What an exchange ended with that nobody closed.
pub(crate) const STILL_OPEN: &str = "still open";

/// Sends bytes and reads all that comes back, for at most `read_for`. The body of the answer is what came.
pub(crate) async fn exchange(target: &Target, data: &[u8], read_for: Duration) -> Answer {
    let start = Instant::now();
    let mut answer = Answer::default();
    if let Err(error) = run(target, data, read_for, &mut answer).await {
        answer.error = Some(error.to_string());
    }
    if answer.body.starts_with(b"HTTP/1.") {
        let line = String::from_utf8_lossy(&answer.body);
        answer.status = line.split(' ').nth(1).and_then(|status| status.get(..3)?.parse().ok());
    }
    answer.elapsed = start.elapsed();
    answer
}

async fn run(target: &Target, data: &[u8], read_for: Duration, answer: &mut Answer) -> std::io::Result<()> {
    let (mut socket, _) = target.connect(&[]).await?;
    // an answer may come before all is sent
    let _ = timeout_at(Instant::now() + read_for, socket.write_all(data)).await;
    let _ = socket.flush().await;
    let end = Instant::now() + read_for;
    let mut part = vec![0; 64 * 1024];
    loop {
        match timeout_at(end, socket.read(&mut part)).await {
            Err(_) => {
                answer.error = Some(STILL_OPEN.to_owned());
                return Ok(());
            }
            Ok(Ok(0)) => return Ok(()),
            Ok(Ok(count)) => answer.body.extend_from_slice(&part[..count]),
            Ok(Err(error)) => return Err(error),
        }
    }
}

/// The bytes of a text with `\r`, `\n`, `\t`, `\\` and `\xHH` escapes.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            bytes.push(u8::try_from(u32::from(letter)).map_err(|_| format!("{letter:?} is not one byte"))?);
            continue;
        }
        bytes.push(match letters.next() {
            Some('r') => b'\r',
            Some('n') => b'\n',
            Some('t') => b'\t',
            Some('0') => 0,
            Some(quoted @ ('\\' | '\'' | '"')) => quoted as u8,
            Some('x') => {
                let digits: String = letters.by_ref().take(2).collect();
                u8::from_str_radix(&digits, 16).map_err(|_| format!("\\x{digits}"))?
            }
            other => return Err(format!("unknown escape {other:?}")),
        });
    }
    Ok(bytes)
}
