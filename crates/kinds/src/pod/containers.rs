//! Containers of all three sorts: those that run, those that run before, and those added later.

use std::collections::BTreeSet;

use grammar::field::{self, ErrorList};
use grammar::names;

use crate::check;
use crate::node::Node;
use crate::pod::{Frame, env, probes, resources, security};
use crate::tree::Tree;

const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const MAX_RESTART_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;

/// `spec.containers`.
pub fn regular(containers: &Node<'_>, frame: &Frame<'_>, errs: &mut ErrorList) {
    if containers.is_empty() {
        errs.push(containers.required(""));
        return;
    }
    let mut names = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for container in containers.items() {
        common(&container, frame, errs);
        unique_name(&container, &mut names, errs);
        probes::validate(&container, frame, errs);
        restart_policy(&container, errs);
        host_ports(&container, &mut ports, errs);
    }
}

/// `spec.initContainers`; those with restart policy Always are sidecars.
pub fn init(containers: &Node<'_>, regular: &Node<'_>, frame: &Frame<'_>, errs: &mut ErrorList) {
    const FOR_SIDECARS: &str = "may not be set for init containers without restartPolicy=Always";
    let mut names: BTreeSet<String> =
        regular.items().map(|container| container.text("name").to_owned()).collect();
    for container in containers.items() {
        common(&container, frame, errs);
        let policy = container.child("restartPolicy");
        if policy.is_set() || !container.child("restartPolicyRules").is_empty() {
            restart_policy(&container, errs);
        }
        unique_name(&container, &mut names, errs);
        // Upstream checks each init container against itself alone and counts it as the first of the list.
        let alone = Node::new(container.value(), containers.path.index(0));
        host_ports(&alone, &mut BTreeSet::new(), errs);
        let sidecar = policy.str() == "Always";
        if sidecar {
            probes::validate(&container, frame, errs);
        } else {
            for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if container.has(key) {
                    errs.push(container.child(key).forbidden(FOR_SIDECARS));
                }
            }
        }
        if !sidecar && !frame.rules.restarting_init_resizes {
            for resize in container.child("resizePolicy").items() {
                let policy = resize.child("restartPolicy");
                if policy.str() == "RestartContainer" {
                    errs.push(
                        policy
                            .invalid("must not be set to 'RestartContainer' for non-sidecar initContainers"),
                    );
                }
            }
        }
    }
}

/// `spec.ephemeralContainers`.
pub fn ephemeral(spec: &Node<'_>, frame: &Frame<'_>, errs: &mut ErrorList) {
    const NOT_FOR_EPHEMERAL: &str = "cannot be set for an Ephemeral Container";
    /// Fields that have no meaning here, in the order of Go's struct.
    const FORBIDDEN: &[&str] = &[
        "ports",
        "resources",
        "resizePolicy",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
    ];
    let others: BTreeSet<String> = ["containers", "initContainers"]
        .iter()
        .flat_map(|key| spec.list(key).iter().map(|container| container.text("name").to_owned()))
        .collect();
    let mut names = others.clone();
    for container in spec.child("ephemeralContainers").items() {
        common(&container, frame, errs);
        trimmed_image(&container, errs);
        unique_name(&container, &mut names, errs);
        let target = container.child("targetContainerName");
        if !target.str().is_empty() && !others.contains(target.str()) {
            errs.push(target.not_found());
        }
        for key in FORBIDDEN {
            if !container.at(key).is_nothing() {
                errs.push(container.child(key).forbidden(NOT_FOR_EPHEMERAL));
            }
        }
        for mount in container.child("volumeMounts").items() {
            for key in ["subPath", "subPathExpr"] {
                if !mount.text(key).is_empty() {
                    errs.push(mount.child(key).forbidden(NOT_FOR_EPHEMERAL));
                }
            }
        }
    }
}

/// An image's name has no blanks around it. Templates are not held to this.
pub fn trimmed_image(container: &Node<'_>, errs: &mut ErrorList) {
    let image = container.child("image");
    if image.str().trim() != image.str() {
        errs.push(image.invalid("must not have leading or trailing whitespace"));
    }
}

fn unique_name(container: &Node<'_>, names: &mut BTreeSet<String>, errs: &mut ErrorList) {
    let name = container.child("name");
    if !names.insert(name.str().to_owned()) {
        errs.push(field::duplicate(&name.path, name.str()));
    }
}

fn common(container: &Node<'_>, frame: &Frame<'_>, errs: &mut ErrorList) {
    let name = container.child("name");
    match name.str() {
        "" => errs.push(name.required("")),
        _ => check::dns_label(&name, errs),
    }
    check::require(container, &["image"], errs);
    check::required_choice(
        &container.child("terminationMessagePolicy"),
        &["File", "FallbackToLogsOnError"],
        errs,
    );
    ports(&container.child("ports"), errs);
    env::variables(&container.child("env"), errs);
    env::sources(&container.child("envFrom"), errs);
    mounts(container, frame, errs);
    devices(container, frame, errs);
    check::required_choice(&container.child("imagePullPolicy"), PULL_POLICIES, errs);
    resources::container(&container.child("resources"), frame.claims, frame.rules, errs);
    resize_policy(&container.child("resizePolicy"), frame, errs);
    security::container(&container.child("securityContext"), frame, errs);
}

fn ports(ports: &Node<'_>, errs: &mut ErrorList) {
    let mut taken = BTreeSet::new();
    for port in ports.items() {
        let name = port.child("name");
        if !name.str().is_empty() {
            let complaints = names::port_name(name.str());
            if complaints.is_empty() && !taken.insert(name.str().to_owned()) {
                errs.push(name.duplicate());
            }
            name.complaints(complaints, errs);
        }
        let number = port.child("containerPort");
        match number.number() {
            0 => errs.push(number.required("")),
            _ => check::port_number(&number, errs),
        }
        let host = port.child("hostPort");
        if host.number() != 0 {
            check::port_number(&host, errs);
        }
        check::required_choice(&port.child("protocol"), PROTOCOLS, errs);
    }
}

/// No two containers claim one port of the host.
fn host_ports(container: &Node<'_>, taken: &mut BTreeSet<String>, errs: &mut ErrorList) {
    for port in container.child("ports").items() {
        let host = port.child("hostPort");
        if host.number() != 0 {
            let claim = format!("{}/{}/{}", port.text("protocol"), port.text("hostIP"), host.number());
            if !taken.insert(claim.clone()) {
                errs.push(field::duplicate(&host.path, claim));
            }
        }
    }
}

fn mounts(container: &Node<'_>, frame: &Frame<'_>, errs: &mut ErrorList) {
    let devices = container.list("volumeDevices");
    let list = container.child("volumeMounts");
    let mut paths = BTreeSet::new();
    for mount in list.items() {
        let (name, path) = (mount.child("name"), mount.child("mountPath"));
        if name.str().is_empty() {
            errs.push(name.required(""));
        }
        let volume = frame.volumes.find(name.str());
        if volume.is_none() {
            errs.push(field::not_found(&name.path, name.str()));
        }
        if path.str().is_empty() {
            errs.push(path.required(""));
        }
        if !paths.insert(path.str().to_owned()) {
            errs.push(path.invalid_text("must be unique"));
        }
        if devices.iter().any(|device| device.text("name") == name.str()) {
            errs.push(name.invalid_text("must not already exist in volumeDevices"));
        }
        if devices.iter().any(|device| device.text("devicePath") == path.str()) {
            errs.push(path.invalid_text("must not already exist as a path in volumeDevices"));
        }
        // From here on upstream names the list where it means the mount.
        let misplaced = |key: &'static str| Node::new(mount.value().at(key), list.path.child(key));
        let (sub, expr) = (misplaced("subPath"), misplaced("subPathExpr"));
        if !sub.str().is_empty() {
            check::descending_path(&sub, errs);
        }
        if !expr.str().is_empty() {
            if !sub.str().is_empty() {
                errs.push(
                    mount.child("subPathExpr").invalid("subPathExpr and subPath are mutually exclusive"),
                );
            }
            check::descending_path(&expr, errs);
        }
        propagation(&misplaced("mountPropagation"), container, errs);
        recursive_read_only(&mount, &misplaced("recursiveReadOnly"), errs);
        bind_options(
            &mount.child("bindMountOptions"),
            volume.is_some_and(|volume| volume.has("image")),
            errs,
        );
    }
}

fn propagation(node: &Node<'_>, container: &Node<'_>, errs: &mut ErrorList) {
    if !node.is_set() {
        return;
    }
    node.one_of(&["Bidirectional", "HostToContainer", "None"], errs);
    if node.str() == "Bidirectional" && !container.at("securityContext").flag("privileged") {
        errs.push(
            node.forbidden("Bidirectional mount propagation is available only to privileged containers"),
        );
    }
}

fn recursive_read_only(mount: &Node<'_>, node: &Node<'_>, errs: &mut ErrorList) {
    match node.str() {
        _ if !node.is_set() => {}
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.flag("readOnly") {
                errs.push(node.forbidden("may only be specified when readOnly is true"));
            }
            if !matches!(mount.text("mountPropagation"), "" | "None") {
                errs.push(
                    node.forbidden("may only be specified when mountPropagation is None or not specified"),
                );
            }
        }
        _ => errs.push(node.not_supported(&["Disabled", "Enabled", "IfPossible"])),
    }
}

fn bind_options(options: &Node<'_>, of_image: bool, errs: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for option in options.items() {
        option.one_of(&["nodev", "noexec", "nosuid"], errs);
        if !seen.insert(option.str().to_owned()) {
            errs.push(option.duplicate());
        }
    }
    if !options.is_empty() && of_image {
        errs.push(options.invalid("bindMountOptions may not be used with image volumes"));
    }
}

fn devices(container: &Node<'_>, frame: &Frame<'_>, errs: &mut ErrorList) {
    let mounts = container.list("volumeMounts");
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for device in container.child("volumeDevices").items() {
        let (name, path) = (device.child("name"), device.child("devicePath"));
        if name.str().is_empty() {
            errs.push(name.required(""));
        }
        if names.contains(name.str()) {
            errs.push(name.invalid_text("must be unique"));
        }
        match frame.volumes.find(name.str()) {
            Some(volume) if volume.has("persistentVolumeClaim") || volume.has("ephemeral") => {}
            Some(_) => errs.push(name.invalid_text(
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
            )),
            None => errs.push(field::not_found(&name.path, name.str())),
        }
        if path.str().is_empty() {
            errs.push(path.required(""));
        }
        if paths.contains(path.str()) {
            errs.push(path.invalid_text("must be unique"));
        }
        if path.str().split('/').any(|step| step == "..") {
            errs.push(path.invalid("can not contain backsteps ('..')"));
        } else {
            paths.insert(path.str().to_owned());
        }
        if mounts.iter().any(|mount| mount.text("name") == name.str()) {
            errs.push(name.invalid_text("must not already exist in volumeMounts"));
        }
        if mounts.iter().any(|mount| mount.text("mountPath") == path.str()) {
            errs.push(path.invalid_text("must not already exist as a path in volumeMounts"));
        }
        if !name.str().is_empty() {
            names.insert(name.str().to_owned());
        }
    }
}

fn resize_policy(policies: &Node<'_>, frame: &Frame<'_>, errs: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for policy in policies.items() {
        let (resource, restart) = (policy.text("resourceName"), policy.text("restartPolicy"));
        if !seen.insert(resource.to_owned()) {
            errs.push(field::duplicate(&policy.path, resource));
        }
        for (text, supported) in
            [(resource, ["cpu", "memory"]), (restart, ["NotRequired", "RestartContainer"])]
        {
            if text.is_empty() {
                errs.push(policies.required(""));
            } else if !supported.contains(&text) {
                errs.push(field::not_supported(&policies.path, text, &supported));
            }
        }
        if frame.restart_policy == "Never" && restart != "NotRequired" {
            errs.push(
                policies.invalid_as(restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'"),
            );
        }
    }
}

/// A container's own restart policy, and its rules for certain exit codes.
fn restart_policy(container: &Node<'_>, errs: &mut ErrorList) {
    let (policy, rules) = (container.child("restartPolicy"), container.child("restartPolicyRules"));
    if !policy.is_set() {
        if rules.is_empty() {
            return;
        }
        errs.push(policy.required("must specify restartPolicy when restart rules are used"));
    } else {
        policy.one_of(&["Always", "Never", "OnFailure"], errs);
    }
    if rules.len() > MAX_RESTART_RULES {
        errs.push(rules.too_many(MAX_RESTART_RULES));
    }
    for rule in rules.items() {
        rule.child("action").one_of(&["Restart", "RestartAllContainers"], errs);
        let codes = rule.child("exitCodes");
        if codes.is_set() {
            codes.child("operator").one_of(&["In", "NotIn"], errs);
            let values = codes.child("values");
            if values.len() > MAX_EXIT_CODES {
                errs.push(values.too_many(MAX_EXIT_CODES));
            }
        } else {
            errs.push(codes.required("must be specified"));
        }
    }
}
