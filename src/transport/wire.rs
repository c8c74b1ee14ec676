//! An open connection, whatever it runs over.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::joined::poll_write_joined;

/// A connection that can be broken off.
#[cfg(feature = "gateway")]
pub(crate) trait Cut {
    /// Has whoever is at the other end see a reset once it is dropped, as far as it can do that; what is still to be
    /// sent is lost.
    fn cut(&self);
}

#[cfg(feature = "gateway")]
impl Cut for TcpStream {
    fn cut(&self) {
        // One that has been reset itself may refuse it, and needs it no more.
        let _ = self.set_zero_linger();
    }
}

#[cfg(all(unix, feature = "gateway"))]
impl Cut for UnixStream {
    fn cut(&self) {}
}

#[cfg(feature = "gateway")]
impl Cut for Wire {
    fn cut(&self) {
        match self {
            Wire::Tcp(stream) => stream.cut(),
            Wire::Tls(stream) => stream.get_ref().0.cut(),
            #[cfg(unix)]
            Wire::Unix(stream) => stream.cut(),
            Wire::Own(_) => {}
        }
    }
}

/// Both directions of a user's own connection.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// An open connection. An enum, so that sockets are not read through a table of functions.
pub(crate) enum Wire {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    Own(Box<dyn Duplex>),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<Wire>>),
}

impl Wire {
    /// This end and the other, as far as they have addresses.
    pub(super) fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        match self {
            Wire::Tcp(stream) => Some((stream.local_addr().ok()?, stream.peer_addr().ok()?)),
            _ => None,
        }
    }
}

/// Does the same with whichever it is.
macro_rules! each {
    ($wire:expr, $io:ident => $do:expr) => {
        match $wire {
            Wire::Tcp($io) => $do,
            #[cfg(unix)]
            Wire::Unix($io) => $do,
            Wire::Own($io) => $do,
            #[cfg(feature = "tls")]
            Wire::Tls($io) => $do,
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), io => poll_write_joined(io, cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, io => io.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), io => Pin::new(io).poll_shutdown(cx))
    }
}
