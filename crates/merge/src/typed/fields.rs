//! Which paths a value sets.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::items::element_of;
use super::shape::{AtomForm, ListAtom, MapAtom, Node, Relation, Typing};
use crate::fieldset::{PathElement, Set};

/// The paths that `value` sets: every leaf, every item of an associative list, every entry of a map, and empty
/// maps. Structs themselves are not in it. The value has been validated before.
pub fn field_set(value: &Value, typing: Typing<'_>) -> Set {
    let mut out = Set::new();
    visit(value, typing.root(), &mut Vec::new(), &mut out);
    out
}

fn visit(value: &Value, node: Node<'_>, path: &mut Vec<PathElement>, out: &mut Set) {
    match node.atom().deduce(Some(value)).form() {
        AtomForm::Scalar(_) => out.insert(path),
        AtomForm::List(list) if matches!(list.relation, Relation::Atomic) => out.insert(path),
        AtomForm::List(list) => {
            if let Value::Array(items) = value {
                visit_items(&list, items, path, out);
            }
        }
        AtomForm::Map(map) if map.atomic => out.insert(path),
        AtomForm::Map(map) => {
            if let Value::Object(fields) = value {
                visit_fields(&map, fields, path, out);
            }
        }
    }
}

/// Items with the same key are owned together, as one item of which nothing inside is told apart.
fn visit_items(list: &ListAtom<'_>, items: &[Value], path: &mut Vec<PathElement>, out: &mut Set) {
    let elements: Vec<_> = items.iter().map(|item| element_of(list, item).ok()).collect();
    let mut seen = BTreeSet::new();
    let duplicates: BTreeSet<_> =
        elements.iter().flatten().filter(|element| !seen.insert(*element)).collect();
    for (item, element) in items.iter().zip(&elements) {
        let Some(element) = element else { continue };
        path.push(element.clone());
        out.insert(path);
        if !duplicates.contains(element) {
            visit(item, list.element, path, out);
        }
        path.pop();
    }
}

fn visit_fields(map: &MapAtom<'_>, fields: &Map<String, Value>, path: &mut Vec<PathElement>, out: &mut Set) {
    for (name, value) in fields {
        let declared = map.declared(name);
        let Some(node) = declared.or_else(|| map.undeclared()) else { continue };
        path.push(PathElement::field(name));
        visit(value, node, path, out);
        let empty = match value {
            Value::Null => true,
            Value::Object(inner) => inner.is_empty(),
            _ => false,
        };
        if empty || declared.is_none() {
            out.insert(path);
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_with_one_key_are_owned_as_one_and_not_inside() {
        let table = schema::builtin();
        let typing = Typing::Message(table, table.kind("", "v1", "Service").unwrap());
        let port = |name: &str| json!({"port": 53, "protocol": "UDP", "name": name});
        let set = |ports: Value| field_set(&json!({"spec": {"ports": ports}}), typing).to_json();
        let key = r#"k:{\"port\":53,\"protocol\":\"UDP\"}"#;
        assert_eq!(
            set(json!([port("a")])),
            format!(
                r#"{{"f:spec":{{"f:ports":{{"{key}":{{".":{{}},"f:name":{{}},"f:port":{{}},"f:protocol":{{}}}}}}}}}}"#
            )
        );
        assert_eq!(
            set(json!([port("a"), port("b")])),
            format!(r#"{{"f:spec":{{"f:ports":{{"{key}":{{}}}}}}}}"#)
        );
    }
}
