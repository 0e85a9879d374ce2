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
    let mut statuses = old.at("status").list("containerStatuses").iter();
    if statuses
        .find(|status| status.at("state").has("running"))
        .is_some_and(|status| !status.has("resources"))
    {
        errs.push(spec.forbidden("Pod running on node without support for resize"));
    }
    let mut rest = spec.value().clone();
    pod_level(spec, before, &mut rest, errs);
    let ordered = errs.len();
    LISTS.iter().for_each(|key| same_containers(&spec.child(key), key, before.list(key), errs));
    if errs.len() > ordered {
        return;
    }
    for key in LISTS {
        for (container, before) in spec.child(key).items().zip(before.list(key)) {
            container_resize(&container, before, errs);
        }
    }
    for key in LISTS {
        for (index, (container, before)) in rest.items_mut(key).zip(before.list(key)).enumerate() {
            let modified = !same(container, before);
            restore_cpu_and_memory(container, before);
            let (list, kept) = (spec.child(key), same(container, before));
            if key == "containers" {
                if !kept {
                    errs.push(spec.forbidden(ONLY_CPU_AND_MEMORY));
                }
                continue;
            }
            if !kept {
                errs.push(
                    list.item(index).forbidden(
                        "only cpu and memory resources for init or sidecar containers are mutable",
                    ),
                );
            }
            if modified && container.text("restartPolicy") != "Always" {
                for _ in restarting_policies(container) {
                    errs.push(list.item(index).forbidden(
                        "non-sidecar init containers with a resize policy of RestartContainer cannot be resized",
                    ));
                }
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

fn restarting_policies(container: &Value) -> impl Iterator<Item = &Value> {
    container.list("resizePolicy").iter().filter(|policy| policy.text("restartPolicy") == "RestartContainer")
}

/// The containers are the same ones in the same order.
fn same_containers(containers: &Node<'_>, key: &str, before: &[Value], errs: &mut ErrorList) {
    if containers.len() != before.len() {
        errs.push(containers.forbidden(format!("{key} may not be added or removed on resize")));
        return;
    }
    for (container, before) in containers.items().zip(before) {
        if container.text("name") != before.text("name") {
            let complaint = format!("{key} may not be renamed or reordered on resize");
            errs.push(container.child("name").forbidden(complaint));
        }
    }
}

/// What the pod's containers share follows the same rules.
fn pod_level(spec: &Node<'_>, before: &Value, rest: &mut Value, errs: &mut ErrorList) {
    let resources = spec.child("resources");
    if before.at("resources").is_nothing() && !resources.is_set() {
        return;
    }
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
        if before.path(&["resources", key]).is_null()
            && holder.path(&["resources", key]).is_nothing()
            && let Some(resources) = holder.get_mut("resources")
        {
            resources.drop_key(key);
        }
    }
    if !before.has("resources") && holder.at("resources").is_nothing() {
        holder.drop_key("resources");
    }
}
