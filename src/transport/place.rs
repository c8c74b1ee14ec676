//! What an open connection holds: its place among those of its endpoint and its cluster.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;

use super::wire::Wire;
use crate::upstream::Permit;

/// Who is told that a connection has ended.
pub(super) trait Vacancy: Send + Sync {
    /// A connection that was `shared` (HTTP/2) or not has ended: another one may be opened, in `runtime`.
    fn vacated(self: Arc<Self>, shared: bool, runtime: &Handle);

    /// A stream of a shared connection has ended.
    fn freed(self: Arc<Self>);

    /// The last stream of a shared connection that is to have no other has ended.
    fn spent(self: Arc<Self>);
}

/// The place of one connection, from the attempt to open it until its last byte is closed.
pub(super) struct Place {
    permit: Option<Permit>,
    pool: Weak<dyn Vacancy>,
    shared: bool,
    runtime: Handle,
}

impl Place {
    pub(super) fn new(permit: Option<Permit>, pool: Weak<dyn Vacancy>, shared: bool, runtime: Handle) -> Arc<Self> {
        Arc::new(Self { permit, pool, shared, runtime })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.permit = None;
        if let Some(pool) = self.pool.upgrade() {
            pool.vacated(self.shared, &self.runtime);
        }
    }
}

/// How often something was read from a connection, and below that the last three bytes of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<AtomicU64>);

impl Heard {
    /// Where the number begins.
    const TIMES: u32 = 24;

    pub(super) fn times(&self) -> u64 {
        self.0.load(Ordering::Relaxed) >> Self::TIMES
    }

    /// Whether the last was an empty line, as at the end of a head.
    pub(super) fn ends_head(&self) -> bool {
        let [.., before, last_but_one, last] = self.0.load(Ordering::Relaxed).to_be_bytes();
        last == b'\n' && (last_but_one == b'\n' || [before, last_but_one] == *b"\n\r")
    }

    fn once_more(&self, bytes: &[u8]) {
        // Only its own task reads a connection.
        let before = self.0.load(Ordering::Relaxed);
        let last = bytes.get(bytes.len().saturating_sub(3)..).unwrap_or_default();
        let last = last.iter().fold(before, |last, byte| (last << 8) | u64::from(*byte));
        let times = ((before >> Self::TIMES) + 1) << Self::TIMES;
        self.0.store(times | (last & ((1 << Self::TIMES) - 1)), Ordering::Relaxed);
    }
}

/// An open connection in its place.
pub(super) struct Placed {
    wire: Wire,
    heard: Heard,
    /// Whether it may end without a word of TLS.
    unsaid_ends: bool,
    _place: Arc<Place>,
}

impl Placed {
    pub(super) fn new(wire: Wire, place: Arc<Place>) -> Self {
        Self { wire, heard: Heard::default(), unsaid_ends: false, _place: place }
    }

    /// Takes an end of TLS that was not said for one.
    pub(super) fn with_unsaid_ends(self, unsaid_ends: bool) -> Self {
        Self { unsaid_ends, ..self }
    }

    /// What it will have heard.
    pub(super) fn heard(&self) -> Heard {
        self.heard.clone()
    }
}

impl AsyncRead for Placed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = match Pin::new(&mut self.wire).poll_read(cx, buf) {
            Poll::Ready(Err(error)) if self.unsaid_ends && error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(Ok(()))
            }
            read => read,
        };
        if let Some(bytes) = buf.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            self.heard.once_more(bytes);
        }
        read
    }
}

impl AsyncWrite for Placed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}
