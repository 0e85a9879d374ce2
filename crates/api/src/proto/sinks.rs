//! Where a walk over protobuf ends: JSON text, or a tree.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schema::Field;
use serde_json::{Map, Number, Value};

use super::walk::Sink;
use crate::json::{encode::compact, parse_untyped, tape::float_value, write};

pub(super) struct JsonSink {
    out: Vec<u8>,
}

impl JsonSink {
    pub(super) fn new(out: Vec<u8>) -> JsonSink {
        JsonSink { out }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }

    #[inline]
    fn separate(&mut self) {
        if !matches!(self.out.last(), Some(b'{' | b'[')) {
            self.out.push(b',');
        }
    }
}

impl Sink for JsonSink {
    #[inline]
    fn open_object(&mut self) {
        self.out.push(b'{');
    }

    #[inline]
    fn field(&mut self, field: &Field) {
        let key = field.key().as_bytes();
        let first = self.out.last() == Some(&b'{');
        self.out.extend_from_slice(&key[usize::from(first)..]);
    }

    fn key(&mut self, key: &str) {
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn map_key(&mut self, key: &[u8]) {
        self.separate();
        write::lossy(&mut self.out, key);
        self.out.push(b':');
    }

    #[inline]
    fn close_object(&mut self) {
        self.out.push(b'}');
    }

    #[inline]
    fn open_list(&mut self) {
        self.out.push(b'[');
    }

    #[inline]
    fn item(&mut self) {
        self.separate();
    }

    #[inline]
    fn close_list(&mut self) {
        self.out.push(b']');
    }

    fn null(&mut self) {
        self.out.extend_from_slice(b"null");
    }

    fn bool(&mut self, value: bool) {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn int(&mut self, value: i64) {
        write::integer(&mut self.out, value);
    }

    fn uint(&mut self, value: u64) {
        write::unsigned(&mut self.out, value);
    }

    fn float(&mut self, value: f64) {
        write::float(&mut self.out, value);
    }

    #[inline]
    fn text(&mut self, value: &[u8]) {
        write::lossy(&mut self.out, value);
    }

    fn base64(&mut self, value: &[u8]) {
        self.out.push(b'"');
        let start = self.out.len();
        self.out.resize(start + value.len().div_ceil(3) * 4, 0);
        STANDARD.encode_slice(value, &mut self.out[start..]).expect("the room was measured");
        self.out.push(b'"');
    }

    fn raw(&mut self, json: &[u8]) -> Result<(), String> {
        compact(&mut self.out, json).map_err(|error| error.to_string())
    }
}

/// Builds a tree from events, with a stack of what is open.
#[derive(Default)]
pub(super) struct TreeSink {
    open: Vec<Open>,
    done: Option<Value>,
}

enum Open {
    Object(Map<String, Value>, String),
    List(Vec<Value>),
}

impl TreeSink {
    pub(super) fn finish(self) -> Value {
        self.done.unwrap_or(Value::Null)
    }

    fn put(&mut self, value: Value) {
        match self.open.last_mut() {
            Some(Open::Object(map, key)) => {
                map.insert(std::mem::take(key), value);
            }
            Some(Open::List(items)) => items.push(value),
            None => self.done = Some(value),
        }
    }

    fn set_key(&mut self, name: String) {
        if let Some(Open::Object(_, key)) = self.open.last_mut() {
            *key = name;
        }
    }

    fn close(&mut self) {
        match self.open.pop() {
            Some(Open::Object(map, _)) => self.put(Value::Object(map)),
            Some(Open::List(items)) => self.put(Value::Array(items)),
            None => {}
        }
    }
}

impl Sink for TreeSink {
    fn field(&mut self, field: &Field) {
        self.set_key(field.json.to_string());
    }

    fn open_object(&mut self) {
        self.open.push(Open::Object(Map::new(), String::new()));
    }

    fn key(&mut self, key: &str) {
        self.set_key(key.to_owned());
    }

    fn map_key(&mut self, key: &[u8]) {
        self.set_key(String::from_utf8_lossy(key).into_owned());
    }

    fn close_object(&mut self) {
        self.close();
    }

    fn open_list(&mut self) {
        self.open.push(Open::List(Vec::new()));
    }

    fn item(&mut self) {}

    fn close_list(&mut self) {
        self.close();
    }

    fn null(&mut self) {
        self.put(Value::Null);
    }

    fn bool(&mut self, value: bool) {
        self.put(Value::Bool(value));
    }

    fn int(&mut self, value: i64) {
        self.put(Value::Number(Number::from(value)));
    }

    fn uint(&mut self, value: u64) {
        self.put(Value::Number(Number::from(value)));
    }

    fn float(&mut self, value: f64) {
        self.put(float_value(value));
    }

    fn text(&mut self, value: &[u8]) {
        self.put(Value::String(String::from_utf8_lossy(value).into_owned()));
    }

    fn base64(&mut self, value: &[u8]) {
        self.put(Value::String(STANDARD.encode(value)));
    }

    fn raw(&mut self, json: &[u8]) -> Result<(), String> {
        let value = parse_untyped(json).map_err(|error| error.to_string())?;
        self.put(value);
        Ok(())
    }
}
