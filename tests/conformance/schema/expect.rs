//! What a step wants to hold.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::values::{Check, Frame, OneOrMany, Range, Word, given};

/// The keys of `expect:`; every one that is given must hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Expect {
    // one answer
    pub(crate) status: Option<OneOrMany<Word>>,
    #[serde(deserialize_with = "given")]
    pub(crate) upstream: Option<OneOrMany<Option<String>>>,
    pub(crate) headers: BTreeMap<String, Check>,
    pub(crate) trailers: BTreeMap<String, Check>,
    pub(crate) body: Option<String>,
    pub(crate) body_contains: Option<Word>,
    pub(crate) body_regex: Option<String>,
    pub(crate) body_len: Option<Range>,
    pub(crate) body_pattern: Option<usize>,
    pub(crate) info: Option<Vec<u16>>,
    pub(crate) alpn: Option<String>,
    pub(crate) peer_cn: Option<String>,
    pub(crate) grpc_status: Option<Range>,
    pub(crate) grpc_message: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) elapsed: Option<Range>,
    pub(crate) error: Option<bool>,
    // many answers
    pub(crate) counts: BTreeMap<String, Range>,
    pub(crate) statuses: BTreeMap<Word, Range>,
    pub(crate) fractions: Fractions,
    pub(crate) sigma: Option<f64>,
    pub(crate) used: Option<Range>,
    pub(crate) never: Vec<String>,
    pub(crate) share_below: BTreeMap<String, f64>,
    pub(crate) share_above: BTreeMap<String, f64>,
    pub(crate) at_least: Option<usize>,
    // keys of `vary`
    pub(crate) sticky: bool,
    pub(crate) save: Option<String>,
    pub(crate) same_as: Option<String>,
    pub(crate) except: OneOrMany<String>,
    pub(crate) moved: Option<Range>,
    // at the upstreams
    pub(crate) calls: BTreeMap<String, Range>,
    pub(crate) conns: BTreeMap<String, Range>,
    pub(crate) max_inflight: BTreeMap<String, Range>,
    pub(crate) seen: OneOrMany<Seen>,
    pub(crate) settle: Option<f64>,
    // websocket, tcp and raw
    pub(crate) echo: Option<Vec<Frame>>,
    pub(crate) sni: Option<String>,
    pub(crate) closed: bool,
}

impl Expect {
    /// The upstream that must have answered, if it is exactly one.
    pub(crate) fn single_upstream(&self) -> Option<&str> {
        match self.upstream.as_ref()?.0.as_slice() {
            [Some(name)] => Some(name),
            _ => None,
        }
    }

    /// Whether a broken connection contradicts what is wanted of the answer.
    pub(crate) fn wants_answer(&self) -> bool {
        self.status.is_some()
            || self.upstream.is_some()
            || self.grpc_status.is_some()
            || !self.headers.is_empty()
            || !self.trailers.is_empty()
            || self.wants_body()
    }

    fn wants_body(&self) -> bool {
        self.body.is_some()
            || self.body_contains.is_some()
            || self.body_regex.is_some()
            || self.body_len.is_some()
            || self.body_pattern.is_some()
    }

    /// Whether something has to be looked up at the upstreams.
    pub(crate) fn asks_upstreams(&self) -> bool {
        !(self.seen.0.is_empty()
            && self.calls.is_empty()
            && self.conns.is_empty()
            && self.max_inflight.is_empty()
            && self.fractions.calls.is_empty())
    }
}

/// Shares of many answers, judged by the spread of a binomial distribution.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Fractions {
    pub(crate) upstream: BTreeMap<String, f64>,
    pub(crate) status: BTreeMap<Word, f64>,
    pub(crate) calls: BTreeMap<String, f64>,
    pub(crate) slow: BTreeMap<Word, f64>,
}

/// What an upstream must have seen: its last request of the step, or all of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Seen {
    pub(crate) upstream: Option<String>,
    #[serde(deserialize_with = "given")]
    pub(crate) method: Option<Check>,
    #[serde(deserialize_with = "given")]
    pub(crate) path: Option<Check>,
    #[serde(deserialize_with = "given")]
    pub(crate) authority: Option<Check>,
    #[serde(deserialize_with = "given")]
    pub(crate) proto: Option<Check>,
    #[serde(deserialize_with = "given")]
    pub(crate) sni: Option<Check>,
    #[serde(deserialize_with = "given")]
    pub(crate) body: Option<Check>,
    #[serde(deserialize_with = "given")]
    pub(crate) body_len: Option<Check>,
    pub(crate) body_pattern: Option<usize>,
    pub(crate) headers: BTreeMap<String, Check>,
    pub(crate) trailers: BTreeMap<String, Check>,
    pub(crate) all: bool,
}
