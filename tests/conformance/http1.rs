//! HTTP/1.1 messages, byte by byte: ready-made clients and servers hide what the cases look at.

use std::{fmt, io};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Most bytes of a head that are read.
const HEAD_LIMIT: usize = 256 * 1024;

/// Header lines with lower-case names, in the order they came.
pub(crate) type Headers = Vec<(String, String)>;

/// The first line and the headers of a message.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) line: String,
    pub(crate) headers: Headers,
}

/// Why a message is not complete.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The peer closed before the first byte.
    BeforeHead,
    /// The peer closed later.
    Closed(&'static str),
    /// The connection failed.
    Io(io::Error),
    /// Bytes that are not HTTP.
    Malformed(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::BeforeHead => f.write_str("closed before the head"),
            Broken::Closed(place) => write!(f, "closed in {place}"),
            Broken::Io(error) => write!(f, "{error}"),
            Broken::Malformed(what) => write!(f, "malformed: {what}"),
        }
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Broken::Io(error)
    }
}

/// The first value of a header; `name` in lower case.
pub(crate) fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// All values of a header; `name` in any case.
pub(crate) fn values<'a>(headers: &'a Headers, name: &str) -> Vec<&'a str> {
    headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
}

/// Bytes as text, one character each.
pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Text as bytes, one each: the reverse of [`text`].
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap_or(b'?')).collect()
}

/// Reads up to the empty line.
pub(crate) async fn read_head<R: AsyncBufRead + Unpin>(reader: &mut R) -> Result<Head, Broken> {
    let mut lines = Vec::new();
    let mut size = 0;
    loop {
        let mut line = Vec::new();
        let count = reader.read_until(b'\n', &mut line).await?;
        size += count;
        if !line.ends_with(b"\n") {
            return Err(if size == 0 { Broken::BeforeHead } else { Broken::Closed("the head") });
        }
        if size > HEAD_LIMIT {
            return Err(Broken::Malformed("the head is too large".to_owned()));
        }
        let line = line.trim_ascii_end();
        if line.is_empty() {
            break;
        }
        lines.push(text(line));
    }
    let mut lines = lines.into_iter();
    let line = lines.next().ok_or_else(|| Broken::Malformed("an empty head".to_owned()))?;
    Ok(Head { line, headers: lines.map(|line| header_line(&line)).collect() })
}

fn header_line(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.trim().to_ascii_lowercase(), value.trim().to_owned())
}

impl Head {
    /// The status of an answer.
    pub(crate) fn status(&self) -> Result<u16, Broken> {
        let status = self.line.split(' ').nth(1).and_then(|word| word.parse().ok());
        status.ok_or_else(|| Broken::Malformed(format!("status line {:?}", self.line)))
    }

    /// Whether the body comes in chunks.
    pub(crate) fn is_chunked(&self) -> bool {
        header(&self.headers, "transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().contains("chunked"))
    }

    /// The length the message declares.
    pub(crate) fn length(&self) -> Result<Option<usize>, Broken> {
        let Some(value) = header(&self.headers, "content-length") else { return Ok(None) };
        value.parse().map(Some).map_err(|_| Broken::Malformed(format!("content-length {value:?}")))
    }
}

/// What comes next in a chunked body.
#[derive(Debug)]
pub(crate) enum Chunk {
    Data(Vec<u8>),
    End(Headers),
}

/// Reads the next chunk, or the end with its trailers.
pub(crate) async fn read_chunk<R: AsyncBufRead + Unpin>(reader: &mut R) -> Result<Chunk, Broken> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).await?;
    if !line.ends_with(b"\n") {
        return Err(Broken::Closed("a chunk's size"));
    }
    let line = text(&line);
    let size = usize::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16)
        .map_err(|_| Broken::Malformed(format!("chunk size {line:?}")))?;
    if size > 0 {
        let mut data = vec![0; size + 2];
        reader.read_exact(&mut data).await.map_err(|error| short(error, "a chunk"))?;
        data.truncate(size);
        return Ok(Chunk::Data(data));
    }
    let mut trailers = Headers::new();
    loop {
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line).await?;
        if !line.ends_with(b"\n") {
            return Err(Broken::Closed("the trailers"));
        }
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(Chunk::End(trailers));
        }
        trailers.push(header_line(&text(line)));
    }
}

/// Reads a chunked body to its end; what came before a failure stays in `body`.
pub(crate) async fn read_chunked<R: AsyncBufRead + Unpin>(
    reader: &mut R,
    body: &mut Vec<u8>,
) -> Result<Headers, Broken> {
    loop {
        match read_chunk(reader).await? {
            Chunk::Data(data) => body.extend(data),
            Chunk::End(trailers) => return Ok(trailers),
        }
    }
}

/// Reads a body of known length; what came before a failure stays in `body`.
pub(crate) async fn read_sized<R: AsyncBufRead + Unpin>(
    reader: &mut R,
    length: usize,
    body: &mut Vec<u8>,
) -> Result<(), Broken> {
    let wanted = body.len() + length;
    (&mut *reader).take(length as u64).read_to_end(body).await?;
    if body.len() < wanted { Err(Broken::Closed("the body")) } else { Ok(()) }
}

/// Writes bytes, as a chunk where the body is chunked.
pub(crate) async fn write_part<W: AsyncWrite + Unpin>(writer: &mut W, data: &[u8], chunked: bool) -> io::Result<()> {
    if chunked {
        writer.write_all(format!("{:x}\r\n", data.len()).as_bytes()).await?;
    }
    writer.write_all(data).await?;
    if chunked {
        writer.write_all(b"\r\n").await?;
    }
    writer.flush().await
}

/// Writes the last chunk and the trailers.
pub(crate) async fn write_end<'a, W: AsyncWrite + Unpin>(
    writer: &mut W,
    trailers: impl Iterator<Item = (&'a str, &'a str)>,
) -> io::Result<()> {
    let mut end = "0\r\n".to_owned();
    for (name, value) in trailers {
        end.push_str(&format!("{name}: {value}\r\n"));
    }
    end.push_str("\r\n");
    writer.write_all(&bytes(&end)).await?;
    writer.flush().await
}

/// A connection that ended where more was due.
pub(crate) fn short(error: io::Error, place: &'static str) -> Broken {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Broken::Closed(place),
        _ => Broken::Io(error),
    }
}

/// The body of `n` bytes that both sides can make: a decimal counter of eight digits, 0 to 1023, again and again.
pub(crate) fn pattern(n: usize) -> Vec<u8> {
    let block: Vec<u8> = (0..1024).flat_map(|number| format!("{number:08}").into_bytes()).collect();
    let mut body = block.repeat(n.div_ceil(block.len()));
    body.truncate(n);
    body
}
