//! Recorded verdicts on mutated samples.
//!
//! A row is a line that says what is tried, and one indented line for each error that upstream answers with:
//!
//! ```text
//! create /data/..=""
//!   data[..] | FieldValueInvalid | Invalid value: "..": must not be '..'
//! update /immutable=true -- /data/a="changed"
//!   data | FieldValueForbidden | Forbidden: field is immutable when `immutable` is set
//! update/status -- /status/phase="x"
//!   ok
//! ```
//!
//! `prepare` and `change` (`change/status`) are told the whole object as it would be stored, and the warnings.
//! Mutations are JSON pointers with a JSON value, or `-` and a pointer to take something away, separated by
//! blanks; `"x"*300` repeats a text. Before `--` they make the old object of an update, after it the new one.

use grammar::field::ErrorList;
use kinds::{Kind, all};
use serde_json::Value;

use crate::sample::{self, prepare, stored, with_context};

struct Row {
    line: usize,
    what: String,
    expected: Vec<String>,
}

#[test]
fn verdicts_are_upstreams() {
    let mut rows = 0;
    let mut failures = Vec::new();
    for kind in all() {
        let Ok(text) = std::fs::read_to_string(sample::path(kind, "rows")) else { continue };
        let sample = sample::read(kind).expect("rows mutate a sample");
        for row in parse(&text) {
            rows += 1;
            let mut ours = verdict(kind, &sample.written, &row.what);
            let mut expected: Vec<String> = row.expected.iter().map(|line| comparable(line)).collect();
            expected.dedup();
            ours.dedup();
            ours.sort();
            expected.sort();
            if ours != expected {
                failures.push(format!(
                    "{}:{}: {}\n  ours:\n    {}\n  upstream:\n    {}",
                    sample::path(kind, "rows").file_name().unwrap_or_default().display(),
                    row.line,
                    row.what,
                    ours.join("\n    "),
                    expected.join("\n    ")
                ));
            }
        }
    }
    assert!(failures.is_empty(), "\n{}\n{} of {rows} rows differ", failures.join("\n"), failures.len());
}

/// What we answer, one line an error.
fn verdict(kind: &Kind, sample: &Value, what: &str) -> Vec<String> {
    let (operation, mutations) = what.split_once(' ').unwrap_or((what, ""));
    let (before, after) = match mutations.split_once("-- ") {
        Some(split) => split,
        None => (mutations, ""),
    };
    let mut obj = sample.clone();
    mutate(&mut obj, before);
    with_context(kind, |cx| {
        let obj = prepare(kind, obj, cx);
        match operation.split_once('/').unwrap_or((operation, "")) {
            ("create", _) => told(&kind.validate_create(&obj, cx)),
            ("prepare", _) => {
                outcome(&obj, &kind.validate_create(&obj, cx), &kind.warnings("", &obj, None, cx))
            }
            (operation, subresource) => {
                let old = stored(obj);
                let mut new = old.clone();
                mutate(&mut new, after);
                kind.strategy.default(&kind.versions[0].name, &mut new);
                kind.prepare_update(subresource, &mut new, &old, cx);
                let errs = kind.validate_update(subresource, &new, &old, cx);
                match operation {
                    "change" => outcome(&new, &errs, &kind.warnings(subresource, &new, Some(&old), cx)),
                    _ => told(&errs),
                }
            }
        }
    })
}

fn told(errs: &ErrorList) -> Vec<String> {
    match errs.is_empty() {
        true => vec!["ok".to_owned()],
        false => errs
            .iter()
            .map(|err| comparable(&format!("{} | {} | {}", err.field, err.kind.reason(), err.body())))
            .collect(),
    }
}

/// The object as it would be stored, what is wrong with it, and what its writer is warned of.
fn outcome(obj: &Value, errs: &ErrorList, warnings: &[String]) -> Vec<String> {
    let mut lines = vec![object(obj)];
    lines.extend(told(errs));
    if errs.is_empty() {
        lines.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
    }
    lines
}

fn object(obj: &Value) -> String {
    sample::pruned(obj.clone()).to_string()
}

/// An error as both sides tell it. Where upstream shows a difference of two objects below its message, only the
/// message counts; where it shows a whole struct, the words about it do, for it prints the field names of its
/// internal types.
fn comparable(line: &str) -> String {
    if line.starts_with('{') {
        return object(&serde_json::from_str(line).expect("a recorded object is JSON"));
    }
    let line = line.split('\n').next().unwrap_or_default();
    let shown = line.split_once(" value: ").filter(|(_, shown)| {
        let is_struct = shown.starts_with('{') || shown.starts_with("[{") || shown.starts_with("null");
        is_struct
            && (shown.contains("}: ")
                || shown.contains("]: ")
                || shown.contains("null: ")
                || shown.ends_with('}'))
    });
    match shown {
        Some((before, shown)) => {
            let end = shown.rfind("}: ").or_else(|| shown.rfind("]: ")).or_else(|| shown.rfind("null: "));
            let words = end.and_then(|end| shown[end..].split_once(": ")).map_or("", |(_, words)| words);
            format!("{before} value: …: {words}")
        }
        None => match line.split_once("Duplicate value: {") {
            Some((before, _)) => format!("{before}Duplicate value: …"),
            None => line.to_owned(),
        },
    }
}

fn parse(text: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        match line.strip_prefix("  ") {
            _ if line.is_empty() || line.starts_with('#') => {}
            Some(expected) => {
                rows.last_mut().expect("an error belongs to a row").expected.push(expected.to_owned());
            }
            None => rows.push(Row { line: number + 1, what: line.to_owned(), expected: Vec::new() }),
        }
    }
    rows
}

fn mutate(tree: &mut Value, mut mutations: &str) {
    while !mutations.trim_start().is_empty() {
        mutations = mutations.trim_start();
        if let Some(rest) = mutations.strip_prefix('-') {
            let (pointer, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            remove(tree, pointer);
            mutations = rest;
            continue;
        }
        let (pointer, rest) = mutations.split_once('=').expect("a mutation is a pointer and a value");
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let mut value = values.next().expect("there is a value").expect("the value is JSON");
        mutations = &rest[values.byte_offset()..];
        if let Some(times) = mutations.strip_prefix('*') {
            let (count, rest) = times.split_once(' ').unwrap_or((times, ""));
            let count = count.parse().expect("a text is repeated a number of times");
            value = value.as_str().expect("only a text is repeated").repeat(count).into();
            mutations = rest;
        }
        *place(tree, pointer) = value;
    }
}

/// Where `pointer` leads, made if it is not there. An index one past a list's end appends.
fn place<'a>(tree: &'a mut Value, pointer: &str) -> &'a mut Value {
    pointer.split('/').skip(1).fold(tree, |tree, step| {
        let step = step.replace("~1", "/").replace("~0", "~");
        if let (Value::Array(items), Ok(index)) = (&mut *tree, step.parse::<usize>()) {
            if index >= items.len() {
                items.push(Value::Null);
            }
            let index = index.min(items.len() - 1);
            let Value::Array(items) = tree else { unreachable!("it was a list just above") };
            return &mut items[index];
        }
        if !tree.is_object() {
            *tree = Value::Object(Default::default());
        }
        tree.as_object_mut().expect("it was made an object just above").entry(step).or_insert(Value::Null)
    })
}

fn remove(tree: &mut Value, pointer: &str) {
    let (parent, last) = pointer.rsplit_once('/').expect("a pointer has steps");
    let last = last.replace("~1", "/").replace("~0", "~");
    match tree.pointer_mut(parent) {
        Some(Value::Object(entries)) => {
            entries.remove(&last);
        }
        Some(Value::Array(items)) => {
            items.remove(last.parse().expect("a list is indexed"));
        }
        _ => {}
    }
}
