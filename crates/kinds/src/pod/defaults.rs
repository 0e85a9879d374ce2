//! Defaults of pod specs, and those that only pods themselves have.

use serde_json::{Value, json};

use crate::check;
use crate::tree::{Tree, TreeMut};

const GRACE_PERIOD_SECONDS: i64 = 30;
const TOKEN_SECONDS: i64 = 3600;
/// rw-r--r--
const FILE_MODE: i64 = 0o644;

/// The defaults of any pod spec.
pub fn spec(spec: &mut Value) {
    if spec.text("serviceAccountName").is_empty() {
        let alias = spec.text("serviceAccount").to_owned();
        if !alias.is_empty() {
            spec.set("serviceAccountName", alias);
        }
    }
    match spec.text("serviceAccountName").to_owned() {
        name if name.is_empty() => spec.drop_key("serviceAccount"),
        name => spec.set("serviceAccount", name),
    }
    spec.set_default("dnsPolicy", "ClusterFirst");
    spec.set_default("restartPolicy", "Always");
    spec.set_default("securityContext", json!({}));
    spec.set_default("terminationGracePeriodSeconds", GRACE_PERIOD_SECONDS);
    spec.set_default("schedulerName", "default-scheduler");
    spec.items_mut("volumes").for_each(volume);
    for key in ["initContainers", "containers", "ephemeralContainers"] {
        spec.items_mut(key).for_each(container);
    }
    if spec.has("overhead") {
        resource_list(spec.at_mut("overhead"));
    }
    if spec.has("resources") {
        resource_requirements(spec.at_mut("resources"));
    }
}

/// The defaults of a pod that a template leaves open.
pub fn pod(obj: &mut Value) {
    let spec = obj.at_mut("spec");
    if spec.int("terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        spec.set("terminationGracePeriodSeconds", 1);
    }
    for key in ["containers", "initContainers"] {
        for container in spec.items_mut(key) {
            requests_from_limits(container);
        }
    }
    spec.set_default("enableServiceLinks", true);
    if spec.flag("hostNetwork") {
        for key in ["containers", "initContainers"] {
            for container in spec.items_mut(key) {
                for port in container.items_mut("ports") {
                    if port.int("hostPort").unwrap_or_default() == 0 {
                        let number = port.at("containerPort").clone();
                        port.set("hostPort", number);
                    }
                }
            }
        }
    }
    if let Some(status) = obj.get_mut("status") {
        addresses(status);
    }
}

/// What a container is limited to and does not ask for, it asks for.
fn requests_from_limits(container: &mut Value) {
    let limits = container.at("resources").at("limits").clone();
    if let Value::Object(limits) = limits {
        let requests = container.at_mut("resources").at_mut("requests");
        for (resource, limit) in limits {
            if !requests.has(&resource) {
                requests.set(&resource, limit);
            }
        }
    }
}

/// Keeps the single address and the list of addresses in step; the single one wins.
fn addresses(status: &mut Value) {
    let single = status.text("podIP").to_owned();
    let first = status.list("podIPs").first().map(|address| address.text("ip").to_owned());
    match (single.is_empty(), first) {
        (false, first) if first.as_deref() != Some(&single) => status.set("podIPs", json!([{"ip": single}])),
        (true, Some(first)) => status.set("podIP", first),
        _ => {}
    }
}

fn volume(volume: &mut Value) {
    let has_source = volume
        .as_object()
        .is_some_and(|fields| fields.iter().any(|(key, value)| key != "name" && !value.is_null()));
    if !has_source {
        volume.set("emptyDir", json!({}));
    }
    for key in ["secret", "configMap", "downwardAPI", "projected"] {
        if volume.has(key) {
            volume.at_mut(key).set_default("defaultMode", FILE_MODE);
        }
    }
    if volume.has("image") {
        let policy = pull_policy(volume.at("image").text("reference"));
        volume.at_mut("image").set_default("pullPolicy", policy);
    }
    for file in volume.at_path(&["downwardAPI", "items"]) {
        field_reference(file);
    }
    for source in volume.at_path(&["projected", "sources"]) {
        for file in source.at_path(&["downwardAPI", "items"]) {
            field_reference(file);
        }
        if source.has("serviceAccountToken") {
            source.at_mut("serviceAccountToken").set_default("expirationSeconds", TOKEN_SECONDS);
        }
    }
    if volume.has("ephemeral") && volume.at("ephemeral").has("volumeClaimTemplate") {
        let template = volume.at_mut("ephemeral").at_mut("volumeClaimTemplate");
        claim_spec(template.at_mut("spec"));
    }
    volume_source(volume);
}

/// The defaults of storage that pods and persistent volumes describe alike.
pub(crate) fn volume_source(volume: &mut Value) {
    if volume.has("hostPath") && !volume.at("hostPath").has("type") {
        volume.at_mut("hostPath").set("type", "");
    }
    for (key, field, value) in [
        ("iscsi", "iscsiInterface", "default"),
        ("rbd", "pool", "rbd"),
        ("rbd", "user", "admin"),
        ("rbd", "keyring", "/etc/ceph/keyring"),
        ("scaleIO", "storageMode", "ThinProvisioned"),
        ("scaleIO", "fsType", "xfs"),
        ("azureDisk", "cachingMode", "ReadWrite"),
        ("azureDisk", "kind", "Shared"),
        ("azureDisk", "fsType", "ext4"),
    ] {
        if volume.has(key) {
            volume.at_mut(key).set_default(field, value);
        }
    }
    if volume.has("azureDisk") {
        volume.at_mut("azureDisk").set_default("readOnly", false);
    }
}

/// The defaults of a claim's spec.
pub fn claim_spec(spec: &mut Value) {
    spec.set_default("volumeMode", "Filesystem");
    if spec.has("resources") {
        resource_requirements(spec.at_mut("resources"));
    }
}

fn field_reference(holder: &mut Value) {
    if holder.has("fieldRef") {
        holder.at_mut("fieldRef").set_default("apiVersion", "v1");
    }
}

fn container(container: &mut Value) {
    let policy = pull_policy(container.text("image"));
    container.set_default("imagePullPolicy", policy);
    container.set_default("terminationMessagePath", "/dev/termination-log");
    container.set_default("terminationMessagePolicy", "File");
    for port in container.items_mut("ports") {
        port.set_default("protocol", "TCP");
    }
    for variable in container.items_mut("env") {
        if variable.has("valueFrom") {
            field_reference(variable.at_mut("valueFrom"));
            let from = variable.at_mut("valueFrom");
            if from.has("fileKeyRef") {
                from.at_mut("fileKeyRef").set_default("optional", false);
            }
        }
    }
    if container.has("resources") {
        resource_requirements(container.at_mut("resources"));
    }
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container.has(key) {
            probe(container.at_mut(key));
        }
    }
    for key in ["postStart", "preStop"] {
        if container.at("lifecycle").has(key) {
            http_get(container.at_mut("lifecycle").at_mut(key));
        }
    }
}

/// Images tagged `latest`, by name or by having no tag, are pulled anew.
fn pull_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or_default();
    let tagged = match name.split_once('@') {
        Some(_) => "digest",
        None => name.split_once(':').map_or("latest", |(_, tag)| tag),
    };
    match tagged {
        "latest" if !image.is_empty() => "Always",
        _ => "IfNotPresent",
    }
}

fn probe(probe: &mut Value) {
    for (key, default) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if probe.int(key).unwrap_or_default() == 0 {
            probe.set(key, default);
        }
    }
    http_get(probe);
    if probe.has("grpc") {
        probe.at_mut("grpc").set_default("service", "");
    }
}

fn http_get(handler: &mut Value) {
    if handler.has("httpGet") {
        let action = handler.at_mut("httpGet");
        action.set_default("path", "/");
        action.set_default("scheme", "HTTP");
    }
}

/// Requests and limits, which are kept to a thousandth.
pub fn resource_requirements(resources: &mut Value) {
    for key in ["limits", "requests"] {
        if resources.has(key) {
            resource_list(resources.at_mut(key));
        }
    }
}

/// Rounds every quantity up to a thousandth.
pub fn resource_list(list: &mut Value) {
    for value in list.as_object_mut().into_iter().flat_map(|entries| entries.values_mut()) {
        let mut quantity = check::quantity(value);
        if !quantity.round_up(grammar::quantity::MILLI) {
            *value = quantity.canonical().into();
        }
    }
}
