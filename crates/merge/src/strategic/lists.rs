//! Lists of one kind of item: which item is which, and in what order they come out.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{DIRECTIVE, Error};
use crate::go::{self, Numbers};

/// What the items of a list are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Items {
    Maps,
    Scalars,
}

/// What the items of both lists are; mixtures and lists of lists are refused.
pub(super) fn items_of(left: &[Value], right: &[Value]) -> Result<Items, Error> {
    let mut all = left.iter().chain(right);
    let Some(first) = all.next() else { return Err(Error::failed("no elements in any of the given slices")) };
    match first {
        Value::Array(_) => return Err(Error::list_of_lists()),
        Value::Null => return Err(Error::BadRequest("null items cannot be merged".to_owned())),
        _ => {}
    }
    if all.any(|item| go::type_name(item) != go::type_name(first)) {
        let print = |items: &[Value]| go::plain(&Value::Array(items.to_vec()), Numbers::Integers);
        return Err(Error::failed(format!(
            "list element types are not identical: [{} {}]",
            print(left),
            print(right)
        )));
    }
    Ok(if first.is_object() { Items::Maps } else { Items::Scalars })
}

/// The identity of an item: its merge key's value, or itself where the key is empty. Values of different types
/// are different; containers have no identity.
pub(super) fn identity(item: &Value, merge_key: &str) -> Option<String> {
    let value = if merge_key.is_empty() { item } else { item.get(merge_key).unwrap_or(&Value::Null) };
    (!value.is_object() && !value.is_array()).then(|| value.to_string())
}

/// The item as a map with its merge key's value, or upstream's complaint.
pub(super) fn keyed<'v>(
    item: &'v Value,
    merge_key: &str,
) -> Result<(&'v Map<String, Value>, &'v Value), Error> {
    let map = item.as_object().ok_or_else(|| not_a_map(item))?;
    let value = map.get(merge_key).ok_or_else(|| no_merge_key(map, merge_key))?;
    Ok((map, value))
}

/// As [`keyed`], for an item by which others are to be found.
pub(super) fn keyed_identity(item: &Value, merge_key: &str) -> Result<String, Error> {
    keyed(item, merge_key)?;
    identity(item, merge_key)
        .ok_or_else(|| Error::BadRequest(format!("the merge key {merge_key} must not be a map or a list")))
}

pub(super) fn not_a_map(item: &Value) -> Error {
    wrong_type("map[string]interface {}", item)
}

pub(super) fn not_a_list(item: &Value) -> Error {
    wrong_type("[]interface {}", item)
}

fn wrong_type(wanted: &str, item: &Value) -> Error {
    let found = if item.is_null() { "%!s(<nil>)" } else { go::type_name(item) };
    Error::failed(format!("expected a {wanted}, but received a {found}"))
}

fn no_merge_key(map: &Map<String, Value>, merge_key: &str) -> Error {
    let map = go::plain(&Value::Object(map.clone()), Numbers::Integers);
    Error::failed(format!("map: {map} does not contain declared merge key: {merge_key}"))
}

/// Splits `items` into those that `by` names and the rest.
pub(super) fn partition(
    items: Vec<Value>,
    by: &[Value],
    merge_key: &str,
) -> Result<(Vec<Value>, Vec<Value>), Error> {
    if !merge_key.is_empty() {
        items.iter().try_for_each(|item| keyed(item, merge_key).map(drop))?;
        if let Some(at) = by.iter().position(|item| !item.is_object())
            && !items.is_empty()
        {
            return Err(Error::failed(format!("value for key {at} is not a map")));
        }
    }
    // An item without the key is not found by a key of null.
    let named: HashSet<String> = by
        .iter()
        .filter(|item| merge_key.is_empty() || item.get(merge_key).is_some())
        .filter_map(|item| identity(item, merge_key))
        .collect();
    Ok(items.into_iter().partition(|item| identity(item, merge_key).is_some_and(|id| named.contains(&id))))
}

/// Joins the items that a patch names, in the patch's order, with those that only the server has, in its order.
/// Server items come as early as the server's order allows.
pub(super) fn in_order(
    patch: Vec<Value>,
    server_only: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    merge_key: &str,
    items: Items,
) -> Result<Vec<Value>, Error> {
    let patch = sorted_by(patch, patch_order, merge_key, items)?;
    let server_only = sorted_by(server_only, server_order, merge_key, items)?;
    let places = Places::of(server_order, merge_key);
    let mut out = Vec::with_capacity(patch.len() + server_only.len());
    let mut ours = server_only.into_iter().peekable();
    let mut theirs = patch.into_iter().peekable();
    loop {
        let server_first = match (ours.peek(), theirs.peek()) {
            (None, None) => return Ok(out),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(l), Some(r)) => matches!((places.get(l), places.get(r)), (Some(l), Some(r)) if l < r),
        };
        out.extend(if server_first { ours.next() } else { theirs.next() });
    }
}

/// Sorts `list` by the places of its items in `order`; items marked for deletion go last.
pub(super) fn sorted_by(
    list: Vec<Value>,
    order: &[Value],
    merge_key: &str,
    items: Items,
) -> Result<Vec<Value>, Error> {
    let (list, deletions) = match items {
        Items::Scalars => (list, Vec::new()),
        Items::Maps => {
            list.iter().chain(order).try_for_each(|item| keyed(item, merge_key).map(drop))?;
            let deleted = |item: &Value| item.get(DIRECTIVE).is_some_and(|directive| directive == "delete");
            let (deletions, kept) = list.into_iter().partition(deleted);
            (kept, deletions)
        }
    };
    let places = Places::of(order, merge_key);
    let mut placed: Vec<(Option<usize>, Value)> =
        list.into_iter().map(|item| (places.get(&item), item)).collect();
    if placed.iter().all(|(place, _)| place.is_some()) || placed.len() > INSERTION_SORTED {
        placed.sort_by_key(|(place, _)| place.unwrap_or(usize::MAX));
    } else {
        insertion_sort(&mut placed);
    }
    Ok(placed.into_iter().map(|(_, item)| item).chain(deletions).collect())
}

/// Up to this length Go's stable sort is an insertion sort.
const INSERTION_SORTED: usize = 20;

/// Upstream's comparison calls an item without a place less than any other, even than another one without, so the
/// outcome is that of this very algorithm.
fn insertion_sort(list: &mut [(Option<usize>, Value)]) {
    for i in 1..list.len() {
        for j in (1..=i).rev() {
            if matches!((list[j].0, list[j - 1].0), (Some(l), Some(r)) if l >= r) {
                break;
            }
            list.swap(j, j - 1);
        }
    }
}

/// The first place of each identity in a list.
struct Places<'k>(HashMap<String, usize>, &'k str);

impl<'k> Places<'k> {
    fn of(order: &[Value], merge_key: &'k str) -> Self {
        let mut places = HashMap::with_capacity(order.len());
        for (place, item) in order.iter().enumerate() {
            if let Some(id) = identity(item, merge_key) {
                places.entry(id).or_insert(place);
            }
        }
        Places(places, merge_key)
    }

    fn get(&self, item: &Value) -> Option<usize> {
        self.0.get(&identity(item, self.1)?).copied()
    }
}

/// The list without repetitions; the first of each stays.
pub(super) fn deduplicated(list: Vec<Value>) -> Vec<Value> {
    let mut seen = HashSet::with_capacity(list.len());
    list.into_iter().filter(|item| seen.insert(item.to_string())).collect()
}
