//! Points in time, read and written as RFC 3339 in the way `metav1.Time` and `metav1.MicroTime` do.

use std::fmt;

const SECONDS_A_DAY: i64 = 86_400;
const NANOS_A_SECOND: i64 = 1_000_000_000;

/// A point in time. Wider than 64 bits of nanoseconds, since objects may hold any year from 0 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// Below one second, and never negative.
    pub nanos: u32,
}

impl Time {
    /// Go's zero time, the first instant of year 1, which objects write as null.
    pub const ZERO: Time = Time { seconds: -62_135_596_800, nanos: 0 };

    pub const fn from_nanos(nanos: i64) -> Time {
        Time { seconds: nanos.div_euclid(NANOS_A_SECOND), nanos: nanos.rem_euclid(NANOS_A_SECOND) as u32 }
    }

    /// Nanoseconds since 1970, for years from 1678 to 2261.
    pub fn to_nanos(self) -> Option<i64> {
        let nanos = i128::from(self.seconds) * i128::from(NANOS_A_SECOND) + i128::from(self.nanos);
        i64::try_from(nanos).ok()
    }

    pub fn is_zero(self) -> bool {
        self == Time::ZERO
    }

    /// Reads a `Time`: any count of fractional digits, or none.
    pub fn parse(text: &str) -> Result<Time, TimeError> {
        parse(text, SECONDS_LAYOUT)
    }

    /// Reads a `MicroTime`: exactly six fractional digits.
    pub fn parse_micro(text: &str) -> Result<Time, TimeError> {
        parse(text, MICROS_LAYOUT)
    }

    /// Writes a `MicroTime`.
    pub fn to_micro_string(self) -> String {
        format!("{}.{:06}Z", self.clock(), self.nanos / 1000)
    }

    /// Writes everything that is known, without trailing zeros (Go's `RFC3339Nano`).
    pub fn to_nano_string(self) -> String {
        if self.nanos == 0 {
            return self.to_string();
        }
        let fraction = format!("{:09}", self.nanos);
        format!("{}.{}Z", self.clock(), fraction.trim_end_matches('0'))
    }

    fn clock(self) -> String {
        let civil = Civil::from_seconds(self.seconds);
        let sign = if civil.year < 0 { "-" } else { "" };
        format!(
            "{sign}{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            civil.year.abs(),
            civil.month,
            civil.day,
            civil.hour,
            civil.minute,
            civil.second
        )
    }
}

/// Writes a `Time`: in UTC, to the second.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}Z", self.clock())
    }
}

/// Date and time of day in the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    pub year: i64,
    /// From 1.
    pub month: u32,
    /// From 1.
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
}

impl Civil {
    pub fn from_seconds(seconds: i64) -> Civil {
        let (days, clock) = (seconds.div_euclid(SECONDS_A_DAY), seconds.rem_euclid(SECONDS_A_DAY) as u32);
        let (year, month, day) = date_of(days);
        Civil { year, month, day, hour: clock / 3600, minute: clock / 60 % 60, second: clock % 60 }
    }

    pub fn to_seconds(self) -> i64 {
        let clock = self.hour * 3600 + self.minute * 60 + self.second;
        days_before(self.year, self.month) * SECONDS_A_DAY
            + (i64::from(self.day) - 1) * SECONDS_A_DAY
            + i64::from(clock)
    }

    /// Days since Sunday.
    pub fn weekday(self) -> u32 {
        let days = self.to_seconds().div_euclid(SECONDS_A_DAY);
        // 1970 began on a Thursday.
        (days + 4).rem_euclid(7) as u32
    }
}

/// Why a text is not a time, in the words of Go's `time.Parse`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeError(String);

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TimeError {}

/// A layout's text and its elements. Each literal stands before its element.
struct Layout {
    text: &'static str,
    elements: &'static [(&'static str, Element)],
}

#[derive(Clone, Copy)]
enum Element {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    SecondWithFraction,
    Micros,
    Zone,
}

const SECONDS_LAYOUT: Layout = Layout {
    text: "2006-01-02T15:04:05Z07:00",
    elements: &[
        ("", Element::Year),
        ("-", Element::Month),
        ("-", Element::Day),
        ("T", Element::Hour),
        (":", Element::Minute),
        (":", Element::SecondWithFraction),
        ("", Element::Zone),
    ],
};

const MICROS_LAYOUT: Layout = Layout {
    text: "2006-01-02T15:04:05.000000Z07:00",
    elements: &[
        ("", Element::Year),
        ("-", Element::Month),
        ("-", Element::Day),
        ("T", Element::Hour),
        (":", Element::Minute),
        (":", Element::Second),
        ("", Element::Micros),
        ("", Element::Zone),
    ],
};

impl Element {
    const fn text(self) -> &'static str {
        match self {
            Element::Year => "2006",
            Element::Month => "01",
            Element::Day => "02",
            Element::Hour => "15",
            Element::Minute => "04",
            Element::Second | Element::SecondWithFraction => "05",
            Element::Micros => ".000000",
            Element::Zone => "Z07:00",
        }
    }
}

/// What an element made of the text before it.
enum Failure {
    /// It could not be read at all.
    Unreadable,
    /// It was read, and is out of range.
    OutOfRange(&'static str),
}

fn parse(text: &str, layout: Layout) -> Result<Time, TimeError> {
    let about = |message: &str| TimeError(format!("parsing time {}{message}", quote(text)));
    let cannot = |rest: &str, element: &str| {
        let (layout, rest, element) = (quote(layout.text), quote(rest), quote(element));
        about(&format!(" as {layout}: cannot parse {rest} as {element}"))
    };
    let mut civil = Civil { year: 0, month: 1, day: 1, hour: 0, minute: 0, second: 0 };
    let (mut nanos, mut offset) = (0, 0);
    let mut rest = text;
    for (literal, element) in layout.elements {
        rest = rest.strip_prefix(literal).ok_or_else(|| cannot(rest, literal))?;
        let read = match element {
            Element::Year => year(rest).map(|(value, rest)| (civil.year = value, rest).1),
            Element::Month => two_digits(rest, 1..=12, "month").map(|(n, rest)| (civil.month = n, rest).1),
            // Whether the month has that day is seen at the end.
            Element::Day => two_digits(rest, 0..=99, "day").map(|(n, rest)| (civil.day = n, rest).1),
            Element::Hour => hour(rest).map(|(n, rest)| (civil.hour = n, rest).1),
            Element::Minute => two_digits(rest, 0..=59, "minute").map(|(n, rest)| (civil.minute = n, rest).1),
            Element::Second | Element::SecondWithFraction => {
                two_digits(rest, 0..=59, "second").map(|(n, rest)| (civil.second = n, rest).1)
            }
            Element::Micros => micros(rest).map(|(n, rest)| (nanos = n, rest).1),
            Element::Zone => zone(rest).map(|(n, rest)| (offset = n, rest).1),
        };
        rest = read.map_err(|failure| match failure {
            Failure::Unreadable => cannot(rest, element.text()),
            Failure::OutOfRange(what) => about(&format!(": {what} out of range")),
        })?;
        if let Element::SecondWithFraction = element {
            (nanos, rest) = fraction(rest);
        }
    }
    if !rest.is_empty() {
        return Err(about(&format!(": extra text: {}", quote(rest))));
    }
    if !(1..=days_in(civil.year, civil.month)).contains(&civil.day) {
        return Err(about(": day out of range"));
    }
    Ok(Time { seconds: civil.to_seconds() - offset, nanos })
}

fn year(text: &str) -> Result<(i64, &str), Failure> {
    let digits = text.get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let year = digits.and_then(|digits| digits.parse().ok()).ok_or(Failure::Unreadable)?;
    Ok((year, &text[4..]))
}

fn two_digits<'a>(
    text: &'a str,
    range: std::ops::RangeInclusive<u32>,
    what: &'static str,
) -> Result<(u32, &'a str), Failure> {
    match text.as_bytes() {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9', ..] => {
            let number = u32::from(tens - b'0') * 10 + u32::from(ones - b'0');
            if range.contains(&number) { Ok((number, &text[2..])) } else { Err(Failure::OutOfRange(what)) }
        }
        _ => Err(Failure::Unreadable),
    }
}

/// The hour alone may have a single digit: the layout's "15" says so.
fn hour(text: &str) -> Result<(u32, &str), Failure> {
    match text.as_bytes() {
        [b'0'..=b'9', b'0'..=b'9', ..] => two_digits(text, 0..=23, "hour"),
        [digit @ b'0'..=b'9', ..] => Ok((u32::from(digit - b'0'), &text[1..])),
        _ => Err(Failure::Unreadable),
    }
}

/// A fraction that the layout does not ask for, after a point or a comma. Digits beyond the ninth are dropped.
fn fraction(text: &str) -> (u32, &str) {
    let Some(after) = text.strip_prefix(['.', ',']) else { return (0, text) };
    let end = after.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(after.len());
    let nanos = after[..end].bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanos = nanos.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
    if end == 0 { (0, text) } else { (nanos, &after[end..]) }
}

/// A point or a comma and six digits. Go reads them as a signed number, so a sign may stand for the first.
fn micros(text: &str) -> Result<(u32, &str), Failure> {
    let digits = text.strip_prefix(['.', ',']).and_then(|after| after.get(..6)).ok_or(Failure::Unreadable)?;
    let micros: i32 = digits.parse().map_err(|_| Failure::Unreadable)?;
    let nanos = u32::try_from(micros).map_err(|_| Failure::OutOfRange("fractional second"))? * 1000;
    Ok((nanos, &text[7..]))
}

/// `Z`, or an offset of hours and minutes, in seconds east of Greenwich. People do write 24 hours and 60 minutes.
fn zone(text: &str) -> Result<(i64, &str), Failure> {
    if let Some(rest) = text.strip_prefix('Z') {
        return Ok((0, rest));
    }
    let bytes = text.as_bytes();
    if bytes.len() < 6 || bytes[3] != b':' {
        return Err(Failure::Unreadable);
    }
    let pair = |at: usize| match (bytes[at], bytes[at + 1]) {
        (tens @ b'0'..=b'9', ones @ b'0'..=b'9') => {
            Some(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
        }
        _ => None,
    };
    let hours = pair(1).ok_or(Failure::Unreadable)?;
    let minutes = pair(4);
    if hours > 24 {
        return Err(Failure::OutOfRange("time zone offset hour"));
    }
    let minutes = minutes.ok_or(Failure::Unreadable)?;
    if minutes > 60 {
        return Err(Failure::OutOfRange("time zone offset minute"));
    }
    let seconds = (hours * 60 + minutes) * 60;
    match bytes[0] {
        b'+' => Ok((seconds, &text[6..])),
        b'-' => Ok((-seconds, &text[6..])),
        _ => Err(Failure::Unreadable),
    }
}

/// How the `time` package quotes: bytes outside printable ASCII as `\x..`.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..=0x7f => quoted.push(char::from(byte)),
            _ => quoted.push_str(&format!("\\x{byte:02x}")),
        }
    }
    quoted.push('"');
    quoted
}

fn days_in(year: i64, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days from 1970-01-01 to the first of a month. Years are counted from March, so that a leap day comes last.
pub(super) fn days_before(year: i64, month: u32) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = i64::from((153 * month + 2) / 5);
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn date_of(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = (day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100)) as u32;
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (0, month + 3) } else { (1, month - 9) };
    (era * 400 + year_of_era + year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_count_days_without_a_gap() {
        let mut previous = Civil::from_seconds(-800_000 * SECONDS_A_DAY);
        for day in -799_999..800_000 {
            let civil = Civil::from_seconds(day * SECONDS_A_DAY);
            assert_eq!(civil.to_seconds(), day * SECONDS_A_DAY);
            let is_next_day = civil.day == previous.day + 1 && civil.month == previous.month;
            let is_next_month = civil.day == 1 && previous.day == days_in(previous.year, previous.month);
            assert!(is_next_day || is_next_month, "{previous:?} is followed by {civil:?}");
            previous = civil;
        }
    }
}
