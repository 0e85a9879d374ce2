//! JSON merge patch (RFC 7386), in the reading of the library upstream uses.

use serde_json::{Map, Value};

use crate::limits::{TooDeep, check_depth};
use crate::precondition::{self, Precondition};

/// Why a merge patch was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// 400: the patch is neither an object nor a list.
    #[error("Invalid JSON Patch")]
    BadPatch,
    #[error("Invalid JSON Document")]
    BadDocument,
    /// The two sides of a difference are an object and a list.
    #[error("Mismatched JSON Documents")]
    Mismatched,
    /// A patch to be made would change what must stay.
    #[error("{0}")]
    Precondition(String),
    #[error(transparent)]
    TooDeep(#[from] TooDeep),
}

/// `document` with `patch` laid over it: null removes, objects merge, all else replaces.
///
/// A patch that is a list replaces the whole document, which the caller's decoder then refuses.
pub fn apply(document: Value, patch: Value) -> Result<Value, Error> {
    check_depth(&document, "document")?;
    check_depth(&patch, "merge patch")?;
    match (document, patch) {
        (Value::Null, _) => Err(Error::BadDocument),
        (Value::Object(mut document), Value::Object(patch)) => {
            merge_objects(&mut document, patch);
            Ok(Value::Object(document))
        }
        (_, mut patch @ (Value::Object(_) | Value::Array(_))) => {
            prune_nulls(&mut patch);
            Ok(patch)
        }
        _ => Err(Error::BadPatch),
    }
}

fn merge_objects(document: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (key, mut patch) in patch {
        match (document.get_mut(&key), &mut patch) {
            (_, Value::Null) => {
                document.remove(&key);
            }
            (Some(Value::Object(document)), Value::Object(patch)) => {
                merge_objects(document, std::mem::take(patch));
            }
            // A value that replaces an object is taken as it is, nulls inside lists' objects included.
            (Some(slot @ Value::Object(_)), _) => *slot = patch,
            _ => {
                prune_nulls(&mut patch);
                document.insert(key, patch);
            }
        }
    }
}

/// Removes null fields at every depth, inside lists too; null items of lists stay.
fn prune_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, item| !item.is_null());
            map.values_mut().for_each(prune_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(prune_nulls),
        _ => {}
    }
}

/// The merge patch that makes `modified` of `original`.
pub fn create(original: &Value, modified: &Value) -> Result<Value, Error> {
    check_depth(original, "original document")?;
    check_depth(modified, "modified document")?;
    match (original, modified) {
        (Value::Object(original), Value::Object(modified)) => {
            Ok(Value::Object(difference(original, modified)))
        }
        (Value::Array(original), Value::Array(modified)) if original.len() == modified.len() => {
            original.iter().zip(modified).map(|(original, modified)| create(original, modified)).collect()
        }
        (Value::Array(_), Value::Object(_)) | (Value::Object(_), Value::Array(_)) => Err(Error::Mismatched),
        _ => Err(Error::BadDocument),
    }
}

fn difference(original: &Map<String, Value>, modified: &Map<String, Value>) -> Map<String, Value> {
    let mut out = Map::new();
    for (key, new) in modified {
        match (original.get(key), new) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                let inner = difference(old, new);
                if !inner.is_empty() {
                    out.insert(key.clone(), Value::Object(inner));
                }
            }
            (Some(old), new) if crate::value::equal(old, new) => {}
            _ => {
                out.insert(key.clone(), new.clone());
            }
        }
    }
    for key in original.keys().filter(|key| !modified.contains_key(*key)) {
        out.insert(key.clone(), Value::Null);
    }
    out
}

/// The merge patch of a three-way apply: what `modified` adds to and changes in `current`, and what it drops of
/// `original`, the configuration applied last.
pub fn three_way(
    original: &Value,
    modified: &Value,
    current: &Value,
    unchanged: &[Precondition<'_>],
) -> Result<Value, Error> {
    let mut additions = create(current, modified)?;
    keep(&mut additions, Nulls::Drop);
    let mut patch = create(original, modified)?;
    keep(&mut patch, Nulls::Only);
    match (&mut patch, additions) {
        // Applying the additions as a patch would keep no nulls, but here the nulls are the point.
        (Value::Object(deletions), Value::Object(additions)) => {
            unite(deletions, additions);
            precondition::check(deletions, unchanged).map_err(Error::Precondition)?;
        }
        _ => return Err(Error::BadDocument),
    }
    Ok(patch)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Nulls {
    Only,
    Drop,
}

/// Reduces a patch to its deletions or to everything else. An object emptied by this is dropped, one that was
/// empty before is a value.
fn keep(patch: &mut Value, nulls: Nulls) {
    let Value::Object(map) = patch else { return };
    map.retain(|_, value| match value {
        Value::Null => nulls == Nulls::Only,
        Value::Object(inner) if inner.is_empty() => nulls == Nulls::Drop,
        Value::Object(_) => {
            keep(value, nulls);
            value.as_object().is_some_and(|inner| !inner.is_empty())
        }
        _ => nulls == Nulls::Drop,
    });
}

fn unite(deletions: &mut Map<String, Value>, additions: Map<String, Value>) {
    for (key, addition) in additions {
        match (deletions.get_mut(&key), addition) {
            (Some(Value::Object(deletions)), Value::Object(additions)) => unite(deletions, additions),
            (_, addition) => {
                deletions.insert(key, addition);
            }
        }
    }
}
