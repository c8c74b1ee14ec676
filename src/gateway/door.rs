//! Who is let in: [`admit`] refuses what Envoy refuses before any rule is asked.

use http::header::{CONNECTION, TE, UPGRADE};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version};
use hyper::ext;

use super::framing::Flaw;
use super::refused::Refused;
use super::target;
use crate::request::begins_with_query;
use crate::service::hop::{is, tokens};
use crate::transport::bounds::{MAX_HEAD, MAX_LINES};
use crate::transport::head::says_length_once;

/// The most words that `Connection` may have, all its lines together.
const MAX_NAMED: usize = 9;
/// How long `te` may be if `Connection` names it.
const MAX_CODINGS: usize = 255;
/// What it may not name.
const NOT_TO_NAME: [&[u8]; 3] = [b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"];

/// Whether a request that may pass asks for a tunnel, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    Plain,
    /// By `Upgrade` (RFC 6455).
    Upgrade(Protocol),
    /// By an extended `CONNECT` of HTTP/2 (RFC 8441).
    Stream(Protocol),
}

/// What is to be spoken in a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    WebSocket,
    /// None that is served: whoever asks for it is refused by the rule that takes the request.
    Other,
}

impl Protocol {
    /// What is asked for by this name at `path`.
    fn of(name: &[u8], path: &str) -> Result<Self, Refused> {
        if is(name, b"websocket") {
            Ok(Self::WebSocket)
        } else if !is(name, b"connect-udp") {
            Ok(Self::Other)
        } else if names_host_and_port(path) {
            // A rule would have to match it by `connect_matcher`, which Istio has no word for.
            Err(Refused::with(StatusCode::NOT_FOUND))
        } else {
            Err(Refused(StatusCode::NOT_FOUND, "The path is incorrect for CONNECT-UDP"))
        }
    }
}

/// Whether a request may pass, which has come with this flaw, before anything is changed; a target of `https` only if it
/// [may be one](super::session::Session::may_be_https).
pub(super) fn admit<B>(request: &Request<B>, flaw: Option<Flaw>, may_be_https: bool) -> Result<Admitted, Refused> {
    let headers = request.headers();
    let http1 = request.version() < Version::HTTP_2;
    if http1 && !is_known(request.method()) {
        return Err(Refused::BY_CODEC);
    }
    if request.version() < Version::HTTP_11 {
        return Err(Flaw::Version.into());
    }
    if let Some(flaw) = flaw {
        return Err(flaw.into());
    }
    if http1 {
        target::check(request, may_be_https)?;
    }
    // Heads of HTTP/1.1 are weighed as they come.
    let is_too_large = if http1 { headers.len() > MAX_LINES } else { is_too_large(request) };
    if is_too_large {
        return Err(Refused::TOO_LARGE);
    }
    target::check_host(request)?;
    if !says_length_once(headers) {
        return Err(Refused::BY_CODEC);
    }
    if request.method() == Method::CONNECT {
        let protocol = request.extensions().get::<ext::Protocol>();
        let protocol = protocol.ok_or(Refused::with(StatusCode::NOT_FOUND))?.as_ref();
        return Protocol::of(protocol, request.uri().path()).map(Admitted::Stream);
    }
    let path = request.uri().path();
    if path == "*" && request.method() != Method::OPTIONS {
        return Err(if http1 { Refused::BY_CODEC } else { Refused::with(StatusCode::BAD_REQUEST) });
    }
    if !matches!(path.as_bytes().first(), Some(b'/' | b'*')) || begins_with_query(request.uri()) {
        return Err(Refused::with(StatusCode::NOT_FOUND));
    }
    // Most requests have none, and then they ask for no upgrade either.
    if !headers.contains_key(CONNECTION) {
        return Ok(Admitted::Plain);
    }
    match upgrade(headers).filter(|protocol| !is(protocol, b"h2c")) {
        None => check_connection(headers).map(|()| Admitted::Plain),
        Some(protocol) => Protocol::of(protocol, path).map(Admitted::Upgrade),
    }
}

/// Whether Envoy's parser of HTTP/1.1 takes a method.
fn is_known(method: &Method) -> bool {
    const OTHERS: [&str; 25] = [
        "ACL",
        "BIND",
        "CHECKOUT",
        "COPY",
        "LINK",
        "LOCK",
        "MERGE",
        "MKACTIVITY",
        "MKCALENDAR",
        "MKCOL",
        "MOVE",
        "MSEARCH",
        "NOTIFY",
        "PROPFIND",
        "PROPPATCH",
        "PURGE",
        "REBIND",
        "REPORT",
        "SEARCH",
        "SOURCE",
        "SUBSCRIBE",
        "UNBIND",
        "UNLINK",
        "UNLOCK",
        "UNSUBSCRIBE",
    ];
    let usual = matches!(
        *method,
        Method::GET
            | Method::POST
            | Method::PUT
            | Method::DELETE
            | Method::HEAD
            | Method::OPTIONS
            | Method::PATCH
            | Method::CONNECT
            | Method::TRACE
    );
    usual || OTHERS.contains(&method.as_str())
}

/// Whether a path says where UDP is to go (RFC 9298, 3).
fn names_host_and_port(path: &str) -> bool {
    let ends = path.strip_prefix("/.well-known/masque/udp/").and_then(|ends| ends.strip_suffix('/'));
    let ends = ends.and_then(|ends| ends.split_once('/'));
    ends.is_some_and(|(host, port)| !host.is_empty() && !port.is_empty() && !port.contains('/'))
}

/// Whether a request of HTTP/2 has more lines or more bytes in them than one may, its pseudo-headers among them.
fn is_too_large<B>(request: &Request<B>) -> bool {
    let uri = request.uri();
    let pseudo = [
        (":method", Some(request.method().as_str())),
        (":scheme", uri.scheme_str()),
        (":authority", uri.authority().map(Authority::as_str)),
        (":path", uri.path_and_query().map(PathAndQuery::as_str)),
        (":protocol", request.extensions().get().map(ext::Protocol::as_str)),
    ];
    let pseudo = pseudo.into_iter().filter_map(|(name, value)| Some(name.len() + value?.len()));
    let others = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
    let (lines, bytes) = pseudo.chain(others).fold((0, 0), |(lines, bytes), line| (lines + 1, bytes + line));
    lines > MAX_LINES || bytes > MAX_HEAD
}

/// What `Connection` names ends here: little enough, and nothing that says whose request it is or where it goes.
fn check_connection(headers: &HeaderMap) -> Result<(), Refused> {
    let mut names_host = false;
    for (number, name) in headers.get_all(CONNECTION).iter().flat_map(tokens).enumerate() {
        let forwarded = || NOT_TO_NAME.iter().any(|forwarded| is(name, forwarded));
        let long = || is(name, b"te") && headers.get(TE).is_some_and(|codings| codings.len() > MAX_CODINGS);
        if number >= MAX_NAMED || name.starts_with(b":") || forwarded() || long() {
            return Err(Refused::BY_CODEC);
        }
        names_host |= is(name, b"host");
    }
    if names_host { Err(Refused::with(StatusCode::BAD_REQUEST)) } else { Ok(()) }
}

/// The protocol of an upgrade that is really asked for: `Upgrade` counts only if `Connection` names it. Several lines that
/// say something are a list, by whose name nothing goes.
fn upgrade(headers: &HeaderMap) -> Option<&[u8]> {
    let named = || headers.get_all(CONNECTION).iter().any(|value| tokens(value).any(|token| is(token, b"upgrade")));
    if !headers.contains_key(UPGRADE) || !named() {
        return None;
    }
    let mut lines = headers.get_all(UPGRADE).iter().map(HeaderValue::as_bytes).filter(|line| !line.is_empty());
    lines.next().filter(|_| lines.next().is_none()).or(Some(b""))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn request(target: &str, version: Version, headers: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().uri(target).version(version);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn connection_may_not_name_everything() {
        let nine = "a,b,c,d,,e,f,g,h,i";
        let long = "x".repeat(256);
        for (headers, refused) in [
            (vec![("connection", nine)], None),
            (vec![("connection", nine), ("connection", "close")], Some("Bad Request")),
            (vec![("connection", "close, X-Forwarded-For")], Some("Bad Request")),
            (vec![("connection", ":path")], Some("Bad Request")),
            (vec![("connection", "te"), ("te", "trailers")], None),
            (vec![("connection", "te"), ("te", &long)], Some("Bad Request")),
            (vec![("te", &long)], None),
            (vec![("connection", "host")], Some("")),
            (vec![("connection", "upgrade, host"), ("upgrade", "websocket")], None),
            (vec![("connection", "upgrade, host"), ("upgrade", "h2c")], Some("")),
        ] {
            let headers = [&[("host", "a")][..], &headers].concat();
            let admitted = admit(&request("/", Version::HTTP_11, &headers), None, false);
            let expected = refused.map(|words| Refused(StatusCode::BAD_REQUEST, words));
            assert_eq!(admitted.err(), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_head_of_http2_is_weighed_with_its_pseudo_headers() {
        let admitted = |headers: &[(&str, &str)]| admit(&request("http://a/", Version::HTTP_2, headers), None, false);
        let left = MAX_HEAD - ":methodGET:schemehttp:authoritya:path/b".len();
        let big = "x".repeat(left + 1);
        assert_eq!(admitted(&[("b", &big[1..])]), Ok(Admitted::Plain));
        assert_eq!(admitted(&[("b", &big)]), Err(Refused::TOO_LARGE));
        assert_eq!(admitted(&[("b", ""); MAX_LINES - 4]), Ok(Admitted::Plain));
        assert_eq!(admitted(&[("b", ""); MAX_LINES - 3]), Err(Refused::TOO_LARGE));
    }

    #[test]
    fn bad_requests_are_refused_at_the_door() {
        let many: Vec<_> = (0..100).map(|_| ("a", "b")).chain([("host", "a")]).collect();
        let big = "x".repeat(MAX_HEAD);
        let websocket = [("host", "a"), ("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        let listed = |first, second| [&websocket[..2], &[("upgrade", first), ("upgrade", second)]].concat();
        let other = Ok(Admitted::Upgrade(Protocol::Other));
        for (target, version, headers, expected) in [
            ("/", Version::HTTP_11, vec![("host", "a")], Ok(Admitted::Plain)),
            ("/", Version::HTTP_10, vec![("host", "a")], Err(426)),
            ("/", Version::HTTP_11, vec![], Err(400)),
            ("/", Version::HTTP_11, vec![("host", "")], Ok(Admitted::Plain)),
            ("/", Version::HTTP_11, vec![("host", "a b")], Err(400)),
            ("/", Version::HTTP_11, vec![("host", "a"), ("host", "a")], Err(400)),
            ("http://a/", Version::HTTP_11, vec![], Ok(Admitted::Plain)),
            ("http://a/", Version::HTTP_2, vec![], Ok(Admitted::Plain)),
            ("a:80", Version::HTTP_11, vec![("host", "a")], Err(400)),
            ("/\u{e4}", Version::HTTP_11, vec![("host", "a")], Err(400)),
            ("/?\u{e4}", Version::HTTP_11, vec![("host", "a")], Err(400)),
            ("/\u{e4}", Version::HTTP_2, vec![("host", "a")], Ok(Admitted::Plain)),
            ("*", Version::HTTP_11, vec![("host", "a")], Err(400)),
            ("/", Version::HTTP_2, vec![("host", "a"), ("content-length", "3"), ("content-length", "3")], Err(400)),
            ("/", Version::HTTP_11, many, Err(431)),
            ("/", Version::HTTP_11, vec![("host", "a"), ("b", &big)], Ok(Admitted::Plain)),
            ("/", Version::HTTP_11, websocket.to_vec(), Ok(Admitted::Upgrade(Protocol::WebSocket))),
            ("/", Version::HTTP_11, listed("websocket", "websocket"), other),
            ("/", Version::HTTP_11, listed("h2c", "websocket"), other),
            ("/", Version::HTTP_11, listed("connect-udp", "h2c"), other),
            ("/", Version::HTTP_11, listed("", ""), other),
            ("/", Version::HTTP_11, listed("", "websocket"), Ok(Admitted::Upgrade(Protocol::WebSocket))),
            ("/", Version::HTTP_11, listed("h2c", ""), Ok(Admitted::Plain)),
            ("/", Version::HTTP_11, vec![("host", "a"), ("upgrade", "foo")], Ok(Admitted::Plain)),
            (
                "/",
                Version::HTTP_11,
                vec![("host", "a"), ("connection", "upgrade"), ("upgrade", "foo")],
                Ok(Admitted::Upgrade(Protocol::Other)),
            ),
            (
                "/",
                Version::HTTP_11,
                vec![("host", "a"), ("connection", "upgrade"), ("upgrade", "Connect-UDP")],
                Err(404),
            ),
            (
                "/",
                Version::HTTP_11,
                vec![("host", "a"), ("connection", "upgrade, http2-settings"), ("upgrade", "h2c")],
                Ok(Admitted::Plain),
            ),
        ] {
            let admitted =
                admit(&request(target, version, &headers), None, false).map_err(|refused| refused.0.as_u16());
            assert_eq!(admitted, expected, "{target} {version:?} {:?}", headers.first());
        }
        let connect = Request::connect("a:80").header("host", "a").body(()).unwrap();
        assert_eq!(admit(&connect, None, false), Err(Refused::with(StatusCode::NOT_FOUND)));
        let misled = Refused(StatusCode::NOT_FOUND, "The path is incorrect for CONNECT-UDP");
        for (protocol, path, expected) in [
            ("websocket", "/chat", Ok(Admitted::Stream(Protocol::WebSocket))),
            ("connect-ip", "/chat", Ok(Admitted::Stream(Protocol::Other))),
            ("connect-udp", "/chat", Err(misled)),
            ("connect-udp", "/.well-known/masque/udp/b/", Err(misled)),
            ("connect-udp", "/.well-known/masque/udp/b/53/", Err(Refused::with(StatusCode::NOT_FOUND))),
        ] {
            let connect = Request::connect(format!("http://a{path}")).version(Version::HTTP_2);
            let connect = connect.extension(ext::Protocol::from_static(protocol));
            assert_eq!(admit(&connect.body(()).unwrap(), None, false), expected, "{protocol} {path}");
        }
    }
}
