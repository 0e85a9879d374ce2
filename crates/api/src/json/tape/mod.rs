//! Typed JSON: text to a tape, and from the tape to a tree or to protobuf.
//!
//! The tape holds each object as one slot per field of its message, so both emitters can go through the fields in
//! the order that they need, whatever order the text had.

mod parse;
mod proto;
mod tree;

use std::borrow::Cow;

use schema::{MessageId, Table};
use serde_json::Value;

use super::{Decoded, JsonError, utf8, write};
use crate::proto::wire::Reverse;

pub(crate) use proto::nil_when_absent;
pub(crate) use tree::{float_value, zero_scalar};

use parse::Parser;
use proto::ProtoOf;
use tree::TreeOf;

/// Decodes the JSON of a built-in message into a tree in normal form.
pub fn decode(table: &Table, message: MessageId, bytes: &[u8]) -> Result<Decoded<Value>, JsonError> {
    let text = utf8(bytes);
    let (tape, root, strict) = Parser::parse(table, message, &text)?;
    let value = TreeOf { table, tape: &tape }.message(message, root);
    Ok(Decoded { value, strict })
}

/// Decodes the JSON of a built-in message straight into protobuf, without its TypeMeta.
pub fn to_proto(table: &Table, message: MessageId, bytes: &[u8]) -> Result<Decoded<Vec<u8>>, JsonError> {
    let text = utf8(bytes);
    let (tape, root, strict) = Parser::parse(table, message, &text)?;
    let mut out = Reverse::with_capacity(bytes.len());
    ProtoOf { table, tape: &tape }.payload(&mut out, message, &tape.nodes[root as usize]);
    Ok(Decoded { value: out.finish(), strict })
}

/// Brings a tree that was merged or patched into normal form again, as a decode of its JSON would.
pub fn normalize(table: &Table, message: MessageId, tree: &Value) -> Result<Decoded<Value>, JsonError> {
    let mut text = Vec::with_capacity(4096);
    write::value(&mut text, tree);
    decode(table, message, &text)
}

const NONE: u32 = u32::MAX;

struct Tape<'a> {
    nodes: Vec<Node<'a>>,
    /// Runs of one slot per field: the node index, or `NONE`.
    slots: Vec<u32>,
    /// Elements of lists and maps, each list chained from its last element to its first.
    links: Vec<Link<'a>>,
}

struct Link<'a> {
    key: Cow<'a, str>,
    node: u32,
    before: u32,
}

enum Node<'a> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Text(Cow<'a, str>),
    Blob(Vec<u8>),
    Time {
        seconds: i64,
        nanos: i32,
    },
    Raw(&'a str),
    /// The slots of an object.
    Object(u32),
    /// The last link, and how many there are.
    List(u32, u32),
    Map(u32, u32),
}

impl<'a> Tape<'a> {
    /// Whether the text had anything for the field at this place.
    fn has(&self, slots: Option<u32>, index: usize) -> bool {
        slots.is_some_and(|slots| self.slots[slots as usize + index] != NONE)
    }

    fn slot(&self, slots: Option<u32>, index: usize) -> Option<&Node<'a>> {
        let node = self.slots[slots? as usize + index];
        (node != NONE).then(|| &self.nodes[node as usize])
    }

    /// A collection's elements from the last to the first.
    fn backwards(&self, last: u32) -> impl Iterator<Item = &Link<'a>> {
        let mut at = last;
        std::iter::from_fn(move || {
            let link = self.links.get(at as usize)?;
            at = link.before;
            Some(link)
        })
    }
}
