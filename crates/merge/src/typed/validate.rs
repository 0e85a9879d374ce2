//! Does a value fit its schema?

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::errors::ValidationErrors;
use super::items::element_of;
use super::shape::{AtomForm, ListAtom, MapAtom, Node, Primitive, Relation, Typing};
use crate::fieldset::PathElement;
use crate::go::{self, Numbers};

/// Whether two items of an associative list may have the same key. Stored objects may hold such lists, since
/// updates do not check for them; an applied configuration may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicates {
    Allowed,
    Refused,
}

/// Checks `value` against its schema.
pub fn validate(value: &Value, typing: Typing<'_>, duplicates: Duplicates) -> Result<(), ValidationErrors> {
    visit(value, typing.root(), duplicates).into_result()
}

fn visit(value: &Value, node: Node<'_>, duplicates: Duplicates) -> ValidationErrors {
    match node.atom().deduce(Some(value)).form() {
        AtomForm::Scalar(primitive) => check_scalar(primitive, Some(value), ""),
        AtomForm::List(list) => match value {
            Value::Null => ValidationErrors::default(),
            Value::Array(items) => visit_items(&list, items, duplicates),
            other => ValidationErrors::one(format!("expected list, got {}", boxed(other))),
        },
        AtomForm::Map(map) => match value {
            Value::Null => ValidationErrors::default(),
            Value::Object(fields) => visit_fields(&map, fields, duplicates),
            other => ValidationErrors::one(format!("expected map, got {}", boxed(other))),
        },
    }
}

fn visit_items(list: &ListAtom<'_>, items: &[Value], duplicates: Duplicates) -> ValidationErrors {
    let mut errors = ValidationErrors::default();
    let mut seen = BTreeSet::new();
    for (i, item) in items.iter().enumerate() {
        let element = match list.relation {
            Relation::Atomic => PathElement::Index(i as i64),
            Relation::Set | Relation::Keyed(_) => match element_of(list, item) {
                Ok(element) => element,
                Err(message) => {
                    errors.push(format!("element {i}: {message}"));
                    return errors;
                }
            },
        };
        if !matches!(list.relation, Relation::Atomic)
            && !seen.insert(element.clone())
            && duplicates == Duplicates::Refused
        {
            errors.push(format!("duplicate entries for key {element}"));
        }
        errors.absorb(&element, visit(item, list.element, duplicates));
    }
    errors
}

fn visit_fields(map: &MapAtom<'_>, fields: &Map<String, Value>, duplicates: Duplicates) -> ValidationErrors {
    let mut errors = ValidationErrors::default();
    for (name, value) in fields {
        let element = PathElement::field(name);
        match map.item(name) {
            Some(node) => errors.absorb(&element, visit(value, node, duplicates)),
            None => {
                errors.absorb(&element, ValidationErrors::one("field not declared in schema"));
                break;
            }
        }
    }
    errors
}

/// Null and absence fit every scalar.
pub(super) fn check_scalar(primitive: Primitive, value: Option<&Value>, prefix: &str) -> ValidationErrors {
    let Some(value) = value else { return ValidationErrors::default() };
    let expected = match (primitive, value) {
        (_, Value::Null)
        | (Primitive::Numeric, Value::Number(_))
        | (Primitive::String, Value::String(_))
        | (Primitive::Boolean, Value::Bool(_))
        | (Primitive::Untyped, Value::Number(_) | Value::String(_) | Value::Bool(_)) => {
            return ValidationErrors::default();
        }
        (Primitive::Numeric, other) => {
            format!("expected numeric (int or float), got {}", go::type_name(other))
        }
        (Primitive::String, other) => {
            format!(
                "expected string, got &value.valueUnstructured{{Value:{}}}",
                go::sharp(other, Numbers::Floats)
            )
        }
        (Primitive::Boolean, other) => format!("expected boolean, got {}", boxed(other)),
        (Primitive::Untyped, other) => format!("expected any scalar, got {}", boxed(other)),
    };
    ValidationErrors::one(format!("{prefix}{expected}"))
}

/// Upstream prints the pointer to the holder of the value.
fn boxed(value: &Value) -> String {
    format!("&{{{}}}", go::plain(value, Numbers::Floats))
}
