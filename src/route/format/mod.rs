//! Values that are written anew for each request: Envoy's command operators ([`Format`]).
//!
//! | command | what it stands for |
//! |---|---|
//! | `%%` | a percent sign |
//! | `%REQ(A?B):9%` | the first line of the request header `A`, else of `B`, cut off after 9 bytes; `:method`, `:path`, `:authority` and `:scheme` too |
//! | `%REQ_WITHOUT_QUERY(A?B):9%` | the same without what follows a `?` |
//! | `%RESP(A?B):9%` | the same of the response |
//! | `%PROTOCOL%` | `HTTP/1.1` or `HTTP/2` |
//! | `%RESPONSE_CODE%`, `%RESPONSE_CODE_DETAILS%`, `%RESPONSE_FLAGS%` | of the response so far: `0`, nothing and `-` before there is one; the code of an answer made here is `0` |
//! | `%DOWNSTREAM_REMOTE_ADDRESS%` and `_WITHOUT_PORT`, `%DOWNSTREAM_REMOTE_PORT%` | the client, `DOWNSTREAM_DIRECT_REMOTE_...` too |
//! | `%DOWNSTREAM_LOCAL_ADDRESS%` and `_WITHOUT_PORT`, `%DOWNSTREAM_LOCAL_PORT%` | this side of its connection, `DOWNSTREAM_DIRECT_LOCAL_...` too |
//! | `%DOWNSTREAM_TLS_VERSION%`, `%DOWNSTREAM_TLS_CIPHER%`, `%REQUESTED_SERVER_NAME%` | its TLS |
//! | `%DOWNSTREAM_PEER_SUBJECT%`, `_ISSUER`, `_SERIAL`, `_FINGERPRINT_256`, `_FINGERPRINT_1`, `_CERT`, `_CERT_V_START`, `_CERT_V_END`, `_URI_SAN`, `_DNS_SAN`, `_IP_SAN`, `_EMAIL_SAN` | the certificate that the client showed; the two times take formats as `%START_TIME%` does |
//! | `%DOWNSTREAM_LOCAL_SUBJECT%`, `_URI_SAN`, `_DNS_SAN`, `_IP_SAN`, `_EMAIL_SAN` | the one that it was shown |
//! | `%PATH%`, `%PATH(NQ)%`, `%PATH(WQ:PATH):9%` | the path with its query or without (`NQ`): as it came (`ORIG`, only if it was rewritten), as it is sent (`PATH`), or the first of both |
//! | `%UPSTREAM_HOST%`, `%UPSTREAM_CLUSTER%`, `%ROUTE_NAME%` | where the request goes, `UPSTREAM_CLUSTER_RAW` too |
//! | `%UPSTREAM_REMOTE_ADDRESS%` and `_WITHOUT_PORT`, `%UPSTREAM_REMOTE_PORT%` | the endpoint |
//! | `%UPSTREAM_REQUEST_ATTEMPT_COUNT%` | how many tries there were |
//! | `%START_TIME%`, `%START_TIME(%Y-%m-%d)%`, `%EMIT_TIME%` | when it came, in UTC; now |
//! | `%DURATION%` | milliseconds since it came |
//! | `%HOSTNAME%`, `%ENVIRONMENT(NAME):9%` | of this process when the rule was read |
//!
//! What is not there is written as nothing.

mod address;
mod command;
mod time;
mod tls_fact;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName};
use http::{StatusCode, Version};

use command::Command;

use crate::request::DownstreamTls;

/// A text with commands in it.
///
/// ```
/// use http::HeaderMap;
/// use mesh_router::route::{Format, FormatContext};
///
/// let format = Format::parse("%REQ(x-user)% at 100%%").unwrap();
/// let mut headers = HeaderMap::new();
/// headers.insert("x-user", "jo".parse().unwrap());
/// let context = FormatContext { request: &headers, ..FormatContext::default() };
/// assert_eq!(format.render(&context), b"jo at 100%");
/// assert!(Format::parse("%NO_SUCH_COMMAND%").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    pieces: Box<[Piece]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Command(Command),
}

/// Why a text is no [`Format`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// A `%` begins no command, or one that does not end.
    #[error("{0:?} is no command (a percent sign is written %%)")]
    Syntax(String),
    /// The command has a form that is known, but no meaning here.
    #[error("the command {0:?} is not supported")]
    Unknown(String),
    /// The command has arguments that it does not take.
    #[error("the command {command:?} does not take {argument:?}")]
    Argument {
        /// The name of the command.
        command: String,
        /// What stands between its brackets.
        argument: String,
    },
}

/// Where headers are read from: a map, or what was kept of one.
pub trait HeaderSource {
    /// The first line of this name.
    fn first(&self, name: &HeaderName) -> Option<&[u8]>;
}

impl HeaderSource for HeaderMap {
    fn first(&self, name: &HeaderName) -> Option<&[u8]> {
        self.get(name).map(http::HeaderValue::as_bytes)
    }
}

/// No headers.
impl HeaderSource for () {
    fn first(&self, _: &HeaderName) -> Option<&[u8]> {
        None
    }
}

/// What commands read. Everything is lent: making one costs nothing, and nothing is read that no command asks for.
///
/// [`Default`] knows of nothing, and so does an operation of what its context leaves out.
#[derive(Clone, Copy)]
pub struct FormatContext<'a> {
    /// The headers of the request. Operations on a request read those that they change.
    pub request: &'a dyn HeaderSource,
    /// `:method` of the request; empty where it is not known, as with the following.
    pub method: &'a str,
    /// `:path` of the request: the path and its query, before a rewrite.
    pub path_and_query: &'a str,
    /// `:authority` of the request, before a rewrite.
    pub authority: &'a str,
    /// `:scheme` of the request.
    pub scheme: &'a str,
    /// The version that the client speaks.
    pub version: Option<Version>,
    /// The address of the client.
    pub peer: Option<SocketAddr>,
    /// The address that the connection comes from, if that is a proxy which said who the client is.
    pub direct_peer: Option<SocketAddr>,
    /// The address that the client reached.
    pub local: Option<SocketAddr>,
    /// What is known of the TLS of the client's connection.
    pub tls: Option<&'a DownstreamTls>,
    /// The headers of the response. Operations on a response read those that they change.
    pub response: &'a dyn HeaderSource,
    /// `:status` of the response.
    pub status: Option<StatusCode>,
    /// `%RESPONSE_CODE%`: the status that an endpoint answered with, as Envoy has it when it writes headers. Of an answer
    /// made here it is not known yet, and comes out as 0.
    pub code: Option<StatusCode>,
    /// Why the response is what it is, in Envoy's words: `via_upstream`.
    pub details: &'a str,
    /// The response flags in Envoy's letters; `-` for none.
    pub flags: &'a dyn fmt::Display,
    /// The endpoint that was picked. Operations on a request run before there is one.
    pub upstream: Option<&'a dyn fmt::Display>,
    /// The cluster that the request goes to.
    pub cluster: Option<&'a dyn fmt::Display>,
    /// The name of the route.
    pub route: &'a str,
    /// How many tries there were, this one among them; 0 for an answer that was made before the first.
    pub attempts: u32,
    /// How long ago the request came.
    pub since_start: Duration,
}

impl Default for FormatContext<'_> {
    fn default() -> Self {
        Self {
            request: &(),
            method: "",
            path_and_query: "",
            authority: "",
            scheme: "",
            version: None,
            peer: None,
            direct_peer: None,
            local: None,
            tls: None,
            response: &(),
            status: None,
            code: None,
            details: "",
            flags: &"-",
            upstream: None,
            cluster: None,
            route: "",
            attempts: 0,
            since_start: Duration::ZERO,
        }
    }
}

impl fmt::Debug for FormatContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut context = f.debug_struct("FormatContext");
        context.field("method", &self.method).field("path_and_query", &self.path_and_query);
        context.field("route", &self.route).finish_non_exhaustive()
    }
}

impl Format {
    /// Reads a text. What it says of this process, `%HOSTNAME%` and `%ENVIRONMENT(NAME)%`, is looked up now.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let mut pieces = Pieces::default();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            pieces.text.push_str(before);
            if let Some(after_escape) = after.strip_prefix('%') {
                pieces.text.push('%');
                rest = after_escape;
                continue;
            }
            let (written, after_command) = command::split(after)?;
            pieces.add(written.understand()?);
            rest = after_command;
        }
        pieces.text.push_str(rest);
        Ok(Self { pieces: pieces.done() })
    }

    /// The text, if there is no command left in it.
    pub fn literal(&self) -> Option<&str> {
        match &*self.pieces {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether a command asks for the request's head.
    pub fn names_request(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Command(command) if command.names_request()))
    }

    /// Whether a command asks when the request came.
    pub fn names_start(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Command(command) if command.names_start()))
    }

    /// Writes it for one request.
    pub fn render(&self, context: &FormatContext<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Command(command) => command.render(context, &mut out),
            }
        }
        out
    }
}

/// The pieces of a format in the making; neighboring texts become one.
#[derive(Default)]
struct Pieces {
    done: Vec<Piece>,
    text: String,
}

impl Pieces {
    fn add(&mut self, piece: Piece) {
        match piece {
            Piece::Text(text) => self.text.push_str(&text),
            command => {
                self.end_text();
                self.done.push(command);
            }
        }
    }

    fn end_text(&mut self) {
        if !self.text.is_empty() {
            self.done.push(Piece::Text(std::mem::take(&mut self.text).into()));
        }
    }

    fn done(mut self) -> Box<[Piece]> {
        self.end_text();
        self.done.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::request::Certificate;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, http::HeaderValue::from_static(value));
        }
        headers
    }

    fn rendered(format: &str, context: &FormatContext<'_>) -> String {
        String::from_utf8(Format::parse(format).unwrap().render(context)).unwrap()
    }

    #[test]
    fn h4_texts_without_commands_are_literal() {
        for (text, literal) in [("", ""), ("plain", "plain"), ("100%%", "100%"), ("%%a%%%%", "%a%%")] {
            assert_eq!(Format::parse(text).unwrap().literal(), Some(literal), "{text}");
        }
        assert_eq!(Format::parse("%PROTOCOL%").unwrap().literal(), None);
    }

    #[test]
    fn h4_headers_of_the_request_and_of_the_response() {
        let request = headers(&[("x-user", "jo"), ("x-user", "second"), ("x-empty", "")]);
        let response = headers(&[("x-user", "response")]);
        let context = FormatContext {
            request: &request,
            response: &response,
            method: "GET",
            path_and_query: "/a?b=1",
            authority: "a.test:80",
            scheme: "http",
            ..FormatContext::default()
        };
        for (format, expected) in [
            ("%REQ(X-User)%", "jo"),
            ("a %REQ(x-user)% b", "a jo b"),
            ("%REQ(x-none?x-user)%", "jo"),
            ("%REQ(x-none?X-None-2)%", ""),
            ("%REQ(x-empty?x-user)%", ""),
            ("[%REQ(x-none)%]", "[]"),
            ("%REQ(x-user):1%", "j"),
            ("%REQ(x-user):9%", "jo"),
            (
                "%REQ(:METHOD)% %REQ(:path)% %REQ(:authority)% %REQ(host)% %REQ(:scheme)%",
                "GET /a?b=1 a.test:80 a.test:80 http",
            ),
            ("%REQ_WITHOUT_QUERY(x-original?:path)%", "/a"),
            ("%RESP(x-user)%", "response"),
            ("%RESP(x-none)%", ""),
            ("%REQ(x-user)  %", "jo"),
        ] {
            assert_eq!(rendered(format, &context), expected, "{format}");
        }
    }

    #[test]
    fn h4_addresses_versions_and_the_rest() {
        let context = FormatContext {
            version: Some(Version::HTTP_2),
            peer: Some("[::1]:5000".parse().unwrap()),
            local: Some("10.0.0.1:80".parse().unwrap()),
            status: Some(StatusCode::NOT_FOUND),
            code: Some(StatusCode::NOT_FOUND),
            details: "via_upstream",
            upstream: Some(&"10.0.0.7:9080"),
            cluster: Some(&"outbound|80||a.test"),
            route: "r.m",
            attempts: 2,
            since_start: Duration::from_millis(1500),
            ..FormatContext::default()
        };
        for (format, expected, unknown) in [
            ("%PROTOCOL%", "HTTP/2", ""),
            ("%DOWNSTREAM_REMOTE_ADDRESS%", "[::1]:5000", ""),
            ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "::1", ""),
            ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", "::1", ""),
            ("%DOWNSTREAM_REMOTE_PORT%", "5000", ""),
            ("%DOWNSTREAM_LOCAL_ADDRESS%", "10.0.0.1:80", ""),
            ("%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", "10.0.0.1", ""),
            ("%DOWNSTREAM_LOCAL_PORT%", "80", ""),
            ("%RESPONSE_CODE%", "404", "0"),
            ("%RESPONSE_CODE_DETAILS%", "via_upstream", ""),
            ("%RESPONSE_FLAGS%", "-", "-"),
            ("%UPSTREAM_HOST%", "10.0.0.7:9080", ""),
            ("%UPSTREAM_CLUSTER%", "outbound|80||a.test", ""),
            ("%ROUTE_NAME%", "r.m", ""),
            ("%RESP(:status)%", "404", ""),
            ("%DOWNSTREAM_DIRECT_LOCAL_PORT%", "80", ""),
            ("%UPSTREAM_REMOTE_ADDRESS%", "10.0.0.7:9080", ""),
            ("%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "10.0.0.7", ""),
            ("%UPSTREAM_REMOTE_PORT%", "9080", ""),
            ("%UPSTREAM_CLUSTER_RAW%", "outbound|80||a.test", ""),
            ("%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "2", "0"),
            ("%DURATION%", "1500", "0"),
        ] {
            assert_eq!(rendered(format, &context), expected, "{format}");
            assert_eq!(rendered(format, &FormatContext::default()), unknown, "{format}");
        }
    }

    #[test]
    fn h4_a_proxy_that_says_who_the_client_is_stays_the_direct_one() {
        let peer = Some("192.0.2.1:0".parse().unwrap());
        let context =
            FormatContext { peer, direct_peer: Some("10.0.0.1:99".parse().unwrap()), ..FormatContext::default() };
        let addresses = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS%";
        assert_eq!(rendered(addresses, &context), "192.0.2.1 10.0.0.1:99");
    }

    #[test]
    fn h4_an_endpoint_that_is_a_path_has_no_port() {
        let context = FormatContext { upstream: Some(&"/run/a.sock"), ..FormatContext::default() };
        assert_eq!(
            rendered("%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%[%UPSTREAM_REMOTE_PORT%]", &context),
            "/run/a.sock[]"
        );
    }

    #[test]
    fn h4_the_path_as_it_came_and_as_it_is_sent() {
        let rewritten = headers(&[("x-envoy-original-path", "/old?b=1")]);
        let of = |request: &HeaderMap, format| {
            rendered(format, &FormatContext { request, path_and_query: "/new?b=1", ..FormatContext::default() })
        };
        for (format, after, before) in [
            ("%PATH%", "/old?b=1", "/new?b=1"),
            ("%PATH(NQ)%", "/old", "/new"),
            ("%PATH(WQ:PATH)%", "/new?b=1", "/new?b=1"),
            ("%PATH(NQ:PATH):2%", "/n", "/n"),
            ("%PATH(:ORIG)%", "/old?b=1", ""),
            ("%PATH(NQ:ORIG_OR_PATH)%", "/old", "/new"),
        ] {
            assert_eq!(
                (of(&rewritten, format), of(&HeaderMap::new(), format)),
                (after.into(), before.into()),
                "{format}"
            );
        }
        assert!(Format::parse("%PATH%").unwrap().names_request());
    }

    #[test]
    fn h4_the_tls_of_the_client() {
        let names = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect();
        let certificate = Certificate {
            subject: "CN=a".into(),
            issuer: "CN=ca".into(),
            serial: "0f".into(),
            uris: names(&["spiffe://a", "spiffe://b"]),
            sha1: "51".into(),
            not_before: Duration::from_secs(86_400),
            ..Certificate::default()
        };
        let tls = DownstreamTls {
            version: "TLSv1.2".into(),
            cipher: "C".into(),
            server_name: "a.test".into(),
            peer: Some(certificate.clone()),
            local: Some(Arc::new(Certificate {
                subject: "CN=own".into(),
                dns_names: names(&["own.test"]),
                ..certificate
            })),
        };
        for (format, expected) in [
            ("%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% %REQUESTED_SERVER_NAME%", "TLSv1.2 C a.test"),
            ("%DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_PEER_ISSUER% %DOWNSTREAM_LOCAL_SUBJECT%", "CN=a CN=ca CN=own"),
            ("%DOWNSTREAM_PEER_SERIAL% %DOWNSTREAM_PEER_FINGERPRINT_1%", "0f 51"),
            ("%DOWNSTREAM_PEER_URI_SAN%[%DOWNSTREAM_PEER_DNS_SAN%]", "spiffe://a,spiffe://b[]"),
            ("%DOWNSTREAM_LOCAL_DNS_SAN%", "own.test"),
            ("%DOWNSTREAM_PEER_CERT_V_START% %DOWNSTREAM_PEER_CERT_V_END(%Y)%", "1970-01-02T00:00:00.000Z 1970"),
        ] {
            let context = FormatContext { tls: Some(&tls), ..FormatContext::default() };
            assert_eq!(rendered(format, &context), expected, "{format}");
            assert_eq!(rendered(format, &FormatContext::default()).trim_matches([' ', '[', ']']), "", "{format}");
        }
    }

    #[test]
    fn h4_what_is_said_of_this_process_is_literal() {
        let path = std::env::var("PATH").unwrap();
        assert_eq!(Format::parse("%ENVIRONMENT(PATH)%").unwrap().literal(), Some(&*path));
        assert_eq!(Format::parse("%ENVIRONMENT(PATH):1%").unwrap().literal(), Some(&path[..1]));
        assert_eq!(Format::parse("%ENVIRONMENT(NO_SUCH_NAME_HERE)%").unwrap().literal(), Some("-"));
        assert!(!Format::parse("%HOSTNAME%").unwrap().literal().unwrap().is_empty());
    }

    #[test]
    fn h4_the_start_of_the_request_is_now_or_before() {
        let seconds = |since_start| -> u64 {
            rendered("%START_TIME(%s)%", &FormatContext { since_start, ..FormatContext::default() }).parse().unwrap()
        };
        let (now, before) = (seconds(Duration::ZERO), seconds(Duration::from_secs(3600)));
        assert!((now - before).abs_diff(3600) <= 1, "{now} {before}");
        assert_eq!(rendered("%START_TIME%", &FormatContext::default()).len(), "2026-11-21T09:30:00.123Z".len());
    }

    #[test]
    fn h4_what_is_no_command_is_refused() {
        for text in ["50%", "a % b", "%req(x)%", "%REQ(x", "%REQ(x)", "%REQ(x):%", "%REQ(x)x%", "%(x)%", "%PROTOCOL"] {
            assert!(matches!(Format::parse(text), Err(FormatError::Syntax(_))), "{text}");
        }
        for text in ["%DYNAMIC_METADATA(a)%", "%STREAM_ID%", "%DOWNSTREAM_LOCAL_SERIAL%"] {
            assert!(matches!(Format::parse(text), Err(FormatError::Unknown(_))), "{text}");
        }
        for text in
            ["%REQ%", "%REQ()%", "%REQ(a b)%", "%REQ(:status)%", "%START_TIME(%Q)%", "%PROTOCOL(x)%", "%ENVIRONMENT%"]
                .into_iter()
                .chain(["%PATH(X)%", "%PATH(WQ:X)%", "%START_TIME:3%", "%DOWNSTREAM_TLS_VERSION:3%"])
        {
            assert!(matches!(Format::parse(text), Err(FormatError::Argument { .. })), "{text}");
        }
    }

    #[test]
    fn who_names_the_request_or_its_start_is_known() {
        assert!(Format::parse("a%REQ(x)%").unwrap().names_request());
        assert!(!Format::parse("%RESP(x)%%PROTOCOL%").unwrap().names_request());
        assert!(Format::parse("a%START_TIME(%s)%").unwrap().names_start());
        assert!(!Format::parse("%REQ(x)%%PROTOCOL%").unwrap().names_start());
    }
}
