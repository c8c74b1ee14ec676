//! Frames of RFC 6455.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// The key a client sends; any 16 bytes will do.
pub(crate) const KEY: &str = "bWVzaC1yb3V0ZXItd3M=";

/// The answer to a client's key.
pub(crate) fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

/// Writes one whole frame; clients mask theirs.
pub(crate) async fn write<W: AsyncWrite + Unpin>(
    writer: &mut W,
    opcode: u8,
    data: &[u8],
    mask: bool,
) -> io::Result<()> {
    const MASK: [u8; 4] = [0x3c, 0xa5, 0x0f, 0x71];
    let bit = if mask { 0x80 } else { 0 };
    let mut frame = vec![0x80 | opcode];
    match data.len() {
        short @ 0..126 => frame.push(bit | short as u8),
        medium @ 126..65536 => {
            frame.push(bit | 126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(bit | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    if mask {
        frame.extend(MASK);
        frame.extend(data.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    } else {
        frame.extend(data);
    }
    writer.write_all(&frame).await?;
    writer.flush().await
}

/// Reads one frame: its opcode and its data.
pub(crate) async fn read<R: AsyncRead + Unpin>(reader: &mut R) -> io::Result<(u8, Vec<u8>)> {
    let opcode = reader.read_u8().await? & 0x0f;
    let second = reader.read_u8().await?;
    let length = match second & 0x7f {
        126 => u64::from(reader.read_u16().await?),
        127 => reader.read_u64().await?,
        short => u64::from(short),
    };
    if length > 64 << 20 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a websocket frame over 64 MiB"));
    }
    let mut mask = [0; 4];
    if second & 0x80 != 0 {
        reader.read_exact(&mut mask).await?;
    }
    let mut data = vec![0; length as usize];
    reader.read_exact(&mut data).await?;
    data.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    Ok((opcode, data))
}
