//! Leaving fields out of a value, or picking them out of it.

use serde_json::{Map, Value};

use super::items::element_of;
use super::shape::{AtomForm, ListAtom, MapAtom, Node, Relation, Typing};
use crate::fieldset::{PathElement, Set};

/// `value` without `items`. A container that loses its last item is lost too.
pub fn remove(value: &Value, items: &Set, typing: Typing<'_>) -> Value {
    visit(value, items, typing.root(), Keep::Rest)
}

/// Only `items` of `value`.
pub fn extract(value: &Value, items: &Set, typing: Typing<'_>) -> Value {
    visit(value, items, typing.root(), Keep::Chosen)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Chosen,
    Rest,
}

/// A container that the set reaches into but that is atomic or empty is kept whole when picking, and comes out
/// as null when leaving out.
fn visit(value: &Value, items: &Set, node: Node<'_>, keep: Keep) -> Value {
    let whole = || if keep == Keep::Chosen { value.clone() } else { Value::Null };
    match (node.atom().deduce(Some(value)).form(), value) {
        (AtomForm::Scalar(_), _) => value.clone(),
        (AtomForm::List(list), Value::Array(all)) => {
            if all.is_empty() || matches!(list.relation, Relation::Atomic) {
                return whole();
            }
            visit_items(&list, all, items, keep)
        }
        (AtomForm::Map(map), Value::Object(fields)) => {
            if fields.is_empty() || map.atomic {
                return whole();
            }
            visit_fields(&map, fields, items, keep)
        }
        _ => Value::Null,
    }
}

fn visit_items(list: &ListAtom<'_>, all: &[Value], items: &Set, keep: Keep) -> Value {
    let mut out = Vec::new();
    for item in all {
        // Validation refused items without a key, so one that still has none is not in the set.
        let element = element_of(list, item).ok();
        let chosen = element.as_ref().is_some_and(|element| items.has_element(element));
        let below = element.as_ref().and_then(|element| items.below(element));
        let wanted = match keep {
            Keep::Chosen => chosen || below.is_some(),
            Keep::Rest => !chosen,
        };
        if wanted {
            out.push(below.map_or_else(|| item.clone(), |below| visit(item, below, list.element, keep)));
        }
    }
    if out.is_empty() { Value::Null } else { Value::Array(out) }
}

fn visit_fields(map: &MapAtom<'_>, fields: &Map<String, Value>, items: &Set, keep: Keep) -> Value {
    let mut out = Map::new();
    for (name, value) in fields {
        let element = PathElement::field(name);
        let Some(node) = map.item(name) else {
            if keep == Keep::Rest && !items.has_element(&element) {
                out.insert(name.clone(), value.clone());
            }
            continue;
        };
        if items.has_element(&element) {
            if keep == Keep::Chosen {
                out.insert(name.clone(), visit(value, items, node, keep));
            }
            continue;
        }
        match items.below(&element) {
            Some(below) => {
                out.insert(name.clone(), visit(value, below, node, keep));
            }
            None if keep == Keep::Rest => {
                out.insert(name.clone(), value.clone());
            }
            None => {}
        }
    }
    if out.is_empty() { Value::Null } else { Value::Object(out) }
}
