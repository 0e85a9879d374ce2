//! Making patches from documents.

use std::cmp::Ordering;

use schema::{MessageId, Table};
use serde_json::{Map, Value, json};

use super::lists::{self, Items, deduplicated, identity, items_of, keyed};
use super::lookup::{Place, Strategy};
use super::merge::{Mode, merge_maps};
use super::{DELETE_FROM_LIST, DIRECTIVE, ELEMENT_ORDER, Error, RETAIN_KEYS, document};
use crate::go::{self, Numbers};
use crate::limits::check_depth;
use crate::precondition::{self, Precondition};

type Object = Map<String, Value>;

/// The patch that makes `modified` of `original`.
pub fn two_way(
    original: Value,
    modified: Value,
    table: &Table,
    id: MessageId,
    unchanged: &[Precondition<'_>],
) -> Result<Value, Error> {
    check_depth(&original, "original document")?;
    check_depth(&modified, "modified document")?;
    let (original, modified) = (document(original)?, document(modified)?);
    let options = Options { set_order: true, ..Options::default() };
    let patch = diff_maps(&original, &modified, Place::of_message(table, id), options)?;
    precondition::check(&patch, unchanged).map_err(Error::Failed)?;
    Ok(Value::Object(patch))
}

/// The patch that brings `current` to `modified` and drops what the configuration applied last, `original`, had
/// and `modified` has not. What others changed in `current` stays, and is a conflict if it was changed differently
/// and `overwrite` is not set.
pub fn three_way(
    original: Value,
    modified: Value,
    current: Value,
    table: &Table,
    id: MessageId,
    overwrite: bool,
    unchanged: &[Precondition<'_>],
) -> Result<Value, Error> {
    for (value, what) in
        [(&original, "original document"), (&modified, "modified document"), (&current, "current document")]
    {
        check_depth(value, what)?;
    }
    let (original, modified, current) = (document(original)?, document(modified)?, document(current)?);
    let place = Place::of_message(table, id);
    let additions = Options { set_order: true, ignore_deletions: true, ..Options::default() };
    let additions = diff_maps(&current, &modified, place, additions)?;
    let deletions = Options { set_order: true, ignore_additions: true, ..Options::default() };
    let deletions = diff_maps(&original, &modified, place, deletions)?;
    let patch = merge_maps(deletions, additions, place, Mode::Combine)?;
    precondition::check(&patch, unchanged).map_err(Error::Failed)?;
    if !overwrite {
        let changes = diff_maps(&original, &current, place, Options::default())?;
        if maps_conflict(&patch, &changes, place)? {
            return Err(Error::Conflict {
                patch: Value::Object(patch).to_string(),
                changes: Value::Object(changes).to_string(),
            });
        }
    }
    Ok(Value::Object(patch))
}

#[derive(Clone, Copy, Debug, Default)]
struct Options {
    /// Say in which order lists are to come.
    set_order: bool,
    ignore_additions: bool,
    ignore_deletions: bool,
    /// Name all keys that stay, as the field asks for.
    retain_keys: bool,
}

fn diff_maps(
    original: &Object,
    modified: &Object,
    place: Place<'_>,
    options: Options,
) -> Result<Object, Error> {
    let mut patch = Object::new();
    for (key, new) in modified {
        let Some(old) = original.get(key) else {
            if !options.ignore_additions {
                patch.insert(key.clone(), new.clone());
            }
            continue;
        };
        if key == DIRECTIVE {
            if !old.is_string() || !new.is_string() {
                return Err(Error::failed(format!("invalid value for special key: {DIRECTIVE}")));
            }
            if old != new {
                patch.insert(key.clone(), new.clone());
            }
            continue;
        }
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => {
                diff_map_field(key, old, new, &mut patch, place, options)?
            }
            (Value::Array(old), Value::Array(new)) => {
                diff_list_field(key, old, new, &mut patch, place, options)?
            }
            _ if options.ignore_additions || old == new => {}
            _ => {
                patch.insert(key.clone(), new.clone());
            }
        }
    }
    if !options.ignore_deletions {
        for key in original.keys().filter(|key| !modified.contains_key(*key)) {
            patch.insert(key.clone(), Value::Null);
        }
    }
    if options.retain_keys {
        let mut retained: Vec<&String> =
            modified.iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key).collect();
        retained.sort();
        let drops = original.iter().any(|(key, value)| !value.is_null() && !modified.contains_key(key));
        if !retained.is_empty() && (!patch.is_empty() || drops) {
            patch.insert(RETAIN_KEYS.to_owned(), json!(retained));
        }
    }
    Ok(patch)
}

fn diff_map_field(
    key: &str,
    old: &Object,
    new: &Object,
    patch: &mut Object,
    place: Place<'_>,
    options: Options,
) -> Result<(), Error> {
    let (inner, meta) = match place.map_field(key) {
        Ok(found) => found,
        // An unknown field does not matter while it does not change.
        Err(_) if old == new => return Ok(()),
        Err(error) => return Err(error),
    };
    if meta.strategy == Strategy::Replace {
        if !options.ignore_additions {
            patch.insert(key.to_owned(), Value::Object(new.clone()));
        }
        return Ok(());
    }
    let diff = diff_maps(old, new, inner, Options { retain_keys: meta.retain_keys, ..options })?;
    if !diff.is_empty() {
        patch.insert(key.to_owned(), Value::Object(diff));
    }
    Ok(())
}

fn diff_list_field(
    key: &str,
    old: &[Value],
    new: &[Value],
    patch: &mut Object,
    place: Place<'_>,
    options: Options,
) -> Result<(), Error> {
    let (items, meta) = match place.list_field(key) {
        Ok(found) => found,
        Err(_) if old == new => return Ok(()),
        Err(error) => return Err(error),
    };
    if meta.strategy != Strategy::Merge {
        if !options.ignore_additions && old != new {
            patch.insert(key.to_owned(), Value::Array(new.to_vec()));
        }
        return Ok(());
    }
    let options = Options { retain_keys: meta.retain_keys, ..options };
    let diff = diff_lists(old, new, items, meta.merge_key, options)?;
    let mut put = |key: String, list: Vec<Value>| {
        if !list.is_empty() {
            patch.insert(key, Value::Array(list));
        }
    };
    put(key.to_owned(), diff.patch);
    put(format!("{DELETE_FROM_LIST}/{key}"), diff.deleted);
    put(format!("{ELEMENT_ORDER}/{key}"), diff.order);
    Ok(())
}

/// A list's patch: its items, the scalars to delete, and the order to set.
#[derive(Default)]
struct ListDiff {
    patch: Vec<Value>,
    deleted: Vec<Value>,
    order: Vec<Value>,
}

fn diff_lists(
    old: &[Value],
    new: &[Value],
    place: Place<'_>,
    merge_key: &str,
    options: Options,
) -> Result<ListDiff, Error> {
    if old.is_empty() {
        let patch = if options.ignore_additions { Vec::new() } else { new.to_vec() };
        return Ok(ListDiff { patch, ..ListDiff::default() });
    }
    match items_of(old, new)? {
        Items::Maps => diff_keyed(old, new, place, merge_key, options),
        Items::Scalars => diff_scalars(old, new, options),
    }
}

fn diff_keyed(
    old: &[Value],
    new: &[Value],
    place: Place<'_>,
    merge_key: &str,
    options: Options,
) -> Result<ListDiff, Error> {
    let mut patch = Vec::new();
    let mut deleted = Vec::new();
    let (old_sorted, new_sorted) = (by_text(old, merge_key), by_text(new, merge_key));
    let (mut o, mut n) = (old_sorted.iter().peekable(), new_sorted.iter().peekable());
    loop {
        let old_item = o.peek().map(|item| keyed(item, merge_key)).transpose()?;
        let new_item = n.peek().map(|item| keyed(item, merge_key)).transpose()?;
        let (order, old_item, new_item) = match (old_item, new_item) {
            (None, None) => break,
            (Some(old), None) => (Ordering::Less, Some(old), None),
            (None, Some(new)) => (Ordering::Greater, None, Some(new)),
            (Some(old), Some(new)) => (text(old.1).cmp(&text(new.1)), Some(old), Some(new)),
        };
        match (order, old_item, new_item) {
            (Ordering::Equal, Some((old, _)), Some((new, key))) => {
                let mut diff = diff_maps(old, new, place, options)?;
                if !diff.is_empty() {
                    diff.insert(merge_key.to_owned(), key.clone());
                    patch.push(Value::Object(diff));
                }
                o.next();
                n.next();
            }
            (Ordering::Less, Some((_, key)), _) => {
                if !options.ignore_deletions {
                    deleted.push(json!({merge_key: key, DIRECTIVE: "delete"}));
                }
                o.next();
            }
            (_, _, new_item) => {
                if let Some((new, _)) = new_item
                    && !options.ignore_additions
                {
                    patch.push(Value::Object(new.clone()));
                }
                n.next();
            }
        }
    }
    let mut patch = lists::sorted_by(patch, new, merge_key, Items::Maps)?;
    let same_order = old.len() == new.len()
        && old.iter().zip(new).all(|(l, r)| identity(l, merge_key) == identity(r, merge_key));
    patch.append(&mut deleted);
    let reordered = !options.ignore_additions && (!patch.is_empty() || !same_order);
    let shrunk = !options.ignore_deletions && !patch.is_empty();
    let order = if options.set_order && (reordered || shrunk) {
        new.iter().map(|item| json!({merge_key: item[merge_key]})).collect()
    } else {
        Vec::new()
    };
    Ok(ListDiff { patch, deleted: Vec::new(), order })
}

fn diff_scalars(old: &[Value], new: &[Value], options: Options) -> Result<ListDiff, Error> {
    let (old_sorted, new_sorted) = (by_text(old, ""), by_text(new, ""));
    let mut out = ListDiff::default();
    let (mut o, mut n) = (old_sorted.iter().peekable(), new_sorted.iter().peekable());
    loop {
        let order = match (o.peek(), n.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => text(old).cmp(&text(new)),
        };
        match order {
            Ordering::Equal => {
                o.next();
                n.next();
            }
            Ordering::Less => out.deleted.extend(o.next().filter(|_| !options.ignore_deletions).cloned()),
            Ordering::Greater => out.patch.extend(n.next().filter(|_| !options.ignore_additions).cloned()),
        }
    }
    out.deleted = deduplicated(out.deleted);
    out.patch = lists::sorted_by(out.patch, new, "", Items::Scalars)?;
    // Upstream compares with the sorted old list, so a list out of order always has its order set.
    let shrunk = !options.ignore_deletions && !out.deleted.is_empty();
    if options.set_order && (shrunk || !options.ignore_additions && old_sorted != new) {
        out.order = new.to_vec();
    }
    Ok(out)
}

/// The items sorted by the text of their merge key, or of themselves. Upstream's sort turns items with the same key
/// around, which shows where a document has such items.
fn by_text(list: &[Value], merge_key: &str) -> Vec<Value> {
    let mut list: Vec<Value> = list.iter().rev().cloned().collect();
    let key = |item: &Value| {
        if merge_key.is_empty() { text(item) } else { text(item.get(merge_key).unwrap_or(&Value::Null)) }
    };
    list.sort_by_cached_key(key);
    list
}

fn text(value: &Value) -> String {
    go::plain(value, Numbers::Integers)
}

/// Whether two patches change the same thing differently.
fn maps_conflict(left: &Object, right: &Object, place: Place<'_>) -> Result<bool, Error> {
    if left.get(DIRECTIVE) != right.get(DIRECTIVE) {
        return Ok(true);
    }
    for (key, l) in left.iter().filter(|(key, _)| *key != DIRECTIVE && *key != RETAIN_KEYS) {
        let Some(r) = right.get(key) else { continue };
        let conflict = match (l, r) {
            (Value::Object(l), Value::Object(r)) => {
                let (inner, meta) = place.map_field(key)?;
                let (ours, theirs) = (l.get(DIRECTIVE), r.get(DIRECTIVE));
                if meta.strategy == Strategy::Replace { ours != theirs } else { maps_conflict(l, r, inner)? }
            }
            (Value::Array(l), Value::Array(r)) if key.starts_with('$') => l != r,
            (Value::Array(l), Value::Array(r)) => {
                let (items, meta) = place.list_field(key)?;
                lists_conflict(l, r, items, meta.strategy == Strategy::Merge, meta.merge_key)?
            }
            (l, r) => l != r,
        };
        if conflict {
            return Ok(true);
        }
    }
    Ok(false)
}

fn lists_conflict(
    left: &[Value],
    right: &[Value],
    place: Place<'_>,
    merges: bool,
    merge_key: &str,
) -> Result<bool, Error> {
    let items = items_of(left, right)?;
    if !merges {
        return Ok(match items {
            Items::Maps => left != right,
            Items::Scalars => left.len() != right.len() || by_text(left, "") != by_text(right, ""),
        });
    }
    // Scalars that are merged into a list do not get in each other's way.
    if items == Items::Scalars {
        return Ok(false);
    }
    for l in left {
        let (l_map, l_key) = keyed(l, merge_key)?;
        for r in right {
            let (r_map, r_key) = keyed(r, merge_key)?;
            if text(l_key) == text(r_key) && maps_conflict(l_map, r_map, place)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
