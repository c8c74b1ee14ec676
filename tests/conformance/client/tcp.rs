//! Plain byte streams.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{Answer, Target};
use crate::http1::text;

/// Connects, sends data, reads the banner and as much as was sent. Each wait has the same limit.
pub(crate) async fn exchange(target: &Target, data: &[u8], limit: Duration) -> Result<Answer, String> {
    let late = |_| "timeout".to_owned();
    let (socket, _) = timeout(limit, target.connect(&[])).await.map_err(late)?.map_err(|error| error.to_string())?;
    let mut connection = socket.split();
    let (reader, writer) = (&mut connection.reader, &mut connection.writer);
    let sending = async {
        writer.write_all(data).await?;
        writer.flush().await?;
        std::future::pending::<std::io::Result<()>>().await
    };
    let receiving = async {
        let mut banner = Vec::new();
        let read = timeout(limit, reader.read_until(b'\n', &mut banner)).await.map_err(late)?;
        read.map_err(|error| error.to_string())?;
        if banner.is_empty() {
            return Err("closed".to_owned());
        }
        let mut echo = vec![0; data.len()];
        let read = timeout(limit, reader.read_exact(&mut echo)).await.map_err(late)?;
        read.map_err(|error| error.to_string())?;
        let headers = vec![("x-upstream".to_owned(), text(banner.trim_ascii()))];
        Ok(Answer { headers, body: echo, ..Answer::default() })
    };
    tokio::pin!(sending, receiving);
    // a failed upload shows as a connection that says nothing more
    tokio::select! {
        outcome = &mut receiving => outcome,
        _ = &mut sending => receiving.await,
    }
}
