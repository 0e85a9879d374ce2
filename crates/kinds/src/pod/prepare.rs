//! What the server sets in pod specs, and what it drops because the feature behind it is off by default.

use std::collections::BTreeSet;

use base::clock::Wall;
use grammar::quantity::Quantity;
use serde_json::{Map, Value, json};

use crate::check;
use crate::moment;
use crate::pod::resources::{aggregate, is_huge_page, overcommits};
use crate::tree::{Tree, TreeMut, same};

/// Fields of features that are off, feature by feature. `*` stands for every item of a list, `@` for the three
/// lists of containers, `?` for the three probes.
const DISABLED: &[&[&[&str]]] = &[
    &[
        &["volumes", "*", "secret", "defaultUser"],
        &["volumes", "*", "secret", "items", "*", "user"],
        &["volumes", "*", "configMap", "defaultUser"],
        &["volumes", "*", "configMap", "items", "*", "user"],
        &["volumes", "*", "downwardAPI", "defaultUser"],
        &["volumes", "*", "downwardAPI", "items", "*", "user"],
        &["volumes", "*", "projected", "defaultUser"],
        &["volumes", "*", "projected", "sources", "*", "secret", "items", "*", "user"],
        &["volumes", "*", "projected", "sources", "*", "configMap", "items", "*", "user"],
        &["volumes", "*", "projected", "sources", "*", "downwardAPI", "items", "*", "user"],
        &["volumes", "*", "projected", "sources", "*", "serviceAccountToken", "user"],
        &["volumes", "*", "projected", "sources", "*", "clusterTrustBundle", "user"],
        &["volumes", "*", "projected", "sources", "*", "podCertificate", "user"],
    ],
    &[&["schedulingGroup"]],
    &[&["@", "*", "?", "grpc", "mode"]],
    &[&["evictionResponders"]],
    &[&["volumes", "*", "emptyDir", "mode"]],
    &[&["@", "*", "volumeMounts", "*", "bindMountOptions"]],
    &[&["@", "*", "lifecycle", "stopSignal"]],
    &[
        &["@", "*", "?", "httpGet", "protocol"],
        &["@", "*", "lifecycle", "postStart", "httpGet", "protocol"],
        &["@", "*", "lifecycle", "preStop", "httpGet", "protocol"],
    ],
];

/// Drops what no enabled feature gives a meaning, unless the stored spec uses it already.
pub fn drop_disabled(spec: &mut Value, old: &Value) {
    for feature in DISABLED {
        if !feature.iter().any(|pattern| uses(old, pattern)) {
            feature.iter().for_each(|pattern| remove(spec, pattern));
        }
    }
}

/// Drops what is off in `template`, and annotations that once stood for init containers.
pub fn template(template: &mut Value, old: &Value) {
    if template.is_null() {
        return;
    }
    drop_init_annotations(template);
    if template.has("spec") {
        drop_disabled(template.at_mut("spec"), old.at("spec"));
    }
}

/// Annotations that once carried init containers and mean nothing now.
pub fn drop_init_annotations(obj: &mut Value) {
    const ANNOTATIONS: [&str; 4] = [
        "pod.beta.kubernetes.io/init-containers",
        "pod.alpha.kubernetes.io/init-containers",
        "pod.beta.kubernetes.io/init-container-statuses",
        "pod.alpha.kubernetes.io/init-container-statuses",
    ];
    if let Some(annotations) = obj.find_mut(&["metadata", "annotations"]) {
        ANNOTATIONS.iter().for_each(|key| annotations.drop_key(key));
    }
}

fn expand(step: &str) -> &[&str] {
    match step {
        "@" => &["initContainers", "containers", "ephemeralContainers"],
        "?" => &["livenessProbe", "readinessProbe", "startupProbe"],
        _ => &[],
    }
}

fn uses(tree: &Value, pattern: &[&str]) -> bool {
    match pattern {
        [] => !tree.is_nothing(),
        ["*", rest @ ..] => tree.as_array().into_iter().flatten().any(|item| uses(item, rest)),
        [group @ ("@" | "?"), rest @ ..] => expand(group).iter().any(|key| uses(tree.at(key), rest)),
        [key, rest @ ..] => uses(tree.at(key), rest),
    }
}

fn remove(tree: &mut Value, pattern: &[&str]) {
    match pattern {
        [] => {}
        ["*", rest @ ..] => {
            tree.as_array_mut().into_iter().flatten().for_each(|item| remove(item, rest));
        }
        [group @ ("@" | "?"), rest @ ..] => {
            for key in expand(group) {
                if let Some(child) = tree.get_mut(key) {
                    remove(child, rest);
                }
            }
        }
        [key] => tree.drop_key(key),
        [key, rest @ ..] => {
            if let Some(child) = tree.get_mut(key) {
                remove(child, rest);
            }
        }
    }
}

/// Turns `matchLabelKeys` into expressions with the pod's own labels.
pub fn merge_label_keys(pod: &mut Value) {
    let labels = pod.at("metadata").at("labels").clone();
    let spec = pod.at_mut("spec");
    for key in ["podAffinity", "podAntiAffinity"] {
        for term in spec.at_path(&["affinity", key, "requiredDuringSchedulingIgnoredDuringExecution"]) {
            merge_term(term, &labels);
        }
        for weighted in spec.at_path(&["affinity", key, "preferredDuringSchedulingIgnoredDuringExecution"]) {
            if weighted.has("podAffinityTerm") {
                merge_term(weighted.at_mut("podAffinityTerm"), &labels);
            }
        }
    }
    for constraint in spec.items_mut("topologySpreadConstraints") {
        merge_term(constraint, &labels);
    }
}

fn merge_term(term: &mut Value, labels: &Value) {
    if !term.has("labelSelector") {
        return;
    }
    for (keys, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        let added: Vec<Value> = term
            .texts(keys)
            .into_iter()
            .filter(|key| labels.has(key))
            .map(|key| json!({"key": key, "operator": operator, "values": [labels.text(key)]}))
            .collect();
        if !added.is_empty() {
            let expressions = term.at_mut("labelSelector").at_mut("matchExpressions");
            match expressions {
                Value::Array(items) => items.extend(added),
                other => *other = added.into(),
            }
        }
    }
}

/// A pod with gates is born with a condition that says so.
pub fn gate(pod: &mut Value, now: Wall) {
    if pod.at("spec").list("schedulingGates").is_empty() {
        return;
    }
    let condition = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
        "lastTransitionTime": moment::text(now),
    });
    pod.at_mut("status").set("conditions", json!([condition]));
}

/// Moves AppArmor profiles from annotations into containers that name none.
pub fn app_armor_from_annotations(pod: &mut Value) {
    const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
    let annotations = pod.at("metadata").at("annotations").clone();
    let spec = pod.at_mut("spec");
    if annotations.is_nothing() || spec.at("os").text("name") == "windows" {
        return;
    }
    let of_pod = spec.at("securityContext").at("appArmorProfile").clone();
    for key in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.items_mut(key) {
            let annotation = annotations.at(&format!("{PREFIX}{}", container.text("name")));
            let Some(profile) = annotation.as_str().and_then(app_armor_profile) else { continue };
            if !container.at("securityContext").has("appArmorProfile") && !same(&profile, &of_pod) {
                container.at_mut("securityContext").set("appArmorProfile", profile);
            }
        }
    }
}

/// The profile that an annotation stands for, if it is a sound one.
pub fn app_armor_profile(annotation: &str) -> Option<Value> {
    match annotation {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        _ => {
            let path = annotation.strip_prefix("localhost/")?;
            let sound = !path.is_empty() && path.trim() == path && path.len() <= 4095;
            sound.then(|| json!({"type": "Localhost", "localhostProfile": path}))
        }
    }
}

fn is_pod_level(resource: &str) -> bool {
    matches!(resource, "cpu" | "memory") || is_huge_page(resource)
}

/// Fills in requests and limits of the pod as a whole from those of its containers, where the pod names any.
pub fn pod_level_resources(spec: &mut Value) {
    let resources = spec.at("resources");
    if resources.at("requests").is_nothing() && resources.at("limits").is_nothing() {
        return;
    }
    let (mut requests, mut limits) = (amounts(resources, "requests"), amounts(resources, "limits"));
    for name in container_resources(spec, "limits") {
        if is_huge_page(&name)
            && !requests.contains_key(&name)
            && !limits.contains_key(&name)
            && let Some(total) = aggregate(spec, "limits", &name)
        {
            limits.insert(name, total.canonical().into());
        }
    }
    for name in container_resources(spec, "requests") {
        if is_pod_level(&name)
            && overcommits(&name)
            && !requests.contains_key(&name)
            && let Some(total) = aggregate(spec, "requests", &name)
        {
            requests.insert(name, total.canonical().into());
        }
    }
    for (name, limit) in &limits {
        if is_pod_level(name) && !requests.contains_key(name) {
            requests.insert(name.clone(), limit.clone());
        }
    }
    for (name, request) in &requests {
        if is_pod_level(name)
            && !limits.contains_key(name)
            && every_container_limits(spec, name)
            && let Some(total) = aggregate(spec, "limits", name)
        {
            limits.insert(name.clone(), total.max(check::quantity(request)).canonical().into());
        }
    }
    let resources = spec.at_mut("resources");
    for (key, amounts) in [("requests", requests), ("limits", limits)] {
        if !amounts.is_empty() {
            resources.set(key, amounts);
        }
    }
}

fn amounts(resources: &Value, key: &str) -> Map<String, Value> {
    resources.at(key).as_object().cloned().unwrap_or_default()
}

fn container_resources(spec: &Value, kind: &str) -> BTreeSet<String> {
    ["containers", "initContainers"]
        .iter()
        .flat_map(|key| spec.list(key))
        .flat_map(|container| container.at("resources").entries(kind).map(|(name, _)| name.to_owned()))
        .collect()
}

/// Whether every container that runs beside the others limits `resource`; otherwise the pod has no limit.
fn every_container_limits(spec: &Value, resource: &str) -> bool {
    ["containers", "initContainers"]
        .iter()
        .flat_map(|key| spec.list(key))
        .all(|container| container.at("resources").at("limits").has(resource))
}

/// How the pod is treated when its node runs out of memory.
pub fn qos_class(spec: &Value) -> &'static str {
    let resources = spec.at("resources");
    if !resources.at("requests").is_nothing() || !resources.at("limits").is_nothing() {
        return requirements_qos(resources);
    }
    let mut classes = ["initContainers", "containers"]
        .iter()
        .flat_map(|key| spec.list(key))
        .map(|container| requirements_qos(container.at("resources")));
    let first = classes.next().unwrap_or("BestEffort");
    if classes.all(|class| class == first) { first } else { "Burstable" }
}

fn requirements_qos(resources: &Value) -> &'static str {
    let positive = |key: &str, name: &str| -> Option<Quantity> {
        let value = resources.at(key).at(name);
        Some(check::quantity(value)).filter(|quantity| value.is_string() && quantity.sign() > 0)
    };
    let pairs = ["cpu", "memory"].map(|name| (positive("requests", name), positive("limits", name)));
    if pairs.iter().all(|(request, limit)| request.is_none() && limit.is_none()) {
        "BestEffort"
    } else if pairs.iter().all(|(request, limit)| limit.is_some() && (request == limit)) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}
