//! Judges one answer.

use super::value::judge_values;
use super::{Failures, brief, pattern};
use crate::client::Answer;
use crate::http1;
use crate::schema::Expect;

/// Judges all but status and upstream, which are counted where they do not hold.
pub(super) fn judge_answer(answer: &Answer, expect: &Expect, failures: &mut Failures) {
    if expect.error == Some(true) {
        failures.require(answer.error.is_some(), || format!("a broken connection was due, got {answer}"));
    } else if let Some(error) = answer.error.as_ref().filter(|_| expect.wants_answer()) {
        failures.add(format!("error: {error}"));
        return;
    }
    if let Some(range) = &expect.elapsed {
        let seconds = answer.elapsed.as_secs_f64();
        failures.require(range.holds(seconds), || format!("it took {seconds:.3}s, want {range}"));
    }
    for (name, check) in &expect.headers {
        judge_values(&format!("header {name}"), &http1::values(&answer.headers, name), check, failures);
    }
    for (name, check) in &expect.trailers {
        judge_values(&format!("trailer {name}"), &http1::values(&answer.trailers, name), check, failures);
    }
    judge_body(answer, expect, failures);
    judge_grpc(answer, expect, failures);
    if let Some(info) = &expect.info {
        failures.require(answer.info == *info, || format!("informational answers {:?}, want {info:?}", answer.info));
    }
    if let Some(alpn) = &expect.alpn {
        failures.require(answer.alpn.as_ref() == Some(alpn), || format!("ALPN {:?}, want {alpn}", answer.alpn));
    }
    if let Some(cn) = &expect.peer_cn {
        failures.require(answer.peer_cn.as_ref() == Some(cn), || {
            format!("the certificate is of {:?}, want {cn}", answer.peer_cn)
        });
    }
}

fn judge_body(answer: &Answer, expect: &Expect, failures: &mut Failures) {
    let body = String::from_utf8_lossy(&answer.body);
    let begin = || brief(&body, 200);
    if let Some(wanted) = &expect.body {
        failures.require(body == wanted.as_str(), || format!("body {:?}, want {wanted:?}", begin()));
    }
    if let Some(wanted) = &expect.body_contains {
        failures.require(body.contains(wanted.as_str()), || format!("body {:?} lacks {wanted}", begin()));
    }
    if let Some(regex) = &expect.body_regex {
        match pattern(regex) {
            Ok(pattern) => {
                failures.require(pattern.is_match(&body), || format!("body {:?} does not match /{regex}/", begin()))
            }
            Err(problem) => failures.add(problem),
        }
    }
    if let Some(range) = &expect.body_len {
        failures.require(range.holds_count(answer.body.len()), || {
            format!("body of {} bytes, want {range}", answer.body.len())
        });
    }
    if let Some(size) = expect.body_pattern {
        failures.require(answer.body == http1::pattern(size), || {
            format!("body of {} bytes is not pattern({size})", answer.body.len())
        });
    }
}

fn judge_grpc(answer: &Answer, expect: &Expect, failures: &mut Failures) {
    let field = |name| http1::header(&answer.trailers, name).or_else(|| http1::header(&answer.headers, name));
    if let Some(range) = &expect.grpc_status {
        let status = field("grpc-status");
        let holds = status.and_then(|status| status.parse().ok()).is_some_and(|status| range.holds(status));
        failures.require(holds, || format!("grpc-status {status:?}, want {range}"));
    }
    if let Some(wanted) = &expect.grpc_message {
        let message = field("grpc-message").unwrap_or("");
        failures.require(message.contains(wanted.as_str()), || format!("grpc-message {message:?}, want {wanted:?}"));
    }
    if let Some(wanted) = &expect.message {
        let message = String::from_utf8_lossy(answer.body.get(5..).unwrap_or_default());
        failures.require(message == wanted.as_str(), || format!("message {:?}, want {wanted:?}", brief(&message, 100)));
    }
}
