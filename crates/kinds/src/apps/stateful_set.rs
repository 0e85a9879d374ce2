//! StatefulSet: pods with names and volumes that last.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::clock::Wall;
use grammar::field::{BadValue, ErrorList};
use serde_json::{Value, json};

use crate::claim::{self, Leniency};
use crate::column::{self, AGE, NAME, described};
use crate::kind::{Kind, Subresource, names as texts};
use crate::meta;
use crate::node::Node;
use crate::pod::{self, Rules, defaults, prepare};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};
use crate::workload::{self, Match};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["sts"]),
        categories: texts(&["all"]),
        resets: vec![&["status"]],
        generation: vec![&["spec"]],
        subresources: vec![Subresource::status(&[&["spec"]], Status), Subresource::scale()],
        columns: vec![
            NAME,
            described("Ready", "Number of the pod with ready state"),
            AGE,
            described("Containers", "Names of each container in the template.").wide(),
            described("Images", "Images referenced by each container in the template.").wide(),
        ],
        name_rule: meta::LABEL,
        strategy: Arc::new(StatefulSet),
        ..Kind::namespaced("apps", "v1", "StatefulSet", "statefulsets")
    }
}

struct StatefulSet;

/// What is taken for granted in a stored set.
#[derive(Clone, Copy, Default)]
struct Skip {
    template: bool,
    service_name: bool,
    claims: bool,
}

impl Strategy for StatefulSet {
    fn default(&self, _version: &str, obj: &mut Value) {
        let spec = obj.at_mut("spec");
        spec.set_default("podManagementPolicy", "OrderedReady");
        let strategy = spec.at_mut("updateStrategy");
        if strategy.text("type").is_empty() {
            strategy.set("type", "RollingUpdate");
            strategy.set_default("rollingUpdate", json!({}));
        }
        if strategy.text("type") == "RollingUpdate" && strategy.has("rollingUpdate") {
            let rolling = strategy.at_mut("rollingUpdate");
            rolling.set_default("partition", 0);
            if !rolling.has("maxUnavailable") {
                rolling.set("maxUnavailable", 1);
            }
        }
        let retention = spec.at_mut("persistentVolumeClaimRetentionPolicy");
        retention.set_default("whenDeleted", "Retain");
        retention.set_default("whenScaled", "Retain");
        spec.set_default("replicas", 1);
        spec.set_default("revisionHistoryLimit", 10);
        defaults::spec(spec.at_mut("template").at_mut("spec"));
        for claim in spec.items_mut("volumeClaimTemplates") {
            claim.set_default("apiVersion", "v1");
            claim.set_default("kind", "PersistentVolumeClaim");
            claim.at_mut("status").set_default("phase", "Pending");
            defaults::claim_spec(claim.at_mut("spec"));
        }
    }

    fn prepare_create(&self, obj: &mut Value, _cx: &Context<'_>) {
        prepare::template(obj.at_mut("spec").at_mut("template"), &Value::Null);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        prepare::template(new.at_mut("spec").at_mut("template"), old.path(&["spec", "template"]));
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate_spec(&obj.child("spec"), &Rules::default(), Skip::default(), errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let spec = new.child("spec");
        let before = old.at("spec");
        let rules = Rules::for_template_update(before.at("template"));
        let mut skip = Skip { service_name: true, claims: true, ..Skip::default() };
        let mut stored = ErrorList::new();
        validate_spec(&Node::root(before), &rules, skip, &mut stored);
        skip.template = !stored.is_empty();
        validate_spec(&spec, &rules, skip, errs);
        for key in ["selector", "volumeClaimTemplates", "serviceName", "podManagementPolicy"] {
            let node = spec.child(key);
            match node.value() {
                Value::Null if !before.at(key).is_null() && key.ends_with('e') => {
                    errs.push(node.invalid_text(crate::node::IMMUTABLE));
                }
                _ => node.immutable(before.at(key), errs),
            }
        }
    }

    fn warnings(&self, new: &Value, old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        let mut warnings = workload::template_warnings(new, old);
        let root = Node::root(new);
        let spec = root.child("spec");
        for template in spec.child("volumeClaimTemplates").items() {
            let base = if old.is_some() { template.child("Spec") } else { template };
            warnings.extend(claim::warnings(&Node::new(template.value().at("spec"), base.path)));
        }
        if spec.int("revisionHistoryLimit").is_some_and(|limit| limit < 0) {
            warnings.push(
                "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is \
                 recommended"
                    .to_owned(),
            );
        }
        warnings
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let (spec, status) = (obj.at("spec"), obj.at("status"));
        let count = |of: &Value, key: &str| of.int(key).unwrap_or_default();
        let [containers, images] = column::containers_and_images(spec.path(&["template", "spec"]));
        vec![
            column::name(obj),
            format!("{}/{}", count(status, "readyReplicas"), count(spec, "replicas")).into(),
            column::age(obj, now),
            containers,
            images,
        ]
    }
}

struct Status;

impl Strategy for Status {
    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        const COUNTS: [&str; 4] =
            ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        let status = new.child("status");
        workload::counts(&status, &["replicas", "observedGeneration", "collisionCount"], errs);
        workload::counts(&status, &COUNTS, errs);
        for key in COUNTS {
            workload::not_above(&status, key, "replicas", "status.replicas", errs);
        }
        workload::not_above(&status, "availableReplicas", "readyReplicas", "status.readyReplicas", errs);
        workload::collisions(&status, old.at("status"), errs);
    }
}

fn validate_spec(spec: &Node<'_>, rules: &Rules, skip: Skip, errs: &mut ErrorList) {
    let policy = spec.child("podManagementPolicy");
    match policy.str() {
        "" => errs.push(policy.required("")),
        "OrderedReady" | "Parallel" => {}
        _ => errs.push(policy.invalid("must be 'OrderedReady' or 'Parallel'")),
    }
    update_strategy(&spec.child("updateStrategy"), errs);
    let retention = spec.child("persistentVolumeClaimRetentionPolicy");
    if retention.is_set() {
        for key in ["whenDeleted", "whenScaled"] {
            retention.child(key).one_of(&["Retain", "Delete"], errs);
        }
    }
    if !skip.claims {
        for claim in spec.child("volumeClaimTemplates").items() {
            claim::validate_spec(&claim.child("spec"), Leniency::default(), errs);
        }
    }
    workload::counts(spec, &["replicas", "minReadySeconds"], errs);
    let start = Node::new(spec.value().at("ordinals").at("start"), spec.path.child("ordinals.start"));
    start.not_negative(errs);
    let service = spec.child("serviceName");
    if !skip.service_name && !service.str().is_empty() {
        crate::check::dns_label(&service, errs);
    }
    let selector = spec.child("selector");
    if selector.is_set() {
        workload::selector(&selector, "statefulset", false, errs);
    } else {
        errs.push(selector.required(""));
    }
    template(spec, rules, skip, errs);
}

/// The set's claims stand in for volumes of their names, and host names are the set's own to give.
fn template(spec: &Node<'_>, rules: &Rules, skip: Skip, errs: &mut ErrorList) {
    let template = spec.child("template");
    match workload::matches(spec.at("selector"), &template) {
        Match::Unknown => errs.push(spec.child("selector").invalid("")),
        matched => {
            if matches!(matched, Match::No) {
                workload::template_matches(&template, errs);
            }
            if !skip.template {
                let completed = completed(spec);
                pod::validate_template(&Node::new(&completed, template.path), rules, errs);
            }
        }
    }
    workload::endless(&template, "StatefulSet", errs);
}

fn completed(spec: &Value) -> Value {
    let mut template = spec.at("template").clone();
    let claims = spec.list("volumeClaimTemplates");
    let pod = template.at_mut("spec");
    pod.drop_key("subdomain");
    pod.drop_key("hostname");
    if !claims.is_empty() {
        let name = |claim: &Value| claim.at("metadata").text("name").to_owned();
        let names: BTreeSet<String> = claims.iter().map(name).collect();
        let mut volumes: Vec<Value> = names
            .iter()
            .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}))
            .collect();
        let own = pod.list("volumes").iter();
        volumes.extend(own.filter(|volume| !names.contains(volume.text("name"))).cloned());
        pod.set("volumes", volumes);
    }
    template
}

fn update_strategy(strategy: &Node<'_>, errs: &mut ErrorList) {
    let rolling = strategy.child("rollingUpdate");
    match strategy.text("type") {
        "" => errs.push(strategy.required("")),
        "OnDelete" => {
            if rolling.is_set() {
                errs.push(rolling.invalid("only allowed for updateStrategy 'RollingUpdate'"));
            }
        }
        "RollingUpdate" => {
            rolling.child("partition").not_negative(errs);
            let unavailable = rolling.child("maxUnavailable");
            if unavailable.is_set() {
                workload::int_or_percent(&unavailable, errs);
                if workload::amount(&unavailable) == 0 {
                    errs.push(unavailable.invalid("cannot be 0"));
                }
                workload::at_most_all(&unavailable, errs);
            }
        }
        _ => {
            errs.push(strategy.invalid_as(
                BadValue::Json(strategy.value().clone()),
                "must be 'RollingUpdate' or 'OnDelete'",
            ))
        }
    }
}
