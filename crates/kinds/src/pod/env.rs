//! A container's environment, and the references to fields and resources that volumes use too.

use grammar::field::{self, ErrorList};
use grammar::names;

use crate::check::{self, require};
use crate::meta;
use crate::node::Node;
use crate::tree::Tree;

/// Sorted, as they are listed in errors.
const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// `env`: single variables.
pub fn variables(env: &Node<'_>, errs: &mut ErrorList) {
    for variable in env.items() {
        let name = variable.child("name");
        match name.str() {
            "" => errs.push(name.required("")),
            text => name.complaints(names::relaxed_env_var_name(text), errs),
        }
        if variable.has("valueFrom") {
            value_from(&variable, errs);
        }
    }
}

fn value_from(variable: &Node<'_>, errs: &mut ErrorList) {
    let from = variable.child("valueFrom");
    let mut sources = 0;
    if from.has("fieldRef") {
        sources += 1;
        field_selector(&from.child("fieldRef"), FIELDS, errs);
    }
    if from.has("resourceFieldRef") {
        sources += 1;
        resource_selector(&from.child("resourceFieldRef"), false, errs);
    }
    for key in ["configMapKeyRef", "secretKeyRef"] {
        if from.has(key) {
            sources += 1;
            key_selector(&from.child(key), errs);
        }
    }
    if from.has("fileKeyRef") {
        sources += 1;
        file_selector(&from.child("fileKeyRef"), errs);
    }
    let complaint = match sources {
        0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or \
             `fileKeyRef`"
        }
        _ if !variable.text("value").is_empty() => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    errs.push(from.invalid_as("", complaint));
}

/// `envFrom`: all entries of a config map or a secret.
pub fn sources(env_from: &Node<'_>, errs: &mut ErrorList) {
    for source in env_from.items() {
        let prefix = source.child("prefix");
        if !prefix.str().is_empty() {
            prefix.complaints(names::relaxed_env_var_name(prefix.str()), errs);
        }
        let mut found = 0;
        for key in ["configMapRef", "secretRef"] {
            if source.has(key) {
                found += 1;
                let reference = source.child(key);
                let name = reference.child("name");
                match name.str() {
                    "" => errs.push(name.required("")),
                    text => name.complaints(meta::SUBDOMAIN(text, true), errs),
                }
            }
        }
        match found {
            0 => errs.push(env_from.invalid_as("", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => errs.push(env_from.invalid_as("", "may not have more than one field specified at a time")),
        }
    }
}

/// A reference to a field of the pod itself. `allowed` is listed in errors; labels and annotations may be
/// subscripted.
pub fn field_selector(node: &Node<'_>, allowed: &[&str], errs: &mut ErrorList) {
    let (version, path) = (node.child("apiVersion"), node.child("fieldPath"));
    if version.str().is_empty() {
        errs.push(version.required(""));
        return;
    }
    if path.str().is_empty() {
        errs.push(path.required(""));
        return;
    }
    let text = match internal_label(version.str(), path.str()) {
        Ok(text) => text,
        Err(complaint) => {
            errs.push(path.invalid(format!("error converting fieldPath: {complaint}")));
            return;
        }
    };
    match subscripted(text) {
        Some(("metadata.annotations", key)) => {
            errs.extend(
                names::qualified_name(&key.to_lowercase())
                    .into_iter()
                    .map(|complaint| node.invalid_as(key.to_lowercase(), complaint)),
            );
        }
        Some(("metadata.labels", key)) => {
            errs.extend(
                names::qualified_name(key).into_iter().map(|complaint| node.invalid_as(key, complaint)),
            );
        }
        Some((path, _)) => errs.push(node.invalid_as(path, "does not support subscript")),
        None if !allowed.contains(&text) => {
            errs.push(field::not_supported(&path.path, text, allowed));
        }
        None => {}
    }
}

/// The label as the current version calls it.
fn internal_label<'a>(version: &str, label: &'a str) -> Result<&'a str, String> {
    if version != "v1" {
        return Err(format!("unsupported pod version: {version}"));
    }
    if let Some((path, _)) = subscripted(label) {
        return match path {
            "metadata.annotations" | "metadata.labels" => Ok(label),
            _ => Err(format!("field label does not support subscript: {label}")),
        };
    }
    match label {
        "metadata.annotations"
        | "metadata.labels"
        | "metadata.name"
        | "metadata.namespace"
        | "metadata.uid"
        | "spec.nodeName"
        | "spec.restartPolicy"
        | "spec.serviceAccountName"
        | "spec.schedulerName"
        | "status.phase"
        | "status.hostIP"
        | "status.hostIPs"
        | "status.podIP"
        | "status.podIPs" => Ok(label),
        "spec.host" => Ok("spec.nodeName"),
        _ => Err(format!("field label not supported: {label}")),
    }
}

/// `path['key']` as its two parts.
fn subscripted(label: &str) -> Option<(&str, &str)> {
    let (path, key) = label.strip_suffix("']")?.split_once("['")?;
    (!path.is_empty()).then_some((path, key))
}

/// A reference to a resource of a container; a volume must say which one.
pub fn resource_selector(node: &Node<'_>, in_volume: bool, errs: &mut ErrorList) {
    let (container, resource) = (node.child("containerName"), node.child("resource"));
    let name = resource.str();
    let huge_pages = name.starts_with("requests.hugepages-") || name.starts_with("limits.hugepages-");
    if in_volume && container.str().is_empty() {
        errs.push(container.required(""));
    } else if name.is_empty() {
        errs.push(resource.required(""));
    } else if !RESOURCES.contains(&name) && !huge_pages {
        errs.push(resource.not_supported(RESOURCES));
    }
    divisor(node, name, huge_pages, errs);
}

fn divisor(node: &Node<'_>, resource: &str, huge_pages: bool, errs: &mut ErrorList) {
    const BYTES: &[&str] =
        &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let divisor = node.child("divisor");
    let quantity = check::quantity(divisor.value());
    if quantity.is_zero() {
        return;
    }
    let (allowed, what): (&[&str], &str) = match resource {
        "limits.cpu" | "requests.cpu" => (&["1m", "1"], "cpu"),
        "limits.memory" | "requests.memory" => (BYTES, "memory"),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => (BYTES, "local ephemeral storage"),
        _ if huge_pages => (BYTES, "hugepages"),
        _ => return,
    };
    if !allowed.contains(&quantity.to_string().as_str()) {
        let list = match what {
            "cpu" => "1m and 1".to_owned(),
            _ => allowed.join(", "),
        };
        errs.push(divisor.invalid_as(
            resource,
            format!("only divisor's values {list} are supported with the {what} resource"),
        ));
    }
}

fn key_selector(node: &Node<'_>, errs: &mut ErrorList) {
    let (name, key) = (node.child("name"), node.child("key"));
    name.complaints(meta::SUBDOMAIN(name.str(), false), errs);
    match key.str() {
        "" => errs.push(key.required("")),
        text => key.complaints(names::config_map_key(text), errs),
    }
}

fn file_selector(node: &Node<'_>, errs: &mut ErrorList) {
    require(node, &["key", "volumeName", "path"], errs);
    let (key, volume, path) = (node.child("key"), node.child("volumeName"), node.child("path"));
    if !key.str().is_empty() {
        key.complaints(names::relaxed_env_var_name(key.str()), errs);
    }
    if !volume.str().is_empty() {
        check::dns_label(&volume, errs);
    }
    if !path.str().is_empty() {
        check::no_backsteps(&path, errs);
    }
}
