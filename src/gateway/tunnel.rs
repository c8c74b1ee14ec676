//! What follows a `101 Switching Protocols`: bytes both ways until one side ends, or the listener is gone for long enough.

use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy, sink};
use tokio::time::{Instant, sleep, timeout};

use super::idle::Busy;

/// How many bytes of a direction are read at once.
const BUFFER: usize = 8 * 1024;
/// How often a client of HTTP/2 that has ended is looked after: nobody tells that it is gone.
const LOOK: Duration = Duration::from_secs(1);
/// How long a client of HTTP/1.1 may take to read the end, as in Envoy.
const FAREWELL: Duration = Duration::from_secs(1);

/// Joins the two connections. `held` is what the tunnel keeps alive: the response body and with it its counts.
pub(super) async fn run<B>(client: OnUpgrade, upstream: OnUpgrade, http2: bool, (held, busy): (B, Option<Busy>)) {
    let (client, upstream) = match (client.await, upstream.await) {
        (Ok(client), Ok(upstream)) => (client, upstream),
        (Err(error), _) | (_, Err(error)) => {
            tracing::debug!(%error, "an upgrade was accepted and then came to nothing");
            return;
        }
    };
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    let expires = async {
        match &busy {
            Some(busy) => busy.expires().await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        ended = join(&mut client, &mut upstream, http2) => ended,
        () = expires => Err(io::Error::new(io::ErrorKind::TimedOut, "its listener is gone")),
    };
    drop((upstream, held));
    match ended {
        // What a client still sends would reset a connection that is closed, before it has read the end.
        Ok(()) if !http2 => drop(timeout(FAREWELL, copy(&mut client, &mut sink())).await),
        Ok(()) => {}
        Err(error) => tracing::debug!(%error, "a tunnel broke off"),
    }
    drop(busy);
}

/// Passes bytes on both ways until the endpoint has ended, or the client: as to Envoy that is the end of both, but that a
/// client of HTTP/2 may end its half and stay.
async fn join<C, U>(client: &mut C, upstream: &mut U, http2: bool) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let (mut up, mut down) = (Way::new(), Way::new());
    let mut look = pin!(sleep(Duration::ZERO));
    poll_fn(|cx| {
        if down.poll(cx, upstream, client)?.is_ready() {
            return Poll::Ready(Ok(()));
        }
        let over = up.poll(cx, client, upstream)?.is_ready();
        if over && !http2 {
            return Poll::Ready(Ok(()));
        }
        if !http2 || !(over || up.is_held()) {
            return Poll::Pending;
        }
        // A stream that was canceled reads as one that has ended, and is not read while the endpoint takes nothing: but it
        // cannot be written to.
        while look.as_mut().poll(cx).is_ready() {
            ready!(Pin::new(&mut *client).poll_flush(cx))?;
            look.as_mut().reset(Instant::now() + LOOK);
        }
        Poll::Pending
    })
    .await
}

/// One direction.
struct Way {
    buffer: Box<[u8]>,
    /// What has been read and not yet written.
    waiting: Range<usize>,
    /// Whether something may have been written that is not on its way.
    flush: bool,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// There is nothing more to read.
    Ending,
    Over,
}

impl Way {
    fn new() -> Self {
        Self { buffer: vec![0; BUFFER].into(), waiting: 0..0, flush: false, state: State::Open }
    }

    /// Whether it reads nothing, as what it has read is not taken.
    fn is_held(&self) -> bool {
        !self.waiting.is_empty() || self.state == State::Ending
    }

    /// Passes on what there is; ready once `to` has been told that nothing more comes.
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        while self.state == State::Open {
            while !self.waiting.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.buffer[self.waiting.clone()]))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.waiting.start += written;
                self.flush = true;
            }
            let mut read = ReadBuf::new(&mut self.buffer);
            if Pin::new(&mut *from).poll_read(cx, &mut read)?.is_ready() {
                self.waiting = 0..read.filled().len();
                if self.waiting.is_empty() {
                    self.state = State::Ending;
                }
                continue;
            }
            if self.flush {
                ready!(Pin::new(&mut *to).poll_flush(cx))?;
                self.flush = false;
            }
            return Poll::Pending;
        }
        if self.state == State::Ending {
            ready!(Pin::new(to).poll_shutdown(cx))?;
            self.state = State::Over;
        }
        Poll::Ready(Ok(()))
    }
}

/// Sends the body of an answer through what its client may take for a tunnel.
pub(super) async fn say<B>(client: OnUpgrade, body: B)
where
    B: Body<Data = Bytes>,
{
    let Ok(client) = client.await else { return };
    let (mut client, mut body) = (TokioIo::new(client), std::pin::pin!(body));
    while let Some(data) = body.frame().await.and_then(|frame| frame.ok()?.into_data().ok()) {
        if client.write_all(&data).await.is_err() {
            return;
        }
    }
    // One that cannot be ended is gone.
    let _ = client.shutdown().await;
}
