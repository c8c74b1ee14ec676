//! What follows the `?` of a request's path: [`Query`].

use percent_encoding::{percent_decode, percent_decode_str};

use super::FormatContext;
use crate::route::rule::parameters;

/// A command that reads the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) part: QueryPart,
    pub(super) longest: Option<usize>,
}

/// What it writes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum QueryPart {
    /// The first parameter of a name; both are decoded.
    Parameter(Box<str>),
    /// All of it as it came.
    Whole,
    /// The same with what Envoy takes for harmless decoded.
    Decoded,
}

impl Query {
    pub(super) fn render(&self, context: &FormatContext<'_>, out: &mut Vec<u8>) {
        let Some((_, query)) = context.path_and_query.split_once('?') else { return };
        let start = out.len();
        match &self.part {
            QueryPart::Whole => out.extend_from_slice(query.as_bytes()),
            QueryPart::Decoded => decode(query.as_bytes(), out),
            QueryPart::Parameter(name) => {
                let mut pairs = parameters(query);
                if let Some((_, value)) = pairs.find(|(key, _)| percent_decode_str(key).eq(name.bytes())) {
                    out.extend(percent_decode_str(value));
                }
            }
        }
        out.truncate(start.saturating_add(self.longest.unwrap_or(usize::MAX)));
    }
}

/// Decodes what is neither blank nor outside of ASCII nor one of a few signs. As with Envoy, a percent sign goes if what
/// follows it is as long as a code and none.
fn decode(mut query: &[u8], out: &mut Vec<u8>) {
    while let [first, rest @ ..] = query {
        query = rest;
        let (b'%', [high, low, rest @ ..]) = (first, rest) else {
            out.push(*first);
            continue;
        };
        let code = [b'%', *high, *low];
        let mut decoded = percent_decode(&code);
        if let (Some(byte), None) = (decoded.next(), decoded.next()) {
            match byte.is_ascii_graphic() && !b"\"<>\\^{|}".contains(&byte) {
                true => out.push(byte),
                false => out.extend(code),
            }
            query = rest;
        }
    }
}
