//! Laying an applied configuration over a live object.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::errors::ValidationErrors;
use super::items::element_of;
use super::shape::{AtomForm, ListAtom, MapAtom, Node, Primitive, Relation, Typing};
use super::validate::check_scalar;
use crate::fieldset::PathElement;

/// `left` with everything that `right` sets. `None` where nothing is left, as of two empty structs.
///
/// Items of associative lists are merged by key. `right` decides the order of the items that it has; those that
/// only `left` has keep their places between them.
pub fn merge(left: &Value, right: &Value, typing: Typing<'_>) -> Result<Option<Value>, ValidationErrors> {
    let (out, errors) = visit(Some(left), Some(right), typing.root());
    errors.into_result()?;
    Ok(out)
}

type Merged = (Option<Value>, ValidationErrors);

fn visit(left: Option<&Value>, right: Option<&Value>, node: Node<'_>) -> Merged {
    if left.is_none() && right.is_none() {
        return (None, ValidationErrors::one("at least one of lhs and rhs must be provided"));
    }
    let atom = node.atom();
    let (l, r) = (atom.deduce(left), atom.deduce(right));
    if right.is_none() {
        visit_form(left, right, l.form())
    } else if left.is_none() || l.same_forms(&r) {
        visit_form(left, right, r.form())
    } else {
        // The value changed its form: only the errors of reading it in the old form count.
        let (_, mut errors) = visit_form(left, right, l.form());
        let (out, more) = visit_form(left, right, r.form());
        errors.0.extend(more.0);
        (out, errors)
    }
}

fn visit_form(left: Option<&Value>, right: Option<&Value>, form: AtomForm<'_>) -> Merged {
    match form {
        AtomForm::Scalar(primitive) => visit_scalar(primitive, left, right),
        AtomForm::List(list) => {
            let l = left.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let r = right.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            if matches!(list.relation, Relation::Atomic) || l.is_empty() && r.is_empty() {
                return leaf(left, right);
            }
            visit_items(&list, l, r)
        }
        AtomForm::Map(map) => {
            let (l, r) = (left.and_then(Value::as_object), right.and_then(Value::as_object));
            if map.atomic || l.is_none_or(Map::is_empty) && r.is_none_or(Map::is_empty) {
                return leaf(left, right);
            }
            visit_fields(&map, l, r)
        }
    }
}

fn leaf(left: Option<&Value>, right: Option<&Value>) -> Merged {
    (right.or(left).cloned(), ValidationErrors::default())
}

fn visit_scalar(primitive: Primitive, left: Option<&Value>, right: Option<&Value>) -> Merged {
    let (l, r) = (check_scalar(primitive, left, "lhs: "), check_scalar(primitive, right, "rhs: "));
    if !l.is_empty() && !r.is_empty() {
        return (None, ValidationErrors(l.0.into_iter().chain(r.0).collect()));
    }
    leaf(left, right)
}

fn visit_fields(
    map: &MapAtom<'_>,
    left: Option<&Map<String, Value>>,
    right: Option<&Map<String, Value>>,
) -> Merged {
    let mut out = Map::new();
    let mut errors = ValidationErrors::default();
    let lefts = left.into_iter().flat_map(Map::keys);
    let rights =
        right.into_iter().flat_map(Map::keys).filter(|key| !left.is_some_and(|l| l.contains_key(*key)));
    for name in lefts.chain(rights) {
        // A field without a type was refused by validation.
        let Some(node) = map.item(name) else { continue };
        let (merged, below) = visit(left.and_then(|l| l.get(name)), right.and_then(|r| r.get(name)), node);
        errors.absorb(&PathElement::field(name), below);
        if let Some(value) = merged {
            out.insert(name.clone(), value);
        }
    }
    ((!out.is_empty()).then_some(Value::Object(out)), errors)
}

/// The items of one side in order, and each key's item.
struct Indexed<'v> {
    elements: Vec<PathElement>,
    items: BTreeMap<PathElement, &'v Value>,
}

/// Items with the same key in the live list are kept as they are, but nothing is merged into them.
fn index_live<'v>(list: &ListAtom<'_>, items: &'v [Value], errors: &mut ValidationErrors) -> Indexed<'v> {
    const AMBIGUOUS: &Value = &Value::Null;
    let mut out = Indexed { elements: Vec::with_capacity(items.len()), items: BTreeMap::new() };
    for (i, item) in items.iter().enumerate() {
        match element_of(list, item) {
            Ok(element) => {
                out.items.entry(element.clone()).and_modify(|item| *item = AMBIGUOUS).or_insert(item);
                out.elements.push(element);
            }
            Err(message) => errors.push(format!("element {i}: {message}")),
        }
    }
    out
}

fn index_applied<'v>(list: &ListAtom<'_>, items: &'v [Value], errors: &mut ValidationErrors) -> Indexed<'v> {
    let mut out = Indexed { elements: Vec::with_capacity(items.len()), items: BTreeMap::new() };
    for (i, item) in items.iter().enumerate() {
        match element_of(list, item) {
            Ok(element) if out.items.contains_key(&element) => {
                errors.push(format!("duplicate entries for key {element}"));
            }
            Ok(element) => {
                out.items.insert(element.clone(), item);
                out.elements.push(element);
            }
            Err(message) => errors.push(format!("element {i}: {message}")),
        }
    }
    out
}

/// Walks both lists at once. Items on both sides come in the order of the right one; an item that only the left
/// one has comes before the next shared item that it stood before. Errors inside items do not surface here, as
/// both sides were validated alone.
fn visit_items(list: &ListAtom<'_>, left: &[Value], right: &[Value]) -> Merged {
    let mut errors = ValidationErrors::default();
    let applied = index_applied(list, right, &mut errors);
    let live = index_live(list, left, &mut errors);
    if !errors.is_empty() {
        return (None, errors);
    }

    let mut shared: VecDeque<&PathElement> =
        applied.elements.iter().filter(|element| live.items.contains_key(*element)).collect();
    let mut done: BTreeSet<&PathElement> = BTreeSet::new();
    let mut out = Vec::with_capacity(left.len().max(right.len()));
    let merge_both = |element: &PathElement| {
        visit(live.items.get(element).copied(), applied.items.get(element).copied(), list.element).0
    };

    let (mut l, mut r) = (0, 0);
    while l < live.elements.len() || r < applied.elements.len() {
        if let (Some(ours), Some(theirs)) = (live.elements.get(l), applied.elements.get(r)) {
            if ours == theirs {
                done.insert(ours);
                out.extend(merge_both(ours));
                l += 1;
                r += 1;
                shared.pop_front();
                continue;
            }
            if applied.items.contains_key(ours) && shared.front().is_some_and(|next| *next != ours) {
                // It comes later, where the right list wants it.
                l += 1;
                continue;
            }
        }
        if let Some(ours) = live.elements.get(l) {
            if !applied.items.contains_key(ours) {
                // Taken by place rather than by key, which several items may have.
                out.extend(visit(Some(&left[l]), None, list.element).0);
                l += 1;
                continue;
            }
            if done.contains(ours) {
                l += 1;
            }
        }
        if let Some(theirs) = applied.elements.get(r) {
            done.insert(theirs);
            out.extend(merge_both(theirs));
            r += 1;
            if shared.front() == Some(&theirs) {
                shared.pop_front();
            }
        }
    }
    ((!out.is_empty()).then_some(Value::Array(out)), errors)
}
