//! The small words of the case format: scalars, ranges, header lines and checks of values.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_yaml::Value;

/// A scalar taken as text: `200`, `0.45` and `200-ok` alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Word(pub(crate) String);

impl Word {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn from_value(value: Value) -> Result<Word, String> {
        match value {
            Value::String(text) => Ok(Word(text)),
            Value::Number(number) => Ok(Word(number.to_string())),
            Value::Bool(flag) => Ok(Word(flag.to_string())),
            other => Err(format!("a scalar is wanted, not {other:?}")),
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Word::from_value(Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// One value or a list of them.
#[derive(Clone, Debug)]
pub(crate) struct OneOrMany<T>(pub(crate) Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        OneOrMany(Vec::new())
    }
}

impl<'de, T: serde::de::DeserializeOwned> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = match Value::deserialize(deserializer)? {
            Value::Sequence(values) => values,
            one => vec![one],
        };
        let words: Result<Vec<T>, _> = values.into_iter().map(serde_yaml::from_value).collect();
        words.map(OneOrMany).map_err(D::Error::custom)
    }
}

/// Reads a key whose `null` means something: `Some` whenever the key is there.
pub(crate) fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// A number that has to be exact, or `[lo, hi]` where null leaves a side open.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Range {
    Exactly(f64),
    Between(Option<f64>, Option<f64>),
}

impl Range {
    pub(crate) fn holds(&self, value: f64) -> bool {
        match *self {
            Range::Exactly(wanted) => value == wanted,
            Range::Between(low, high) => low.is_none_or(|low| value >= low) && high.is_none_or(|high| value <= high),
        }
    }

    pub(crate) fn holds_count(&self, count: usize) -> bool {
        self.holds(count as f64)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |side: &Option<f64>| side.map_or_else(|| "..".to_owned(), |number| number.to_string());
        match self {
            Range::Exactly(number) => write!(f, "{number}"),
            Range::Between(low, high) => write!(f, "[{}, {}]", side(low), side(high)),
        }
    }
}

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = |value: &Value| match value {
            Value::Null => Ok(None),
            other => other.as_f64().map(Some).ok_or_else(|| D::Error::custom(format!("no number: {other:?}"))),
        };
        let value = Value::deserialize(deserializer)?;
        match &value {
            Value::Sequence(sides) if sides.len() == 2 => Ok(Range::Between(number(&sides[0])?, number(&sides[1])?)),
            one => number(one)?.map(Range::Exactly).ok_or_else(|| D::Error::custom("a number or [lo, hi] is wanted")),
        }
    }
}

/// Header lines in the order of the file: a map of value or list, or a list of `[name, value]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeaderLines(pub(crate) Vec<(String, String)>);

impl HeaderLines {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key.eq_ignore_ascii_case(name))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<'de> Deserialize<'de> for HeaderLines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lines;
        impl<'de> Visitor<'de> for Lines {
            type Value = HeaderLines;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of headers or a list of [name, value]")
            }

            fn visit_unit<E: Error>(self) -> Result<HeaderLines, E> {
                Ok(HeaderLines::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HeaderLines, A::Error> {
                let mut lines = Vec::new();
                while let Some((name, values)) = map.next_entry::<Word, Value>()? {
                    let values = match values {
                        Value::Null => Vec::new(),
                        Value::Sequence(values) => values,
                        one => vec![one],
                    };
                    for value in values {
                        lines.push((name.0.clone(), Word::from_value(value).map_err(A::Error::custom)?.0));
                    }
                }
                Ok(HeaderLines(lines))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<HeaderLines, A::Error> {
                let mut lines = Vec::new();
                while let Some((name, value)) = list.next_element::<(Word, Word)>()? {
                    lines.push((name.0, value.0));
                }
                Ok(HeaderLines(lines))
            }
        }
        deserializer.deserialize_any(Lines)
    }
}

/// What a header, or a field an upstream saw, has to be.
#[derive(Clone, Debug)]
pub(crate) enum Check {
    Absent,
    Text(String),
    Rules(Box<Rules>),
}

/// The tests of a value; all that are given must hold.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rules {
    pub(crate) regex: Option<String>,
    pub(crate) contains: Option<Word>,
    pub(crate) present: Option<bool>,
    pub(crate) not: Option<Word>,
    pub(crate) not_contains: Option<Word>,
    pub(crate) one_of: Option<Vec<Word>>,
    pub(crate) count: Option<usize>,
}

impl<'de> Deserialize<'de> for Check {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Check::Absent),
            rules @ Value::Mapping(_) => {
                serde_yaml::from_value(rules).map(|rules| Check::Rules(Box::new(rules))).map_err(D::Error::custom)
            }
            Value::Sequence(values) => {
                let words: Result<Vec<String>, String> =
                    values.into_iter().map(|value| Word::from_value(value).map(|word| word.0)).collect();
                words.map(|words| Check::Text(words.join(", "))).map_err(D::Error::custom)
            }
            scalar => Word::from_value(scalar).map(|word| Check::Text(word.0)).map_err(D::Error::custom),
        }
    }
}

/// What a websocket client sends, and what it wants back.
#[derive(Clone, Debug)]
pub(crate) enum Frame {
    Text(String),
    Pattern(usize),
    Sleep(f64),
}

impl<'de> Deserialize<'de> for Frame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let seconds = value.get("sleep").and_then(Value::as_f64);
        match (&value, seconds) {
            (Value::String(text), _) => Ok(Frame::Text(text.clone())),
            (Value::Number(number), _) => Ok(Frame::Pattern(number.as_u64().unwrap_or(0) as usize)),
            (Value::Mapping(_), Some(seconds)) => Ok(Frame::Sleep(seconds)),
            _ => Err(D::Error::custom("text, a number or {sleep: s} is wanted")),
        }
    }
}
