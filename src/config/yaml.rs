//! The YAML parser: the only file that names it.

use serde::{Deserialize, Serialize};
use serde_yaml::Mapping;

use super::message::{Fault, Scalar};
use super::scan::Refusal;

pub(crate) use serde_yaml::{Mapping as Map, Value};

/// All documents of a file; an empty document is null.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>, Refusal> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).map_err(|error| refusal(&error)))
        .collect()
}

fn refusal(error: &serde_yaml::Error) -> Refusal {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let (line, column) = match error.location() {
        Some(location) => (number(location.line().max(1)), number(location.column().max(1))),
        None => (1, 1),
    };
    Refusal { fault: Fault::new(format!("not valid YAML: {}", plain(error))), line, column }
}

/// The message without the place, which we say ourselves.
fn plain(error: &serde_yaml::Error) -> String {
    let message = error.to_string();
    match message.split_once(" at line ") {
        Some((before, _)) => before.to_owned(),
        None => message,
    }
}

/// Puts the entries of merge keys (`<<`) where they belong. A merged mapping may have merge keys itself.
pub(crate) fn merge(value: &mut Value, depth: usize) -> Result<(), String> {
    for _ in 0..depth {
        value.apply_merge().map_err(|error| plain(&error))?;
        if !has_merge(value) {
            break;
        }
    }
    Ok(())
}

fn has_merge(value: &Value) -> bool {
    match value {
        Value::Mapping(mapping) => mapping.contains_key("<<") || mapping.values().any(has_merge),
        Value::Sequence(entries) => entries.iter().any(has_merge),
        _ => false,
    }
}

/// Reads a word.
pub(crate) fn decode<'v, T: Deserialize<'v>>(value: &'v Value) -> Result<T, String> {
    T::deserialize(value).map_err(|error| plain(&error))
}

/// `value` as a scalar.
pub(crate) fn scalar(value: &Value) -> Option<Scalar<'_>> {
    Some(match value {
        Value::Null => Scalar::Null,
        Value::Bool(value) => Scalar::Bool(*value),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => Scalar::Unsigned(number),
            (None, Some(number)) => Scalar::Signed(number),
            (None, None) => Scalar::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Scalar::Text(text),
        Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => return None,
    })
}

/// A key as JSON has it.
pub(crate) fn key_text(key: &Value) -> std::borrow::Cow<'_, str> {
    match scalar(key) {
        Some(Scalar::Text(text)) => text.into(),
        Some(Scalar::Bool(value)) => value.to_string().into(),
        Some(Scalar::Signed(number)) => number.to_string().into(),
        Some(Scalar::Unsigned(number)) => number.to_string().into(),
        Some(Scalar::Float(number)) => number.to_string().into(),
        Some(Scalar::Null) | None => "null".into(),
    }
}

/// Adds a key to a path: `.key`, or `["key"]` where it has dots or brackets itself.
pub(crate) fn push_key(path: &mut String, key: &str) {
    if key.is_empty() || key.contains(['.', '[', ']', '"']) {
        path.push_str("[\"");
        path.push_str(key);
        path.push_str("\"]");
        return;
    }
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

/// Adds a position in a list to a path.
pub(crate) fn push_index(path: &mut String, index: usize) {
    use std::fmt::Write as _;
    let _ = write!(path, "[{index}]");
}

/// Visits every field of `spec` that is set, in the order of the word's fields, the outer before the inner.
///
/// `visit` gets the path below `spec`, such as `http[0].match[0].uri.exact` (`labels["a.b/c"]` for keys with dots), and
/// whether nothing is inside of it; it says whether to go inside.
///
/// ```
/// use mesh_router::config::{self, ServiceEntry};
///
/// let spec = ServiceEntry { hosts: vec!["a.example".into()], ..ServiceEntry::default() };
/// let mut seen = Vec::new();
/// config::walk(&spec, &mut |path, is_leaf| {
///     seen.push((path.to_owned(), is_leaf));
///     true
/// });
/// assert_eq!(seen, [("hosts".to_owned(), false), ("hosts[0]".to_owned(), true)]);
/// ```
pub fn walk<T: Serialize>(spec: &T, visit: &mut dyn FnMut(&str, bool) -> bool) {
    if let Ok(value) = serde_yaml::to_value(spec) {
        walk_value(&value, &mut String::new(), visit);
    }
}

fn walk_value(value: &Value, path: &mut String, visit: &mut dyn FnMut(&str, bool) -> bool) {
    let end = path.len();
    let mut step = |path: &mut String, inner: &Value| {
        if visit(path, is_leaf(inner)) {
            walk_value(inner, path, visit);
        }
        path.truncate(end);
    };
    match value {
        Value::Mapping(mapping) => {
            for (key, inner) in mapping {
                push_key(path, &key_text(key));
                step(path, inner);
            }
        }
        Value::Sequence(entries) => {
            for (index, inner) in entries.iter().enumerate() {
                push_index(path, index);
                step(path, inner);
            }
        }
        _ => {}
    }
}

fn is_leaf(value: &Value) -> bool {
    match value {
        Value::Mapping(mapping) => mapping.is_empty(),
        Value::Sequence(entries) => entries.is_empty(),
        _ => true,
    }
}

/// What `value` is, for a message.
pub(crate) fn describe(value: &Value) -> String {
    match value {
        Value::Mapping(_) => "a mapping".to_owned(),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Tagged(tagged) => format!("the tag {}", tagged.tag),
        other => scalar(other).map_or_else(|| "nothing".to_owned(), |scalar| scalar.to_string()),
    }
}

/// The value named `name`, unless it is null.
pub(crate) fn get<'v>(mapping: &'v Mapping, name: &str) -> Option<&'v Value> {
    mapping.get(name).filter(|value| !value.is_null())
}
