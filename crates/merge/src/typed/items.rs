//! How an item of a list is told apart from the others.

use serde_json::Value;

use super::shape::{ListAtom, Relation};
use crate::fieldset::PathElement;

/// The path element of `item` in an associative list.
pub(crate) fn element_of(list: &ListAtom<'_>, item: &Value) -> Result<PathElement, String> {
    match list.relation {
        Relation::Atomic => Err("invalid indexing of non-associative list".to_owned()),
        Relation::Set => set_element(item),
        Relation::Keyed(keys) => keyed_element(list, keys, item),
    }
}

fn set_element(item: &Value) -> Result<PathElement, String> {
    match item {
        Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
        Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
        Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
        scalar => Ok(PathElement::Value(scalar.clone())),
    }
}

/// A key field that is absent takes its default; without one it stays out of the key, and an item without it is
/// then a different item from one that has it.
fn keyed_element(list: &ListAtom<'_>, keys: &[Box<str>], item: &Value) -> Result<PathElement, String> {
    let map = match item {
        Value::Object(map) => map,
        Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let mut fields: Vec<(&str, Value)> = Vec::with_capacity(keys.len());
    for key in keys {
        if let Some(value) = map.get(&**key) {
            fields.push((key, value.clone()));
            continue;
        }
        let Some(element) = list.element.atom().map else {
            return Err(format!(
                "couldn't find default value for {key}: associative list may not have non-map types"
            ));
        };
        if let Some(default) = element.key_default(key) {
            fields.push((key, default));
        }
    }
    if fields.is_empty() && !keys.is_empty() {
        let names: Vec<_> = keys.iter().map(|key| crate::go::quote(key)).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            names.join(" ")
        ));
    }
    Ok(PathElement::key(fields))
}
