//! What changed between two values.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::errors::ValidationErrors;
use super::items::element_of;
use super::shape::{AtomForm, ListAtom, MapAtom, Node, Primitive, Relation, Typing};
use super::validate::check_scalar;
use crate::fieldset::{Filter, PathElement, Set};
use crate::value::equal;

/// The paths that differ, by how they differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub removed: Set,
    pub modified: Set,
    pub added: Set,
}

impl Comparison {
    pub fn is_same(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }

    pub fn filter(self, filter: &Filter) -> Self {
        Comparison {
            removed: filter.apply(&self.removed),
            modified: filter.apply(&self.modified),
            added: filter.apply(&self.added),
        }
    }
}

/// What `right` changed from `left`. Both have been validated before; `None` is an absent object.
pub fn compare(
    left: Option<&Value>,
    right: Option<&Value>,
    typing: Typing<'_>,
) -> Result<Comparison, ValidationErrors> {
    let mut walk = Walk { path: Vec::new(), out: Comparison::default() };
    walk.visit(left, right, typing.root()).into_result()?;
    Ok(walk.out)
}

struct Walk {
    path: Vec<PathElement>,
    out: Comparison,
}

impl Walk {
    fn visit(&mut self, left: Option<&Value>, right: Option<&Value>, node: Node<'_>) -> ValidationErrors {
        if left.is_none() && right.is_none() {
            return ValidationErrors::one("at least one of lhs and rhs must be provided");
        }
        let atom = node.atom();
        let (l, r) = (atom.deduce(left), atom.deduce(right));
        let (leaf, errors) = if right.is_none() {
            self.visit_form(left, right, l.form())
        } else if left.is_none() || l.same_forms(&r) {
            self.visit_form(left, right, r.form())
        } else {
            // The value changed its form, so the old one goes and the new one comes.
            let (_, mut errors) = self.visit_form(left, right, l.form());
            let (leaf, more) = self.visit_form(left, right, r.form());
            errors.0.extend(more.0);
            (leaf, errors)
        };
        if !leaf {
            if left.is_none() {
                self.out.added.insert(&self.path);
            } else if right.is_none() {
                self.out.removed.insert(&self.path);
            }
        }
        errors
    }

    /// Also tells whether the value was taken as one leaf.
    fn visit_form(
        &mut self,
        left: Option<&Value>,
        right: Option<&Value>,
        form: AtomForm<'_>,
    ) -> (bool, ValidationErrors) {
        match form {
            AtomForm::Scalar(primitive) => self.visit_scalar(primitive, left, right),
            AtomForm::List(list) => {
                let (l, r) = (left.and_then(Value::as_array), right.and_then(Value::as_array));
                if matches!(list.relation, Relation::Atomic) || is_empty(l) && is_empty(r) {
                    return self.leaf(left, right);
                }
                (false, self.visit_items(&list, l.map_or(&[], Vec::as_slice), r.map_or(&[], Vec::as_slice)))
            }
            AtomForm::Map(map) => {
                let (l, r) = (left.and_then(Value::as_object), right.and_then(Value::as_object));
                if map.atomic || l.is_none_or(Map::is_empty) && r.is_none_or(Map::is_empty) {
                    return self.leaf(left, right);
                }
                (false, self.visit_fields(&map, l, r))
            }
        }
    }

    fn leaf(&mut self, left: Option<&Value>, right: Option<&Value>) -> (bool, ValidationErrors) {
        match (left, right) {
            (None, _) => self.out.added.insert(&self.path),
            (_, None) => self.out.removed.insert(&self.path),
            (Some(l), Some(r)) if !equal(l, r) => self.out.modified.insert(&self.path),
            _ => {}
        }
        (true, ValidationErrors::default())
    }

    fn visit_scalar(
        &mut self,
        primitive: Primitive,
        left: Option<&Value>,
        right: Option<&Value>,
    ) -> (bool, ValidationErrors) {
        let (l, r) = (check_scalar(primitive, left, "lhs: "), check_scalar(primitive, right, "rhs: "));
        if !l.is_empty() && !r.is_empty() {
            return (false, ValidationErrors(l.0.into_iter().chain(r.0).collect()));
        }
        self.leaf(left, right)
    }

    fn visit_items(&mut self, list: &ListAtom<'_>, left: &[Value], right: &[Value]) -> ValidationErrors {
        let mut errors = ValidationErrors::default();
        let mut pairs: BTreeMap<PathElement, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
        for (side, items) in [left, right].into_iter().enumerate() {
            for (i, item) in items.iter().enumerate() {
                match element_of(list, item) {
                    Ok(element) => {
                        let pair = pairs.entry(element).or_default();
                        if side == 0 { pair.0.push(item) } else { pair.1.push(item) }
                    }
                    Err(message) => errors.push(format!("element {i}: {message}")),
                }
            }
        }
        for (element, (left, right)) in pairs {
            let below = self.visit_pair(list, &element, &left, &right);
            errors.absorb(&element, below);
        }
        errors
    }

    /// Items with the same key are one leaf: a change among them marks the item, and when there comes to be one
    /// of them or ceases to be one, that one is new or gone in full.
    fn visit_pair(
        &mut self,
        list: &ListAtom<'_>,
        element: &PathElement,
        left: &[&Value],
        right: &[&Value],
    ) -> ValidationErrors {
        self.path.push(element.clone());
        let errors = match (left, right) {
            ([] | [_], [] | [_]) => self.visit(left.first().copied(), right.first().copied(), list.element),
            ([_, _, ..], [_, _, ..]) => {
                if left.len() != right.len() || left.iter().zip(right).any(|(l, r)| !equal(l, r)) {
                    self.out.modified.insert(&self.path);
                }
                ValidationErrors::default()
            }
            ([_, _, ..], _) => {
                let errors = match right.first() {
                    Some(item) => self.visit(None, Some(item), list.element),
                    None => ValidationErrors::default(),
                };
                self.out.removed.insert(&self.path);
                errors
            }
            (_, [_, _, ..]) => {
                let errors = match left.first() {
                    Some(item) => self.visit(Some(item), None, list.element),
                    None => ValidationErrors::default(),
                };
                self.out.added.insert(&self.path);
                errors
            }
        };
        self.path.pop();
        errors
    }

    fn visit_fields(
        &mut self,
        map: &MapAtom<'_>,
        left: Option<&Map<String, Value>>,
        right: Option<&Map<String, Value>>,
    ) -> ValidationErrors {
        let mut errors = ValidationErrors::default();
        let lefts = left.into_iter().flat_map(Map::keys);
        let rights =
            right.into_iter().flat_map(Map::keys).filter(|key| !left.is_some_and(|l| l.contains_key(*key)));
        for name in lefts.chain(rights) {
            // A field without a type was refused by validation.
            let Some(node) = map.item(name) else { continue };
            let element = PathElement::field(name);
            self.path.push(element);
            let below = self.visit(left.and_then(|l| l.get(name)), right.and_then(|r| r.get(name)), node);
            let element = self.path.pop();
            if let Some(element) = element {
                errors.absorb(&element, below);
            }
        }
        errors
    }
}

fn is_empty(list: Option<&Vec<Value>>) -> bool {
    list.is_none_or(Vec::is_empty)
}
