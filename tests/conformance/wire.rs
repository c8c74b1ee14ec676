//! A byte stream, plain or TLS, that can be read by lines and cut off.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, BufReader, Join, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Stream,
    /// Bytes read before it was known who should read them.
    ahead: Vec<u8>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection as reader and writer.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
}

pub(crate) type Reader = BufReader<ReadHalf<Socket>>;
pub(crate) type Writer = WriteHalf<Socket>;

impl Socket {
    pub(crate) fn plain(stream: TcpStream) -> Socket {
        let _ = stream.set_nodelay(true);
        Socket { stream: Stream::Plain(stream), ahead: Vec::new() }
    }

    pub(crate) fn tls(stream: TlsStream<TcpStream>) -> Socket {
        Socket { stream: Stream::Tls(Box::new(stream)), ahead: Vec::new() }
    }

    /// Puts bytes back in front of what comes.
    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        self.ahead = bytes.iter().chain(&self.ahead).copied().collect();
    }

    pub(crate) fn split(self) -> Connection {
        let (reader, writer) = tokio::io::split(self);
        Connection { reader: BufReader::with_capacity(64 * 1024, reader), writer }
    }

    /// Closes with a reset: the peer gets an error and not an end.
    pub(crate) fn reset(self) {
        let tcp = match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        };
        let _ = tcp.set_zero_linger();
    }
}

impl Connection {
    /// Closes with a reset.
    pub(crate) fn reset(self) {
        self.reader.into_inner().unsplit(self.writer).reset();
    }

    /// One value that reads and writes.
    pub(crate) fn joined(self) -> Join<Reader, Writer> {
        tokio::io::join(self.reader, self.writer)
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..count]);
            self.ahead.drain(..count);
            return Poll::Ready(Ok(()));
        }
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
