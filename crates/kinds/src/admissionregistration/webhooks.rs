//! Webhooks of both configurations.

use std::collections::BTreeSet;

use base::clock::Wall;
use grammar::field::{self, ErrorList};
use grammar::names;
use serde_json::Value;

use crate::admissionregistration::requests::{self, FAILURE_POLICIES, MATCH_POLICIES, REINVOCATION_POLICIES};
use crate::admissionregistration::{client, expression};
use crate::check;
use crate::column::{self, AGE, Column, NAME, described};
use crate::node::Node;
use crate::tree::{Tree, TreeMut, same};

const DEFAULT_TIMEOUT_SECONDS: i64 = 10;
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const ALL_SIDE_EFFECTS: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];
const NO_SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];

/// The table of both configurations.
pub(super) fn columns() -> Vec<Column> {
    let count = "Webhooks indicates the number of webhooks registered in this configuration";
    vec![NAME, described("Webhooks", count).integer(), AGE]
}

/// A configuration's row.
pub(super) fn cells(configuration: &Value, now: Wall) -> Vec<Value> {
    let count = configuration.list("webhooks").len();
    vec![column::name(configuration), count.into(), column::age(configuration, now)]
}

/// What a webhook is when its author says no more.
pub(super) fn default(configuration: &mut Value, mutating: bool) {
    for hook in configuration.items_mut("webhooks") {
        hook.set_default("failurePolicy", "Fail");
        requests::default_match(hook);
        requests::default_rules(hook, "rules");
        if !hook.has("timeoutSeconds") {
            hook.set("timeoutSeconds", DEFAULT_TIMEOUT_SECONDS);
        }
        if mutating {
            hook.set_default("reinvocationPolicy", "Never");
        }
        let service = hook.find_mut(&["clientConfig", "service"]);
        if let Some(service) = service.filter(|service| service.is_object())
            && !service.has("port")
        {
            service.set("port", client::DEFAULT_PORT);
        }
    }
}

/// A configuration, next to an older one: what that broke, the new one may.
pub(super) fn validate(configuration: &Node<'_>, old: Option<&Value>, errs: &mut ErrorList) {
    let leniency = old.map(Leniency::of).unwrap_or_default();
    let before = old.map(|old| old.list("webhooks"));
    let hooks = configuration.child("webhooks");
    // Unchanged conditions are not checked again.
    let conditions_changed = before.is_none_or(|before| {
        before.len() != hooks.len()
            || hooks
                .items()
                .zip(before)
                .any(|(now, was)| !same(now.at("matchConditions"), was.at("matchConditions")))
    });
    let mut seen = BTreeSet::new();
    for hook in hooks.items() {
        webhook(&hook, &leniency, errs);
        if conditions_changed {
            expression::match_conditions(&hook.child("matchConditions"), errs);
        }
        let name = hook.child("name");
        if !name.str().is_empty() && !seen.insert(name.str().to_owned()) && !leniency.names {
            errs.push(name.duplicate());
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Leniency {
    side_effects: bool,
    review_versions: bool,
    names: bool,
    label_values: bool,
}

impl Leniency {
    fn of(old: &Value) -> Leniency {
        let hooks = old.list("webhooks");
        let names: BTreeSet<&str> = hooks.iter().map(|hook| hook.text("name")).collect();
        let unknown = |hook: &Value| {
            let versions = hook.texts("admissionReviewVersions");
            !versions.is_empty() && !knows_one(&versions)
        };
        let bad_selector = |hook: &Value| {
            let mut found = ErrorList::new();
            for key in ["namespaceSelector", "objectSelector"] {
                check::label_selector(&Node::root(hook).child(key), false, &mut found);
            }
            !found.is_empty()
        };
        Leniency {
            side_effects: hooks.iter().any(|hook| !NO_SIDE_EFFECTS.contains(&hook.text("sideEffects"))),
            review_versions: hooks.iter().any(unknown),
            names: names.len() < hooks.len(),
            label_values: hooks.iter().any(bad_selector),
        }
    }
}

fn knows_one(versions: &[&str]) -> bool {
    versions.iter().any(|version| REVIEW_VERSIONS.contains(version))
}

fn webhook(hook: &Node<'_>, leniency: &Leniency, errs: &mut ErrorList) {
    let name = hook.child("name");
    errs.extend(names::fully_qualified_name(&name.path, name.str()));
    hook.child("rules").items().for_each(|rule| requests::rule(&rule, errs));
    for (key, allowed) in [
        ("failurePolicy", FAILURE_POLICIES),
        ("matchPolicy", MATCH_POLICIES),
        ("reinvocationPolicy", REINVOCATION_POLICIES),
    ] {
        let policy = hook.child(key);
        if policy.is_set() {
            policy.one_of(&allowed, errs);
        }
    }
    let effects = hook.child("sideEffects");
    let allowed: &[&str] = if leniency.side_effects { &ALL_SIDE_EFFECTS } else { &NO_SIDE_EFFECTS };
    if effects.is_set() {
        effects.one_of(allowed, errs);
    } else {
        errs.push(effects.required(format!("must specify one of {}", allowed.join(", "))));
    }
    let timeout = hook.child("timeoutSeconds");
    if timeout.is_set() && !(1..=30).contains(&timeout.number()) {
        errs.push(timeout.invalid("the timeout value must be between 1 and 30 seconds"));
    }
    for key in ["namespaceSelector", "objectSelector"] {
        check::label_selector(&hook.child(key), leniency.label_values, errs);
    }
    let config = hook.child("clientConfig");
    let (url, service) = (config.child("url"), config.child("service"));
    match (url.is_set(), service.is_set()) {
        (true, false) => client::url(&url, errs),
        (false, true) => client::service(&service, errs),
        _ => errs.push(config.required("exactly one of url or service is required")),
    }
    review_versions(&hook.child("admissionReviewVersions"), !leniency.review_versions, errs);
}

fn review_versions(versions: &Node<'_>, needs_known: bool, errs: &mut ErrorList) {
    let known = REVIEW_VERSIONS.join(", ");
    if versions.is_empty() {
        errs.push(versions.required(format!("must specify one of {known}")));
        return;
    }
    let mut seen = BTreeSet::new();
    for version in versions.items() {
        let text = version.value().as_str().unwrap_or_default();
        if !seen.insert(text) {
            errs.push(version.invalid("duplicate version"));
            continue;
        }
        let complaints = names::dns1035_label(text).into_iter();
        errs.extend(complaints.map(|complaint| field::invalid(&version.path, text, complaint)));
    }
    let given: Vec<&str> = seen.into_iter().collect();
    if needs_known && !knows_one(&given) {
        errs.push(versions.invalid(format!("must include at least one of {known}")));
    }
}
