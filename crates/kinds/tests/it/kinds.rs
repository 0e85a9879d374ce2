//! What holds of every kind in the list.

use std::collections::BTreeSet;

use kinds::tree::Tree;
use kinds::{Kind, all};
use serde_json::{Value, json};

use crate::sample::{self, NOW, prepare, pruned, stored, with_context};

/// Runs `check` on every kind that has a sample, and reports all that fail by name.
fn every(check: impl Fn(&Kind, sample::Sample) -> Result<(), String>) {
    let failures: Vec<String> = all()
        .iter()
        .filter_map(|kind| {
            let failed = check(kind, sample::read(kind)?).err()?;
            Some(format!("{}: {failed}", kind.group_resource()))
        })
        .collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n\n"));
}

fn equal(what: &str, ours: &Value, upstream: &Value) -> Result<(), String> {
    if ours == upstream {
        return Ok(());
    }
    let mut lines = Vec::new();
    differences("", ours, upstream, &mut lines);
    Err(format!("{what} differs\n  {}", lines.join("\n  ")))
}

fn differences(path: &str, ours: &Value, upstream: &Value, lines: &mut Vec<String>) {
    match (ours, upstream) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                differences(&format!("{path}/{key}"), ours.at(key), upstream.at(key), lines);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}/{i}"), a, b, lines);
            }
        }
        (a, b) if a == b => {}
        (a, b) => lines.push(format!("{path}: ours {a}, upstream {b}")),
    }
}

#[test]
fn every_kind_has_a_sample() {
    let without: Vec<_> =
        all().iter().filter(|kind| sample::read(kind).is_none()).map(|kind| kind.group_resource()).collect();
    assert!(without.is_empty(), "without a sample: {without:?}");
}

#[test]
fn names_are_unique() {
    let mut resources = BTreeSet::new();
    let mut kinds = BTreeSet::new();
    for kind in all() {
        assert!(resources.insert(kind.group_resource()), "{} is listed twice", kind.group_resource());
        assert!(kinds.insert((&kind.group, &kind.kind)), "{} is listed twice", kind.kind);
        for subresource in &kind.subresources {
            assert!(!subresource.verbs.is_empty(), "{}/{} has no verb", kind.plural, subresource.name);
        }
    }
}

#[test]
fn samples_are_prepared_as_upstream_prepares_them() {
    every(|kind, sample| {
        let ours = with_context(kind, |cx| prepare(kind, sample.written, cx));
        equal("the prepared object", &pruned(ours), &pruned(sample.prepared))
    });
}

#[test]
fn samples_are_valid() {
    every(|kind, sample| {
        let errs = with_context(kind, |cx| {
            let obj = prepare(kind, sample.written, cx);
            kind.validate_create(&obj, cx)
        });
        if errs.is_empty() { Ok(()) } else { Err(errs.to_string()) }
    });
}

#[test]
fn defaulting_twice_is_defaulting_once() {
    every(|kind, sample| {
        let version = &kind.versions[0].name;
        let mut once = sample.written;
        kind.strategy.default(version, &mut once);
        let mut twice = once.clone();
        kind.strategy.default(version, &mut twice);
        equal("the second defaulting", &twice, &once)
    });
}

#[test]
fn an_unchanged_update_changes_nothing() {
    every(|kind, sample| {
        if !kind.stored {
            return Ok(());
        }
        with_context(kind, |cx| {
            let old = stored(prepare(kind, sample.written, cx));
            let mut new = old.clone();
            kind.prepare_update("", &mut new, &old, cx);
            equal("the unchanged object", &new, &old)?;
            let errs = kind.validate_update("", &new, &old, cx);
            if errs.is_empty() { Ok(()) } else { Err(errs.to_string()) }
        })
    });
}

#[test]
fn rows_are_upstreams_and_match_the_columns() {
    every(|kind, sample| {
        let cells = kind.cells(&sample.shown, NOW);
        if cells.len() != kind.columns.len() {
            return Err(format!("{} cells for {} columns", cells.len(), kind.columns.len()));
        }
        for (cell, column) in cells.iter().zip(&kind.columns) {
            let fits = match &*column.ty {
                "string" | "date" => cell.is_string() || cell.is_boolean(),
                "integer" => cell.is_i64() || cell.is_string(),
                "boolean" => cell.is_boolean() || cell.is_string(),
                _ => true,
            };
            if !fits && !cell.is_i64() {
                return Err(format!("{} is no {}: {cell}", column.name, column.ty));
            }
        }
        equal("the row", &cells.into(), &sample.cells.into())
    });
}

#[test]
fn selectable_fields_are_upstreams() {
    every(|kind, sample| {
        let ours: Value = kind
            .fields(&sample.shown)
            .into_iter()
            .map(|(label, value)| (label.to_owned(), json!(value)))
            .collect();
        equal("the selectable fields", &ours, &sample.fields)
    });
}

#[test]
fn warnings_are_upstreams() {
    every(|kind, sample| {
        let ours = with_context(kind, |cx| {
            let obj = prepare(kind, sample.written, cx);
            kind.warnings("", &obj, None, cx)
        });
        let upstream = match sample.warnings {
            Value::Null => json!([]),
            warnings => warnings,
        };
        equal("the warnings", &ours.into(), &upstream)
    });
}

#[test]
fn descriptions_are_upstreams() {
    every(|kind, sample| {
        let facts = sample.facts;
        let dotted = |paths: &[kinds::kind::Path]| {
            let mut paths: Vec<_> = paths.iter().map(|path| path.join(".")).collect();
            paths.sort();
            paths
        };
        let mut resets = serde_json::Map::new();
        for name in std::iter::once("").chain(kind.subresources.iter().map(|subresource| &*subresource.name))
        {
            let part =
                kind.subresource(name).is_none_or(|sub| matches!(sub.role, kinds::kind::Role::Part(_)));
            let paths = dotted(kind.resets(name));
            if part && !paths.is_empty() {
                resets.insert(name.to_owned(), json!(paths));
            }
        }
        let dependents = match kind.dependents {
            kinds::kind::Dependents::Delete => "DeleteDependents",
            kinds::kind::Dependents::Orphan => "OrphanDependents",
            kinds::kind::Dependents::Unsupported => "Unsupported",
        };
        let ours = json!({
            "namespaced": kind.is_namespaced(),
            "createOnUpdate": kind.stored.then_some(kind.create_on_update),
            "unconditionalUpdate": kind.stored.then_some(kind.unconditional_update),
            "resets": resets,
            "dependents": if facts.has("dependents") { json!(dependents) } else { Value::Null },
            "columns": match facts.has("columns") {
                true => kind.columns.iter().map(|c| json!([c.name, c.ty, c.format, c.priority])).collect(),
                false => Value::Null,
            },
        });
        equal("the description", &pruned(ours), &pruned(facts))
    });
}
