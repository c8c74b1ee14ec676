//! Points in time, written in UTC as `strftime` does, with Envoy's additions for parts of a second.

use std::io::Write as _;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::Offset;

/// A format of points in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TimeFormat {
    pieces: Box<[Piece]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    /// What `strftime` writes by itself: `%Y`.
    Letter(Box<str>),
    /// `%f`, `%3f`: digits of the part of a second.
    Fraction(usize),
    /// `%E3S`: seconds with so many digits of their parts.
    Seconds(usize),
    /// `%s`, and `%3s` to `%9s` in finer units: since 1970.
    Epoch(usize),
}

/// `2026-11-21T09:30:00.123Z`.
impl Default for TimeFormat {
    fn default() -> Self {
        let text = |text: &str| Piece::Text(text.into());
        Self { pieces: [Piece::Letter("%Y-%m-%dT%H:%M:".into()), Piece::Seconds(3), text("Z")].into() }
    }
}

impl TimeFormat {
    /// Reads a format; `None` if it has a letter that is not known.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut pieces = Vec::new();
        parse_onto(text, &mut pieces)?;
        Some(Self { pieces: pieces.into() })
    }

    /// Writes a point in time, counted from 1970.
    pub(super) fn render(&self, since_epoch: Duration, out: &mut Vec<u8>) {
        let moment = Moment::new(since_epoch);
        for piece in &self.pieces {
            // A vector takes everything.
            let _ = piece.write(&moment, out);
        }
    }
}

/// The time of day, counted from 1970.
#[expect(clippy::disallowed_types, reason = "only the wall clock knows the date, and no timer goes by it")]
pub(super) fn now() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

fn parse_onto(text: &str, pieces: &mut Vec<Piece>) -> Option<()> {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        if !before.is_empty() {
            pieces.push(Piece::Text(before.into()));
        }
        let extended = after.strip_prefix('E');
        let after = extended.unwrap_or(after);
        let (number, after) = match after.as_bytes().first() {
            Some(digit @ b'1'..=b'9') => (Some(usize::from(digit - b'0')), &after[1..]),
            Some(b'*') if extended.is_some() => (Some(9), &after[1..]),
            _ => (None, after),
        };
        let letter = after.chars().next()?;
        rest = &after[letter.len_utf8()..];
        match (letter, number, extended.is_some()) {
            ('S', Some(digits), true) => pieces.push(Piece::Seconds(digits)),
            ('f', digits, false) => pieces.push(Piece::Fraction(digits.unwrap_or(9))),
            ('s', digits, false) => pieces.push(Piece::Epoch(digits.unwrap_or(0))),
            (_, Some(_), _) | (_, _, true) => return None,
            ('%', ..) => pieces.push(Piece::Text("%".into())),
            ('n', ..) => pieces.push(Piece::Text("\n".into())),
            ('t', ..) => pieces.push(Piece::Text("\t".into())),
            ('z', ..) => pieces.push(Piece::Text("+0000".into())),
            ('Z', ..) => pieces.push(Piece::Text("UTC".into())),
            (
                'Y' | 'y' | 'm' | 'd' | 'e' | 'H' | 'I' | 'M' | 'S' | 'p' | 'j' | 'a' | 'A' | 'b' | 'B' | 'h' | 'F'
                | 'T' | 'R' | 'D',
                ..,
            ) => {
                pieces.push(Piece::Letter(format!("%{letter}").into()));
            }
            // jiff writes it another way.
            ('c', ..) => parse_onto("%a %b %e %H:%M:%S %Y", pieces)?,
            _ => return None,
        }
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    Some(())
}

/// A point in time, taken apart.
struct Moment {
    since_epoch: Duration,
    date_time: DateTime,
}

impl Moment {
    fn new(since_epoch: Duration) -> Self {
        let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
        let at = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
        Self { since_epoch, date_time: Offset::UTC.to_datetime(at) }
    }
}

impl Piece {
    fn write(&self, at: &Moment, out: &mut Vec<u8>) -> std::io::Result<()> {
        let nanos = at.since_epoch.subsec_nanos();
        // The first digits of nine.
        let fraction = |digits: usize| nanos / 10u32.pow(9 - u32::try_from(digits.min(9)).unwrap_or(9));
        match self {
            Piece::Text(text) => out.write_all(text.as_bytes()),
            Piece::Fraction(digits) => write!(out, "{:0digits$}", fraction(*digits)),
            Piece::Seconds(digits) => write!(out, "{:02}.{:0digits$}", at.date_time.second(), fraction(*digits)),
            Piece::Epoch(0) => write!(out, "{}", at.since_epoch.as_secs()),
            Piece::Epoch(digits) => write!(out, "{}{:0digits$}", at.since_epoch.as_secs(), fraction(*digits)),
            Piece::Letter(letter) => write!(out, "{}", at.date_time.strftime(&**letter)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(format: &TimeFormat, nanos: u64) -> String {
        let mut out = Vec::new();
        format.render(Duration::from_nanos(nanos), &mut out);
        String::from_utf8(out).unwrap()
    }

    fn seconds(format: &str, seconds: u64) -> String {
        let mut out = Vec::new();
        TimeFormat::parse(format).unwrap().render(Duration::from_secs(seconds), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_default_has_milliseconds() {
        assert_eq!(rendered(&TimeFormat::default(), 1_522_427_699_123_456_789), "2018-03-30T16:34:59.123Z");
        assert_eq!(rendered(&TimeFormat::default(), 0), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (at, date) in [
            (0, "1970-01-01 001 Thu"),
            (68_169_600, "1972-02-29 060 Tue"),
            (94_608_000, "1972-12-31 366 Sun"),
            (951_782_400, "2000-02-29 060 Tue"),
            (951_868_800, "2000-03-01 061 Wed"),
            (1_709_164_800, "2024-02-29 060 Thu"),
            (4_107_542_400, "2100-03-01 060 Mon"),
            (13_569_465_600, "2400-01-01 001 Sat"),
            (253_402_128_000, "9999-12-30 364 Thu"),
        ] {
            assert_eq!(seconds("%Y-%m-%d %j %a", at), date);
        }
    }

    #[test]
    fn letters_stand_for_what_strftime_says() {
        let at = 1_522_427_699;
        for (format, expected) in [
            ("%F %T %R %D", "2018-03-30 16:34:59 16:34 03/30/18"),
            ("%Y/%m/%dT%H:%M:%S%z", "2018/03/30T16:34:59+0000"),
            ("%A %B %b %h %a %Z", "Friday March Mar Mar Fri UTC"),
            ("%I:%M %p", "04:34 PM"),
            ("%c", "Fri Mar 30 16:34:59 2018"),
            ("%s %%", "1522427699 %"),
        ] {
            assert_eq!(seconds(format, at), expected, "{format}");
        }
        assert_eq!(seconds("%I %p %e|", 0), "12 AM  1|");
        assert_eq!(seconds("%I %p", 43_200), "12 PM");
    }

    #[test]
    fn parts_of_a_second_have_as_many_digits_as_asked_for() {
        let at = 1_522_427_699_012_345_678;
        for (format, expected) in [
            ("%f", "012345678"),
            ("%3f", "012"),
            ("%6f", "012345"),
            ("%S.%3f", "59.012"),
            ("%E3S", "59.012"),
            ("%E6S", "59.012345"),
            ("%3s", "1522427699012"),
            ("%s.%1f", "1522427699.0"),
        ] {
            assert_eq!(rendered(&TimeFormat::parse(format).unwrap(), at), expected, "{format}");
        }
    }

    #[test]
    fn unknown_letters_are_refused() {
        for format in ["%Q", "%", "%3H", "%EH", "%E", "%é"] {
            assert_eq!(TimeFormat::parse(format), None, "{format}");
        }
    }
}
