//! Where a pod may run: node selectors, affinity, spreading, tolerations, gates.

use std::collections::BTreeSet;

use grammar::field::{self, ErrorList};
use grammar::names;
use serde_json::Value;

use crate::check;
use crate::meta;
use crate::node::Node;
use crate::pod::Rules;
use crate::tree::Tree;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const NOT_AN_OPERATOR: &str = "not a valid selector operator";
const TAINT_EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// `spec.affinity`.
pub fn affinity(affinity: &Node<'_>, rules: &Rules, errs: &mut ErrorList) {
    let nodes = affinity.child("nodeAffinity");
    let required = nodes.child(REQUIRED);
    if required.is_set() {
        node_selector(&required, rules.node_affinity_values, errs);
    }
    preferred_terms(&nodes.child(PREFERRED), errs);
    for key in ["podAffinity", "podAntiAffinity"] {
        let pods = affinity.child(key);
        for term in pods.child(REQUIRED).items() {
            pod_term(&term, rules, errs);
        }
        for weighted in pods.child(PREFERRED).items() {
            weight(&weighted.child("weight"), errs);
            pod_term(&weighted.child("podAffinityTerm"), rules, errs);
        }
    }
}

/// A selector of nodes: at least one term, each of expressions over labels and fields. `lenient` keeps label
/// values that an older server let in.
pub fn node_selector(selector: &Node<'_>, lenient: bool, errs: &mut ErrorList) {
    let terms = selector.child("nodeSelectorTerms");
    if terms.is_empty() {
        errs.push(terms.required("must have at least one node selector term"));
    }
    for term in terms.items() {
        node_term(&term, lenient, errs);
    }
}

/// Preferences for nodes, with weights.
pub fn preferred_terms(terms: &Node<'_>, errs: &mut ErrorList) {
    for term in terms.items() {
        weight(&term.child("weight"), errs);
        node_term(&term.child("preference"), true, errs);
    }
}

fn weight(node: &Node<'_>, errs: &mut ErrorList) {
    if !(1..=100).contains(&node.number()) {
        errs.push(node.invalid_number("must be in the range 1-100"));
    }
}

fn node_term(term: &Node<'_>, lenient: bool, errs: &mut ErrorList) {
    for requirement in term.child("matchExpressions").items() {
        let (operator, values) = (requirement.child("operator"), requirement.child("values"));
        match operator.str() {
            "In" | "NotIn" if values.is_empty() => {
                errs.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                errs.push(
                    values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
                );
            }
            "Gt" | "Lt" if values.len() != 1 => {
                errs.push(values.required("must be specified single value when `operator` is 'Lt' or 'Gt'"));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            _ => errs.push(operator.invalid_text(NOT_AN_OPERATOR)),
        }
        let key = requirement.child("key");
        meta::label_key(&key.path, key.str(), errs);
        if !lenient {
            for value in values.items() {
                value.complaints(names::label_value(value.str()), errs);
            }
        }
    }
    for requirement in term.child("matchFields").items() {
        let (operator, values) = (requirement.child("operator"), requirement.child("values"));
        match operator.str() {
            "In" | "NotIn" => {
                if values.len() != 1 {
                    errs.push(values.required(
                        "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
                    ));
                }
            }
            _ => errs.push(operator.invalid_text(NOT_AN_OPERATOR)),
        }
        let key = requirement.child("key");
        if key.str() != "metadata.name" {
            errs.push(key.invalid_text("not a valid field selector key"));
            continue;
        }
        for value in values.items() {
            value.complaints(meta::SUBDOMAIN(value.str(), false), errs);
        }
    }
}

fn pod_term(term: &Node<'_>, rules: &Rules, errs: &mut ErrorList) {
    let selector = term.child("labelSelector");
    for node in [&selector, &term.child("namespaceSelector")] {
        if node.is_set() {
            check::label_selector(node, rules.affinity_values, errs);
        }
    }
    let misplaced = term.child("namespace");
    for namespace in term.texts("namespaces") {
        errs.extend(
            meta::LABEL(namespace, false)
                .into_iter()
                .map(|complaint| misplaced.invalid_as(namespace, complaint)),
        );
    }
    label_keys(term, errs);
    let topology = term.child("topologyKey");
    if topology.str().is_empty() {
        errs.push(topology.required("can not be empty"));
    }
    meta::label_key(&topology.path, topology.str(), errs);
}

/// `matchLabelKeys` and `mismatchLabelKeys`, which extend the selector beside them.
fn label_keys(term: &Node<'_>, errs: &mut ErrorList) {
    let selector = term.child("labelSelector");
    let (matched, mismatched) = (term.child("matchLabelKeys"), term.child("mismatchLabelKeys"));
    for keys in [&matched, &mismatched] {
        if keys.is_empty() {
            continue;
        }
        if !selector.is_set() {
            errs.push(keys.forbidden("must not be specified when labelSelector is not set"));
            continue;
        }
        for key in keys.items() {
            meta::label_key(&key.path, key.str(), errs);
        }
    }
    let mut selected: BTreeSet<&str> = selector.entries("matchLabels").map(|(key, _)| key).collect();
    for expression in selector.list("matchExpressions") {
        let key = expression.text("key");
        let index = term.list("matchLabelKeys").iter().rposition(|item| item.as_str() == Some(key));
        if let Some(index) = index
            && selected.contains(key)
        {
            errs.push(field::invalid(
                &term.path.index(index),
                key,
                "exists in both matchLabelKeys and labelSelector",
            ));
        }
        selected.insert(key);
    }
    for key in matched.items() {
        if mismatched.items().any(|other| other.str() == key.str()) {
            errs.push(key.invalid("exists in both matchLabelKeys and mismatchLabelKeys"));
        }
    }
}

/// `spec.topologySpreadConstraints`.
pub fn spread(constraints: &Node<'_>, rules: &Rules, errs: &mut ErrorList) {
    let key_of = |constraint: &Value| {
        (constraint.text("topologyKey").to_owned(), constraint.text("whenUnsatisfiable").to_owned())
    };
    for (index, constraint) in constraints.items().enumerate() {
        check::positive(&constraint.child("maxSkew"), errs);
        let topology = constraint.child("topologyKey");
        match topology.str() {
            "" => errs.push(topology.required("can not be empty")),
            text => meta::label_key(&topology.path, text, errs),
        }
        let action = constraint.child("whenUnsatisfiable");
        action.one_of(&["DoNotSchedule", "ScheduleAnyway"], errs);
        let mut later = constraints.value().as_array().into_iter().flatten().skip(index + 1);
        if later.any(|later| key_of(later) == key_of(&constraint)) {
            let node = constraint.child("{topologyKey, whenUnsatisfiable}");
            errs.push(field::duplicate(&node.path, format!("{{{}, {}}}", topology.str(), action.str())));
        }
        let domains = constraint.child("minDomains");
        if domains.is_set() {
            check::positive(&domains, errs);
            if action.str() != "DoNotSchedule" {
                errs.push(domains.invalid(format!(
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}",
                    action.str()
                )));
            }
        }
        for key in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if constraint.has(key) {
                constraint.child(key).one_of(&["Honor", "Ignore"], errs);
            }
        }
        label_keys(&constraint, errs);
        let selector = constraint.child("labelSelector");
        if selector.is_set() && !rules.spread_selectors {
            check::label_selector(&selector, false, errs);
        }
    }
}

/// `spec.tolerations`.
pub fn tolerations(tolerations: &Node<'_>, errs: &mut ErrorList) {
    for toleration in tolerations.items() {
        let (key, operator, effect) =
            (toleration.child("key"), toleration.child("operator"), toleration.child("effect"));
        if !key.str().is_empty() {
            meta::label_key(&key.path, key.str(), errs);
        } else if operator.str() != "Exists" {
            errs.push(operator.invalid_text(
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            ));
        }
        if toleration.has("tolerationSeconds") && effect.str() != "NoExecute" {
            errs.push(effect.invalid_text("effect must be 'NoExecute' when `tolerationSeconds` is set"));
        }
        let value = toleration.text("value");
        match operator.str() {
            "Equal" | "" => {
                let complaints = names::label_value(value);
                if !complaints.is_empty() {
                    errs.push(operator.invalid_as(value, complaints.join(";")));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    errs.push(operator.invalid_as(value, "value must be empty when `operator` is 'Exists'"));
                }
            }
            "Lt" | "Gt" => errs.push(operator.not_supported(&["Equal", "Exists", "Lt", "Gt"])),
            _ => errs.push(operator.not_supported(&["Equal", "Exists"])),
        }
        if !effect.str().is_empty() {
            taint_effect(&effect, errs);
        }
    }
}

/// The effect of a taint, or of a toleration that names one.
pub fn taint_effect(effect: &Node<'_>, errs: &mut ErrorList) {
    effect.one_of(TAINT_EFFECTS, errs);
}

/// An update may add tolerations and shorten or lengthen those there are.
pub fn only_added_tolerations(new: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    const LASTING: &str = "existing toleration can not be modified except its tolerationSeconds";
    let like = |a: &Value, b: &Value| {
        ["key", "operator", "value", "effect"].iter().all(|key| a.text(key) == b.text(key))
    };
    for old in old.as_array().into_iter().flatten() {
        if !new.items().any(|new| like(&new, old)) {
            errs.push(new.forbidden(LASTING));
        }
    }
    tolerations(new, errs);
}

/// `spec.schedulingGates`.
pub fn gates(gates: &Node<'_>, errs: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for gate in gates.items() {
        let name = gate.text("name");
        errs.extend(
            names::qualified_name(name).into_iter().map(|complaint| gate.invalid_as(name, complaint)),
        );
        if !seen.insert(name.to_owned()) {
            errs.push(field::duplicate(&gate.path, name));
        }
    }
}

/// Gates can only be taken away.
pub fn only_removed_gates(new: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    for gate in new.items() {
        let name = gate.text("name");
        if !old.as_array().into_iter().flatten().any(|old| old.text("name") == name) {
            errs.push(
                gate.child("name")
                    .forbidden(format!("only deletion is allowed, but found new scheduling gate '{name}'")),
            );
        }
    }
}
