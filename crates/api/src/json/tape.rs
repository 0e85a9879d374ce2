//! Typed JSON: text to a tape, and from the tape to a tree or to protobuf.
//!
//! The tape holds each object as one slot per field of its message, so both emitters can go through the fields in
//! the order that they need, whatever order the text had.

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use grammar::quantity::ParseError;
use grammar::time::Time;
use schema::{Cardinality, Field, Form, Message, MessageId, Omit, Scalar, Table, Type};
use serde_json::{Map, Number, Value};

use super::encode::compact;
use super::lex::Lexer;
use super::{Decoded, JsonError, MAX_STRICT_ERRORS, StrictError, untyped, write};
use crate::proto::walk::{Zero, short_name, zero};
use crate::proto::wire::{MAX_DEPTH, Reverse, VARINT, wire_type};
use crate::special;

/// Decodes the JSON of a built-in message into a tree in normal form.
pub fn decode(table: &Table, message: MessageId, bytes: &[u8]) -> Result<Decoded<Value>, JsonError> {
    let text = String::from_utf8_lossy(bytes);
    let (tape, root, strict) = Parser::parse(table, message, &text)?;
    let value = TreeOf { table, tape: &tape }.message(message, root);
    Ok(Decoded { value, strict })
}

/// Decodes the JSON of a built-in message straight into protobuf, without its TypeMeta.
pub fn to_proto(table: &Table, message: MessageId, bytes: &[u8]) -> Result<Decoded<Vec<u8>>, JsonError> {
    let text = String::from_utf8_lossy(bytes);
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
    Time { seconds: i64, nanos: i32 },
    Raw(&'a str),
    /// The slots of an object.
    Object(u32),
    /// The last link, and how many there are.
    List(u32, u32),
    Map(u32, u32),
}

/// One step of the path to the value at hand.
enum Step<'t, 'a> {
    Field { of: &'t Message, name: Cow<'a, str> },
    Key(Cow<'a, str>),
    Index(u32),
}

struct Parser<'t, 'a> {
    table: &'t Table,
    lexer: Lexer<'a>,
    tape: Tape<'a>,
    path: Vec<Step<'t, 'a>>,
    strict: Vec<StrictError>,
    seen: HashSet<StrictError>,
    /// The first value of a wrong type. The rest is still read, because a syntax error would count for more.
    mistyped: Option<JsonError>,
}

impl<'t, 'a> Parser<'t, 'a> {
    fn parse(
        table: &'t Table,
        message: MessageId,
        text: &'a str,
    ) -> Result<(Tape<'a>, u32, Vec<StrictError>), JsonError> {
        let mut parser = Parser {
            table,
            lexer: Lexer::new(text),
            tape: Tape {
                nodes: Vec::with_capacity(text.len() / 16 + 8),
                slots: Vec::with_capacity(256),
                links: Vec::with_capacity(64),
            },
            path: Vec::with_capacity(16),
            strict: Vec::new(),
            seen: HashSet::new(),
            mistyped: None,
        };
        let root = parser.message(message, 0)?;
        parser.lexer.finish()?;
        match parser.mistyped {
            Some(error) => Err(error),
            None => Ok((parser.tape, root, parser.strict)),
        }
    }

    fn push(&mut self, node: Node<'a>) -> u32 {
        self.tape.nodes.push(node);
        (self.tape.nodes.len() - 1) as u32
    }

    fn message(&mut self, id: MessageId, depth: u32) -> Result<u32, JsonError> {
        if depth > MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        let message = self.table.message(id);
        let first = self.lexer.peek()?;
        if first == b'n' && message.form != Form::Raw {
            self.lexer.null()?;
            return Ok(self.push(Node::Null));
        }
        match message.form {
            Form::Object if first == b'{' => self.object(message, depth),
            Form::Object | Form::Any => self.wrong_type(depth, &go_type(message)),
            Form::Wrapper => match message.fields.first() {
                Some(field) => self.many(field, depth),
                None => self.wrong_type(depth, &go_type(message)),
            },
            Form::Raw => {
                let text = self.lexer.skip_value(depth)?;
                let node = if text == "null" { Node::Null } else { Node::Raw(text) };
                Ok(self.push(node))
            }
            Form::Time | Form::MicroTime => {
                let form = message.form;
                self.text_value(depth, |text| {
                    let time = match form {
                        Form::Time => Time::parse(text),
                        _ => Time::parse_micro(text),
                    }
                    .map_err(|e| e.to_string())?;
                    let node = Node::Time { seconds: time.seconds, nanos: time.nanos as i32 };
                    Ok(if time.is_zero() { Node::Null } else { node })
                })
            }
            Form::Duration => self.text_value(depth, |text| {
                grammar::time::parse_duration(text).map(Node::Int).map_err(|e| e.to_string())
            }),
            Form::Quantity => self.quantity(depth),
            Form::IntOrString => self.int_or_string(depth),
            Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings => self.schema_or(message, depth),
        }
    }

    fn object(&mut self, message: &'t Message, depth: u32) -> Result<u32, JsonError> {
        let slots = self.open_slots(message);
        let node = self.push(Node::Object(slots));
        if self.lexer.open(b'}')? {
            return Ok(node);
        }
        // Most text has its fields in struct order, so the next field is a good guess.
        let mut guess = 0;
        loop {
            let key = self.lexer.key()?;
            let guessed = message.fields.get(guess).is_some_and(|f| !f.inline && *f.json == *key);
            if guessed {
                self.member(message, slots, guess, key, depth)?;
                guess += 1;
            } else {
                match message.path(&key) {
                    Some([one]) => {
                        guess = usize::from(*one) + 1;
                        self.member(message, slots, usize::from(*one), key, depth)?;
                    }
                    Some([through @ .., last]) => {
                        let (inner, inner_slots) = self.through(message, slots, through);
                        self.member(inner, inner_slots, usize::from(*last), key, depth)?;
                    }
                    _ => {
                        self.note(StrictError::Unknown(self.path_to(&key)));
                        self.lexer.skip_value(depth + 1)?;
                    }
                }
            }
            if !self.lexer.more(b'}')? {
                return Ok(node);
            }
        }
    }

    fn open_slots(&mut self, message: &Message) -> u32 {
        let start = self.tape.slots.len();
        self.tape.slots.resize(start + message.fields.len(), NONE);
        start as u32
    }

    /// The inlined struct at the end of `path`, and its slots.
    fn through(&mut self, outer: &'t Message, slots: u32, path: &[u16]) -> (&'t Message, u32) {
        let (mut message, mut slots) = (outer, slots);
        for &index in path {
            let Type::Message(id) = message.fields[usize::from(index)].ty else {
                unreachable!("only structs are inlined")
            };
            let at = slots as usize + usize::from(index);
            message = self.table.message(id);
            if self.tape.slots[at] == NONE {
                let inner = self.open_slots(message);
                let node = self.push(Node::Object(inner));
                self.tape.slots[at] = node;
            }
            let Node::Object(inner) = self.tape.nodes[self.tape.slots[at] as usize] else {
                unreachable!("an inlined slot holds an object")
            };
            slots = inner;
        }
        (message, slots)
    }

    fn member(
        &mut self,
        message: &'t Message,
        slots: u32,
        index: usize,
        key: Cow<'a, str>,
        depth: u32,
    ) -> Result<(), JsonError> {
        let slot = slots as usize + index;
        if self.tape.slots[slot] != NONE {
            self.note(StrictError::Duplicate(self.path_to(&key)));
        }
        self.path.push(Step::Field { of: message, name: key });
        let field = &message.fields[index];
        let node = match field.cardinality {
            Cardinality::One => self.one(field, depth)?,
            _ => self.many(field, depth)?,
        };
        self.path.pop();
        self.tape.slots[slot] = node;
        Ok(())
    }

    fn one(&mut self, field: &'t Field, depth: u32) -> Result<u32, JsonError> {
        match field.ty {
            Type::Message(id) => self.message(id, depth + 1),
            Type::Scalar(scalar) => self.scalar(scalar, depth),
        }
    }

    fn many(&mut self, field: &'t Field, depth: u32) -> Result<u32, JsonError> {
        let list = field.cardinality == Cardinality::List;
        let (open, close) = if list { (b'[', b']') } else { (b'{', b'}') };
        match self.lexer.peek()? {
            b'n' => {
                self.lexer.null()?;
                return Ok(self.push(Node::Null));
            }
            b if b == open => {}
            _ => return self.wrong_type(depth, &self.go_field_type(field)),
        }
        let (mut last, mut count) = (NONE, 0);
        if !self.lexer.open(close)? {
            let mut keys: HashSet<String> = HashSet::new();
            loop {
                let key = if list {
                    self.path.push(Step::Index(count));
                    Cow::Borrowed("")
                } else {
                    let key = self.lexer.key()?;
                    if !keys.insert(key.clone().into_owned()) {
                        self.note(StrictError::Duplicate(self.path_to(&key)));
                    }
                    self.path.push(Step::Key(key.clone()));
                    key
                };
                let node = self.one(field, depth)?;
                self.path.pop();
                self.tape.links.push(Link { key, node, before: last });
                last = (self.tape.links.len() - 1) as u32;
                count += 1;
                if !self.lexer.more(close)? {
                    break;
                }
            }
        }
        Ok(self.push(if list { Node::List(last, count) } else { Node::Map(last, count) }))
    }

    fn scalar(&mut self, scalar: Scalar, depth: u32) -> Result<u32, JsonError> {
        let first = self.lexer.peek()?;
        let node = match (scalar, first) {
            (_, b'n') => {
                self.lexer.null()?;
                Node::Null
            }
            (Scalar::String, b'"') => Node::Text(self.lexer.string()?),
            (Scalar::Bool, b't' | b'f') => Node::Bool(self.lexer.boolean()?),
            (Scalar::Bytes, b'"') => {
                let text = self.lexer.string()?;
                match STANDARD.decode(text.as_bytes()) {
                    Ok(blob) => Node::Blob(blob),
                    Err(_) => match decode_wrapped(&text) {
                        Ok(blob) => Node::Blob(blob),
                        Err(at) => {
                            self.mistype(JsonError::Value(format!("illegal base64 data at input byte {at}")));
                            Node::Null
                        }
                    },
                }
            }
            (Scalar::Bool | Scalar::String | Scalar::Bytes, _) => {
                return self.wrong_type(depth, go_scalar(scalar));
            }
            (_, b'-' | b'0'..=b'9') => {
                let number = self.lexer.number()?;
                let node = match scalar {
                    Scalar::Int32 => number.0.parse::<i32>().ok().map(|v| Node::Int(i64::from(v))),
                    Scalar::UInt32 => number.0.parse::<u32>().ok().map(|v| Node::UInt(u64::from(v))),
                    Scalar::UInt64 => number.as_u64().map(Node::UInt),
                    Scalar::Double | Scalar::Number => number.as_f64().map(Node::Float),
                    _ => number.as_i64().map(Node::Int),
                };
                match node {
                    Some(node) => node,
                    None => {
                        self.mistype(self.type_error(&format!("number {}", number.0), go_scalar(scalar)));
                        Node::Null
                    }
                }
            }
            _ => return self.wrong_type(depth, go_scalar(scalar)),
        };
        Ok(self.push(node))
    }

    /// A string that the type's own parser reads.
    fn text_value(
        &mut self,
        depth: u32,
        parse: impl FnOnce(&str) -> Result<Node<'a>, String>,
    ) -> Result<u32, JsonError> {
        if self.lexer.peek()? != b'"' {
            return self.wrong_own_type(depth, "string");
        }
        let text = self.lexer.string()?;
        let node = match parse(&text) {
            Ok(node) => node,
            Err(why) => {
                self.mistype(JsonError::Value(why));
                Node::Null
            }
        };
        Ok(self.push(node))
    }

    fn quantity(&mut self, depth: u32) -> Result<u32, JsonError> {
        let text = match self.lexer.peek()? {
            b'"' => self.lexer.string()?,
            _ => Cow::Borrowed(self.lexer.skip_value(depth)?),
        };
        let node = match special::canonical_quantity(text.trim().as_bytes()) {
            Ok(_) if text.trim().is_empty() => Err(ParseError::Format.to_string()),
            Ok(canonical) => Ok(Node::Text(Cow::Owned(canonical.into_owned()))),
            Err(why) => Err(why),
        };
        let node = node.unwrap_or_else(|why| {
            self.mistype(JsonError::Value(why));
            Node::Null
        });
        Ok(self.push(node))
    }

    fn int_or_string(&mut self, depth: u32) -> Result<u32, JsonError> {
        let node = match self.lexer.peek()? {
            b'"' => Node::Text(self.lexer.string()?),
            b'-' | b'0'..=b'9' => {
                let number = self.lexer.number()?;
                match number.0.parse::<i32>() {
                    Ok(value) => Node::Int(i64::from(value)),
                    Err(_) => {
                        let text = format!("json: cannot unmarshal number {} into Go value of type int32", number.0);
                        self.mistype(JsonError::Type(text));
                        Node::Null
                    }
                }
            }
            _ => return self.wrong_own_type(depth, "int32"),
        };
        Ok(self.push(node))
    }

    /// A schema, or what may stand in its place.
    fn schema_or(&mut self, message: &'t Message, depth: u32) -> Result<u32, JsonError> {
        let schema = message.fields.iter().find(|f| matches!(f.ty, Type::Message(_)));
        let items = message.fields.iter().find(|f| f.cardinality == Cardinality::List);
        match (self.lexer.peek()?, schema, items) {
            (b'{', Some(Field { ty: Type::Message(id), .. }), _) => self.message(*id, depth + 1),
            (b'[', _, Some(items)) => self.many(items, depth + 1),
            (b't' | b'f', _, _) if message.form == Form::SchemaOrBool => {
                let value = self.lexer.boolean()?;
                Ok(self.push(Node::Bool(value)))
            }
            _ => {
                self.lexer.skip_value(depth)?;
                let what = match message.form {
                    Form::SchemaOrBool => "boolean JSON schema expected",
                    _ => "JSON schema or array expected",
                };
                self.mistype(JsonError::Value(what.to_owned()));
                Ok(self.push(Node::Null))
            }
        }
    }

    /// Passes over a value that does not fit its Go struct field.
    fn wrong_type(&mut self, depth: u32, wanted: &str) -> Result<u32, JsonError> {
        let found = self.found(depth)?;
        self.mistype(self.type_error(found, wanted));
        Ok(self.push(Node::Null))
    }

    /// The same for a type with its own parser, which does not know its field.
    fn wrong_own_type(&mut self, depth: u32, wanted: &str) -> Result<u32, JsonError> {
        let found = self.found(depth)?;
        self.mistype(JsonError::Type(format!("json: cannot unmarshal {found} into Go value of type {wanted}")));
        Ok(self.push(Node::Null))
    }

    fn found(&mut self, depth: u32) -> Result<&'static str, JsonError> {
        let found = match self.lexer.peek()? {
            b'"' => "string",
            b'{' => "object",
            b'[' => "array",
            b't' | b'f' => "bool",
            _ => "number",
        };
        self.lexer.skip_value(depth + 1)?;
        Ok(found)
    }

    fn mistype(&mut self, error: JsonError) {
        self.mistyped.get_or_insert(error);
    }

    fn type_error(&self, found: &str, wanted: &str) -> JsonError {
        let fields: Vec<&str> = self
            .path
            .iter()
            .filter_map(|step| match step {
                Step::Field { name, .. } => Some(&**name),
                _ => None,
            })
            .collect();
        let inside = self.path.iter().rev().find_map(|step| match step {
            Step::Field { of, .. } => Some(short_name(of)),
            _ => None,
        });
        JsonError::Type(match inside {
            Some(inside) => format!(
                "json: cannot unmarshal {found} into Go struct field {inside}.{} of type {wanted}",
                fields.join(".")
            ),
            None => format!("json: cannot unmarshal {found} into Go value of type {wanted}"),
        })
    }

    fn note(&mut self, error: StrictError) {
        if self.strict.len() < MAX_STRICT_ERRORS && self.seen.insert(error.clone()) {
            self.strict.push(error);
        }
    }

    fn path_to(&self, key: &str) -> String {
        let mut text = String::new();
        for step in &self.path {
            match step {
                Step::Field { name, .. } | Step::Key(name) => {
                    if !text.is_empty() {
                        text.push('.');
                    }
                    text.push_str(name);
                }
                Step::Index(i) => text.push_str(&format!("[{i}]")),
            }
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(key);
        text
    }

    fn go_field_type(&self, field: &Field) -> String {
        let element = match field.ty {
            Type::Scalar(scalar) => go_scalar(scalar).to_owned(),
            Type::Message(id) => go_type(self.table.message(id)),
        };
        match field.cardinality {
            Cardinality::One => element,
            Cardinality::List => format!("[]{element}"),
            Cardinality::Map => format!("map[string]{element}"),
        }
    }
}

/// Go's decoder also takes base64 that is broken into lines.
fn decode_wrapped(text: &str) -> Result<Vec<u8>, usize> {
    let joined: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    STANDARD.decode(joined.as_bytes()).map_err(|error| match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
        base64::DecodeError::InvalidLength(at) => at / 4 * 4,
        base64::DecodeError::InvalidPadding => joined.len() / 4 * 4,
    })
}

fn go_scalar(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Bool => "bool",
        Scalar::Int32 => "int32",
        Scalar::Int64 => "int64",
        Scalar::UInt32 => "uint32",
        Scalar::UInt64 => "uint64",
        Scalar::Double | Scalar::Number => "float64",
        Scalar::String => "string",
        Scalar::Bytes => "[]uint8",
    }
}

/// `v1.PodSpec`: the last two parts of the message's name.
fn go_type(message: &Message) -> String {
    let mut parts = message.name.rsplit('.');
    let (name, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{package}.{name}")
}

/// The tape as a tree in normal form.
struct TreeOf<'t, 'p, 'a> {
    table: &'t Table,
    tape: &'p Tape<'a>,
}

impl TreeOf<'_, '_, '_> {
    fn message(&self, id: MessageId, node: u32) -> Value {
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
                    text.as_bytes().map_or(Value::Null, |b| Value::String(String::from_utf8_lossy(b).into_owned()))
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

impl<'a> Tape<'a> {
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

/// The tape as protobuf, written from the end.
struct ProtoOf<'t, 'p, 'a> {
    table: &'t Table,
    tape: &'p Tape<'a>,
}

impl ProtoOf<'_, '_, '_> {
    fn fields(&self, out: &mut Reverse, message: &Message, slots: Option<u32>) {
        for index in message.wire_indices().rev() {
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
                crate::proto::wire::FIXED64 => {
                    let value = if let Node::Float(f) = node { *f } else { 0.0 };
                    out.bytes(&value.to_bits().to_le_bytes());
                    out.tag(number, crate::proto::wire::FIXED64);
                }
                _ => {
                    debug_assert!(matches!(scalar, Scalar::String | Scalar::Bytes));
                    out.field(number, b"");
                }
            },
        }
    }

    /// The inside of a message.
    fn payload(&self, out: &mut Reverse, id: MessageId, node: &Node<'_>) {
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
            Form::Duration => special::put_varint(out, if let Node::Int(nanos) = node { *nanos as u64 } else { 0 }),
            Form::Quantity => out.field(1, if let Node::Text(text) = node { text.as_bytes() } else { b"0" }),
            Form::IntOrString => match node {
                Node::Text(text) => special::put_int_or_string(out, 1, 0, text.as_bytes()),
                Node::Int(value) => special::put_int_or_string(out, 0, *value as i32, b""),
                _ => special::put_int_or_string(out, 0, 0, b""),
            },
            Form::Raw => {
                if let Node::Raw(text) = node {
                    let mut dense = Vec::with_capacity(text.len());
                    compact(&mut dense, text.as_bytes()).expect("the lexer has read this text");
                    out.field(1, &dense);
                }
            }
            Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings => self.schema_or(out, message, node),
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
