//! FieldsV1: `{"f:spec":{"f:ports":{"k:{\"port\":80}":{".":{}}}}}`.

use serde_json::{Map, Number, Value};

use super::set::Node;
use super::{PathElement, Set};
use crate::limits::MAX_DEPTH;

/// Why a FieldsV1 document was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    #[error("key must be 2 characters long:")]
    ShortKey,
    #[error("missing colon: {0}")]
    MissingColon(String),
    #[error("parsing key as path element: {0:?} is not {1}")]
    BadKey(String, &'static str),
    #[error("managed fields must be objects all the way down, found {0}")]
    NotAnObject(&'static str),
    #[error("managed fields are nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    #[error("managed fields are not JSON: {0}")]
    Json(String),
}

impl Set {
    pub fn from_json(text: &str) -> Result<Set, FieldsError> {
        let value = serde_json::from_str(text).map_err(|error| FieldsError::Json(error.to_string()))?;
        Set::from_value(&value)
    }

    /// Elements of unknown kinds are dropped with all below them: a later version may know what they are.
    pub fn from_value(value: &Value) -> Result<Set, FieldsError> {
        Ok(read(value, 0)?.below)
    }

    /// The canonical bytes: elements in the order of [`PathElement`], no spaces.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_to(&mut out, false);
        out
    }

    /// The same as a tree, whose maps sort by key text.
    pub fn to_value(&self) -> Value {
        self.tree(false)
    }

    fn tree(&self, member: bool) -> Value {
        let mut map = Map::new();
        if member && !self.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (element, node) in &self.nodes {
            map.insert(element.to_wire(), node.below.tree(node.member));
        }
        Value::Object(map)
    }

    /// A member with nothing below it is `{}`; `.` marks a member that has something below it.
    fn write_to(&self, out: &mut String, member: bool) {
        out.push('{');
        let mut first = true;
        if member && !self.is_empty() {
            out.push_str("\".\":{}");
            first = false;
        }
        for (element, node) in &self.nodes {
            if !first {
                out.push(',');
            }
            first = false;
            write_string(out, &element.to_wire(), Html::Plain);
            out.push(':');
            node.below.write_to(out, node.member);
        }
        out.push('}');
    }
}

impl PathElement {
    /// The FieldsV1 key, e.g. `f:spec` or `k:{"name":"a"}`.
    pub fn to_wire(&self) -> String {
        let mut out = String::new();
        match self {
            PathElement::Field(name) => {
                out.push_str("f:");
                out.push_str(name);
            }
            PathElement::Key(fields) => {
                out.push_str("k:{");
                for (i, (name, value)) in fields.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_string(&mut out, name, Html::Plain);
                    out.push(':');
                    write_json(&mut out, value);
                }
                out.push('}');
            }
            PathElement::Value(value) => {
                out.push_str("v:");
                write_json(&mut out, value);
            }
            PathElement::Index(index) => {
                out.push_str("i:");
                out.push_str(itoa::Buffer::new().format(*index));
            }
        }
        out
    }

    /// Reads a FieldsV1 key; `None` for a kind of element that this version does not know.
    pub fn from_wire(key: &str) -> Result<Option<PathElement>, FieldsError> {
        if key.len() < 2 {
            return Err(FieldsError::ShortKey);
        }
        if key.as_bytes()[1] != b':' {
            return Err(FieldsError::MissingColon(key.to_owned()));
        }
        let bad = |expected| FieldsError::BadKey(key.to_owned(), expected);
        // Both leading bytes are ASCII wherever one of these arms matches, so the slice starts on a boundary.
        Ok(Some(match key.as_bytes()[0] {
            b'f' => PathElement::field(&key[2..]),
            b'v' => PathElement::Value(serde_json::from_str(&key[2..]).map_err(|_| bad("a JSON value"))?),
            b'k' => {
                let fields: Map<String, Value> =
                    serde_json::from_str(&key[2..]).map_err(|_| bad("a JSON object"))?;
                PathElement::key(fields.iter().map(|(name, value)| (name.as_str(), value.clone())))
            }
            b'i' => PathElement::Index(key[2..].parse().map_err(|_| bad("an integer"))?),
            _ => return Ok(None),
        }))
    }
}

/// Reads one level; an object without known elements is itself a member.
fn read(value: &Value, depth: usize) -> Result<Node, FieldsError> {
    if depth > MAX_DEPTH {
        return Err(FieldsError::TooDeep);
    }
    let mut node = Node::default();
    let map = match value {
        Value::Object(map) => map,
        Value::Null => return Ok(Node { member: true, ..node }),
        Value::Bool(_) => return Err(FieldsError::NotAnObject("a boolean")),
        Value::Number(_) => return Err(FieldsError::NotAnObject("a number")),
        Value::String(_) => return Err(FieldsError::NotAnObject("a string")),
        Value::Array(_) => return Err(FieldsError::NotAnObject("a list")),
    };
    for (key, item) in map {
        if key == "." {
            node.member = true;
            continue;
        }
        let Some(element) = PathElement::from_wire(key)? else { continue };
        let child = read(item, depth + 1)?;
        let slot = node.below.nodes.entry(element).or_default();
        slot.member |= child.member;
        slot.below.extend(&child.below);
    }
    if node.below.is_empty() {
        node.member = true;
    }
    Ok(node)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Html {
    Plain,
    /// `<`, `>` and `&` become escapes, as Go writes string values.
    Escaped,
}

fn write_json(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) => write_number(out, n),
        Value::String(s) => write_string(out, s, Html::Escaped),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_json(out, item);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (i, (key, item)) in map.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_string(out, key, Html::Escaped);
                out.push(':');
                write_json(out, item);
            }
            out.push('}');
        }
    }
}

/// Whole numbers carry no fraction whatever their spelling was; an exponent appears below 1e-6 and from 1e21.
fn write_number(out: &mut String, n: &Number) {
    if let Some(i) = n.as_i64() {
        out.push_str(itoa::Buffer::new().format(i));
        return;
    }
    let f = n.as_f64().unwrap_or(0.0);
    let scientific = format!("{f:e}");
    match scientific.split_once('e') {
        Some((digits, exponent)) if f != 0.0 && !(1e-6..1e21).contains(&f.abs()) => {
            let (sign, exponent) =
                exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
            out.push_str(&format!("{digits}e{sign}{exponent:0>2}"));
        }
        _ => out.push_str(&f.to_string()),
    }
}

fn write_string(out: &mut String, s: &str, html: Html) {
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' if html == Html::Escaped => escape(out, c),
            c if (c as u32) < 0x20 => escape(out, c),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn escape(out: &mut String, c: char) {
    out.push_str(&format!("\\u{:04x}", c as u32));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, canonical: &str) {
        let set = Set::from_json(text).unwrap();
        assert_eq!(set.to_json(), canonical);
        assert_eq!(Set::from_value(&set.to_value()).unwrap(), set);
    }

    #[test]
    fn documents_are_read_and_written_canonically() {
        check("{}", "{}");
        check(r#"{"f:b":{},"f:a":{".":{},"f:c":{}}}"#, r#"{"f:a":{".":{},"f:c":{}},"f:b":{}}"#);
        check(r#"{"f:a":{".":{}}}"#, r#"{"f:a":{}}"#);
        check(r#"{"f:a":null}"#, r#"{"f:a":{}}"#);
        check(r#"{"f:a":{"x:new":{}}}"#, r#"{"f:a":{}}"#);
        check(
            r#"{"v:\"a\"":{},"i:3":{},"k:{\"port\":443}":{},"k:{\"port\":80,\"b\":1.0}":{},"f:z":{}}"#,
            r#"{"f:z":{},"k:{\"b\":1,\"port\":80}":{},"k:{\"port\":443}":{},"v:\"a\"":{},"i:3":{}}"#,
        );
        check(r#"{"v:\"<\"":{},"v:1e21":{}}"#, r#"{"v:1e+21":{},"v:\"\\u003c\"":{}}"#);
    }

    #[test]
    fn damaged_documents_are_refused() {
        let refused = |text: &str| Set::from_json(text).unwrap_err().to_string();
        assert_eq!(refused(r#"{"f":{}}"#), "key must be 2 characters long:");
        assert_eq!(refused(r#"{"spec":{}}"#), "missing colon: spec");
        assert!(refused(r#"{"i:x":{}}"#).contains("not an integer"));
        assert!(refused(r#"{"k:[]":{}}"#).contains("not a JSON object"));
        assert!(refused(r#"{"f:a":3}"#).contains("found a number"));
        assert!(refused(r#"{"f:a":"#).contains("not JSON"));
    }
}
