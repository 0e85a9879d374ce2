//! Tape to tree, in the normal form of Go's encoder.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schema::{Cardinality, Field, Form, Message, MessageId, Omit, Scalar, Table, Type};
use serde_json::{Map, Number, Value};

use super::super::untyped;
use super::{Node, Tape};
use crate::proto::walk::{Zero, zero};
use crate::special;

/// The tape as a tree in normal form.
pub(super) struct TreeOf<'t, 'p, 'a> {
    pub(super) table: &'t Table,
    pub(super) tape: &'p Tape<'a>,
}

impl TreeOf<'_, '_, '_> {
    pub(super) fn message(&self, id: MessageId, node: u32) -> Value {
        self.value(Type::Message(id), &self.tape.nodes[node as usize])
    }

    fn fields(&self, message: &Message, slots: Option<u32>, out: &mut Map<String, Value>) {
        for (index, field) in message.fields.iter().enumerate() {
            let node = self.tape.slot(slots, index);
            if field.inline {
                let Type::Message(id) = field.ty else { continue };
                let inner = match node {
                    Some(Node::Object(inner)) => Some(*inner),
                    _ => None,
                };
                self.fields(self.table.message(id), inner, out);
                continue;
            }
            let value = match node {
                None | Some(Node::Null) => self.absent(field),
                Some(node) => Some(self.field(field, node)).filter(|value| !self.left_out(field, value)),
            };
            if let Some(value) = value {
                out.insert(field.json.to_string(), value);
            }
        }
    }

    /// Whether Go's encoder drops this value.
    fn left_out(&self, field: &Field, value: &Value) -> bool {
        if field.pointer || field.omit == Omit::Never {
            return false;
        }
        let slice_like = match field.ty {
            Type::Message(id) => {
                field.cardinality != Cardinality::One || self.table.message(id).form == Form::Wrapper
            }
            Type::Scalar(_) => true,
        };
        slice_like
            && match value {
                Value::Null => true,
                Value::Bool(b) => !b,
                Value::Number(n) => n.as_f64() == Some(0.0),
                Value::String(s) => s.is_empty(),
                Value::Array(items) => items.is_empty(),
                Value::Object(map) => map.is_empty(),
            }
    }

    fn absent(&self, field: &Field) -> Option<Value> {
        match zero(self.table, field) {
            Zero::Omitted => None,
            Zero::Null => Some(Value::Null),
            Zero::Scalar(scalar) => Some(zero_scalar(scalar)),
            Zero::Message(id) => Some(self.value(Type::Message(id), &Node::Null)),
        }
    }

    fn field(&self, field: &Field, node: &Node<'_>) -> Value {
        match (field.cardinality, node) {
            (Cardinality::One, node) => self.value(field.ty, node),
            (_, node) => self.collection(field.ty, node),
        }
    }

    fn collection(&self, ty: Type, node: &Node<'_>) -> Value {
        match node {
            Node::List(last, count) => {
                let mut items: Vec<Value> = Vec::with_capacity(*count as usize);
                items.extend(self.tape.backwards(*last).map(|link| self.element(ty, link.node)));
                items.reverse();
                Value::Array(items)
            }
            Node::Map(last, _) => {
                let mut map = Map::new();
                for link in self.tape.backwards(*last) {
                    // Backwards, so the first one met is the last one written, which wins.
                    if !map.contains_key(&*link.key) {
                        map.insert(link.key.to_string(), self.element(ty, link.node));
                    }
                }
                Value::Object(map)
            }
            _ => Value::Null,
        }
    }

    fn element(&self, ty: Type, node: u32) -> Value {
        self.value(ty, &self.tape.nodes[node as usize])
    }

    fn value(&self, ty: Type, node: &Node<'_>) -> Value {
        let id = match ty {
            Type::Message(id) => id,
            Type::Scalar(scalar) => {
                return match node {
                    Node::Bool(b) => Value::Bool(*b),
                    Node::Int(i) => Value::Number(Number::from(*i)),
                    Node::UInt(u) => Value::Number(Number::from(*u)),
                    Node::Float(f) => float_value(*f),
                    Node::Text(text) => Value::String(text.to_string()),
                    Node::Blob(blob) => Value::String(STANDARD.encode(blob)),
                    _ => zero_scalar(scalar),
                };
            }
        };
        let message = self.table.message(id);
        match message.form {
            Form::Object => {
                let slots = match node {
                    Node::Object(slots) => Some(*slots),
                    _ => None,
                };
                let mut out = Map::new();
                self.fields(message, slots, &mut out);
                Value::Object(out)
            }
            Form::Wrapper => {
                message.fields.first().map_or(Value::Null, |field| self.collection(field.ty, node))
            }
            Form::Time | Form::MicroTime => match node {
                Node::Time { seconds, nanos } => {
                    let mut text = special::TimeText::default();
                    match message.form {
                        Form::Time => text.seconds(*seconds),
                        _ => text.micros(*seconds, *nanos),
                    }
                    text.as_bytes()
                        .map_or(Value::Null, |b| Value::String(String::from_utf8_lossy(b).into_owned()))
                }
                _ => Value::Null,
            },
            Form::Duration => Value::String(special::duration_text(match node {
                Node::Int(nanos) => *nanos,
                _ => 0,
            })),
            Form::Quantity => Value::String(match node {
                Node::Text(text) => text.to_string(),
                _ => "0".to_owned(),
            }),
            Form::IntOrString => match node {
                Node::Text(text) => Value::String(text.to_string()),
                Node::Int(i) => Value::Number(Number::from(*i)),
                _ => Value::Number(Number::from(0)),
            },
            Form::Raw | Form::Any => match node {
                Node::Raw(text) => untyped::parse_untyped(text.as_bytes()).unwrap_or(Value::Null),
                _ => Value::Null,
            },
            Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings => {
                let schema = message.fields.iter().find(|f| matches!(f.ty, Type::Message(_)));
                let items = message.fields.iter().find(|f| f.cardinality == Cardinality::List);
                match (node, schema, items) {
                    (Node::Bool(b), ..) => Value::Bool(*b),
                    (Node::Object(_), Some(schema), _) => self.value(schema.ty, node),
                    (Node::List(..), _, Some(items)) => self.collection(items.ty, node),
                    _ => Value::Null,
                }
            }
        }
    }
}

pub(crate) fn zero_scalar(scalar: Scalar) -> Value {
    match scalar {
        Scalar::Bool => Value::Bool(false),
        Scalar::String => Value::String(String::new()),
        Scalar::Bytes => Value::Null,
        _ => Value::Number(Number::from(0)),
    }
}

/// A float in a tree: whole numbers stay integers, as their JSON has no fraction.
pub(crate) fn float_value(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT {
        return Value::Number(Number::from(value as i64));
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}
