//! The head of a request, kept for further tries and for mirrors: [`SavedHead`].
//!
//! All of it stands in one run of bytes, which costs a fraction of cloning a header map. The bytes come from a few that
//! each thread keeps, so that a request which succeeds at once allocates nothing for the try that never comes.

use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{Extensions, Method, Version};

use super::spares::Spares;

/// A run that grew beyond this is not kept.
const LARGE: usize = 16 * 1024;

thread_local! {
    static SPARES: Spares<Vec<u8>> = const { Spares::new() };
}

/// A copy of a request's head as it is sent, its endpoint aside.
pub(super) struct SavedHead {
    pub(super) method: Method,
    pub(super) version: Version,
    extensions: Extensions,
    bytes: Vec<u8>,
    /// Where the path ends, and the authority begins.
    path: u32,
    /// Where the authority ends, and the header lines begin.
    authority: u32,
}

impl SavedHead {
    /// Saves `head`, whose URI still names what the request is for.
    pub(super) fn new(head: &Parts) -> Self {
        let mut bytes = Spares::take(&SPARES).unwrap_or_default();
        let path = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let authority = head.uri.authority().map_or("", Authority::as_str);
        // Spare runs have grown to what heads take here: nothing is measured beforehand.
        bytes.extend_from_slice(path.as_bytes());
        bytes.extend_from_slice(authority.as_bytes());
        // Lengths fit: `http` bounds those of names and of URIs at 2^16, those of values at 2^31.
        let (path, authority) = (path.len() as u32, bytes.len() as u32);
        for (name, value) in &head.headers {
            let (name, text) = (name.as_str().as_bytes(), value.as_bytes());
            // In front of each line: the length of its name, that of its value, and whether it is sensitive.
            let [first, second] = (name.len() as u16).to_ne_bytes();
            let [a, b, c, d] = (text.len() as u32 | u32::from(value.is_sensitive()) << 31).to_ne_bytes();
            bytes.extend_from_slice(&[first, second, a, b, c, d]);
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(text);
        }
        let extensions = if head.extensions.is_empty() { Extensions::new() } else { head.extensions.clone() };
        Self { method: head.method.clone(), version: head.version, extensions, bytes, path, authority }
    }

    /// The path and query.
    pub(super) fn path_and_query(&self) -> &str {
        text(&self.bytes[..self.path as usize])
    }

    /// The authority of the URI, if it had one.
    pub(super) fn authority(&self) -> Option<&str> {
        Some(text(&self.bytes[self.path as usize..self.authority as usize])).filter(|text| !text.is_empty())
    }

    /// The head again, with a URI as it was saved.
    pub(super) fn restore(&self) -> Option<Parts> {
        let mut uri = http::uri::Parts::default();
        uri.path_and_query = Some(PathAndQuery::try_from(self.path_and_query()).ok()?);
        if let Some(authority) = self.authority() {
            uri.authority = Some(Authority::try_from(authority).ok()?);
            uri.scheme = Some(http::uri::Scheme::HTTP);
        }
        let mut request = http::Request::new(());
        *request.uri_mut() = http::Uri::from_parts(uri).ok()?;
        let (mut head, ()) = request.into_parts();
        head.method = self.method.clone();
        head.version = self.version;
        head.extensions = self.extensions.clone();
        // There may be more lines than a map can have names.
        head.headers = HeaderMap::try_with_capacity(self.lines().count() + 2).unwrap_or_default();
        for (name, text, sensitive) in self.lines() {
            let mut value = HeaderValue::from_bytes(text).ok()?;
            value.set_sensitive(sensitive);
            head.headers.append(HeaderName::from_bytes(name).ok()?, value);
        }
        Some(head)
    }

    fn lines(&self) -> Lines<'_> {
        Lines { rest: &self.bytes[self.authority as usize..] }
    }

    /// The first value of a header.
    pub(super) fn first(&self, name: &HeaderName) -> Option<&[u8]> {
        self.lines().find(|(line, ..)| *line == name.as_str().as_bytes()).map(|(_, value, _)| value)
    }
}

/// Header lines: name, value, and whether it is sensitive.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = (&'a [u8], &'a [u8], bool);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.rest.split_first_chunk::<2>()?;
        let (value, rest) = rest.split_first_chunk::<4>()?;
        let value = u32::from_ne_bytes(*value);
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_ne_bytes(*name)))?;
        let (text, rest) = rest.split_at_checked((value & !(1 << 31)) as usize)?;
        self.rest = rest;
        Some((name, text, value >> 31 == 1))
    }
}

/// What came out of a `str` is one.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("/")
}

impl Drop for SavedHead {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() <= LARGE {
            bytes.clear();
            Spares::keep(&SPARES, bytes);
        }
    }
}

impl fmt::Debug for SavedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut head = f.debug_struct("SavedHead");
        head.field("method", &self.method).field("path_and_query", &self.path_and_query()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_head_comes_back_as_it_was() {
        let mut request = Request::post("http://reviews:9080/a?b=c").body(()).unwrap();
        request.headers_mut().append("x-a", HeaderValue::from_static("1"));
        request.headers_mut().append("x-a", HeaderValue::from_bytes(b"\xff2").unwrap());
        let mut secret = HeaderValue::from_static("s3cret");
        secret.set_sensitive(true);
        request.headers_mut().insert("authorization", secret);
        request.extensions_mut().insert(7u8);
        let (head, ()) = request.into_parts();
        for _ in 0..2 {
            let back = SavedHead::new(&head).restore().unwrap();
            assert_eq!((&back.method, &back.uri, &back.headers), (&head.method, &head.uri, &head.headers));
            assert!(back.headers["authorization"].is_sensitive() && !back.headers["x-a"].is_sensitive());
            assert_eq!(back.extensions.get::<u8>(), Some(&7));
        }
        let saved = SavedHead::new(&head);
        assert_eq!(saved.first(&HeaderName::from_static("x-a")), Some(&b"1"[..]));
        assert_eq!(saved.first(&HeaderName::from_static("x-b")), None);
        assert_eq!((saved.path_and_query(), saved.authority()), ("/a?b=c", Some("reviews:9080")));
    }

    #[test]
    fn as_many_lines_of_one_header_as_there_may_be_come_back() {
        let (mut head, ()) = Request::new(()).into_parts();
        for _ in 0..25_000 {
            head.headers.append("x-a", HeaderValue::from_static("1"));
        }
        assert_eq!(SavedHead::new(&head).restore().unwrap().headers.len(), 25_000);
    }

    #[test]
    fn a_head_without_an_authority_has_none_again() {
        let (head, ()) = Request::get("/x").header("host", "a").body(()).unwrap().into_parts();
        assert_eq!(SavedHead::new(&head).restore().unwrap().uri, "/x");
    }
}
