//! Conditions of both kinds.

use std::collections::BTreeSet;

use grammar::field::ErrorList;
use serde_json::Value;

use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::Tree;

/// Conditions are named, and each but once.
pub(super) struct Status;

impl Strategy for Status {
    fn validate_update(&self, new: &Node<'_>, _old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let status = new.child("status");
        let conditions = status.child("conditions");
        let mut seen = BTreeSet::new();
        for condition in conditions.items() {
            let ty = condition.child("type");
            if !seen.insert(condition.value().text("type")) {
                errs.push(ty.duplicate());
            }
            if ty.str().is_empty() {
                errs.push(ty.required(""));
            }
        }
    }
}
