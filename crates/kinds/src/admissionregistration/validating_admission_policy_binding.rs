//! ValidatingAdmissionPolicyBinding: where a validating policy holds, and what becomes of those who break it.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use serde_json::Value;

use crate::admissionregistration::{GROUP, binding};
use crate::kind::{Kind, names as texts};
use crate::node::Node;
use crate::strategy::{Context, Strategy};

pub(crate) fn kind() -> Kind {
    Kind {
        categories: texts(&["api-extensions"]),
        unconditional_update: false,
        generation: vec![&["spec"]],
        columns: binding::columns(),
        strategy: Arc::new(ValidatingAdmissionPolicyBinding),
        ..Kind::cluster(GROUP, "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
    }
}

struct ValidatingAdmissionPolicyBinding;

impl Strategy for ValidatingAdmissionPolicyBinding {
    fn default(&self, _version: &str, obj: &mut Value) {
        binding::default(obj);
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let spec = obj.child("spec");
        binding::validate(&spec, errs);
        actions(&spec.child("validationActions"), errs);
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        binding::cells(obj, now)
    }
}

fn actions(actions: &Node<'_>, errs: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for action in actions.items() {
        action.one_of(&["Audit", "Deny", "Warn"], errs);
        if !seen.insert(action.str().to_owned()) {
            errs.push(action.duplicate());
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        errs.push(actions.invalid(
            "must not contain both Deny and Warn (repeating the same validation failure information in the API \
             response and headers serves no purpose)",
        ));
    }
    if actions.is_empty() {
        errs.push(actions.required(""));
    }
}
