//! Points in time, written in UTC as Envoy does: as C's `strftime`, with additions for parts of a second and for zones.

use std::io::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::strtime::{BrokenDownTime, Config, PosixCustom};
use jiff::tz::TimeZone;

/// A format of points in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TimeFormat {
    pieces: Box<[Piece]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    /// What jiff writes by itself: `%Y`.
    Letter(Box<str>),
    /// `%f`, `%3f`: digits of the part of a second; `None`: without zeros at its end.
    Fraction(Option<u8>),
    /// `%E3S`: seconds with so many digits of their parts.
    Seconds(Option<u8>),
}

/// The letters that `strftime` knows.
const LETTERS: &str = "%AaBbCcDdeFGgHhIjklMmPpRrSsTtUuVWwXxYyZz";

/// What may stand before the width of a letter.
const FLAGS: [char; 5] = ['-', '_', '0', '^', '#'];

/// What Envoy adds to them, as jiff has it.
const ADDED: [(&str, &str); 7] =
    [("ET", "T"), ("E4Y", "%Y"), ("Ez", "%:z"), ("E*z", "%::z"), (":z", "%:z"), ("::z", "%::z"), (":::z", "%:::z")];

/// `2026-11-21T09:30:00.123Z`.
impl Default for TimeFormat {
    fn default() -> Self {
        let letter = |letter: &str| Piece::Letter(letter.into());
        Self { pieces: [letter("%Y-%m-%dT%H:%M:"), Piece::Seconds(Some(3)), letter("Z")].into() }
    }
}

impl TimeFormat {
    /// Reads a format, in which what is not known stands for itself; `None` if it ends a line, which no header can.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        if text.split('%').skip(1).any(ends_line) {
            return None;
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            let (piece, after) = specifier(after).unwrap_or_else(|| (Piece::Text("%".into()), after));
            pieces.extend([Piece::Text(before.into()), piece]);
            rest = after;
        }
        pieces.push(Piece::Text(rest.into()));
        Some(Self { pieces: pieces.into() })
    }

    /// Writes a point in time, counted from 1970.
    pub(super) fn render(&self, since_epoch: Duration, out: &mut Vec<u8>) {
        let moment = Moment::new(since_epoch);
        for piece in &self.pieces {
            piece.write(&moment, out);
        }
    }
}

/// The time of day, counted from 1970.
#[expect(clippy::disallowed_types, reason = "only the wall clock knows the date, and no timer goes by it")]
pub(super) fn now() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

/// Reads what stands after a `%`, and says what follows it.
fn specifier(text: &str) -> Option<(Piece, &str)> {
    let added =
        ADDED.iter().find_map(|(added, letter)| Some((Piece::Letter((*letter).into()), text.strip_prefix(added)?)));
    added.or_else(|| part_of_second(text)).or_else(|| letter(text))
}

/// `f`, `3f` or `*f`; `E3f`, `E*f`, `E3S` or `E*S`, where the number may be any.
fn part_of_second(text: &str) -> Option<(Piece, &str)> {
    let (extended, text) = text.strip_prefix('E').map_or((false, text), |text| (true, text));
    let (number, after) = text.split_at(text.find(['S', 'f'])?);
    let digits = match number {
        "*" => None,
        "" if !extended => Some(9),
        "0" if !extended => return None,
        _ if number.chars().all(is_digit) && (extended || number.len() == 1) => Some(number.parse().ok()?),
        _ => return None,
    };
    match after.split_at(1) {
        ("f", after) => Some((Piece::Fraction(digits), after)),
        (_, after) => extended.then_some((Piece::Seconds(digits), after)),
    }
}

/// A letter of `strftime` with its flags and its width. `E` and `O` may stand before those that other languages write
/// in another way.
fn letter(text: &str) -> Option<(Piece, &str)> {
    let after = text.trim_start_matches(FLAGS);
    // jiff takes one flag; of several, the last one says how it is filled up.
    let flags = &text[..text.len() - after.len()];
    let flag = &flags[flags.len().saturating_sub(1)..];
    let (width, after) = after.split_at(after.find(|letter| !is_digit(letter))?);
    let (letters, after) = match after.split_at_checked(1)? {
        ("E", after) => ("CcPpRrstuXxYyZz", after),
        ("O", after) => ("BbCdeGgHhIjklMmPpRrSsTtUuVWwyZz", after),
        _ => (LETTERS, after),
    };
    let letter = after.chars().next().filter(|letter| letters.contains(*letter))?;
    Some((Piece::Letter(format!("%{flag}{width}{letter}").into()), &after[1..]))
}

/// Whether `%n` stands here, in any of its forms.
fn ends_line(after: &str) -> bool {
    after.trim_start_matches(FLAGS).trim_start_matches(is_digit).trim_start_matches(['E', 'O']).starts_with('n')
}

fn is_digit(letter: char) -> bool {
    letter.is_ascii_digit()
}

/// A point in time, taken apart.
struct Moment {
    nanos: u32,
    date_time: BrokenDownTime,
}

impl Moment {
    fn new(since_epoch: Duration) -> Self {
        let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
        let at = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
        Self { nanos: since_epoch.subsec_nanos(), date_time: BrokenDownTime::from(&at.to_zoned(TimeZone::UTC)) }
    }

    fn letter(&self, letter: &str, out: &mut Vec<u8>) {
        // What is wider than jiff writes at most comes out as nothing.
        let _ = self.date_time.format_with_config(&Config::new().custom(PosixCustom::new()), letter, out);
    }

    /// The first digits of the part of a second, or all of them up to the zeros at its end.
    fn fraction<'t>(&self, digits: Option<u8>, text: &'t mut [u8; 18]) -> &'t [u8] {
        // An array takes as many digits as there are.
        let _ = write!(&mut text[..9], "{:09}", self.nanos);
        let needed = || text.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
        let digits = digits.map_or_else(needed, usize::from);
        &text[..digits.min(text.len())]
    }
}

impl Piece {
    fn write(&self, at: &Moment, out: &mut Vec<u8>) {
        let mut text = [b'0'; 18];
        match self {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Letter(letter) => at.letter(letter, out),
            Piece::Fraction(digits) => {
                let fraction = at.fraction(*digits, &mut text);
                out.extend_from_slice(if digits.is_none() && fraction.is_empty() { b"0" } else { fraction });
            }
            Piece::Seconds(digits) => {
                at.letter("%S", out);
                let fraction = at.fraction(*digits, &mut text);
                if !fraction.is_empty() {
                    out.push(b'.');
                    out.extend_from_slice(fraction);
                }
            }
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
            ("%U %W %V %G-%g %u %w %C", "12 13 13 2018-18 5 5 20"),
            ("%x %X %r %P %k|%l", "03/30/18 16:34:59 04:34:59 PM pm 16| 4"),
            ("%-m %_m %3d %^a %_-H %OH %Ey", "3  3 030 FRI 16 16 18"),
            ("%E4Y%ET%H%Ez %E*z %:z %::z %:::z", "2018T16+00:00 +00:00:00 +00:00 +00:00:00 +00"),
            ("%3s", "1522427699"),
            ("%t%5%", "\t%"),
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
            ("%E12S %E12f %E0S[%E0f]", "59.012345678000 012345678000 59[]"),
            ("%*f %E*f %E*S", "012345678 012345678 59.012345678"),
            ("%s.%1f", "1522427699.0"),
        ] {
            assert_eq!(rendered(&TimeFormat::parse(format).unwrap(), at), expected, "{format}");
        }
    }

    #[test]
    fn zeros_at_the_end_of_a_second_are_left_out_where_asked_for() {
        assert_eq!(seconds("%*f %E*f %E*S", 59), "0 0 59");
        assert_eq!(rendered(&TimeFormat::parse("%*f %E*f %E*S").unwrap(), 1_500_000_000), "5 5 01.5");
    }

    #[test]
    fn what_is_not_known_stands_for_itself() {
        for format in
            ["%Q", "%", "%J%-", "%EH", "%E", "%é", "%5", "%:", "%OX", "%12f", "%-E3S", "%E+3S", "%0f", "%N", "%.3f"]
        {
            assert_eq!(seconds(format, 0), format);
        }
        assert_eq!(seconds("%Q%Y%", 0), "%Q1970%");
        assert_eq!(seconds("%300d", 0), "", "too wide");
        assert_eq!(seconds("", 0), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn the_end_of_a_line_is_refused() {
        for format in ["%n", "a%Y%nb", "%-3n", "%On", "%^En", "%%n"] {
            assert_eq!(TimeFormat::parse(format), None, "{format}");
        }
    }
}
