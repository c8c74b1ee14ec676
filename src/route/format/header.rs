//! Commands that write headers: [`Header`].

use http::header::{HeaderName, InvalidHeaderName};

use super::{FormatContext, HeaderSource};

/// The first of two headers of the request or of the response that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) request: bool,
    pub(super) without_query: bool,
    pub(super) either: [Option<Field>; 2],
    pub(super) longest: Option<usize>,
}

/// A header, or what HTTP/2 writes like one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Name(HeaderName),
    Method,
    Path,
    Authority,
    Scheme,
    Status,
}

impl Header {
    pub(super) fn of_request(either: [Option<Field>; 2]) -> Self {
        Self { request: true, without_query: false, either, longest: None }
    }

    pub(super) fn render(&self, context: &FormatContext<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        self.either.iter().flatten().any(|field| field.write(self.request, context, out));
        let Some(written) = out.get(start..) else { return };
        let query = written.iter().position(|byte| *byte == b'?').filter(|_| self.without_query);
        let length = query.unwrap_or(written.len()).min(self.longest.unwrap_or(usize::MAX));
        out.truncate(start + length);
    }
}

impl Field {
    /// `None` for no name, and for one that no such head has: `:status` of a request.
    pub(super) fn named(name: &str, request: bool) -> Result<Option<Self>, InvalidHeaderName> {
        let name = name.to_ascii_lowercase();
        Ok(Some(match (name.as_str(), request) {
            ("", _) => return Ok(None),
            (":method", true) => Field::Method,
            (":path", true) => Field::Path,
            (":authority" | "host", true) => Field::Authority,
            (":scheme", true) => Field::Scheme,
            (":status", false) => Field::Status,
            (name, _) => match name.strip_prefix(':') {
                Some(other) => return HeaderName::from_bytes(other.as_bytes()).map(|_| None),
                None => Field::Name(HeaderName::from_bytes(name.as_bytes())?),
            },
        }))
    }

    /// Writes the value; `false` if there is none.
    fn write(&self, request: bool, context: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        let source: &dyn HeaderSource = if request { context.request } else { context.response };
        let value = match self {
            Field::Name(name) => source.first(name),
            Field::Method => Some(context.method.as_bytes()),
            Field::Path => Some(context.path_and_query.as_bytes()),
            Field::Authority => Some(context.authority.as_bytes()),
            Field::Scheme => Some(context.scheme.as_bytes()),
            Field::Status => {
                return context.status.is_some_and(|status| {
                    out.extend_from_slice(status.as_str().as_bytes());
                    true
                });
            }
        };
        // A header may be there and empty; of the others, empty is unknown.
        let Some(value) = value.filter(|value| !value.is_empty() || matches!(self, Field::Name(_))) else {
            return false;
        };
        out.extend_from_slice(value);
        true
    }
}
