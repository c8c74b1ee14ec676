//! Values that are written anew for each request: Envoy's command operators ([`Format`]).
//!
//! | command | what it stands for |
//! |---|---|
//! | `%%` | a percent sign |
//! | `%REQ(A?B):9%` | the first line of the request header `A`, else of `B`, cut off after 9 bytes; `:method`, `:path`, `:authority` and `:scheme` too; `REQUEST_HEADER` and `STREAM_INFO_REQ` are the same |
//! | `%RESP(A?B):9%`, `RESPONSE_HEADER` | the same of the response |
//! | `%PROTOCOL%` | `HTTP/1.1` or `HTTP/2` |
//! | `%RESPONSE_CODE%`, `%RESPONSE_CODE_DETAILS%`, `%RESPONSE_FLAGS%`, `%RESPONSE_FLAGS_LONG%` | of the response so far: `0`, nothing, `-` and `-` before there is one (`DI` if a fault delayed the request); the code of an answer made here is `0` |
//! | `%DOWNSTREAM_REMOTE_ADDRESS%` and `_WITHOUT_PORT`, `%DOWNSTREAM_REMOTE_PORT%` | the client, `DOWNSTREAM_DIRECT_REMOTE_...` too; `_WITHOUT_PORT(24)` of any address is the network of 24 bits that it is in |
//! | `%DOWNSTREAM_LOCAL_ADDRESS%` and `_WITHOUT_PORT`, `%DOWNSTREAM_LOCAL_PORT%` | this side of its connection, `DOWNSTREAM_DIRECT_LOCAL_...` too |
//! | `%DOWNSTREAM_TLS_VERSION%`, `%DOWNSTREAM_TLS_CIPHER%`, `%REQUESTED_SERVER_NAME%` | its TLS |
//! | `%REQUESTED_SERVER_NAME(SNI_FIRST)%`, `%REQUESTED_SERVER_NAME(HOST_FIRST:ORIG)%` | the name that its TLS asked for, or the host of the request: as it came (`ORIG`, only if it was rewritten), as it is sent (`HOST`), or the first of both |
//! | `%DOWNSTREAM_PEER_SUBJECT%`, `_ISSUER`, `_SERIAL`, `_FINGERPRINT_256`, `_FINGERPRINT_1`, `_CERT`, `_CERT_V_START`, `_CERT_V_END`, `_URI_SAN`, `_DNS_SAN`, `_IP_SAN`, `_EMAIL_SAN` | the certificate that the client showed; the two times take formats as `%START_TIME%` does |
//! | `%DOWNSTREAM_LOCAL_SUBJECT%`, `_URI_SAN`, `_DNS_SAN`, `_IP_SAN`, `_EMAIL_SAN` | the one that it was shown |
//! | `%PATH%`, `%PATH(NQ)%`, `%PATH(WQ:PATH):9%` | the path with its query or without (`NQ`): as it came (`ORIG`, only if it was rewritten), as it is sent (`PATH`), or the first of both |
//! | `%QUERY_PARAM(A):9%`, `%QUERY_PARAMS%`, `%QUERY_PARAMS(DECODED)%` | the first parameter `A` of the query, decoded; the query as it came, or decoded as far as Envoy takes that for harmless |
//! | `%STREAM_ID%` | the request header `x-request-id` |
//! | `%UPSTREAM_HOST%`, `%UPSTREAM_CLUSTER%`, `%ROUTE_NAME%` | where the request goes, `UPSTREAM_CLUSTER_RAW` too |
//! | `%UPSTREAM_REMOTE_ADDRESS%` and `_WITHOUT_PORT`, `%UPSTREAM_REMOTE_PORT%` | the endpoint, if there was a connection to it |
//! | `%UPSTREAM_REQUEST_ATTEMPT_COUNT%` | how many tries there were |
//! | `%START_TIME%`, `%START_TIME(%Y-%m-%d)%`, `%EMIT_TIME%` | when it came, in UTC; now |
//! | `%DURATION%` | milliseconds since it came |
//! | `%HOSTNAME%`, `%ENVIRONMENT(NAME):9%` | of this process when the rule was read |
//! | `%UPSTREAM_PROTOCOL%`, `%RESPONSE_DURATION%` | what was spoken with the endpoint, also where it did not answer; milliseconds from the request to that answer |
//! | `%GRPC_STATUS%`, `%GRPC_STATUS(SNAKE_STRING)%`, `%GRPC_STATUS(NUMBER)%`, `%GRPC_STATUS_NUMBER%` | of a call of gRPC: `NotFound`, `NOT_FOUND`, `5` |
//! | `%BYTES_SENT%`, `%TRAILER(A)%`, `%ACCESS_LOG_TYPE%` and others that tell of what follows the headers, or of what Istio does not set up | what they are in Envoy when headers are written: `0`, `NotSet`, `Normal` or nothing |
//! | the other commands of Envoy (`%CONNECTION_ID%`, `%UPSTREAM_LOCAL_ADDRESS%`, `%CEL(..)%`..., see [`Format::not_honored`]) | nothing |
//!
//! What is not there is written as nothing. A length after brackets (`:9`) is for programs: in a rule it is an error, as
//! with Istio.

mod address;
mod command;
mod fixed;
mod grpc_status;
mod header;
mod query;
mod server_name;
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
    /// A blank before the `%` that ends the command of this name.
    #[error("Envoy refuses the command {0:?} with a blank before the % at its end")]
    Blank(String),
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
    /// The version that was spoken with the endpoint; `None` if there was no connection to it.
    pub upstream_version: Option<Version>,
    /// The status of gRPC that the response has, if it is for a call of gRPC.
    pub grpc_status: Option<u32>,
    /// `:status` of the response.
    pub status: Option<StatusCode>,
    /// `%RESPONSE_CODE%`: the status that an endpoint answered with, as Envoy has it when it writes headers. Of an answer
    /// made here it is not known yet, and comes out as 0.
    pub code: Option<StatusCode>,
    /// Why the response is what it is, in Envoy's words: `via_upstream`.
    pub details: &'a str,
    /// The response flags in Envoy's letters, in the alternate form (`{:#}`) in its words; `-` for none.
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
            upstream_version: None,
            grpc_status: None,
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
        self.commands().any(Command::names_request)
    }

    /// Whether a command asks when the request came.
    pub fn names_start(&self) -> bool {
        self.commands().any(Command::names_start)
    }

    /// The names of the commands that Envoy knows and of which nothing is known here: they are written as nothing.
    pub fn not_honored(&self) -> impl Iterator<Item = &str> + '_ {
        self.commands().filter_map(|command| command.not_known())
    }

    fn commands(&self) -> impl Iterator<Item = &Command> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Command(command) => Some(command),
        })
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
mod tests;
