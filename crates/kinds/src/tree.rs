//! Reading and editing object trees without ceremony.
//!
//! A tree was decoded through the schema table before it comes here, so a field has the type that the table
//! gives it or is absent. Reading what is absent yields the type's zero, as reading a Go field does; `null`
//! counts as absent.

use serde_json::{Map, Value};

static NULL: Value = Value::Null;

/// Read access to a [`Value`] that never fails.
pub trait Tree {
    /// The child called `key`; `Null` where there is none.
    fn at(&self, key: &str) -> &Value;
    /// The descendant along `path`; `Null` where there is none.
    fn path(&self, path: &[&str]) -> &Value;
    /// Whether `key` is there and not null: a set Go pointer.
    fn has(&self, key: &str) -> bool;
    /// The string under `key`, or "".
    fn text(&self, key: &str) -> &str;
    /// The integer under `key`, if it is set.
    fn int(&self, key: &str) -> Option<i64>;
    /// The boolean under `key`, or false.
    fn flag(&self, key: &str) -> bool;
    /// The boolean under `key`, if it is set.
    fn choice(&self, key: &str) -> Option<bool>;
    /// The items under `key`; none where it is absent.
    fn list(&self, key: &str) -> &[Value];
    /// The strings in the list under `key`.
    fn texts(&self, key: &str) -> Vec<&str>;
    /// The entries under `key`, sorted; none where it is absent.
    fn entries(&self, key: &str) -> impl Iterator<Item = (&str, &Value)>;
    /// Nothing is here: null, or a list or map without elements.
    fn is_nothing(&self) -> bool;
    /// The Go zero value: nothing, "", 0 or false.
    fn is_zero(&self) -> bool;
}

impl Tree for Value {
    fn at(&self, key: &str) -> &Value {
        self.get(key).unwrap_or(&NULL)
    }

    fn path(&self, path: &[&str]) -> &Value {
        path.iter().fold(self, |value, key| value.at(key))
    }

    fn has(&self, key: &str) -> bool {
        !self.at(key).is_null()
    }

    fn text(&self, key: &str) -> &str {
        self.at(key).as_str().unwrap_or_default()
    }

    fn int(&self, key: &str) -> Option<i64> {
        self.at(key).as_i64()
    }

    fn flag(&self, key: &str) -> bool {
        self.choice(key).unwrap_or_default()
    }

    fn choice(&self, key: &str) -> Option<bool> {
        self.at(key).as_bool()
    }

    fn list(&self, key: &str) -> &[Value] {
        self.at(key).as_array().map(Vec::as_slice).unwrap_or_default()
    }

    fn texts(&self, key: &str) -> Vec<&str> {
        self.list(key).iter().filter_map(Value::as_str).collect()
    }

    fn entries(&self, key: &str) -> impl Iterator<Item = (&str, &Value)> {
        self.at(key).as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
    }

    fn is_nothing(&self) -> bool {
        match self {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(entries) => entries.is_empty(),
            _ => false,
        }
    }

    fn is_zero(&self) -> bool {
        match self {
            Value::Bool(flag) => !flag,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => text.is_empty(),
            other => other.is_nothing(),
        }
    }
}

/// Write access to a [`Value`] that is an object, or is to become one.
pub trait TreeMut {
    /// The child called `key`, made null first where there is none.
    fn at_mut(&mut self, key: &str) -> &mut Value;
    /// The descendant along `path`, if every step is there.
    fn find_mut(&mut self, path: &[&str]) -> Option<&mut Value>;
    /// Sets `key`, replacing what is there.
    fn set(&mut self, key: &str, value: impl Into<Value>);
    /// Sets `key` where it is absent, null or "".
    fn set_default(&mut self, key: &str, value: impl Into<Value>);
    /// Takes `key` away.
    fn drop_key(&mut self, key: &str);
    /// Makes `path` what it is in `other`: a copy, or absent there as here.
    fn copy_from(&mut self, other: &Value, path: &[&str]);
    /// Sets `to` to a copy of what is under `from`.
    fn copy_within(&mut self, from: &str, to: &str);
    /// The items under `key`, to edit; none where it is absent.
    fn items_mut(&mut self, key: &str) -> std::slice::IterMut<'_, Value>;
    /// The items of the list along `path`, to edit; none where it is absent.
    fn at_path(&mut self, path: &[&str]) -> std::slice::IterMut<'_, Value>;
}

impl TreeMut for Value {
    fn at_mut(&mut self, key: &str) -> &mut Value {
        object(self).entry(key).or_insert(Value::Null)
    }

    fn find_mut(&mut self, path: &[&str]) -> Option<&mut Value> {
        path.iter().try_fold(self, |value, key| value.get_mut(key))
    }

    fn set(&mut self, key: &str, value: impl Into<Value>) {
        object(self).insert(key.to_owned(), value.into());
    }

    fn set_default(&mut self, key: &str, value: impl Into<Value>) {
        let absent = match self.at(key) {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            _ => false,
        };
        if absent {
            self.set(key, value);
        }
    }

    fn drop_key(&mut self, key: &str) {
        if let Value::Object(entries) = self {
            entries.remove(key);
        }
    }

    fn copy_from(&mut self, other: &Value, path: &[&str]) {
        let Some((last, parents)) = path.split_last() else { return };
        match other.path(parents).get(last) {
            Some(value) => {
                let parent = parents.iter().fold(&mut *self, |value, key| value.at_mut(key));
                parent.set(last, value.clone());
            }
            None => {
                if let Some(parent) = self.find_mut(parents) {
                    parent.drop_key(last);
                }
            }
        }
    }

    fn copy_within(&mut self, from: &str, to: &str) {
        let value = self.at(from).clone();
        self.set(to, value);
    }

    fn items_mut(&mut self, key: &str) -> std::slice::IterMut<'_, Value> {
        self.at_path(&[key])
    }

    fn at_path(&mut self, path: &[&str]) -> std::slice::IterMut<'_, Value> {
        match self.find_mut(path) {
            Some(Value::Array(items)) => items.iter_mut(),
            _ => [].iter_mut(),
        }
    }
}

/// Equal as Kubernetes compares objects: absent, null and empty lists are one, and so are absent and empty maps
/// of labels and the like, which a decoded tree never holds.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.iter().all(|(key, value)| same(value, b.get(key).unwrap_or(&NULL)))
                && b.iter().all(|(key, value)| a.contains_key(key) || same(&NULL, value))
        }
        (Value::Null, Value::Array(items)) | (Value::Array(items), Value::Null) => items.is_empty(),
        (a, b) => a == b,
    }
}

/// How many bytes a base64 text stands for.
pub fn decoded_len(base64: &str) -> usize {
    base64.trim_end_matches('=').len() * 3 / 4
}

fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was made an object just above")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_absent_reads_as_zero() {
        let tree = json!({"a": {"b": null, "n": 3, "list": ["x"]}});
        assert_eq!(tree.path(&["a", "n"]), &json!(3));
        assert_eq!(tree.at("a").int("n"), Some(3));
        assert!(!tree.at("a").has("b"));
        assert_eq!(tree.at("none").text("deep"), "");
        assert_eq!(tree.at("a").texts("list"), ["x"]);
        assert_eq!(tree.at("a").entries("b").count(), 0);
    }

    #[test]
    fn copying_a_path_also_copies_its_absence() {
        let mut tree = json!({"metadata": {"labels": {"a": "b"}}, "status": {"x": 1}});
        tree.copy_from(&json!({"spec": {"deep": 1}}), &["status"]);
        tree.copy_from(&json!({}), &["metadata", "labels"]);
        tree.copy_from(&json!({"spec": {"deep": 1}}), &["spec", "deep"]);
        assert_eq!(tree, json!({"metadata": {}, "spec": {"deep": 1}}));
    }

    #[test]
    fn empty_lists_equal_absent_ones_but_empty_structs_do_not() {
        assert!(same(&json!({"a": []}), &json!({})));
        assert!(same(&json!({"a": null}), &json!({"a": []})));
        assert!(!same(&json!({"emptyDir": {}}), &json!({})));
        assert!(!same(&json!({"a": 1}), &json!({"a": 2})));
    }
}
