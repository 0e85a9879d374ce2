//! Brings a default role or binding up to date with what this version expects.
//!
//! What is missing is added; what somebody added is left alone. An object that says
//! `rbac.authorization.kubernetes.io/autoupdate: "false"` is never touched.

use serde_json::{Value, json};

use super::rule::{Rule, covers};
use crate::tree::{items, same, text};

pub const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// What is to be done about one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Nothing,
    /// The object differs, and its owner has opted out.
    Protected,
    Create(Value),
    Update(Value),
    /// A binding cannot change the role that it points at: delete the one with this uid, then create.
    Recreate {
        uid: String,
        object: Value,
    },
}

/// What turns `existing` into something that grants at least what `expected` grants.
pub fn reconcile(existing: Option<&Value>, expected: &Value) -> Step {
    let Some(existing) = existing else { return Step::Create(expected.clone()) };
    let protected = existing["metadata"]["annotations"][AUTOUPDATE] == "false";
    if !expected["roleRef"].is_null() && !same(&expected["roleRef"], &existing["roleRef"]) {
        let uid = text(&existing["metadata"], "uid").to_owned();
        return if protected { Step::Protected } else { Step::Recreate { uid, object: expected.clone() } };
    }
    let mut merged = existing.clone();
    for key in ["annotations", "labels"] {
        let missing: Vec<_> = expected["metadata"][key]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| existing["metadata"][key].get(name.as_str()).is_none())
            .collect();
        for (name, value) in missing {
            merged["metadata"][key][name.as_str()] = value.clone();
        }
    }
    if expected["roleRef"].is_null() {
        add_rules(&mut merged, existing, expected);
        add_selectors(&mut merged, existing, expected);
    } else {
        append_missing(&mut merged, "subjects", existing, expected);
    }
    match (merged == *existing, protected) {
        (true, _) => Step::Nothing,
        (false, true) => Step::Protected,
        (false, false) => Step::Update(merged),
    }
}

fn add_rules(merged: &mut Value, existing: &Value, expected: &Value) {
    let rules = |role: &Value| items(role, "rules").iter().map(Rule::from_tree).collect::<Vec<_>>();
    if let Err(missing) = covers(&rules(existing), &rules(expected)) {
        let mut all = items(existing, "rules").to_vec();
        all.extend(missing.iter().map(Rule::to_tree));
        merged["rules"] = all.into();
    }
}

fn add_selectors(merged: &mut Value, existing: &Value, expected: &Value) {
    if expected["aggregationRule"].is_null() {
        if let Some(role) = merged.as_object_mut() {
            role.remove("aggregationRule");
        }
        return;
    }
    if existing["aggregationRule"].is_null() {
        merged["aggregationRule"] = json!({});
    }
    append_missing(
        &mut merged["aggregationRule"],
        "clusterRoleSelectors",
        &existing["aggregationRule"],
        &expected["aggregationRule"],
    );
}

fn append_missing(merged: &mut Value, key: &str, existing: &Value, expected: &Value) {
    let mut all = items(existing, key).to_vec();
    let before = all.len();
    for item in items(expected, key) {
        if !all.iter().any(|known| same(known, item)) {
            all.push(item.clone());
        }
    }
    if all.len() > before {
        merged[key] = all.into();
    }
}
