//! `${kind:argument}` in the text of a case.

use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_yaml::{Mapping, Value};

#[allow(clippy::unwrap_used, reason = "a constant pattern")]
static PLACEHOLDER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\$\{([a-z0-9]+)(?::([A-Za-z0-9_.-]+))?\}").unwrap());

/// Knows what a placeholder stands for.
pub(crate) trait Lookup {
    /// `None` leaves the text as it is; an error is a case that asks for something that is not there.
    fn look_up(&self, kind: &str, argument: Option<&str>) -> Result<Option<String>, String>;
}

/// Fills in the placeholders of a text.
pub(crate) fn fill_text(text: &str, lookup: &dyn Lookup) -> Result<String, String> {
    let mut problem = None;
    let filled = PLACEHOLDER.replace_all(text, |found: &Captures<'_>| {
        let argument = found.get(2).map(|argument| argument.as_str());
        match lookup.look_up(&found[1], argument) {
            Ok(Some(value)) => value,
            Ok(None) => found[0].to_owned(),
            Err(why) => {
                problem = Some(why);
                String::new()
            }
        }
    });
    problem.map_or(Ok(filled.into_owned()), Err)
}

/// Fills in the placeholders of every text in a tree, keys included.
pub(crate) fn fill(value: &Value, lookup: &dyn Lookup) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => Value::String(fill_text(text, lookup)?),
        Value::Sequence(values) => {
            Value::Sequence(values.iter().map(|value| fill(value, lookup)).collect::<Result<_, _>>()?)
        }
        Value::Mapping(entries) => {
            let mut filled = Mapping::new();
            for (key, value) in entries {
                filled.insert(fill(key, lookup)?, fill(value, lookup)?);
            }
            Value::Mapping(filled)
        }
        other => other.clone(),
    })
}
