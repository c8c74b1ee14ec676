//! Single commands: how they are written, and what they write.

use std::io::Write as _;

use http::Version;
use http::header::HeaderName;

use super::address::Address;
use super::fixed;
use super::grpc_status::GrpcStatus;
use super::header::{Field, Header};
use super::query::{Query, QueryPart};
use super::server_name::ServerName;
use super::time::{self, TimeFormat};
use super::tls_fact::TlsFact;
use super::{FormatContext, FormatError, Piece};
use crate::route::{ORIGINAL_HOST, ORIGINAL_PATH};

/// What a gateway names a request by, and so the stream that it is.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A command that waits for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Header(Header),
    Query(Query),
    Protocol,
    ResponseCode,
    ResponseCodeDetails,
    ResponseFlags,
    ResponseFlagsLong,
    Address(Address),
    Tls(TlsFact),
    ServerName(ServerName),
    UpstreamHost,
    UpstreamCluster,
    RouteName,
    Attempts,
    StartTime(TimeFormat),
    EmitTime(TimeFormat),
    Duration,
    ResponseDuration,
    UpstreamProtocol,
    GrpcStatus(GrpcStatus),
    /// What is not known here, by its name.
    NotKnown(&'static str),
}

/// A command as it is written: `NAME(argument):length`.
pub(super) struct Written<'a> {
    name: &'a str,
    argument: Option<&'a str>,
    longest: Option<usize>,
}

/// Reads the command whose `%` stands before `text`, and says what follows it.
pub(super) fn split(text: &str) -> Result<(Written<'_>, &str), FormatError> {
    let wrong = || {
        let end = text.find('%').map_or(text.len(), |end| end + 1);
        FormatError::Syntax(format!("%{}", &text[..end]))
    };
    let is_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let end = text.bytes().position(|byte| !is_name(byte)).filter(|end| *end > 0).ok_or_else(wrong)?;
    let (name, mut rest) = text.split_at(end);
    let mut argument = None;
    if let Some(after) = rest.strip_prefix('(') {
        let (inside, after) = after.split_once(')').ok_or_else(wrong)?;
        (argument, rest) = (Some(inside), after);
    }
    let mut longest = None;
    if let Some(after) = rest.strip_prefix(':') {
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        longest = Some(after[..digits].parse().map_err(|_| wrong())?);
        rest = &after[digits..];
    }
    match rest.strip_prefix('%') {
        Some(rest) => Ok((Written { name, argument, longest }, rest)),
        // Istio's webhook lets it pass.
        None if rest.trim_start_matches(' ').starts_with('%') => Err(FormatError::Blank(name.to_owned())),
        None => Err(wrong()),
    }
}

impl Written<'_> {
    pub(super) fn understand(self) -> Result<Piece, FormatError> {
        let command = match self.name {
            "REQ" | "REQUEST_HEADER" | "STREAM_INFO_REQ" => self.header(true)?,
            "RESP" | "RESPONSE_HEADER" => self.header(false)?,
            "PATH" => self.path()?,
            "QUERY_PARAM" => self.query(QueryPart::Parameter(self.needed_argument()?.into())),
            "QUERY_PARAMS" => match self.argument {
                None | Some("" | "ORIG") => self.query(QueryPart::Whole),
                Some("DECODED") => self.query(QueryPart::Decoded),
                Some(_) => return Err(self.wrong_argument()),
            },
            "GRPC_STATUS" => {
                let status = GrpcStatus::written_as(self.argument.unwrap_or_default());
                Command::GrpcStatus(status.filter(|_| self.longest.is_none()).ok_or_else(|| self.wrong_argument())?)
            }
            "REQUESTED_SERVER_NAME" => self.server_name()?,
            "START_TIME" => Command::StartTime(self.time_format()?),
            "EMIT_TIME" => Command::EmitTime(self.time_format()?),
            "DOWNSTREAM_PEER_CERT_V_START" => Command::Tls(TlsFact::NotBefore(self.time_format()?)),
            "DOWNSTREAM_PEER_CERT_V_END" => Command::Tls(TlsFact::NotAfter(self.time_format()?)),
            "ENVIRONMENT" => {
                let name = self.needed_argument()?;
                let value = std::env::var(name).unwrap_or_else(|_| "-".to_owned());
                return Ok(Piece::Text(cut_text(&value, self.longest).into()));
            }
            // There are none yet when headers are written.
            "TRAILER" | "RESPONSE_TRAILER" => return self.header(false).map(|_| Piece::Text("".into())),
            name => match fixed::not_known(name) {
                Some(name) if fixed::takes(name, self.argument.unwrap_or_default(), self.longest) => {
                    Command::NotKnown(name)
                }
                Some(_) => return Err(self.wrong_argument()),
                None => return self.without_argument(),
            },
        };
        Ok(Piece::Command(command))
    }

    /// What takes no argument, or one that says how an address is written.
    fn without_argument(self) -> Result<Piece, FormatError> {
        let piece = match self.name {
            "HOSTNAME" => Piece::Text(hostname().into()),
            name => Command::named(name)
                .map(Piece::Command)
                .or_else(|| fixed::value(name).map(|value| Piece::Text(value.into())))
                .ok_or_else(|| FormatError::Unknown(name.to_owned()))?,
        };
        match (&piece, self.argument, self.longest) {
            // Whether whitespace may be in the details: there is none.
            (_, None, None) | (Piece::Command(Command::ResponseCodeDetails), _, None) => Ok(piece),
            (Piece::Command(Command::Address(address)), Some(bits), None) => {
                let network = address.within(bits).ok_or_else(|| self.wrong_argument())?;
                Ok(Piece::Command(Command::Address(network)))
            }
            _ => Err(self.wrong_argument()),
        }
    }

    /// The argument of a command that says nothing without one.
    fn needed_argument(&self) -> Result<&str, FormatError> {
        self.argument.filter(|argument| !argument.is_empty()).ok_or_else(|| self.wrong_argument())
    }

    fn query(&self, part: QueryPart) -> Command {
        Command::Query(Query { part, longest: self.longest })
    }

    fn time_format(&self) -> Result<TimeFormat, FormatError> {
        let format = self.argument.map_or_else(|| Some(TimeFormat::default()), TimeFormat::parse);
        format.filter(|_| self.longest.is_none()).ok_or_else(|| self.wrong_argument())
    }

    /// The two words of the argument; what follows them says nothing.
    fn words(&self) -> [&str; 2] {
        let mut words = self.argument.unwrap_or_default().split(':');
        [(); 2].map(|()| words.next().unwrap_or_default())
    }

    /// The path with its query or without (`WQ`, `NQ`), as it came, as it is sent, or the first of both that is known.
    fn path(&self) -> Result<Command, FormatError> {
        let [query, which] = self.words();
        let without_query = match query {
            "" | "WQ" => false,
            "NQ" => true,
            _ => return Err(self.wrong_argument()),
        };
        let original = Some(Field::Name(ORIGINAL_PATH));
        let either = match which {
            "" | "ORIG_OR_PATH" => [original, Some(Field::Path)],
            "ORIG" => [original, None],
            "PATH" => [Some(Field::Path), None],
            _ => return Err(self.wrong_argument()),
        };
        Ok(Command::Header(Header { without_query, longest: self.longest, ..Header::of_request(either) }))
    }

    /// The name that TLS asked for, or the host of the request: as it came, as it is sent, or the first of both.
    fn server_name(&self) -> Result<Command, FormatError> {
        let [order, which] = self.words();
        let original = Some(Field::Name(ORIGINAL_HOST));
        let either = match which {
            "" | "ORIG_OR_HOST" => [original, Some(Field::Authority)],
            "ORIG" => [original, None],
            "HOST" => [Some(Field::Authority), None],
            _ => return Err(self.wrong_argument()),
        };
        let host = Header::of_request(either);
        match order {
            _ if self.longest.is_some() => Err(self.wrong_argument()),
            "" | "SNI_ONLY" => Ok(Command::Tls(TlsFact::ServerName)),
            "SNI_FIRST" => Ok(Command::ServerName(ServerName { host, host_first: false })),
            "HOST_FIRST" => Ok(Command::ServerName(ServerName { host, host_first: true })),
            _ => Err(self.wrong_argument()),
        }
    }

    fn header(&self, request: bool) -> Result<Command, FormatError> {
        let names = self.needed_argument()?;
        let (first, second) = names.split_once('?').unwrap_or((names, ""));
        let field = |name| Field::named(name, request).map_err(|_| self.wrong_argument());
        let either = [field(first)?, field(second)?];
        Ok(Command::Header(Header { request, longest: self.longest, ..Header::of_request(either) }))
    }

    fn wrong_argument(&self) -> FormatError {
        let argument = match self.longest {
            Some(longest) => format!("({}):{longest}", self.argument.unwrap_or_default()),
            None => self.argument.unwrap_or_default().to_owned(),
        };
        FormatError::Argument { command: self.name.to_owned(), argument }
    }
}

/// The name of this machine, as its kernel has it.
fn hostname() -> String {
    let of_kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = of_kernel.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    name.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_else(|| "-".to_owned())
}

impl Command {
    /// A command that takes no argument.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "PROTOCOL" => Command::Protocol,
            "RESPONSE_CODE" => Command::ResponseCode,
            "RESPONSE_CODE_DETAILS" => Command::ResponseCodeDetails,
            "RESPONSE_FLAGS" => Command::ResponseFlags,
            "RESPONSE_FLAGS_LONG" => Command::ResponseFlagsLong,
            "STREAM_ID" => Command::Header(Header::of_request([Some(Field::Name(REQUEST_ID)), None])),
            "UPSTREAM_HOST" => Command::UpstreamHost,
            "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => Command::UpstreamCluster,
            "UPSTREAM_REQUEST_ATTEMPT_COUNT" => Command::Attempts,
            "ROUTE_NAME" => Command::RouteName,
            "DURATION" => Command::Duration,
            "RESPONSE_DURATION" => Command::ResponseDuration,
            "UPSTREAM_PROTOCOL" => Command::UpstreamProtocol,
            "GRPC_STATUS_NUMBER" => Command::GrpcStatus(GrpcStatus::Number),
            name => Address::named(name).map(Command::Address).or_else(|| TlsFact::named(name).map(Command::Tls))?,
        })
    }

    pub(super) fn names_request(&self) -> bool {
        match self {
            Command::Header(header) => header.request,
            // The status of gRPC is that of a request of gRPC, as the rule has made it.
            Command::Query(_) | Command::GrpcStatus(_) | Command::ServerName(_) => true,
            _ => false,
        }
    }

    pub(super) fn names_start(&self) -> bool {
        matches!(self, Command::StartTime(_) | Command::Duration | Command::ResponseDuration)
    }

    /// Its name, if it is one of which nothing is known here.
    pub(super) fn not_known(&self) -> Option<&'static str> {
        match self {
            Command::NotKnown(name) => Some(name),
            _ => None,
        }
    }

    /// Writes to a vector, which does not fail.
    pub(super) fn render(&self, context: &FormatContext<'_>, out: &mut Vec<u8>) {
        let _ = match self {
            Command::Header(header) => {
                header.render(context, out);
                Ok(())
            }
            Command::Query(query) => {
                query.render(context, out);
                Ok(())
            }
            Command::ServerName(name) => {
                name.render(context, out);
                Ok(())
            }
            Command::Protocol => out.write_all(protocol(context.version)),
            Command::ResponseCode => write!(out, "{}", context.code.map_or(0, |code| code.as_u16())),
            Command::ResponseCodeDetails => out.write_all(context.details.as_bytes()),
            Command::ResponseFlags => write!(out, "{}", context.flags),
            Command::ResponseFlagsLong => write!(out, "{:#}", context.flags),
            Command::Address(address) => address.render(context, out),
            Command::Tls(fact) => context.tls.map_or(Ok(()), |tls| fact.render(tls, out)),
            Command::UpstreamHost => context.upstream.map_or(Ok(()), |host| write!(out, "{host}")),
            Command::UpstreamCluster => context.cluster.map_or(Ok(()), |cluster| write!(out, "{cluster}")),
            Command::RouteName => out.write_all(context.route.as_bytes()),
            Command::Attempts => write!(out, "{}", context.attempts),
            Command::NotKnown(_) => Ok(()),
            Command::UpstreamProtocol => out.write_all(protocol(context.upstream_version)),
            Command::GrpcStatus(status) => context.grpc_status.map_or(Ok(()), |code| status.render(code, out)),
            // Before the endpoint answered it is not known.
            Command::ResponseDuration if context.code.is_none() => Ok(()),
            Command::Duration | Command::ResponseDuration => write!(out, "{}", context.since_start.as_millis()),
            Command::EmitTime(format) => {
                format.render(time::now(), out);
                Ok(())
            }
            Command::StartTime(format) => {
                format.render(time::now().saturating_sub(context.since_start), out);
                Ok(())
            }
        };
    }
}

fn protocol(version: Option<Version>) -> &'static [u8] {
    match version {
        Some(Version::HTTP_10) => b"HTTP/1.0",
        Some(Version::HTTP_11) => b"HTTP/1.1",
        Some(Version::HTTP_2) => b"HTTP/2",
        Some(Version::HTTP_3) => b"HTTP/3",
        _ => b"",
    }
}

/// At most `longest` bytes of `text`, without a broken character.
fn cut_text(text: &str, longest: Option<usize>) -> &str {
    let Some(longest) = longest.filter(|longest| *longest < text.len()) else { return text };
    let whole = (0..=longest).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..whole]
}
