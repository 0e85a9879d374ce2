//! Server-side apply and update tracking, against recorded sequences of writes.

use std::collections::HashMap;
use std::sync::LazyLock;

use jiff::Timestamp;
use merge::apply::{Convert, ConvertError, Error, FieldManager};
use merge::fieldset::{Filter, Path};
use merge::typed::Typing;
use merge::value::equal;
use schema::Table;
use schema::structural::{self, Definition, Schema};
use serde_json::{Map, Value, json};

use crate::recorded::check;

/// The tables of the recorded custom kind, by version.
static WIDGETS: LazyLock<HashMap<String, Table>> = LazyLock::new(|| {
    let schemas: Map<String, Value> =
        serde_json::from_str(include_str!("../data/widget.json")).expect("schemas are JSON");
    let lower = |(version, schema): (&String, &Value)| {
        let definition = Definition {
            group: "example.com",
            version,
            kind: "Widget",
            list_kind: "WidgetList",
            plural: "widgets",
            scope: schema::Scope::Namespaced,
            has_status: false,
            has_scale: false,
        };
        let schema = Schema::read(schema).expect("the schema is structural");
        (version.clone(), structural::table(&definition, &schema))
    };
    schemas.iter().map(lower).collect()
});

/// The kind of one recorded sequence, with the conversion that the recording used: version 1 has `size` and
/// `users` where version 2 has `count` and `owners`.
struct Kind {
    version: String,
    kind: String,
    typing: String,
}

impl Convert for Kind {
    fn typing(&self, version: &str) -> Option<Typing<'_>> {
        if self.typing == "builtin" {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            let table = schema::builtin();
            return Some(Typing::Message(table, table.kind(group, version, &self.kind)?));
        }
        let version = version.strip_prefix("example.com/")?;
        if !matches!(version, "v1" | "v2") {
            return None;
        }
        if self.typing == "deduced" {
            return Some(Typing::Deduced);
        }
        let table = &WIDGETS[version];
        Some(Typing::Message(table, table.kind("example.com", version, "Widget")?))
    }

    fn convert(&self, object: &Value, version: &str) -> Result<Value, ConvertError> {
        if self.typing(version).is_none() {
            return Err(ConvertError::UnknownVersion(version.to_owned()));
        }
        let mut object = object.clone();
        if let Some(Value::Object(spec)) = object.get_mut("spec") {
            for (v1, v2) in [("size", "count"), ("users", "owners")] {
                let (from, to) = if version.ends_with("v1") { (v2, v1) } else { (v1, v2) };
                if let Some(value) = spec.remove(from) {
                    spec.insert(to.to_owned(), value);
                }
            }
        }
        object["apiVersion"] = Value::from(version);
        Ok(object)
    }
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

#[test]
fn writes_are_applied_and_tracked_as_upstream() {
    check("apply.json", include_str!("../data/apply.json"), 240, |case| {
        let kind = Kind {
            version: text(case, "version").to_owned(),
            kind: text(case, "kind").to_owned(),
            typing: text(case, "typing").to_owned(),
        };
        replay(&kind, case)
    });
}

/// Runs each write on the object that upstream left, so that one difference does not hide the next.
fn replay(kind: &Kind, case: &Value) -> Option<String> {
    let steps = case["steps"].as_array().expect("a list of steps");
    let mut live = steps[0]["live"].clone();
    for (at, step) in steps.iter().enumerate() {
        let version = step["version"].as_str().unwrap_or(&kind.version);
        if let Some(difference) = run(kind, case, step, version, &live) {
            return Some(format!("step {at}: {difference}"));
        }
        if let Some(result) = step.get("result") {
            live = result.clone();
            if version != kind.version {
                live = kind.convert(&live, &kind.version).expect("a known version");
            }
            if live["metadata"]["uid"].is_null() {
                live["metadata"]["uid"] = Value::from("u1");
            }
        }
    }
    None
}

fn run(kind: &Kind, case: &Value, step: &Value, version: &str, live: &Value) -> Option<String> {
    let subresource = text(step, "subresource");
    let filters = filters(&case["reset"][subresource], version);
    let fields = FieldManager {
        convert: kind,
        group_version: version,
        kind: &kind.kind,
        subresource,
        filters: &filters,
    };
    let now: Timestamp = text(step, "now").parse().expect("a time");
    let live = if text(live, "apiVersion") == version {
        live.clone()
    } else {
        kind.convert(live, version).expect("a known version")
    };
    let (object, manager) = (step["object"].clone(), text(step, "manager"));
    let outcome = match text(step, "op") {
        "update" => fields.update(&live, object, manager, now),
        op => fields.apply(&live, &object, manager, op == "force", now),
    };
    compare(kind, step, outcome, &live)
}

fn filters(paths: &Value, version: &str) -> HashMap<String, Filter> {
    let Some(paths) = paths.as_array() else { return HashMap::new() };
    let paths: Vec<Path> = paths
        .iter()
        .map(|path| {
            let names: Vec<&str> = path.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            Path::fields(&names)
        })
        .collect();
    HashMap::from([(version.to_owned(), Filter::Exclude(paths.iter().collect()))])
}

fn compare(kind: &Kind, step: &Value, outcome: Result<Value, Error>, live: &Value) -> Option<String> {
    match (outcome, step.get("result")) {
        (Ok(ours), Some(theirs)) => {
            let (ours_fields, theirs_fields) =
                (&ours["metadata"]["managedFields"], &theirs["metadata"]["managedFields"]);
            if !equal(ours_fields, theirs_fields) {
                return Some(format!(
                    "managed fields\n  {ours_fields}\nwanted\n  {theirs_fields}\nlive\n  {live}\nobject\n {}",
                    step["object"]
                ));
            }
            // A built-in object went through its Go type, which drops and adds zero values.
            let (ours, theirs) = if kind.typing == "builtin" {
                (without_zeros(&ours), without_zeros(theirs))
            } else {
                (ours, theirs.clone())
            };
            (!equal(&ours, &theirs)).then(|| format!("got\n  {ours}\nwanted\n  {theirs}"))
        }
        (Err(ours), None) => {
            let theirs = text(step, "error");
            if let Error::Conflict(conflicts) = &ours {
                let mut causes: Vec<Value> =
                    conflicts.causes().into_iter().map(|cause| json!([cause.message, cause.field])).collect();
                causes.sort_by_key(Value::to_string);
                if Value::from(causes.clone()) != step["causes"] {
                    return Some(format!("causes {}\nwanted {}", Value::from(causes), step["causes"]));
                }
            }
            let code = match &ours {
                Error::Conflict(_) => Some(409),
                Error::BadRequest(_) => Some(400),
                Error::Internal(_) => None,
            };
            if code != step["code"].as_i64() {
                return Some(format!("code {code:?}, wanted {}", step["code"]));
            }
            (ours.to_string() != theirs).then(|| format!("refused with\n  {ours}\nwanted\n  {theirs}"))
        }
        (Ok(ours), None) => Some(format!("got\n  {ours}\nwanted the error\n  {}", text(step, "error"))),
        (Err(ours), Some(theirs)) => Some(format!("refused with\n  {ours}\nwanted\n  {theirs}")),
    }
}

/// Leaves zero values out and writes numbers as text, as quantities may be either.
fn without_zeros(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept: Map<String, Value> = map
                .iter()
                .map(|(key, item)| (key.clone(), without_zeros(item)))
                .filter(|(_, item)| !is_zero(item))
                .collect();
            Value::Object(kept)
        }
        Value::Array(items) => items.iter().map(without_zeros).collect(),
        Value::Number(number) => Value::from(number.to_string()),
        scalar => scalar.clone(),
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty() || text == "0",
        _ => false,
    }
}
