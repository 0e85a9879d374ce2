//! A value together with its place: what validation walks.
//!
//! A [`Node`] dereferences to its value, so everything that [`Tree`] reads can be asked of a node too; stepping
//! with [`Node::child`] and [`Node::items`] keeps the path, so that an error names its field without anybody
//! spelling it. Paths live on the callers' stack and cost nothing until an error prints one.

use std::ops::Deref;

use grammar::field::{self, BadValue, Error, ErrorList, Path};
use serde_json::Value;

use crate::tree::{Tree, same};

pub const IMMUTABLE: &str = "field is immutable";
pub const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// A value and the path that leads to it.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    value: &'a Value,
    pub path: Path<'a>,
}

impl<'a> Node<'a> {
    pub fn new(value: &'a Value, path: Path<'a>) -> Node<'a> {
        Node { value, path }
    }

    /// The root of an object; its children's paths begin with their own names.
    pub fn root(value: &'a Value) -> Node<'a> {
        Node { value, path: Path::nil() }
    }

    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// The field `key`; a null node where it is absent.
    pub fn child<'b>(&'b self, key: &'b str) -> Node<'b> {
        Node { value: self.value.at(key), path: self.path.child(key) }
    }

    /// The items of the list here; none where it is absent.
    pub fn items(&self) -> impl Iterator<Item = Node<'_>> {
        self.value
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
            .map(|(index, value)| Node { value, path: self.path.index(index) })
    }

    /// The item at `index` of the list here; null beyond its end.
    pub fn item(&self, index: usize) -> Node<'_> {
        Node { value: self.value.get(index).unwrap_or(&Value::Null), path: self.path.index(index) }
    }

    /// The entries of the map here, in the order of their keys.
    pub fn pairs(&self) -> impl Iterator<Item = (&'a str, Node<'_>)> {
        let entries: Option<&'a serde_json::Map<String, Value>> = self.value.as_object();
        entries
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.as_str(), Node { value, path: self.path.key(key) }))
    }

    /// A set Go pointer.
    pub fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// The string here, or "".
    pub fn str(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    /// The integer here, or 0.
    pub fn number(&self) -> i64 {
        self.value.as_i64().unwrap_or_default()
    }

    /// How many elements the list or map here has.
    pub fn len(&self) -> usize {
        match self.value {
            Value::Array(items) => items.len(),
            Value::Object(entries) => entries.len(),
            _ => 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn required(&self, detail: impl Into<String>) -> Error {
        field::required(&self.path, detail)
    }

    pub fn forbidden(&self, detail: impl Into<String>) -> Error {
        field::forbidden(&self.path, detail)
    }

    /// The value here is malformed.
    pub fn invalid(&self, detail: impl Into<String>) -> Error {
        field::invalid(&self.path, self.value, detail)
    }

    /// As [`Node::invalid`], for a string, whose absence shows as "".
    pub fn invalid_text(&self, detail: impl Into<String>) -> Error {
        field::invalid(&self.path, self.str(), detail)
    }

    /// As [`Node::invalid`], for a number, whose absence shows as 0.
    pub fn invalid_number(&self, detail: impl Into<String>) -> Error {
        field::invalid(&self.path, self.number(), detail)
    }

    /// As [`Node::invalid`], showing `value` in place of what is here.
    pub fn invalid_as(&self, value: impl Into<BadValue>, detail: impl Into<String>) -> Error {
        field::invalid(&self.path, value, detail)
    }

    /// The string here is not one of `supported`.
    pub fn not_supported<S: AsRef<str>>(&self, supported: &[S]) -> Error {
        field::not_supported(&self.path, self.str(), supported)
    }

    pub fn duplicate(&self) -> Error {
        field::duplicate(&self.path, self.value)
    }

    pub fn not_found(&self) -> Error {
        field::not_found(&self.path, self.value)
    }

    /// More than `limit` bytes.
    pub fn too_long(&self, limit: usize) -> Error {
        field::too_long(&self.path, Some(limit))
    }

    /// More than `limit` items.
    pub fn too_many(&self, limit: usize) -> Error {
        field::too_many(&self.path, Some(self.len()), Some(limit))
    }

    /// One error for each complaint about the string here.
    pub fn complaints(&self, complaints: impl IntoIterator<Item = String>, errs: &mut ErrorList) {
        errs.extend(complaints.into_iter().map(|complaint| self.invalid_text(complaint)));
    }

    /// The string here must be one of `supported`; an absent one is required with `detail` when that is given.
    pub fn one_of(&self, supported: &[&str], errs: &mut ErrorList) {
        if !supported.contains(&self.str()) {
            errs.push(self.not_supported(supported));
        }
    }

    /// A number of 0 or more; absent is fine.
    pub fn not_negative(&self, errs: &mut ErrorList) {
        if self.number() < 0 {
            errs.push(self.invalid(NOT_NEGATIVE));
        }
    }

    /// What is here must be what is in `old`.
    pub fn immutable(&self, old: &Value, errs: &mut ErrorList) {
        if !same(self.value, old) {
            errs.push(self.invalid(IMMUTABLE));
        }
    }
}

impl Deref for Node<'_> {
    type Target = Value;

    fn deref(&self) -> &Value {
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nodes_know_where_they_are() {
        let tree = json!({"spec": {"ports": [{"port": 1}, {"port": -1}], "labels": {"a/b": "c"}}});
        let root = Node::root(&tree);
        let spec = root.child("spec");
        let ports = spec.child("ports");
        let mut errs = ErrorList::new();
        for port in ports.items() {
            port.child("port").not_negative(&mut errs);
            errs.push(port.child("name").required(""));
        }
        errs.extend(spec.child("labels").pairs().map(|(_, label)| label.duplicate()));
        let said: Vec<_> = errs.messages();
        assert_eq!(
            said,
            [
                "spec.ports[0].name: Required value",
                "spec.ports[1].port: Invalid value: -1: must be greater than or equal to 0",
                "spec.ports[1].name: Required value",
                "spec.labels[a/b]: Duplicate value: \"c\"",
            ]
        );
    }
}
