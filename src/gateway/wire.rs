//! The bytes of a connection: [`Wire`] tells HTTP/2 from HTTP/1.1, reads along with the latter, and has hyper's own
//! answers to it say what Envoy's do.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::framing::{Found, Framing};
use super::reworded::Reworded;
use super::session::Session;
use crate::transport::poll_write_joined;

/// What an HTTP/2 client that knows its server sends first (RFC 9113, 3.4).
const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How every answer of hyper's own begins.
const OWN: &[u8] = b"HTTP/1.1 4";

/// Which protocol a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// A connection whose first bytes were looked at.
#[derive(Debug)]
pub(super) struct Wire<IO> {
    io: IO,
    first: [u8; PREFACE.len()],
    /// Which of `first` are still to be handed out.
    unread: std::ops::Range<usize>,
    along: Option<Along>,
}

/// What goes along with a connection of HTTP/1.1.
#[derive(Debug)]
struct Along {
    framing: Framing,
    session: Arc<Session>,
    /// How many requests hyper had handed on when it last had nothing more to say, if all of them were over.
    rested: Option<u64>,
    /// What is said in place of what hyper says.
    reworded: Option<Reworded>,
    /// Whether nobody can say how what was read goes on.
    broken: bool,
}

impl Along {
    fn new(session: &Arc<Session>) -> Self {
        Self { framing: Framing::new(), session: session.clone(), rested: Some(0), reworded: None, broken: false }
    }

    /// How much of `bytes` may be handed on.
    fn read(&mut self, bytes: &[u8]) -> usize {
        match self.framing.read(bytes) {
            Some(Found::Break(at)) => {
                self.broken = true;
                return at;
            }
            Some(Found::Flaw(request, flaw)) => self.session.mark(request, flaw),
            None => {}
        }
        bytes.len()
    }

    /// hyper has written everything that it had.
    fn flushed(&mut self) {
        self.rested = self.session.is_idle().then(|| self.session.requests());
    }

    /// What to write in place of `bytes`: where no request has come since the last one was answered, and they refuse,
    /// they are hyper's own answer to a head that it cannot read.
    fn reword(&mut self, bytes: &[u8]) -> Option<&mut Reworded> {
        let requests = self.session.requests();
        if self.reworded.is_none() && self.rested == Some(requests) && bytes.starts_with(OWN) {
            self.reworded = Some(Reworded::new(bytes, self.session.flaw_of(requests)));
        }
        self.reworded.as_mut()
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    /// Reads as much as it takes to know the protocol. `None`: the client left without a word.
    pub(super) async fn open(mut io: IO, session: &Arc<Session>) -> io::Result<Option<(Protocol, Self)>> {
        let mut first = [0; PREFACE.len()];
        let mut length = 0;
        while length < first.len() && first[..length] == PREFACE[..length] {
            match io.read(&mut first[length..]).await? {
                0 if length == 0 => return Ok(None),
                0 => break,
                read => length += read,
            }
        }
        let protocol = if first == PREFACE { Protocol::Http2 } else { Protocol::Http1 };
        let along = (protocol == Protocol::Http1).then(|| Along::new(session));
        Ok(Some((protocol, Self { io, first, unread: 0..length, along })))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Wire<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if this.along.as_ref().is_some_and(|along| along.broken) {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "trailers with lines that have no end",
            )));
        }
        if this.unread.is_empty() {
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        } else {
            let length = this.unread.len().min(buf.remaining());
            let range = this.unread.start..this.unread.start + length;
            this.unread.start = range.end;
            buf.put_slice(&this.first[range]);
        }
        if let Some(along) = &mut this.along {
            let sound = along.read(&buf.filled()[before..]);
            if along.broken && sound == 0 {
                buf.set_filled(before);
                return self.poll_read(cx, buf);
            }
            buf.set_filled(before + sound);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Wire<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Some(reworded) = this.along.as_mut().and_then(|along| along.reword(bytes)) {
            ready!(reworded.poll_write(&mut this.io, cx))?;
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut this.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        if let Some(along) = &mut self.along {
            along.flushed();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let first = slices.first().map_or(&[][..], |first| first);
        if let Some(reworded) = this.along.as_mut().and_then(|along| along.reword(first)) {
            ready!(reworded.poll_write(&mut this.io, cx))?;
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        poll_write_joined(&mut this.io, cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::super::framing::Flaw;
    use super::*;

    async fn open(bytes: &[u8]) -> (Protocol, String) {
        let session = Arc::new(Session::for_tests());
        let (protocol, mut wire) =
            Wire::open(tokio_test::io::Builder::new().read(bytes).build(), &session).await.unwrap().unwrap();
        let mut read = String::new();
        wire.read_to_string(&mut read).await.unwrap();
        (protocol, read)
    }

    #[tokio::test]
    async fn the_first_bytes_are_looked_at_and_not_lost() {
        let preface = str::from_utf8(&PREFACE).unwrap();
        let frames = format!("{preface}and frames");
        for (sent, expected) in [
            ("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", Protocol::Http1),
            ("PRI", Protocol::Http1),
            ("PROPFIND / HTTP/1.1\r\n\r\n", Protocol::Http1),
            (frames.as_str(), Protocol::Http2),
        ] {
            assert_eq!(open(sent.as_bytes()).await, (expected, sent.to_owned()));
        }
    }

    #[tokio::test]
    async fn a_silent_client_is_no_error() {
        let session = Arc::new(Session::for_tests());
        let io = tokio_test::io::Builder::new().build();
        assert!(Wire::open(io, &session).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_request_with_a_flaw_is_marked() {
        let session = Arc::new(Session::for_tests());
        let text = b"GET / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx";
        let io = tokio_test::io::Builder::new().read(&text[..30]).read(&text[30..]).build();
        let (_, mut wire) = Wire::open(io, &session).await.unwrap().unwrap();
        wire.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!((session.flaw_of(0), session.flaw_of(1)), (Some(Flaw::Ambiguous), None));
    }
}
