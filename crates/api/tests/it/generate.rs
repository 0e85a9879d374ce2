//! Random objects of any message, in normal form.

use base::random::{Random, SeededRandom};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schema::{Cardinality, Field, Form, MessageId, Omit, Scalar, Table, Type};
use serde_json::{Map, Number, Value, json};

/// Nesting stops here, so that recursive schemas end.
const DEPTH: u32 = 9;

/// Beyond this many messages, further ones are left out: a schema of schemas branches tenfold at each level.
const BUDGET: u32 = 1000;

pub(crate) struct Generator<'t> {
    pub table: &'t Table,
    pub random: SeededRandom,
    /// One in how many optional fields is left out; 0 fills all.
    pub sparse: u64,
    /// Messages made so far.
    pub made: u32,
}

impl Generator<'_> {
    /// Any tree of the message; decoding it brings it into normal form.
    pub(crate) fn message(&mut self, id: MessageId, depth: u32) -> Value {
        self.made += 1;
        let message = self.table.message(id);
        match message.form {
            Form::Object => {
                let mut map = Map::new();
                self.fields(id, depth, &mut map);
                Value::Object(map)
            }
            Form::Wrapper => message.fields.first().map_or(Value::Null, |f| self.many(f, depth)),
            Form::Time => self.time(),
            Form::MicroTime => {
                let text = self.time().as_str().unwrap().replace('Z', ".123456Z");
                Value::String(text)
            }
            Form::Duration => {
                let text = ["0s", "1h2m3s", "1.5s", "-3ms", "100h0m0s"][self.random.below(5) as usize];
                json!(text)
            }
            Form::Quantity => json!(
                ["0", "100m", "1536Mi", "12k", "5Gi", "1", "2500m", "-7"][self.random.below(8) as usize]
            ),
            Form::IntOrString => {
                if self.random.below(2) == 0 {
                    json!(self.random.next_u64() as i32)
                } else {
                    self.text()
                }
            }
            Form::Raw => json!({"list": [1, 2.5, null, true], "text": self.text(), "nested": {"a": {}}}),
            Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings => {
                let schema = message.fields.iter().find_map(|f| match f.ty {
                    Type::Message(id) => Some(id),
                    Type::Scalar(_) => None,
                });
                match (message.form, self.random.below(2)) {
                    (Form::SchemaOrBool, 0) => json!(self.random.below(2) == 0),
                    (Form::SchemaOrStrings, 0) => json!(["a", "b"]),
                    (Form::SchemaOrArray, 0) => json!([{}, {"type": "string"}]),
                    _ => schema.map_or(Value::Null, |id| self.message(id, depth + 1)),
                }
            }
            Form::Any => Value::Null,
        }
    }

    fn fields(&mut self, id: MessageId, depth: u32, map: &mut Map<String, Value>) {
        let table = self.table;
        for field in &table.message(id).fields {
            if field.inline {
                if let Type::Message(inner) = field.ty
                    && field.number != 0
                {
                    self.fields(inner, depth, map);
                }
                continue;
            }
            // What protobuf cannot carry does not survive it, and structs cannot do without what is required.
            let optional = !field.required
                && (field.pointer || field.cardinality != Cardinality::One || field.omit == Omit::Empty);
            let skip = optional && self.sparse > 0 && self.random.below(self.sparse) == 0;
            let deep = (depth >= DEPTH || self.made > BUDGET) && matches!(field.ty, Type::Message(_));
            if field.number == 0 || skip || deep {
                continue;
            }
            let value = match field.cardinality {
                Cardinality::One => self.one(field.ty, depth),
                _ => self.many(field, depth),
            };
            map.insert(field.json.to_string(), value);
        }
    }

    fn many(&mut self, field: &Field, depth: u32) -> Value {
        let count = 1 + self.random.below(2);
        match field.cardinality {
            Cardinality::Map => {
                (0..count).map(|i| (format!("key-{i}/é"), self.one(field.ty, depth))).collect()
            }
            _ => (0..count).map(|_| self.one(field.ty, depth)).collect(),
        }
    }

    fn one(&mut self, ty: Type, depth: u32) -> Value {
        match ty {
            Type::Message(id) => self.message(id, depth + 1),
            Type::Scalar(scalar) => match scalar {
                Scalar::Bool => json!(self.random.below(2) == 0),
                Scalar::Int32 => json!(self.random.next_u64() as i32),
                Scalar::Int64 => json!(self.random.next_u64() as i64),
                Scalar::UInt32 => json!(self.random.next_u64() as u32),
                Scalar::UInt64 => json!(self.random.next_u64()),
                Scalar::Double | Scalar::Number => Number::from_f64(0.5 + self.random.below(9) as f64).into(),
                Scalar::Bytes => json!(STANDARD.encode(self.random.next_u64().to_le_bytes())),
                Scalar::String => self.text(),
            },
        }
    }

    fn text(&mut self) -> Value {
        let texts =
            ["web", "", "a \"quoted\" <tag> & more", "tab\there", "ünï©ødé \u{2028}", "\u{1}\u{7f}", "x/y.z"];
        json!(texts[self.random.below(texts.len() as u64) as usize])
    }

    fn time(&mut self) -> Value {
        let day = 1 + self.random.below(28);
        let second = self.random.below(60);
        json!(format!(
            "20{:02}-{:02}-{day:02}T01:02:{second:02}Z",
            self.random.below(100),
            1 + self.random.below(12)
        ))
    }
}
