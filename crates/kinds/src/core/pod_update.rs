//! What may change in a pod once it exists, and the containers that can be added to it.

use grammar::field::ErrorList;
use grammar::names;
use serde_json::Value;

use crate::core::pod::metadata_and_spec;
use crate::difference::difference;
use crate::node::Node;
use crate::pod::{Rules, placement, prepare, security};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut, same};

const ONLY: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
                    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions \
                    to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it \
                    was previously negative)";

/// Everything that must hold of a new state of the pod `old`.
pub(super) fn validate(new: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    let rules = Rules::for_update_of(old);
    metadata_and_spec(new, &rules, errs);
    let metadata = new.child("metadata");
    security::fixed_annotations(&metadata.child("annotations"), old.path(&["metadata", "annotations"]), errs);
    let (spec, old) = (new.child("spec"), old.at("spec"));
    for key in ["containers", "initContainers"] {
        let containers = spec.child(key);
        if containers.len() != old.list(key).len() {
            errs.push(containers.forbidden("pod updates may not add or remove containers"));
            return;
        }
    }
    deadline(&spec.child("activeDeadlineSeconds"), old, errs);
    placement::only_added_tolerations(&spec.child("tolerations"), old.at("tolerations"), errs);
    placement::only_removed_gates(&spec.child("schedulingGates"), old.at("schedulingGates"), errs);
    if !same(spec.value(), old) {
        only_mutable_fields(&spec, old, errs);
    }
}

/// A deadline can come nearer and cannot go away.
fn deadline(node: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    let before = old.int("activeDeadlineSeconds");
    match node.as_i64() {
        Some(seconds) => {
            if !(0..=i64::from(i32::MAX)).contains(&seconds) {
                errs.push(node.invalid(names::inclusive_range_error(0, i32::MAX.into())));
            }
            if before.is_some_and(|before| before < seconds) {
                errs.push(node.invalid("must be less than or equal to previous value"));
            }
        }
        None if before.is_some() => {
            errs.push(node.invalid("must not update from a positive integer to nil value"));
        }
        None => {}
    }
}

/// With everything put back that may change, nothing else differs.
fn only_mutable_fields(spec: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    let mut rest = spec.value().clone();
    for key in ["containers", "initContainers"] {
        for (container, before) in rest.items_mut(key).zip(old.list(key)) {
            container.copy_from(before, &["image"]);
        }
    }
    for key in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        rest.copy_from(old, &[key]);
    }
    let grace = "terminationGracePeriodSeconds";
    if old.int(grace).is_some_and(|seconds| seconds < 0) && rest.int(grace) == Some(1) {
        rest.copy_from(old, &[grace]);
    }
    if !old.list("schedulingGates").is_empty() {
        narrower_placement(spec, old, &mut rest, errs);
    }
    if !same(&rest, old) {
        errs.push(spec.forbidden(format!("{ONLY}\n{}", difference(old, &rest))));
    }
}

/// A gated pod may become pickier about its node.
fn narrower_placement(spec: &Node<'_>, old: &Value, rest: &mut Value, errs: &mut ErrorList) {
    let selector = spec.child("nodeSelector");
    for (key, value) in old.entries("nodeSelector") {
        if selector.at(key) != value {
            errs.push(
                selector
                    .invalid("only additions to spec.nodeSelector are allowed (no mutations or deletions)"),
            );
        }
    }
    rest.copy_from(old, &["nodeSelector"]);
    let affinity = spec.child("affinity");
    let nodes = affinity.child("nodeAffinity");
    let before = old.path(&["affinity", "nodeAffinity"]);
    if same(nodes.value(), before) {
        return;
    }
    let required = nodes.child("requiredDuringSchedulingIgnoredDuringExecution");
    let terms = required.child("nodeSelectorTerms");
    let old_terms = before.at("requiredDuringSchedulingIgnoredDuringExecution").list("nodeSelectorTerms");
    if !old_terms.is_empty() && old_terms.len() != terms.len() {
        errs.push(terms.invalid("no additions/deletions to non-empty NodeSelectorTerms list are allowed"));
    } else {
        for (term, before) in terms.items().zip(old_terms) {
            if !only_adds(&term, before) {
                errs.push(term.invalid("only additions are allowed (no mutations or deletions)"));
            }
        }
    }
    let only_nodes = |affinity: &Value| !affinity.has("podAffinity") && !affinity.has("podAntiAffinity");
    if old.has("affinity") || !only_nodes(rest.at("affinity")) {
        rest.at_mut("affinity").copy_from(old.at("affinity"), &["nodeAffinity"]);
    } else {
        rest.drop_key("affinity");
    }
}

fn only_adds(new: &Value, old: &Value) -> bool {
    const LISTS: [&str; 2] = ["matchExpressions", "matchFields"];
    let was_empty = LISTS.iter().all(|key| old.list(key).is_empty());
    let is_empty = LISTS.iter().all(|key| new.list(key).is_empty());
    let extends = |key: &str| {
        let (new, old) = (new.list(key), old.list(key));
        new.len() >= old.len() && new.iter().zip(old).all(|(new, old)| same(new, old))
    };
    (!was_empty || is_empty) && LISTS.iter().all(|key| extends(key))
}

/// `/ephemeralcontainers`: adds containers for looking into a running pod, and never takes one away.
pub(super) struct EphemeralContainers;

impl Strategy for EphemeralContainers {
    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        let added = new.at("spec").at("ephemeralContainers").clone();
        keep_all_but_spec(new, old);
        new.copy_from(old, &["spec"]);
        if !added.is_null() {
            new.at_mut("spec").set("ephemeralContainers", added);
        } else if let Some(spec) = new.get_mut("spec") {
            spec.drop_key("ephemeralContainers");
        }
        prepare::drop_disabled(new.at_mut("spec"), old.at("spec"));
        move_generation(new, old);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        metadata_and_spec(new, &Rules::for_update_of(old), errs);
        if old.path(&["metadata", "annotations"]).has("kubernetes.io/config.mirror") {
            errs.clear();
            errs.push(new.child("").forbidden("static pods do not support ephemeral containers"));
            return;
        }
        let spec = new.child("spec");
        let list = spec.child("ephemeralContainers");
        for before in old.at("spec").list("ephemeralContainers") {
            let name = grammar::go::quote(before.text("name"));
            let complaint = match list.items().find(|now| now.text("name") == before.text("name")) {
                None => format!("existing ephemeral containers {name} may not be removed\n"),
                Some(now) if !same(now.value(), before) => {
                    format!(
                        "existing ephemeral containers {name} may not be changed\n{}",
                        difference(before, &now)
                    )
                }
                Some(_) => continue,
            };
            errs.push(list.forbidden(complaint));
        }
    }
}

/// Subresources of the spec leave status and most metadata alone.
pub(super) fn keep_all_but_spec(new: &mut Value, old: &Value) {
    new.copy_from(old, &["status"]);
    for key in [
        "deletionTimestamp",
        "generateName",
        "selfLink",
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
    ] {
        new.copy_from(old, &["metadata", key]);
    }
}

/// The generation moves with the spec, whoever changes it.
pub(super) fn move_generation(new: &mut Value, old: &Value) {
    if !same(new.at("spec"), old.at("spec")) {
        let generation = old.at("metadata").int("generation").unwrap_or_default();
        new.at_mut("metadata").set("generation", generation + 1);
    }
}
