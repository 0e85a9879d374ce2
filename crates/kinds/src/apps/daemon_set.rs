//! DaemonSet: one pod on every node that fits.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::{self, BadValue, ErrorList};
use grammar::selector::label::format_labels;
use serde_json::{Value, json};

use crate::check;
use crate::column::{self, AGE, NAME, described, documented};
use crate::kind::{Kind, Subresource, names as texts};
use crate::node::Node;
use crate::pod::{Rules, defaults, prepare};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut, same};
use crate::workload::{self, Match};

/// Counts changes of the template; older controllers labelled pods with it.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

pub(crate) fn kind() -> Kind {
    const SPEC: &str = "io.k8s.api.apps.v1.DaemonSetSpec";
    const STATUS: &str = "io.k8s.api.apps.v1.DaemonSetStatus";
    Kind {
        short_names: texts(&["ds"]),
        categories: texts(&["all"]),
        resets: vec![&["status"]],
        generation: vec![&["spec"]],
        subresources: vec![Subresource::status(&[&["spec"]], Status)],
        columns: vec![
            NAME,
            documented("Desired", STATUS, "desiredNumberScheduled").integer(),
            documented("Current", STATUS, "currentNumberScheduled").integer(),
            documented("Ready", STATUS, "numberReady").integer(),
            documented("Up-to-date", STATUS, "updatedNumberScheduled").integer(),
            documented("Available", STATUS, "numberAvailable").integer(),
            documented("Node Selector", "io.k8s.api.core.v1.PodSpec", "nodeSelector"),
            AGE,
            described("Containers", "Names of each container in the template.").wide(),
            described("Images", "Images referenced by each container in the template.").wide(),
            documented("Selector", SPEC, "selector").wide(),
        ],
        strategy: Arc::new(DaemonSet),
        ..Kind::namespaced("apps", "v1", "DaemonSet", "daemonsets")
    }
}

struct DaemonSet;

impl Strategy for DaemonSet {
    fn default(&self, _version: &str, obj: &mut Value) {
        let spec = obj.at_mut("spec");
        let strategy = spec.at_mut("updateStrategy");
        strategy.set_default("type", "RollingUpdate");
        if strategy.text("type") == "RollingUpdate" {
            let rolling = strategy.at_mut("rollingUpdate");
            for (key, default) in [("maxUnavailable", 1), ("maxSurge", 0)] {
                if !rolling.has(key) {
                    rolling.set(key, default);
                }
            }
        }
        spec.set_default("revisionHistoryLimit", 10);
        defaults::spec(spec.at_mut("template").at_mut("spec"));
    }

    fn prepare_create(&self, obj: &mut Value, _cx: &Context<'_>) {
        if template_generation(obj) < 1 {
            set_template_generation(obj, 1);
        }
        prepare::template(obj.at_mut("spec").at_mut("template"), &Value::Null);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        let before = old.path(&["spec", "template"]);
        prepare::template(new.at_mut("spec").at_mut("template"), before);
        let changed = !same(new.path(&["spec", "template"]), before);
        set_template_generation(new, template_generation(old) + i64::from(changed));
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate_spec(&obj.child("spec"), &Rules::default(), false, errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let spec = new.child("spec");
        let before = old.at("spec");
        spec.child("selector").immutable(before.at("selector"), errs);
        let mut rules = Rules::for_template_update(before.at("template"));
        let lenient = rules.affinity_values || check::has_invalid_label_value(before.at("selector"));
        rules.affinity_values = lenient;
        validate_spec(&spec, &rules, lenient, errs);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        if old.is_some_and(|old| template_generation(old) == template_generation(new)) {
            return Vec::new();
        }
        workload::template_warnings(new, None)
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let (spec, status) = (obj.at("spec"), obj.at("status"));
        let count = |key: &str| -> Value { status.int(key).unwrap_or_default().into() };
        let pod = spec.path(&["template", "spec"]);
        let nodes = pod.entries("nodeSelector").map(|(key, value)| (key, value.as_str().unwrap_or_default()));
        let [containers, images] = column::containers_and_images(pod);
        vec![
            column::name(obj),
            count("desiredNumberScheduled"),
            count("currentNumberScheduled"),
            count("numberReady"),
            count("updatedNumberScheduled"),
            count("numberAvailable"),
            format_labels(nodes).into(),
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
        const COUNTS: [&str; 9] = [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ];
        let status = new.child("status");
        workload::counts(&status, &COUNTS, errs);
        workload::collisions(&status, old.at("status"), errs);
    }
}

fn template_generation(obj: &Value) -> i64 {
    obj.path(&["metadata", "annotations"]).text(TEMPLATE_GENERATION).parse().unwrap_or_default()
}

fn set_template_generation(obj: &mut Value, generation: i64) {
    obj.at_mut("metadata").at_mut("annotations").set(TEMPLATE_GENERATION, generation.to_string());
}

fn validate_spec(spec: &Node<'_>, rules: &Rules, lenient: bool, errs: &mut ErrorList) {
    let (selector, template) = (spec.child("selector"), spec.child("template"));
    if selector.is_set() {
        workload::selector(&selector, "daemonset", lenient, errs);
    }
    if matches!(workload::matches(selector.value(), &template), Match::No) {
        workload::template_matches(&template, errs);
    }
    workload::endless_template(&template, "DaemonSet", rules, errs);
    workload::counts(spec, &["minReadySeconds", "revisionHistoryLimit"], errs);
    update_strategy(&spec.child("updateStrategy"), errs);
}

fn update_strategy(strategy: &Node<'_>, errs: &mut ErrorList) {
    match strategy.text("type") {
        "OnDelete" => {}
        "RollingUpdate" => rolling_update(&strategy.child("rollingUpdate"), errs),
        _ => errs.push(field::not_supported(
            &strategy.path,
            BadValue::Json(json!(strategy.value())),
            &["RollingUpdate", "OnDelete"],
        )),
    }
}

/// Nodes are without a pod for a while, or have two: one of the two, and not both.
fn rolling_update(rolling: &Node<'_>, errs: &mut ErrorList) {
    if !rolling.is_set() {
        errs.push(rolling.required(""));
        return;
    }
    let (unavailable, surge) = (rolling.child("maxUnavailable"), rolling.child("maxSurge"));
    for node in [&unavailable, &surge] {
        workload::int_or_percent(node, errs);
        workload::at_most_all(node, errs);
    }
    match (workload::amount(&unavailable) != 0, workload::amount(&surge) != 0) {
        (true, true) => errs.push(surge.invalid("may not be set when maxUnavailable is non-zero")),
        (false, false) => errs.push(unavailable.required("cannot be 0 when maxSurge is 0")),
        _ => {}
    }
}
