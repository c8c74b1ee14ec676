//! Points in time, as Kubernetes writes them.

use std::fmt;
use std::str::FromStr;

use super::leaf::{Fault, Leaf, Scalar, decode_leaf, leaf};

/// A point in time, written in RFC 3339 with any offset from UTC.
///
/// It has whole seconds, as the API server hands them out.
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

const DAY: i64 = 24 * 60 * 60;
/// The days of 400 years, after which the calendar repeats itself.
const CYCLE: i64 = 400 * 365 + 97;
/// The days from the beginning of the year 0 to that of 1970.
const EPOCH: i64 = 719_528;

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

/// In UTC: `2024-01-01T00:00:00Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.seconds.div_euclid(DAY) + EPOCH, self.seconds.rem_euclid(DAY));
        let (cycles, mut day) = (days.div_euclid(CYCLE), days.rem_euclid(CYCLE));
        let mut year = cycles * 400;
        while day >= days_of_year(year) {
            day -= days_of_year(year);
            year += 1;
        }
        let mut month = 1;
        while day >= days_of_month(year, month) {
            day -= days_of_month(year, month);
            month += 1;
        }
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", day + 1)
    }
}

fn is_leap_year(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_year(year: i64) -> i64 {
    if is_leap_year(year) { 366 } else { 365 }
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap_year(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
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
    let mut rest = Rest(text);
    let year = rest.number(4, 0..=9999)?;
    let month = rest.skip("-")?.number(2, 1..=12)?;
    let day = rest.skip("-")?.number(2, 1..=days_of_month(year, month))?;
    let hour = rest.skip("T")?.number(2, 0..=23)?;
    let minute = rest.skip(":")?.number(2, 0..=59)?;
    let second = rest.skip(":")?.number(2, 0..=59)?;
    rest.skip_fraction()?;
    let offset = rest.offset()?;
    let before: i64 = (1..month).map(|month| days_of_month(year, month)).sum();
    // Of the years before this one, each fourth has a day more, but for those of whole centuries without 400ths.
    let leap_days = |last: i64| last.div_euclid(4) - last.div_euclid(100) + last.div_euclid(400) + 1;
    let days = year * 365 + leap_days(year - 1) + before + day - 1 - EPOCH;
    Some(days * DAY + hour * 3600 + minute * 60 + second - offset)
}

/// What of a text is not read yet.
struct Rest<'a>(&'a str);

impl Rest<'_> {
    fn skip(&mut self, text: &str) -> Option<&mut Self> {
        self.0 = self.0.strip_prefix(text)?;
        Some(self)
    }

    /// A number of so many digits.
    fn number(&mut self, digits: usize, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        let number = number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok())??;
        range.contains(&number).then_some(number)
    }

    /// The part of a second, which is cut off.
    fn skip_fraction(&mut self) -> Option<()> {
        let Some(fraction) = self.0.strip_prefix('.') else { return Some(()) };
        self.0 = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
        (self.0.len() < fraction.len()).then_some(())
    }

    /// `Z`, or how far the clock is ahead of UTC, in seconds; nothing follows it.
    fn offset(&mut self) -> Option<i64> {
        if self.0 == "Z" {
            return Some(0);
        }
        let sign = if self.0.starts_with('-') { -1 } else { 1 };
        self.0 = self.0.strip_prefix(['+', '-'])?;
        let hours = self.number(2, 0..=23)?;
        let minutes = self.skip(":")?.number(2, 0..=59)?;
        self.0.is_empty().then_some(sign * (hours * 3600 + minutes * 60))
    }
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
            ("1900-03-01T00:00:00Z", -2_203_891_200),
            ("0000-01-01T00:00:00Z", -62_167_219_200),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
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
            "2024-01-01T00:00:00+24:00",
            "2024-01-01T00:00:00+02:00Z",
            "2024-01-01T00:00:00Z ",
            "+024-01-01T00:00:00Z",
            "2024-01-01T00:00:0\u{661}Z",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(seconds in -62_167_219_200i64..=253_402_300_799) {
            let written = Timestamp::from_unix_seconds(seconds).to_string();
            prop_assert_eq!(written.parse().ok(), Some(Timestamp::from_unix_seconds(seconds)), "{}", written);
        }
    }
}
