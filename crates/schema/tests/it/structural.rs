//! Schemas, values and updates with the outcomes that upstream's v1.37 `apiextensions-apiserver` gave for them.

use grammar::field::{ErrorList, Path};
use schema::structural::{DEEPEST, Definition, Options, Schema, Validator, table, validate, validate_lists};
use schema::{Scope, Table};
use serde_json::{Value, json};

const RECORDED: &str = include_str!("../data/structural.json");

#[test]
fn schemas_are_judged_as_upstream_does() {
    let mut tally = Tally::default();
    for case in recorded() {
        let found = Schema::read(&case["schema"])
            .map(|s| sorted(validate(&Path::new("schema"), &s, &Options::default())));
        tally.check(&case["schema"], "faults", &found, &Ok(texts(&case["faults"])));
    }
    tally.finish(370);
}

#[test]
fn values_are_judged_as_upstream_does() {
    let mut tally = Tally::default();
    for case in recorded() {
        let Some(values) = case["values"].as_array() else { continue };
        let schema = read(&case);
        let validator = Validator::new(&schema);
        for row in values {
            let value = &row["value"];
            let about = format!("{} with {value}", case["schema"]);
            let errors = sorted(validator.validate(&Path::nil(), value));
            tally.check(&about, "errors", &errors, &texts(&row["errors"]));
            let lists = sorted(validate_lists(&Path::nil(), &schema, value));
            tally.check(&about, "lists", &lists, &texts(&row["lists"]));
        }
    }
    tally.finish(1300);
}

#[test]
fn values_are_pruned_and_defaulted_as_upstream_does() {
    let mut tally = Tally::default();
    for case in recorded() {
        let Some(values) = case["values"].as_array() else { continue };
        let table = widgets(&read(&case));
        let id = table.kind("example.com", "v1", "Widget").expect("the table has its kind");
        for row in values {
            let about = format!("{} with {}", case["schema"], row["value"]);
            let mut pruned = row["value"].clone();
            let unknown = schema::prune(&table, id, &mut pruned);
            tally.check(&about, "unknown", &unknown, &texts(&row["unknown"]));
            tally.check(&about, "pruned", &plain(pruned), &plain(row["pruned"].clone()));

            let mut defaulted = row["value"].clone();
            schema::drop_nulls(&table, id, &mut defaulted);
            schema::default(&table, id, &mut defaulted);
            tally.check(&about, "defaulted", &plain(defaulted.clone()), &plain(row["defaulted"].clone()));
            let once = defaulted.clone();
            schema::default(&table, id, &mut defaulted);
            tally.check(&about, "defaulted twice", &defaulted, &once);
        }
    }
    tally.finish(2600);
}

#[test]
fn unchanged_faults_are_forgiven_as_upstream_does() {
    let mut tally = Tally::default();
    for case in recorded() {
        let Some(updates) = case["updates"].as_array() else { continue };
        let validator = Validator::new(&read(&case));
        for row in updates {
            let errors = sorted(validator.validate_update(&Path::nil(), &row["new"], &row["old"]));
            tally.check(row, "errors", &errors, &texts(&row["errors"]));
        }
    }
    tally.finish(35);
}

#[test]
fn schemas_nest_only_so_deep() {
    for wrap in [
        |inner: Value| json!({"type": "object", "properties": {"a": inner}, "default": {}}),
        |inner: Value| json!({"type": "array", "items": inner}),
        |inner: Value| json!({"type": "object", "not": inner, "allOf": [{}]}),
    ] {
        let nested = |levels: usize| (0..levels).fold(json!({"type": "string"}), |inner, _| wrap(inner));
        let too_deep = Schema::read(&nested(DEEPEST + 1));
        assert!(too_deep.is_err_and(|reason| reason.contains("may nest at most 100")));
        let schema = Schema::read(&nested(DEEPEST)).expect("the deepest schema is readable");
        validate(&Path::new("schema"), &schema, &Options::default());
        Options::excusing(&schema);
        let table = widgets(&schema);
        let id = table.kind("example.com", "v1", "Widget").expect("the table has its kind");
        for hold in [|inner: Value| json!({"a": inner}), |inner: Value| json!([inner])] {
            let mut value = (0..DEEPEST).fold(json!(1), |inner, _| hold(inner));
            Validator::new(&schema).validate(&Path::nil(), &value);
            validate_lists(&Path::nil(), &schema, &value);
            schema::drop_nulls(&table, id, &mut value);
            schema::default(&table, id, &mut value);
            schema::prune(&table, id, &mut value);
        }
    }
}

fn recorded() -> Vec<Value> {
    match serde_json::from_str(RECORDED) {
        Ok(Value::Array(cases)) => cases,
        other => panic!("the recorded cases are a JSON list: {other:?}"),
    }
}

fn read(case: &Value) -> Schema {
    Schema::read(&case["schema"]).expect("schemas with values are readable")
}

fn widgets(schema: &Schema) -> Table {
    let definition = Definition {
        group: "example.com",
        version: "v1",
        kind: "Widget",
        list_kind: "WidgetList",
        plural: "widgets",
        scope: Scope::Namespaced,
        has_status: true,
        has_scale: false,
    };
    table(&definition, schema)
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_string).collect()
}

fn sorted(errors: ErrorList) -> Vec<String> {
    let mut texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.sort();
    texts
}

/// Go writes a whole float without a point, so recorded numbers have lost theirs.
fn plain(value: Value) -> Value {
    match value {
        Value::Number(number) => serde_json::json!(number.as_f64()),
        Value::Array(items) => Value::Array(items.into_iter().map(plain).collect()),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, plain(value))).collect(),
        other => other,
    }
}

/// Counts comparisons and keeps the failed ones, so that one run shows them all.
#[derive(Default)]
struct Tally {
    checks: usize,
    failures: Vec<String>,
}

impl Tally {
    fn check<T: PartialEq + std::fmt::Debug>(
        &mut self,
        about: &impl std::fmt::Display,
        what: &str,
        found: &T,
        want: &T,
    ) {
        self.checks += 1;
        if found != want {
            self.failures.push(format!("{about}\n  {what}: {found:?}\n  want: {want:?}"));
        }
    }

    fn finish(self, at_least: usize) {
        assert!(
            self.failures.is_empty(),
            "{} of {} differ:\n{}",
            self.failures.len(),
            self.checks,
            self.failures.join("\n")
        );
        assert!(self.checks >= at_least, "only {} comparisons", self.checks);
    }
}
