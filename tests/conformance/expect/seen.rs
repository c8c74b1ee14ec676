//! Judges what the upstreams saw during a step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::value::judge_values;
use super::{Failures, judge_share};
use crate::client::Answer;
use crate::http1;
use crate::schema::{Check, Expect, Seen};
use crate::upstream::log::{Record, sha256};
use crate::upstream::{Upstream, seconds};

/// How long a fact may take to show: a mirrored request arrives when it arrives.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

type Upstreams = BTreeMap<String, Arc<Upstream>>;

/// Where the upstreams' logs stood when a step began.
#[derive(Debug)]
pub(crate) struct Mark(BTreeMap<String, (usize, usize)>);

impl Mark {
    pub(crate) fn of(upstreams: &Upstreams) -> Mark {
        let position = |upstream: &Upstream| (upstream.ledger.len(), upstream.ledger.connections());
        Mark(upstreams.iter().map(|(name, upstream)| (name.clone(), position(upstream))).collect())
    }

    fn since(&self, upstream: &Upstream) -> Vec<Record> {
        upstream.ledger.since(self.0.get(&upstream.name).map_or(0, |position| position.0))
    }

    fn connections(&self, upstream: &Upstream) -> usize {
        upstream.ledger.connections() - self.0.get(&upstream.name).map_or(0, |position| position.1)
    }
}

/// Judges again and again until all holds or patience ends.
pub(crate) async fn judge_upstreams(
    upstreams: &Upstreams,
    answers: &[Answer],
    expect: &Expect,
    mark: &Mark,
    failures: &mut Failures,
) {
    if !expect.asks_upstreams() {
        return;
    }
    sleep(seconds(expect.settle.unwrap_or(0.0))).await;
    let end = Instant::now() + PATIENCE;
    loop {
        let mut found = Failures::default();
        let facts = Facts { upstreams, answers, expect, mark };
        facts.judge(&mut found);
        if found.is_empty() || Instant::now() >= end {
            failures.append(found);
            return;
        }
        sleep(PAUSE).await;
    }
}

struct Facts<'a> {
    upstreams: &'a Upstreams,
    answers: &'a [Answer],
    expect: &'a Expect,
    mark: &'a Mark,
}

impl Facts<'_> {
    fn judge(&self, failures: &mut Failures) {
        let expect = self.expect;
        let mut count =
            |wanted: &BTreeMap<String, crate::schema::Range>, what: &str, of: &dyn Fn(&Upstream) -> usize| {
                for (name, range) in wanted {
                    match self.upstreams.get(name) {
                        None => failures.add(format!("the case has no upstream {name}")),
                        Some(upstream) => {
                            let got = of(upstream);
                            failures.require(range.holds_count(got), || format!("{name}: {got} {what}, want {range}"));
                        }
                    }
                }
            };
        count(&expect.calls, "calls", &|upstream| self.mark.since(upstream).len());
        count(&expect.conns, "new connections", &|upstream| self.mark.connections(upstream));
        count(&expect.max_inflight, "requests in flight at most", &|upstream| upstream.ledger.most_in_flight());
        for (name, p) in &expect.fractions.calls {
            let calls = self.upstreams.get(name).map_or(0, |upstream| self.mark.since(upstream).len());
            judge_share(&format!("calls at {name}"), calls, self.answers.len(), *p, expect.sigma, failures);
        }
        for seen in &expect.seen.0 {
            self.judge_seen(seen, failures);
        }
    }

    fn judge_seen(&self, seen: &Seen, failures: &mut Failures) {
        let answered = || self.answers.last().and_then(Answer::upstream);
        let name = seen.upstream.as_deref().or_else(|| self.expect.single_upstream()).or_else(answered);
        let Some(upstream) = name.and_then(|name| self.upstreams.get(name)) else {
            failures.add(format!("no upstream saw the request (served by {name:?})"));
            return;
        };
        let records = self.mark.since(upstream);
        let Some(last) = records.last() else {
            failures.add(format!("{} saw no request", upstream.name));
            return;
        };
        let judged = if seen.all { records.as_slice() } else { std::slice::from_ref(last) };
        for record in judged {
            judge_record(&upstream.name, record, seen, failures);
        }
    }
}

fn judge_record(name: &str, record: &Record, seen: &Seen, failures: &mut Failures) {
    let mut field = |what: &str, got: Option<&str>, check: &Option<Check>| {
        if let Some(check) = check {
            let got: Vec<&str> = got.into_iter().collect();
            judge_values(&format!("{what} at {name}"), &got, check, failures);
        }
    };
    field("method", Some(&record.method), &seen.method);
    field("path", Some(&record.path), &seen.path);
    field("authority", Some(&record.authority), &seen.authority);
    field("proto", Some(record.proto), &seen.proto);
    field("sni", record.sni.as_deref(), &seen.sni);
    field("body", Some(&record.body), &seen.body);
    field("body_len", Some(&record.body_len.to_string()), &seen.body_len);
    if let Some(size) = seen.body_pattern {
        let holds = record.body_len == size && record.body_sha256 == sha256(&http1::pattern(size));
        failures.require(holds, || format!("{name} saw a body of {} bytes, not pattern({size})", record.body_len));
    }
    for (header, check) in &seen.headers {
        judge_values(&format!("header {header} at {name}"), &http1::values(&record.headers, header), check, failures);
    }
    for (trailer, check) in &seen.trailers {
        judge_values(
            &format!("trailer {trailer} at {name}"),
            &http1::values(&record.trailers, trailer),
            check,
            failures,
        );
    }
}
