//! Spans of time in nanoseconds: Go's notation, and the short one of kubectl's AGE column.

use std::fmt;

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// The magnitude of the most negative duration, one more than that of the most positive.
const LIMIT: u64 = 1 << 63;

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurationError {
    reason: String,
    text: String,
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "time: {} {}", self.reason, super::instant::quote(&self.text))
    }
}

impl std::error::Error for DurationError {}

/// Reads `1h30m`, `-1.5s`, `300ms`: signed decimal numbers with a unit each.
pub fn parse_duration(text: &str) -> Result<i64, DurationError> {
    let fail = |reason: String| DurationError { reason, text: text.into() };
    let invalid = || fail("invalid duration".into());
    let is_negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), split_digits);
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let amount: u64 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok().filter(|whole| *whole <= LIMIT).ok_or_else(invalid)?
        };
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (name, following) = after.split_at(end);
        if name.is_empty() {
            return Err(fail("missing unit in duration".into()));
        }
        let unit = unit(name)
            .ok_or_else(|| fail(format!("unknown unit {} in duration", super::instant::quote(name))))?;
        if amount > LIMIT / unit {
            return Err(invalid());
        }
        let nanos = amount * unit + share(fraction, unit);
        total = total.checked_add(nanos).filter(|total| *total <= LIMIT).ok_or_else(invalid)?;
        rest = following;
    }
    match is_negative {
        true => Ok((total as i64).wrapping_neg()),
        false => i64::try_from(total).map_err(|_| invalid()),
    }
}

/// The text that [`parse_duration`] reads back: `1h30m0s`, `1.5s`, `300ms`, `0s`.
pub fn format_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let text = match nanos {
        0 => "0s".into(),
        1..MICROSECOND => format!("{nanos}ns"),
        MICROSECOND..MILLISECOND => format!("{}µs", fractional(nanos, MICROSECOND, 3)),
        MILLISECOND..SECOND => format!("{}ms", fractional(nanos, MILLISECOND, 6)),
        _ => {
            let (hours, minutes) = (nanos / HOUR, nanos % HOUR / MINUTE);
            let seconds = fractional(nanos % MINUTE, SECOND, 9);
            match (hours, minutes) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{text}")
}

/// An age to two or three significant figures: `15s`, `3m20s`, `2d4h`, `2y14d`.
pub fn human_duration(nanos: i64) -> String {
    if let Some(text) = about_now(nanos) {
        return text;
    }
    let seconds = nanos / SECOND as i64;
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    let pair = |large: i64, unit: &str, small: i64, subunit: &str| match small {
        0 => format!("{large}{unit}"),
        small => format!("{large}{unit}{small}{subunit}"),
    };
    match () {
        () if seconds < 60 * 2 => format!("{seconds}s"),
        () if minutes < 10 => pair(minutes, "m", seconds % 60, "s"),
        () if minutes < 60 * 3 => format!("{minutes}m"),
        () if hours < 8 => pair(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => pair(days, "d", hours % 24, "h"),
        () if hours < 24 * 365 * 2 => format!("{days}d"),
        () if hours < 24 * 365 * 8 => pair(years, "y", days % 365, "d"),
        () => format!("{years}y"),
    }
}

/// An age to one unit: `15s`, `3m`, `2d`, `2y`.
pub fn short_human_duration(nanos: i64) -> String {
    if let Some(text) = about_now(nanos) {
        return text;
    }
    let (seconds, minutes) = (count(nanos, SECOND) as i64, count(nanos, MINUTE) as i64);
    let exact_hours = count(nanos, HOUR);
    match exact_hours as i64 {
        _ if seconds < 60 => format!("{seconds}s"),
        _ if minutes < 60 => format!("{minutes}m"),
        hours if hours < 24 => format!("{hours}h"),
        hours if hours < 24 * 365 => format!("{}d", hours / 24),
        _ => format!("{}y", (exact_hours / 24.0 / 365.0) as i64),
    }
}

/// In floating point, as upstream counts here: a nanosecond short of a year is a year.
fn count(nanos: i64, unit: u64) -> f64 {
    let unit = unit as i64;
    (nanos / unit) as f64 + (nanos % unit) as f64 / unit as f64
}

/// Two machines' clocks may differ by a second or two; an age further below zero makes no sense.
fn about_now(nanos: i64) -> Option<String> {
    match nanos / SECOND as i64 {
        0.. => None,
        -1 => Some("0s".into()),
        _ => Some("<invalid>".into()),
    }
}

fn unit(name: &str) -> Option<u64> {
    Some(match name {
        "ns" => 1,
        // The micro sign and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    })
}

/// A decimal fraction of a unit, in floating point as Go computes it, so that the last digits agree.
fn share(fraction: &str, unit: u64) -> u64 {
    let (mut digits, mut scale) = (0_u64, 1.0);
    for byte in fraction.bytes() {
        // What no longer fits is too small to matter.
        let next = digits.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(byte - b'0')));
        let Some(next) = next.filter(|next| *next <= LIMIT) else { break };
        digits = next;
        scale *= 10.0;
    }
    (digits as f64 * (unit as f64 / scale)) as u64
}

/// `nanos ÷ unit` with as many decimal places, of at most `places`, as it takes.
fn fractional(nanos: u64, unit: u64, places: usize) -> String {
    let (whole, fraction) = (nanos / unit, nanos % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let fraction = format!("{fraction:0places$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}
