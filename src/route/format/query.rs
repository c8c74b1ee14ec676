//! What follows the `?` of a request's path: [`Query`].

use percent_encoding::percent_decode_str;

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
}

impl Query {
    pub(super) fn render(&self, context: &FormatContext<'_>, out: &mut Vec<u8>) {
        let Some((_, query)) = context.path_and_query.split_once('?') else { return };
        let start = out.len();
        match &self.part {
            QueryPart::Whole => out.extend_from_slice(query.as_bytes()),
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
