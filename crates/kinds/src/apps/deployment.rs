//! Deployment: replica sets, one after the other.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::{BadValue, ErrorList};
use serde_json::{Value, json};

use crate::apps::replica_set::{replicas_status, selected_template};
use crate::column::{self, AGE, NAME, described, documented};
use crate::kind::{Kind, Subresource, names as texts};
use crate::node::Node;
use crate::pod::{Rules, defaults, prepare};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};
use crate::workload;

pub(crate) fn kind() -> Kind {
    const SPEC: &str = "io.k8s.api.apps.v1.DeploymentSpec";
    const STATUS: &str = "io.k8s.api.apps.v1.DeploymentStatus";
    Kind {
        short_names: texts(&["deploy"]),
        categories: texts(&["all"]),
        resets: vec![&["status"]],
        // Annotations are copied to replica sets, so a change of them is one of the template too.
        generation: vec![&["spec"], &["metadata", "annotations"]],
        subresources: vec![
            Subresource::status(&[&["spec"], &["metadata", "labels"]], Status),
            Subresource::scale(),
        ],
        columns: vec![
            NAME,
            described("Ready", "Number of the pod with ready state"),
            documented("Up-to-date", STATUS, "updatedReplicas"),
            documented("Available", STATUS, "availableReplicas"),
            AGE,
            described("Containers", "Names of each container in the template.").wide(),
            described("Images", "Images referenced by each container in the template.").wide(),
            documented("Selector", SPEC, "selector").wide(),
        ],
        strategy: Arc::new(Deployment),
        ..Kind::namespaced("apps", "v1", "Deployment", "deployments")
    }
}

struct Deployment;

impl Strategy for Deployment {
    fn default(&self, _version: &str, obj: &mut Value) {
        let spec = obj.at_mut("spec");
        spec.set_default("replicas", 1);
        let strategy = spec.at_mut("strategy");
        strategy.set_default("type", "RollingUpdate");
        if strategy.text("type") == "RollingUpdate" {
            let rolling = strategy.at_mut("rollingUpdate");
            for key in ["maxUnavailable", "maxSurge"] {
                if !rolling.has(key) {
                    rolling.set(key, "25%");
                }
            }
        }
        spec.set_default("revisionHistoryLimit", 10);
        spec.set_default("progressDeadlineSeconds", 600);
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
        let count = |key: &str| status.int(key).unwrap_or_default();
        let [containers, images] = column::containers_and_images(spec.path(&["template", "spec"]));
        vec![
            column::name(obj),
            format!("{}/{}", count("readyReplicas"), spec.int("replicas").unwrap_or_default()).into(),
            count("updatedReplicas").into(),
            count("availableReplicas").into(),
            column::age(obj, now),
            containers,
            images,
            workload::selector_cell(spec.at("selector")),
        ]
    }
}

struct Status;

impl Strategy for Status {
    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let status = new.child("status");
        workload::counts(
            &status,
            &["observedGeneration", "replicas", "updatedReplicas", "unavailableReplicas", "collisionCount"],
            errs,
        );
        workload::not_above(&status, "updatedReplicas", "replicas", "status.replicas", errs);
        replicas_status(&status, errs);
        workload::collisions(&status, old.at("status"), errs);
    }
}

fn validate_spec(spec: &Node<'_>, rules: &Rules, errs: &mut ErrorList) {
    spec.child("replicas").not_negative(errs);
    let selector = spec.child("selector");
    if selector.is_set() {
        workload::selector(&selector, "deployment", false, errs);
    } else {
        errs.push(selector.required(""));
    }
    if !selected_template(spec, "ReplicaSet", rules, errs) {
        errs.push(selector.invalid("invalid label selector"));
    }
    strategy(&spec.child("strategy"), errs);
    workload::counts(spec, &["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"], errs);
    let deadline = spec.child("progressDeadlineSeconds");
    if deadline.is_set() && deadline.number() <= spec.int("minReadySeconds").unwrap_or_default() {
        errs.push(deadline.invalid("must be greater than minReadySeconds"));
    }
}

fn strategy(strategy: &Node<'_>, errs: &mut ErrorList) {
    let rolling = strategy.child("rollingUpdate");
    match strategy.text("type") {
        "Recreate" if rolling.is_set() => {
            errs.push(rolling.forbidden("may not be specified when strategy `type` is 'Recreate'"));
        }
        "Recreate" => {}
        "RollingUpdate" if !rolling.is_set() => {
            errs.push(rolling.required("this should be defaulted and never be nil"));
        }
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.child("maxUnavailable"), rolling.child("maxSurge"));
            workload::int_or_percent(&unavailable, errs);
            workload::int_or_percent(&surge, errs);
            if workload::amount(&unavailable) == 0 && workload::amount(&surge) == 0 {
                errs.push(unavailable.invalid("may not be 0 when `maxSurge` is 0"));
            }
            workload::at_most_all(&unavailable, errs);
        }
        _ => errs.push(grammar::field::not_supported(
            &strategy.path,
            BadValue::Json(json!(strategy.value())),
            &["Recreate", "RollingUpdate"],
        )),
    }
}
