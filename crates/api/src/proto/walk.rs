//! One walk from protobuf bytes, in Go struct order, into whatever wants them: JSON text or a tree.

use schema::{Cardinality, Field, Form, Message, MessageId, Omit, Scalar, Table, Type};

use super::wire::{self, MAX_DEPTH, Payload, Payloads, Reader, Span, WireError};
use crate::special;

/// Receives the JSON form of a message, event by event.
pub(crate) trait Sink {
    fn open_object(&mut self);
    /// The key of a declared field.
    fn field(&mut self, field: &Field);
    fn key(&mut self, key: &str);
    /// A map's key, which may be any bytes.
    fn map_key(&mut self, key: &[u8]);
    fn close_object(&mut self);
    fn open_list(&mut self);
    fn item(&mut self);
    fn close_list(&mut self);
    fn null(&mut self);
    fn bool(&mut self, value: bool);
    fn int(&mut self, value: i64);
    fn uint(&mut self, value: u64);
    fn float(&mut self, value: f64);
    fn text(&mut self, value: &[u8]);
    /// Standard base64 of these bytes.
    fn base64(&mut self, value: &[u8]);
    /// JSON text out of a raw extension.
    fn raw(&mut self, json: &[u8]) -> Result<(), String>;
}

/// What the bytes of an object at rest do not say themselves.
#[derive(Clone, Copy, Default)]
pub struct Outside<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    /// Becomes `metadata.resourceVersion`.
    pub revision: Option<u64>,
}

pub(crate) struct Walk<'t, 'o, S> {
    table: &'t Table,
    outside: Outside<'o>,
    spans: Vec<Span>,
    sink: S,
}

/// Which part of the object a message is: only the root has a type, only its metadata a revision.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Root,
    Metadata,
    Elsewhere,
}

impl<'t, 'o, S: Sink> Walk<'t, 'o, S> {
    pub(crate) fn run(
        table: &'t Table,
        message: MessageId,
        bytes: &[u8],
        outside: Outside<'o>,
        sink: S,
    ) -> Result<S, WireError> {
        let mut walk = Walk { table, outside, spans: Vec::with_capacity(64), sink };
        walk.value(message, bytes, Place::Root, 0)?;
        Ok(walk.sink)
    }

    fn value(&mut self, id: MessageId, bytes: &[u8], place: Place, depth: u32) -> Result<(), WireError> {
        if depth > MAX_DEPTH {
            return Err(WireError::TooDeep);
        }
        let table = self.table;
        let message = table.message(id);
        match message.form {
            Form::Object => {
                self.sink.open_object();
                self.fields(message, bytes, place, depth)?;
                self.sink.close_object();
            }
            Form::Wrapper => self.wrapper(message, bytes, depth)?,
            Form::Time | Form::MicroTime => {
                if bytes.is_empty() {
                    self.sink.null();
                    return Ok(());
                }
                let (seconds, nanos) = special::timestamp(bytes)?;
                let mut text = special::TimeText::default();
                match message.form {
                    Form::Time => text.seconds(seconds),
                    _ => text.micros(seconds, nanos),
                }
                match text.as_bytes() {
                    Some(text) => self.sink.text(text),
                    None => self.sink.null(),
                }
            }
            Form::Duration => {
                let nanos = special::only_varint(bytes)? as i64;
                self.sink.text(special::duration_text(nanos).as_bytes());
            }
            Form::Quantity => {
                let text = special::only_bytes(bytes)?;
                match special::canonical_quantity(text) {
                    Ok(canonical) => self.sink.text(canonical.as_bytes()),
                    Err(why) => return Err(WireError::BadValue { field: "Quantity".into(), why }),
                }
            }
            Form::IntOrString => match special::int_or_string(bytes)? {
                special::IntOrString::Int(value) => self.sink.int(i64::from(value)),
                special::IntOrString::Text(text) => self.sink.text(text),
            },
            Form::Raw => {
                let json = special::only_bytes(bytes)?;
                if json.is_empty() {
                    self.sink.null();
                } else {
                    self.sink
                        .raw(json)
                        .map_err(|why| WireError::BadValue { field: short_name(message).into(), why })?;
                }
            }
            Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings => {
                self.schema_or(message, bytes, depth)?;
            }
            Form::Any => {
                return Err(WireError::BadValue { field: "".into(), why: "has no protobuf form".into() });
            }
        }
        Ok(())
    }

    fn fields(
        &mut self,
        message: &'t Message,
        bytes: &[u8],
        place: Place,
        depth: u32,
    ) -> Result<(), WireError> {
        if message.is_in_order() && wire::is_in_order(message, bytes)? {
            return self.stream(message, bytes, place, depth);
        }
        let base = self.spans.len();
        self.spans.resize(base + message.fields.len(), Span::default());
        wire::scan(message, bytes, &mut self.spans[base..])?;
        for (index, field) in message.fields.iter().enumerate() {
            let span = self.spans[base + index];
            if span.count == 0 {
                self.unset(message, index, place, depth)?;
            } else if field.inline {
                let Type::Message(id) = field.ty else { continue };
                let nested = joined(bytes, span, field);
                self.fields(self.table.message(id), &nested, Place::Elsewhere, depth)?;
            } else {
                self.set(field, bytes, span, place, depth)?;
            }
        }
        self.spans.truncate(base);
        Ok(())
    }

    /// Writes fields as they come, which `wire::is_in_order` has found to be the order of the struct.
    fn stream(
        &mut self,
        message: &'t Message,
        bytes: &[u8],
        place: Place,
        depth: u32,
    ) -> Result<(), WireError> {
        let mut reader = Reader::new(bytes);
        let mut next = 0;
        while !reader.done() {
            let start = reader.at;
            let (number, wire) = reader.tag()?;
            let tag = &bytes[start..reader.at];
            let Some(index) = message.by_number(number).map(usize::from) else {
                reader.payload(wire)?;
                continue;
            };
            let field = &message.fields[index];
            for unset in next..index {
                self.unset(message, unset, place, depth)?;
            }
            next = index + 1;
            let payload = reader.payload(wire)?;
            match (field.cardinality, field.inline, payload) {
                (_, true, Payload::Bytes(nested)) => {
                    let Type::Message(id) = field.ty else { continue };
                    self.fields(self.table.message(id), nested, Place::Elsewhere, depth)?;
                }
                (Cardinality::One, _, Payload::Bytes(nested)) => self.one(field, nested, place, depth)?,
                (Cardinality::One, _, payload) => self.number(field, payload),
                (cardinality, ..) => {
                    let mut count = 1;
                    while bytes[reader.at..].starts_with(tag) {
                        reader.tag()?;
                        reader.payload(wire)?;
                        count += 1;
                    }
                    let span = Span { at: start as u32, end: reader.at as u32, count };
                    self.sink.field(field);
                    match cardinality {
                        Cardinality::Map => self.map(field, bytes, span, depth)?,
                        _ => self.list(field, bytes, span, depth)?,
                    }
                }
            }
        }
        for unset in next..message.fields.len() {
            self.unset(message, unset, place, depth)?;
        }
        Ok(())
    }

    /// A field that the bytes do not have, with what stands for it from outside.
    #[inline]
    fn unset(
        &mut self,
        message: &'t Message,
        index: usize,
        place: Place,
        depth: u32,
    ) -> Result<(), WireError> {
        if !message.prints_unset(index) && place != Place::Metadata {
            return Ok(());
        }
        let field = &message.fields[index];
        if self.is_revision(field, place) {
            self.revision(field);
            return Ok(());
        }
        if !field.inline {
            return self.absent(field, depth);
        }
        let Type::Message(id) = field.ty else { return Ok(()) };
        if field.number != 0 {
            return self.fields(self.table.message(id), b"", Place::Elsewhere, depth);
        }
        // TypeMeta has no place in protobuf: the root's comes from outside, and nested objects have none.
        if place == Place::Root {
            for (key, value) in [("kind", self.outside.kind), ("apiVersion", self.outside.api_version)] {
                if !value.is_empty() {
                    self.sink.key(key);
                    self.sink.text(value.as_bytes());
                }
            }
        }
        Ok(())
    }

    fn is_revision(&self, field: &Field, place: Place) -> bool {
        place == Place::Metadata && self.outside.revision.is_some() && &*field.json == "resourceVersion"
    }

    fn revision(&mut self, field: &Field) {
        let revision = self.outside.revision.unwrap_or_default();
        self.sink.field(field);
        self.sink.text(itoa::Buffer::new().format(revision).as_bytes());
    }

    /// A field that the bytes have, wherever in them its occurrences lie.
    fn set(
        &mut self,
        field: &'t Field,
        bytes: &[u8],
        span: Span,
        place: Place,
        depth: u32,
    ) -> Result<(), WireError> {
        match (field.cardinality, field.ty) {
            (Cardinality::List, _) => {
                self.sink.field(field);
                self.list(field, bytes, span, depth)?;
            }
            (Cardinality::Map, _) => {
                self.sink.field(field);
                self.map(field, bytes, span, depth)?;
            }
            (Cardinality::One, Type::Message(_)) => {
                self.one(field, &joined(bytes, span, field), place, depth)?;
            }
            (Cardinality::One, Type::Scalar(_)) => match wire::last(bytes, span, field) {
                Some(Payload::Bytes(text)) => self.one(field, text, place, depth)?,
                Some(payload) => self.number(field, payload),
                None => {}
            },
        }
        Ok(())
    }

    /// One text or message.
    fn one(&mut self, field: &'t Field, bytes: &[u8], place: Place, depth: u32) -> Result<(), WireError> {
        if self.is_revision(field, place) {
            self.revision(field);
            return Ok(());
        }
        match field.ty {
            Type::Scalar(_) if bytes.is_empty() && !field.pointer && field.omit != Omit::Never => {}
            Type::Scalar(scalar) => {
                self.sink.field(field);
                self.scalar(scalar, Payload::Bytes(bytes));
            }
            Type::Message(_) if bytes.is_empty() && !field.pointer && field.omit == Omit::Zero => {}
            Type::Message(id) => {
                self.sink.field(field);
                let metadata = place == Place::Root && &*field.json == "metadata";
                let inside = if metadata { Place::Metadata } else { Place::Elsewhere };
                self.value(id, bytes, inside, depth + 1)?;
            }
        }
        Ok(())
    }

    /// One number or boolean.
    fn number(&mut self, field: &Field, payload: Payload<'_>) {
        let Type::Scalar(scalar) = field.ty else { return };
        if !is_zero(payload) || field.pointer || field.omit == Omit::Never {
            self.sink.field(field);
            self.scalar(scalar, payload);
        }
    }

    fn list(&mut self, field: &'t Field, bytes: &[u8], span: Span, depth: u32) -> Result<(), WireError> {
        self.sink.open_list();
        for payload in Payloads::new(bytes, span, field) {
            self.sink.item();
            self.element(field, Some(payload), depth)?;
        }
        self.sink.close_list();
        Ok(())
    }

    /// A field that the bytes do not have: Go prints its zero value, or nothing.
    fn absent(&mut self, field: &'t Field, depth: u32) -> Result<(), WireError> {
        match zero(self.table, field) {
            Zero::Omitted => {}
            Zero::Null => {
                self.sink.field(field);
                self.sink.null();
            }
            Zero::Scalar(scalar) => {
                self.sink.field(field);
                match scalar {
                    Scalar::String => self.sink.text(b""),
                    Scalar::Bytes => self.sink.null(),
                    Scalar::Bool => self.sink.bool(false),
                    _ => self.sink.int(0),
                }
            }
            Zero::Message(id) => {
                self.sink.field(field);
                self.value(id, b"", Place::Elsewhere, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Map entries in the order of their keys, the last value of a key alone, as Go prints a map.
    fn map(&mut self, field: &'t Field, bytes: &[u8], span: Span, depth: u32) -> Result<(), WireError> {
        let mut entries = Vec::with_capacity(span.count as usize);
        for payload in Payloads::new(bytes, span, field) {
            if let Payload::Bytes(entry) = payload {
                entries.push(wire::map_entry(entry)?);
            }
        }
        // Stable, so the last of equal keys is the last written.
        if !entries.is_sorted_by(|a, b| a.0 < b.0) {
            entries.sort_by(|a, b| a.0.cmp(b.0));
        }
        self.sink.open_object();
        for (i, (key, value)) in entries.iter().enumerate() {
            if entries.get(i + 1).is_some_and(|next| next.0 == *key) {
                continue;
            }
            self.sink.map_key(key);
            self.element(field, *value, depth)?;
        }
        self.sink.close_object();
        Ok(())
    }

    /// An element of a list or map. Absent ones (a map entry without a value) are zero.
    fn element(
        &mut self,
        field: &'t Field,
        payload: Option<Payload<'_>>,
        depth: u32,
    ) -> Result<(), WireError> {
        match (field.ty, payload) {
            (Type::Message(id), Some(Payload::Bytes(bytes))) => {
                self.value(id, bytes, Place::Elsewhere, depth + 1)
            }
            (Type::Message(id), None) => self.value(id, b"", Place::Elsewhere, depth + 1),
            (Type::Message(_), Some(_)) => {
                Err(WireError::WrongWireType { wire: wire::VARINT, field: wire::go_name(&field.json) })
            }
            (Type::Scalar(scalar), Some(payload)) => {
                self.scalar(scalar, payload);
                Ok(())
            }
            (Type::Scalar(scalar), None) => {
                let zero = match wire::wire_type(field.ty) {
                    wire::BYTES => Payload::Bytes(b""),
                    _ => Payload::Varint(0),
                };
                self.scalar(scalar, zero);
                Ok(())
            }
        }
    }

    fn scalar(&mut self, scalar: Scalar, payload: Payload<'_>) {
        match (scalar, payload) {
            (Scalar::Bool, Payload::Varint(v)) => self.sink.bool(v != 0),
            (Scalar::Int32, Payload::Varint(v)) => self.sink.int(i64::from(v as i32)),
            (Scalar::UInt32, Payload::Varint(v)) => self.sink.uint(u64::from(v as u32)),
            (Scalar::UInt64, Payload::Varint(v)) => self.sink.uint(v),
            (_, Payload::Varint(v)) => self.sink.int(v as i64),
            (_, Payload::Fixed64(v)) => self.sink.float(f64::from_bits(v)),
            (_, Payload::Fixed32(v)) => self.sink.float(f64::from(f32::from_bits(v))),
            (Scalar::Bytes, Payload::Bytes(v)) => self.sink.base64(v),
            (_, Payload::Bytes(v)) => self.sink.text(v),
        }
    }

    fn wrapper(&mut self, message: &'t Message, bytes: &[u8], depth: u32) -> Result<(), WireError> {
        let Some(field) = message.fields.first() else {
            self.sink.null();
            return Ok(());
        };
        let mut span = [Span::default()];
        wire::scan(message, bytes, &mut span)?;
        match field.cardinality {
            _ if span[0].count == 0 => self.sink.null(),
            Cardinality::Map => self.map(field, bytes, span[0], depth)?,
            _ => self.list(field, bytes, span[0], depth)?,
        }
        Ok(())
    }

    /// `JSONSchemaPropsOrArray`, `…OrBool`, `…OrStringArray`: the protobuf message has a field for each side.
    fn schema_or(&mut self, message: &'t Message, bytes: &[u8], depth: u32) -> Result<(), WireError> {
        let mut reader = Reader::new(bytes);
        let (mut schema, mut allows, mut items) = (None, false, Vec::new());
        let schema_number = if message.form == Form::SchemaOrBool { 2 } else { 1 };
        while !reader.done() {
            let (number, wire) = reader.tag()?;
            match reader.payload(wire)? {
                Payload::Bytes(nested) if number == schema_number => schema = Some(nested),
                Payload::Varint(v) => allows = v != 0,
                Payload::Bytes(nested) => items.push(nested),
                _ => {}
            }
        }
        let schema_type = message.fields.iter().find_map(|field| match field.ty {
            Type::Message(id) => Some(id),
            Type::Scalar(_) => None,
        });
        match (schema, schema_type) {
            (Some(nested), Some(id)) if message.form == Form::SchemaOrBool || items.is_empty() => {
                return self.value(id, nested, Place::Elsewhere, depth + 1);
            }
            _ => {}
        }
        match message.form {
            Form::SchemaOrBool => self.sink.bool(allows),
            _ if items.is_empty() => self.sink.null(),
            form => {
                self.sink.open_list();
                for item in items {
                    self.sink.item();
                    match (form, schema_type) {
                        (Form::SchemaOrArray, Some(id)) => {
                            self.value(id, item, Place::Elsewhere, depth + 1)?
                        }
                        _ => self.sink.text(item),
                    }
                }
                self.sink.close_list();
            }
        }
        Ok(())
    }
}

/// The bytes of a singular message. Several occurrences merge by standing one after another.
fn joined<'a>(bytes: &'a [u8], span: Span, field: &Field) -> std::borrow::Cow<'a, [u8]> {
    match span.count {
        0 => (&bytes[..0]).into(),
        1 => match wire::last(bytes, span, field) {
            Some(Payload::Bytes(nested)) => nested.into(),
            _ => (&bytes[..0]).into(),
        },
        _ => Payloads::new(bytes, span, field)
            .filter_map(|payload| match payload {
                Payload::Bytes(nested) => Some(nested),
                _ => None,
            })
            .collect::<Vec<_>>()
            .concat()
            .into(),
    }
}

fn is_zero(payload: Payload<'_>) -> bool {
    match payload {
        Payload::Varint(v) | Payload::Fixed64(v) => v == 0,
        Payload::Fixed32(v) => v == 0,
        Payload::Bytes(v) => v.is_empty(),
    }
}

/// The part of a message's name behind the last dot: its Go type.
pub(crate) fn short_name(message: &Message) -> &str {
    message.name.rsplit('.').next().unwrap_or_default()
}

/// What Go's encoder prints for a field that was never set.
pub(crate) enum Zero {
    Omitted,
    Null,
    Scalar(Scalar),
    Message(MessageId),
}

pub(crate) fn zero(table: &Table, field: &Field) -> Zero {
    let nil = |omit| if omit == Omit::Never { Zero::Null } else { Zero::Omitted };
    if field.pointer || field.cardinality != Cardinality::One {
        return nil(field.omit);
    }
    match field.ty {
        Type::Scalar(scalar) if field.omit == Omit::Never => Zero::Scalar(scalar),
        Type::Scalar(_) => Zero::Omitted,
        Type::Message(id) => match table.message(id).form {
            // Wrappers are Go slices, and the schema alternatives are only ever pointed at.
            Form::Wrapper | Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings | Form::Any => {
                nil(field.omit)
            }
            _ if field.omit == Omit::Zero => Zero::Omitted,
            _ => Zero::Message(id),
        },
    }
}
