//! The values of YAML: the only file that names their crate.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_yaml::Mapping;
use serde_yaml::value::{Tag, TaggedValue};

use super::leaf::{Fault, Scalar};

pub(crate) use serde_yaml::{Mapping as Map, Value};

/// Builds the value of one document from its events.
#[derive(Debug, Default)]
pub(crate) struct ValueBuilder {
    root: Value,
    open: Vec<Open>,
}

/// A list or mapping whose entries follow.
#[derive(Debug)]
struct Open {
    container: Value,
    /// The key whose value comes next.
    key: Option<Value>,
    tag: Option<Tag>,
}

impl ValueBuilder {
    /// The key of the value that comes next, and how a path names it if that is not its text, as `2` for `0x2`. It has
    /// another text than the keys before it.
    pub(crate) fn key(&mut self, text: Cow<'_, str>, plain: bool, tag: Option<&str>) -> Result<Option<String>, Fault> {
        let Some(Open { container: Value::Mapping(mapping), key, .. }) = self.open.last_mut() else { return Ok(None) };
        let value = resolve(text, plain, tag)?;
        // Texts that differ are one key where they are one number, such as `1` and `0x1`.
        if !value.is_string() && mapping.contains_key(&value) {
            let fault = Fault::new(format!("the key {} stands here twice", key_text(&value)));
            return Err(fault.help("it is written in two ways: remove one of them"));
        }
        let named = (value.is_number() || value.is_bool()).then(|| key_text(&value).into_owned());
        *key = Some(value);
        Ok(named)
    }

    /// Begins a list or mapping.
    pub(crate) fn open(&mut self, mapping: bool, tag: Option<&str>) {
        let container = if mapping { Value::Mapping(Mapping::new()) } else { Value::Sequence(Vec::new()) };
        self.open.push(Open { container, key: None, tag: local(tag).map(Tag::new) });
    }

    /// Ends the last open list or mapping; it is added by [`Self::push`].
    pub(crate) fn close(&mut self) -> Value {
        match self.open.pop() {
            Some(Open { container, tag: None, .. }) => container,
            Some(Open { container, tag: Some(tag), .. }) => tagged(tag, container),
            None => Value::Null,
        }
    }

    /// Adds a value to the last open list or mapping.
    pub(crate) fn push(&mut self, value: Value) {
        match self.open.last_mut() {
            Some(Open { container: Value::Sequence(entries), .. }) => entries.push(value),
            Some(Open { container: Value::Mapping(mapping), key, .. }) => {
                mapping.insert(key.take().unwrap_or_default(), value);
            }
            _ => self.root = value,
        }
    }

    pub(crate) fn finish(self) -> Value {
        self.root
    }
}

fn tagged(tag: Tag, value: Value) -> Value {
    Value::Tagged(Box::new(TaggedValue { tag, value }))
}

/// The name of a tag of the application's own, such as `!name`.
fn local(tag: Option<&str>) -> Option<&str> {
    let tag = tag?;
    let name = tag.strip_prefix('!')?;
    Some(if name.is_empty() { tag } else { name })
}

/// What a scalar is: `plain` unless it is quoted or a block, `tag` in full.
pub(crate) fn resolve(text: Cow<'_, str>, plain: bool, tag: Option<&str>) -> Result<Value, Fault> {
    if let Some(name) = local(tag) {
        return Ok(tagged(Tag::new(name), resolve(text, plain, None)?));
    }
    let Some(tag) = tag else { return if plain { untagged(text) } else { Ok(Value::String(text.into_owned())) } };
    let expected = match tag.strip_prefix("tag:yaml.org,2002:") {
        Some("bool") => "a boolean",
        Some("int") => "an integer",
        Some("float") => "a float",
        Some("null") => "null",
        _ => return Ok(Value::String(text.into_owned())),
    };
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.~".contains(&byte);
    if text.bytes().all(word) {
        return parse(&format!("!<{tag}> '{text}'"));
    }
    Err(Fault::new(format!("not valid YAML: invalid value: string {text:?}, expected {expected}")))
}

/// What a plain scalar is.
fn untagged(text: Cow<'_, str>) -> Result<Value, Fault> {
    match &*text {
        "" | "~" | "null" => return Ok(Value::Null),
        "true" => return Ok(Value::Bool(true)),
        "false" => return Ok(Value::Bool(false)),
        _ => {}
    }
    let bytes = text.as_bytes();
    if (bytes.len() == 1 || bytes[0] != b'0') && bytes.len() <= 18 && bytes.iter().all(u8::is_ascii_digit) {
        let number = bytes.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
        return Ok(Value::Number(number.into()));
    }
    if may_be_no_string(bytes) { parse(&text) } else { Ok(Value::String(text.into_owned())) }
}

/// Whether a text is a number where it stands without quotes.
pub(crate) fn is_number(text: &str) -> bool {
    untagged(text.into()).is_ok_and(|value| value.is_number())
}

/// Whether a plain scalar has the form of a number or of a word such as `True`; none of those is YAML of another kind.
fn may_be_no_string(text: &[u8]) -> bool {
    match text.first() {
        Some(b'n' | b'N' | b't' | b'T' | b'f' | b'F') => {
            matches!(text.len(), 4 | 5) && text.iter().all(u8::is_ascii_alphabetic)
        }
        Some(b'0'..=b'9' | b'+' | b'-' | b'.') => {
            let of_number = |byte: &u8| byte.is_ascii_hexdigit() || b"+-.xoInNi".contains(byte);
            text.iter().all(of_number)
                && text.iter().any(u8::is_ascii_alphanumeric)
                && text.iter().filter(|&&byte| byte == b'.').count() <= 1
        }
        _ => false,
    }
}

/// The scalar that `text` is.
fn parse(text: &str) -> Result<Value, Fault> {
    serde_yaml::from_str(text).map_err(|error| Fault::new(format!("not valid YAML: {}", plain(&error))))
}

/// The message without the place, which we say ourselves.
fn plain(error: &serde_yaml::Error) -> String {
    let message = error.to_string();
    match message.split_once(" at line ") {
        Some((before, _)) => before.to_owned(),
        None => message,
    }
}

/// Puts the entries of merge keys (`<<`) where they belong, or says of one where it stands and why that cannot be. A
/// merged mapping may have merge keys itself.
pub(crate) fn merge(value: &mut Value, depth: usize) -> Result<(), (String, Fault)> {
    let mut path = String::new();
    if let Some(found) = unmergeable(value, &mut path) {
        let fault = Fault::new(format!("not valid YAML: expected a mapping to merge, found {}", describe(found)));
        return Err((path, fault.help("`<<:` takes a mapping or a list of mappings, for example an alias")));
    }
    for _ in 0..depth {
        value.apply_merge().map_err(|error| (String::new(), Fault::new(plain(&error))))?;
        if !has_merge(value) {
            break;
        }
    }
    Ok(())
}

/// What cannot be merged of the first merge key of that kind, whose path is added to `path`.
fn unmergeable<'v>(value: &'v Value, path: &mut String) -> Option<&'v Value> {
    let end = path.len();
    match value {
        Value::Mapping(mapping) => mapping.iter().find_map(|(key, inner)| {
            path.truncate(end);
            push_key(path, &key_text(key));
            let merged = match inner {
                Value::Sequence(entries) => entries.as_slice(),
                one => std::slice::from_ref(one),
            };
            let bad = merged.iter().find(|part| key == "<<" && !matches!(part, Value::Mapping(_)));
            bad.or_else(|| unmergeable(inner, path))
        }),
        Value::Sequence(entries) => entries.iter().enumerate().find_map(|(index, entry)| {
            path.truncate(end);
            push_index(path, index);
            unmergeable(entry, path)
        }),
        Value::Tagged(tagged) => unmergeable(&tagged.value, path),
        _ => None,
    }
}

fn has_merge(value: &Value) -> bool {
    match value {
        Value::Mapping(mapping) => mapping.contains_key("<<") || mapping.values().any(has_merge),
        Value::Sequence(entries) => entries.iter().any(has_merge),
        _ => false,
    }
}

/// Whether libyaml, of which Go's readers are ports, takes `text`.
pub(crate) fn is_taken_by_libyaml(text: &str) -> bool {
    serde_yaml::Deserializer::from_str(text).all(|document| IgnoredAny::deserialize(document).is_ok())
}

/// Reads a word.
pub(crate) fn decode<'v, T: Deserialize<'v>>(value: &'v Value) -> Result<T, String> {
    T::deserialize(value).map_err(|error| plain(&error))
}

/// Reads a value that does not come from a file; JSON is YAML.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_yaml::from_str(text).map_err(|error| plain(&error))
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
pub(crate) fn key_text(key: &Value) -> Cow<'_, str> {
    match scalar(key) {
        Some(Scalar::Text(text)) => text.into(),
        Some(Scalar::Bool(value)) => value.to_string().into(),
        Some(Scalar::Signed(number)) => number.to_string().into(),
        Some(Scalar::Unsigned(number)) => number.to_string().into(),
        Some(Scalar::Float(number)) => number.to_string().into(),
        Some(Scalar::Null) | None => "null".into(),
    }
}

/// Writes a key of a path, the `first` or not: `.key`, or `["key"]` where it has dots or brackets itself.
pub(crate) fn write_key(to: &mut impl fmt::Write, first: bool, key: &str) -> fmt::Result {
    if key.is_empty() || key.contains(['.', '[', ']', '"']) {
        return write!(to, "[\"{key}\"]");
    }
    if !first {
        to.write_char('.')?;
    }
    to.write_str(key)
}

/// Adds a key to a path.
pub(crate) fn push_key(path: &mut String, key: &str) {
    let first = path.is_empty();
    let _ = write_key(path, first, key);
}

/// Adds a position in a list to a path.
pub(crate) fn push_index(path: &mut String, index: usize) {
    let _ = write!(path, "[{index}]");
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

/// Whether it was meant as a text with two colons at its end, `2001:db8::`, of which YAML makes a key without a value.
pub(crate) fn ends_with_colons(value: &Value) -> bool {
    let Value::Mapping(mapping) = value else { return false };
    let meant = |(key, value): (&Value, &Value)| value.is_null() && key.as_str().is_some_and(|key| key.ends_with(':'));
    mapping.len() == 1 && mapping.iter().all(meant)
}

/// The value named `name`, unless it is null.
pub(crate) fn get<'v>(mapping: &'v Mapping, name: &str) -> Option<&'v Value> {
    mapping.get(name).filter(|value| !value.is_null())
}
