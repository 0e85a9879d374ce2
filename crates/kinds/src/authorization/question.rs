//! What the access reviews ask: who, and what.

use grammar::field::ErrorList;
use grammar::names;

use crate::meta;
use crate::node::Node;
use crate::tree::Tree;

/// Somebody is named.
pub(super) fn subject(spec: &Node<'_>, errs: &mut ErrorList) {
    let user = spec.child("user");
    if user.str().is_empty() && spec.list("groups").is_empty() {
        errs.push(user.invalid_text("at least one of user or group must be specified"));
    }
}

/// Either a resource or a path is asked about.
pub(super) fn attributes(spec: &Node<'_>, errs: &mut ErrorList) {
    let (resource, other) = (spec.child("resourceAttributes"), spec.child("nonResourceAttributes"));
    if resource.is_set() == other.is_set() {
        errs.push(spec.invalid_as(
            other.value(),
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ));
    }
    for (key, is_label) in [("fieldSelector", false), ("labelSelector", true)] {
        let selector = resource.child(key);
        if selector.is_set() {
            self::selector(&selector, is_label, errs);
        }
    }
}

/// A review has no identity.
pub(super) fn bare_metadata(metadata: &Node<'_>, errs: &mut ErrorList) {
    if metadata.pairs().any(|(key, value)| key != "managedFields" && !value.is_zero()) {
        errs.push(metadata.invalid("must be empty"));
    }
}

/// A review in a namespace has no identity beside it.
pub(super) fn bare_metadata_but_namespace(metadata: &Node<'_>, errs: &mut ErrorList) {
    let kept = ["managedFields", "namespace"];
    if metadata.pairs().any(|(key, value)| !kept.contains(&key) && !value.is_zero()) {
        errs.push(metadata.invalid("must be empty except for namespace"));
    }
}

fn selector(selector: &Node<'_>, is_label: bool, errs: &mut ErrorList) {
    let (raw, requirements) = (selector.child("rawSelector"), selector.child("requirements"));
    match (raw.str().is_empty(), requirements.is_empty()) {
        (false, false) => {
            errs.push(raw.invalid("may not specified at the same time as requirements"));
        }
        (true, true) => errs.push(requirements.required(format!(
            "when {} is specified, requirements or rawSelector is required",
            selector.path
        ))),
        _ => {}
    }
    for each in requirements.items() {
        requirement(&each, is_label, errs);
    }
}

/// Operators that are not known here may be known to the authorizer that is asked.
fn requirement(requirement: &Node<'_>, is_label: bool, errs: &mut ErrorList) {
    let (key, values) = (requirement.child("key"), requirement.child("values"));
    if !is_label && key.str().is_empty() {
        errs.push(key.required("must be specified"));
    }
    match requirement.text("operator") {
        "In" | "NotIn" if values.is_empty() => {
            errs.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errs.push(values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
        }
        _ => {}
    }
    if is_label {
        meta::label_key(&key.path, key.str(), errs);
        for value in values.items() {
            value.complaints(names::label_value(value.str()), errs);
        }
    }
}
