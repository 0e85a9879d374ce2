//! ValidatingAdmissionPolicy: expressions that every matching request must satisfy.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::clock::Wall;
use grammar::field::{self, ErrorList};
use grammar::jsonpath::JsonPath;
use grammar::names;
use serde_json::Value;

use crate::admissionregistration::{GROUP, expression, policy};
use crate::condition;
use crate::kind::{Kind, Subresource, names as texts};
use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::Tree;

pub(crate) fn kind() -> Kind {
    Kind {
        categories: texts(&["api-extensions"]),
        unconditional_update: false,
        resets: vec![&["status"]],
        generation: vec![&["spec"]],
        subresources: vec![Subresource::status(&[&["metadata"], &["spec"]], Status)],
        columns: policy::columns(
            "Validations",
            "Validations indicates the number of validation rules defined in this configuration",
        ),
        strategy: Arc::new(ValidatingAdmissionPolicy),
        ..Kind::cluster(GROUP, "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
    }
}

const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
const MAX_ANNOTATIONS: usize = 20;
const MAX_VALUE_BYTES: usize = 5 * 1024;
const ONE_NEEDED: &str = "validations or auditAnnotations must contain at least one item";

struct ValidatingAdmissionPolicy;

impl Strategy for ValidatingAdmissionPolicy {
    fn default(&self, _version: &str, obj: &mut Value) {
        policy::default(obj);
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate(obj, None, errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate(new, Some(old.at("spec")), errs);
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        policy::cells(obj, "validations", now)
    }
}

struct Status;

impl Strategy for Status {
    fn validate_update(&self, new: &Node<'_>, _old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let status = new.child("status");
        let checking = status.child("typeChecking");
        for warning in checking.child("expressionWarnings").items() {
            let (text, place) = (warning.child("warning"), warning.child("fieldRef"));
            if text.str().is_empty() {
                errs.push(text.required(""));
            }
            let path = place.str().trim();
            if path.is_empty() {
                errs.push(place.required(""));
            } else if let Err(err) = JsonPath::parse(&format!("{{{path}}}")) {
                errs.push(place.invalid_as(path, format!("invalid JSONPath: {err}")));
            }
        }
        condition::validate(&status.child("conditions"), errs);
    }
}

fn validate(obj: &Node<'_>, before: Option<&Value>, errs: &mut ErrorList) {
    let spec = obj.child("spec");
    policy::scope(&spec, before, errs);
    let (validations, annotations) = (spec.child("validations"), spec.child("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        errs.push(validations.required(ONE_NEEDED));
        errs.push(annotations.required(ONE_NEEDED));
    }
    validations.items().for_each(|validation| self::validation(&validation, errs));
    if annotations.len() > MAX_ANNOTATIONS {
        errs.push(annotations.invalid(format!("must not have more than {MAX_ANNOTATIONS} auditAnnotations")));
    }
    let mut seen = BTreeSet::new();
    for annotation in annotations.items() {
        self::annotation(&annotation, obj.at("metadata").text("name"), errs);
        if !seen.insert(annotation.text("key").to_owned()) {
            errs.push(annotation.child("key").duplicate());
        }
    }
}

fn validation(validation: &Node<'_>, errs: &mut ErrorList) {
    expression::required(&validation.child("expression"), "expression is not specified", errs);
    for key in ["messageExpression", "message"] {
        let message = validation.child(key);
        if !message.str().is_empty() && message.str().trim().is_empty() {
            errs.push(message.invalid("must be non-empty if specified"));
        } else if key == "message" && message.str().trim().contains(['\n', '\r']) {
            errs.push(message.invalid("must not contain line breaks"));
        }
    }
    let reason = validation.child("reason");
    if reason.is_set() {
        reason.one_of(&REASONS, errs);
    }
}

fn annotation(annotation: &Node<'_>, policy: &str, errs: &mut ErrorList) {
    let (key, value) = (annotation.child("key"), annotation.child("valueExpression"));
    if policy.is_empty() {
        errs.push(key.invalid_text("requires metadata.name be non-empty"));
    } else {
        let whole = format!("{policy}/{}", key.str());
        let complaints = names::qualified_name(&whole).into_iter();
        errs.extend(complaints.map(|complaint| field::invalid(&key.path, &whole, complaint)));
    }
    expression::required(&value, "valueExpression is not specified", errs);
    if value.str().trim().len() > MAX_VALUE_BYTES {
        errs.push(value.required(format!("must not exceed {MAX_VALUE_BYTES} bytes in length")));
    }
}
