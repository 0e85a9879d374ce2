//! Laying a patch over a document, or one patch over another.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::lists::{self, Items, identity, items_of, keyed, keyed_identity};
use super::lookup::{Meta, Place, Strategy};
use super::{DELETE_FROM_LIST, DIRECTIVE, ELEMENT_ORDER, Error, RETAIN_KEYS};
use crate::go::{self, Numbers};

/// What the left side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// A document: directives take effect, and nulls remove.
    Apply,
    /// Another patch: directives and nulls are kept for the document to come.
    Combine,
}

type Object = Map<String, Value>;

pub(super) fn merge_maps(
    mut original: Object,
    mut patch: Object,
    place: Place<'_>,
    mode: Mode,
) -> Result<Object, Error> {
    match patch.get(DIRECTIVE) {
        None => {}
        Some(Value::String(directive)) if directive == "replace" => {
            patch.remove(DIRECTIVE);
            return Ok(patch);
        }
        Some(Value::String(directive)) if directive == "delete" => return Ok(Object::new()),
        Some(other) => return Err(unknown_directive(&other.clone(), patch)),
    }
    retain_keys(&mut original, &mut patch, mode)?;
    merge_ordered_lists(&mut original, &mut patch, place, mode)?;
    for (key, value) in patch {
        merge_field(&mut original, key, value, place, mode)?;
    }
    Ok(original)
}

fn unknown_directive(directive: &Value, map: Object) -> Error {
    Error::failed(format!(
        "unknown patch type: {} in map: {}",
        go::string(directive),
        go::plain(&Value::Object(map), Numbers::Integers)
    ))
}

fn merge_field(
    original: &mut Object,
    mut key: String,
    mut value: Value,
    place: Place<'_>,
    mode: Mode,
) -> Result<(), Error> {
    let mut deletes = false;
    if key.starts_with(DELETE_FROM_LIST) {
        if mode == Mode::Combine {
            original.insert(key, value);
            return Ok(());
        }
        let list = directed_list(&key, DELETE_FROM_LIST).ok_or_else(Error::bad_primitive_list)?.to_owned();
        if !list.is_empty() {
            key = list;
        }
        deletes = true;
    }
    if value.is_null() {
        original.remove(&key);
        if mode == Mode::Apply {
            return Ok(());
        }
    }
    match (original.get_mut(&key), value) {
        (Some(Value::Object(current)), Value::Object(patch)) => {
            let (inner, meta) = place.map_field(&key)?;
            let current = std::mem::take(current);
            let merged = match meta.strategy {
                Strategy::Replace => patch,
                Strategy::Merge | Strategy::Unset => merge_maps(current, patch, inner, mode)?,
            };
            original.insert(key, Value::Object(merged));
        }
        (Some(Value::Array(current)), Value::Array(patch)) => {
            let (items, meta) = place.list_field(&key)?;
            let current = std::mem::take(current);
            let merged = merge_lists(current, patch, items, meta, mode, deletes)?;
            original.insert(key, Value::Array(merged));
        }
        // There is nothing that could be deleted from.
        _ if deletes => {}
        (_, new) => {
            value = new;
            if mode == Mode::Apply {
                discard_nulls(&mut value);
            }
            match without_directives(value) {
                Some(value) => original.insert(key, value),
                None => original.remove(&key),
            };
        }
    }
    Ok(())
}

/// The list that a directive such as `$setElementOrder/containers` names.
fn directed_list<'k>(key: &'k str, prefix: &str) -> Option<&'k str> {
    key.strip_prefix(prefix)?.strip_prefix('/')
}

/// A patch that names the keys to retain must name all that it sets.
fn retain_keys(original: &mut Object, patch: &mut Object, mode: Mode) -> Result<(), Error> {
    let Some(retained) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    if mode == Mode::Combine {
        return match original.get(RETAIN_KEYS) {
            None => {
                original.insert(RETAIN_KEYS.to_owned(), retained);
                Ok(())
            }
            Some(ours) if *ours == retained => Ok(()),
            Some(ours) => Err(Error::failed(format!(
                "{} and {} are not deep equal: this may happen when calculating the 3-way diff patch",
                go::plain(ours, Numbers::Integers),
                go::plain(&retained, Numbers::Integers)
            ))),
        };
    }
    let retained = retained.as_array().ok_or_else(Error::bad_retain_keys)?;
    let retained: HashSet<&str> = retained.iter().filter_map(Value::as_str).collect();
    let is_set = |(key, value): (&String, &Value)| {
        !value.is_null() && !key.starts_with(DELETE_FROM_LIST) && !key.starts_with(ELEMENT_ORDER)
    };
    if patch.iter().filter(|entry| is_set(*entry)).any(|(key, _)| !retained.contains(&**key)) {
        return Err(Error::bad_retain_keys());
    }
    original.retain(|key, _| retained.contains(&**key));
    Ok(())
}

/// Merges every list whose order the patch sets, and takes it out of the patch.
fn merge_ordered_lists(
    original: &mut Object,
    patch: &mut Object,
    place: Place<'_>,
    mode: Mode,
) -> Result<(), Error> {
    let directives: Vec<String> =
        patch.keys().filter(|key| key.starts_with(ELEMENT_ORDER)).cloned().collect();
    for directive in directives {
        let Some(order) = patch.remove(&directive) else { continue };
        if mode == Mode::Combine {
            match original.get(&directive) {
                Some(ours) if *ours != order => return Err(Error::bad_element_order()),
                Some(_) => {}
                None => {
                    original.insert(directive.clone(), order.clone());
                }
            }
        }
        let order = match order {
            Value::Array(order) => order,
            other => return Err(lists::not_a_list(&other)),
        };
        let key = directed_list(&directive, ELEMENT_ORDER).ok_or_else(Error::bad_element_order)?;
        let ours = list_at(original, key)?;
        let theirs = list_at(patch, key)?;
        let (items, meta) = place.list_field(key)?;
        check_order(theirs.unwrap_or_default(), &order, meta.merge_key)?;

        let merged = match (ours, theirs) {
            (None, None) => continue,
            (Some(ours), None) => ours.to_vec(),
            (None, Some(theirs)) => theirs.iter().cloned().filter_map(without_directives).collect(),
            (Some(ours), Some(theirs)) => match meta.strategy {
                Strategy::Merge => merge_lists(ours.to_vec(), theirs.to_vec(), items, meta, mode, false)?,
                Strategy::Unset | Strategy::Replace => theirs.to_vec(),
            },
        };
        let ours = ours.unwrap_or_default();
        let (named, server_only) = lists::partition(merged, &order, meta.merge_key)?;
        let kind = items_of(ours, theirs.unwrap_or_default())?;
        if kind == Items::Maps && meta.merge_key.is_empty() {
            return Err(Error::failed(format!("cannot merge lists without merge key for {}", items.kind())));
        }
        let merged = lists::in_order(named, server_only, &order, ours, meta.merge_key, kind)?;
        original.insert(key.to_owned(), Value::Array(merged));
        patch.remove(key);
    }
    Ok(())
}

fn list_at<'o>(object: &'o Object, key: &str) -> Result<Option<&'o [Value]>, Error> {
    match object.get(key) {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(other) => Err(lists::not_a_list(other)),
    }
}

/// A patch list must come in the order that it sets, and set nothing that the order does not name.
fn check_order(patch: &[Value], order: &[Value], merge_key: &str) -> Result<(), Error> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    if !merge_key.is_empty()
        && let Some(item) = patch.iter().find(|item| !item.is_object())
    {
        return Err(lists::not_a_map(item));
    }
    let kept: Vec<&Value> = patch
        .iter()
        .filter(|item| item.get(DIRECTIVE).is_none_or(|directive| directive != "delete"))
        .collect();
    let mut kept = kept.into_iter().peekable();
    let mut named = order.iter().peekable();
    while let (Some(item), Some(next)) = (kept.peek(), named.peek()) {
        if item.get(DIRECTIVE).is_some() {
            kept.next();
            continue;
        }
        if !merge_key.is_empty() {
            keyed(item, merge_key)?;
            keyed(next, merge_key)?;
        }
        let id = identity(item, merge_key);
        if id.is_some() && id == identity(next, merge_key) {
            kept.next();
        }
        named.next();
    }
    if kept.peek().is_some() {
        let print = |list: &[Value]| go::plain(&Value::Array(list.to_vec()), Numbers::Integers);
        return Err(Error::failed(format!(
            "The order in patch list:\n{}\n doesn't match {ELEMENT_ORDER} list:\n{}\n",
            print(patch),
            print(order)
        )));
    }
    Ok(())
}

fn merge_lists(
    original: Vec<Value>,
    patch: Vec<Value>,
    place: Place<'_>,
    meta: Meta<'_>,
    mode: Mode,
    deletes: bool,
) -> Result<Vec<Value>, Error> {
    // Deletion lists work whatever the field's strategy is.
    if meta.strategy != Strategy::Merge && !deletes {
        return Ok(patch);
    }
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    match items_of(&original, &patch)? {
        Items::Scalars if mode == Mode::Apply && deletes => {
            let deleted: HashSet<String> = patch.iter().map(Value::to_string).collect();
            Ok(original.into_iter().filter(|item| !deleted.contains(&item.to_string())).collect())
        }
        Items::Scalars => {
            let merged = lists::deduplicated(original.iter().chain(&patch).cloned().collect());
            let (named, server_only) = lists::partition(merged, &patch, "")?;
            lists::in_order(named, server_only, &patch, &original, "", Items::Scalars)
        }
        Items::Maps if meta.merge_key.is_empty() => {
            Err(Error::failed(format!("cannot merge lists without merge key for {}", place.kind())))
        }
        Items::Maps => merge_keyed(original, patch, place, meta.merge_key, mode),
    }
}

fn merge_keyed(
    original: Vec<Value>,
    patch: Vec<Value>,
    place: Place<'_>,
    merge_key: &str,
    mode: Mode,
) -> Result<Vec<Value>, Error> {
    let (original, patch) = follow_directives(original, patch, merge_key)?;
    let mut merged = original;
    let mut places: HashMap<String, usize> = HashMap::with_capacity(merged.len());
    for (at, item) in merged.iter().enumerate() {
        if let (Some(_), Some(id)) = (item.get(merge_key), identity(item, merge_key)) {
            places.entry(id).or_insert(at);
        }
    }
    let server_length = merged.len();
    for item in &patch {
        let id = keyed_identity(item, merge_key)?;
        match places.get(&id) {
            Some(&at) => {
                if let (Value::Object(ours), Value::Object(theirs)) = (&mut merged[at], item.clone()) {
                    let ours = std::mem::take(ours);
                    merged[at] = Value::Object(merge_maps(ours, theirs, place, mode)?);
                }
            }
            None => {
                places.insert(id, merged.len());
                merged.push(item.clone());
            }
        }
    }
    let server_order = merged[..server_length].to_vec();
    let (named, server_only) = lists::partition(merged, &patch, merge_key)?;
    lists::in_order(named, server_only, &patch, &server_order, merge_key, Items::Maps)
}

/// Carries out the directives among the items of a patch, and returns the server's items and the patch's without
/// them. A replacing patch becomes the server's items.
fn follow_directives(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    merge_key: &str,
) -> Result<(Vec<Value>, Vec<Value>), Error> {
    let mut kept = Vec::with_capacity(patch.len());
    let mut deleted = HashSet::new();
    let mut replace = false;
    for item in patch {
        match item.get(DIRECTIVE) {
            None => kept.push(item),
            Some(Value::String(directive)) if directive == "delete" => {
                deleted.insert(keyed_identity(&item, merge_key)?);
            }
            Some(Value::String(directive)) if directive == "replace" => replace = true,
            Some(Value::String(directive)) if directive == "merge" => {
                return Err(Error::failed("merging lists cannot yet be specified in the patch"));
            }
            Some(other) => {
                let map = item.as_object().cloned().unwrap_or_default();
                return Err(unknown_directive(other, map));
            }
        }
    }
    if replace {
        return Ok((kept, Vec::new()));
    }
    if !deleted.is_empty() {
        let gone = |item: &Value| {
            item.get(merge_key).is_some() && identity(item, merge_key).is_some_and(|id| deleted.contains(&id))
        };
        original.retain(|item| !gone(item));
    }
    Ok((original, kept))
}

/// Removes null fields at every depth.
fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, item| !item.is_null());
            map.values_mut().for_each(discard_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}

/// A new value as it is to be stored: maps that carry a directive are not kept, as there is nothing that it could
/// apply to.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => {
            let kept = map.into_iter().filter_map(|(key, item)| Some((key, without_directives(item)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(items) => Some(items.into_iter().filter_map(without_directives).collect()),
        scalar => Some(scalar),
    }
}
