//! Points in time, written in UTC as `strftime` does, with Envoy's additions for parts of a second.

use std::io::Write as _;
use std::time::Duration;

/// A format of points in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TimeFormat {
    pieces: Box<[Piece]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    /// A letter of `strftime` that is written by itself.
    Letter(char),
    /// `%f`, `%3f`: digits of the part of a second.
    Fraction(usize),
    /// `%E3S`: seconds with so many digits of their parts.
    Seconds(usize),
    /// `%s`, and `%3s` to `%9s` in finer units: since 1970.
    Epoch(usize),
}

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The pieces that some letters stand for.
const COMPOSED: [(char, &str); 6] = [
    ('F', "%Y-%m-%d"),
    ('T', "%H:%M:%S"),
    ('R', "%H:%M"),
    ('D', "%m/%d/%y"),
    ('h', "%b"),
    ('c', "%a %b %e %H:%M:%S %Y"),
];

/// `2026-11-21T09:30:00.123Z`.
impl Default for TimeFormat {
    fn default() -> Self {
        let text = |text: &str| Piece::Text(text.into());
        let date = [Piece::Letter('Y'), text("-"), Piece::Letter('m'), text("-"), Piece::Letter('d'), text("T")];
        let time = [Piece::Letter('H'), text(":"), Piece::Letter('M'), text(":"), Piece::Seconds(3), text("Z")];
        Self { pieces: date.into_iter().chain(time).collect() }
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
            (
                'Y' | 'y' | 'm' | 'd' | 'e' | 'H' | 'I' | 'M' | 'S' | 'p' | 'j' | 'a' | 'A' | 'b' | 'B' | 'z' | 'Z',
                ..,
            ) => {
                pieces.push(Piece::Letter(letter));
            }
            _ => parse_onto(COMPOSED.iter().find(|(name, _)| *name == letter)?.1, pieces)?,
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
    year: u64,
    /// From 0.
    month: usize,
    day: u64,
    /// From 0.
    day_of_year: u64,
    /// Sunday is 0.
    weekday: usize,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Moment {
    fn new(since_epoch: Duration) -> Self {
        let seconds = since_epoch.as_secs();
        let days = seconds / 86_400;
        let (year, day_of_year, is_leap) = year_of(days);
        let lengths = [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let (mut month, mut day) = (0, day_of_year);
        for length in lengths {
            if day < length {
                break;
            }
            day -= length;
            month += 1;
        }
        Self {
            since_epoch,
            year,
            month,
            day: day + 1,
            day_of_year,
            // The first of January 1970 was a Thursday.
            weekday: usize::try_from((days + 4) % 7).unwrap_or(0),
            hour: seconds / 3600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
        }
    }
}

/// The year that holds a day counted from 1970, the day in it from 0, and whether it is a leap year.
fn year_of(days: u64) -> (u64, u64, bool) {
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    // 400 years have 146097 days, whichever they begin with.
    let (mut year, mut left) = (1970 + days / 146_097 * 400, days % 146_097);
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if left < length {
            return (year, left, is_leap(year));
        }
        left -= length;
        year += 1;
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
            Piece::Seconds(digits) => write!(out, "{:02}.{:0digits$}", at.second, fraction(*digits)),
            Piece::Epoch(0) => write!(out, "{}", at.since_epoch.as_secs()),
            Piece::Epoch(digits) => write!(out, "{}{:0digits$}", at.since_epoch.as_secs(), fraction(*digits)),
            Piece::Letter(letter) => write_letter(*letter, at, out),
        }
    }
}

fn write_letter(letter: char, at: &Moment, out: &mut Vec<u8>) -> std::io::Result<()> {
    let named = |names: &[&'static str], number: usize| names.get(number).copied().unwrap_or_default();
    let (day, month) = (named(&DAYS, at.weekday), named(&MONTHS, at.month));
    let short = |name: &'static str| name.get(..3).unwrap_or(name);
    match letter {
        'Y' => write!(out, "{:04}", at.year),
        'y' => write!(out, "{:02}", at.year % 100),
        'm' => write!(out, "{:02}", at.month + 1),
        'd' => write!(out, "{:02}", at.day),
        'e' => write!(out, "{:2}", at.day),
        'H' => write!(out, "{:02}", at.hour),
        'I' => write!(out, "{:02}", (at.hour + 11) % 12 + 1),
        'M' => write!(out, "{:02}", at.minute),
        'S' => write!(out, "{:02}", at.second),
        'p' => out.write_all(if at.hour < 12 { b"AM" } else { b"PM" }),
        'j' => write!(out, "{:03}", at.day_of_year + 1),
        'a' => out.write_all(short(day).as_bytes()),
        'A' => out.write_all(day.as_bytes()),
        'b' => out.write_all(short(month).as_bytes()),
        'B' => out.write_all(month.as_bytes()),
        'z' => out.write_all(b"+0000"),
        _ => out.write_all(b"UTC"),
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
            (253_402_300_799, "9999-12-31 365 Fri"),
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
