//! Kubernetes protobuf, by the table.

pub(crate) mod encode;
mod sinks;
pub(crate) mod walk;
pub(crate) mod wire;

use schema::{MessageId, Table};
use serde_json::Value;

pub use encode::{EncodeError, encode};
pub use walk::Outside;
pub use wire::{MAX_DEPTH, WireError};

/// Appends the JSON of the message in `bytes`, as upstream's encoder would print it, without a newline.
pub fn to_json(
    table: &Table,
    message: MessageId,
    bytes: &[u8],
    outside: Outside<'_>,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let sink = sinks::JsonSink::new(std::mem::take(out));
    *out = walk::Walk::run(table, message, bytes, outside, sink)?.finish();
    Ok(())
}

/// The message in `bytes` as a tree in normal form.
pub fn to_tree(
    table: &Table,
    message: MessageId,
    bytes: &[u8],
    outside: Outside<'_>,
) -> Result<Value, WireError> {
    Ok(walk::Walk::run(table, message, bytes, outside, sinks::TreeSink::default())?.finish())
}
