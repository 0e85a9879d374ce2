//! Which requests somebody wants to see.

use std::collections::BTreeSet;

use grammar::field::{self, ErrorList};
use grammar::names;
use serde_json::{Value, json};

use crate::check;
use crate::node::Node;
use crate::tree::{Tree, TreeMut};

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const MUTATING_OPERATIONS: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];
pub(super) const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
pub(super) const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
pub(super) const REINVOCATION_POLICIES: [&str; 2] = ["IfNeeded", "Never"];

/// What a webhook and a policy's constraints have in common, where it is not given.
pub(super) fn default_match(part: &mut Value) {
    part.set_default("matchPolicy", "Equivalent");
    for key in ["namespaceSelector", "objectSelector"] {
        if !part.has(key) {
            part.set(key, json!({}));
        }
    }
}

/// Rules speak of resources of every scope where they name none.
pub(super) fn default_rules(part: &mut Value, key: &str) {
    for rule in part.items_mut(key) {
        if !rule.has("scope") {
            rule.set("scope", "*");
        }
    }
}

/// Constraints of a policy or a binding, where they are given.
pub(super) fn default_constraints(constraints: &mut Value) {
    if constraints.is_object() {
        default_match(constraints);
        default_rules(constraints, "resourceRules");
        default_rules(constraints, "excludeResourceRules");
    }
}

/// Constraints of a policy or a binding.
pub(super) fn constraints(constraints: &Node<'_>, errs: &mut ErrorList) {
    if !constraints.is_set() {
        return;
    }
    let policy = constraints.child("matchPolicy");
    if policy.is_set() {
        policy.one_of(&MATCH_POLICIES, errs);
    } else {
        errs.push(policy.required(""));
    }
    for key in ["namespaceSelector", "objectSelector"] {
        let selector = constraints.child(key);
        if selector.is_set() {
            check::label_selector(&selector, false, errs);
        } else {
            errs.push(selector.required(""));
        }
    }
    for key in ["resourceRules", "excludeResourceRules"] {
        for rule in constraints.child(key).items() {
            resource_names(&rule.child("resourceNames"), errs);
            self::rule(&rule, errs);
        }
    }
}

/// What is deleted can no longer be changed.
pub(super) fn only_mutable(constraints: &Node<'_>, errs: &mut ErrorList) {
    let rules = constraints.child("resourceRules");
    let path = rules.path.child("operations");
    for rule in rules.items() {
        for operation in rule.texts("operations") {
            if !MUTATING_OPERATIONS.contains(&operation) {
                errs.push(field::not_supported(&path, operation, &MUTATING_OPERATIONS));
            }
        }
    }
}

fn resource_names(given: &Node<'_>, errs: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for name in given.items() {
        name.complaints(names::path_segment_name(name.str()), errs);
        if !seen.insert(name.str().to_owned()) {
            errs.push(name.duplicate());
        }
    }
}

/// Operations on resources of groups and versions.
pub(super) fn rule(rule: &Node<'_>, errs: &mut ErrorList) {
    for (key, noun) in
        [("operations", "operations"), ("apiGroups", "API groups"), ("apiVersions", "API versions")]
    {
        let list = rule.child(key);
        if list.is_empty() {
            errs.push(list.required(""));
        }
        if list.len() > 1 && list.items().any(|item| item.str() == "*") {
            errs.push(list.invalid(format!("if '*' is present, must not specify other {noun}")));
        }
    }
    rule.child("operations").items().for_each(|operation| operation.one_of(&OPERATIONS, errs));
    for version in rule.child("apiVersions").items().filter(|version| version.str().is_empty()) {
        errs.push(version.required(""));
    }
    resources(&rule.child("resources"), errs);
    let scope = rule.child("scope");
    if scope.is_set() {
        scope.one_of(&SCOPES, errs);
    }
}

/// Resources and subresources; no entry may lie within another's wildcard.
fn resources(resources: &Node<'_>, errs: &mut ErrorList) {
    if resources.is_empty() {
        errs.push(resources.required(""));
    }
    let mut whole: BTreeSet<String> = BTreeSet::new();
    let mut everywhere: BTreeSet<String> = BTreeSet::new();
    let mut plain_last = false;
    for entry in resources.items() {
        let text = entry.str();
        if text.is_empty() {
            errs.push(entry.required(""));
            continue;
        }
        let Some((resource, sub)) = text.split_once('/') else {
            plain_last = text != "*";
            continue;
        };
        if whole.contains(resource) {
            errs.push(entry.invalid(format!("if '{resource}/*' is present, must not specify {text}")));
        }
        if everywhere.contains(sub) {
            errs.push(entry.invalid(format!("if '*/{sub}' is present, must not specify {text}")));
        }
        if sub == "*" {
            whole.insert(resource.to_owned());
        }
        if resource == "*" {
            everywhere.insert(sub.to_owned());
        }
    }
    let has = |text: &str| resources.items().any(|entry| entry.str() == text);
    if resources.len() > 1 && has("*/*") {
        errs.push(resources.invalid("if '*/*' is present, must not specify other resources"));
    }
    if has("*") && plain_last {
        errs.push(
            resources.invalid("if '*' is present, must not specify other resources without subresources"),
        );
    }
}
