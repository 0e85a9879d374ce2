//! `/resize`: changes what containers may use while they run.

use grammar::field::ErrorList;
use serde_json::Value;

use crate::core::pod::metadata_and_spec;
use crate::core::pod_update::{keep_all_but_spec, move_generation};
use crate::node::Node;
use crate::pod::{Rules, prepare};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut, same};

const LISTS: [&str; 2] = ["containers", "initContainers"];
const ONLY_CPU_AND_MEMORY: &str = "only cpu and memory resources are mutable";

pub(super) struct Resize;

impl Strategy for Resize {
    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        let before = old.at("spec");
        if LISTS.iter().all(|key| new.at("spec").list(key).len() == before.list(key).len()) {
            let written = new.at("spec").clone();
            keep_all_but_spec(new, old);
            new.set("spec", before.clone());
            let spec = new.at_mut("spec");
            if written.has("resources") {
                spec.copy_from(&written, &["resources"]);
            }
            for key in LISTS {
                take_resources(spec, key, &written);
            }
        }
        let spec = new.at_mut("spec");
        if spec.has("resources") {
            prepare::pod_level_resources(spec);
        }
        prepare::drop_disabled(spec, before);
        move_generation(new, old);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        metadata_and_spec(new, &Rules::for_update_of(old), errs);
        let refusal = if old.path(&["metadata", "annotations"]).has("kubernetes.io/config.mirror") {
            "static pods cannot be resized"
        } else if old.path(&["spec", "os"]).text("name") == "windows" {
            "windows pods cannot be resized"
        } else {
            ""
        };
        if !refusal.is_empty() {
            errs.clear();
            errs.push(new.child("").forbidden(refusal));
            return;
        }
        resizable(&new.child("spec"), new.value(), old, errs);
    }
}

/// Takes resources and resize policies over when the containers are the same ones; otherwise everything, for
/// validation to refuse.
fn take_resources(spec: &mut Value, key: &str, written: &Value) {
    let same_names =
        spec.list(key).iter().zip(written.list(key)).all(|(old, new)| old.text("name") == new.text("name"));
    if !same_names {
        spec.copy_from(written, &[key]);
        return;
    }
    for (container, new) in spec.items_mut(key).zip(written.list(key)) {
        container.copy_from(new, &["resources"]);
        container.copy_from(new, &["resizePolicy"]);
    }
}

fn resizable(spec: &Node<'_>, new: &Value, old: &Value, errs: &mut ErrorList) {
    let before = old.at("spec");
    let class = match old.at("status").text("qosClass") {
        "" => prepare::qos_class(before),
        class => class,
    };
    if class != prepare::qos_class(spec) {
        errs.push(spec.invalid_as(
            new.at("status").text("qosClass"),
            "Pod QOS Class may not change as a result of resizing",
        ));
    }
    for key in LISTS {
        let containers = spec.child(key);
        if containers.len() != before.list(key).len() {
            errs.push(containers.forbidden(format!("{key} may not be added or removed on resize")));
            return;
        }
        let faults = errs.len();
        for (container, before) in containers.items().zip(before.list(key)) {
            if container.text("name") != before.text("name") {
                errs.push(
                    container
                        .child("name")
                        .forbidden(format!("{key} may not be renamed or reordered on resize")),
                );
            }
        }
        if errs.len() > faults {
            return;
        }
        for (container, before) in containers.items().zip(before.list(key)) {
            if key == "containers" || container.text("restartPolicy") == "Always" {
                container_resize(&container, before, errs);
            }
        }
    }
    let mut rest = spec.value().clone();
    pod_level(spec, before, &mut rest, errs);
    for key in LISTS {
        for (index, (container, before)) in rest.items_mut(key).zip(before.list(key)).enumerate() {
            let modified = !same(container, before);
            let can_resize = key == "containers" || container.text("restartPolicy") == "Always";
            if can_resize {
                restore_cpu_and_memory(container, before);
            }
            if same(container, before) {
                continue;
            }
            if key == "containers" {
                errs.push(spec.forbidden(ONLY_CPU_AND_MEMORY));
            } else if can_resize {
                let (list, complaint) = (
                    spec.child(key),
                    "only cpu and memory resources for init or sidecar containers are mutable",
                );
                errs.push(list.item(index).forbidden(complaint));
            } else if modified {
                errs.push(spec.forbidden("resources for non-sidecar init containers are immutable"));
            }
        }
    }
    if !same(spec.at("volumes"), before.at("volumes")) {
        errs.push(spec.child("volumes").forbidden(
            "volumes are immutable on resize when InPlacePodVerticalScalingMemoryBackedVolumes feature gate is \
             disabled",
        ));
    }
    if errs.is_empty() && !same(&rest, before) {
        errs.push(spec.forbidden(ONLY_CPU_AND_MEMORY));
    }
}

/// What the pod's containers share follows the same rules.
fn pod_level(spec: &Node<'_>, before: &Value, rest: &mut Value, errs: &mut ErrorList) {
    let resources = spec.child("resources");
    if before.has("resources") && !resources.is_set() {
        errs.push(resources.forbidden("pod-level resources cannot be removed"));
        return;
    }
    for key in ["requests", "limits"] {
        let list = resources.child(key);
        if before.at("resources").entries(key).any(|(name, _)| !list.has(name)) {
            errs.push(list.forbidden(format!("pod-level resource {key} cannot be removed")));
        }
    }
    restore_cpu_and_memory(rest, before);
    if !same(rest.at("resources"), before.at("resources")) {
        errs.push(spec.forbidden("only cpu and memory resources are mutable at pod-level"));
    }
}

/// Requests and limits may change; they may not appear out of nothing or go away.
fn container_resize(container: &Node<'_>, before: &Value, errs: &mut ErrorList) {
    let resources = container.child("resources");
    for key in ["limits", "requests"] {
        let list = resources.child(key);
        if before.at("resources").entries(key).any(|(name, _)| !list.has(name)) {
            errs.push(list.forbidden(format!("resource {key} cannot be removed")));
        }
    }
}

fn restore_cpu_and_memory(holder: &mut Value, before: &Value) {
    for key in ["limits", "requests"] {
        for resource in ["cpu", "memory"] {
            let path = ["resources", key, resource];
            if holder.path(&path).is_string() || before.path(&path).is_string() {
                holder.copy_from(before, &path);
            }
        }
        if before.path(&["resources", key]).is_null() && holder.path(&["resources", key]).is_nothing() {
            if let Some(resources) = holder.get_mut("resources") {
                resources.drop_key(key);
            }
        }
    }
    holder.copy_from(before, &["resizePolicy"]);
}
