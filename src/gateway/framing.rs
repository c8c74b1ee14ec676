//! Where HTTP/1.1 requests begin and end on the wire: finds the heads that hyper repairs and Envoy refuses.
//!
//! hyper drops a `Content-Length` that stands next to `Transfer-Encoding`, the second of two equal ones, what stands
//! before `chunked`, and what follows a `#` in the target, before any service can see them. Envoy refuses all of these,
//! since another proxy may frame such a message otherwise, or take another path from it. [`Framing`] reads along, keeps
//! nothing but a line that two reads share, and tells which request has such a [`Flaw`]. It weighs heads too: of one
//! that is too large hyper would say so itself, and otherwise than Envoy does. Trailers whose lines end without a CR
//! end for Envoy where they do not for hyper, which would take the next request for more of them: nothing is read on.

use crate::service::hop::is;
use crate::transport::bounds::MAX_HEAD;

/// How much is kept of a line that does not decide about framing.
const LINE: usize = 128;
/// The headers that do.
const DECIDING: [&[u8]; 4] = [b"content-length", b"transfer-encoding", b"upgrade", b"connection"];

/// What hyper would repair without a word, or refuse in its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Its length is told in two ways.
    Ambiguous,
    /// Its target has a fragment.
    Fragment,
    /// Its body is encoded otherwise than in chunks.
    Encoded,
    /// Its head is larger than one may be.
    TooLarge,
    /// It is of another version than HTTP/1.1, and hyper does not say so.
    Version,
}

/// What stops a reading along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The request of this number, from 0, has a flaw.
    Flaw(u64, Flaw),
    /// From the byte at this place on nobody can say how the message goes on.
    Break(usize),
}

/// Reads along with an HTTP/1.1 connection.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    /// The beginning of a line that was not read to its end.
    partial: Vec<u8>,
    /// How many heads have been read to their end.
    heads: u64,
    head: Head,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the request line; empty lines are skipped.
    Start,
    /// Among the header lines.
    Fields,
    /// Inside a body of known length.
    Body(u64),
    /// At the line with the size of a chunk.
    ChunkSize,
    /// Inside a chunk and the line end after it.
    Chunk(u64),
    /// Among the lines after the last chunk.
    Trailers,
    /// Nothing more to find: a tunnel, an ambiguous request, or bytes that hyper will refuse.
    Blind,
}

#[derive(Clone, Copy, Debug, Default)]
struct Head {
    /// In bytes, as far as it was read.
    size: usize,
    lengths: u32,
    length: u64,
    encoded: bool,
    otherwise: bool,
    connects: bool,
    /// Whether it says what to upgrade to, and that it is to be done: both make a tunnel.
    websocket: Option<bool>,
    upgrades: bool,
    fragment: bool,
    /// Whether it is of HTTP/1.0, in which hyper knows of no encoding.
    old: bool,
}

impl Framing {
    pub(super) fn new() -> Self {
        Self { state: State::Start, partial: Vec::new(), heads: 0, head: Head::default() }
    }

    /// Reads along `bytes`; what is found in them ends it.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Option<Found> {
        let length = bytes.len();
        while !bytes.is_empty() && self.state != State::Blind {
            if let State::Body(left) | State::Chunk(left) = self.state {
                let here = left.min(bytes.len() as u64);
                bytes = &bytes[here as usize..];
                self.skip(left - here);
                continue;
            }
            let end = memchr::memchr(b'\n', bytes);
            let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if self.state == State::Start && memchr::memchr(b'#', line).is_some() {
                self.head.fragment = true;
            }
            if matches!(self.state, State::Start | State::Fields) {
                self.head.size = self.head.size.saturating_add(line.len() + usize::from(end.is_some()));
            }
            let begins = length - bytes.len();
            let is_shared = end.is_none() || !self.partial.is_empty();
            if is_shared && self.keep(line) {
                return Some(self.stop(Found::Break(begins)));
            }
            end?;
            bytes = rest.get(1..).unwrap_or_default();
            let whole = std::mem::take(&mut self.partial);
            match self.line(if is_shared { &whole } else { line }) {
                Err(Undecided) => return Some(self.stop(Found::Break(begins))),
                Ok(Some(flaw)) => return Some(self.stop(Found::Flaw(self.heads, flaw))),
                Ok(None) => {}
            }
        }
        None
    }

    fn stop(&mut self, found: Found) -> Found {
        self.state = State::Blind;
        found
    }

    /// Keeps the beginning of a line. Whether one became too long that would have to be known.
    fn keep(&mut self, bytes: &[u8]) -> bool {
        let begins_as = |name: &[u8]| {
            let so_far = self.partial.iter().chain(bytes);
            name.iter().zip(so_far).all(|(should, is)| is.eq_ignore_ascii_case(should))
        };
        let decides = match self.state {
            // Its version is behind all else.
            State::Start | State::ChunkSize | State::Trailers => true,
            State::Fields => DECIDING.iter().any(|name| begins_as(name)),
            _ => false,
        };
        let room = if decides { MAX_HEAD } else { LINE }.saturating_sub(self.partial.len());
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
        bytes.len() > room && matches!(self.state, State::ChunkSize | State::Trailers)
    }

    fn skip(&mut self, left: u64) {
        self.state = match (self.state, left) {
            (State::Body(_), 0) => State::Start,
            (State::Body(_), left) => State::Body(left),
            (_, 0) => State::ChunkSize,
            (_, left) => State::Chunk(left),
        };
    }

    /// Takes a line without its `\n`; the flaw of the head that it ends.
    fn line(&mut self, line: &[u8]) -> Result<Option<Flaw>, Undecided> {
        let whole = line.strip_suffix(b"\r");
        let line = whole.unwrap_or(line);
        match self.state {
            State::Start if line.is_empty() => self.head = Head::default(),
            State::Start => {
                self.head.connects = line.starts_with(b"CONNECT ");
                self.head.old = line.ends_with(b" HTTP/1.0");
                self.state = State::Fields;
                // hyper does not wait for the rest either.
                return Ok(is_of_another_version(line).then_some(Flaw::Version));
            }
            State::Fields if line.is_empty() => return Ok(self.head_ends()),
            State::Fields => self.field(line),
            State::ChunkSize => match chunk_size(line) {
                Some(0) => self.state = State::Trailers,
                Some(size) => self.state = State::Chunk(size.saturating_add(2)),
                None => self.state = State::Blind,
            },
            State::Trailers if whole.is_none() => return Err(Undecided),
            State::Trailers if line.is_empty() => self.state = State::Start,
            _ => {}
        }
        Ok(None)
    }

    fn field(&mut self, line: &[u8]) {
        // Most lines are told apart by their first letter.
        let (Some(b'c' | b'C' | b't' | b'T' | b'u' | b'U'), Some(colon)) = (line.first(), memchr::memchr(b':', line))
        else {
            return;
        };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.eq_ignore_ascii_case(b"content-length") {
            self.head.lengths += 1;
            let digits = std::str::from_utf8(value).unwrap_or_default().trim_matches([' ', '\t']);
            // What is no number is refused by hyper.
            self.head.length = digits.parse().unwrap_or(0);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.head.otherwise = self.head.encoded || !value.trim_ascii().eq_ignore_ascii_case(b"chunked");
            self.head.encoded = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            // Several that say something are none, at the door as well.
            let protocol = value.trim_ascii();
            if !protocol.is_empty() {
                self.head.websocket = Some(self.head.websocket.is_none() && is(protocol, b"websocket"));
            }
        } else if name.eq_ignore_ascii_case(b"connection") {
            self.head.upgrades |= value.split(|byte| *byte == b',').any(|word| is(word.trim_ascii(), b"upgrade"));
        }
    }

    fn head_ends(&mut self) -> Option<Flaw> {
        let head = std::mem::take(&mut self.head);
        if head.size > MAX_HEAD {
            return Some(Flaw::TooLarge);
        }
        if head.old && head.encoded {
            return Some(Flaw::Version);
        }
        if head.lengths > 1 || (head.lengths == 1 && head.encoded) {
            return Some(Flaw::Ambiguous);
        }
        if head.fragment {
            return Some(Flaw::Fragment);
        }
        if head.otherwise {
            return Some(Flaw::Encoded);
        }
        self.heads += 1;
        self.state = if head.connects || (head.websocket == Some(true) && head.upgrades) {
            State::Blind
        } else if head.encoded {
            State::ChunkSize
        } else if head.length > 0 {
            State::Body(head.length)
        } else {
            State::Start
        };
        None
    }
}

/// A line that hyper and others end at different places.
#[derive(Debug)]
struct Undecided;

/// Whether a request line is one of HTTP, but of a version that hyper cannot read; the first one had no word for itself.
fn is_of_another_version(line: &[u8]) -> bool {
    if line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0") {
        return false;
    }
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    match (words.next(), words.next(), words.next(), words.next()) {
        // Of a line as long as this there may have been more.
        (Some(_), Some([b'/', ..]), None, None) => line.len() < MAX_HEAD,
        (Some(_), Some(_), Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None) => {
            major.is_ascii_digit() && minor.is_ascii_digit() && !matches!([*major, *minor], [b'1', b'0' | b'1'])
        }
        _ => false,
    }
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let digits = std::str::from_utf8(&line[..digits]).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const TWO: &str = "POST / HTTP/1.1\r\nContent-Length: 3\r\ncontent-length: 3\r\n\r\nabc";
    const BOTH: &str = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n";

    fn flaw(found: Found) -> (u64, Flaw) {
        match found {
            Found::Flaw(number, flaw) => (number, flaw),
            Found::Break(at) => panic!("it breaks at {at}"),
        }
    }

    fn at_once(text: &str) -> Option<(u64, Flaw)> {
        Framing::new().read(text.as_bytes()).map(flaw)
    }

    fn in_pieces(text: &str, size: usize) -> Option<(u64, Flaw)> {
        let mut framing = Framing::new();
        text.as_bytes().chunks(size).find_map(|piece| framing.read(piece)).map(flaw)
    }

    fn byte_by_byte(text: &str) -> Option<(u64, Flaw)> {
        in_pieces(text, 1)
    }

    #[test]
    fn lines_that_decide_are_read_whole_however_they_come() {
        let blanks = " ".repeat(150);
        for (text, expected) in [
            (
                format!("POST / HTTP/1.1\r\nContent-Length:{blanks}29\r\n\r\n{}{TWO}", "x".repeat(29)),
                Some((1, Flaw::Ambiguous)),
            ),
            (
                format!(
                    "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{}3\r\nabc\r\n0\r\n\r\n{TWO}",
                    "0".repeat(140)
                ),
                Some((1, Flaw::Ambiguous)),
            ),
            (
                format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked{blanks}, chunked\r\n\r\n"),
                Some((0, Flaw::Encoded)),
            ),
            (format!("POST / HTTP/1.1\r\nTransfer-Encoding:{blanks}chunked\r\n\r\n0\r\n\r\n{GET}"), None),
            (format!("GET / HTTP/1.1\r\ncookie:{blanks}a\r\n\r\n{TWO}"), Some((1, Flaw::Ambiguous))),
        ] {
            assert_eq!(at_once(&text), expected, "{text}");
            for size in [1, 7, 140] {
                assert_eq!(in_pieces(&text, size), expected, "{text} in pieces of {size}");
            }
        }
    }

    #[test]
    fn trailers_whose_lines_end_in_two_ways_are_not_read_on() {
        let head = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n";
        for (sound, rest) in [("", "\n"), ("x: y\r\n", "\n"), ("", "x: y\n\r\n")] {
            let text = format!("{head}{sound}{rest}{GET}");
            assert_eq!(Framing::new().read(text.as_bytes()), Some(Found::Break(head.len() + sound.len())), "{text}");
            let mut framing = Framing::new();
            assert!(text.as_bytes().chunks(1).any(|byte| framing.read(byte) == Some(Found::Break(0))), "{text}");
        }
        // Of one that is too long nobody knows, whether its end is there or not.
        let sizes = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut framing = Framing::new();
        assert_eq!(framing.read(format!("{sizes}{}", "0".repeat(MAX_HEAD)).as_bytes()), None);
        assert_eq!(framing.read(b"1e\r\n"), Some(Found::Break(0)));
        let endless = format!("{head}x: {}", "y".repeat(MAX_HEAD));
        assert_eq!(Framing::new().read(endless.as_bytes()), Some(Found::Break(head.len())));
    }

    #[test]
    fn ambiguous_requests_are_numbered() {
        let long = "x".repeat(1000);
        for (text, expected) in [
            (GET.to_owned(), None),
            (TWO.to_owned(), Some(0)),
            (BOTH.to_owned(), Some(0)),
            (format!("{GET}{GET}{TWO}"), Some(2)),
            (format!("\r\n\n{GET}\r\n{BOTH}"), Some(1)),
            // What looks like a head inside a body is none.
            (format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n{TWO}{GET}", TWO.len()), None),
            (format!("PUT / HTTP/1.1\r\ncontent-length: {}\r\n\r\n{TWO}{BOTH}", TWO.len()), Some(1)),
            (
                format!(
                    "PUT / HTTP/1.1\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n{:x};a=b\r\n{TWO}\r\n0\r\n\
                     content-length: 1\r\nt: 2\r\n\r\n{TWO}",
                    TWO.len()
                ),
                Some(1),
            ),
            (format!("GET / HTTP/1.1\r\ncookie: {long}\r\n\r\n{TWO}"), Some(1)),
            (format!("GET / HTTP/1.1\nhost: a\n\n{TWO}"), Some(1)),
        ] {
            let expected = expected.map(|number| (number, Flaw::Ambiguous));
            assert_eq!(at_once(&text), expected, "{text}");
            assert_eq!(byte_by_byte(&text), expected, "{text}");
        }
    }

    #[test]
    fn a_fragment_is_seen_in_the_target_alone() {
        let long = "x".repeat(1000);
        for (text, expected) in [
            ("GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), Some(0)),
            (format!("{GET}GET /{long}?c=d#b HTTP/1.1\r\n\r\n"), Some(1)),
            (format!("GET / HTTP/1.1\r\nx: #\r\n\r\n{GET}"), None),
            ("POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\n#a#GET / HTTP/1.1\r\n\r\n".to_owned(), None),
        ] {
            let expected = expected.map(|number| (number, Flaw::Fragment));
            assert_eq!(at_once(&text), expected, "{text}");
            assert_eq!(byte_by_byte(&text), expected, "{text}");
        }
    }

    #[test]
    fn a_body_comes_in_chunks_or_not_at_all() {
        for (lines, expected) in [
            ("transfer-encoding: chunked", None),
            ("Transfer-Encoding:\tCHUNKED ", None),
            ("transfer-encoding: gzip, chunked", Some(0)),
            ("transfer-encoding: chunked\r\ntransfer-encoding: chunked", Some(0)),
            ("transfer-encoding: gzip\r\ntransfer-encoding: chunked", Some(0)),
        ] {
            let text = format!("POST / HTTP/1.1\r\n{lines}\r\n\r\n0\r\n\r\n{GET}");
            let expected = expected.map(|number| (number, Flaw::Encoded));
            assert_eq!(at_once(&text), expected, "{text}");
            assert_eq!(byte_by_byte(&text), expected, "{text}");
        }
    }

    #[test]
    fn other_versions_are_found_at_once() {
        let long = "x".repeat(1000);
        for (line, expected) in [
            ("GET / HTTP/1.1".to_owned(), None),
            // hyper reads it, and it is refused at the door.
            ("GET / HTTP/1.0".to_owned(), None),
            ("GET / HTTP/1.2".to_owned(), Some(0)),
            ("GET / HTTP/2.0".to_owned(), Some(0)),
            ("GET  /  HTTP/0.9".to_owned(), Some(0)),
            ("GET /".to_owned(), Some(0)),
            ("GET / ".to_owned(), Some(0)),
            // No HTTP at all.
            ("GET".to_owned(), None),
            ("GET x".to_owned(), None),
            ("GET / HTTP/3".to_owned(), None),
            ("GET / HTTP/1.10".to_owned(), None),
            ("GET / HTTP/1.x".to_owned(), None),
            ("GET / http/1.0".to_owned(), None),
            ("GET /a b HTTP/1.0".to_owned(), None),
            ("GET / HTTP/1.1 ".to_owned(), None),
        ] {
            let text = format!("{line}\r\n");
            let expected = expected.map(|number| (number, Flaw::Version));
            assert_eq!(at_once(&text), expected, "{text}");
            assert_eq!(byte_by_byte(&text), expected, "{text}");
        }
        for path in ["", &long] {
            let encoded = format!("POST /{path} HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
            assert_eq!(at_once(&encoded), Some((0, Flaw::Version)));
            assert_eq!(byte_by_byte(&encoded), Some((0, Flaw::Version)));
        }
        let text = format!("{GET}GET /{long} HTTP/1.2\r\n");
        assert_eq!(at_once(&text), Some((1, Flaw::Version)));
        assert_eq!(byte_by_byte(&text), Some((1, Flaw::Version)));
    }

    #[test]
    fn what_makes_no_tunnel_is_read_on() {
        let first = "Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket";
        let twice = "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket";
        for lines in ["Upgrade: websocket", "Connection: upgrade\r\nUpgrade: h2c", "Connection: upgrade", first, twice]
        {
            let text = format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n{TWO}");
            assert_eq!(at_once(&text), Some((1, Flaw::Ambiguous)), "{text}");
            assert_eq!(byte_by_byte(&text), Some((1, Flaw::Ambiguous)), "{text}");
        }
    }

    #[test]
    fn heads_are_weighed_as_they_came() {
        let head = |size: usize| {
            let rest = "GET / HTTP/1.1\r\nx: \r\n\r\n".len();
            format!("\r\n{GET}GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(size - rest))
        };
        for (size, expected) in [(MAX_HEAD, None), (MAX_HEAD + 1, Some((1, Flaw::TooLarge)))] {
            assert_eq!(at_once(&head(size)), expected);
            assert_eq!(byte_by_byte(&head(size)), expected);
        }
        let body = "y".repeat(MAX_HEAD);
        let text = format!("POST / HTTP/1.1\r\ncontent-length: {MAX_HEAD}\r\n\r\n{body}{GET}");
        assert_eq!(at_once(&text), None, "a body is none");
    }

    #[test]
    fn tunnels_and_nonsense_are_not_read() {
        for text in [
            format!("GET / HTTP/1.1\r\nUpgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n\r\n{TWO}"),
            format!("GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade:\r\nUpgrade: websocket\r\n\r\n{TWO}"),
            format!("CONNECT a:1 HTTP/1.1\r\n\r\n{TWO}"),
            format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{TWO}"),
        ] {
            assert_eq!(at_once(&text), None, "{text}");
        }
    }
}
