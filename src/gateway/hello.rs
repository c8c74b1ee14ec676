//! The first words of a TLS handshake: [`Hello`], and the connection as if nobody had read them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::client_hello::ClientHello;
use crate::transport::Cut;

/// What workloads of the mesh offer to speak.
const OF_MESH: [&[u8]; 5] = [b"istio", b"istio-peer-exchange", b"istio-http/1.0", b"istio-http/1.1", b"istio-h2"];

/// What a client asks for before anybody has answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// Whom it wants to talk to.
    pub(super) server_name: Option<Box<str>>,
    /// What it offers to speak (ALPN), as it says that: each behind its length. Empty: it does not say.
    pub(super) protocols: Box<[u8]>,
}

impl Hello {
    /// Reads as much as it takes. `None`: the client left without a word.
    pub(super) async fn read<IO>(mut io: IO) -> io::Result<Option<(Self, Rewound<IO>)>>
    where
        IO: AsyncRead + Unpin,
    {
        let mut client_hello = ClientHello::default();
        let mut first = Vec::with_capacity(2048);
        loop {
            if io.read_buf(&mut first).await? == 0 {
                return if first.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            if let Some(hello) = client_hello.read(&first)? {
                return Ok(Some((hello, Rewound { first, read: 0, io })));
            }
        }
    }

    /// Whether it is of a workload of the mesh, as that says.
    pub(super) fn is_of_mesh(&self) -> bool {
        self.offered().any(|offered| OF_MESH.contains(&offered))
    }

    /// Whether it says what it speaks and none of `protocols` is among it. BoringSSL then goes on as if nobody had
    /// asked, where rustls would end the connection.
    pub(super) fn speaks_none_of(&self, protocols: &[Vec<u8>]) -> bool {
        !self.protocols.is_empty() && !self.offered().any(|offered| protocols.iter().any(|spoken| spoken == offered))
    }

    fn offered(&self) -> impl Iterator<Item = &[u8]> {
        let mut list = &*self.protocols;
        std::iter::from_fn(move || {
            let (length, rest) = list.split_first()?;
            let (protocol, others) = rest.split_at_checked(usize::from(*length))?;
            list = others;
            Some(protocol)
        })
    }
}

/// A connection whose first bytes have been read and are read again.
#[derive(Debug)]
pub(super) struct Rewound<IO> {
    first: Vec<u8>,
    read: usize,
    io: IO,
}

impl<IO: Cut> Cut for Rewound<IO> {
    fn cut(&self) {
        self.io.cut();
    }
}

impl<IO: Cut> Cut for tokio_rustls::server::TlsStream<Rewound<IO>> {
    fn cut(&self) {
        self.get_ref().0.cut();
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Rewound<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let left = this.first.get(this.read..).unwrap_or_default();
        if left.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        let length = left.len().min(buf.remaining());
        buf.put_slice(&left[..length]);
        this.read += length;
        if this.read == this.first.len() {
            // Connections live long.
            (this.first, this.read) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Rewound<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// What a client sends first that asks for `name`.
    pub(crate) fn hello(name: &'static str, alpn: &[&str]) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(crate::tls::provider());
        let config = config.with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let mut client = ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[tokio::test]
    async fn it_is_read_in_pieces_and_read_again() {
        let bytes = hello("a.test", &["h2", "x"]);
        for piece in [1, 7, bytes.len()] {
            let mut io = tokio_test::io::Builder::new();
            bytes.chunks(piece).for_each(|chunk| {
                io.read(chunk);
            });
            let (hello, mut rewound) = Hello::read(io.read(b"more").build()).await.unwrap().unwrap();
            assert_eq!(hello.server_name.as_deref(), Some("a.test"));
            assert_eq!(&*hello.protocols, b"\x02h2\x01x");
            assert!(hello.offered().eq([&b"h2"[..], b"x"]));
            assert!(hello.speaks_none_of(&[b"http/1.1".to_vec()]) && !hello.speaks_none_of(&[b"h2".to_vec()]));
            let mut all = Vec::new();
            rewound.read_to_end(&mut all).await.unwrap();
            assert_eq!(all, [&*bytes, b"more"].concat(), "in pieces of {piece}");
        }
    }

    #[tokio::test]
    async fn an_address_is_no_name_and_no_protocols_say_nothing() {
        let bytes = hello("10.0.0.1", &[]);
        let (hello, _) = Hello::read(&*bytes).await.unwrap().unwrap();
        assert_eq!(hello, Hello { server_name: None, protocols: Box::default() });
        assert!(!hello.speaks_none_of(&[b"h2".to_vec()]));
    }

    #[tokio::test]
    async fn what_is_no_handshake_is_an_error() {
        assert!(Hello::read(&b""[..]).await.unwrap().is_none());
        assert!(Hello::read(&b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n"[..]).await.is_err());
        assert!(Hello::read(&hello("a.test", &[])[..20]).await.is_err());
    }
}
