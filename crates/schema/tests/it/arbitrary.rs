//! Whatever a schema or a value says, nothing panics, and what is done once is not undone or redone by doing it again.

use std::time::Duration;

use bolero::check;
use grammar::field::Path;
use schema::structural::{
    Definition, Options, Schema, Validator, compile_pattern, table, validate, validate_lists,
};
use schema::{Scope, Table};
use serde_json::{Map, Value, json};

#[test]
fn any_schema_takes_any_value() {
    check!().with_test_time(budget()).with_type::<Vec<u8>>().for_each(|bytes| {
        let mut source = Source { bytes, at: 0 };
        let written = source.schema(0);
        let value = source.value(0);
        let Ok(schema) = Schema::read(&written) else { return };
        let faults = validate(&Path::new("schema"), &schema, &Options::default());
        let table = widgets(&schema);
        let id = table.kind("example.com", "v1", "Widget").expect("the table has its kind");

        let validator = Validator::new(&schema);
        let errors = validator.validate(&Path::nil(), &value);
        let forgiven = validator.validate_update(&Path::nil(), &value, &value);
        assert!(forgiven.len() <= errors.len(), "an update is judged no more harshly than a creation");
        validator.validate_update(&Path::nil(), &value, &json!({}));
        validate_lists(&Path::nil(), &schema, &value);

        let mut pruned = value.clone();
        schema::prune(&table, id, &mut pruned);
        let once = pruned.clone();
        let again = schema::prune(&table, id, &mut pruned);
        assert!(again.is_empty() && pruned == once, "pruned twice: {again:?} of {value} by {written}");

        schema::drop_nulls(&table, id, &mut pruned);
        schema::default(&table, id, &mut pruned);
        let once = pruned.clone();
        schema::default(&table, id, &mut pruned);
        assert_eq!(pruned, once, "defaulted twice: {value} by {written}");
        drop(faults);
    });
}

#[test]
fn any_json_is_read_or_refused_as_a_schema() {
    check!().with_test_time(budget()).with_type::<Vec<u8>>().for_each(|bytes| {
        if let Ok(schema) = Schema::read(&Source { bytes, at: 0 }.value(0)) {
            validate(&Path::new("schema"), &schema, &Options::default());
            widgets(&schema);
        }
    });
}

#[test]
fn any_text_is_compiled_or_refused_as_a_pattern() {
    check!().with_test_time(budget()).with_type::<Vec<u8>>().for_each(|bytes| {
        // Bytes choose among what patterns are made of; plain random text would nearly never open a class.
        const PARTS: [&str; 40] = [
            "a",
            "b",
            "é",
            "(",
            ")",
            "(?",
            "(?:",
            "(?P<n>",
            "(?i)",
            "[",
            "]",
            "[^",
            "[:alpha:]",
            "-",
            "|",
            "*",
            "+",
            "?",
            "{",
            "}",
            "{2}",
            "{2,}",
            "{1,3}",
            "\\",
            "\\d",
            "\\W",
            "\\pL",
            "\\p{Lu}",
            "\\x41",
            "\\x{1F}",
            "\\Q",
            "\\E",
            "\\b",
            "^",
            "$",
            ".",
            "&&",
            "~~",
            "\\<",
            "0",
        ];
        let text: String = bytes.iter().take(24).map(|&b| PARTS[b as usize % PARTS.len()]).collect();
        if let Err(reason) = compile_pattern(&text) {
            assert!(reason.starts_with("error parsing regexp: "), "{reason}");
        }
        let _ = compile_pattern(&String::from_utf8_lossy(bytes));
    });
}

/// A second a test, times `BOGA_SEEDS`.
fn budget() -> Duration {
    let times = std::env::var("BOGA_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    Duration::from_secs(times)
}

fn widgets(schema: &Schema) -> Table {
    let definition = Definition {
        group: "example.com",
        version: "v1",
        kind: "Widget",
        list_kind: "WidgetList",
        plural: "widgets",
        scope: Scope::Cluster,
        has_status: false,
        has_scale: false,
    };
    table(&definition, schema)
}

/// Turns bytes into schemas and values over a few names, so that the two meet.
struct Source<'a> {
    bytes: &'a [u8],
    at: usize,
}

const DEEPEST: usize = 5;
const NAMES: [&str; 8] = ["a", "b", "c", "metadata", "kind", "apiVersion", "spec", "x.y"];

impl Source<'_> {
    fn byte(&mut self) -> usize {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.byte() % from.len()]
    }

    fn schema(&mut self, depth: usize) -> Value {
        let mut map = Map::new();
        if let kind @ ("string" | "integer" | "number" | "boolean" | "array" | "object") =
            self.pick(&["object", "object", "array", "string", "integer", "number", "boolean", ""])
        {
            map.insert("type".into(), kind.into());
        }
        if depth >= DEEPEST {
            return Value::Object(map);
        }
        for _ in 0..self.byte() % 5 {
            let (keyword, value) = match self.byte() % 16 {
                0..=3 => ("properties", {
                    let names = self.byte() % 4;
                    Value::Object(
                        (0..names).map(|_| (self.pick(&NAMES).into(), self.schema(depth + 1))).collect(),
                    )
                }),
                4 => (
                    "additionalProperties",
                    match self.byte() % 3 {
                        0 => false.into(),
                        1 => true.into(),
                        _ => self.schema(depth + 1),
                    },
                ),
                5 | 6 => ("items", self.schema(depth + 1)),
                7 => ("default", self.value(depth + 1)),
                8 => ("nullable", true.into()),
                9 => (
                    self.pick(&["anyOf", "allOf", "oneOf"]),
                    json!([self.schema(depth + 1), self.schema(depth + 1)]),
                ),
                10 => ("not", self.schema(depth + 1)),
                11 => ("x-kubernetes-preserve-unknown-fields", true.into()),
                12 => (
                    self.pick(&["x-kubernetes-embedded-resource", "x-kubernetes-int-or-string"]),
                    true.into(),
                ),
                13 => ("x-kubernetes-list-type", self.pick(&["set", "map", "atomic"]).into()),
                14 => ("x-kubernetes-list-map-keys", json!([self.pick(&NAMES)])),
                _ => self.limit(),
            };
            map.insert(keyword.into(), value);
        }
        Value::Object(map)
    }

    fn limit(&mut self) -> (&'static str, Value) {
        let keyword = self.pick(&[
            "minimum",
            "maximum",
            "multipleOf",
            "minLength",
            "maxItems",
            "maxProperties",
            "enum",
            "required",
            "format",
            "pattern",
        ]);
        let value = match keyword {
            "enum" => json!([self.value(DEEPEST), self.value(DEEPEST)]),
            "required" => json!([self.pick(&NAMES)]),
            "format" => self.pick(&["date", "ipv4", "duration", "uri", "email", "int32", "float"]).into(),
            "pattern" => self.pick(&["^a", "[", "\\d+", "(a|b)*"]).into(),
            "minimum" | "maximum" | "multipleOf" => json!(self.pick(&[0.0, 1.0, 0.5, -3.0, 1e19, -1e300])),
            _ => json!(self.pick(&[0, 1, 2, -1, i64::MAX])),
        };
        (keyword, value)
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.byte() % if depth >= DEEPEST { 8 } else { 14 } {
            0 => Value::Null,
            1 => true.into(),
            2 => json!(self.pick(&[0, 1, -1, i64::MAX, i64::MIN])),
            3 => json!(self.pick(&[0.5, 1.0, -1e300, 1e19])),
            4 => json!(u64::MAX),
            5 => "".into(),
            6 => self.pick(&["a", "aé", "2020-01-01", "1.2.3.4", "10s"]).into(),
            7 => json!({}),
            8..=9 => (0..self.byte() % 4).map(|_| self.value(depth + 1)).collect(),
            _ => {
                let names = self.byte() % 4;
                Value::Object((0..names).map(|_| (self.pick(&NAMES).into(), self.value(depth + 1))).collect())
            }
        }
    }
}
