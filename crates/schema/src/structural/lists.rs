//! Sets hold no value twice, map lists no keys twice.

use std::collections::HashMap;

use grammar::field::{self, BadValue, ErrorList, Path};
use serde_json::{Map, Value};

use super::schema::Schema;

/// Every item that repeats an earlier one of its set or map list, named once at its first repetition.
pub fn validate_lists(path: &Path<'_>, schema: &Schema, value: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Value::Object(map) = value {
        object(path, schema, map, &mut errors);
    }
    errors
}

fn object(path: &Path<'_>, schema: &Schema, map: &Map<String, Value>, errors: &mut ErrorList) {
    for (name, value) in map {
        if let Some(additional) = schema.additional() {
            any(&path.key(name), additional, value, errors);
        }
        if let Some(property) = schema.properties.get(name) {
            any(&path.child(name), property, value, errors);
        }
    }
}

fn any(path: &Path<'_>, schema: &Schema, value: &Value, errors: &mut ErrorList) {
    match value {
        Value::Array(items) => list(path, schema, items, errors),
        Value::Object(map) => object(path, schema, map, errors),
        _ => {}
    }
}

fn list(path: &Path<'_>, schema: &Schema, items: &[Value], errors: &mut ErrorList) {
    match schema.list_type.as_deref() {
        Some("set") => {
            for at in repeated(items.iter().map(Value::to_string)) {
                errors.push(field::duplicate(&path.index(at), &items[at]));
            }
        }
        Some("map") => map_list(path, schema, items, errors),
        _ => {}
    }
    if let Some(item) = schema.item() {
        for (at, value) in items.iter().enumerate() {
            any(&path.index(at), item, value, errors);
        }
    }
}

fn map_list(path: &Path<'_>, schema: &Schema, items: &[Value], errors: &mut ErrorList) {
    if let Some(at) = items.iter().position(|item| !item.is_object() && !item.is_null()) {
        let reason = "must be an object for an array of list-type map";
        errors.push(field::invalid(&path.index(at), &items[at], reason));
        return;
    }
    let keys_of = |item: &Value| {
        let keys = schema.list_map_keys.iter();
        Value::Object(keys.filter_map(|key| Some((key.clone(), item.get(key)?.clone()))).collect())
    };
    for at in repeated(items.iter().map(|item| keys_of(item).to_string())) {
        errors.push(field::duplicate(&path.index(at), BadValue::Json(keys_of(&items[at]))));
    }
}

/// Places of the second occurrences.
fn repeated(texts: impl Iterator<Item = String>) -> Vec<usize> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut places = Vec::new();
    for (at, text) in texts.enumerate() {
        let times = seen.entry(text).or_default();
        *times += 1;
        if *times == 2 {
            places.push(at);
        }
    }
    places
}
