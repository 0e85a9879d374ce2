//! Numbers as upstream's validator sees them: what JSON wrote whole is an `int64`, all else a `float64`.

use serde_json::Value;

use super::value::{At, Fault, Outcome};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
}

impl From<&serde_json::Number> for Number {
    fn from(number: &serde_json::Number) -> Number {
        match number.as_i64() {
            Some(int) => Number::Int(int),
            None => Number::Float(number.as_f64().unwrap_or(f64::MAX)),
        }
    }
}

/// A float that JSON could as well have written as an integer.
pub(super) fn is_whole(float: f64) -> bool {
    const LIMIT: f64 = ((1_i64 << 53) - 1) as f64;
    const TOLERANCE: f64 = 1e-9;
    if !float.is_finite() || float.abs() > LIMIT {
        return false;
    }
    let rounded = float.round();
    float == rounded || (rounded != 0.0 && (float - rounded).abs() < TOLERANCE * rounded.abs())
}

/// Go's conversion on amd64: what does not fit becomes the least integer.
fn to_int(float: f64) -> i64 {
    if float >= i64::MIN as f64 && float < -(i64::MIN as f64) { float as i64 } else { i64::MIN }
}

/// Whether a value is one of an enumeration. Upstream converts it to the known value's type first, as Go converts: a
/// float loses its fraction, an integer becomes the character with that code.
pub(super) fn equals(value: &Value, known: &Value) -> bool {
    match (value, known) {
        (Value::Null, _) => false,
        (Value::Number(value), Value::Number(known)) => match (Number::from(value), Number::from(known)) {
            (Number::Int(a), Number::Int(b)) => a == b,
            (Number::Int(a), Number::Float(b)) => a as f64 == b,
            (Number::Float(a), Number::Int(b)) => to_int(a) == b,
            (Number::Float(a), Number::Float(b)) => a == b,
        },
        (Value::Number(value), Value::String(known)) => match Number::from(value) {
            Number::Int(code) => {
                let c =
                    u32::try_from(code).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
                known.chars().eq([c])
            }
            Number::Float(_) => false,
        },
        (value, known) => value == known,
    }
}

#[derive(Debug, Default)]
pub(super) struct Limits {
    /// `integer`, `number`, or nothing where the type is open.
    pub kind: String,
    pub format: String,
    pub maximum: Option<f64>,
    pub exclusive_maximum: bool,
    pub minimum: Option<f64>,
    pub exclusive_minimum: bool,
    pub multiple_of: Option<f64>,
}

impl Limits {
    pub(super) fn check(&self, value: Number, at: &At<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        if let Some(message) = self.out_of_range(value, "Checked", at) {
            outcome.add(Fault::bare(message));
        }
        let checks = [
            (self.multiple_of, "MultipleOf"),
            (self.minimum, "Minimum boundary"),
            (self.maximum, "Maximum boundary"),
        ];
        for (bound, title) in checks {
            let Some(bound) = bound else { continue };
            // A bound that the type cannot hold is reported, and the value then compared as a float.
            let unfit = self.out_of_range(Number::Float(bound), title, at);
            let value = match (value, unfit) {
                (Number::Int(int), Some(message)) => {
                    outcome.add(Fault::bare(message));
                    Number::Float(int as f64)
                }
                (value, Some(message)) => {
                    outcome.add(Fault::bare(message));
                    value
                }
                (value, None) => value,
            };
            let bound = match value {
                Number::Int(_) => Number::Int(to_int(bound)),
                Number::Float(_) => Number::Float(bound),
            };
            let fault = match title {
                "MultipleOf" => multiple_of(value, bound, at),
                "Minimum boundary" => self.at_least(value, bound, at),
                _ => self.at_most(value, bound, at),
            };
            if let Some(fault) = fault {
                outcome.add(fault);
            }
        }
        outcome.matches += 1;
        outcome
    }

    fn out_of_range(&self, value: Number, title: &str, at: &At<'_>) -> Option<String> {
        let fits = match (self.kind.as_str(), self.format.as_str(), value) {
            ("integer", "int32", Number::Int(int)) => i32::try_from(int).is_ok(),
            ("integer", "int32", Number::Float(float)) => {
                float.fract() == 0.0 && i32::MIN as f64 <= float && float <= i32::MAX as f64
            }
            ("integer", _, Number::Int(_)) => true,
            ("integer", _, Number::Float(float)) => {
                float.fract() == 0.0 && i64::MIN as f64 <= float && float < -(i64::MIN as f64)
            }
            (_, "float", Number::Float(float)) => (float as f32).is_finite(),
            _ => true,
        };
        if fits {
            return None;
        }
        let kind = &self.kind;
        Some(match self.format.as_str() {
            "" => format!("{title} value must be of type {kind} (default format) in {at}"),
            format => format!("{title} value must be of type {kind} with format {format} in {at}"),
        })
    }

    fn at_most(&self, value: Number, bound: Number, at: &At<'_>) -> Option<Fault> {
        let exceeds = if self.exclusive_maximum { !less(value, bound) } else { less(bound, value) };
        let relation = if self.exclusive_maximum { "less than" } else { "less than or equal to" };
        exceeds.then(|| bound_fault(value, bound, relation, at))
    }

    fn at_least(&self, value: Number, bound: Number, at: &At<'_>) -> Option<Fault> {
        let falls_short = if self.exclusive_minimum { !less(bound, value) } else { less(value, bound) };
        let relation = if self.exclusive_minimum { "greater than" } else { "greater than or equal to" };
        falls_short.then(|| bound_fault(value, bound, relation, at))
    }
}

fn bound_fault(value: Number, bound: Number, relation: &str, at: &At<'_>) -> Fault {
    Fault::invalid(at, shown(value), format!("{at} in body should be {relation} {}", shown(bound)))
}

fn less(a: Number, b: Number) -> bool {
    match (a, b) {
        (Number::Int(a), Number::Int(b)) => a < b,
        (Number::Float(a), Number::Float(b)) => a < b,
        (Number::Int(a), Number::Float(b)) => (a as f64) < b,
        (Number::Float(a), Number::Int(b)) => a < b as f64,
    }
}

fn multiple_of(value: Number, factor: Number, at: &At<'_>) -> Option<Fault> {
    let multiple = match (value, factor) {
        (_, Number::Int(factor)) if factor <= 0 => None,
        (_, Number::Float(factor)) if factor <= 0.0 => None,
        (Number::Int(value), Number::Int(factor)) => Some(value % factor == 0),
        (Number::Float(value), Number::Float(factor)) if factor < 1.0 => Some(is_whole(1.0 / factor * value)),
        (Number::Float(value), Number::Float(factor)) => Some(is_whole(value / factor)),
        _ => Some(true),
    };
    match multiple {
        Some(true) => None,
        Some(false) => {
            let message = format!("{at} in body should be a multiple of {}", shown(factor));
            Some(Fault::invalid(at, shown(value), message))
        }
        None => {
            let message = format!("factor MultipleOf declared for {at} must be positive: {}", shown(factor));
            Some(Fault::invalid(at, shown(factor), message))
        }
    }
}

fn shown(number: Number) -> grammar::field::BadValue {
    match number {
        Number::Int(int) => int.into(),
        Number::Float(float) => float.into(),
    }
}
