//! What is written as one scalar: [`Leaf`], from the [`Scalar`] that stands there, or the [`Fault`] that it is.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserializer, Visitor};

use super::yaml;

/// Why a value is not taken, and what would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Fault {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// A value of another type than the field has.
    pub(crate) fn expected(expected: &str, found: Scalar<'_>) -> Self {
        Self::new(format!("expected {expected}, found {found}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// A value without parts, as it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(&'a str),
}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Null => f.write_str("null"),
            Scalar::Bool(value) => write!(f, "the boolean {value}"),
            Scalar::Signed(value) => write!(f, "the number {value}"),
            Scalar::Unsigned(value) => write!(f, "the number {value}"),
            Scalar::Float(value) => write!(f, "the number {value}"),
            Scalar::Text(value) if value.chars().count() > 60 => {
                write!(f, "the text {:?}...", value.chars().take(60).collect::<String>())
            }
            Scalar::Text(value) => write!(f, "the text {value:?}"),
        }
    }
}

/// Everything that is written as one scalar.
pub(crate) trait Leaf: Sized {
    /// What is expected, for a message: `a string`.
    const EXPECTED: &'static str;

    /// Reads it.
    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault>;

    /// Whether it can be read.
    fn check(scalar: Scalar<'_>) -> Result<(), Fault> {
        Self::parse(scalar).map(drop)
    }
}

struct LeafVisitor<T>(PhantomData<T>);

impl<T: Leaf> Visitor<'_> for LeafVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<T, E> {
        T::parse(Scalar::Bool(value)).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        T::parse(Scalar::Signed(value)).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        T::parse(Scalar::Unsigned(value)).map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<T, E> {
        T::parse(Scalar::Float(value)).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<T, E> {
        T::parse(Scalar::Text(value)).map_err(E::custom)
    }

    fn visit_unit<E: de::Error>(self) -> Result<T, E> {
        T::parse(Scalar::Null).map_err(E::custom)
    }
}

pub(crate) fn decode_leaf<'de, T: Leaf, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(LeafVisitor(PhantomData))
}

/// Makes a [`Leaf`] a [`Word`].
macro_rules! leaf {
    ($($Type:ty),+ $(,)?) => {$(
        impl $crate::config::message::Word for $Type {
            const SCHEMA: $crate::config::schema::Schema =
                $crate::config::schema::Schema::Leaf {
                    expected: <$Type as $crate::config::leaf::Leaf>::EXPECTED,
                    check: <$Type as $crate::config::leaf::Leaf>::check,
                };

            fn decode<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::config::leaf::decode_leaf(deserializer)
            }
        }
    )+};
}
pub(crate) use leaf;

leaf!(String, bool, i32, u32, u64, f64);

impl Leaf for String {
    const EXPECTED: &'static str = "a string";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        match scalar {
            Scalar::Text(text) => Ok(text.to_owned()),
            Scalar::Null => Err(Fault::expected(Self::EXPECTED, scalar)),
            other => Err(Fault::expected(Self::EXPECTED, other).help("put it in quotes")),
        }
    }

    fn check(scalar: Scalar<'_>) -> Result<(), Fault> {
        match scalar {
            Scalar::Text(_) => Ok(()),
            other => Self::parse(other).map(drop),
        }
    }
}

impl Leaf for bool {
    const EXPECTED: &'static str = "true or false";

    /// `kubectl` reads YAML 1.1, where yes, no, on and off are booleans too.
    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        match scalar {
            Scalar::Bool(value) => Ok(value),
            Scalar::Text("yes" | "Yes" | "YES" | "on" | "On" | "ON") => Ok(true),
            Scalar::Text("no" | "No" | "NO" | "off" | "Off" | "OFF") => Ok(false),
            Scalar::Text(text) if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") => {
                Err(Fault::expected(Self::EXPECTED, scalar).help("write it without quotes"))
            }
            other => Err(Fault::expected(Self::EXPECTED, other)),
        }
    }
}

/// The whole number that `scalar` is, `2.0` included: JSON knows one kind of number.
fn integer(expected: &str, scalar: Scalar<'_>) -> Result<i128, Fault> {
    match scalar {
        Scalar::Signed(value) => Ok(value.into()),
        Scalar::Unsigned(value) => Ok(value.into()),
        #[allow(clippy::cast_possible_truncation)]
        Scalar::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => Ok(value as i128),
        Scalar::Text(text) if text.parse::<i128>().is_ok() && yaml::is_number(text) => {
            Err(Fault::expected(expected, scalar).help(format!("write {text} without quotes")))
        }
        other => Err(Fault::expected(expected, other)),
    }
}

impl Leaf for i32 {
    const EXPECTED: &'static str = "a whole number";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        let number = integer(Self::EXPECTED, scalar)?;
        Self::try_from(number).map_err(|_| Fault::new(format!("{number} does not fit into 32 bits")))
    }
}

/// A number that is none for lack of a sign or of bits.
fn out_of_range(number: i128, bits: u32) -> Fault {
    match number {
        ..0 => Fault::new(format!("{number} is negative, expected a number of 0 or more")),
        _ => Fault::new(format!("{number} does not fit into {bits} bits")),
    }
}

impl Leaf for u32 {
    const EXPECTED: &'static str = "a whole number";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        let number = integer(Self::EXPECTED, scalar)?;
        Self::try_from(number).map_err(|_| out_of_range(number, 32))
    }
}

impl Leaf for u64 {
    const EXPECTED: &'static str = "a whole number";

    /// Proto JSON writes 64-bit numbers as strings and reads both.
    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        let number = match scalar {
            Scalar::Text(text) => text.parse().map_err(|_| Fault::expected(Self::EXPECTED, scalar))?,
            other => integer(Self::EXPECTED, other)?,
        };
        Self::try_from(number).map_err(|_| out_of_range(number, 64))
    }
}

impl Leaf for f64 {
    const EXPECTED: &'static str = "a number";

    #[allow(clippy::cast_precision_loss)]
    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        match scalar {
            Scalar::Signed(value) => Ok(value as f64),
            Scalar::Unsigned(value) => Ok(value as f64),
            Scalar::Float(value) if value.is_finite() => Ok(value),
            Scalar::Text(text) if text.ends_with('%') => {
                Err(Fault::expected(Self::EXPECTED, scalar).help("write the percentage without the % sign"))
            }
            Scalar::Text(text) if text.parse::<f64>().is_ok_and(f64::is_finite) && yaml::is_number(text) => {
                Err(Fault::expected(Self::EXPECTED, scalar).help(format!("write {text} without quotes")))
            }
            other => Err(Fault::expected(Self::EXPECTED, other)),
        }
    }
}
