//! Suffixes and the formats they belong to.

/// The three ways of writing a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `12e6`
    DecimalExponent,
    /// `12Mi`, that is `12 × 2^20`
    BinarySi,
    /// `12M`, that is `12 × 10^6`
    DecimalSi,
}

impl Format {
    pub const fn name(self) -> &'static str {
        match self {
            Format::DecimalExponent => "DecimalExponent",
            Format::BinarySi => "BinarySI",
            Format::DecimalSi => "DecimalSI",
        }
    }
}

/// What a suffix multiplies by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Factor {
    Ten(i32),
    Two(u32),
}

const DECIMAL: [(&str, i64); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

pub(super) fn interpret(suffix: &str) -> Option<(Factor, Format)> {
    if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((Factor::Ten(*exponent as i32), Format::DecimalSi));
    }
    if let Some(thousands) = BINARY.iter().position(|name| *name == suffix) {
        return Some((Factor::Two(10 * thousands as u32), Format::BinarySi));
    }
    // An exponent is read as 64 bits and kept as 32, as upstream does.
    let exponent: i64 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    Some((Factor::Ten(exponent as i32), Format::DecimalExponent))
}

/// The suffix of a power of ten. Beyond the table upstream writes none at all; so does this.
pub(super) fn decimal(exponent: i64) -> &'static str {
    DECIMAL.iter().find(|(_, known)| *known == exponent).map_or("", |(name, _)| name)
}

/// The suffix of a power of 1024.
pub(super) fn binary(exponent: i32) -> &'static str {
    usize::try_from(exponent).ok().and_then(|thousands| BINARY.get(thousands)).copied().unwrap_or("")
}
