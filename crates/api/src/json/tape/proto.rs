//! Tape to protobuf.

use schema::{Cardinality, Field, Form, Message, MessageId, Scalar, Table, Type};

use super::super::encode::dense;
use super::{Link, Node, Tape};
use crate::proto::wire::{FIXED64, Reverse, VARINT, wire_type};
use crate::special;

/// The tape as protobuf, written from the end.
pub(super) struct ProtoOf<'t, 'p, 'a> {
    pub(super) table: &'t Table,
    pub(super) tape: &'p Tape<'a>,
}

impl ProtoOf<'_, '_, '_> {
    fn fields(&self, out: &mut Reverse, message: &Message, slots: Option<u32>) {
        for index in message.wire_indices().rev() {
            if !self.tape.has(slots, usize::from(index)) && !message.writes_unset(usize::from(index)) {
                continue;
            }
            let field = &message.fields[usize::from(index)];
            let node = self.tape.slot(slots, usize::from(index)).filter(|node| !matches!(node, Node::Null));
            match field.cardinality {
                Cardinality::List => {
                    if let Some(Node::List(last, _)) = node {
                        for link in self.tape.backwards(*last) {
                            self.single(out, field.number, field.ty, &self.tape.nodes[link.node as usize]);
                        }
                    }
                }
                Cardinality::Map => {
                    if let Some(Node::Map(last, count)) = node {
                        self.map(out, field, *last, *count);
                    }
                }
                Cardinality::One => self.one(out, field, node),
            }
        }
    }

    fn one(&self, out: &mut Reverse, field: &Field, node: Option<&Node<'_>>) {
        match node {
            Some(node) => self.single(out, field.number, field.ty, node),
            None if field.pointer || nil_when_absent(self.table, field.ty) => {}
            None => self.single(out, field.number, field.ty, &Node::Null),
        }
    }

    fn map(&self, out: &mut Reverse, field: &Field, last: u32, count: u32) {
        let mut links: Vec<&Link<'_>> = Vec::with_capacity(count as usize);
        links.extend(self.tape.backwards(last));
        // Stable and backwards, so the last written of equal keys comes first.
        links.sort_by(|a, b| a.key.cmp(&b.key));
        links.dedup_by(|later, earlier| later.key == earlier.key);
        for link in links.iter().rev() {
            let end = out.len();
            let node = &self.tape.nodes[link.node as usize];
            if !(matches!(node, Node::Null) && nil_when_absent(self.table, field.ty)) {
                self.single(out, 2, field.ty, node);
            }
            out.field(1, link.key.as_bytes());
            out.close(field.number, out.len() - end);
        }
    }

    /// Tag and value.
    fn single(&self, out: &mut Reverse, number: u32, ty: Type, node: &Node<'_>) {
        match (ty, node) {
            (Type::Message(id), node) => {
                let end = out.len();
                self.payload(out, id, node);
                out.close(number, out.len() - end);
            }
            (Type::Scalar(_), Node::Text(text)) => out.field(number, text.as_bytes()),
            (Type::Scalar(_), Node::Blob(blob)) => out.field(number, blob),
            (Type::Scalar(scalar), node) => match wire_type(ty) {
                VARINT => {
                    let value = match node {
                        Node::Bool(b) => u64::from(*b),
                        Node::Int(i) => *i as u64,
                        Node::UInt(u) => *u,
                        _ => 0,
                    };
                    out.varint(value);
                    out.tag(number, VARINT);
                }
                FIXED64 => {
                    let value = if let Node::Float(f) = node { *f } else { 0.0 };
                    out.bytes(&value.to_bits().to_le_bytes());
                    out.tag(number, FIXED64);
                }
                _ => {
                    debug_assert!(matches!(scalar, Scalar::String | Scalar::Bytes));
                    out.field(number, b"");
                }
            },
        }
    }

    /// The inside of a message.
    pub(super) fn payload(&self, out: &mut Reverse, id: MessageId, node: &Node<'_>) {
        let message = self.table.message(id);
        match message.form {
            Form::Object => {
                let slots = match node {
                    Node::Object(slots) => Some(*slots),
                    _ => None,
                };
                self.fields(out, message, slots);
            }
            Form::Wrapper => {
                let Some(field) = message.fields.first() else { return };
                match node {
                    Node::List(last, _) => {
                        for link in self.tape.backwards(*last) {
                            self.single(out, field.number, field.ty, &self.tape.nodes[link.node as usize]);
                        }
                    }
                    Node::Map(last, count) => self.map(out, field, *last, *count),
                    _ => {}
                }
            }
            Form::Time => {
                if let Node::Time { seconds, .. } = node {
                    special::put_timestamp(out, *seconds, 0);
                }
            }
            Form::MicroTime => {
                if let Node::Time { seconds, nanos } = node {
                    special::put_timestamp(out, *seconds, nanos / 1000 * 1000);
                }
            }
            Form::Duration => {
                special::put_varint(out, if let Node::Int(nanos) = node { *nanos as u64 } else { 0 })
            }
            Form::Quantity => out.field(1, if let Node::Text(text) = node { text.as_bytes() } else { b"0" }),
            Form::IntOrString => match node {
                Node::Text(text) => special::put_int_or_string(out, 1, 0, text.as_bytes()),
                Node::Int(value) => special::put_int_or_string(out, 0, *value as i32, b""),
                _ => special::put_int_or_string(out, 0, 0, b""),
            },
            Form::Raw => {
                if let Node::Raw(text) = node {
                    let mut raw = Vec::with_capacity(text.len());
                    dense(&mut raw, text);
                    out.field(1, &raw);
                }
            }
            Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings => {
                self.schema_or(out, message, node)
            }
            Form::Any => {}
        }
    }

    fn schema_or(&self, out: &mut Reverse, message: &Message, node: &Node<'_>) {
        for field in message.fields.iter().rev() {
            match (field.cardinality, field.ty, node) {
                (Cardinality::List, ty, Node::List(last, _)) => {
                    for link in self.tape.backwards(*last) {
                        self.single(out, field.number, ty, &self.tape.nodes[link.node as usize]);
                    }
                }
                (Cardinality::One, Type::Message(_), Node::Object(_)) => {
                    self.single(out, field.number, field.ty, node);
                }
                (Cardinality::One, Type::Scalar(_), node) => {
                    let allows = matches!(node, Node::Bool(true) | Node::Object(_));
                    self.single(out, field.number, field.ty, &Node::Bool(allows));
                }
                _ => {}
            }
        }
    }
}

/// Types that are nil in Go when absent, and so leave no trace: byte strings and named slices.
pub(crate) fn nil_when_absent(table: &Table, ty: Type) -> bool {
    match ty {
        Type::Scalar(Scalar::Bytes) => true,
        Type::Scalar(_) => false,
        Type::Message(id) => table.message(id).form == Form::Wrapper,
    }
}
