//! Judges what happened by what the case expects.

mod answer;
mod many;
mod seen;
mod value;

use regex::Regex;

pub(crate) use many::{Saved, judge_answers, judge_share};
pub(crate) use seen::{Mark, judge_upstreams};

/// What did not hold.
#[derive(Debug, Default)]
pub(crate) struct Failures(Vec<String>);

impl Failures {
    pub(crate) fn add(&mut self, problem: impl Into<String>) {
        self.0.push(problem.into());
    }

    pub(crate) fn require(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.0.push(problem());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn append(&mut self, other: Failures) {
        self.0.extend(other.0);
    }

    /// The outcome of a step: all that did not hold, with a remark.
    pub(crate) fn into_result(self, remark: impl FnOnce() -> String) -> Result<(), String> {
        if self.0.is_empty() { Ok(()) } else { Err(format!("{}{}", self.0.join("; "), remark())) }
    }
}

/// A pattern searched for anywhere in a text.
pub(crate) fn pattern(regex: &str) -> Result<Regex, String> {
    Regex::new(regex).map_err(|error| format!("the case's pattern /{regex}/: {error}"))
}

/// The beginning of a text, for messages.
pub(crate) fn brief(text: &str, letters: usize) -> String {
    text.chars().take(letters).collect()
}
