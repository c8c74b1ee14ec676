//! Tunnels of HTTP/1.1 that are a POST: the bytes of either direction are a body, framed as HTTP does it.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Request;
use http::header::HOST;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::oneshot;

use super::line::{Leave, drive};
use super::tunnel::{LONGEST, judge, unanswered};
use super::tunnel_http2::{BUFFER, Sent, invalid};
use super::wire::Wire;
use crate::request::Tunnel;

/// Asks for a tunnel on `wire`.
pub(super) async fn open(wire: Wire, tunnel: &Tunnel) -> io::Result<Wire> {
    let (stream, far) = tokio::io::duplex(BUFFER);
    let (end, ended) = oneshot::channel();
    let (leave, left) = oneshot::channel();
    let up = Up { stream, end: Some(end), _leave: leave };
    let request = Request::post("/").header(HOST, tunnel.authority.as_str());
    let request = request.body(Written { sent: Sent(far), ended }).map_err(invalid)?;
    let answer = async {
        let (mut sender, connection) = Builder::new().max_buf_size(LONGEST).handshake(TokioIo::new(wire)).await?;
        tokio::spawn(drive(connection, left));
        sender.send_request(request).await
    };
    let answer = answer.await.map_err(|error| unanswered(tunnel, plain(error)))?;
    judge(tunnel, answer.status())?;
    let down = answer.into_body();
    if down.is_end_stream() {
        let why = format!("the proxy answered {tunnel} and ended it");
        return Err(io::Error::new(io::ErrorKind::ConnectionRefused, why));
    }
    Ok(Wire::Own(Box::new(Near { up: Some(up), down, unread: Bytes::new() })))
}

/// An error of hyper's as it would be without HTTP.
fn plain(error: hyper::Error) -> io::Error {
    if let Some(cause) = error.source().and_then(|cause| cause.downcast_ref::<io::Error>()) {
        return io::Error::new(cause.kind(), cause.to_string());
    }
    let kind = match error.is_parse() {
        true => io::ErrorKind::InvalidData,
        false => io::ErrorKind::UnexpectedEof,
    };
    io::Error::new(kind, error)
}

/// This process' end of a tunnel.
struct Near {
    /// Until the answer is over: the proxy would listen no longer.
    up: Option<Up>,
    down: Incoming,
    /// What came and did not fit.
    unread: Bytes,
}

/// What a tunnel is written to. Dropping it ends the connection: in the middle of the request, unless that was ended.
struct Up {
    stream: DuplexStream,
    /// Told when the bytes end.
    end: Option<oneshot::Sender<()>>,
    _leave: Leave,
}

impl AsyncRead for Near {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { up, down, unread } = self.get_mut();
        while unread.is_empty() {
            if up.is_none() {
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut *down).poll_frame(cx)) {
                Some(Ok(frame)) => *unread = frame.into_data().unwrap_or_default(),
                over => {
                    *up = None;
                    // However it broke off: a reset by the proxy is none by who is behind it.
                    let broken = |error| io::Error::new(io::ErrorKind::UnexpectedEof, error);
                    return Poll::Ready(over.map_or(Ok(()), |broke| broke.map(drop).map_err(broken)));
                }
            }
        }
        buf.put_slice(&unread.split_to(unread.len().min(buf.remaining())));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Near {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.up {
            Some(up) => Pin::new(&mut up.stream).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// hyper flushes by itself.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(up) = &mut self.up else { return Poll::Ready(Ok(())) };
        if let Some(end) = up.end.take() {
            // Where nobody hears it the connection is over.
            let _ = end.send(());
        }
        Pin::new(&mut up.stream).poll_shutdown(cx)
    }
}

/// What is written, as a body that is whole only if it was ended.
struct Written {
    sent: Sent<DuplexStream>,
    ended: oneshot::Receiver<()>,
}

impl Body for Written {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(match ready!(Pin::new(&mut self.sent).poll_frame(cx)) {
            None if self.ended.try_recv().is_err() => Some(Err(io::ErrorKind::BrokenPipe.into())),
            frame => frame,
        })
    }
}
