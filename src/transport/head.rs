//! The head of a request, made fit for the protocol of its connection.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::ext::Protocol;

use super::failure;
use crate::outcome::FailureError;
use crate::service::hop::{drop_hop_by_hop, is, is_length, names_websocket};

const WEBSOCKET: &str = "websocket";

/// What a request wants its connection to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    /// One of the protocol that `Upgrade` names.
    Upgrade,
    /// A tunnel, by `CONNECT`.
    Tunnel,
}

impl Wish {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        if request.method() == Method::CONNECT {
            Self::Tunnel
        } else if request.headers().contains_key(UPGRADE) {
            Self::Upgrade
        } else {
            Self::Nothing
        }
    }

    /// Whether an answer with this status fulfills it. Nobody could read on who has not asked for another protocol.
    pub(super) fn is_met(self, status: StatusCode) -> Result<bool, FailureError> {
        match (self, status) {
            (Self::Upgrade, _) => Ok(status == StatusCode::SWITCHING_PROTOCOLS),
            (_, StatusCode::SWITCHING_PROTOCOLS) => Err(failure::of_unasked_switch()),
            (Self::Tunnel, _) => Ok(status.is_success()),
            (Self::Nothing, _) => Ok(false),
        }
    }
}

/// HTTP/1.1: the path alone in the request line, the authority in `Host`.
///
/// `authority` wins over the `Host` header, and that over `fallback`. The hop-by-hop headers of a request that came
/// as HTTP/1 stay: they may be the application's own will, and a proxy has removed its client's by now.
pub(super) fn to_http1<B>(request: &mut Request<B>, authority: Option<&Authority>, fallback: &Authority) {
    set_host(request.headers_mut(), authority, fallback);
    *request.version_mut() = Version::HTTP_11;
    let uri = std::mem::take(request.uri_mut());
    *request.uri_mut() = if request.method() == Method::CONNECT {
        Uri::from(authority.cloned().or_else(|| uri.authority().cloned()).unwrap_or_else(|| fallback.clone()))
    } else {
        Uri::from(path_of(uri))
    };
}

/// Says of a request what its method leaves open: without a body that it has none, where one is likely (RFC 9110, 8.6),
/// and with one that it is there, where hyper would take the method's word for it.
pub(super) fn say_body<B: Body>(request: &mut Request<B>) {
    let likely =
        !matches!(*request.method(), Method::GET | Method::HEAD | Method::DELETE | Method::TRACE | Method::CONNECT);
    let ends = request.body().is_end_stream();
    let headers = request.headers();
    if ends != likely || headers.contains_key(CONTENT_LENGTH) || likely && headers.contains_key(UPGRADE) {
        return;
    }
    if likely {
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    } else if request.body().size_hint().exact().is_none() && request.method() != Method::CONNECT {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Asks for a WebSocket as HTTP/2 does, by an extended `CONNECT` (RFC 8441), if HTTP/1.1's `Upgrade` asked for one.
pub(super) fn ask_by_stream<B>(request: &mut Request<B>) -> bool {
    let wish = names_websocket(request.headers());
    if wish {
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(Protocol::from_static(WEBSOCKET));
    }
    wish
}

/// Answers it as HTTP/1.1 does.
pub(super) fn answer_by_upgrade<B>(response: &mut Response<B>) {
    if response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
    }
}

/// HTTP/2: the authority in `:authority` and nowhere else, no header that is about the connection.
///
/// `authority` wins over the `Host` header, and that over `fallback`; `https` wins over the scheme of the URI. A `Host`
/// that no URI has a place for stays there, in front of a request of HTTP/1.1 that h2 translates (RFC 9113, 8.3.1). A wish
/// to upgrade is lost, unless it was asked for with [`ask_by_stream`] before.
pub(super) fn to_http2<B>(request: &mut Request<B>, authority: Option<&Authority>, fallback: &Authority, https: bool) {
    let authority = match (authority, request.headers().get(HOST)) {
        (Some(authority), _) => Some(authority.clone()),
        (None, Some(host)) => Authority::try_from(host.as_bytes()).ok(),
        (None, None) => Some(fallback.clone()),
    };
    drop_hop_by_hop(request.headers_mut(), false);
    let uri = std::mem::take(request.uri_mut());
    let connects = request.method() == Method::CONNECT && request.extensions().get::<Protocol>().is_none();
    let Some(authority) = authority.or_else(|| connects.then(|| fallback.clone())) else {
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = Uri::from(path_of(uri));
        return;
    };
    request.headers_mut().remove(HOST);
    *request.version_mut() = Version::HTTP_2;
    if connects {
        *request.uri_mut() = Uri::from(authority);
        return;
    }
    let mut parts = http::uri::Parts::default();
    let scheme = if https { Scheme::HTTPS } else { uri.scheme().cloned().unwrap_or(Scheme::HTTP) };
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    parts.path_and_query = Some(path_of(uri));
    // With all three of them it cannot fail.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

/// One that is empty, as of an HTTP/2 request whose path was but a fragment, is `/`.
fn path_of(uri: Uri) -> PathAndQuery {
    let path = uri.into_parts().path_and_query.filter(|path| path.as_str() != "/");
    path.unwrap_or_else(|| PathAndQuery::from_static("/"))
}

/// Whether a head says its length once at most: as by Envoy, two lines are one too many even if they say the same.
pub(crate) fn says_length_once(headers: &HeaderMap) -> bool {
    headers.len() == headers.keys_len() || headers.get_all(CONTENT_LENGTH).iter().nth(1).is_none()
}

/// Whether an answer of HTTP/1 says its length in one way only, and one that has no content says none: where another
/// reader would see another end, nobody can be told what it says. What a 304 says is the length of something else.
pub(super) fn is_sound(status: StatusCode, headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH);
    let empty = matches!(status, StatusCode::NO_CONTENT | StatusCode::SWITCHING_PROTOCOLS);
    match headers.get(TRANSFER_ENCODING) {
        None => length.is_none_or(|length| {
            let sound = match status {
                StatusCode::NOT_MODIFIED => true,
                _ if empty => length == "0",
                _ => is_length(length),
            };
            sound && says_length_once(headers)
        }),
        Some(coding) => {
            let only = headers.get_all(TRANSFER_ENCODING).iter().nth(1).is_none();
            only && !empty && length.is_none() && is(coding.as_bytes().trim_ascii(), b"chunked")
        }
    }
}

fn set_host(headers: &mut HeaderMap, authority: Option<&Authority>, fallback: &Authority) {
    let right = match (headers.get(HOST), authority) {
        (Some(host), Some(authority)) => host.as_bytes() == authority.as_str().as_bytes(),
        (Some(_), None) => true,
        (None, _) => false,
    };
    if !right && let Ok(host) = HeaderValue::from_str(authority.unwrap_or(fallback).as_str()) {
        headers.insert(HOST, host);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderName;
    use http_body_util::{BodyExt, Empty, Full};

    use super::*;

    fn fallback() -> Authority {
        Authority::from_static("10.0.0.1:80")
    }

    #[test]
    fn who_asked_for_another_protocol_may_get_it() {
        let wish = |method: &str, name: &str| {
            Wish::of(&Request::builder().method(method).uri("a.test:80").header(name, "websocket").body(()).unwrap())
        };
        let met = |wish: Wish| [101, 200, 403].map(|status| wish.is_met(StatusCode::from_u16(status).unwrap()).ok());
        assert_eq!(met(wish("GET", "upgrade")), [Some(true), Some(false), Some(false)]);
        assert_eq!(met(wish("CONNECT", "x-a")), [None, Some(true), Some(false)]);
        assert_eq!(met(wish("GET", "x-a")), [None, Some(false), Some(false)]);
    }

    #[test]
    fn an_answer_says_its_length_once() {
        for (lines, sound) in [
            (&[][..], true),
            (&[("content-length", "5")], true),
            (&[("transfer-encoding", "chunked")], true),
            (&[("content-length", "5, 5")], false),
            (&[("content-length", "5"), ("content-length", "5")], false),
            (&[("content-length", "5"), ("content-length", "7")], false),
            (&[("content-length", "")], false),
            (&[("content-length", "+5")], false),
            (&[("content-length", "99999999999999999999")], false),
            (&[("content-length", "5"), ("transfer-encoding", "chunked")], false),
            (&[("transfer-encoding", "gzip, chunked")], false),
            (&[("transfer-encoding", "gzip"), ("transfer-encoding", "chunked")], false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(is_sound(StatusCode::OK, &headers), sound, "{lines:?}");
        }
    }

    #[test]
    fn an_answer_without_content_says_no_length() {
        let with = |name: &'static str, value| {
            HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))])
        };
        for (headers, sound) in [
            (HeaderMap::new(), true),
            (with("content-length", "0"), true),
            (with("content-length", "5"), false),
            (with("content-length", "99999999999999999999"), false),
            (with("transfer-encoding", "chunked"), false),
        ] {
            for empty in [StatusCode::NO_CONTENT, StatusCode::SWITCHING_PROTOCOLS] {
                assert_eq!(is_sound(empty, &headers), sound, "{empty} {headers:?}");
            }
            assert!(is_sound(StatusCode::NOT_MODIFIED, &headers));
        }
        assert!(is_sound(StatusCode::OK, &with("transfer-encoding", "chunked")));
        let mut twice = with("content-length", "0");
        twice.append(CONTENT_LENGTH, HeaderValue::from_static("0"));
        assert!(!is_sound(StatusCode::NO_CONTENT, &twice) && !is_sound(StatusCode::NOT_MODIFIED, &twice));
    }

    #[test]
    fn what_the_method_leaves_open_is_said() {
        fn said<B: Body>(name: &str, method: &str, body: B) -> Vec<&'static str> {
            let mut request = Request::builder().method(method).header(name, "websocket").body(body).unwrap();
            say_body(&mut request);
            let names = [(CONTENT_LENGTH, "length"), (TRANSFER_ENCODING, "chunks")];
            names.iter().filter(|(name, _)| request.headers().contains_key(name)).map(|(_, word)| *word).collect()
        }
        let unknown = || BodyExt::map_frame(Full::new(Bytes::from_static(b"x")), |frame| frame);
        for (method, empty, whole, stream) in [
            ("GET", "", "", "chunks"),
            ("OPTIONS", "length", "", ""),
            ("DELETE", "", "", "chunks"),
            ("CONNECT", "", "", ""),
        ] {
            assert_eq!(said("x-a", method, Empty::<Bytes>::new()).concat(), empty, "{method}");
            assert_eq!(said("x-a", method, Full::new(Bytes::from_static(b"x"))).concat(), whole, "{method}");
            assert_eq!(said("x-a", method, unknown()).concat(), stream, "{method}");
        }
        // Who asks for a tunnel has none unless it is there.
        for (method, stream) in [("GET", "chunks"), ("POST", "")] {
            assert_eq!(said("upgrade", method, Empty::<Bytes>::new()).concat(), "", "{method}");
            assert_eq!(said("upgrade", method, unknown()).concat(), stream, "{method}");
        }
    }

    #[test]
    fn http2_becomes_http1() {
        let mut request = Request::get("http://10.0.0.1:80/a?b=c")
            .version(Version::HTTP_2)
            .header("host", "a.test")
            .body(())
            .unwrap();
        to_http1(&mut request, Some(&Authority::from_static("b.test")), &fallback());
        assert_eq!((request.uri(), request.version()), (&Uri::from_static("/a?b=c"), Version::HTTP_11));
        assert_eq!(request.headers()["host"], "b.test");
    }

    #[test]
    fn http1_becomes_http2() {
        let mut request = Request::post("http://10.0.0.1:80/a")
            .header("host", "a.test:8080")
            .header("connection", "close, x-mine, TE")
            .header("keep-alive", "1")
            .header("proxy-connection", "1")
            .header("transfer-encoding", "chunked")
            .header("upgrade", "websocket")
            .header("te", "gzip, trailers")
            .header("x-mine", "1")
            .header("x-other", "1")
            .body(())
            .unwrap();
        to_http2(&mut request, None, &fallback(), false);
        assert_eq!(request.uri(), "http://a.test:8080/a");
        let mut headers: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        headers.sort_unstable();
        assert_eq!((headers, &request.headers()["te"]), (vec!["te", "x-other"], &HeaderValue::from_static("trailers")));
    }

    #[test]
    fn the_host_header_stays_if_nobody_says_otherwise() {
        let mut request = Request::get("http://10.0.0.1:80").header("host", "a.test").body(()).unwrap();
        to_http1(&mut request, None, &fallback());
        assert_eq!((request.uri(), &request.headers()["host"]), (&Uri::from_static("/"), &"a.test".parse().unwrap()));

        let mut request = Request::get("/x").body(()).unwrap();
        to_http1(&mut request, None, &fallback());
        assert_eq!(request.headers()["host"], "10.0.0.1:80");
    }

    #[test]
    fn connect_keeps_the_authority_form() {
        let mut request = Request::connect("10.0.0.1:80").body(()).unwrap();
        to_http1(&mut request, Some(&Authority::from_static("a.test:443")), &fallback());
        assert_eq!(request.uri(), "a.test:443");
        to_http2(&mut request, Some(&Authority::from_static("a.test:443")), &fallback(), false);
        assert_eq!((request.uri().authority().unwrap().as_str(), request.uri().scheme()), ("a.test:443", None));
    }
}
