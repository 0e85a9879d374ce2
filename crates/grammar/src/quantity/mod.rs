//! Quantities: exact decimal amounts with a unit suffix, such as `250m`, `1.5Gi` and `12e6`.
//!
//! Nearly every amount fits an `i64` and a power of ten. The rest are kept digit by digit, so nothing is ever rounded
//! silently. A quantity remembers how it was written: `1Gi` stays binary, `1e3` stays an exponent, and a text that is
//! already canonical is printed as it came.

mod decimal;
mod parse;
mod suffix;

use decimal::Decimal;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
pub use suffix::Format;

/// Powers of ten for [`Quantity::scaled_value`].
pub const NANO: i32 = -9;
pub const MICRO: i32 = -6;
pub const MILLI: i32 = -3;
pub const KILO: i32 = 3;
pub const MEGA: i32 = 6;
pub const GIGA: i32 = 9;

/// An exact amount and the way it is written. Compared by amount alone.
#[derive(Clone, Debug)]
pub struct Quantity {
    amount: Amount,
    format: Format,
    /// The text it was parsed from, when that is to be printed again. Any change of the amount drops it.
    text: Option<Box<str>>,
}

#[derive(Clone, Debug)]
enum Amount {
    /// `value × 10^scale`
    Small {
        value: i64,
        scale: i32,
    },
    Big(Decimal),
}

/// Why a text is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    Format,
    Number,
    Suffix,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ParseError::Format => {
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            }
            ParseError::Number => "unable to parse numeric part of quantity",
            ParseError::Suffix => "unable to parse quantity's suffix",
        })
    }
}

impl std::error::Error for ParseError {}

impl Quantity {
    /// `value × 10^scale`, written with decimal suffixes.
    pub const fn scaled(value: i64, scale: i32) -> Quantity {
        Quantity { amount: Amount::Small { value, scale }, format: Format::DecimalSi, text: None }
    }

    pub const fn new(value: i64, format: Format) -> Quantity {
        Quantity { amount: Amount::Small { value, scale: 0 }, format, text: None }
    }

    pub const fn milli(value: i64, format: Format) -> Quantity {
        Quantity { amount: Amount::Small { value, scale: MILLI }, format, text: None }
    }

    pub const fn format(&self) -> Format {
        self.format
    }

    /// The same amount, written otherwise.
    pub fn with_format(self, format: Format) -> Quantity {
        Quantity { format, text: None, ..self }
    }

    pub fn is_zero(&self) -> bool {
        self.sign() == 0
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        match &self.amount {
            Amount::Small { value, .. } => value.signum() as i32,
            Amount::Big(big) => big.sign(),
        }
    }

    /// The amount rounded away from zero to a whole number.
    pub fn value(&self) -> i64 {
        self.scaled_value(0)
    }

    /// The amount in thousandths, rounded away from zero.
    pub fn milli_value(&self) -> i64 {
        self.scaled_value(MILLI)
    }

    /// The amount in units of `10^scale`, rounded away from zero. What does not fit gives upstream's number, which is
    /// meaningless; check [`Quantity::value`] first where that matters.
    pub fn scaled_value(&self, scale: i32) -> i64 {
        match &self.amount {
            Amount::Small { value, scale: own } => rescale(*value, *own, scale)
                .unwrap_or_else(|| overflowed(*value, i64::from(*own) - i64::from(scale))),
            Amount::Big(big) => big.scaled_value(scale),
        }
    }

    /// The amount as an `i64`, when it was written as a whole number that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self.amount {
            Amount::Small { value, scale } if scale >= 0 => rescale(value, scale, 0),
            _ => None,
        }
    }

    /// The nearest float, or one beside it.
    pub fn approximate(&self) -> f64 {
        match &self.amount {
            Amount::Small { value, scale: 0 } => *value as f64,
            Amount::Small { value, scale } => *value as f64 * decimal::power_of_ten(*scale),
            Amount::Big(big) => big.approximate(),
        }
    }

    /// Rounds away from zero to a multiple of `10^scale`. Answers whether nothing was lost.
    pub fn round_up(&mut self, scale: i32) -> bool {
        match &mut self.amount {
            Amount::Small { scale: own, .. } if *own >= scale => true,
            Amount::Small { value, scale: own } => {
                let (rounded, exact) = round_away(*value, i64::from(scale) - i64::from(*own));
                (*value, *own) = (rounded, scale);
                self.text = None;
                exact
            }
            Amount::Big(big) => {
                self.text = None;
                big.round_away(scale)
            }
        }
    }

    /// Adds `other`. Zero takes over the other's format.
    pub fn add(&mut self, other: &Quantity) {
        self.text = None;
        if self.is_zero() {
            self.format = other.format;
        }
        self.amount = match (&self.amount, &other.amount) {
            (Amount::Small { value: a, scale: s }, Amount::Small { value: b, scale: t }) => {
                add_small((*a, *s), (*b, *t))
                    .map(|(value, scale)| Amount::Small { value, scale })
                    .unwrap_or_else(|| Amount::Big(self.decimal().add(&other.decimal())))
            }
            _ => Amount::Big(self.decimal().add(&other.decimal())),
        };
    }

    /// Subtracts `other`. Zero takes over the other's format.
    pub fn sub(&mut self, other: &Quantity) {
        let mut other = other.clone();
        other.negate();
        self.add(&other);
    }

    pub fn negate(&mut self) {
        self.text = None;
        match &mut self.amount {
            Amount::Small { value, .. } if *value != i64::MIN => *value = -*value,
            _ => self.amount = Amount::Big(self.decimal().negated()),
        }
    }

    /// Multiplies by a whole number. Answers whether the result still fits the fast path.
    pub fn mul(&mut self, factor: i64) -> bool {
        self.text = None;
        if let Amount::Small { value, scale } = self.amount
            && let Some(product) = value.checked_mul(factor)
            && (scale <= 0 || rescale(product, scale, 0).is_some())
        {
            self.amount = Amount::Small { value: product, scale: if factor == 0 { 0 } else { scale } };
            return true;
        }
        let product = self.decimal().mul(factor);
        let fits = product.unscaled_fits_i64();
        self.amount = Amount::Big(product);
        fits
    }

    /// The one text of this amount in this format: no fraction, the largest suffix that loses nothing.
    pub fn canonical(&self) -> String {
        if self.is_zero() {
            return "0".into();
        }
        if self.format == Format::BinarySi && self.is_binary() {
            let (digits, exponent) = match &self.amount {
                Amount::Small { value, scale } => match rescale(*value, *scale, 0) {
                    Some(whole) => factor_out(whole.into(), 1024),
                    None => self.decimal().canonical_1024(),
                },
                Amount::Big(big) => big.canonical_1024(),
            };
            return digits + suffix::binary(exponent);
        }
        let (digits, exponent) = match self.amount {
            Amount::Small { value, scale } => {
                let (digits, removed) = factor_out(value.into(), 10);
                decimal::to_multiple_of_three(digits, i64::from(scale) + i64::from(removed))
            }
            Amount::Big(ref big) => big.canonical_10(),
        };
        match self.format {
            Format::DecimalExponent if exponent == 0 => digits,
            Format::DecimalExponent => format!("{digits}e{exponent}"),
            Format::DecimalSi | Format::BinarySi => digits + suffix::decimal(exponent),
        }
    }

    /// Binary suffixes show only whole numbers of at least 1024; anything else would be rounded.
    fn is_binary(&self) -> bool {
        let limit = Quantity::new(1024, Format::BinarySi);
        let within = *self < limit && *self > Quantity::new(-1024, Format::BinarySi);
        !within && self.clone().round_up(0)
    }

    fn decimal(&self) -> Decimal {
        match &self.amount {
            Amount::Small { value, scale } => Decimal::new(*value, *scale),
            Amount::Big(big) => big.clone(),
        }
    }
}

/// Surrounding white space is not allowed here; JSON decoding trims it first, as upstream does.
impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Quantity, ParseError> {
        parse::parse(text)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.write_str(text),
            None => f.write_str(&self.canonical()),
        }
    }
}

/// Zero, written as a plain number.
impl Default for Quantity {
    fn default() -> Quantity {
        Quantity::new(0, Format::DecimalSi)
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        match (&self.amount, &other.amount) {
            (Amount::Small { value: a, scale: s }, Amount::Small { value: b, scale: t }) => {
                let scale = *s.min(t);
                match (rescale(*a, *s, scale), rescale(*b, *t, scale)) {
                    (Some(a), Some(b)) => a.cmp(&b),
                    _ => self.decimal().cmp(&other.decimal()),
                }
            }
            _ => self.decimal().cmp(&other.decimal()),
        }
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

/// `value × 10^from` in units of `10^to`, rounded away from zero, if that fits.
fn rescale(value: i64, from: i32, to: i32) -> Option<i64> {
    let shift = i64::from(from) - i64::from(to);
    if value == 0 {
        return Some(0);
    }
    if shift < 0 {
        return Some(round_away(value, -shift).0);
    }
    10_i64.checked_pow(u32::try_from(shift).ok()?)?.checked_mul(value)
}

/// What upstream returns for `value × 10^places` when that is too large: the low 64 bits where it multiplies once, 0
/// where it multiplies step by step.
fn overflowed(value: i64, places: i64) -> i64 {
    match places {
        1..=3 | 6 | 9 if value != i64::MIN => value.wrapping_mul(10_i64.pow(places as u32)),
        _ => 0,
    }
}

/// `value ÷ 10^places`, rounded away from zero, and whether that was exact.
fn round_away(value: i64, places: i64) -> (i64, bool) {
    let power = u32::try_from(places).ok().and_then(|places| 10_i64.checked_pow(places));
    let (quotient, exact) = match power {
        Some(power) => (value / power, value % power == 0),
        None => (0, value == 0),
    };
    if exact { (quotient, true) } else { (quotient + value.signum(), false) }
}

fn add_small((a, s): (i64, i32), (b, t): (i64, i32)) -> Option<(i64, i32)> {
    match (a, b) {
        (_, 0) => Some((a, s)),
        (0, _) => Some((b, t)),
        _ => {
            let scale = s.min(t);
            Some((rescale(a, s, scale)?.checked_add(rescale(b, t, scale)?)?, scale))
        }
    }
}

/// `value` without its factors of `base`, in decimal, and how many there were.
fn factor_out(mut value: i128, base: i128) -> (String, i32) {
    let mut times = 0;
    while value != 0 && value % base == 0 {
        value /= base;
        times += 1;
    }
    (value.to_string(), times)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn sums_leave_the_fast_path_and_stay_exact() {
        let mut sum = quantity("9223372036854775807");
        sum.add(&quantity("1n"));
        assert_eq!(sum.to_string(), "9223372036854775807000000001n");
        sum.sub(&quantity("9223372036854775807"));
        assert_eq!(sum, quantity("1n"));
    }

    #[test]
    fn amounts_of_absurd_size_are_compared_without_being_written_out() {
        let huge = quantity("1e2000000000");
        assert!(huge > quantity("9E"));
        assert!(quantity("-1e2000000000") < quantity("0"));
        let mut sum = huge.clone();
        sum.add(&quantity("1"));
        assert_eq!(sum, huge);
        assert_eq!(huge.value(), 0);
    }
}
