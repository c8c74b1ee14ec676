//! What an upstream saw.

use std::sync::Mutex;

use crate::http1::{Headers, text};
use crate::schema::Behavior;

/// One request, written down when its head came and completed when its body did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) authority: String,
    pub(crate) headers: Headers,
    pub(crate) trailers: Headers,
    pub(crate) proto: &'static str,
    pub(crate) sni: Option<String>,
    pub(crate) body_len: usize,
    pub(crate) body_sha256: String,
    /// The beginning of the body, one character for each byte.
    pub(crate) body: String,
}

/// Length of the beginning of a body that is kept.
const KEPT: usize = 4096;

impl Record {
    pub(crate) fn set_body(&mut self, body: &[u8]) {
        self.body_len = body.len();
        self.body_sha256 = sha256(body);
        self.body = text(&body[..body.len().min(KEPT)]);
    }

    /// The answer of an upstream without a behavior: what it saw.
    pub(crate) fn to_json(&self, upstream: &str) -> String {
        serde_json::json!({
            "upstream": upstream,
            "method": self.method,
            "path": self.path,
            "authority": self.authority,
            "headers": self.headers,
            "proto": self.proto,
            "body_len": self.body_len,
            "body_sha256": self.body_sha256,
        })
        .to_string()
    }
}

pub(crate) fn sha256(data: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, data);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The state of an upstream over all its connections.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    behavior: Behavior,
    /// Requests since the behavior was set.
    served: usize,
    records: Vec<Record>,
    connections: usize,
    in_flight: usize,
    most_in_flight: usize,
    last_sni: Option<String>,
}

impl Ledger {
    pub(crate) fn behave(&self, behavior: Behavior) {
        let mut state = self.0.lock().unwrap();
        state.behavior = behavior;
        state.served = 0;
    }

    pub(crate) fn behavior(&self) -> Behavior {
        self.0.lock().unwrap().behavior.clone()
    }

    /// The behavior of the request that has just come.
    pub(crate) fn next_behavior(&self) -> Behavior {
        let mut state = self.0.lock().unwrap();
        state.served += 1;
        match &state.behavior.fail_first {
            Some(first) if state.served <= first.n => first.behavior.clone(),
            _ => state.behavior.clone(),
        }
    }

    pub(crate) fn connected(&self, sni: Option<&str>) {
        let mut state = self.0.lock().unwrap();
        state.connections += 1;
        if sni.is_some() {
            state.last_sni = sni.map(str::to_owned);
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.0.lock().unwrap().connections
    }

    pub(crate) fn last_sni(&self) -> Option<String> {
        self.0.lock().unwrap().last_sni.clone()
    }

    /// Writes a request down; the number is for [`Ledger::complete`].
    pub(crate) fn record(&self, record: Record) -> usize {
        let mut state = self.0.lock().unwrap();
        state.records.push(record);
        state.records.len() - 1
    }

    pub(crate) fn complete(&self, number: usize, record: Record) {
        self.0.lock().unwrap().records[number] = record;
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().records.len()
    }

    /// The requests from number `mark` on.
    pub(crate) fn since(&self, mark: usize) -> Vec<Record> {
        self.0.lock().unwrap().records[mark..].to_vec()
    }

    /// Counts a request as in flight until the guard is dropped.
    pub(crate) fn begin(&self) -> InFlight<'_> {
        let mut state = self.0.lock().unwrap();
        state.in_flight += 1;
        state.most_in_flight = state.most_in_flight.max(state.in_flight);
        InFlight(self)
    }

    /// Forgets the most that was in flight at once.
    pub(crate) fn forget_most_in_flight(&self) {
        let mut state = self.0.lock().unwrap();
        state.most_in_flight = state.in_flight;
    }

    pub(crate) fn most_in_flight(&self) -> usize {
        self.0.lock().unwrap().most_in_flight
    }
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct InFlight<'a>(&'a Ledger);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().in_flight -= 1;
    }
}
