//! Points in time, as Kubernetes writes them.

use std::fmt;
use std::str::FromStr;

use super::leaf::{Fault, Leaf, Scalar, decode_leaf, leaf};

/// A point in time, written in RFC 3339 with any offset from UTC.
///
/// It has whole seconds, as the API server hands them out. Texts reach to 9999-12-30T22:00:00Z.
///
/// ```
/// use mesh_router::config::units::Timestamp;
///
/// let berlin: Timestamp = "2024-01-01T01:00:00.5+01:00".parse().unwrap();
/// assert_eq!(berlin, "2024-01-01T00:00:00Z".parse().unwrap());
/// assert_eq!(berlin.to_string(), "2024-01-01T00:00:00Z");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Counted from the beginning of 1970 in UTC.
    seconds: i64,
}

impl Timestamp {
    /// The point `seconds` after the beginning of 1970 in UTC.
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self { seconds }
    }

    /// The seconds since the beginning of 1970 in UTC, negative before.
    pub const fn as_unix_seconds(self) -> i64 {
        self.seconds
    }
}

/// In UTC: `2024-01-01T00:00:00Z`; what is beyond the years that a calendar has is written as the last of them.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (jiff::Timestamp::MIN, jiff::Timestamp::MAX);
        let seconds = self.seconds.clamp(first.as_second(), last.as_second());
        jiff::Timestamp::from_second(seconds).unwrap_or(last).fmt(f)
    }
}

/// Why a text is no [`Timestamp`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseTimestampError {
    fault: Fault,
}

impl fmt::Display for ParseTimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

impl std::error::Error for ParseTimestampError {}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|fault| ParseTimestampError { fault })
    }
}

fn parse(text: &str) -> Result<Timestamp, Fault> {
    let invalid = || Fault::new(format!("{text:?} is no point in time")).help("write it as \"2024-01-31T09:30:00Z\"");
    seconds(text).map(Timestamp::from_unix_seconds).ok_or_else(invalid)
}

fn seconds(text: &str) -> Option<i64> {
    let point: jiff::Timestamp = Some(text).filter(|text| is_rfc_3339(text))?.parse().ok()?;
    // What is before 1970 is cut off towards the past as well.
    Some(point.as_duration().as_secs() - i64::from(point.subsec_nanosecond() < 0))
}

/// Whether a text looks as RFC 3339 has it: jiff reads more than the API server writes.
fn is_rfc_3339(text: &str) -> bool {
    let looks_like = |text: &str, shape: &str| {
        let fits = |(byte, shape): (u8, u8)| if shape == b'0' { byte.is_ascii_digit() } else { byte == shape };
        text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fits)
    };
    let Some((point, rest)) = text.split_at_checked("2024-01-01T00:00:00".len()) else { return false };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let offset = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (fraction, offset) = rest.split_at(offset);
    looks_like(point, "0000-00-00T00:00:00")
        && !point.ends_with(":60")
        && (fraction.is_empty() || fraction.strip_prefix('.').is_some_and(digits))
        && (offset == "Z" || looks_like(offset, "+00:00") || looks_like(offset, "-00:00"))
}

impl Leaf for Timestamp {
    const EXPECTED: &'static str = "a point in time";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        match scalar {
            Scalar::Text(text) => parse(text),
            other => Err(Fault::expected(Self::EXPECTED, other)),
        }
    }
}

leaf!(Timestamp);

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decode_leaf(deserializer)
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(text: &str) -> Option<i64> {
        text.parse().ok().map(Timestamp::as_unix_seconds)
    }

    #[test]
    fn points_in_time_as_rfc_3339_writes_them() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00-00:00", 0),
            ("1969-12-31T23:59:59Z", -1),
            ("2024-01-01T00:00:00Z", 1_704_067_200),
            ("2024-01-01T02:00:00+02:00", 1_704_067_200),
            ("2023-12-31T18:30:00-05:30", 1_704_067_200),
            ("2024-01-01T00:00:00.999999999Z", 1_704_067_200),
            ("2024-02-29T12:34:56Z", 1_709_210_096),
            ("2000-03-01T00:00:00Z", 951_868_800),
            ("1969-12-31T23:59:58.5Z", -2),
            ("1900-03-01T00:00:00Z", -2_203_891_200),
            ("0000-01-01T00:00:00Z", -62_167_219_200),
            ("9999-12-30T22:00:00Z", 253_402_207_200),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            "yesterday",
            "2024-01-01",
            "2024-01-01 00:00:00Z",
            "2024-01-01t00:00:00z",
            "2024-01-01T00:00:00",
            "2024-1-01T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-04-31T00:00:00Z",
            "2024-01-00T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:60Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00+2:00",
            "2024-01-01T00:00:00+0200",
            "2024-01-01T00:00:00+02:00Z",
            "2024-01-01T00:00:00Z ",
            "+024-01-01T00:00:00Z",
            "2024-01-01T00:00:0\u{661}Z",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn what_no_calendar_has_is_written_as_its_end() {
        assert_eq!(Timestamp::from_unix_seconds(i64::MAX).to_string(), "9999-12-30T22:00:00Z");
        assert_eq!(Timestamp::from_unix_seconds(i64::MIN).to_string(), jiff::Timestamp::MIN.to_string());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(seconds in -62_167_219_200i64..=253_402_207_200) {
            let written = Timestamp::from_unix_seconds(seconds).to_string();
            prop_assert_eq!(written.parse().ok(), Some(Timestamp::from_unix_seconds(seconds)), "{}", written);
        }
    }
}
