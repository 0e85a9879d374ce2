//! What policies of both sorts share.

use base::clock::Wall;
use grammar::field::ErrorList;
use grammar::names;
use serde_json::Value;

use crate::admissionregistration::requests::FAILURE_POLICIES;
use crate::admissionregistration::{expression, requests};
use crate::column::{self, AGE, Column, NAME, described};
use crate::node::Node;
use crate::tree::{Tree, TreeMut, same};

/// What a policy is when its author says no more.
pub(super) fn default(policy: &mut Value) {
    let spec = policy.at_mut("spec");
    spec.set_default("failurePolicy", "Fail");
    if let Some(constraints) = spec.find_mut(&["matchConstraints"]) {
        requests::default_constraints(constraints);
    }
}

/// When a policy is asked, and with what at hand; `before` is the old spec of an update.
pub(super) fn scope(spec: &Node<'_>, before: Option<&Value>, errs: &mut ErrorList) {
    let failure = spec.child("failurePolicy");
    if failure.is_set() {
        failure.one_of(&FAILURE_POLICIES, errs);
    } else {
        errs.push(failure.required(""));
    }
    param_kind(&spec.child("paramKind"), errs);
    let constraints = spec.child("matchConstraints");
    if constraints.is_set() {
        requests::constraints(&constraints, errs);
        if constraints.list("resourceRules").is_empty() {
            errs.push(constraints.child("resourceRules").required(""));
        }
    } else {
        errs.push(constraints.required(""));
    }
    // Unchanged conditions are not checked again.
    let unchanged = before.is_some_and(|before| {
        ["paramKind", "matchConditions"].iter().all(|key| same(spec.at(key), before.at(key)))
    });
    if !unchanged {
        expression::match_conditions(&spec.child("matchConditions"), errs);
    }
    expression::variables(&spec.child("variables"), errs);
}

fn param_kind(params: &Node<'_>, errs: &mut ErrorList) {
    if !params.is_set() {
        return;
    }
    let (api_version, kind) = (params.child("apiVersion"), params.child("kind"));
    match api_version.str().matches('/').count() {
        _ if api_version.str().is_empty() => errs.push(api_version.required("")),
        0 | 1 => group_version(&api_version, errs),
        _ => errs.push(api_version.invalid(format!("unexpected GroupVersion string: {}", api_version.str()))),
    }
    let complaints = names::dns1035_label(&kind.str().to_lowercase());
    if kind.str().is_empty() {
        errs.push(kind.required(""));
    } else if !complaints.is_empty() {
        errs.push(
            kind.invalid(format!(
                "may have mixed case, but should otherwise match: {}",
                complaints.join(",")
            )),
        );
    }
}

fn group_version(node: &Node<'_>, errs: &mut ErrorList) {
    let (group, version) = match node.str() {
        "/" => ("", ""),
        text => text.split_once('/').unwrap_or(("", text)),
    };
    let complaints = names::dns1123_subdomain(group);
    if !group.is_empty() && !complaints.is_empty() {
        errs.push(node.invalid_as(group, complaints.join(",")));
    }
    let complaints = names::dns1035_label(version);
    if version.is_empty() {
        errs.push(node.invalid("version must be specified"));
    } else if !complaints.is_empty() {
        errs.push(node.invalid_as(version, complaints.join(",")));
    }
}

/// The table of policies; `what` counts what they hold.
pub(super) fn columns(what: &'static str, description: &'static str) -> Vec<Column> {
    let params = "ParamKind specifies the kind of resources used to parameterize this policy";
    vec![NAME, described(what, description).integer(), described("ParamKind", params), AGE]
}

/// A policy's row; `key` is what it holds.
pub(super) fn cells(policy: &Value, key: &str, now: Wall) -> Vec<Value> {
    let spec = policy.at("spec");
    let params = spec.at("paramKind");
    let kind = match params.is_null() {
        true => "<unset>".to_owned(),
        false => format!("{}/{}", params.text("apiVersion"), params.text("kind")),
    };
    vec![column::name(policy), spec.list(key).len().into(), kind.into(), column::age(policy, now)]
}
