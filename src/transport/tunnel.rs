//! Tunnels: what a forward proxy is asked for before bytes flow.

use std::io;

use http::StatusCode;
use hyper::client::conn::http2;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::executor::Executor;
use super::terms::Through;
use super::wire::Wire;
use super::{tunnel_http2, tunnel_post};
use crate::request::{Tunnel, TunnelMethod};

/// How long the heads may be that answer one request, all together.
pub(super) const LONGEST: usize = 64 * 1024;
/// How much is read at once of them.
const BUFFER: usize = 1024;

/// Asks the proxy at the other end of `wire` for a tunnel.
pub(super) async fn open(wire: Wire, through: &Through, http2: &http2::Builder<Executor>) -> io::Result<Wire> {
    let Through { tunnel, http2: is_http2 } = through;
    match tunnel.method {
        _ if *is_http2 => tunnel_http2::open(wire, tunnel, http2).await,
        TunnelMethod::Connect => connect(wire, tunnel).await,
        TunnelMethod::Post => tunnel_post::open(wire, tunnel).await,
    }
}

/// Whether the proxy agrees.
pub(super) fn judge(tunnel: &Tunnel, status: StatusCode) -> io::Result<()> {
    match status.is_success() {
        true => Ok(()),
        false => {
            Err(io::Error::new(io::ErrorKind::ConnectionRefused, format!("the proxy answered {tunnel} with {status}")))
        }
    }
}

/// No answer to `tunnel`, and why.
pub(super) fn unanswered(tunnel: &Tunnel, why: io::Error) -> io::Error {
    io::Error::new(why.kind(), format!("no answer to {tunnel}: {why}"))
}

/// Of the answer to CONNECT in HTTP/1.1 only the status is read: after 2xx everything is bytes, whatever the headers
/// say. That is how Envoy does it, and why this is not left to an HTTP client.
async fn connect(mut wire: Wire, tunnel: &Tunnel) -> io::Result<Wire> {
    let authority = &tunnel.authority;
    let head = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n");
    wire.write_all(head.as_bytes()).await?;
    wire.flush().await?;
    let mut reader = BufReader::with_capacity(BUFFER, wire);
    let status = final_status(&mut (&mut reader).take(LONGEST as u64)).await;
    judge(tunnel, status.map_err(|error| unanswered(tunnel, error))?)?;
    // What came right behind the head is read first.
    Ok(match reader.buffer().is_empty() {
        true => reader.into_inner(),
        false => Wire::Own(Box::new(reader)),
    })
}

/// The status of the answer. Of one that is 2xx, the whole head is read.
async fn final_status<R: AsyncBufRead + Unpin>(heads: &mut R) -> io::Result<StatusCode> {
    loop {
        let status = status_of(&line(heads).await?)?;
        let is_interim = status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS;
        if !is_interim && !status.is_success() {
            return Ok(status);
        }
        while !line(heads).await?.is_empty() {}
        if !is_interim {
            return Ok(status);
        }
    }
}

/// One line without its end.
async fn line<R: AsyncBufRead + Unpin>(heads: &mut R) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    heads.read_until(b'\n', &mut line).await?;
    if line.pop() != Some(b'\n') {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it broke off, or is too long"));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

fn status_of(line: &[u8]) -> io::Result<StatusCode> {
    let parse = || {
        let rest = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
        let (status, reason) = rest.split_at_checked(3)?;
        if !matches!(reason.first(), None | Some(b' ')) {
            return None;
        }
        StatusCode::from_bytes(status).ok()
    };
    parse().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is no HTTP/1.1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn status(mut heads: &[u8]) -> Result<u16, io::ErrorKind> {
        final_status(&mut heads).await.map(|status| status.as_u16()).map_err(|error| error.kind())
    }

    #[tokio::test]
    async fn an_answer_is_its_first_status_that_is_no_interim_one() {
        for (heads, found) in [
            ("HTTP/1.1 200 OK\r\n\r\n", Ok(200)),
            ("HTTP/1.0 200 Connection established\r\nvia: x\r\n\r\n", Ok(200)),
            ("HTTP/1.1 204\n\n", Ok(204)),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
                Ok(200),
            ),
            // Nothing more is waited for.
            ("HTTP/1.1 403 Forbidden\r\n", Ok(403)),
            ("HTTP/1.1 101 Switching Protocols\r\n", Ok(101)),
            ("HTTP/1.1 200 OK\r\nvia: x\r\n", Err(io::ErrorKind::UnexpectedEof)),
            ("HTTP/1.1 200 OK", Err(io::ErrorKind::UnexpectedEof)),
            ("", Err(io::ErrorKind::UnexpectedEof)),
            ("HTTP/2 200\r\n\r\n", Err(io::ErrorKind::InvalidData)),
            ("HTTP/1.1 2000 OK\r\n\r\n", Err(io::ErrorKind::InvalidData)),
            ("HTTP/1.1 20\r\n\r\n", Err(io::ErrorKind::InvalidData)),
            ("SSH-2.0-OpenSSH\r\n", Err(io::ErrorKind::InvalidData)),
        ] {
            assert_eq!(status(heads.as_bytes()).await, found, "{heads:?}");
        }
    }
}
