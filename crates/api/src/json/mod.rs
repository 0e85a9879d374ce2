//! JSON in and out, by the table.
//!
//! Text is parsed once into a [`tape::Tape`], which knows each value's field, and from there becomes a tree or
//! protobuf. Trees have Go's normal form: what upstream's encoder would print for the decoded struct, zero values
//! included where it prints them.

use std::borrow::Cow;
use std::fmt;

pub(crate) mod encode;
pub(crate) mod lex;
pub(crate) mod tape;
mod untyped;
pub(crate) mod write;

pub use encode::{encode, encode_any};
pub use tape::{decode, normalize, to_proto};
pub use untyped::{decode_untyped, parse_untyped};

/// A decoded value and what strict decoding has to say about it.
#[derive(Debug)]
pub struct Decoded<T> {
    pub value: T,
    pub strict: Vec<StrictError>,
}

/// An unknown or duplicate field, with its path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StrictError {
    Unknown(String),
    Duplicate(String),
    /// The same key twice in a YAML mapping, in the YAML decoder's words.
    Yaml(String),
}

impl fmt::Display for StrictError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StrictError::Unknown(path) => write!(f, "unknown field {path:?}"),
            StrictError::Duplicate(path) => write!(f, "duplicate field {path:?}"),
            StrictError::Yaml(text) => f.write_str(text),
        }
    }
}

/// Strict errors beyond this many are not collected.
pub const MAX_STRICT_ERRORS: usize = 100;

/// Why a document is not the JSON of its message, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonError {
    End,
    Syntax(String),
    TooDeep,
    /// A value of the wrong JSON type for its field.
    Type(String),
    /// A value that its type's own parser refused.
    Value(String),
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JsonError::End => f.write_str("unexpected end of JSON input"),
            JsonError::TooDeep => f.write_str("exceeded max depth"),
            JsonError::Syntax(text) | JsonError::Type(text) | JsonError::Value(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for JsonError {}

/// Bytes as text, with what is not UTF-8 replaced. Checking first is several times faster than the replacing walk, and
/// nearly always enough.
pub(crate) fn utf8(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}
