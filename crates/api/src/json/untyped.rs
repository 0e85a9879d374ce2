//! JSON without a schema: custom resources before their own table is applied, patches, raw extensions.

use std::collections::HashSet;

use serde_json::{Map, Number, Value};

use super::lex::Lexer;
use super::{Decoded, JsonError, MAX_STRICT_ERRORS, StrictError, utf8};
use crate::proto::wire::MAX_DEPTH;

/// Parses one document, collecting duplicate keys with their paths.
pub fn decode_untyped(bytes: &[u8]) -> Result<Decoded<Value>, JsonError> {
    let text = utf8(bytes);
    let mut parser = Parser {
        lexer: Lexer::new(&text),
        path: Some(String::new()),
        strict: Vec::new(),
        seen: HashSet::new(),
    };
    let value = parser.value(0)?;
    parser.lexer.finish()?;
    Ok(Decoded { value, strict: parser.strict })
}

/// Parses one document; the last of equal keys wins.
pub fn parse_untyped(bytes: &[u8]) -> Result<Value, JsonError> {
    let text = utf8(bytes);
    let mut parser =
        Parser { lexer: Lexer::new(&text), path: None, strict: Vec::new(), seen: HashSet::new() };
    let value = parser.value(0)?;
    parser.lexer.finish()?;
    Ok(value)
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The path so far; absent when nobody asked for duplicates.
    path: Option<String>,
    strict: Vec<StrictError>,
    seen: HashSet<StrictError>,
}

impl Parser<'_> {
    fn value(&mut self, depth: u32) -> Result<Value, JsonError> {
        if depth > MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        Ok(match self.lexer.peek()? {
            b'{' => self.object(depth)?,
            b'[' => self.list(depth)?,
            b'"' => Value::String(self.lexer.string()?.into_owned()),
            b'n' => {
                self.lexer.null()?;
                Value::Null
            }
            b't' | b'f' => Value::Bool(self.lexer.boolean()?),
            b'-' | b'0'..=b'9' => {
                let text = self.lexer.number()?;
                let number = match text.as_i64() {
                    Some(whole) => Some(Number::from(whole)),
                    None => text.as_f64().and_then(Number::from_f64),
                };
                Value::Number(number.ok_or_else(|| {
                    JsonError::Type(format!(
                        "json: cannot unmarshal number {} into Go value of type float64",
                        text.0
                    ))
                })?)
            }
            _ => return Err(self.lexer.begin_value()),
        })
    }

    fn object(&mut self, depth: u32) -> Result<Value, JsonError> {
        let mut map = Map::new();
        if self.lexer.open(b'}')? {
            return Ok(Value::Object(map));
        }
        loop {
            let key = self.lexer.key()?;
            let mark = self.path.as_ref().map(String::len);
            if let Some(path) = &mut self.path {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&key);
                if map.contains_key(&*key) && self.strict.len() < MAX_STRICT_ERRORS {
                    let error = StrictError::Duplicate(path.clone());
                    if self.seen.insert(error.clone()) {
                        self.strict.push(error);
                    }
                }
            }
            let value = self.value(depth + 1)?;
            if let (Some(path), Some(mark)) = (&mut self.path, mark) {
                path.truncate(mark);
            }
            map.insert(key.into_owned(), value);
            if !self.lexer.more(b'}')? {
                return Ok(Value::Object(map));
            }
        }
    }

    fn list(&mut self, depth: u32) -> Result<Value, JsonError> {
        let mut items = Vec::new();
        if self.lexer.open(b']')? {
            return Ok(Value::Array(items));
        }
        loop {
            let mark = self.path.as_ref().map(String::len);
            if let Some(path) = &mut self.path {
                path.push_str(&format!("[{}]", items.len()));
            }
            items.push(self.value(depth + 1)?);
            if let (Some(path), Some(mark)) = (&mut self.path, mark) {
                path.truncate(mark);
            }
            if !self.lexer.more(b']')? {
                return Ok(Value::Array(items));
            }
        }
    }
}
