//! Resources inside of custom resources (`x-kubernetes-embedded-resource`), and the custom resource itself.

use grammar::field::{self, ErrorList, Path};
use serde_json::{Map, Value};

use super::schema::Schema;

/// Calls `metadata` for the metadata of every resource within, the value itself included where `is_resource`, and
/// checks their types. What metadata may hold is the caller's knowledge.
pub fn validate_embedded(
    path: &Path<'_>,
    schema: &Schema,
    value: &Value,
    is_resource: bool,
    metadata: &mut dyn FnMut(&Path<'_>, &Value, &mut ErrorList),
) -> ErrorList {
    let mut errors = ErrorList::new();
    walk(path, schema, value, is_resource || schema.embedded_resource, metadata, &mut errors);
    errors
}

/// What is wrong with the type of a resource that stands for a default.
pub(super) fn required_type(path: &Path<'_>, value: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Value::Object(map) = value {
        // What has the wrong type is told alone, since nothing else can be said until it is a string.
        let not_text =
            ["apiVersion", "kind"].into_iter().find(|name| map.get(*name).is_some_and(|v| !v.is_string()));
        match not_text {
            Some(name) => errors.push(field::invalid(&path.child(name), &map[name], "must be a string")),
            None => type_meta(path, map, &mut errors),
        }
    }
    errors
}

fn walk(
    path: &Path<'_>,
    s: &Schema,
    value: &Value,
    is_resource: bool,
    metadata: &mut dyn FnMut(&Path<'_>, &Value, &mut ErrorList),
    errors: &mut ErrorList,
) {
    match value {
        Value::Object(map) => {
            if is_resource {
                type_meta(path, map, errors);
                if let Some(value) = map.get("metadata") {
                    metadata(&path.child("metadata"), value, errors);
                }
            }
            for (name, value) in map {
                if let Some(property) = s.properties.get(name) {
                    walk(&path.child(name), property, value, property.embedded_resource, metadata, errors);
                } else if let Some(additional) = s.additional() {
                    walk(&path.key(name), additional, value, additional.embedded_resource, metadata, errors);
                }
            }
        }
        Value::Array(items) => {
            let Some(item) = s.item() else { return };
            for (at, value) in items.iter().enumerate() {
                walk(&path.index(at), item, value, item.embedded_resource, metadata, errors);
            }
        }
        _ => {}
    }
}

fn type_meta(path: &Path<'_>, map: &Map<String, Value>, errors: &mut ErrorList) {
    for name in ["apiVersion", "kind"] {
        let path = path.child(name);
        let text = match map.get(name) {
            None => {
                errors.push(field::required(&path, ""));
                continue;
            }
            Some(Value::String(text)) => text,
            Some(other) => {
                errors.push(field::invalid(&path, other, "must be a string"));
                continue;
            }
        };
        if text.is_empty() {
            errors.push(field::invalid(&path, text, "must not be empty"));
        } else if name == "apiVersion" {
            if text.matches('/').count() > 1 {
                let reason = format!("unexpected GroupVersion string: {text}");
                errors.push(field::invalid(&path, text, reason));
            }
        } else {
            let faults = grammar::names::dns1035_label(&text.to_lowercase());
            if !faults.is_empty() {
                let reason = format!("may have mixed case, but should otherwise match: {}", faults.join(","));
                errors.push(field::invalid(&path, text, reason));
            }
        }
    }
}
