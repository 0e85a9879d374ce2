//! Values that are a number or a text, such as ports by number or name and limits by count or percentage.

use crate::go;
use serde_json::Value;
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum IntOrString {
    Int(i32),
    String(String),
}

/// Why a value is neither a count nor a percentage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAPercentage(String);

impl fmt::Display for NotAPercentage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid value for IntOrString: {}", self.0)
    }
}

impl std::error::Error for NotAPercentage {}

impl IntOrString {
    /// A number where the text is one that fits 32 bits, else the text.
    pub fn parse(text: &str) -> IntOrString {
        match text.parse() {
            Ok(number) => IntOrString::Int(number),
            Err(_) => IntOrString::String(text.into()),
        }
    }

    pub fn from_json(value: &Value) -> Option<IntOrString> {
        match value {
            Value::String(text) => Some(IntOrString::String(text.clone())),
            value => i32::try_from(value.as_i64()?).ok().map(IntOrString::Int),
        }
    }

    pub fn to_json(&self) -> Value {
        match self {
            IntOrString::Int(number) => (*number).into(),
            IntOrString::String(text) => text.as_str().into(),
        }
    }

    /// The number, or a text read as one; 0 where it is none.
    pub fn int_value(&self) -> i64 {
        match self {
            IntOrString::Int(number) => (*number).into(),
            IntOrString::String(text) => go::atoi(text).unwrap_or_else(|error| error.nearest),
        }
    }

    /// The number, or a percentage of `total` rounded up or down.
    pub fn scaled(&self, total: i64, round_up: bool) -> Result<i64, NotAPercentage> {
        let text = match self {
            IntOrString::Int(number) => return Ok((*number).into()),
            IntOrString::String(text) => text,
        };
        let Some(number) = text.strip_suffix('%') else {
            return Err(NotAPercentage("invalid type: string is not a percentage".into()));
        };
        let percent = go::atoi(number)
            .map_err(|error| NotAPercentage(format!("invalid value {}: {error}", go::quote(text))))?;
        let share = percent as f64 * total as f64 / 100.0;
        Ok(if round_up { share.ceil() } else { share.floor() } as i64)
    }
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IntOrString::Int(number) => number.fmt(f),
            IntOrString::String(text) => f.write_str(text),
        }
    }
}
