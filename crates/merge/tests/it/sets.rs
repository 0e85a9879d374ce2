//! Field sets and the entries around them, against recorded outcomes.

use std::collections::HashMap;

use merge::apply::{Managed, from_scale, to_scale, upgrade_managed_fields};
use merge::fieldset::{Path, Set};
use merge::value::equal;
use serde_json::{Value, json};

use crate::recorded::{check, difference};

fn text<'v>(case: &'v Value, field: &str) -> &'v str {
    case[field].as_str().expect("a text")
}

#[test]
fn sets_are_read_combined_and_written_as_upstream() {
    check("sets.json", include_str!("../data/sets.json"), 80, |case| {
        let left = Set::from_json(text(case, "left"));
        if let Some(refused) = case.get("refused") {
            return (left.is_err() != *refused).then(|| format!("got {left:?}"));
        }
        let left = left.expect("a good set");
        let right = Set::from_json(text(case, "right")).expect("a good set");
        let paths: Vec<String> = left.paths().iter().map(Path::to_string).collect();
        let ours = json!({
            "canonical": left.to_json(),
            "union": left.union(&right).to_json(),
            "intersection": left.intersection(&right).to_json(),
            "difference": left.difference(&right).to_json(),
            "recursive": left.recursive_difference(&right).to_json(),
            "leaves": left.leaves().to_json(),
            "paths": paths,
            "size": left.len(),
            "same": left == right,
        });
        let wrong: Vec<String> = ours
            .as_object()
            .expect("an object of outcomes")
            .iter()
            .filter(|(key, value)| case[key] != **value)
            .map(|(key, value)| format!("{key}: {value}\nwanted {}", case[key]))
            .collect();
        (!wrong.is_empty()).then(|| wrong.join("\n"))
    });
}

#[test]
fn entries_pass_through_the_scale_subresource_as_upstream() {
    let replicas = HashMap::from([
        ("apps/v1".to_owned(), Some(Path::fields(&["spec", "replicas"]))),
        ("apps/v1beta1".to_owned(), Some(Path::fields(&["spec", "count"]))),
        ("apps/v1none".to_owned(), None),
    ]);
    check("scale.json", include_str!("../data/scale.json"), 10, |case| {
        let parent = Managed::decode(Some(&case["parent"])).expect("good entries");
        let scale = Managed::decode(Some(&case["scale"])).expect("good entries");
        let encoded = |managed: Managed| managed.encode().unwrap_or(Value::Null);
        let there = encoded(to_scale(&parent, &replicas));
        let back = encoded(from_scale(&parent, &scale, "apps/v1", &replicas));
        (!equal(&there, &case["toScale"]) || !equal(&back, &case["toParent"]))
            .then(|| format!("{there}\n{back}\nwanted\n{}\n{}", case["toScale"], case["toParent"]))
    });
}

#[test]
fn entries_are_upgraded_to_server_side_apply_as_upstream() {
    check("upgrade.json", include_str!("../data/upgrade.json"), 10, |case| {
        let from = case["from"].as_array().expect("a list of names");
        let from: Vec<&str> = from.iter().filter_map(Value::as_str).collect();
        let (to, subresource) = (text(case, "to"), text(case, "subresource"));
        let entries = case["entries"].as_array().expect("a list of entries");
        let outcome = upgrade_managed_fields(entries, &from, to, subresource);
        let outcome =
            outcome.map(|entries| if entries.is_empty() { Value::Null } else { Value::Array(entries) });
        // An empty list that nothing was done to stays one in upstream.
        let mut case = case.clone();
        if case["result"] == json!([]) {
            case["result"] = Value::Null;
        }
        difference(&case, outcome.map_err(|error| error.to_string()))
    });
}
