//! What workloads share: a template, a selector that matches it, counts of replicas, and rows that name images.

use grammar::field::ErrorList;
use grammar::names;
use grammar::selector::label::{Selector, format_object};
use serde_json::Value;

use crate::check;
use crate::node::Node;
use crate::pod::{self, Rules};
use crate::tree::Tree;

/// `metadata.name` becomes part of host names, which a label fits best.
pub fn name_warning(obj: &Value, used_in: &str) -> Option<String> {
    let complaints = names::dns1123_label(obj.at("metadata").text("name"));
    (!complaints.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in {used_in}, which can result in surprising behavior; a DNS label is \
             recommended: [{}]",
            complaints.join(" ")
        )
    })
}

/// Warnings about the template, when the object is new or has changed.
pub fn template_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let generation = |obj: &Value| obj.at("metadata").int("generation");
    if old.is_some_and(|old| generation(old) == generation(new)) {
        return Vec::new();
    }
    let root = Node::root(new);
    let spec = root.child("spec");
    pod::warnings::of(&spec.child("template"), true)
}

/// A selector that names something.
pub fn selector(node: &Node<'_>, kind: &str, lenient: bool, errs: &mut ErrorList) {
    check::label_selector(node, lenient, errs);
    if check::selects_everything(node) {
        errs.push(node.invalid(format!("empty selector is invalid for {kind}")));
    }
}

/// Whether a selector can be evaluated, and matches the template's labels or nothing in particular.
pub enum Match {
    Yes,
    No,
    /// The selector is malformed.
    Unknown,
}

/// How `selector` and the labels of `template` go together. An absent selector selects nothing.
pub fn matches(selector: &Value, template: &Value) -> Match {
    if selector.is_null() {
        return Match::No;
    }
    let labels: Vec<(&str, &str)> = template
        .at("metadata")
        .entries("labels")
        .map(|(key, value)| (key, value.as_str().unwrap_or_default()))
        .collect();
    let lookup: std::collections::BTreeMap<String, String> =
        labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    match Selector::from_object(selector) {
        Err(_) => Match::Unknown,
        Ok(selector) if selector.matches(&lookup) => Match::Yes,
        Ok(_) => Match::No,
    }
}

/// The template's labels are what the selector selects.
pub fn template_matches(template: &Node<'_>, errs: &mut ErrorList) {
    let metadata = template.child("metadata");
    let labels = metadata.child("labels");
    errs.push(labels.invalid("`selector` does not match template `labels`"));
}

/// The template of pods that run until they are replaced: always restarted, and without a deadline.
pub fn endless_template(template: &Node<'_>, kind: &str, rules: &Rules, errs: &mut ErrorList) {
    pod::validate_template(template, rules, errs);
    endless(template, kind, errs);
}

/// Always restarted, and without a deadline.
pub fn endless(template: &Node<'_>, kind: &str, errs: &mut ErrorList) {
    let spec = template.child("spec");
    let policy = spec.child("restartPolicy");
    if policy.str() != "Always" {
        errs.push(policy.not_supported(&["Always"]));
    }
    let deadline = spec.child("activeDeadlineSeconds");
    if deadline.is_set() {
        errs.push(deadline.forbidden(format!("activeDeadlineSeconds in {kind} is not Supported")));
    }
}

/// An integer of 0 or more, or a percentage.
pub fn int_or_percent(node: &Node<'_>, errs: &mut ErrorList) {
    match node.value() {
        Value::String(text) => node.complaints(names::percent(text), errs),
        _ => node.not_negative(errs),
    }
}

/// At most all of them.
pub fn at_most_all(node: &Node<'_>, errs: &mut ErrorList) {
    if percent(node.value()).is_some_and(|percent| percent > 100) {
        errs.push(node.invalid("must not be greater than 100%"));
    }
}

/// The number in front of a well-formed percent sign.
fn percent(value: &Value) -> Option<i64> {
    let text = value.as_str()?;
    let digits = text.strip_suffix('%')?;
    let sound = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    sound.then(|| digits.parse().unwrap_or(i64::MAX))
}

/// The number that stands in an integer or percentage.
pub fn amount(value: &Value) -> i64 {
    percent(value)
        .or_else(|| value.as_i64())
        .unwrap_or_else(|| value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default())
}

/// Counts that are 0 or more.
pub fn counts(node: &Node<'_>, keys: &[&str], errs: &mut ErrorList) {
    keys.iter().for_each(|key| node.child(key).not_negative(errs));
}

/// `key` is not above `limit`, both counts of one status.
pub fn not_above(status: &Node<'_>, key: &str, limit: &str, shown: &str, errs: &mut ErrorList) {
    let node = status.child(key);
    if node.number() > status.int(limit).unwrap_or_default() {
        errs.push(node.invalid_number(format!("cannot be greater than {shown}")));
    }
}

/// The count of name collisions never falls.
pub fn collisions(status: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    let node = status.child("collisionCount");
    if old.int("collisionCount").is_some_and(|before| node.number() < before) {
        errs.push(node.invalid_number("cannot be decremented"));
    }
}

/// A label selector as a cell.
pub fn selector_cell(selector: &Value) -> Value {
    format_object(selector).into()
}
