//! HorizontalPodAutoscaler: moves the number of a workload's pods with what they are asked to do.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use grammar::names;
use serde_json::{Value, json};

use crate::autoscaling::{conversion, metrics};
use crate::check;
use crate::column::{self, AGE, NAME, documented};
use crate::kind::{Conversion, Kind, Subresource, Version, names as texts};
use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};
use crate::workload;

const MAX_WINDOW_SECONDS: i64 = 3600;
const MAX_PERIOD_SECONDS: i64 = 1800;
const DIRECTIONS: [&str; 2] = ["scaleUp", "scaleDown"];

pub(crate) fn kind() -> Kind {
    const SPEC: &str = "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec";
    const STATUS: &str = "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerStatus";
    let v1 = Conversion { to_stored: conversion::from_v1, from_stored: conversion::to_v1 };
    Kind {
        short_names: texts(&["hpa"]),
        categories: texts(&["all"]),
        versions: vec![Version::of("v2"), Version { convert: Some(v1), ..Version::of("v1") }],
        resets: vec![&["status"]],
        generation: vec![&["spec"]],
        subresources: vec![Subresource::status(&[&["spec"]], Status)],
        columns: vec![
            NAME,
            documented("Reference", SPEC, "scaleTargetRef"),
            documented("Targets", SPEC, "metrics"),
            documented("MinPods", SPEC, "minReplicas"),
            documented("MaxPods", SPEC, "maxReplicas"),
            documented("Replicas", STATUS, "currentReplicas"),
            AGE,
        ],
        strategy: Arc::new(HorizontalPodAutoscaler),
        ..Kind::namespaced("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
    }
}

struct HorizontalPodAutoscaler;

impl Strategy for HorizontalPodAutoscaler {
    fn default(&self, version: &str, obj: &mut Value) {
        let spec = obj.at_mut("spec");
        spec.set_default("minReplicas", 1);
        if version == "v1" {
            return;
        }
        if spec.at("metrics").is_nothing() {
            spec.set("metrics", json!([metrics::default_metric()]));
        }
        if spec.has("behavior") {
            for direction in DIRECTIONS {
                default_rules(direction, spec.at_mut("behavior").at_mut(direction));
            }
        }
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate_spec(&obj.child("spec"), &Value::Null, errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate_spec(&new.child("spec"), old.at("spec"), errs);
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let (spec, status) = (obj.at("spec"), obj.at("status"));
        let target = spec.at("scaleTargetRef");
        let min = spec.int("minReplicas").map_or_else(|| "<unset>".to_owned(), |min| min.to_string());
        vec![
            column::name(obj),
            format!("{}/{}", target.text("kind"), target.text("name")).into(),
            metrics::cell(spec.list("metrics"), status.list("currentMetrics")).into(),
            min.into(),
            spec.int("maxReplicas").unwrap_or_default().into(),
            status.int("currentReplicas").unwrap_or_default().into(),
            column::age(obj, now),
        ]
    }
}

struct Status;

impl Strategy for Status {
    fn validate_update(&self, new: &Node<'_>, _old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let status = new.child("status");
        for condition in status.child("conditions").items() {
            workload::counts(&condition, &["observedGeneration"], errs);
        }
        workload::counts(&status, &["currentReplicas", "desiredReplicas"], errs);
    }
}

/// How fast to scale where nothing is said: up by 4 pods or double in 15 seconds, down to anything at once.
fn default_rules(direction: &str, rules: &mut Value) {
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let policies = match direction {
        "scaleUp" => {
            rules.set_default("stabilizationWindowSeconds", 0);
            json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, percent])
        }
        _ => json!([percent]),
    };
    rules.set_default("selectPolicy", "Max");
    rules.set_default("policies", policies);
}

fn validate_spec(spec: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    let (min, max) = (spec.child("minReplicas"), spec.child("maxReplicas"));
    if min.number() < 0 {
        errs.push(min.invalid("must be greater than or equal to 0"));
    }
    match max.number() {
        0 => errs.push(max.required("")),
        ..0 => errs.push(max.invalid("must be greater than or equal to 1")),
        _ => {}
    }
    if min.is_set() && max.number() < min.number() {
        errs.push(max.invalid_number("must be greater than or equal to `minReplicas`"));
    }
    target(&spec.child("scaleTargetRef"), old.at("scaleTargetRef"), errs);
    metrics::validate(spec, old, errs);
    for direction in DIRECTIONS {
        let behavior = spec.child("behavior");
        let rules = behavior.child(direction);
        if rules.is_set() {
            validate_rules(&rules, errs);
        }
    }
}

fn target(target: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    reference_names(target, errs);
    let same = old.is_object() && ["apiVersion", "kind"].iter().all(|key| old.text(key) == target.text(key));
    let core = target.text("kind") == "ReplicationController";
    if !same {
        api_version(target, core, errs);
    }
}

/// The kind and name of a reference to an object of any group.
pub(super) fn reference_names(reference: &Node<'_>, errs: &mut ErrorList) {
    for key in ["kind", "name"] {
        let node = reference.child(key);
        match node.str() {
            "" => errs.push(node.required("")),
            text => node.complaints(names::path_segment_name(text), errs),
        }
    }
}

/// The group and version of a reference; the core group only where `core` is set.
pub(super) fn api_version(reference: &Node<'_>, core: bool, errs: &mut ErrorList) {
    let node = reference.child("apiVersion");
    let text = node.str();
    let complaint = match text.matches('/').count() {
        0 if core => return,
        0 => "apiVersion must specify API group".to_owned(),
        1 => {
            let group = text.split('/').next().unwrap_or_default();
            if group.is_empty() && !core {
                "apiVersion must specify API group".to_owned()
            } else {
                return;
            }
        }
        _ => format!("unexpected GroupVersion string: {text}"),
    };
    errs.push(node.invalid_text(complaint));
}

fn validate_rules(rules: &Node<'_>, errs: &mut ErrorList) {
    let (window, select) = (rules.child("stabilizationWindowSeconds"), rules.child("selectPolicy"));
    if window.number() < 0 {
        errs.push(window.invalid("must be greater than or equal to zero"));
    }
    if window.number() > MAX_WINDOW_SECONDS {
        errs.push(window.invalid(format!("must be less than or equal to {MAX_WINDOW_SECONDS}")));
    }
    if select.is_set() {
        select.one_of(&["Disabled", "Max", "Min"], errs);
    }
    let policies = rules.child("policies");
    if policies.is_empty() {
        errs.push(policies.required("must specify at least one Policy"));
    }
    for policy in policies.items() {
        policy.child("type").one_of(&["Percent", "Pods"], errs);
        let period = policy.child("periodSeconds");
        check::positive(&policy.child("value"), errs);
        check::positive(&period, errs);
        if period.number() > MAX_PERIOD_SECONDS {
            errs.push(period.invalid(format!("must be less than or equal to {MAX_PERIOD_SECONDS}")));
        }
    }
    let tolerance = rules.child("tolerance");
    if tolerance.is_set() {
        check::not_negative_quantity(&tolerance, errs);
    }
}
