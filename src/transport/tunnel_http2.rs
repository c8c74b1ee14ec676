//! Tunnels through proxies that speak HTTP/2: a connection for each, of which one stream is the tunnel.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::Builder;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, WriteHalf};
use tokio::task::AbortHandle;

use super::Upload;
use super::executor::Executor;
use super::tunnel::judge;
use super::wire::Wire;
use crate::request::{Tunnel, TunnelMethod};

/// How many bytes each way are between this process and the body of a POST.
pub(super) const BUFFER: usize = 16 * 1024;

/// Asks for a tunnel on `wire`, as `http2` says.
pub(super) async fn open(wire: Wire, tunnel: &Tunnel, http2: &Builder<Executor>) -> io::Result<Wire> {
    match tunnel.method {
        TunnelMethod::Connect => connect(wire, tunnel, http2).await,
        TunnelMethod::Post => post(wire, tunnel, http2).await,
    }
}

async fn connect(wire: Wire, tunnel: &Tunnel, http2: &Builder<Executor>) -> io::Result<Wire> {
    let request = Request::connect(tunnel.authority.as_str()).body(Empty::<Bytes>::new()).map_err(invalid)?;
    let response = ask(wire, request, http2).await?;
    judge(tunnel, response.status())?;
    let stream = hyper::upgrade::on(response).await.map_err(io::Error::other)?;
    Ok(Wire::Own(Box::new(TokioIo::new(stream))))
}

/// The bytes of either direction are a body.
async fn post(wire: Wire, tunnel: &Tunnel, http2: &Builder<Executor>) -> io::Result<Wire> {
    let scheme = match wire {
        #[cfg(feature = "tls")]
        Wire::Tls(_) => "https",
        _ => "http",
    };
    let uri = Uri::builder().scheme(scheme).authority(tunnel.authority.clone()).path_and_query("/").build();
    let (near, far) = tokio::io::duplex(BUFFER);
    let (sent, received) = tokio::io::split(far);
    let request = Request::post(uri.map_err(invalid)?).body(Sent(sent)).map_err(invalid)?;
    let response = ask(wire, request, http2).await?;
    judge(tunnel, response.status())?;
    let broken = Arc::new(AtomicBool::new(false));
    let receiver = tokio::spawn(receive(response.into_body(), received, broken.clone())).abort_handle();
    Ok(Wire::Own(Box::new(Near { stream: near, receiver, broken })))
}

/// Sends the one request of a connection, which lasts as long as the tunnel.
async fn ask<B: Upload + Unpin>(
    wire: Wire,
    request: Request<B>,
    http2: &Builder<Executor>,
) -> io::Result<Response<Incoming>> {
    let (mut sender, connection) = http2.handshake(TokioIo::new(wire)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(io::Error::other)
}

pub(super) fn invalid(error: http::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

/// Passes on what comes until it ends, or is `broken`. Then the other half ends too, whatever ended this one.
async fn receive(mut body: Incoming, mut to: WriteHalf<DuplexStream>, broken: Arc<AtomicBool>) {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            broken.store(true, Ordering::Relaxed);
            break;
        };
        let Ok(data) = frame.into_data() else { continue };
        if to.write_all(&data).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// This process' end of a POST. Dropping it lets go of the answer's body too, of which nothing may ever come.
struct Near {
    stream: DuplexStream,
    receiver: AbortHandle,
    /// Whether what can be read ends because it broke off.
    broken: Arc<AtomicBool>,
}

impl Drop for Near {
    fn drop(&mut self) {
        self.receiver.abort();
    }
}

impl AsyncRead for Near {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (before, room) = (buf.filled().len(), buf.remaining());
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let ends = room > 0 && buf.filled().len() == before;
        if ends && self.broken.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, "the tunnel broke off")));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Near {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What is written, as a body.
pub(super) struct Sent<R>(pub(super) R);

impl<R: AsyncRead + Unpin> Body for Sent<R> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut room = [0; BUFFER];
        let mut read = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut read))?;
        Poll::Ready(match read.filled() {
            [] => None,
            bytes => Some(Ok(Frame::data(Bytes::copy_from_slice(bytes)))),
        })
    }
}
