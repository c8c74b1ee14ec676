//! Checks of one header or field.

use super::{Failures, pattern};
use crate::schema::{Check, Rules};

/// Judges the values of a header, none if it is absent.
pub(super) fn judge_values(what: &str, got: &[&str], check: &Check, failures: &mut Failures) {
    match check {
        Check::Absent => failures.require(got.is_empty(), || format!("{what}: {got:?}, want none")),
        Check::Text(wanted) => {
            let joined = normal(got);
            failures.require(!got.is_empty(), || format!("{what}: absent, want {wanted:?}"));
            failures.require(got.is_empty() || joined == normal(&[wanted]), || {
                format!("{what}: {joined:?}, want {wanted:?}")
            });
        }
        Check::Rules(rules) => judge_rules(what, got, rules, failures),
    }
}

/// Values joined by comma, blanks around commas left out.
fn normal(values: &[&str]) -> String {
    let parts: Vec<&str> = values.iter().flat_map(|value| value.split(',')).map(str::trim).collect();
    parts.join(", ")
}

fn judge_rules(what: &str, got: &[&str], rules: &Rules, failures: &mut Failures) {
    let there = !got.is_empty();
    let (joined, plain) = (normal(got), got.join(", "));
    let mut want = |holds: bool, wish: String| failures.require(holds, || format!("{what}: {got:?}, want {wish}"));
    if let Some(present) = rules.present {
        want(there == present, format!("present: {present}"));
    }
    if let Some(regex) = &rules.regex {
        match pattern(regex) {
            Ok(pattern) => want(there && pattern.is_match(&plain), format!("a match of /{regex}/")),
            Err(problem) => want(false, problem),
        }
    }
    if let Some(part) = &rules.contains {
        want(there && plain.contains(part.as_str()), format!("one that contains {part}"));
    }
    if let Some(other) = &rules.not {
        want(!there || joined != other.as_str(), format!("not {other}"));
    }
    if let Some(part) = &rules.not_contains {
        want(!plain.contains(part.as_str()), format!("one without {part}"));
    }
    if let Some(choices) = &rules.one_of {
        want(there && choices.iter().any(|choice| choice.as_str() == joined), format!("one of {choices:?}"));
    }
    if let Some(count) = rules.count {
        want(got.len() == count, format!("{count} values"));
    }
}
