//! Decimal numbers of any length, for the few amounts that do not fit an `i64`.
//!
//! They are kept as decimal digits, since everything asked of them (rounding at a power of ten, removing factors of
//! ten, printing) is then a matter of cutting and padding.

use std::cmp::Ordering;

/// The widest gap between two powers of ten that is ever filled with zeros. Adding numbers farther apart gives the
/// larger one, and scaling up stops there, so that `1e2000000000` costs no memory.
const MAX_PADDING: i64 = 4096;

/// `± digits × 10^scale`
#[derive(Clone, Debug)]
pub(super) struct Decimal {
    negative: bool,
    /// Values 0 to 9, the most significant first and not 0; empty for zero.
    digits: Vec<u8>,
    scale: i64,
}

impl Decimal {
    pub(super) fn new(value: i64, scale: i32) -> Decimal {
        let digits = value.unsigned_abs().to_string().bytes().map(|byte| byte - b'0').collect();
        Decimal { negative: value < 0, digits, scale: scale.into() }.trimmed()
    }

    /// Reads an optional sign, digits and an optional point.
    pub(super) fn parse(text: &str) -> Option<Decimal> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let mut digits = Vec::with_capacity(unsigned.len());
        for byte in whole.bytes().chain(fraction.bytes()) {
            digits.push(byte.is_ascii_digit().then(|| byte - b'0')?);
        }
        let scale = -(fraction.len() as i64);
        (!digits.is_empty()).then(|| Decimal { negative: text.starts_with('-'), digits, scale }.trimmed())
    }

    pub(super) fn sign(&self) -> i32 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    pub(super) fn negated(mut self) -> Decimal {
        self.negative = !self.negative;
        self
    }

    /// Multiplies by a power of ten. The scale wraps at 32 bits, as upstream's does.
    pub(super) fn shift(&mut self, exponent: i32) {
        self.scale = i64::from((self.scale as i32).wrapping_add(exponent));
    }

    pub(super) fn mul(&self, factor: i64) -> Decimal {
        let mut digits = Vec::with_capacity(self.digits.len() + 20);
        let mut carry: u128 = 0;
        for digit in self.digits.iter().rev() {
            carry += u128::from(*digit) * u128::from(factor.unsigned_abs());
            digits.push((carry % 10) as u8);
            carry /= 10;
        }
        while carry > 0 {
            digits.push((carry % 10) as u8);
            carry /= 10;
        }
        digits.reverse();
        Decimal { negative: self.negative != (factor < 0), digits, scale: self.scale }.trimmed()
    }

    pub(super) fn add(&self, other: &Decimal) -> Decimal {
        if self.sign() == 0 || other.sign() == 0 || (self.scale - other.scale).abs() > MAX_PADDING {
            let larger = self.cmp_magnitude(other) != Ordering::Less;
            return if larger { self.clone() } else { other.clone() };
        }
        let scale = self.scale.min(other.scale);
        let (a, b) = (self.scaled_to(scale), other.scaled_to(scale));
        if self.negative == other.negative {
            let digits = add_digits(&a.digits, &b.digits);
            return Decimal { negative: self.negative, digits, scale }.trimmed();
        }
        let (larger, smaller) = if a.cmp_magnitude(&b) == Ordering::Less { (b, a) } else { (a, b) };
        let digits = subtract_digits(&larger.digits, &smaller.digits);
        Decimal { negative: larger.negative, digits, scale }.trimmed()
    }

    /// Rounds away from zero to a multiple of `10^scale`, which becomes the scale. Answers whether it was exact.
    pub(super) fn round_away(&mut self, scale: i32) -> bool {
        let drop = i64::from(scale) - self.scale;
        if drop <= 0 {
            *self = self.scaled_to(scale.into());
            return true;
        }
        let keep = usize::try_from(self.digits.len() as i64 - drop).unwrap_or(0);
        let exact = self.digits[keep..].iter().all(|digit| *digit == 0);
        self.digits.truncate(keep);
        self.scale = scale.into();
        if !exact {
            self.digits = add_digits(&self.digits, &[1]);
        }
        exact
    }

    /// Limits the magnitude.
    pub(super) fn cap(&mut self, limit: i64) {
        let limit = Decimal::new(limit, 0);
        if self.cmp_magnitude(&limit) == Ordering::Greater {
            *self = Decimal { negative: self.negative, ..limit };
        }
    }

    /// Whether the magnitude lies strictly between 0 and 1.
    pub(super) fn is_fraction(&self) -> bool {
        self.sign() != 0 && self.cmp_magnitude(&Decimal::new(1, 0)) == Ordering::Less
    }

    pub(super) fn unscaled_fits_i64(&self) -> bool {
        i64::try_from(self.wrapping_unscaled()).is_ok() && self.digits.len() <= 19
    }

    /// In units of `10^scale`: the low 64 bits, after upstream's rounding. That rounds up, except that a negative
    /// amount of ordinary size is cut and then raised by one.
    pub(super) fn scaled_value(&self, scale: i32) -> i64 {
        let drop = i64::from(scale) - self.scale;
        let unscaled = self.wrapping_unscaled();
        if drop <= 0 {
            let power = u32::try_from(-drop).ok().and_then(|power| 10_i64.checked_pow(power));
            return (unscaled as i64).wrapping_mul(power.unwrap_or(i64::MIN));
        }
        let fits = self.negative || (self.digits.len() <= 19 && unscaled < i128::from(i64::MAX));
        if fits && drop < 19 {
            let power = 10_i64.pow(drop as u32);
            let unscaled = unscaled as i64;
            return unscaled / power + i64::from(unscaled % power != 0);
        }
        let keep = usize::try_from(self.digits.len() as i64 - drop).unwrap_or(0);
        let exact = self.digits[keep..].iter().all(|digit| *digit == 0);
        let quotient = wrapping_number(&self.digits[..keep]) as i64;
        match (self.negative, exact) {
            (false, exact) => quotient.wrapping_add(i64::from(!exact)),
            (true, _) => quotient.wrapping_neg(),
        }
    }

    pub(super) fn approximate(&self) -> f64 {
        let digits: String = self.digits.iter().map(|digit| char::from(digit + b'0')).collect();
        let base: f64 = digits.parse().unwrap_or(0.0);
        let signed = if self.negative { -base } else { base };
        if self.scale == 0 { signed } else { signed * power_of_ten(self.scale.clamp(-9999, 9999) as i32) }
    }

    /// Digits and a power of ten that is a multiple of three.
    pub(super) fn canonical_10(&self) -> (String, i64) {
        let zeros = self.digits.iter().rev().take_while(|digit| **digit == 0).count();
        let kept = Decimal { digits: self.digits[..self.digits.len() - zeros].to_vec(), ..*self };
        to_multiple_of_three(kept.text(), self.scale + zeros as i64)
    }

    /// Digits and a power of 1024, of the amount rounded to a whole number.
    pub(super) fn canonical_1024(&self) -> (String, i32) {
        let mut whole = self.clone();
        whole.round_away(0);
        let mut times = 0;
        while let Some(quotient) = divide_exactly(&whole.digits, 1024) {
            whole.digits = quotient;
            times += 1;
        }
        (whole.text(), times)
    }

    /// The same number with zeros appended until its scale is `scale`, as far as [`MAX_PADDING`] allows.
    fn scaled_to(&self, scale: i64) -> Decimal {
        let zeros = (self.scale - scale).clamp(0, MAX_PADDING);
        let mut scaled = self.clone();
        if !scaled.digits.is_empty() {
            scaled.digits.resize(self.digits.len() + zeros as usize, 0);
        }
        scaled.scale -= zeros;
        scaled
    }

    fn cmp_magnitude(&self, other: &Decimal) -> Ordering {
        let order = |number: &Decimal| match number.digits.len() {
            0 => None,
            length => Some(number.scale + length as i64),
        };
        let pad = |number: &Decimal, length: usize| {
            let padding = std::iter::repeat_n(0, length.saturating_sub(number.digits.len()));
            number.digits.iter().copied().chain(padding).collect::<Vec<u8>>()
        };
        let length = self.digits.len().max(other.digits.len());
        order(self).cmp(&order(other)).then_with(|| pad(self, length).cmp(&pad(other, length)))
    }

    fn wrapping_unscaled(&self) -> i128 {
        let magnitude = wrapping_number(&self.digits) as i128;
        if self.negative { magnitude.wrapping_neg() } else { magnitude }
    }

    fn text(&self) -> String {
        let sign = if self.negative { "-" } else { "" };
        let digits: String = self.digits.iter().map(|digit| char::from(digit + b'0')).collect();
        format!("{sign}{digits}")
    }

    fn trimmed(mut self) -> Decimal {
        let zeros = self.digits.iter().take_while(|digit| **digit == 0).count();
        self.digits.drain(..zeros);
        self
    }

    pub(super) fn cmp(&self, other: &Decimal) -> Ordering {
        self.sign().cmp(&other.sign()).then_with(|| match self.negative {
            false => self.cmp_magnitude(other),
            true => other.cmp_magnitude(self),
        })
    }
}

/// `10^exponent`, zero or infinity beyond what a float holds. It is put together from two exact or nearly exact
/// factors as Go does it, so that the last digit agrees.
pub(super) fn power_of_ten(exponent: i32) -> f64 {
    let exact =
        |exponent: i32| -> f64 { format!("1e{exponent}").parse().expect("a power of ten is a float") };
    match exponent {
        0..=308 => exact(exponent / 32 * 32) * exact(exponent % 32),
        -323..=-1 => exact(exponent / 32 * 32) / exact(-(exponent % 32)),
        _ => exact(exponent),
    }
}

/// Pads digits with zeros until the exponent beside them is a multiple of three.
pub(super) fn to_multiple_of_three(mut digits: String, exponent: i64) -> (String, i64) {
    let excess = exponent.rem_euclid(3);
    digits.extend(std::iter::repeat_n('0', excess as usize));
    (digits, exponent - excess)
}

fn add_digits(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut sum = Vec::with_capacity(a.len().max(b.len()) + 1);
    let mut carry = 0;
    for i in 0..a.len().max(b.len()) {
        let total = digit(a, i) + digit(b, i) + carry;
        sum.push(total % 10);
        carry = total / 10;
    }
    if carry > 0 {
        sum.push(carry);
    }
    sum.reverse();
    sum
}

/// `a - b`, where `a` is not the smaller.
fn subtract_digits(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut difference = Vec::with_capacity(a.len());
    let mut borrow = 0;
    for i in 0..a.len() {
        let (minuend, subtrahend) = (digit(a, i), digit(b, i) + borrow);
        borrow = u8::from(minuend < subtrahend);
        difference.push(minuend + 10 * borrow - subtrahend);
    }
    difference.reverse();
    difference
}

/// The digit worth `10^place`.
fn digit(digits: &[u8], place: usize) -> u8 {
    digits.len().checked_sub(place + 1).map_or(0, |i| digits[i])
}

fn divide_exactly(digits: &[u8], divisor: u32) -> Option<Vec<u8>> {
    let mut quotient = Vec::with_capacity(digits.len());
    let mut remainder = 0;
    for digit in digits {
        remainder = remainder * 10 + u32::from(*digit);
        if !quotient.is_empty() || remainder >= divisor {
            quotient.push((remainder / divisor) as u8);
        }
        remainder %= divisor;
    }
    (remainder == 0 && !quotient.is_empty()).then_some(quotient)
}

/// The number modulo 2^128.
fn wrapping_number(digits: &[u8]) -> u128 {
    digits.iter().fold(0, |number: u128, digit| number.wrapping_mul(10).wrapping_add(u128::from(*digit)))
}
