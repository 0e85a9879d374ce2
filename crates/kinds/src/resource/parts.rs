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
const MAX_POOL_BYTES: usize = 253;
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
    if fits(list, MAX_CONFIGURATIONS, errs) {
        list.items().for_each(|one| configuration(&one, stored, each, errs));
    }
}

/// The configuration of an allocation: the claim's and that of its classes.
pub(super) fn allocated_configurations(
    list: &Node<'_>,
    each: &mut dyn FnMut(&Node<'_>, &mut ErrorList),
    errs: &mut ErrorList,
) {
    if fits(list, 2 * MAX_CONFIGURATIONS, errs) {
        list.items().for_each(|one| configuration(&one, false, each, errs));
    }
}

fn configuration(
    configuration: &Node<'_>,
    stored: bool,
    each: &mut dyn FnMut(&Node<'_>, &mut ErrorList),
    errs: &mut ErrorList,
) {
    each(configuration, errs);
    let opaque = configuration.child("opaque");
    if !opaque.is_set() {
        errs.push(opaque.required(""));
        return;
    }
    driver_in_any_case(&opaque.child("driver"), errs);
    let limit = (!stored).then_some(MAX_PARAMETERS_BYTES);
    raw_object(&opaque.child("parameters"), limit, errs);
}

/// An object of any shape, of a limited length where it is new.
pub(super) fn raw_object(raw: &Node<'_>, limit: Option<usize>, errs: &mut ErrorList) {
    match (raw.value(), limit) {
        (Value::Null, _) => errs.push(raw.required("")),
        (value, Some(limit)) if go::json_plain(value).len() > limit => errs.push(raw.too_long(limit)),
        (Value::Object(_), _) => {}
        _ => errs.push(raw.invalid_as("<value omitted>", "must be a valid JSON object")),
    }
}

/// A driver's name, which may be written in any case.
pub(super) fn driver_in_any_case(name: &Node<'_>, errs: &mut ErrorList) {
    if name.str().is_empty() {
        errs.push(name.required(""));
        return;
    }
    if name.str().chars().count() > MAX_DRIVER_CHARACTERS {
        errs.push(field::too_long_characters(&name.path, Some(MAX_DRIVER_CHARACTERS)));
    }
    name.complaints(names::long_name_caseless(name.str()), errs);
}

/// A pool's name: subdomains, joined by slashes.
pub(super) fn pool(name: &Node<'_>, errs: &mut ErrorList) {
    pool_segments(name, |_| String::new(), errs);
}

/// The pool of an allocated device: the same rule, in the words of upstream's generated checks.
pub(super) fn allocated_pool(name: &Node<'_>, errs: &mut ErrorList) {
    pool_segments(name, |index| format!("segment {index}: "), errs);
}

fn pool_segments(name: &Node<'_>, prefix: fn(usize) -> String, errs: &mut ErrorList) {
    if name.str().is_empty() {
        errs.push(name.required(""));
        return;
    }
    if name.str().len() > MAX_POOL_BYTES {
        errs.push(name.too_long(MAX_POOL_BYTES));
    }
    for (index, part) in name.str().split('/').enumerate() {
        for complaint in names::dns1123_subdomain(part) {
            errs.push(field::invalid(&name.path, part, format!("{}{complaint}", prefix(index))));
        }
    }
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
