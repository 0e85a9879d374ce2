//! One error about one field.

use super::Path;
use crate::go;
use serde_json::Value;
use std::fmt;

/// What is wrong with a field, where, and with which value.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    pub kind: ErrorType,
    pub field: String,
    pub value: BadValue,
    pub detail: String,
}

/// The classes of field errors. Each is also the `reason` of a `Status` cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorType {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooShort,
    TooMany,
    TooFew,
    Internal,
    TypeInvalid,
}

impl ErrorType {
    /// The machine-readable name, as it stands in `status.details.causes[].reason`.
    pub const fn reason(self) -> &'static str {
        match self {
            ErrorType::NotFound => "FieldValueNotFound",
            ErrorType::Required => "FieldValueRequired",
            ErrorType::Duplicate => "FieldValueDuplicate",
            ErrorType::Invalid => "FieldValueInvalid",
            ErrorType::NotSupported => "FieldValueNotSupported",
            ErrorType::Forbidden => "FieldValueForbidden",
            ErrorType::TooLong => "FieldValueTooLong",
            ErrorType::TooShort => "FieldValueTooShort",
            ErrorType::TooMany => "FieldValueTooMany",
            ErrorType::TooFew => "FieldValueTooFew",
            ErrorType::Internal => "InternalError",
            ErrorType::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            ErrorType::NotFound => "Not found",
            ErrorType::Required => "Required value",
            ErrorType::Duplicate => "Duplicate value",
            ErrorType::Invalid | ErrorType::TypeInvalid => "Invalid value",
            ErrorType::NotSupported => "Unsupported value",
            ErrorType::Forbidden => "Forbidden",
            ErrorType::TooLong => "Too long",
            ErrorType::TooShort => "Too short",
            ErrorType::TooMany => "Too many",
            ErrorType::TooFew => "Too few",
            ErrorType::Internal => "Internal error",
        }
    }

    const fn shows_value(self) -> bool {
        !matches!(
            self,
            ErrorType::Required
                | ErrorType::Forbidden
                | ErrorType::TooLong
                | ErrorType::TooShort
                | ErrorType::Internal
        )
    }
}

impl fmt::Display for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// The offending value, in the form that decides how it is printed.
///
/// Upstream prints a plain Go `string` with `%q`, but a string of a named type (`RestartPolicy`, `Protocol`) as JSON:
/// that is [`BadValue::named`]. Structs print as JSON in the order of their Go fields, which a sorted tree cannot
/// give: that is [`BadValue::Verbatim`].
#[derive(Clone, Debug, PartialEq)]
pub enum BadValue {
    /// Nothing is shown, not even the colon before the value.
    Omitted,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(String),
    Json(Value),
    Verbatim(String),
}

impl BadValue {
    /// A string whose Go type has a name of its own.
    pub fn named(text: impl Into<String>) -> BadValue {
        BadValue::Json(Value::String(text.into()))
    }
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadValue::Omitted => Ok(()),
            BadValue::Bool(flag) => flag.fmt(f),
            BadValue::Int(number) => number.fmt(f),
            BadValue::Float(number) => f.write_str(&go::float(*number)),
            BadValue::String(text) => f.write_str(&go::quote(text)),
            BadValue::Json(tree) => f.write_str(&go::json(tree)),
            BadValue::Verbatim(text) => f.write_str(text),
        }
    }
}

impl From<bool> for BadValue {
    fn from(flag: bool) -> BadValue {
        BadValue::Bool(flag)
    }
}

impl From<i32> for BadValue {
    fn from(number: i32) -> BadValue {
        BadValue::Int(number.into())
    }
}

impl From<i64> for BadValue {
    fn from(number: i64) -> BadValue {
        BadValue::Int(number)
    }
}

impl From<usize> for BadValue {
    fn from(number: usize) -> BadValue {
        BadValue::Json(number.into())
    }
}

impl From<f64> for BadValue {
    fn from(number: f64) -> BadValue {
        BadValue::Float(number)
    }
}

impl From<&str> for BadValue {
    fn from(text: &str) -> BadValue {
        BadValue::String(text.into())
    }
}

impl From<&String> for BadValue {
    fn from(text: &String) -> BadValue {
        BadValue::String(text.clone())
    }
}

impl From<String> for BadValue {
    fn from(text: String) -> BadValue {
        BadValue::String(text)
    }
}

/// A scalar of a tree prints as the Go scalar would; lists and objects print as JSON.
impl From<Value> for BadValue {
    fn from(tree: Value) -> BadValue {
        match tree {
            Value::Bool(flag) => BadValue::Bool(flag),
            Value::String(text) => BadValue::String(text),
            Value::Number(number) if number.is_i64() => BadValue::Int(number.as_i64().unwrap_or_default()),
            Value::Number(number) if number.is_f64() => BadValue::Float(number.as_f64().unwrap_or_default()),
            tree => BadValue::Json(tree),
        }
    }
}

impl From<&Value> for BadValue {
    fn from(tree: &Value) -> BadValue {
        tree.clone().into()
    }
}

impl Error {
    /// The message without the field, as it stands in `status.details.causes[].message`.
    pub fn body(&self) -> String {
        let mut text = self.kind.text().to_string();
        if self.kind.shows_value() && self.value != BadValue::Omitted {
            text = format!("{text}: {}", self.value);
        }
        if !self.detail.is_empty() {
            text = format!("{text}: {}", self.detail);
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl std::error::Error for Error {}

/// The value's type does not fit the schema.
pub fn type_invalid(path: &Path<'_>, value: impl Into<BadValue>, detail: impl Into<String>) -> Error {
    error(ErrorType::TypeInvalid, path, value, detail)
}

/// The value names something that does not exist.
pub fn not_found(path: &Path<'_>, value: impl Into<BadValue>) -> Error {
    error(ErrorType::NotFound, path, value, "")
}

/// The field must be given and is not.
pub fn required(path: &Path<'_>, detail: impl Into<String>) -> Error {
    error(ErrorType::Required, path, "", detail)
}

/// The value must be unique and is not.
pub fn duplicate(path: &Path<'_>, value: impl Into<BadValue>) -> Error {
    error(ErrorType::Duplicate, path, value, "")
}

/// The value is malformed.
pub fn invalid(path: &Path<'_>, value: impl Into<BadValue>, detail: impl Into<String>) -> Error {
    error(ErrorType::Invalid, path, value, detail)
}

/// The value is not one of a closed set. The set is listed in the order given.
pub fn not_supported<S: AsRef<str>>(path: &Path<'_>, value: impl Into<BadValue>, supported: &[S]) -> Error {
    let names: Vec<String> = supported.iter().map(|name| go::quote(name.as_ref())).collect();
    let detail =
        if names.is_empty() { String::new() } else { format!("supported values: {}", names.join(", ")) };
    error(ErrorType::NotSupported, path, value, detail)
}

/// The value is well formed but not permitted here and now.
pub fn forbidden(path: &Path<'_>, detail: impl Into<String>) -> Error {
    error(ErrorType::Forbidden, path, "", detail)
}

/// The value has more than `limit` bytes. `None` leaves the limit unsaid.
pub fn too_long(path: &Path<'_>, limit: Option<usize>) -> Error {
    let detail = match limit {
        Some(limit) => format!("may not be more than {}", counted(limit, "byte")),
        None => "value is too long".into(),
    };
    error(ErrorType::TooLong, path, "<value omitted>", detail)
}

/// The value has more than `limit` characters. `None` leaves the limit unsaid.
pub fn too_long_characters(path: &Path<'_>, limit: Option<usize>) -> Error {
    let detail = match limit {
        Some(limit) => format!("may not be more than {}", counted(limit, "character")),
        None => "value is too long".into(),
    };
    error(ErrorType::TooLong, path, "<value omitted>", detail)
}

/// The value has fewer than `limit` characters. `None` leaves the limit unsaid.
pub fn too_short(path: &Path<'_>, value: impl Into<BadValue>, limit: Option<usize>) -> Error {
    let detail = match limit {
        Some(limit) => format!("must be at least {}", counted(limit, "character")),
        None => "value is too short".into(),
    };
    error(ErrorType::TooShort, path, value, detail)
}

/// The list has more than `limit` items. `None` leaves a number unsaid.
pub fn too_many(path: &Path<'_>, actual: Option<usize>, limit: Option<usize>) -> Error {
    let detail = match limit {
        Some(limit) => format!("must have at most {}", counted(limit, "item")),
        None => "has too many items".into(),
    };
    error(ErrorType::TooMany, path, actual.map_or(BadValue::Omitted, BadValue::from), detail)
}

/// The list has fewer than `limit` items. `None` leaves the limit unsaid.
pub fn too_few(path: &Path<'_>, actual: usize, limit: Option<usize>) -> Error {
    let detail = match limit {
        Some(limit) => format!("must have at least {}", counted(limit, "item")),
        None => "has too few items".into(),
    };
    error(ErrorType::TooFew, path, actual, detail)
}

/// Something failed that has nothing to do with the input.
pub fn internal(path: &Path<'_>, cause: impl fmt::Display) -> Error {
    error(ErrorType::Internal, path, BadValue::Omitted, cause.to_string())
}

fn error(kind: ErrorType, path: &Path<'_>, value: impl Into<BadValue>, detail: impl Into<String>) -> Error {
    Error { kind, field: path.to_string(), value: value.into(), detail: detail.into() }
}

fn counted(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}
