//! MutatingAdmissionPolicy: expressions that change what matching requests write.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use serde_json::Value;

use crate::admissionregistration::requests::{self, REINVOCATION_POLICIES};
use crate::admissionregistration::{GROUP, expression, policy};
use crate::check;
use crate::kind::{Kind, names as texts};
use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::Tree;

pub(crate) fn kind() -> Kind {
    Kind {
        categories: texts(&["api-extensions"]),
        unconditional_update: false,
        generation: vec![&["spec"]],
        columns: policy::columns(
            "Mutations",
            "Mutation indicates the number of mutations rules defined in this configuration",
        ),
        strategy: Arc::new(MutatingAdmissionPolicy),
        ..Kind::cluster(GROUP, "v1", "MutatingAdmissionPolicy", "mutatingadmissionpolicies")
    }
}

struct MutatingAdmissionPolicy;

impl Strategy for MutatingAdmissionPolicy {
    fn default(&self, _version: &str, obj: &mut Value) {
        policy::default(obj);
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate(&obj.child("spec"), None, errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate(&new.child("spec"), Some(old.at("spec")), errs);
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        policy::cells(obj, "mutations", now)
    }
}

fn validate(spec: &Node<'_>, before: Option<&Value>, errs: &mut ErrorList) {
    policy::scope(spec, before, errs);
    requests::only_mutable(&spec.child("matchConstraints"), errs);
    let mutations = spec.child("mutations");
    if mutations.is_empty() {
        errs.push(mutations.required("mutations must contain at least one item"));
    }
    mutations.items().for_each(|mutation| self::mutation(&mutation, errs));
    check::required_choice(&spec.child("reinvocationPolicy"), &REINVOCATION_POLICIES, errs);
}

/// A mutation is written in one of two ways, and says which.
fn mutation(mutation: &Node<'_>, errs: &mut ErrorList) {
    let ty = mutation.child("patchType");
    let (own, other) = match ty.str() {
        "JSONPatch" => ("jsonPatch", "applyConfiguration"),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
        _ => {
            check::required_choice(&ty, &["ApplyConfiguration", "JSONPatch"], errs);
            return;
        }
    };
    let (patch, misplaced) = (mutation.child(own), mutation.child(other));
    if patch.is_set() {
        expression::required(&patch.child("expression"), "", errs);
    } else {
        errs.push(patch.required(format!("must be specified when patchType is {}", ty.str())));
    }
    if misplaced.is_set() {
        errs.push(misplaced.invalid_as(
            format!("{{{other}}}"),
            format!("must not be specified when patchType is {}", ty.str()),
        ));
    }
}
