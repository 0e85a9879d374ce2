//! Selectors, configuration, taints and tolerations of devices.

use std::collections::BTreeSet;

use grammar::field::{self, ErrorList};
use grammar::go;
use grammar::names;
use serde_json::Value;

use crate::check;
use crate::meta;
use crate::node::Node;
use crate::tree::Tree;

const MAX_DRIVER_CHARACTERS: usize = 63;
const MAX_SELECTORS: usize = 32;
const MAX_CONFIGURATIONS: usize = 32;
const MAX_EXPRESSION_BYTES: usize = 10 * 1024;
const MAX_PARAMETERS_BYTES: usize = 10 * 1024;
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

/// Whether the list fits; if it does not, its items are not looked at.
pub(super) fn fits(list: &Node<'_>, limit: usize, errs: &mut ErrorList) -> bool {
    if list.len() > limit {
        errs.push(list.too_many(limit));
    }
    list.len() <= limit
}

/// No two items have the same key.
pub(super) fn distinct(list: &Node<'_>, key: fn(&Value) -> &str, errs: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for item in list.items() {
        if !seen.insert(key(item.value()).to_owned()) {
            errs.push(item.duplicate());
        }
    }
}

/// Expressions over a device. What was stored before is not judged again.
pub(super) fn selectors(selectors: &Node<'_>, stored: bool, errs: &mut ErrorList) {
    if !fits(selectors, MAX_SELECTORS, errs) {
        return;
    }
    for selector in selectors.items() {
        let cel = selector.child("cel");
        if !cel.is_set() {
            errs.push(cel.required(""));
            continue;
        }
        let expression = cel.child("expression");
        if !stored && expression.str().len() > MAX_EXPRESSION_BYTES {
            errs.push(expression.too_long(MAX_EXPRESSION_BYTES));
        }
    }
}

/// Configuration for drivers, each part in the form that its driver understands.
pub(super) fn configurations(
    list: &Node<'_>,
    stored: bool,
    each: &mut dyn FnMut(&Node<'_>, &mut ErrorList),
    errs: &mut ErrorList,
) {
    if !fits(list, MAX_CONFIGURATIONS, errs) {
        return;
    }
    for configuration in list.items() {
        each(&configuration, errs);
        let opaque = configuration.child("opaque");
        if !opaque.is_set() {
            errs.push(opaque.required(""));
            continue;
        }
        driver_in_any_case(&opaque.child("driver"), errs);
        parameters(&opaque.child("parameters"), stored, errs);
    }
}

fn parameters(parameters: &Node<'_>, stored: bool, errs: &mut ErrorList) {
    match parameters.value() {
        Value::Null => errs.push(parameters.required("")),
        value if !stored && go::json_plain(value).len() > MAX_PARAMETERS_BYTES => {
            errs.push(parameters.too_long(MAX_PARAMETERS_BYTES));
        }
        Value::Object(_) => {}
        _ => errs.push(parameters.invalid_as("<value omitted>", "must be a valid JSON object")),
    }
}

fn driver_in_any_case(name: &Node<'_>, errs: &mut ErrorList) {
    if name.str().is_empty() {
        errs.push(name.required(""));
        return;
    }
    if name.str().chars().count() > MAX_DRIVER_CHARACTERS {
        errs.push(field::too_long_characters(&name.path, Some(MAX_DRIVER_CHARACTERS)));
    }
    name.complaints(names::long_name_caseless(name.str()), errs);
}

/// A device's taint; an unchanged effect is not judged again.
pub(super) fn taint(taint: &Node<'_>, before: &Value, errs: &mut ErrorList) {
    let (key, value, effect) = (taint.child("key"), taint.child("value"), taint.child("effect"));
    meta::label_key(&key.path, key.str(), errs);
    value.complaints(names::label_value(value.str()), errs);
    if before.is_null() || before.text("effect") != effect.str() {
        check::required_choice(&effect, &EFFECTS, errs);
    }
}

/// A request's toleration of a taint.
pub(super) fn toleration(toleration: &Node<'_>, errs: &mut ErrorList) {
    let child = |key| toleration.child(key);
    let (key, operator, value, effect) = (child("key"), child("operator"), child("value"), child("effect"));
    if !key.str().is_empty() {
        meta::label_key(&key.path, key.str(), errs);
    }
    match operator.str() {
        "Exists" => {
            if !value.str().is_empty() {
                errs.push(value.invalid("must be empty for operator `Exists`"));
            }
        }
        "Equal" => value.complaints(names::label_value(value.str()), errs),
        _ => check::required_choice(&operator, &["Equal", "Exists"], errs),
    }
    if !effect.str().is_empty() {
        effect.one_of(&EFFECTS, errs);
    }
}
