//! Text to tape, with every strict error and the first value of a wrong type, in Go's words.

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use grammar::quantity::ParseError;
use grammar::time::Time;
use schema::{Cardinality, Field, Form, Message, MessageId, Scalar, Table, Type};

use super::super::lex::Lexer;
use super::super::{JsonError, MAX_STRICT_ERRORS, StrictError};
use super::{Link, NONE, Node, Tape};
use crate::proto::walk::short_name;
use crate::proto::wire::MAX_DEPTH;
use crate::special;

/// One step of the path to the value at hand.
enum Step<'t, 'a> {
    /// The struct that declares the field, and whether that one is inlined into the object at hand.
    Field {
        of: &'t Message,
        name: Cow<'a, str>,
        inlined: bool,
    },
    Key(Cow<'a, str>),
    Index(u32),
}

pub(super) struct Parser<'t, 'a> {
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
    pub(super) fn parse(
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
            Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings => {
                self.schema_or(message, depth)
            }
        }
    }

    fn object(&mut self, message: &'t Message, depth: u32) -> Result<u32, JsonError> {
        let slots = self.open_slots(message);
        let node = self.push(Node::Object(slots));
        self.members(message, slots, depth)?;
        Ok(node)
    }

    /// The members of an object, into its slots.
    fn members(&mut self, message: &'t Message, slots: u32, depth: u32) -> Result<(), JsonError> {
        if self.lexer.open(b'}')? {
            return Ok(());
        }
        // Most text has its fields in struct order, so the next field is a good guess.
        let mut guess = 0;
        loop {
            let key = self.lexer.key()?;
            let guessed = message.fields.get(guess).is_some_and(|f| !f.inline && *f.json == *key);
            if guessed {
                self.member(message, slots, guess, key, false, depth)?;
                guess += 1;
            } else {
                match message.path(&key) {
                    Some([one]) => {
                        guess = usize::from(*one) + 1;
                        self.member(message, slots, usize::from(*one), key, false, depth)?;
                    }
                    Some([through @ .., last]) => {
                        let (inner, inner_slots) = self.through(message, slots, through);
                        self.member(inner, inner_slots, usize::from(*last), key, true, depth)?;
                    }
                    _ => {
                        self.note(StrictError::Unknown(self.path_to(&key)));
                        self.lexer.skip_value(depth + 1)?;
                    }
                }
            }
            if !self.lexer.more(b'}')? {
                return Ok(());
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
        inlined: bool,
        depth: u32,
    ) -> Result<(), JsonError> {
        let slot = slots as usize + index;
        if self.tape.slots[slot] != NONE {
            self.note(StrictError::Duplicate(self.path_to(&key)));
        }
        self.path.push(Step::Field { of: message, name: key, inlined });
        let field = &message.fields[index];
        let before = self.tape.slots[slot];
        let node = match field.cardinality {
            Cardinality::One if before != NONE => self.again(field, before, depth)?,
            Cardinality::One => self.one(field, depth)?,
            _ => self.many(field, depth)?,
        };
        self.path.pop();
        self.tape.slots[slot] = node;
        Ok(())
    }

    /// A field for the second time: Go decodes an object into the one that is there.
    fn again(&mut self, field: &'t Field, before: u32, depth: u32) -> Result<u32, JsonError> {
        if let (Type::Message(id), Node::Object(slots)) = (field.ty, &self.tape.nodes[before as usize])
            && depth < MAX_DEPTH
        {
            let slots = *slots;
            let message = self.table.message(id);
            if message.form == Form::Object && self.lexer.peek()? == b'{' {
                self.members(message, slots, depth + 1)?;
                return Ok(before);
            }
        }
        self.one(field, depth)
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
                    if self.seen_key(&mut keys, last, count, &key) {
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

    /// Whether a map that ends in link `last` has this key already. Few keys are compared one by one; the keys of
    /// larger maps are gathered in `keys`.
    fn seen_key(&self, keys: &mut HashSet<String>, last: u32, count: u32, key: &str) -> bool {
        const FEW: u32 = 16;
        if count < FEW {
            return self.tape.backwards(last).any(|link| link.key == key);
        }
        if keys.is_empty() {
            keys.extend(self.tape.backwards(last).map(|link| link.key.to_string()));
        }
        !keys.insert(key.to_owned())
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
            return self.wrong_type(depth, "string");
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
                        self.mistype(self.type_error(&format!("number {}", number.0), "int32"));
                        Node::Null
                    }
                }
            }
            _ => return self.wrong_type(depth, "int32"),
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
        let mut fields = String::new();
        for step in &self.path {
            let Step::Field { of, name, inlined } = step else { continue };
            for part in [inlined.then(|| short_name(of)), Some(&**name)].into_iter().flatten() {
                if !fields.is_empty() {
                    fields.push('.');
                }
                fields.push_str(part);
            }
        }
        let inside = self.path.iter().rev().find_map(|step| match step {
            Step::Field { of, .. } => Some(short_name(of)),
            _ => None,
        });
        JsonError::Type(match inside {
            Some(inside) => format!(
                "json: cannot unmarshal {found} into Go struct field {inside}.{fields} of type {wanted}"
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
