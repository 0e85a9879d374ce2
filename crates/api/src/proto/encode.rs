//! A tree to protobuf: what every write to the store does last.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use grammar::time::Time;
use schema::{Cardinality, Field, Form, Message, MessageId, Scalar, Table, Type};
use serde_json::{Map, Value};

use super::wire::{FIXED64, MAX_DEPTH, Reverse, VARINT, wire_type};
use crate::json::tape::nil_when_absent;
use crate::json::write;
use crate::special;

/// A tree that does not fit its message. Trees come out of decoding and merging, so this is a caller's mistake, but
/// one that input can lead to; it never panics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeError {
    pub path: String,
    pub why: String,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.why)
    }
}

impl std::error::Error for EncodeError {}

impl EncodeError {
    fn new(why: impl Into<String>) -> EncodeError {
        EncodeError { path: String::new(), why: why.into() }
    }

    fn under(mut self, step: &str) -> EncodeError {
        self.path = match self.path.as_bytes().first() {
            None => step.to_owned(),
            Some(b'[') => format!("{step}{}", self.path),
            Some(_) => format!("{step}.{}", self.path),
        };
        self
    }
}

/// Encodes a tree, without its TypeMeta. Fields that the message does not have are passed over: decoding has
/// reported them.
pub fn encode(table: &Table, message: MessageId, tree: &Value) -> Result<Vec<u8>, EncodeError> {
    let mut out = Reverse::with_capacity(2048);
    Encoder { table }.payload(&mut out, message, tree, 0)?;
    Ok(out.finish())
}

struct Encoder<'t> {
    table: &'t Table,
}

impl Encoder<'_> {
    fn fields(
        &self,
        out: &mut Reverse,
        message: &Message,
        map: Option<&Map<String, Value>>,
        depth: u32,
    ) -> Result<(), EncodeError> {
        for index in message.wire_indices().rev() {
            let field = &message.fields[usize::from(index)];
            if field.inline {
                let Type::Message(id) = field.ty else { continue };
                let end = out.len();
                self.fields(out, self.table.message(id), map, depth)?;
                out.close(field.number, out.len() - end);
                continue;
            }
            let value = map.and_then(|m| m.get(&*field.json)).filter(|v| !v.is_null());
            self.field(out, field, value, depth).map_err(|e| e.under(&field.json))?;
        }
        Ok(())
    }

    fn field(
        &self,
        out: &mut Reverse,
        field: &Field,
        value: Option<&Value>,
        depth: u32,
    ) -> Result<(), EncodeError> {
        match (field.cardinality, value) {
            (Cardinality::One, None) if field.pointer || nil_when_absent(self.table, field.ty) => Ok(()),
            (Cardinality::One, value) => {
                self.single(out, field.number, field.ty, value.unwrap_or(&Value::Null), depth)
            }
            (_, None) => Ok(()),
            (Cardinality::List, Some(Value::Array(items))) => {
                for (i, item) in items.iter().enumerate().rev() {
                    self.single(out, field.number, field.ty, item, depth)
                        .map_err(|e| e.under(&format!("[{i}]")))?;
                }
                Ok(())
            }
            (Cardinality::Map, Some(Value::Object(map))) => self.map(out, field, map, depth),
            (Cardinality::List, Some(_)) => Err(EncodeError::new("must be a list")),
            (Cardinality::Map, Some(_)) => Err(EncodeError::new("must be a map")),
        }
    }

    fn map(
        &self,
        out: &mut Reverse,
        field: &Field,
        map: &Map<String, Value>,
        depth: u32,
    ) -> Result<(), EncodeError> {
        for (key, value) in map.iter().rev() {
            let end = out.len();
            if !(value.is_null() && nil_when_absent(self.table, field.ty)) {
                self.single(out, 2, field.ty, value, depth).map_err(|e| e.under(key))?;
            }
            out.field(1, key.as_bytes());
            out.close(field.number, out.len() - end);
        }
        Ok(())
    }

    fn single(
        &self,
        out: &mut Reverse,
        number: u32,
        ty: Type,
        value: &Value,
        depth: u32,
    ) -> Result<(), EncodeError> {
        match ty {
            Type::Message(id) => {
                let end = out.len();
                self.payload(out, id, value, depth + 1)?;
                out.close(number, out.len() - end);
            }
            Type::Scalar(scalar) => match wire_type(ty) {
                VARINT => {
                    out.varint(varint(scalar, value)?);
                    out.tag(number, VARINT);
                }
                FIXED64 => {
                    let float = match value {
                        Value::Null => 0.0,
                        other => other.as_f64().ok_or_else(|| EncodeError::new("must be a number"))?,
                    };
                    out.bytes(&float.to_bits().to_le_bytes());
                    out.tag(number, FIXED64);
                }
                _ => match (scalar, value) {
                    (_, Value::Null) => out.field(number, b""),
                    (Scalar::Bytes, Value::String(text)) => {
                        let bytes = STANDARD.decode(text).map_err(|_| EncodeError::new("must be base64"))?;
                        out.field(number, &bytes);
                    }
                    (_, Value::String(text)) => out.field(number, text.as_bytes()),
                    _ => return Err(EncodeError::new("must be a string")),
                },
            },
        }
        Ok(())
    }

    fn payload(
        &self,
        out: &mut Reverse,
        id: MessageId,
        value: &Value,
        depth: u32,
    ) -> Result<(), EncodeError> {
        if depth > MAX_DEPTH {
            return Err(EncodeError::new("exceeded max depth"));
        }
        let message = self.table.message(id);
        match (message.form, value) {
            (Form::Object, Value::Object(map)) => self.fields(out, message, Some(map), depth)?,
            (Form::Object, Value::Null) => self.fields(out, message, None, depth)?,
            (Form::Object, _) => return Err(EncodeError::new("must be an object")),
            (Form::Wrapper, value) => {
                if let (Some(field), false) = (message.fields.first(), value.is_null()) {
                    self.field(out, field, Some(value), depth)?;
                }
            }
            (Form::Time | Form::MicroTime | Form::Raw, Value::Null) | (Form::Any, _) => {}
            (Form::Time, Value::String(text)) => {
                let time = Time::parse(text).map_err(|e| EncodeError::new(e.to_string()))?;
                if !time.is_zero() {
                    special::put_timestamp(out, time.seconds, 0);
                }
            }
            (Form::MicroTime, Value::String(text)) => {
                let time = Time::parse_micro(text).map_err(|e| EncodeError::new(e.to_string()))?;
                if !time.is_zero() {
                    special::put_timestamp(out, time.seconds, time.nanos as i32 / 1000 * 1000);
                }
            }
            (Form::Duration, Value::Null) => special::put_varint(out, 0),
            (Form::Duration, Value::String(text)) => {
                let nanos =
                    grammar::time::parse_duration(text).map_err(|e| EncodeError::new(e.to_string()))?;
                special::put_varint(out, nanos as u64);
            }
            (Form::Quantity, Value::Null) => out.field(1, b"0"),
            (Form::Quantity, Value::String(text)) => {
                let canonical = special::canonical_quantity(text.as_bytes()).map_err(EncodeError::new)?;
                out.field(1, canonical.as_bytes());
            }
            (Form::Quantity, Value::Number(number)) => {
                let text = number.to_string();
                let canonical = special::canonical_quantity(text.as_bytes()).map_err(EncodeError::new)?;
                out.field(1, canonical.as_bytes());
            }
            (Form::IntOrString, Value::Null) => special::put_int_or_string(out, 0, 0, b""),
            (Form::IntOrString, Value::String(text)) => {
                special::put_int_or_string(out, 1, 0, text.as_bytes())
            }
            (Form::IntOrString, Value::Number(number)) => {
                let int = number.as_i64().and_then(|i| i32::try_from(i).ok());
                let int = int.ok_or_else(|| EncodeError::new("must be a 32-bit integer or a string"))?;
                special::put_int_or_string(out, 0, int, b"");
            }
            (Form::Raw, value) => {
                let mut text = Vec::with_capacity(256);
                write::value(&mut text, value);
                out.field(1, &text);
            }
            (Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings, value) => {
                self.schema_or(out, message, value, depth)?;
            }
            (form, _) => return Err(EncodeError::new(format!("has the wrong type for a {form:?}"))),
        }
        Ok(())
    }

    fn schema_or(
        &self,
        out: &mut Reverse,
        message: &Message,
        value: &Value,
        depth: u32,
    ) -> Result<(), EncodeError> {
        for field in message.fields.iter().rev() {
            match (field.cardinality, field.ty, value) {
                (Cardinality::List, _, Value::Array(_)) => self.field(out, field, Some(value), depth)?,
                (Cardinality::One, Type::Message(_), Value::Object(_)) => {
                    self.single(out, field.number, field.ty, value, depth)?;
                }
                (Cardinality::One, Type::Scalar(_), value) => {
                    let allows = value.is_object() || *value == Value::Bool(true);
                    self.single(out, field.number, field.ty, &Value::Bool(allows), depth)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn varint(scalar: Scalar, value: &Value) -> Result<u64, EncodeError> {
    let number = match (scalar, value) {
        (_, Value::Null) => return Ok(0),
        (Scalar::Bool, Value::Bool(b)) => return Ok(u64::from(*b)),
        (Scalar::Bool, _) => return Err(EncodeError::new("must be a boolean")),
        (_, Value::Number(number)) => number,
        _ => return Err(EncodeError::new("must be an integer")),
    };
    match scalar {
        Scalar::UInt64 => number.as_u64(),
        Scalar::UInt32 => number.as_u64().filter(|u| u32::try_from(*u).is_ok()),
        Scalar::Int32 => number.as_i64().filter(|i| i32::try_from(*i).is_ok()).map(|i| i as u64),
        _ => number.as_i64().map(|i| i as u64),
    }
    .ok_or_else(|| EncodeError::new("is out of range"))
}
