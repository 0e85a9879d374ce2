//! ReplicationController: so many pods of one template, selected by plain labels.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use grammar::selector::label::format_labels;
use serde_json::Value;

use crate::apps::replica_set::replicas_status;
use crate::column::{self, AGE, NAME, described, documented};
use crate::kind::{Dependents, Kind, Selectable, Subresource, names as texts};
use crate::node::Node;
use crate::pod::{Rules, defaults, prepare};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};
use crate::workload;

pub(crate) fn kind() -> Kind {
    const SPEC: &str = "io.k8s.api.core.v1.ReplicationControllerSpec";
    const STATUS: &str = "io.k8s.api.core.v1.ReplicationControllerStatus";
    Kind {
        short_names: texts(&["rc"]),
        categories: texts(&["all"]),
        key_prefix: "/registry/controllers".into(),
        dependents: Dependents::Orphan,
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
        strategy: Arc::new(ReplicationController),
        ..Kind::namespaced("", "v1", "ReplicationController", "replicationcontrollers")
    }
}

struct ReplicationController;

impl Strategy for ReplicationController {
    fn default(&self, _version: &str, obj: &mut Value) {
        let labels = obj.path(&["spec", "template", "metadata", "labels"]).clone();
        if !labels.is_null() {
            if obj.at("spec").at("selector").is_nothing() {
                obj.at_mut("spec").set("selector", labels.clone());
            }
            if obj.at("metadata").at("labels").is_nothing() {
                obj.at_mut("metadata").set("labels", labels);
            }
        }
        let spec = obj.at_mut("spec");
        spec.set_default("replicas", 1);
        if spec.has("template") {
            defaults::spec(spec.at_mut("template").at_mut("spec"));
        }
    }

    fn prepare_create(&self, obj: &mut Value, _cx: &Context<'_>) {
        drop_disabled(obj, &Value::Null);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        drop_disabled(new, old.path(&["spec", "template"]));
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate_spec(&obj.child("spec"), &Rules::default(), errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let rules = Rules::for_template_update(old.path(&["spec", "template"]));
        validate_spec(&new.child("spec"), &rules, errs);
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
            format_labels(spec.entries("selector").map(text_entry)).into(),
        ]
    }
}

fn text_entry<'a>((key, value): (&'a str, &'a Value)) -> (&'a str, &'a str) {
    (key, value.as_str().unwrap_or_default())
}

fn drop_disabled(obj: &mut Value, old: &Value) {
    let spec = obj.at_mut("spec");
    if spec.has("template") {
        prepare::template(spec.at_mut("template"), old);
    }
}

fn validate_spec(spec: &Node<'_>, rules: &Rules, errs: &mut ErrorList) {
    workload::counts(spec, &["minReadySeconds", "replicas"], errs);
    let (selector, template) = (spec.child("selector"), spec.child("template"));
    if selector.is_empty() {
        errs.push(selector.required(""));
    }
    if !template.is_set() {
        errs.push(template.required(""));
        return;
    }
    let labels = template.path(&["metadata", "labels"]);
    if selector.pairs().any(|(key, value)| labels.at(key) != value.value()) {
        workload::template_matches(&template, errs);
    }
    workload::endless_template(&template, "ReplicationController", rules, errs);
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
