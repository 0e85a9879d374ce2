//! Whatever a client leaves out or exaggerates, no rule panics.

use kinds::{Kind, all};
use serde_json::{Value, json};

use crate::sample::{self, NOW, prepare, stored, with_context};

#[test]
fn no_mutation_of_a_sample_panics() {
    for kind in all() {
        let Some(sample) = sample::read(kind) else { continue };
        for pointer in pointers(&sample.written) {
            for mutant in mutants(&sample.written, &pointer) {
                exercise(kind, &mutant, &sample.prepared);
            }
        }
        for pointer in pointers(&sample.shown) {
            for mutant in mutants(&sample.shown, &pointer) {
                assert_eq!(kind.cells(&mutant, NOW).len(), kind.columns.len());
                kind.fields(&mutant);
            }
        }
    }
}

fn exercise(kind: &Kind, written: &Value, neighbour: &Value) {
    with_context(kind, |cx| {
        let obj = prepare(kind, written.clone(), cx);
        kind.validate_create(&obj, cx);
        kind.warnings("", &obj, None, cx);
        let (old, mut new) = (stored(neighbour.clone()), stored(obj));
        kind.prepare_update("", &mut new, &old, cx);
        kind.validate_update("", &new, &old, cx);
    });
}

/// Every place below the top of `tree`.
fn pointers(tree: &Value) -> Vec<String> {
    fn walk(prefix: &str, tree: &Value, found: &mut Vec<String>) {
        let mut visit = |key: &str, value: &Value| {
            let pointer = format!("{prefix}/{}", key.replace('~', "~0").replace('/', "~1"));
            walk(&pointer, value, found);
            found.push(pointer);
        };
        match tree {
            Value::Object(entries) => entries.iter().for_each(|(key, value)| visit(key, value)),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(index, value)| visit(&index.to_string(), value));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk("", tree, &mut found);
    found
}

/// `tree` with other values of the same type at `pointer`, and with nothing there.
fn mutants(tree: &Value, pointer: &str) -> Vec<Value> {
    let values = match tree.pointer(pointer) {
        Some(Value::String(_)) => vec![json!("é/é"), Value::Null],
        Some(Value::Number(_)) => vec![json!(i32::MIN), json!(i32::MAX)],
        Some(Value::Array(_)) => vec![json!([])],
        Some(Value::Object(_)) => vec![json!({})],
        _ => vec![Value::Null],
    };
    let with = |value: Value| {
        let mut mutant = tree.clone();
        *mutant.pointer_mut(pointer).expect("the pointer was found in the tree") = value;
        mutant
    };
    values.into_iter().map(with).collect()
}
