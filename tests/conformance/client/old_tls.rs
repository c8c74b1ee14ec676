//! A hello of TLS 1.1: our TLS library speaks nothing that old, and all a case asks is whether it is refused.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Session;
use crate::wire::Socket;

const ALERT: u8 = 21;

/// Errors if the server refuses the hello; a server that goes on is met with a stream nobody can use.
pub(super) async fn refused(mut stream: TcpStream, sni: Option<&str>) -> io::Result<(Socket, Session)> {
    stream.write_all(&hello(sni)).await?;
    let mut head = [0; 5];
    stream.read_exact(&mut head).await?;
    if head[0] == ALERT {
        let level = stream.read_u8().await?;
        let description = stream.read_u8().await?;
        return Err(io::Error::new(io::ErrorKind::ConnectionAborted, format!("TLS alert {description} ({level})")));
    }
    Err(io::Error::new(io::ErrorKind::Unsupported, ACCEPTED))
}

/// What a server that takes the old version is reported with.
pub(super) const ACCEPTED: &str = "the server goes on with TLS 1.1";

fn hello(sni: Option<&str>) -> Vec<u8> {
    let mut extensions = Vec::new();
    if let Some(name) = sni {
        let entry = [&[0], &sized(name.as_bytes())[..]].concat();
        extension(&mut extensions, 0, &sized(&entry));
    }
    // the curves P-256 and P-384, uncompressed points
    extension(&mut extensions, 10, &sized(&[0, 23, 0, 24]));
    extension(&mut extensions, 11, &[1, 0]);
    // version, random, no session, ECDHE with AES-CBC-SHA for ECDSA and RSA, no compression
    let mut body = vec![3, 2];
    body.extend([0x5a; 32]);
    body.push(0);
    body.extend(sized(&[0xc0, 0x09, 0xc0, 0x0a, 0xc0, 0x13, 0xc0, 0x14, 0x00, 0x2f, 0x00, 0x35]));
    body.extend([1, 0]);
    body.extend(sized(&extensions));
    let mut message = vec![1, 0];
    message.extend(sized(&body));
    let mut record = vec![22, 3, 1];
    record.extend(sized(&message));
    record
}

fn extension(extensions: &mut Vec<u8>, kind: u16, data: &[u8]) {
    extensions.extend(kind.to_be_bytes());
    extensions.extend(sized(data));
}

/// Data behind its length in two bytes.
fn sized(data: &[u8]) -> Vec<u8> {
    [&(data.len() as u16).to_be_bytes(), data].concat()
}
