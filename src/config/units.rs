//! Values that YAML has no type for: durations, points in time and bytes.
//!
//! ```
//! use mesh_router::config::units::Duration;
//!
//! let timeout: Duration = "1m30.5s".parse().unwrap();
//! assert_eq!(timeout.to_std(), Some(std::time::Duration::from_millis(90_500)));
//! assert_eq!(timeout.to_string(), "90.5s");
//! ```

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::leaf::{Fault, Leaf, Scalar, decode_leaf, leaf};
pub use super::timestamp::{ParseTimestampError, Timestamp};

/// A length of time as Istio writes it: `1.5s`, `100ms`, `1h30m`, and `-1s`, which decodes and is invalid later.
///
/// The units are `h`, `m`, `s`, `ms`, `us` (`µs`) and `ns`; without one only `0` is taken. It reaches to about 292
/// years in steps of a nanosecond, like Go's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration {
    nanos: i64,
}

impl Duration {
    /// A duration of `nanos` nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self { nanos }
    }

    /// A duration of `millis` milliseconds, at most the longest there is.
    pub const fn from_millis(millis: i64) -> Self {
        Self { nanos: millis.saturating_mul(1_000_000) }
    }

    /// A duration of `secs` seconds, at most the longest there is.
    pub const fn from_secs(secs: i64) -> Self {
        Self { nanos: secs.saturating_mul(1_000_000_000) }
    }

    /// The nanoseconds, negative for a negative duration.
    pub const fn as_nanos(self) -> i64 {
        self.nanos
    }

    /// Whether it is shorter than nothing.
    pub const fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether it is exactly nothing.
    pub const fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// The same for the rest of the program; `None` if it is negative.
    pub fn to_std(self) -> Option<std::time::Duration> {
        u64::try_from(self.nanos).ok().map(std::time::Duration::from_nanos)
    }
}

impl From<std::time::Duration> for Duration {
    /// At most the longest there is.
    fn from(duration: std::time::Duration) -> Self {
        Self { nanos: i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX) }
    }
}

/// In seconds, which is proto JSON's way: `90.5s`.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, nanos) = (if self.nanos < 0 { "-" } else { "" }, self.nanos.unsigned_abs());
        let (seconds, fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        if fraction == 0 {
            return write!(f, "{sign}{seconds}s");
        }
        let digits = format!("{fraction:09}");
        write!(f, "{sign}{seconds}.{}s", digits.trim_end_matches('0'))
    }
}

/// Why a text is no [`Duration`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseDurationError {
    fault: Fault,
}

impl fmt::Display for ParseDurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

impl std::error::Error for ParseDurationError {}

impl FromStr for Duration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_duration(text).map(Self::from_nanos).map_err(|fault| ParseDurationError { fault })
    }
}

/// The nanoseconds of `unit`.
fn unit_nanos(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Digits at the start of `text`, and what follows.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// `digits` as a number; more than any duration has are cut off at a number too large for all units.
fn whole(digits: &str) -> i128 {
    let digits = digits.trim_start_matches('0');
    if digits.len() > 20 { i128::from(u64::MAX) } else { digits.parse().unwrap_or(0) }
}

/// `0.digits` of `unit`, without the part below a nanosecond.
fn fraction(digits: &str, unit: i128) -> i128 {
    let digits = &digits[..digits.len().min(18)];
    let scale = (0..digits.len()).fold(1i128, |scale, _| scale * 10);
    digits.parse::<i128>().unwrap_or(0) * unit / scale
}

fn parse_duration(text: &str) -> Result<i64, Fault> {
    let invalid = || Fault::new(format!("{text:?} is no duration"));
    let example = "write a number and its unit, for example \"1.5s\", \"100ms\" or \"1h30m\"";
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if unsigned == "0" {
        return Ok(0);
    }
    if unsigned.is_empty() {
        return Err(invalid().help(example));
    }
    let mut rest = unsigned;
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (integral, after) = digits(rest);
        let (decimal, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if integral.is_empty() && decimal.is_empty() {
            return Err(invalid().help(example));
        }
        let (unit, after) = after.split_at(after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len()));
        if unit.is_empty() {
            return Err(invalid().help(format!("a unit is missing: \"{text}s\" or \"{text}ms\"")));
        }
        let Some(nanos) = unit_nanos(unit) else {
            return Err(invalid().help(format!("unknown unit {unit:?}: use h, m, s, ms, us or ns")));
        };
        total = total.saturating_add(whole(integral).saturating_mul(nanos)).saturating_add(fraction(decimal, nanos));
        rest = after;
    }
    i64::try_from(if negative { -total } else { total })
        .map_err(|_| Fault::new(format!("the duration {text:?} is too long")))
}

impl Leaf for Duration {
    const EXPECTED: &'static str = "a duration";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        match scalar {
            Scalar::Text(text) => parse_duration(text).map(Self::from_nanos),
            Scalar::Signed(number) => Err(missing_unit(scalar, &number.to_string())),
            Scalar::Unsigned(number) => Err(missing_unit(scalar, &number.to_string())),
            Scalar::Float(number) => Err(missing_unit(scalar, &number.to_string())),
            other => Err(Fault::expected(Self::EXPECTED, other)),
        }
    }
}

fn missing_unit(scalar: Scalar<'_>, number: &str) -> Fault {
    Fault::expected("a duration", scalar).help(format!("a unit is missing: \"{number}s\" or \"{number}ms\""))
}

leaf!(Duration);

impl<'de> serde::Deserialize<'de> for Duration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decode_leaf(deserializer)
    }
}

impl serde::Serialize for Duration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Bytes, written in base64: the standard or the URL alphabet, with or without padding.
///
/// Their debug output is their number only, since they may be a key.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Bytes(bytes::Bytes);

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

impl Bytes {
    /// These bytes.
    pub fn new(bytes: impl Into<bytes::Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, shared.
    pub fn as_bytes(&self) -> &bytes::Bytes {
        &self.0
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.0.len())
    }
}

impl Leaf for Bytes {
    const EXPECTED: &'static str = "bytes in base64";

    /// Line breaks are left out, as folded certificates have them. No message shows the text: it may be a key.
    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        let Scalar::Text(text) = scalar else {
            return Err(Fault::new(format!("expected {}", Self::EXPECTED)));
        };
        let compact: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let decoded = if compact.contains(['-', '_']) { URL_SAFE.decode(compact) } else { STANDARD.decode(compact) };
        match decoded {
            Ok(bytes) => Ok(Self(bytes.into())),
            Err(_) => Err(Fault::new("expected bytes in base64, found something else")),
        }
    }
}

leaf!(Bytes);

impl<'de> serde::Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decode_leaf(deserializer)
    }
}

impl serde::Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}
