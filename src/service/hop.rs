//! Header lines that concern one connection only, which nobody hands on.

use http::header::{CONNECTION, COOKIE, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue};

const TRAILERS: &str = "trailers";
pub(crate) const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
pub(crate) const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Drops the headers of a request that concern one connection only (RFC 9110, 7.6.1), but `te: trailers`; a tunnel
/// keeps its `Upgrade`, and, as by Envoy, all of `Connection` with what it names.
pub(crate) fn drop_hop_by_hop(headers: &mut HeaderMap, tunnel: bool) {
    // One look at the lines, since most heads have none of these, or only `te: trailers`.
    let (mut others, mut codings, mut trailers) = (false, false, false);
    for (name, value) in headers.iter() {
        if *name != TE {
            others |= is_of_a_hop(name);
        } else if value == TRAILERS && !trailers {
            trailers = true;
        } else {
            // What says nothing stays, as with Envoy.
            codings |= !value.is_empty();
        }
    }
    if others {
        if !tunnel && headers.contains_key(CONNECTION) {
            drop_named(headers);
        }
        headers.remove(KEEP_ALIVE);
        drop_all_but_these(headers, tunnel);
    }
    if codings {
        keep_trailers(headers);
    }
}

/// The same of a response, of which what `Connection` names stays, as by Envoy, and `keep-alive`: it is the rule's, for
/// the endpoint's was dropped before the rule could say something.
#[cfg(feature = "gateway")]
pub(crate) fn drop_hop_by_hop_of_response(headers: &mut HeaderMap, tunnel: bool) {
    if headers.keys().any(is_of_a_hop) {
        drop_all_but_these(headers, tunnel);
    }
}

/// Drops them all but `te` and `keep-alive`.
fn drop_all_but_these(headers: &mut HeaderMap, tunnel: bool) {
    if !tunnel {
        headers.remove(CONNECTION);
        headers.remove(UPGRADE);
    }
    headers.remove(PROXY_CONNECTION);
    headers.remove(TRANSFER_ENCODING);
}

/// Of all that a client takes, only whether it takes trailers is told on.
fn keep_trailers(headers: &mut HeaderMap) {
    // In this case only, as with Envoy.
    if headers.get_all(TE).iter().flat_map(tokens).any(|coding| coding == TRAILERS.as_bytes()) {
        headers.insert(TE, HeaderValue::from_static(TRAILERS));
    } else {
        headers.remove(TE);
    }
}

/// HTTP/2 may spread the cookies over several lines (RFC 9113, 8.2.3), rules and HTTP/1.1 know one. As by Envoy it begins
/// with the first line that says something, and there is none if none does.
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(COOKIE).iter();
    match (lines.next(), lines.next()) {
        (None, _) => return,
        (Some(only), None) if !only.is_empty() => return,
        _ => {}
    }
    let lines = headers.get_all(COOKIE).iter().skip_while(|line| line.is_empty());
    let cookies: Vec<&[u8]> = lines.map(HeaderValue::as_bytes).collect();
    // Valid values joined by valid bytes.
    match HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
        Ok(joined) if !joined.is_empty() => headers.insert(COOKIE, joined),
        _ => headers.remove(COOKIE),
    };
}

/// Whether HTTP/1.1's `Upgrade` names a WebSocket.
pub(crate) fn names_websocket(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|protocol| is(protocol.as_bytes(), b"websocket"))
}

/// Whether a header concerns one connection only.
pub(crate) fn is_of_a_hop(name: &HeaderName) -> bool {
    matches!(name.as_str(), "connection" | "upgrade" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "te")
}

/// Drops the headers that `Connection` names: not the one that says where the message goes, and `te` has a word to say
/// itself.
fn drop_named(headers: &mut HeaderMap) {
    let one = |value: &HeaderValue| is(value.as_bytes(), b"keep-alive") || is(value.as_bytes(), b"close");
    if headers.get_all(CONNECTION).iter().all(one) {
        return;
    }
    let lines: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
    for name in lines.iter().flat_map(tokens).filter_map(|token| HeaderName::from_bytes(token).ok()) {
        if ![CONNECTION, UPGRADE, TE, HOST].contains(&name) {
            headers.remove(name);
        }
    }
    if lines.iter().flat_map(tokens).any(|token| is(token, b"upgrade")) {
        headers.remove(HTTP2_SETTINGS);
    }
}

/// The words of a list.
pub(crate) fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Whether a value of `content-length` is one, and no more: digits that make a number.
#[cfg(feature = "client")]
pub(crate) fn is_length(value: &HeaderValue) -> bool {
    let begins = value.as_bytes().first().is_some_and(u8::is_ascii_digit);
    begins && value.to_str().is_ok_and(|digits| digits.parse::<u64>().is_ok())
}

/// Whether a value is this word, in any case.
pub(crate) fn is(value: &[u8], word: &[u8]) -> bool {
    value.eq_ignore_ascii_case(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that are left of these of a request, sorted.
    fn left(lines: &[(&'static str, &'static str)], drop: fn(&mut HeaderMap, bool)) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        drop(&mut headers, false);
        let line = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        let mut left: Vec<_> = headers.iter().map(line).collect();
        left.sort();
        left
    }

    #[test]
    fn of_what_a_client_takes_only_trailers_are_told_on() {
        for (lines, expected) in [
            (&["trailers"][..], &["te: trailers"][..]),
            (&["gzip, trailers"], &["te: trailers"]),
            (&["TRAILERS"], &[]),
            (&["gzip, Trailers"], &[]),
            (&["gzip", "trailers"], &["te: trailers"]),
            (&["trailers", "gzip"], &["te: trailers"]),
            (&["gzip", "deflate"], &[]),
            (&["trailers;q=0.5"], &[]),
            (&[""], &["te: "]),
            (&["", "gzip"], &[]),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| ("te", *line)).collect();
            assert_eq!(left(&lines, drop_hop_by_hop), expected, "{lines:?}");
        }
    }

    #[test]
    fn cookies_are_one_line() {
        let join = |headers: &mut HeaderMap, _| join_cookies(headers);
        let spread = [("cookie", "a=1"), ("x", "1"), ("cookie", "b=2; c=3")];
        assert_eq!(left(&spread, join), ["cookie: a=1; b=2; c=3", "x: 1"]);
        assert_eq!(left(&spread[..2], join), ["cookie: a=1", "x: 1"]);
        let empty = [("cookie", ""), ("cookie", ""), ("cookie", "a=1"), ("cookie", "")];
        assert_eq!(left(&empty, join), ["cookie: a=1; "]);
        assert_eq!((left(&empty[..2], join).len(), left(&empty[..1], join).len()), (0, 0));
    }

    #[test]
    fn what_connection_names_stays_with_a_tunnel() {
        let lines = [("connection", "keep-alive, Upgrade, x-a"), ("keep-alive", "1"), ("upgrade", "h2c"), ("x-a", "1")];
        let of_tunnel = |headers: &mut HeaderMap, _| drop_hop_by_hop(headers, true);
        let expected = ["connection: keep-alive, Upgrade, x-a", "upgrade: h2c", "x-a: 1"];
        assert_eq!(left(&lines, of_tunnel), expected);
        assert_eq!(left(&lines, drop_hop_by_hop), [""; 0]);
    }

    #[test]
    fn what_connection_names_goes_with_a_request() {
        let lines = [
            ("connection", "x-a, te, Content-Length"),
            ("connection", "host"),
            ("content-length", "3"),
            ("host", "a"),
            ("keep-alive", "1"),
            ("te", "trailers"),
            ("x-a", "1"),
            ("x-b", "1"),
        ];
        assert_eq!(left(&lines, drop_hop_by_hop), ["host: a", "te: trailers", "x-b: 1"]);
        let all_but_connection = ["content-length: 3", "host: a", "keep-alive: 1", "te: trailers", "x-a: 1", "x-b: 1"];
        assert_eq!(left(&lines, drop_hop_by_hop_of_response), all_but_connection);
    }
}
