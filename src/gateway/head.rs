//! What an HTTP proxy does to heads: drops what belongs to one hop, says who called.
//!
//! It follows Envoy's connection manager as Istio configures it at a gateway (`use_remote_address`).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, REFERER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SERVER, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::ext::Protocol;

use super::door::Admitted;
use super::forwarded;
use super::referer;
use super::session::Session;
use crate::dice::Draws;
use crate::route::one_line::{self, Side};
use crate::service::hop::{
    PROXY_CONNECTION, drop_hop_by_hop, drop_hop_by_hop_of_response, is, is_length, is_of_a_hop, join_cookies, tokens,
};
use crate::service::https::bare;
use crate::service::names::UPSTREAM_SERVICE_TIME;

const ISTIO_ENVOY: HeaderValue = HeaderValue::from_static("istio-envoy");
const X_FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const CLOSE: HeaderValue = HeaderValue::from_static("close");
const UPGRADING: HeaderValue = HeaderValue::from_static("upgrade");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The headers with which a client could steer the proxy; what follows `x-envoy-`.
const STEERING: [&str; 22] = [
    "decorator-operation",
    "downstream-service-cluster",
    "downstream-service-node",
    "expected-rq-timeout-ms",
    "external-address",
    "force-trace",
    "hedge-on-per-try-timeout",
    "internal",
    "ip-tags",
    "max-retries",
    "original-host",
    "original-path",
    "original-url",
    "retriable-header-names",
    "retriable-status-codes",
    "retry-grpc-on",
    "retry-on",
    "upstream-alt-stat-name",
    "upstream-rq-per-try-timeout-ms",
    "upstream-rq-timeout-alt-response",
    "upstream-rq-timeout-ms",
    "upstream-stream-duration-ms",
];

/// Prepares the head of a request that was admitted for the next hop.
pub(super) fn forward(headers: &mut HeaderMap, admitted: Admitted, session: &Session) {
    // What is one line to Envoy is judged as one.
    one_line::join(headers, Side::Request);
    // One look at the names, since most requests have none of these.
    if headers.keys().any(is_ours) {
        if asks_to_close(headers) {
            session.leave();
        }
        clean(headers, admitted);
    }
    if let Some(client_cert) = &session.client_cert {
        headers.insert(X_FORWARDED_CLIENT_CERT, client_cert.clone());
    }
    headers.reserve(4);
    forwarded::announce(headers, session);
    headers.insert(X_REQUEST_ID, request_id(&mut session.dice.draws()));
}

/// Who asks is not part of where to: `user:password@` of a URL.
pub(super) fn forget_user(uri: &mut Uri) {
    let named = uri.authority().filter(|authority| authority.as_str().contains('@'));
    let Some(host) = named.cloned().and_then(bare) else { return };
    let mut parts = std::mem::take(uri).into_parts();
    parts.authority = Some(host);
    // With an authority of the same kind it cannot fail.
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

/// Whether a client wants its connection closed, by a word that hyper does not know.
fn asks_to_close(headers: &HeaderMap) -> bool {
    headers.get_all(PROXY_CONNECTION).iter().flat_map(tokens).any(|token| is(token, b"close"))
}

/// Whether a header ends here, or may.
fn is_ours(name: &HeaderName) -> bool {
    let text = name.as_str();
    is_of_a_hop(name)
        || matches!(text, "expect" | "referer" | "x-forwarded-client-cert")
        || text.starts_with("x-envoy-")
}

/// Drops what is for this hop, and what would steer us or lie about the client.
fn clean(headers: &mut HeaderMap, admitted: Admitted) {
    drop_hop_by_hop(headers, admitted != Admitted::Plain);
    if headers.get(EXPECT).is_some_and(|value| is(value.as_bytes(), b"100-continue")) {
        // The promise is between the client and us: hyper answers it when the body is asked for.
        headers.remove(EXPECT);
    }
    if headers.get(REFERER).is_some_and(|referer| !referer::is_sound(referer.as_bytes())) {
        headers.remove(REFERER);
    }
    drop_steering(headers);
    headers.remove(X_FORWARDED_CLIENT_CERT);
}

/// Asks for a tunnel as HTTP/1.1 does, which is how endpoints are asked; the version stays that of the client. Whether its
/// key is ours is told.
pub(super) fn ask_by_upgrade<B>(request: &mut Request<B>, session: &Session) -> bool {
    *request.method_mut() = Method::GET;
    let protocol = request.extensions_mut().remove::<Protocol>();
    let protocol = protocol.and_then(|protocol| HeaderValue::from_bytes(protocol.as_ref()).ok());
    let headers = request.headers_mut();
    join_cookies(headers);
    headers.insert(CONNECTION, UPGRADING);
    headers.insert(UPGRADE, protocol.unwrap_or(HeaderValue::from_static("websocket")));
    // HTTP/2 needs no proof that the other side means it, HTTP/1.1 does.
    let keyless = !headers.contains_key(SEC_WEBSOCKET_KEY);
    if keyless {
        let mut draws = session.dice.draws();
        let key = [draws.next_u64().to_ne_bytes(), draws.next_u64().to_ne_bytes()].concat();
        if let Ok(key) = HeaderValue::from_maybe_shared(BASE64_STANDARD.encode(key)) {
            headers.insert(SEC_WEBSOCKET_KEY, key);
        }
    }
    keyless
}

/// Prepares the head of an answer that is no tunnel: the connection, on which one was asked for, ends with it.
pub(super) fn refuse_tunnel(headers: &mut HeaderMap, http2: bool) {
    headers.remove(UPSTREAM_SERVICE_TIME);
    if !http2 {
        headers.insert(CONNECTION, CLOSE);
    }
}

/// Answers that the tunnel is there as HTTP/2 does, which says no length of it, without the proof for a key of ours.
pub(super) fn answer_by_stream<B>(response: &mut Response<B>, keyless: bool) {
    *response.status_mut() = StatusCode::OK;
    for name in [CONNECTION, UPGRADE, CONTENT_LENGTH] {
        response.headers_mut().remove(name);
    }
    if keyless {
        response.headers_mut().remove(SEC_WEBSOCKET_ACCEPT);
    }
}

/// Prepares the head of a response for the client.
pub(super) fn backward(headers: &mut HeaderMap, switching: bool) {
    drop_hop_by_hop_of_response(headers, switching);
    keep_one_length(headers);
    if switching {
        headers.remove(UPSTREAM_SERVICE_TIME);
    }
    one_line::join(headers, Side::Response);
    headers.insert(SERVER, ISTIO_ENVOY);
}

/// Leaves a head the first length that is one: a rule may have added another, or what is none, and hyper would close the
/// connection without an answer. The first is the endpoint's, which is what comes.
fn keep_one_length(headers: &mut HeaderMap) {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => return,
        (Some(only), None) if is_length(only) => return,
        _ => {}
    }
    let first = headers.get_all(CONTENT_LENGTH).iter().find(|length| is_length(length)).cloned();
    match first {
        Some(first) => headers.insert(CONTENT_LENGTH, first),
        None => headers.remove(CONTENT_LENGTH),
    };
}

fn drop_steering(headers: &mut HeaderMap) {
    let steers =
        |name: &&HeaderName| name.as_str().strip_prefix("x-envoy-").is_some_and(|rest| STEERING.contains(&rest));
    while let Some(name) = headers.keys().find(steers).cloned() {
        headers.remove(name);
    }
}

/// A random UUID (RFC 9562, version 4).
fn request_id(draws: &mut Draws) -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&draws.next_u64().to_ne_bytes());
    bytes[8..].copy_from_slice(&draws.next_u64().to_ne_bytes());
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = [b'-'; 36];
    // Groups of 4, 2, 2, 2 and 6 bytes.
    let groups = [(0..8, 0..4), (9..13, 4..6), (14..18, 6..8), (19..23, 8..10), (24..36, 10..16)];
    for (digits, bytes_of) in groups {
        for (pair, byte) in text[digits].chunks_exact_mut(2).zip(&bytes[bytes_of]) {
            pair.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use http::Version;

    use super::super::door::{self, tests::request};
    use super::*;

    fn map(headers: &[(&str, &str)]) -> HeaderMap {
        request("/", Version::HTTP_11, headers).into_parts().0.headers
    }

    /// The headers as `name: value` lines, sorted, without the request's number.
    fn lines(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<_> = headers
            .iter()
            .filter(|(name, _)| *name != X_REQUEST_ID)
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn what_belongs_to_one_hop_is_dropped() {
        let added = ["x-envoy-external-address: 192.0.2.7", "x-forwarded-for: 192.0.2.7", "x-forwarded-proto: http"];
        for (before, after) in [
            (vec![("connection", "keep-alive"), ("keep-alive", "timeout=5")], vec![]),
            (vec![("connection", "close, x-secret"), ("x-secret", "1"), ("x-other", "2")], vec!["x-other: 2"]),
            (vec![("connection", "content-length"), ("host", "a"), ("content-length", "1")], vec!["host: a"]),
            (vec![("proxy-connection", "keep-alive"), ("transfer-encoding", "chunked")], vec![]),
            (vec![("te", "gzip, trailers")], vec!["te: trailers"]),
            (vec![("te", "gzip")], vec![]),
            (vec![("upgrade", "h2c"), ("connection", "upgrade, http2-settings"), ("http2-settings", "x")], vec![]),
            (vec![("expect", "100-Continue")], vec![]),
            (
                vec![("x-envoy-retry-on", "5xx"), ("x-envoy-upstream-stream-duration-ms", "1"), ("x-envoy-own", "1")],
                vec!["x-envoy-own: 1"],
            ),
            (vec![("x-forwarded-client-cert", "forged"), ("x-forwarded-host", "b")], vec!["x-forwarded-host: b"]),
        ] {
            let mut headers = map(&before);
            forward(&mut headers, Admitted::Plain, &Session::for_tests());
            let mut expected: Vec<_> = after.iter().chain(&added).map(|line| (*line).to_owned()).collect();
            expected.sort();
            assert_eq!(lines(&headers), expected);
        }
    }

    #[test]
    fn the_caller_is_appended_and_the_rest_is_not_believed() {
        let mut headers = map(&[
            ("x-forwarded-for", "10.0.0.1, 10.0.0.2"),
            ("x-forwarded-for", "10.0.0.3"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", "mine"),
            ("x-envoy-external-address", "6.6.6.6"),
        ]);
        forward(&mut headers, Admitted::Plain, &Session::for_tests());
        assert_eq!(
            lines(&headers),
            [
                "x-envoy-external-address: 192.0.2.7",
                "x-forwarded-for: 10.0.0.1, 10.0.0.2,10.0.0.3,192.0.2.7",
                "x-forwarded-proto: http",
            ]
        );
        assert_ne!(headers[X_REQUEST_ID], "mine");
    }

    #[test]
    fn a_tunnel_keeps_its_upgrade() {
        let mut headers = map(&[("connection", "keep-alive, Upgrade, x-a"), ("x-a", "1"), ("upgrade", "websocket")]);
        forward(&mut headers, Admitted::Upgrade(door::Protocol::WebSocket), &Session::for_tests());
        assert_eq!(headers[CONNECTION], "keep-alive, Upgrade, x-a");
        assert_eq!((&headers[UPGRADE], &headers["x-a"]), (&"websocket".parse().unwrap(), &"1".parse().unwrap()));
    }

    #[test]
    fn a_tunnel_of_http2_is_asked_for_and_answered_in_both_languages() {
        let protocol = Protocol::from_static("websocket");
        let connect = Request::connect("http://a.test/chat").version(Version::HTTP_2).extension(protocol);
        let mut request = connect.header("cookie", "a=1").header("cookie", "b=2").body(()).unwrap();
        assert!(ask_by_upgrade(&mut request, &Session::for_tests()));
        assert!(!ask_by_upgrade(&mut request, &Session::for_tests()), "it has a key");
        forward(request.headers_mut(), Admitted::Stream(door::Protocol::WebSocket), &Session::for_tests());
        assert_eq!((request.method(), request.version()), (&Method::GET, Version::HTTP_2));
        assert_eq!(request.headers()[CONNECTION], "upgrade");
        assert_eq!(request.headers()[UPGRADE], "websocket");
        assert_eq!(request.headers()[SEC_WEBSOCKET_KEY].len(), 24);
        assert_eq!(request.headers().get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
        for (keyless, left) in [(false, 1), (true, 0)] {
            let response = Response::builder().status(101).header("upgrade", "websocket").header("content-length", "5");
            let mut response = response.header("sec-websocket-accept", "proof").body(()).unwrap();
            answer_by_stream(&mut response, keyless);
            assert_eq!((response.status().as_u16(), response.headers().len()), (200, left));
        }
    }

    #[test]
    fn another_tunnel_of_http2_is_asked_for_by_its_name() {
        let connect = Request::connect("http://a.test/").extension(Protocol::from_static("connect-ip"));
        let mut request = connect.body(()).unwrap();
        ask_by_upgrade(&mut request, &Session::for_tests());
        forward(request.headers_mut(), Admitted::Stream(door::Protocol::Other), &Session::for_tests());
        assert_eq!(request.headers()[UPGRADE], "connect-ip");
    }

    #[test]
    fn responses_lose_their_hop_and_say_who_answers() {
        let mut headers =
            map(&[("connection", "close"), ("proxy-connection", "1"), ("server", "nginx"), ("etag", "x")]);
        backward(&mut headers, false);
        assert_eq!(lines(&headers), ["etag: x", "server: istio-envoy"]);
        let mut headers = map(&[("connection", "upgrade, x-mine"), ("upgrade", "websocket"), ("x-mine", "1")]);
        backward(&mut headers, true);
        let expected = ["connection: upgrade, x-mine", "server: istio-envoy", "upgrade: websocket", "x-mine: 1"];
        assert_eq!(lines(&headers), expected);
    }

    #[test]
    fn a_response_says_one_length_at_most() {
        for (lengths, left) in [
            (&[][..], None),
            (&["3"], Some("3")),
            (&["3", "3"], Some("3")),
            (&["3", "5"], Some("3")),
            (&["x", "5"], Some("5")),
            (&["3, 3"], None),
            (&["x", ""], None),
        ] {
            let mut headers = map(&lengths.iter().map(|length| ("content-length", *length)).collect::<Vec<_>>());
            backward(&mut headers, false);
            let said: Vec<_> = headers.get_all(CONTENT_LENGTH).iter().collect();
            assert_eq!(said, Vec::from_iter(left), "{lengths:?}");
        }
    }

    #[test]
    fn a_url_says_where_to_and_not_who() {
        for (url, expected) in [
            ("http://me:secret@a.test:81/x?y=@", "http://a.test:81/x?y=@"),
            ("http://me@[::1]/", "http://[::1]/"),
            ("http://a.test/@", "http://a.test/@"),
            ("/a@b", "/a@b"),
        ] {
            let mut uri: Uri = url.parse().unwrap();
            forget_user(&mut uri);
            assert_eq!(uri.to_string(), expected);
        }
    }

    #[test]
    fn request_ids_are_uuids_of_version_4() {
        let id = request_id(&mut crate::dice::Dice::seeded(4).draws());
        let id = id.to_str().unwrap();
        let groups: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12], "{id}");
        assert_eq!(&id[14..15], "4");
        assert!("89ab".contains(&id[19..20]), "{id}");
    }
}
