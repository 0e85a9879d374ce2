//! From text to quantity.

use super::decimal::Decimal;
use super::suffix::{Factor, interpret};
use super::{Amount, Format, NANO, ParseError, Quantity};

/// Decimal digits that surely fit an `i64`.
const SMALL_DIGITS: i64 = 18;

/// The parts of a quantity's text. `number` is the sign, digits and point together.
#[derive(Debug, PartialEq)]
struct Parts<'a> {
    negative: bool,
    number: &'a str,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

pub(super) fn parse(text: &str) -> Result<Quantity, ParseError> {
    if text.is_empty() {
        return Err(ParseError::Format);
    }
    let parts = split(text).ok_or(ParseError::Format)?;
    let (factor, format) = interpret(parts.suffix).ok_or(ParseError::Suffix)?;
    match parse_small(&parts, factor)? {
        Some(small) => {
            let keeps_text = text == "0" || is_printed_as_written(&parts, factor, small);
            let (value, scale) = (if parts.negative { -small.value } else { small.value }, small.scale);
            let text = keeps_text.then(|| text.into());
            Ok(Quantity { amount: Amount::Small { value, scale }, format, text })
        }
        None => parse_big(&parts, factor, format),
    }
}

/// Splits a text at the places where the regular expression of [`ParseError::Format`] would.
fn split(text: &str) -> Option<Parts<'_>> {
    let negative = text.starts_with('-');
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let significant = unsigned.trim_start_matches('0');
    if significant.is_empty() {
        return Some(Parts { negative, number: "0", whole: "0", fraction: "", suffix: "" });
    }
    let (whole, rest) = split_digits(significant);
    let (fraction, suffix) = rest.strip_prefix('.').map_or(("", rest), split_digits);
    let number = &text[..text.len() - suffix.len()];
    let after_letters = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let after_sign = after_letters.strip_prefix(['-', '+']).unwrap_or(after_letters);
    let is_suffix = after_sign.bytes().all(|byte| byte.is_ascii_digit());
    let whole = if whole.is_empty() { "0" } else { whole };
    is_suffix.then_some(Parts { negative, number, whole, fraction, suffix })
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// The magnitude on the fast path: the digits as written, and the result of applying a binary suffix.
#[derive(Clone, Copy)]
struct Small {
    digits: i64,
    value: i64,
    scale: i32,
}

fn parse_small(parts: &Parts<'_>, factor: Factor) -> Result<Option<Small>, ParseError> {
    let written = (parts.whole.len() + parts.fraction.len()) as i64;
    let (multiplier, scale, fits) = match factor {
        Factor::Ten(exponent) => (1, exponent, written <= SMALL_DIGITS),
        Factor::Two(bits) if parts.fraction.is_empty() => {
            // Every ten bits are a little more than three decimal digits.
            (1_i64 << bits, 0, 14 - parts.whole.len() as i64 - i64::from(bits * 3 / 10) >= 0)
        }
        Factor::Two(_) => (1, 0, false),
    };
    if !fits {
        return Ok(None);
    }
    let scale = scale.wrapping_sub(parts.fraction.len() as i32);
    if scale < NANO {
        return Ok(None);
    }
    let digits: i64 = format!("{}{}", parts.whole, parts.fraction).parse().map_err(|_| ParseError::Number)?;
    Ok(digits.checked_mul(multiplier).map(|value| Small { digits, value, scale }))
}

/// Whether upstream keeps the text: it looks canonical by a test that is cheap rather than exact, so `1.123` stays
/// `1.123` where its canonical form is `1123m`. Clients see this, so the same texts are kept.
fn is_printed_as_written(parts: &Parts<'_>, factor: Factor, small: Small) -> bool {
    match factor {
        Factor::Two(_) => small.digits % 8 != 0,
        Factor::Ten(_) => {
            let ends_in_zeros = small.digits % 1000 == 0;
            small.scale % 3 == 0 && !ends_in_zeros && !parts.whole.starts_with('0')
        }
    }
}

fn parse_big(parts: &Parts<'_>, factor: Factor, mut format: Format) -> Result<Quantity, ParseError> {
    let mut amount = Decimal::parse(parts.number).ok_or(ParseError::Number)?;
    match factor {
        Factor::Ten(exponent) => amount.shift(exponent),
        Factor::Two(bits) => amount = amount.mul(1 << bits),
    }
    // Something asked for is never rounded to nothing.
    amount.round_away(NANO);
    if format == Format::BinarySi {
        amount.cap(i64::MAX);
        if amount.is_fraction() {
            format = Format::DecimalSi;
        }
    }
    Ok(Quantity { amount: Amount::Big(amount), format, text: None })
}
