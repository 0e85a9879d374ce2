//! Pod: containers that share a network and volumes, and run on one node.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use grammar::names;
use serde_json::{Value, json};

use crate::column::{AGE, NAME, described, documented};
use crate::core::{pod_resize, pod_row, pod_status, pod_update};
use crate::kind::{Kind, Selectable, Subresource, Verb, names as texts};
use crate::node::Node;
use crate::pod::{self, Rules, containers, defaults, prepare, security};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};

pub(crate) fn kind() -> Kind {
    const SPEC: &str = "io.k8s.api.core.v1.PodSpec";
    const STATUS: &str = "io.k8s.api.core.v1.PodStatus";
    const STREAM: [Verb; 2] = [Verb::Create, Verb::Get];
    const PROXY: [Verb; 5] = [Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];
    Kind {
        short_names: texts(&["po"]),
        categories: texts(&["all"]),
        resets: vec![&["status"]],
        generation: vec![&["spec"]],
        subresources: vec![
            Subresource::status(
                &[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]],
                pod_status::Status,
            ),
            Subresource::part("ephemeralcontainers", &[&["status"]], pod_update::EphemeralContainers),
            Subresource::part("resize", &[&["status"]], pod_resize::Resize),
            Subresource::special("binding", &[Verb::Create], ("", "v1", "Binding")),
            Subresource::special("eviction", &[Verb::Create], ("policy", "v1", "Eviction")),
            Subresource::special("log", &[Verb::Get], ("", "v1", "Pod")),
            Subresource::special("exec", &STREAM, ("", "v1", "PodExecOptions")),
            Subresource::special("attach", &STREAM, ("", "v1", "PodAttachOptions")),
            Subresource::special("portforward", &STREAM, ("", "v1", "PodPortForwardOptions")),
            Subresource::special("proxy", &PROXY, ("", "v1", "PodProxyOptions")),
        ],
        selectable: vec![
            Selectable::field("spec.nodeName"),
            Selectable::field("spec.restartPolicy"),
            Selectable::field("spec.schedulerName"),
            Selectable::field("spec.serviceAccountName"),
            Selectable::field("spec.hostNetwork").or("false"),
            Selectable::field("status.phase"),
            Selectable::at("status.podIP", &["status.podIPs.0.ip"]),
            Selectable::field("status.nominatedNodeName"),
        ],
        columns: vec![
            NAME,
            described("Ready", "The aggregate readiness state of this pod for accepting traffic."),
            described("Status", "The aggregate status of the containers in this pod."),
            described(
                "Restarts",
                "The number of times the containers in this pod have been restarted and when the last \
                 container in this pod has restarted.",
            ),
            AGE,
            documented("IP", STATUS, "podIP").wide(),
            documented("Node", SPEC, "nodeName").wide(),
            documented("Nominated Node", STATUS, "nominatedNodeName").wide(),
            documented("Readiness Gates", SPEC, "readinessGates").wide(),
        ],
        strategy: Arc::new(Pod),
        ..Kind::namespaced("", "v1", "Pod", "pods")
    }
}

pub(super) struct Pod;

impl Strategy for Pod {
    fn default(&self, _version: &str, obj: &mut Value) {
        defaults::pod(obj);
        defaults::spec(obj.at_mut("spec"));
    }

    fn prepare_create(&self, obj: &mut Value, cx: &Context<'_>) {
        obj.set("status", json!({"phase": "Pending"}));
        prepare::drop_init_annotations(obj);
        prepare::drop_disabled(obj.at_mut("spec"), &Value::Null);
        prepare::gate(obj, cx.now);
        prepare::merge_label_keys(obj);
        prepare::app_armor_from_annotations(obj);
        prepare::pod_level_resources(obj.at_mut("spec"));
        let class = prepare::qos_class(obj.at("spec"));
        obj.at_mut("status").set("qosClass", class);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        if !new.at("spec").has("resources") {
            new.copy_from(old, &["spec", "resources"]);
        }
        prepare::drop_init_annotations(new);
        prepare::drop_disabled(new.at_mut("spec"), old.at("spec"));
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        metadata_and_spec(obj, &Rules::for_pod(), errs);
        let spec = obj.child("spec");
        let ephemeral = spec.child("ephemeralContainers");
        if !ephemeral.is_empty() {
            errs.push(ephemeral.forbidden("cannot be set on create"));
        }
        if !spec.text("nodeName").is_empty() && !spec.list("schedulingGates").is_empty() {
            errs.push(
                spec.child("nodeName").forbidden("cannot be set until all schedulingGates have been cleared"),
            );
        }
        security::annotations_match_fields(obj.at("metadata"), &spec, errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        pod_update::validate(new, old, errs);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        if old.is_some() {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        let complaints = names::dns1123_label(new.at("metadata").text("name"));
        if !complaints.is_empty() {
            warnings.push(format!(
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; \
                 a DNS label is recommended: [{}]",
                complaints.join(" ")
            ));
        }
        warnings.extend(pod::warnings::of(&Node::root(new), false));
        warnings
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        pod_row::cells(obj, now)
    }

    fn grace_period(&self, obj: &Value, requested: Option<i64>) -> Option<i64> {
        let finished = matches!(obj.at("status").text("phase"), "Failed" | "Succeeded");
        let spec = obj.at("spec");
        let period = match requested.or(spec.int("terminationGracePeriodSeconds")) {
            _ if finished || spec.text("nodeName").is_empty() => 0,
            Some(seconds) if seconds < 0 => 1,
            period => period.unwrap_or_default(),
        };
        Some(period)
    }
}

/// What holds of a pod whenever its spec may change.
pub(super) fn metadata_and_spec(obj: &Node<'_>, rules: &Rules, errs: &mut ErrorList) {
    let (metadata, spec) = (obj.child("metadata"), obj.child("spec"));
    pod::validate_annotations(&metadata.child("annotations"), &spec, rules, errs);
    pod::validate_spec(&spec, metadata.value(), rules, errs);
    if spec.text("serviceAccountName").is_empty() {
        for volume in spec.child("volumes").items() {
            let projected = volume.child("projected");
            for source in projected.child("sources").items() {
                if source.has("serviceAccountToken") {
                    errs.push(
                        source
                            .child("serviceAccountToken")
                            .forbidden("must not be specified when serviceAccountName is not set"),
                    );
                }
            }
        }
    }
    spec.child("terminationGracePeriodSeconds").not_negative(errs);
    for key in ["containers", "initContainers"] {
        for container in spec.child(key).items() {
            containers::trimmed_image(&container, errs);
        }
    }
}
