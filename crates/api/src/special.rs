//! The types whose JSON form is not an object: times, durations, quantities, numbers-or-strings, raw JSON.

use std::borrow::Cow;

use grammar::quantity::Quantity;
use grammar::time::Civil;

use crate::proto::wire::{Payload, Reader, Reverse, VARINT, WireError};

/// Go's zero time, 0001-01-01T00:00:00Z, prints as null.
pub(crate) const ZERO_TIME: i64 = -62_135_596_800;

/// The last second that RFC 3339 can say.
const LAST_SECOND: i64 = 253_402_300_799;

/// `{1: seconds, 2: nanos}`.
pub(crate) fn timestamp(bytes: &[u8]) -> Result<(i64, i32), WireError> {
    let mut reader = Reader::new(bytes);
    let (mut seconds, mut nanos) = (0i64, 0i32);
    while !reader.done() {
        let (number, wire) = reader.tag()?;
        match (number, reader.payload(wire)?) {
            (1, Payload::Varint(v)) => seconds = v as i64,
            (2, Payload::Varint(v)) => nanos = v as i32,
            _ => {}
        }
    }
    Ok((seconds, nanos))
}

/// The varint in field 1.
pub(crate) fn only_varint(bytes: &[u8]) -> Result<u64, WireError> {
    let mut reader = Reader::new(bytes);
    let mut value = 0;
    while !reader.done() {
        let (number, wire) = reader.tag()?;
        if let (1, Payload::Varint(v)) = (number, reader.payload(wire)?) {
            value = v;
        }
    }
    Ok(value)
}

/// The bytes in field 1.
pub(crate) fn only_bytes(bytes: &[u8]) -> Result<&[u8], WireError> {
    let mut reader = Reader::new(bytes);
    let mut value = &bytes[..0];
    while !reader.done() {
        let (number, wire) = reader.tag()?;
        if let (1, Payload::Bytes(v)) = (number, reader.payload(wire)?) {
            value = v;
        }
    }
    Ok(value)
}

pub(crate) enum IntOrString<'a> {
    Int(i32),
    Text(&'a [u8]),
}

/// `{1: type, 2: int, 3: string}`.
pub(crate) fn int_or_string(bytes: &[u8]) -> Result<IntOrString<'_>, WireError> {
    let mut reader = Reader::new(bytes);
    let (mut kind, mut int, mut text) = (0, 0, &bytes[..0]);
    while !reader.done() {
        let (number, wire) = reader.tag()?;
        match (number, reader.payload(wire)?) {
            (1, Payload::Varint(v)) => kind = v,
            (2, Payload::Varint(v)) => int = v as i32,
            (3, Payload::Bytes(v)) => text = v,
            _ => {}
        }
    }
    match kind {
        0 => Ok(IntOrString::Int(int)),
        1 => Ok(IntOrString::Text(text)),
        other => Err(WireError::BadValue {
            field: "IntOrString".into(),
            why: format!("impossible IntOrString.Type {other}"),
        }),
    }
}

/// Room for one RFC 3339 time, without allocation.
#[derive(Default)]
pub(crate) struct TimeText {
    bytes: [u8; 27],
    len: usize,
}

impl TimeText {
    /// `2006-01-02T15:04:05Z`.
    pub(crate) fn seconds(&mut self, seconds: i64) {
        if self.civil(seconds) {
            self.bytes[19] = b'Z';
            self.len = 20;
        }
    }

    /// `2006-01-02T15:04:05.000000Z`.
    pub(crate) fn micros(&mut self, seconds: i64, nanos: i32) {
        if self.civil(seconds) {
            self.bytes[19] = b'.';
            let micros = u32::try_from(nanos / 1000).unwrap_or(0);
            for (i, place) in [100_000, 10_000, 1000, 100, 10, 1].into_iter().enumerate() {
                self.bytes[20 + i] = b'0' + (micros / place % 10) as u8;
            }
            self.bytes[26] = b'Z';
            self.len = 27;
        }
    }

    /// Nothing for Go's zero time and for what RFC 3339 cannot say.
    pub(crate) fn as_bytes(&self) -> Option<&[u8]> {
        (self.len > 0).then_some(&self.bytes[..self.len])
    }

    fn civil(&mut self, seconds: i64) -> bool {
        if seconds <= ZERO_TIME || seconds > LAST_SECOND {
            return false;
        }
        let civil = Civil::from_seconds(seconds);
        let mut put = |at: usize, width: usize, mut value: u32| {
            for i in (0..width).rev() {
                self.bytes[at + i] = b'0' + (value % 10) as u8;
                value /= 10;
            }
        };
        put(0, 4, civil.year as u32);
        put(5, 2, civil.month);
        put(8, 2, civil.day);
        put(11, 2, civil.hour);
        put(14, 2, civil.minute);
        put(17, 2, civil.second);
        for (at, mark) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
            self.bytes[at] = mark;
        }
        true
    }
}

/// Go's zero time is an empty message; the caller leaves it out.
pub(crate) fn put_timestamp(out: &mut Reverse, seconds: i64, nanos: i32) {
    out.varint(nanos as u64);
    out.tag(2, VARINT);
    out.varint(seconds as u64);
    out.tag(1, VARINT);
}

pub(crate) fn put_varint(out: &mut Reverse, value: u64) {
    out.varint(value);
    out.tag(1, VARINT);
}

pub(crate) fn put_int_or_string(out: &mut Reverse, kind: u64, int: i32, text: &[u8]) {
    out.field(3, text);
    out.varint(i64::from(int) as u64);
    out.tag(2, VARINT);
    out.varint(kind);
    out.tag(1, VARINT);
}

pub(crate) fn duration_text(nanos: i64) -> String {
    grammar::time::format_duration(nanos)
}

/// The canonical text of a quantity. What is canonical already, which is nearly everything, is not parsed.
pub(crate) fn canonical_quantity(text: &[u8]) -> Result<Cow<'_, str>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "quantity is not UTF-8".to_owned())?;
    if is_plainly_canonical(text) {
        return Ok(text.into());
    }
    let text = if text.is_empty() { "0" } else { text };
    match text.parse::<Quantity>() {
        Ok(quantity) => Ok(quantity.to_string().into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Up to fifteen digits without leading zeros, bare or with `m` or a binary suffix that the digits cannot move
/// into the next one. Bare digits must not end in three zeros, which would become `k`.
fn is_plainly_canonical(text: &str) -> bool {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, suffix) = text.split_at(digits);
    if digits == 0 || digits > 15 || (number.starts_with('0') && text != "0") {
        return false;
    }
    match suffix {
        "" => number == "0" || !number.ends_with("000"),
        "m" => !number.ends_with("000"),
        "Ki" | "Mi" | "Gi" | "Ti" => {
            digits <= 9 && number.parse::<u64>().is_ok_and(|value| value % 1024 != 0)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_as_rfc_3339() {
        for (seconds, want) in [
            (0, Some("1970-01-01T00:00:00Z")),
            (951_782_400, Some("2000-02-29T00:00:00Z")),
            (1_199_149_261, Some("2008-01-01T01:01:01Z")),
            (LAST_SECOND, Some("9999-12-31T23:59:59Z")),
            (-1, Some("1969-12-31T23:59:59Z")),
            (ZERO_TIME, None),
            (i64::MAX, None),
        ] {
            let mut text = TimeText::default();
            text.seconds(seconds);
            assert_eq!(text.as_bytes().map(|b| std::str::from_utf8(b).unwrap()), want, "{seconds}");
        }
    }

    #[test]
    fn plain_quantities_skip_the_parser_only_when_canonical() {
        for text in [
            "0", "1", "100m", "250Mi", "64Ki", "1500m", "1000", "1000m", "1024Mi", "007", "1k", "", "5Gi",
            "1100",
        ] {
            let want = if text.is_empty() { "0" } else { text }.parse::<Quantity>().unwrap().to_string();
            assert_eq!(canonical_quantity(text.as_bytes()).unwrap(), want, "{text}");
        }
    }
}
