//! What bindings of policies of both sorts share.

use base::clock::Wall;
use grammar::field::ErrorList;
use grammar::names;
use serde_json::Value;

use crate::admissionregistration::requests;
use crate::check;
use crate::column::{self, AGE, Column, NAME, described};
use crate::meta;
use crate::node::Node;
use crate::tree::{Tree, TreeMut};

/// The words are upstream's.
const POLICY: &str = "PolicyName indicates the policy definition which the policy binding binded to";
const PARAMS: &str = "ParamRef indicates the param resource which sets the configuration param";

/// What a binding is when its author says no more.
pub(super) fn default(binding: &mut Value) {
    if let Some(constraints) = binding.find_mut(&["spec", "matchResources"]) {
        requests::default_constraints(constraints);
    }
}

/// Which policy, with which parameters, for which requests.
pub(super) fn validate(spec: &Node<'_>, errs: &mut ErrorList) {
    let policy = spec.child("policyName");
    match policy.str() {
        "" => errs.push(policy.required("")),
        text => policy.complaints(meta::SUBDOMAIN(text, false), errs),
    }
    param_ref(&spec.child("paramRef"), errs);
    requests::constraints(&spec.child("matchResources"), errs);
}

fn param_ref(params: &Node<'_>, errs: &mut ErrorList) {
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    if !params.is_set() {
        return;
    }
    let (name, selector, action) =
        (params.child("name"), params.child("selector"), params.child("parameterNotFoundAction"));
    if !name.str().is_empty() {
        name.complaints(names::path_segment_name(name.str()), errs);
    }
    check::label_selector(&selector, false, errs);
    match (name.str().is_empty(), selector.is_set()) {
        (false, true) => {
            errs.push(name.forbidden(EXCLUSIVE));
            errs.push(selector.forbidden(EXCLUSIVE));
        }
        (true, false) => errs.push(params.required("one of name or selector must be specified")),
        _ => {}
    }
    match action.str() {
        "" => errs.push(action.required("")),
        _ => action.one_of(&["Deny", "Allow"], errs),
    }
}

/// The table of bindings.
pub(super) fn columns() -> Vec<Column> {
    vec![NAME, described("PolicyName", POLICY), described("ParamRef", PARAMS), AGE]
}

/// A binding's row.
pub(super) fn cells(binding: &Value, now: Wall) -> Vec<Value> {
    let spec = binding.at("spec");
    let params = spec.at("paramRef");
    let shown = match (params.is_null(), params.text("name"), params.text("namespace")) {
        (true, _, _) => "<unset>".to_owned(),
        (false, "", _) if params.has("selector") => selector_text(params.at("selector")),
        (false, "", _) => "<unset>".to_owned(),
        (false, name, "") => format!("*/{name}"),
        (false, name, namespace) => format!("{namespace}/{name}"),
    };
    vec![column::name(binding), spec.text("policyName").into(), shown.into(), column::age(binding, now)]
}

/// A selector as Go's generated code prints it.
fn selector_text(selector: &Value) -> String {
    let labels: String = selector
        .entries("matchLabels")
        .map(|(key, value)| format!("{key}: {},", value.as_str().unwrap_or_default()))
        .collect();
    let expressions: String = selector
        .list("matchExpressions")
        .iter()
        .map(|expression| {
            format!(
                "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{}],}},",
                expression.text("key"),
                expression.text("operator"),
                expression.texts("values").join(" ")
            )
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement\
         {{{expressions}}},}}"
    )
}
