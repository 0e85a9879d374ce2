//! Patches of every kind, against recorded outcomes.

use merge::strategic::{self, Error};
use merge::{json_patch, merge_patch};
use schema::MessageId;
use serde_json::Value;

use crate::recorded::{check, difference};

fn message(case: &Value) -> MessageId {
    let name = case["message"].as_str().expect("a message's name");
    schema::builtin().named(name).unwrap_or_else(|| panic!("{name} is in the table"))
}

#[test]
fn strategic_merge_patches_apply_as_upstream() {
    check("strategic.json", include_str!("../data/strategic.json"), 250, |case| {
        let outcome = strategic::apply(
            case["original"].clone(),
            case["patch"].clone(),
            schema::builtin(),
            message(case),
        );
        difference(case, outcome.map_err(|error| error.to_string()))
    });
}

#[test]
fn strategic_merge_patches_are_made_as_upstream() {
    check("create.json", include_str!("../data/create.json"), 140, |case| {
        let (original, modified) = (case["original"].clone(), case["modified"].clone());
        let (table, id) = (schema::builtin(), message(case));
        let outcome = match case.get("current") {
            None => strategic::two_way(original, modified, table, id, &[]),
            Some(current) => {
                let overwrite = case["overwrite"] == true;
                strategic::three_way(original, modified, current.clone(), table, id, overwrite, &[])
            }
        };
        difference(
            case,
            outcome.map_err(|error| match error {
                Error::Conflict { .. } => "conflict".to_owned(),
                other => other.to_string(),
            }),
        )
    });
}

#[test]
fn merge_patches_apply_and_are_made_as_upstream() {
    check("merge.json", include_str!("../data/merge.json"), 100, |case| {
        let original = &case["original"];
        let outcome = match (case.get("modified"), case.get("current")) {
            (Some(modified), Some(current)) => merge_patch::three_way(original, modified, current, &[]),
            (Some(modified), None) => merge_patch::create(original, modified),
            (None, _) => merge_patch::apply(original.clone(), case["patch"].clone()),
        };
        difference(case, outcome.map_err(|error| error.to_string()))
    });
}

#[test]
fn json_patches_apply_as_upstream() {
    check("json.json", include_str!("../data/json.json"), 130, |case| {
        let outcome = json_patch::apply(case["original"].clone(), &case["patch"]);
        difference(case, outcome.map_err(|error| error.to_string()))
    });
}
