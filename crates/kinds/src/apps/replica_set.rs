//! ReplicaSet: so many pods of one template.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use serde_json::Value;

use crate::column::{self, AGE, NAME, described, documented};
use crate::kind::{Kind, Selectable, Subresource, names as texts};
use crate::node::Node;
use crate::pod::{Rules, defaults, prepare};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};
use crate::workload::{self, Match};

pub(crate) fn kind() -> Kind {
    const SPEC: &str = "io.k8s.api.apps.v1.ReplicaSetSpec";
    const STATUS: &str = "io.k8s.api.apps.v1.ReplicaSetStatus";
    Kind {
        short_names: texts(&["rs"]),
        categories: texts(&["all"]),
        resets: vec![&["status"]],
        generation: vec![&["spec"]],
        subresources: vec![Subresource::status(&[&["spec"]], Status), Subresource::scale()],
        selectable: vec![Selectable::field("status.replicas").or("0")],
        columns: vec![
            NAME,
            documented("Desired", SPEC, "replicas").integer(),
            documented("Current", STATUS, "replicas").integer(),
            documented("Ready", STATUS, "readyReplicas").integer(),
            AGE,
            described("Containers", "Names of each container in the template.").wide(),
            described("Images", "Images referenced by each container in the template.").wide(),
            documented("Selector", SPEC, "selector").wide(),
        ],
        strategy: Arc::new(ReplicaSet),
        ..Kind::namespaced("apps", "v1", "ReplicaSet", "replicasets")
    }
}

struct ReplicaSet;

impl Strategy for ReplicaSet {
    fn default(&self, _version: &str, obj: &mut Value) {
        let spec = obj.at_mut("spec");
        spec.set_default("replicas", 1);
        defaults::spec(spec.at_mut("template").at_mut("spec"));
    }

    fn prepare_create(&self, obj: &mut Value, _cx: &Context<'_>) {
        prepare::template(obj.at_mut("spec").at_mut("template"), &Value::Null);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        prepare::template(new.at_mut("spec").at_mut("template"), old.path(&["spec", "template"]));
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate_spec(&obj.child("spec"), &Rules::default(), errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let spec = new.child("spec");
        validate_spec(&spec, &Rules::for_template_update(old.path(&["spec", "template"])), errs);
        spec.child("selector").immutable(old.path(&["spec", "selector"]), errs);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        let name = match old {
            None => workload::name_warning(new, "Pod names and hostnames"),
            Some(_) => None,
        };
        name.into_iter().chain(workload::template_warnings(new, old)).collect()
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let (spec, status) = (obj.at("spec"), obj.at("status"));
        let [containers, images] = column::containers_and_images(spec.path(&["template", "spec"]));
        vec![
            column::name(obj),
            spec.int("replicas").unwrap_or_default().into(),
            status.int("replicas").unwrap_or_default().into(),
            status.int("readyReplicas").unwrap_or_default().into(),
            column::age(obj, now),
            containers,
            images,
            workload::selector_cell(spec.at("selector")),
        ]
    }
}

struct Status;

impl Strategy for Status {
    fn validate_update(&self, new: &Node<'_>, _old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let status = new.child("status");
        workload::counts(&status, &["replicas", "fullyLabeledReplicas", "observedGeneration"], errs);
        workload::not_above(&status, "fullyLabeledReplicas", "replicas", "status.replicas", errs);
        replicas_status(&status, errs);
    }
}

/// Counts that the statuses of replicated workloads share.
pub(crate) fn replicas_status(status: &Node<'_>, errs: &mut ErrorList) {
    workload::counts(status, &["readyReplicas", "availableReplicas", "terminatingReplicas"], errs);
    for key in ["readyReplicas", "availableReplicas"] {
        workload::not_above(status, key, "replicas", "status.replicas", errs);
    }
    workload::not_above(status, "availableReplicas", "readyReplicas", "readyReplicas", errs);
}

fn validate_spec(spec: &Node<'_>, rules: &Rules, errs: &mut ErrorList) {
    workload::counts(spec, &["replicas", "minReadySeconds"], errs);
    let selector = spec.child("selector");
    if selector.is_set() {
        workload::selector(&selector, "deployment", false, errs);
    } else {
        errs.push(selector.required(""));
    }
    if !selected_template(spec, "ReplicaSet", rules, errs) {
        errs.push(selector.invalid("invalid label selector"));
    }
}

/// The template, and that the selector selects its pods. Answers whether the selector could be read.
pub(crate) fn selected_template(spec: &Node<'_>, kind: &str, rules: &Rules, errs: &mut ErrorList) -> bool {
    let template = spec.child("template");
    match workload::matches(spec.at("selector"), &template) {
        Match::Unknown => return false,
        Match::No => workload::template_matches(&template, errs),
        Match::Yes => {}
    }
    workload::endless_template(&template, kind, rules, errs);
    true
}
