//! The first message of TLS, read as far as it takes to lead a connection on: [`ClientHello`].
//!
//! All else in it concerns who ends the TLS, which may be somebody behind us with other versions and habits.

use std::io;
use std::net::IpAddr;

use super::hello::Hello;

/// How many bytes it may take, with the headers of its records: as many as for Envoy's `tls_inspector`.
const LONGEST: usize = 16 * 1024;

/// What every record of it begins with: that it is of the handshake, and the greater part of the version.
const RECORD: [u8; 2] = [22, 3];

const CLIENT_HELLO: u8 = 1;

/// Extensions.
const SERVER_NAME: usize = 0;
const PROTOCOLS: usize = 16;

/// The message while it comes in (RFC 8446, sections 4.1.2 and 5.1).
#[derive(Debug, Default)]
pub(super) struct ClientHello {
    /// What there is of it, out of its records.
    message: Vec<u8>,
    /// How many bytes of the connection these were.
    taken: usize,
}

impl ClientHello {
    /// What it says, once the `bytes` that a connection begins with are enough. They may only grow from call to call.
    pub(super) fn read(&mut self, bytes: &[u8]) -> io::Result<Option<Hello>> {
        let bytes = bytes.get(..LONGEST).unwrap_or(bytes);
        loop {
            let record = bytes.get(self.taken..).unwrap_or_default();
            if record.iter().zip(RECORD).any(|(is, should)| *is != should) {
                return Err(malformed());
            }
            let mut rest = Bytes(record);
            let Some(fragment) = rest.take(3).and_then(|_| rest.vector(2)) else { break };
            if fragment.is_empty() {
                return Err(malformed());
            }
            self.message.extend_from_slice(fragment);
            self.taken += record.len() - rest.0.len();
            if let Some(hello) = self.whole()? {
                return Ok(Some(hello));
            }
        }
        if bytes.len() == LONGEST { Err(malformed()) } else { Ok(None) }
    }

    fn whole(&self) -> io::Result<Option<Hello>> {
        let mut rest = Bytes(&self.message);
        if rest.take(1).is_some_and(|kind| kind != [CLIENT_HELLO]) {
            return Err(malformed());
        }
        let Some(body) = rest.vector(3) else { return Ok(None) };
        hello(Bytes(body)).map(Some).ok_or_else(malformed)
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it does not begin with a ClientHello of TLS")
}

/// `None` in this and what it calls: it is malformed.
fn hello(mut body: Bytes<'_>) -> Option<Hello> {
    let _version_and_random = body.take(2 + 32)?;
    let _session = body.vector(1)?;
    let _cipher_suites = body.vector(2)?;
    let _compressions = body.vector(1)?;
    let mut hello = Hello { server_name: None, protocols: Box::default() };
    if body.0.is_empty() {
        // Before TLS 1.2 there need not be extensions.
        return Some(hello);
    }
    let mut extensions = body.last(2)?;
    let mut named = false;
    while !extensions.0.is_empty() {
        let (kind, value) = (extensions.number(2)?, Bytes(extensions.vector(2)?));
        match kind {
            SERVER_NAME if !named => {
                hello.server_name = server_name(value)?;
                named = true;
            }
            PROTOCOLS if hello.protocols.is_empty() => hello.protocols = protocols(value)?,
            // Twice: who reads further may believe the other.
            SERVER_NAME | PROTOCOLS => return None,
            _ => {}
        }
    }
    Some(hello)
}

/// RFC 6066, section 3. An address, which it should not be, says as little as nothing.
fn server_name(mut value: Bytes<'_>) -> Option<Option<Box<str>>> {
    let mut names = value.last(2)?;
    let kind = names.number(1)?;
    let name = names.last(2)?.0;
    if kind != 0 || name.is_empty() || name.len() > 255 || name.contains(&0) {
        return None;
    }
    let name = str::from_utf8(name).ok()?.to_ascii_lowercase();
    Some(if name.parse::<IpAddr>().is_ok() { None } else { Some(name.into()) })
}

/// RFC 7301, section 3.1: at least one.
fn protocols(mut value: Bytes<'_>) -> Option<Box<[u8]>> {
    let list = value.last(2)?;
    let mut rest = list;
    while !rest.0.is_empty() {
        rest.vector(1).filter(|protocol| !protocol.is_empty())?;
    }
    (!list.0.is_empty()).then(|| list.0.into())
}

/// Bytes that are still to be read, as TLS writes numbers and vectors (RFC 8446, section 3).
#[derive(Clone, Copy, Debug)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, width: usize) -> Option<usize> {
        Some(self.take(width)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// As many bytes as the number before them says.
    fn vector(&mut self, width: usize) -> Option<&'a [u8]> {
        let count = self.number(width)?;
        self.take(count)
    }

    /// The same, with nothing behind it.
    fn last(&mut self, width: usize) -> Option<Self> {
        let vector = self.vector(width)?;
        self.0.is_empty().then_some(Self(vector))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls::server::Acceptor;

    use super::super::hello::tests::hello;
    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Option<Hello>> {
        ClientHello::default().read(bytes)
    }

    /// What rustls reads, if it goes on with such a client.
    fn by_rustls(mut bytes: &[u8]) -> Option<Hello> {
        let mut acceptor = Acceptor::default();
        while !bytes.is_empty() {
            acceptor.read_tls(&mut bytes).ok()?;
            if let Some(accepted) = acceptor.accept().ok()? {
                let hello = accepted.client_hello();
                let protocols = hello.alpn().into_iter().flatten().flat_map(listed).collect();
                let server_name = hello.server_name().map(Box::from);
                return Some(Hello { server_name, protocols });
            }
        }
        None
    }

    fn listed(protocol: &[u8]) -> Vec<u8> {
        vector(1, &[protocol])
    }

    fn vector(width: usize, parts: &[&[u8]]) -> Vec<u8> {
        let bytes = parts.concat();
        [&bytes.len().to_be_bytes()[8 - width..], &bytes].concat()
    }

    fn extension(kind: u8, value: &[u8]) -> Vec<u8> {
        [&[0, kind][..], &vector(2, &[value])].concat()
    }

    fn named(name: &[u8]) -> Vec<u8> {
        extension(0, &vector(2, &[&[0], &vector(2, &[name])]))
    }

    /// The message of a client of the version 3.`minor`, which has these compressions and extensions.
    fn message(minor: u8, compressions: &[u8], extensions: Option<&[Vec<u8>]>) -> Vec<u8> {
        let extensions = extensions.map(|extensions| vector(2, &[&extensions.concat()])).unwrap_or_default();
        let session = vector(1, &[&[7; 32]]);
        let (suites, compressions) = (vector(2, &[&[0xc0, 0x13]]), vector(1, &[compressions]));
        let body = [&[3, minor][..], &[9; 32], &session, &suites, &compressions, &extensions].concat();
        [&[CLIENT_HELLO][..], &vector(3, &[&body])].concat()
    }

    fn record(fragment: &[u8]) -> Vec<u8> {
        [&[22, 3, 1][..], &vector(2, &[fragment])].concat()
    }

    fn of(server_name: Option<&str>, protocols: &[&str]) -> Hello {
        let protocols = protocols.iter().flat_map(|protocol| listed(protocol.as_bytes())).collect();
        Hello { server_name: server_name.map(Box::from), protocols }
    }

    #[test]
    fn clients_that_we_could_not_serve_say_whom_they_want() {
        let alpn = extension(16, &vector(2, &[&vector(1, &[b"x"])]));
        for (minor, compressions) in [(1, [0]), (2, [0]), (3, [0]), (3, [1]), (9, [0])] {
            let bytes = record(&message(minor, &compressions, Some(&[named(b"A.test"), alpn.clone()])));
            assert_eq!(read(&bytes).unwrap(), Some(of(Some("a.test"), &["x"])), "{minor} {compressions:?}");
            assert_eq!(by_rustls(&bytes), None);
        }
        for extensions in [None, Some(&[][..]), Some(&[extension(5, b"")]), Some(&[named(b"10.0.0.1")])] {
            assert_eq!(read(&record(&message(1, &[0], extensions))).unwrap(), Some(of(None, &[])), "{extensions:?}");
        }
    }

    #[test]
    fn it_may_be_cut_into_records() {
        let message = message(3, &[0], Some(&[named(b"a.test")]));
        for longest in [1, 3, 50, message.len()] {
            let bytes: Vec<u8> = message.chunks(longest).flat_map(record).collect();
            assert_eq!(read(&bytes).unwrap(), Some(of(Some("a.test"), &[])), "{longest}");
            assert_eq!(read(&[&bytes, &b"more"[..]].concat()).unwrap(), Some(of(Some("a.test"), &[])), "{longest}");
            assert_eq!(read(&bytes[..bytes.len() - 1]).unwrap(), None, "{longest}");
        }
        let alert_within = [record(&message[..50]), vec![21, 3, 1, 0, 2, 1, 0], record(&message[50..])].concat();
        assert!(read(&alert_within).is_err());
        assert!(read(&[record(b""), record(&message)].concat()).is_err());
    }

    #[test]
    fn it_may_be_as_long_as_for_envoy() {
        let padded = |length| message(3, &[0], Some(&[extension(21, &vec![0; length]), named(b"a.test")]));
        let rest = record(&padded(0)).len();
        let longest = record(&padded(LONGEST - rest));
        assert_eq!(longest.len(), LONGEST);
        assert_eq!(read(&longest).unwrap(), Some(of(Some("a.test"), &[])));
        let longer = record(&padded(LONGEST - rest + 1));
        assert!(read(&longer[..LONGEST - 1]).unwrap().is_none());
        assert!(read(&longer).is_err());
    }

    #[test]
    fn what_can_be_read_in_two_ways_or_in_none_is_malformed() {
        let alpn = |list: &[u8]| extension(16, &vector(2, &[list]));
        let list = |entries: &[&[u8]]| extension(0, &vector(2, entries));
        let entry = [&[0][..], &vector(2, &[b"a.test"])].concat();
        for extensions in [
            vec![named(b"a.test"), named(b"b.test")],
            vec![named(b"10.0.0.1"), named(b"b.test")],
            vec![alpn(b"\x01x"), alpn(b"\x01y")],
            vec![list(&[&entry, &entry])],
            vec![list(&[])],
            vec![list(&[&[1], &vector(2, &[b"a.test"])])],
            vec![named(b"")],
            vec![named(b"a\0b")],
            vec![named(b"\xff")],
            vec![named(&[b'a'; 256])],
            vec![alpn(b"")],
            vec![alpn(b"\0")],
            vec![alpn(b"\x02x")],
            vec![b"\0\0".to_vec()],
        ] {
            assert!(read(&record(&message(3, &[0], Some(&extensions)))).is_err(), "{extensions:?}");
        }
        let trailing = [message(3, &[0], None), b"\0\0\0".to_vec()].concat();
        let trailing = [&[CLIENT_HELLO][..], &vector(3, &[&trailing[4..]])].concat();
        assert!(read(&record(&trailing)).is_err());
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x02", b"\x15", &record(b"\x02")] {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(
            prefix in prop_oneof![Just(&b""[..]), Just(&b"\x16\x03\x01"[..]), Just(&b"\x16\x03\x01\0\x40\x01\0\0\x30"[..])],
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = read(&[prefix, &bytes].concat());
        }

        #[test]
        fn what_rustls_reads_otherwise_is_not_read(
            alpn in proptest::sample::subsequence(vec!["h2", "http/1.1", "istio"], 0..=3),
            change in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
            pieces in proptest::collection::vec(any::<prop::sample::Index>(), 0..3),
        ) {
            let mut bytes = hello("a.test", &alpn);
            let changed = change.is_some();
            if let Some((at, byte)) = change {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let expected = by_rustls(&bytes);
            prop_assert!(changed || expected == Some(of(Some("a.test"), &alpn)));
            let mut incoming = ClientHello::default();
            let mut ends: Vec<usize> = pieces.iter().map(|piece| piece.index(bytes.len())).collect();
            ends.sort_unstable();
            ends.push(bytes.len());
            let said = ends.iter().find_map(|end| incoming.read(&bytes[..*end]).transpose());
            match (expected, said) {
                (Some(expected), Some(Ok(said))) => prop_assert_eq!(said, expected),
                (_, said) => prop_assert!(changed, "{:?}", said),
            }
        }
    }
}
