//! What is wrong with a pod spec though it is accepted: obsolete fields, and entries that get in each other's way.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use grammar::go;
use grammar::names;
use serde_json::Value;

use crate::check;
use crate::node::Node;
use crate::pod::security::each_container;
use crate::tree::Tree;

const NO_SELECTOR: &str = "a null labelSelector results in matching no pod";

/// Labels that nodes no longer carry under these names.
const OLD_LABELS: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
];

/// Annotations without any effect.
const OLD_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];

/// Volume sources whose code is gone: their field, their name in the warning, and since when.
const OLD_VOLUMES: &[(&str, &str, &str)] = &[
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// What the writer of a node label should know about it.
pub fn old_label(label: &str) -> Option<&'static str> {
    OLD_LABELS.iter().find(|(old, _)| *old == label).map(|(_, message)| *message)
}

/// Warnings for the pod or pod template at `node`; a template's paths begin where it lies.
pub fn of(node: &Node<'_>, is_template: bool) -> Vec<String> {
    let (metadata, spec) = (node.child("metadata"), node.child("spec"));
    let mut warnings = Warnings(Vec::new());
    placement(&spec, &mut warnings);
    let annotations = metadata.child("annotations");
    for (key, message) in OLD_ANNOTATIONS {
        if annotations.has(key) {
            warnings.at(&Node::new(annotations.value(), annotations.path.key(key)), message);
        }
    }
    volumes(&spec, &mut warnings);
    host_aliases(&spec, &mut warnings);
    pull_secrets(&spec, &mut warnings);
    for resource in ["memory", "ephemeral-storage"] {
        fraction(&spec.child("overhead"), resource, &mut warnings);
    }
    containers(&spec, &annotations, is_template, &mut warnings);
    ports(&spec, &mut warnings);
    let grace = spec.child("terminationGracePeriodSeconds");
    if grace.number() < 0 {
        warnings.at(&grace, "must be >= 0; negative values are invalid and will be treated as 1");
    }
    selectors(&spec, &mut warnings);
    let config = spec.child("dnsConfig");
    for server in config.child("nameservers").items() {
        warnings.0.extend(names::ip_warnings(&server.path, server.str()));
    }
    for alias in spec.child("hostAliases").items() {
        let ip = alias.child("ip");
        warnings.0.extend(names::ip_warnings(&ip.path, ip.str()));
    }
    warnings.0
}

struct Warnings(Vec<String>);

impl Warnings {
    fn at(&mut self, node: &Node<'_>, message: impl AsRef<str>) {
        self.0.push(format!("{}: {}", node.path, message.as_ref()));
    }
}

fn placement(spec: &Node<'_>, warnings: &mut Warnings) {
    for (key, entry) in spec.child("nodeSelector").pairs() {
        if let Some(message) = old_label(key) {
            warnings.at(&entry, message);
        }
    }
    let affinity = spec.child("affinity");
    let nodes = affinity.child("nodeAffinity");
    let required = nodes.child("requiredDuringSchedulingIgnoredDuringExecution");
    for term in required.child("nodeSelectorTerms").items() {
        node_term(&term, false, warnings);
    }
    for preferred in nodes.child("preferredDuringSchedulingIgnoredDuringExecution").items() {
        node_term(&preferred.child("preference"), true, warnings);
    }
    for constraint in spec.child("topologySpreadConstraints").items() {
        let key = constraint.child("topologyKey");
        if let Some(message) = old_label(key.str()) {
            warnings.at(&key, format!("{} is {message}", key.str()));
        }
        if !constraint.has("labelSelector") {
            warnings.at(&constraint.child("labelSelector"), NO_SELECTOR);
        }
    }
}

fn node_term(term: &Node<'_>, check_values: bool, warnings: &mut Warnings) {
    for expression in term.child("matchExpressions").items() {
        let key = expression.child("key");
        if let Some(message) = old_label(key.str()) {
            warnings.at(&key, format!("{} is {message}", key.str()));
        }
        if check_values {
            for value in expression.child("values").items() {
                for complaint in names::label_value(value.str()) {
                    warnings.at(&value, format!("{} is invalid, {complaint}", value.str()));
                }
            }
        }
    }
}

fn volumes(spec: &Node<'_>, warnings: &mut Warnings) {
    for volume in spec.child("volumes").items() {
        for (key, shown, message) in OLD_VOLUMES {
            if volume.has(key) {
                warnings.at(&volume.child(shown), message);
            }
        }
    }
    for volume in spec.list("volumes") {
        overlaps(volume, warnings);
    }
}

/// Files of one volume that lie below each other.
fn overlaps(volume: &Value, warnings: &mut Warnings) {
    let name = go::quote(volume.text("name"));
    for (key, what, named_by) in [
        ("configMap", "ConfigMap ", "name"),
        ("secret", "Secret ", "secretName"),
        ("downwardAPI", "DownwardAPI", ""),
    ] {
        let source = volume.at(key);
        let of = match named_by {
            "" => what.to_owned(),
            field => format!("{what}{}", go::quote(source.text(field))),
        };
        let mut files = Files::default();
        for item in source.list("items") {
            for clash in files.add(item.text("path"), "") {
                warnings.0.push(format!("volume {name} ({of}): overlapping paths: {clash}"));
            }
        }
    }
    let mut files = Files::default();
    for source in volume.at("projected").list("sources") {
        if source.is_nothing() {
            warnings.0.push(format!("volume {name} (Projected) has no sources provided"));
        }
        for (path, of) in projected_paths(source) {
            for clash in files.add(path, &of) {
                warnings.0.push(format!("volume {name} (Projected): overlapping paths: {clash}"));
            }
        }
    }
}

fn projected_paths(source: &Value) -> Vec<(&str, String)> {
    let items = |key: &str, of: String| -> Vec<(&str, String)> {
        source.at(key).list("items").iter().map(|item| (item.text("path"), of.clone())).collect()
    };
    let named = |key: &str, what: &str| format!("{what} {}", go::quote(source.at(key).text("name")));
    if source.at("configMap").has("items") {
        items("configMap", named("configMap", "ConfigMap"))
    } else if source.at("secret").has("items") {
        items("secret", named("secret", "Secret"))
    } else if source.at("downwardAPI").has("items") {
        items("downwardAPI", "DownwardAPI".to_owned())
    } else if source.has("serviceAccountToken") {
        vec![(source.at("serviceAccountToken").text("path"), "ServiceAccountToken".to_owned())]
    } else if source.has("clusterTrustBundle") {
        let bundle = source.at("clusterTrustBundle");
        let name = if bundle.has("name") { bundle.text("name") } else { bundle.text("signerName") };
        vec![(bundle.text("path"), format!("ClusterTrustBundle {}", go::quote(name)))]
    } else {
        [
            ("certificateChainPath", "PodCertificate chain"),
            ("keyPath", "PodCertificate key"),
            ("credentialBundlePath", "PodCertificate credential bundle"),
        ]
        .iter()
        .map(|(key, of)| (source.at("podCertificate").text(key), (*of).to_owned()))
        .filter(|(path, _)| !path.is_empty())
        .collect()
    }
}

#[derive(Default)]
struct Files(Vec<(String, String)>);

impl Files {
    /// Adds a file and answers with what it clashes with.
    fn add(&mut self, path: &str, of: &str) -> Vec<String> {
        let path = path.trim_end_matches('/').to_owned();
        let shown = |path: &str, of: &str| match of {
            "" => go::quote(path),
            of => format!("{} ({of})", go::quote(path)),
        };
        let below = |a: &str, b: &str| format!("{a}/").starts_with(&format!("{b}/"));
        let clashes = self
            .0
            .iter()
            .filter(|(other, _)| {
                !path.is_empty() && !other.is_empty() && (below(other, &path) || below(&path, other))
            })
            .map(|(other, other_of)| format!("{} with {}", shown(&path, of), shown(other, other_of)))
            .collect();
        self.0.push((path, of.to_owned()));
        clashes
    }
}

fn host_aliases(spec: &Node<'_>, warnings: &mut Warnings) {
    let mut seen = BTreeSet::new();
    for alias in spec.child("hostAliases").items() {
        let ip = alias.child("ip");
        if !seen.insert(ip.str().to_owned()) {
            warnings.at(&ip, format!("duplicate ip {}", go::quote(ip.str())));
        }
    }
}

fn pull_secrets(spec: &Node<'_>, warnings: &mut Warnings) {
    let secrets = spec.child("imagePullSecrets");
    let mut seen = BTreeSet::new();
    for secret in secrets.items() {
        let name = secret.child("name");
        if !seen.insert(name.str().to_owned()) {
            warnings.at(&name, format!("duplicate name {}", go::quote(name.str())));
        }
    }
    for secret in secrets.items() {
        let name = secret.child("name");
        if name.str().is_empty() {
            warnings.at(&name, "invalid empty name \"\"");
        }
    }
}

fn fraction(list: &Node<'_>, resource: &str, warnings: &mut Warnings) {
    if !list.has(resource) {
        return;
    }
    let quantity = check::quantity(list.at(resource));
    if quantity.milli_value() % 1000 != 0 {
        let entry = Node::new(list.value(), list.path.key(resource));
        let shown = go::quote(&quantity.to_string());
        warnings.at(&entry, format!("fractional byte value {shown} is invalid, must be an integer"));
    }
}

fn containers(spec: &Node<'_>, annotations: &Node<'_>, is_template: bool, warnings: &mut Warnings) {
    const SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
    const APP_ARMOR: &str = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
    let at = |key: &str, message: &str, warnings: &mut Warnings| {
        warnings.at(&Node::new(annotations.value(), annotations.path.key(key)), message);
    };
    let context = spec.at("securityContext");
    let pod_key = "seccomp.security.alpha.kubernetes.io/pod";
    if !context.has("seccompProfile") && annotations.has(pod_key) {
        at(pod_key, SECCOMP, warnings);
    }
    each_container(spec, |container| {
        let (name, own) = (container.text("name"), container.at("securityContext"));
        let key = format!("container.seccomp.security.alpha.kubernetes.io/{name}");
        if !own.has("seccompProfile") && annotations.has(&key) {
            at(&key, SECCOMP, warnings);
        }
        let key = format!("container.apparmor.security.beta.kubernetes.io/{name}");
        if is_template && !own.has("appArmorProfile") && annotations.has(&key) {
            let profile = super::prepare::app_armor_profile(annotations.text(&key));
            if profile.as_ref() != Some(context.at("appArmorProfile")) {
                at(&key, APP_ARMOR, warnings);
            }
        }
        let resources = container.child("resources");
        for resource in ["memory", "ephemeral-storage"] {
            for list in ["limits", "requests"] {
                fraction(&resources.child(list), resource, warnings);
            }
        }
        let mut seen = BTreeSet::new();
        for variable in container.child("env").items() {
            let name = variable.text("name");
            if !seen.insert(name.to_owned()) {
                let reference = format!("$({name})");
                let value = variable.text("value");
                if variable.has("valueFrom") || value == reference || !value.contains(&reference) {
                    let shown = go::quote(name);
                    warnings.at(
                        &variable,
                        format!(
                            "hides previous definition of {shown}, which may be dropped when using apply"
                        ),
                    );
                }
            }
        }
    });
}

fn ports(spec: &Node<'_>, warnings: &mut Warnings) {
    struct Port {
        at: String,
        host_ip: String,
        host_port: i64,
    }
    let mut by_number: BTreeMap<(i64, String), Vec<Port>> = BTreeMap::new();
    each_container(spec, |container| {
        for port in container.child("ports").items() {
            let this = Port {
                at: port.path.to_string(),
                host_ip: port.text("hostIP").to_owned(),
                host_port: port.int("hostPort").unwrap_or_default(),
            };
            if !this.host_ip.is_empty() && this.host_port == 0 {
                warnings.at(
                    &port,
                    format!(
                        "hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{}}}",
                        port.text("name"),
                        port.child("containerPort").number(),
                        port.text("protocol"),
                        this.host_ip
                    ),
                );
            }
            let number = (port.child("containerPort").number(), port.text("protocol").to_owned());
            let others = by_number.entry(number).or_default();
            for other in others.iter() {
                let what = if this.host_ip == other.host_ip && this.host_port == other.host_port {
                    "duplicate"
                } else if this.host_port == 0 || other.host_port == 0 {
                    "overlapping"
                } else if this.host_port == other.host_port
                    && this.host_ip.is_empty() != other.host_ip.is_empty()
                {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                warnings.at(&port, format!("{what} port definition with {}", other.at));
            }
            others.push(this);
        }
    });
    let mut by_name: BTreeMap<String, String> = BTreeMap::new();
    each_container(spec, |container| {
        for port in container.child("ports").items() {
            let name = port.text("name");
            if name.is_empty() {
                continue;
            }
            match by_name.get(name) {
                Some(other) => warnings.at(
                    &port,
                    format!(
                        "duplicate port name {} with {other}, services and probes that select ports by name \
                         will use {other}",
                        go::quote(name)
                    ),
                ),
                None => {
                    by_name.insert(name.to_owned(), port.path.to_string());
                }
            }
        }
    });
}

fn selectors(spec: &Node<'_>, warnings: &mut Warnings) {
    let affinity = spec.child("affinity");
    for key in ["podAffinity", "podAntiAffinity"] {
        let pods = affinity.child(key);
        for term in pods.child("requiredDuringSchedulingIgnoredDuringExecution").items() {
            if !term.has("labelSelector") {
                warnings.at(&term.child("labelSelector"), NO_SELECTOR);
            }
        }
        for weighted in pods.child("preferredDuringSchedulingIgnoredDuringExecution").items() {
            let term = weighted.child("podAffinityTerm");
            if !term.has("labelSelector") {
                warnings.at(&term.child("labelSelector"), NO_SELECTOR);
            }
        }
    }
}
