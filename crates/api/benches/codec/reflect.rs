//! The peer: dynamic protobuf messages over descriptors made from the table.

use std::collections::BTreeSet;

use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type as Kind};
use prost_reflect::prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, MessageOptions,
};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use schema::{Cardinality, Field, Form, MessageId, Scalar, Table, Type};

pub struct Peer(MessageDescriptor);

impl Peer {
    /// A peer that knows `root` and every message below it.
    pub fn new(table: &Table, root: MessageId) -> Peer {
        let mut seen = BTreeSet::new();
        let mut next = vec![root];
        let mut file = FileDescriptorProto { name: Some("table".into()), ..Default::default() };
        while let Some(id) = next.pop() {
            if seen.insert(id) {
                file.message_type.push(descriptor(table, id));
                next.extend(table.message(id).fields.iter().filter_map(|field| match field.ty {
                    Type::Message(below) => Some(below),
                    Type::Scalar(_) => None,
                }));
            }
        }
        let mut pool = DescriptorPool::new();
        pool.add_file_descriptor_proto(file).expect("the table makes sound descriptors");
        Peer(pool.get_message_by_name(&name(table, root)).expect("the root is among them"))
    }

    pub fn to_proto(&self, json: &[u8]) -> Vec<u8> {
        let mut text = serde_json::Deserializer::from_slice(json);
        DynamicMessage::deserialize(self.0.clone(), &mut text).expect("the peer's own text").encode_to_vec()
    }

    pub fn to_json(&self, wire: &[u8]) -> Vec<u8> {
        let message = DynamicMessage::decode(self.0.clone(), wire).expect("bytes of this message");
        serde_json::to_vec(&message).expect("a message has a text")
    }
}

fn descriptor(table: &Table, id: MessageId) -> DescriptorProto {
    let mut message = DescriptorProto { name: Some(name(table, id)), ..Default::default() };
    let leaf = |name: &str, number, kind| field(name, number, Label::Optional, kind, None);
    match table.message(id).form {
        Form::Time | Form::MicroTime => {
            message.field = vec![leaf("seconds", 1, Kind::Int64), leaf("nanos", 2, Kind::Int32)];
        }
        Form::Duration => message.field = vec![leaf("nanoseconds", 1, Kind::Int64)],
        Form::Quantity => message.field = vec![leaf("text", 1, Kind::String)],
        Form::IntOrString => {
            message.field = vec![
                leaf("type", 1, Kind::Int64),
                leaf("int", 2, Kind::Int32),
                leaf("text", 3, Kind::String),
            ];
        }
        Form::Raw => message.field = vec![leaf("raw", 1, Kind::Bytes)],
        _ => table.message(id).in_wire_order().for_each(|field| declare(table, field, &mut message)),
    }
    message
}

fn declare(table: &Table, from: &Field, into: &mut DescriptorProto) {
    let json = if from.json.is_empty() { format!("inlined{}", from.number) } else { from.json.to_string() };
    let (kind, below) = match from.ty {
        Type::Message(id) => (Kind::Message, Some(format!(".{}", name(table, id)))),
        Type::Scalar(scalar) => (scalar_kind(scalar), None),
    };
    let number = from.number as i32;
    match from.cardinality {
        Cardinality::One => into.field.push(field(&json, number, Label::Optional, kind, below)),
        Cardinality::List => into.field.push(field(&json, number, Label::Repeated, kind, below)),
        Cardinality::Map => {
            let entry = entry_name(&json);
            let below_entry = format!(".{}.{entry}", into.name());
            into.nested_type.push(DescriptorProto {
                name: Some(entry),
                field: vec![
                    field("key", 1, Label::Optional, Kind::String, None),
                    field("value", 2, Label::Optional, kind, below),
                ],
                options: Some(MessageOptions { map_entry: Some(true), ..Default::default() }),
                ..Default::default()
            });
            into.field.push(field(&json, number, Label::Repeated, Kind::Message, Some(below_entry)));
        }
    }
}

/// protoc's own rule, which descriptors of maps must follow: `nodeSelector` has entries `NodeSelectorEntry`.
fn entry_name(json: &str) -> String {
    let mut letters = json.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).chain("Entry".chars()).collect()
}

fn field(json: &str, number: i32, label: Label, kind: Kind, below: Option<String>) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(json.to_owned()),
        json_name: Some(json.to_owned()),
        number: Some(number),
        label: Some(label.into()),
        r#type: Some(kind.into()),
        type_name: below,
        ..Default::default()
    }
}

fn scalar_kind(scalar: Scalar) -> Kind {
    match scalar {
        Scalar::Bool => Kind::Bool,
        Scalar::Int32 => Kind::Int32,
        Scalar::Int64 => Kind::Int64,
        Scalar::UInt32 => Kind::Uint32,
        Scalar::UInt64 => Kind::Uint64,
        Scalar::Double | Scalar::Number => Kind::Double,
        Scalar::String => Kind::String,
        Scalar::Bytes => Kind::Bytes,
    }
}

fn name(table: &Table, id: MessageId) -> String {
    table.message(id).name.replace('.', "_")
}
