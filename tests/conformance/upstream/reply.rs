//! The answer a behavior asks for, whatever the protocol.

use super::log::Record;
use crate::http1::{Headers, pattern};
use crate::schema::Behavior;

/// Status, headers and body of an answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn of(name: &str, behavior: &Behavior, record: &Record) -> Reply {
        let status = behavior.status.unwrap_or(200);
        let mut headers = vec![("x-upstream".to_owned(), name.to_owned())];
        let mut body = match (&behavior.body, behavior.body_size) {
            (Some(body), _) => body.as_str().as_bytes().to_vec(),
            (None, Some(size)) => pattern(size),
            (None, None) => {
                headers.push(("content-type".to_owned(), "application/json".to_owned()));
                record.to_json(name).into_bytes()
            }
        };
        headers.extend(behavior.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())));
        if matches!(status, 204 | 304) {
            body.clear();
        }
        Reply { status, headers, body }
    }

    /// Whether the answer ends with its head.
    pub(crate) fn is_bodiless(&self, method: &str) -> bool {
        matches!(self.status, 204 | 304) || method == "HEAD"
    }

    /// The part of the body that goes out before a cut.
    pub(crate) fn first_half(&self) -> &[u8] {
        &self.body[..(self.body.len() / 2).max(1).min(self.body.len())]
    }
}
