//! Header lines that concern one connection only, which nobody hands on.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue};

const UPGRADING: HeaderValue = HeaderValue::from_static("Upgrade");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Drops the headers that concern one connection only (RFC 9110, 7.6.1); a tunnel keeps its `Upgrade`.
pub(crate) fn drop_hop_by_hop(headers: &mut HeaderMap, tunnel: bool) {
    // One look at the names, since most heads have none of these.
    if !headers.keys().any(is_of_a_hop) {
        return;
    }
    if headers.contains_key(CONNECTION) {
        drop_named(headers);
        if tunnel {
            headers.insert(CONNECTION, UPGRADING);
        } else {
            headers.remove(CONNECTION);
        }
    }
    if !tunnel {
        headers.remove(UPGRADE);
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    if let Some(te) = headers.get(TE) {
        let trailers = tokens(te).any(|token| is(token, b"trailers"));
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        } else {
            headers.remove(TE);
        }
    }
}

/// Whether HTTP/1.1's `Upgrade` names a WebSocket.
pub(crate) fn names_websocket(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|protocol| is(protocol.as_bytes(), b"websocket"))
}

/// Whether a header concerns one connection only.
pub(crate) fn is_of_a_hop(name: &HeaderName) -> bool {
    matches!(name.as_str(), "connection" | "upgrade" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "te")
}

/// Drops the headers that `Connection` names, but not those that say where the message goes and how long it is.
fn drop_named(headers: &mut HeaderMap) {
    let one = |value: &HeaderValue| is(value.as_bytes(), b"keep-alive") || is(value.as_bytes(), b"close");
    if headers.get_all(CONNECTION).iter().all(one) {
        return;
    }
    let lines: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
    for name in lines.iter().flat_map(tokens).filter_map(|token| HeaderName::from_bytes(token).ok()) {
        if ![CONNECTION, UPGRADE, TE, HOST, CONTENT_LENGTH].contains(&name) {
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

/// Whether a value is this word, in any case.
pub(crate) fn is(value: &[u8], word: &[u8]) -> bool {
    value.eq_ignore_ascii_case(word)
}
