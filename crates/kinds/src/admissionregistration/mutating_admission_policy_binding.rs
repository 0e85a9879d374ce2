//! MutatingAdmissionPolicyBinding: where a mutating policy holds, and with which parameters.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use serde_json::Value;

use crate::admissionregistration::{GROUP, binding, requests};
use crate::kind::{Kind, names as texts};
use crate::node::Node;
use crate::strategy::{Context, Strategy};

pub(crate) fn kind() -> Kind {
    Kind {
        categories: texts(&["api-extensions"]),
        unconditional_update: false,
        generation: vec![&["spec"]],
        columns: binding::columns(),
        strategy: Arc::new(MutatingAdmissionPolicyBinding),
        ..Kind::cluster(GROUP, "v1", "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings")
    }
}

struct MutatingAdmissionPolicyBinding;

impl Strategy for MutatingAdmissionPolicyBinding {
    fn default(&self, _version: &str, obj: &mut Value) {
        binding::default(obj);
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let spec = obj.child("spec");
        binding::validate(&spec, errs);
        requests::only_mutable(&spec.child("matchResources"), errs);
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        binding::cells(obj, now)
    }
}
