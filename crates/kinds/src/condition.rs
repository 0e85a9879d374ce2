//! Conditions of the shape that `metav1.Condition` gives them.

use std::collections::BTreeSet;

use grammar::field::{self, ErrorList};

use crate::check;
use crate::node::Node;
use crate::tree::Tree;

const STATUSES: &[&str] = &["False", "True", "Unknown"];
const MAX_REASON_BYTES: usize = 1024;
const MAX_MESSAGE_BYTES: usize = 32 * 1024;

/// A list of conditions, one of each type.
pub fn validate(conditions: &Node<'_>, errs: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for condition in conditions.items() {
        let ty = condition.value().text("type");
        if !seen.insert(ty) {
            errs.push(field::duplicate(&condition.path, ty));
        }
        validate_one(&condition, errs);
    }
}

fn validate_one(condition: &Node<'_>, errs: &mut ErrorList) {
    let child = |key| condition.child(key);
    let (ty, reason, message) = (child("type"), child("reason"), child("message"));
    match ty.str() {
        "" => errs.push(ty.required("is required")),
        _ => check::qualified_name(&ty, errs),
    }
    check::required_choice(&child("status"), STATUSES, errs);
    let generation = child("observedGeneration");
    if generation.number() < 0 {
        errs.push(generation.invalid("must be greater than or equal to zero"));
    }
    check::require(condition, &["lastTransitionTime"], errs);
    match reason.str() {
        "" => errs.push(reason.required("")),
        text => {
            if !is_reason(text) {
                errs.push(reason.invalid_text(
                    "a condition reason must start with alphabetic character, optionally followed by a string of \
                     alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. \
                     'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used \
                     for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')",
                ));
            }
            if text.len() > MAX_REASON_BYTES {
                errs.push(reason.too_long(MAX_REASON_BYTES));
            }
        }
    }
    if message.str().len() > MAX_MESSAGE_BYTES {
        errs.push(message.too_long(MAX_MESSAGE_BYTES));
    }
}

fn is_reason(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_,:".contains(&b))
}
