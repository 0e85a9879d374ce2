//! Trees to JSON text.

use schema::{Cardinality, Form, Message, MessageId, Table, Type};
use serde_json::{Map, Value};

use super::lex::Lexer;
use super::{JsonError, utf8, write};
use crate::proto::walk::{Zero, zero};

/// Appends a tree with its fields in Go struct order; unknown fields are left out. No newline follows.
pub fn encode(table: &Table, message: MessageId, tree: &Value, out: &mut Vec<u8>) {
    Encoder { table, out }.message(message, tree);
}

/// Appends any tree with its keys sorted, as upstream prints unstructured objects.
pub fn encode_any(tree: &Value, out: &mut Vec<u8>) {
    write::value(out, tree);
}

struct Encoder<'t, 'o> {
    table: &'t Table,
    out: &'o mut Vec<u8>,
}

impl Encoder<'_, '_> {
    fn message(&mut self, id: MessageId, tree: &Value) {
        let table = self.table;
        let message = table.message(id);
        match (message.form, tree) {
            (Form::Object, Value::Object(map)) => {
                self.out.push(b'{');
                self.fields(message, Some(map));
                self.out.push(b'}');
            }
            (Form::Object, Value::Null) => {
                self.out.push(b'{');
                self.fields(message, None);
                self.out.push(b'}');
            }
            (Form::Wrapper, tree) => match message.fields.first() {
                Some(field) => self.many(field.ty, tree),
                None => write::value(self.out, tree),
            },
            (Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings, tree) => {
                let schema = message.fields.iter().find(|f| matches!(f.ty, Type::Message(_))).map(|f| f.ty);
                match (schema, tree) {
                    (Some(ty), Value::Object(_)) => self.value(ty, tree),
                    (Some(ty), Value::Array(_)) if message.form == Form::SchemaOrArray => self.many(ty, tree),
                    _ => write::value(self.out, tree),
                }
            }
            (Form::Quantity, Value::Null) => self.out.extend_from_slice(b"\"0\""),
            (Form::Duration, Value::Null) => self.out.extend_from_slice(b"\"0s\""),
            (Form::IntOrString, Value::Null) => self.out.push(b'0'),
            (_, tree) => write::value(self.out, tree),
        }
    }

    fn fields(&mut self, message: &Message, map: Option<&Map<String, Value>>) {
        for field in &message.fields {
            if field.inline {
                if let Type::Message(id) = field.ty {
                    let table = self.table;
                    self.fields(table.message(id), map);
                }
                continue;
            }
            match map.and_then(|m| m.get(&*field.json)).filter(|value| !value.is_null()) {
                Some(value) => {
                    self.key(&field.json);
                    match field.cardinality {
                        Cardinality::One => self.value(field.ty, value),
                        _ => self.many(field.ty, value),
                    }
                }
                None => self.absent(field),
            }
        }
    }

    fn absent(&mut self, field: &schema::Field) {
        match zero(self.table, field) {
            Zero::Omitted => {}
            Zero::Null => {
                self.key(&field.json);
                self.out.extend_from_slice(b"null");
            }
            Zero::Scalar(scalar) => {
                self.key(&field.json);
                write::value(self.out, &super::tape::zero_scalar(scalar));
            }
            Zero::Message(id) => {
                self.key(&field.json);
                self.message(id, &Value::Null);
            }
        }
    }

    fn key(&mut self, key: &str) {
        if !self.out.ends_with(b"{") {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn value(&mut self, ty: Type, value: &Value) {
        match ty {
            Type::Message(id) => self.message(id, value),
            Type::Scalar(_) => write::value(self.out, value),
        }
    }

    fn many(&mut self, ty: Type, value: &Value) {
        match value {
            Value::Array(items) => {
                self.out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        self.out.push(b',');
                    }
                    self.value(ty, item);
                }
                self.out.push(b']');
            }
            Value::Object(map) => {
                self.out.push(b'{');
                for (i, (key, item)) in map.iter().enumerate() {
                    if i > 0 {
                        self.out.push(b',');
                    }
                    write::string(self.out, key);
                    self.out.push(b':');
                    self.value(ty, item);
                }
                self.out.push(b'}');
            }
            other => write::value(self.out, other),
        }
    }
}

/// Appends JSON text without the space between its tokens, escaped as Go's encoder does; the text is checked.
pub(crate) fn compact(out: &mut Vec<u8>, json: &[u8]) -> Result<(), JsonError> {
    let text = utf8(json);
    let mut lexer = Lexer::new(&text);
    lexer.skip_value(0)?;
    lexer.finish()?;
    dense(out, &text);
    Ok(())
}

/// As [`compact`], for text that a lexer has been over.
pub(crate) fn dense(out: &mut Vec<u8>, text: &str) {
    if !text.bytes().any(|b| matches!(b, b' ' | b'\n' | b'\r' | b'\t' | b'<' | b'>' | b'&' | 0xe2)) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let (mut inside, mut escaped) = (false, false);
    for c in text.chars() {
        match c {
            ' ' | '\n' | '\r' | '\t' if !inside => continue,
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        if inside && !escaped && c == '\\' {
            escaped = true;
            continue;
        }
        if c == '"' && !escaped {
            inside = !inside;
        }
        escaped = false;
    }
}
