//! What an input may at most be.

use serde_json::Value;

/// Nesting of objects, patches and field sets. Every walk recurses once or twice per level, and this much fits
/// the stack of any thread; no published type comes near it.
pub const MAX_DEPTH: usize = 256;

/// Operations in one JSON patch.
pub const MAX_JSON_PATCH_OPERATIONS: usize = 10_000;

/// Bytes that the `copy` operations of one JSON patch may add to a document.
pub const MAX_JSON_PATCH_COPY_BYTES: usize = 3 * 1024 * 1024;

/// Entries for non-apply writers; the oldest are merged beyond it.
pub const MAX_UPDATE_MANAGERS: usize = 10;

/// All annotations of one object together, keys and values.
pub const MAX_ANNOTATION_BYTES: usize = 256 * 1024;

/// An input nested more than [`MAX_DEPTH`] levels deep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {0} is nested more than {MAX_DEPTH} levels deep")]
pub struct TooDeep(pub &'static str);

/// Refuses a tree that the recursive walks of this crate could not survive.
pub(crate) fn check_depth(value: &Value, what: &'static str) -> Result<(), TooDeep> {
    fn fits(value: &Value, room: usize) -> bool {
        match value {
            Value::Array(items) => room > 0 && items.iter().all(|item| fits(item, room - 1)),
            Value::Object(map) => room > 0 && map.values().all(|item| fits(item, room - 1)),
            _ => true,
        }
    }
    if fits(value, MAX_DEPTH) { Ok(()) } else { Err(TooDeep(what)) }
}
