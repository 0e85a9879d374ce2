//! One step of a path, and paths.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

use crate::go::{self, Numbers};
use crate::value;

/// One step from an object or a list to something inside it.
#[derive(Clone, Debug)]
pub enum PathElement {
    /// A field of a struct or an entry of a map.
    Field(Box<str>),
    /// The item of a keyed list that has these key fields; sorted by name.
    Key(Box<[(Box<str>, Value)]>),
    /// The item of a set with this value.
    Value(Value),
    /// The item of any list at this place.
    Index(i64),
}

impl PathElement {
    pub fn field(name: &str) -> Self {
        PathElement::Field(name.into())
    }

    /// A keyed list's item; the fields are sorted here.
    pub fn key<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        let mut fields: Box<[_]> = fields.into_iter().map(|(name, value)| (name.into(), value)).collect();
        fields.sort_by(|(l, _): &(Box<str>, Value), (r, _)| l.cmp(r));
        PathElement::Key(fields)
    }

    fn rank(&self) -> u8 {
        match self {
            PathElement::Field(_) => 0,
            PathElement::Key(_) => 1,
            PathElement::Value(_) => 2,
            PathElement::Index(_) => 3,
        }
    }
}

/// The order of FieldsV1: fields, keys, values, indices; keys by their fields in turn, a shorter key first.
impl Ord for PathElement {
    fn cmp(&self, other: &Self) -> Ordering {
        use PathElement::{Field, Index, Key};
        match (self, other) {
            (Field(l), Field(r)) => l.cmp(r),
            (Key(l), Key(r)) => {
                for ((l_name, l_value), (r_name, r_value)) in l.iter().zip(r) {
                    let order = l_name.cmp(r_name).then_with(|| value::compare(l_value, r_value));
                    if order.is_ne() {
                        return order;
                    }
                }
                l.len().cmp(&r.len())
            }
            (PathElement::Value(l), PathElement::Value(r)) => value::compare(l, r),
            (Index(l), Index(r)) => l.cmp(r),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for PathElement {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for PathElement {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for PathElement {}

/// As conflicts and validation errors print it: `.name`, `[name="a"]`, `[="v"]`, `[3]`.
impl fmt::Display for PathElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathElement::Field(name) => write!(f, ".{name}"),
            PathElement::Key(fields) => {
                f.write_str("[")?;
                for (i, (name, value)) in fields.iter().enumerate() {
                    let comma = if i > 0 { "," } else { "" };
                    write!(f, "{comma}{name}={}", in_path(value))?;
                }
                f.write_str("]")
            }
            PathElement::Value(value) => write!(f, "[={}]", in_path(value)),
            PathElement::Index(index) => write!(f, "[{index}]"),
        }
    }
}

fn in_path(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(s) => go::quote(s),
        Value::Array(items) => format!("[{}]", items.iter().map(in_path).collect::<Vec<_>>().join(",")),
        Value::Object(map) => map.iter().map(|(key, item)| format!("{key}={}", in_path(item))).collect(),
        scalar => go::plain(scalar, Numbers::Floats),
    }
}

/// The steps from an object's root to a field.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(pub Vec<PathElement>);

impl Path {
    /// A path of field names.
    pub fn fields(names: &[&str]) -> Self {
        Path(names.iter().map(|name| PathElement::field(name)).collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|element| element.fmt(f))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn elements_print_and_sort_as_upstream() {
        let ascending = [
            (PathElement::field("a"), ".a"),
            (PathElement::field("b"), ".b"),
            (PathElement::key([("port", json!(80))]), "[port=80]"),
            (
                PathElement::key([("protocol", json!("TCP")), ("port", json!(80))]),
                r#"[port=80,protocol="TCP"]"#,
            ),
            (PathElement::key([("port", json!(443))]), "[port=443]"),
            (PathElement::Value(json!(2)), "[=2]"),
            (PathElement::Value(json!("x")), r#"[="x"]"#),
            (PathElement::Value(json!(true)), "[=true]"),
            (PathElement::Index(0), "[0]"),
        ];
        for (i, (l, text)) in ascending.iter().enumerate() {
            assert_eq!(l.to_string(), *text);
            for (j, (r, _)) in ascending.iter().enumerate() {
                assert_eq!(l.cmp(r), i.cmp(&j), "{l} and {r}");
            }
        }
    }
}
