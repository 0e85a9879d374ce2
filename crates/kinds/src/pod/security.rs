//! Security contexts of pods and containers, seccomp, AppArmor, sysctls, and what an operating system forbids.

use std::collections::BTreeSet;

use grammar::field::{self, ErrorList};
use serde_json::Value;

use crate::check;
use crate::node::Node;
use crate::pod::{Frame, Rules, windows};
use crate::tree::Tree;

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APP_ARMOR_CONTAINER: &str = "container.apparmor.security.beta.kubernetes.io/";
const PROFILE_TYPES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
/// The longest path that the kernel takes, without its final zero byte.
const MAX_PROFILE_BYTES: usize = 4095;
const MAX_SYSCTL_BYTES: usize = 253;

/// A container's `securityContext`.
pub fn container(node: &Node<'_>, frame: &Frame<'_>, errs: &mut ErrorList) {
    if !node.is_set() {
        return;
    }
    check::user(&node.child("runAsUser"), errs);
    check::group(&node.child("runAsGroup"), errs);
    let proc_mount = node.child("procMount");
    if proc_mount.is_set() {
        proc_mount.one_of(&["Default", "Unmasked"], errs);
        if frame.host_users && proc_mount.str() == "Unmasked" {
            errs.push(proc_mount.invalid("`hostUsers` must be false to use `Unmasked`"));
        }
    }
    seccomp_profile(&node.child("seccompProfile"), errs);
    if node.choice("allowPrivilegeEscalation") == Some(false) {
        if node.flag("privileged") {
            errs.push(
                node.invalid("cannot set `allowPrivilegeEscalation` to false and `privileged` to true"),
            );
        }
        if !frame.rules.sys_admin_without_escalation {
            let admin =
                node.at("capabilities").texts("add").into_iter().filter(|name| *name == "CAP_SYS_ADMIN");
            errs.extend(admin.map(|_| {
                node.invalid(
                    "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
                )
            }));
        }
    }
    windows::options(&node.child("windowsOptions"), errs);
    app_armor_profile(&node.child("appArmorProfile"), errs);
}

/// A pod's `securityContext`.
pub fn pod(spec: &Node<'_>, rules: &Rules, errs: &mut ErrorList) {
    let node = spec.child("securityContext");
    if !node.is_set() {
        return;
    }
    check::group(&node.child("fsGroup"), errs);
    check::user(&node.child("runAsUser"), errs);
    check::group(&node.child("runAsGroup"), errs);
    for gid in node.child("supplementalGroups").items() {
        check::group(&gid, errs);
    }
    sysctls(spec, &node.child("sysctls"), rules, errs);
    let choice = |key: &str, supported: &[&str], errs: &mut ErrorList| {
        if node.has(key) {
            node.child(key).one_of(supported, errs);
        }
    };
    choice("fsGroupChangePolicy", &["Always", "OnRootMismatch"], errs);
    seccomp_profile(&node.child("seccompProfile"), errs);
    windows::options(&node.child("windowsOptions"), errs);
    app_armor_profile(&node.child("appArmorProfile"), errs);
    choice("supplementalGroupsPolicy", &["Merge", "Strict"], errs);
    choice("seLinuxChangePolicy", &["MountOption", "Recursive"], errs);
}

fn seccomp_profile(node: &Node<'_>, errs: &mut ErrorList) {
    if !node.is_set() {
        return;
    }
    let (ty, profile) = (node.child("type"), node.child("localhostProfile"));
    match ty.str() {
        "" => errs.push(ty.required("type is required when seccompProfile is set")),
        _ => ty.one_of(PROFILE_TYPES, errs),
    }
    match (ty.str() == "Localhost", profile.is_set()) {
        (true, false) => errs.push(profile.required("must be set when seccomp type is Localhost")),
        (true, true) => check::descending_path(&profile, errs),
        (false, true) => {
            errs.push(profile.invalid_as(node.value(), "can only be set when seccomp type is Localhost"))
        }
        (false, false) => {}
    }
}

fn app_armor_profile(node: &Node<'_>, errs: &mut ErrorList) {
    const MISSING: &str = "must be set when AppArmor type is Localhost";
    if !node.is_set() {
        return;
    }
    let (ty, profile) = (node.child("type"), node.child("localhostProfile"));
    match ty.str() {
        "Localhost" if !profile.is_set() => errs.push(profile.required(MISSING)),
        "Localhost" => {
            if profile.str().trim() != profile.str() {
                errs.push(profile.invalid("must not be padded with whitespace"));
            } else if profile.str().is_empty() {
                errs.push(profile.required(MISSING));
            }
            if profile.str().len() > MAX_PROFILE_BYTES {
                errs.push(profile.too_long(MAX_PROFILE_BYTES));
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if profile.is_set() {
                errs.push(profile.invalid("can only be set when AppArmor type is Localhost"));
            }
        }
        "" => errs.push(ty.required("type is required when appArmorProfile is set")),
        _ => errs.push(ty.not_supported(PROFILE_TYPES)),
    }
}

fn sysctls(spec: &Value, list: &Node<'_>, rules: &Rules, errs: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for sysctl in list.items() {
        let name = sysctl.child("name");
        if name.str().is_empty() {
            errs.push(name.required(""));
        } else if !is_sysctl(name.str()) {
            errs.push(name.invalid(format!(
                "must have at most {MAX_SYSCTL_BYTES} characters and match regex \
                 ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
            )));
        } else if seen.contains(name.str()) {
            errs.push(name.duplicate());
        }
        if !rules.host_sysctls
            && let Some(complaint) = host_sysctl(name.str(), spec)
        {
            errs.push(name.invalid_text(complaint));
        }
        seen.insert(name.str().to_owned());
    }
}

fn is_sysctl(name: &str) -> bool {
    let segment = |text: &str| {
        let bytes = text.as_bytes();
        let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        bytes.first().is_some_and(edge)
            && bytes.last().is_some_and(edge)
            && bytes.iter().all(|byte| edge(byte) || matches!(byte, b'-' | b'_'))
    };
    name.len() <= MAX_SYSCTL_BYTES && name.split(['.', '/']).all(segment)
}

/// What speaks against a sysctl of a namespace that the pod shares with its node.
pub fn host_sysctl(name: &str, spec: &Value) -> Option<&'static str> {
    let name = name.replace('/', ".");
    let ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."].iter().any(|start| match *start {
        "kernel.sem" => name == "kernel.sem",
        start => name.starts_with(start),
    });
    if name.starts_with("net.") && spec.flag("hostNetwork") {
        Some("may not be specified when 'hostNetwork' is true")
    } else if ipc && spec.flag("hostIPC") {
        Some("may not be specified when 'hostIPC' is true")
    } else {
        None
    }
}

/// Annotations that once stood for seccomp and AppArmor fields.
pub fn annotations(annotations: &Node<'_>, spec: &Value, errs: &mut ErrorList) {
    for (key, value) in annotations.pairs() {
        if key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER) {
            seccomp_annotation(&Node::new(value.value(), annotations.path.child(key)), errs);
        }
        if let Some(container) = key.strip_prefix(APP_ARMOR_CONTAINER) {
            if !containers(spec).any(|(_, known)| known.text("name") == container) {
                errs.push(value.invalid_as(container, "container not found"));
            }
            let profile = value.str();
            if !matches!(profile, "" | "runtime/default" | "unconfined") && !profile.starts_with("localhost/")
            {
                errs.push(
                    value.invalid(format!("invalid AppArmor profile name: {}", grammar::go::quote(profile))),
                );
            }
        }
    }
}

fn seccomp_annotation(node: &Node<'_>, errs: &mut ErrorList) {
    match node.str() {
        "runtime/default" | "docker/default" | "unconfined" => {}
        text => match text.strip_prefix("localhost/") {
            Some(path) => check::descending_path(&Node::new(&Value::from(path), node.path), errs),
            None => errs.push(node.invalid("must be a valid seccomp profile")),
        },
    }
}

/// Where annotation and field are both given, they say the same.
pub fn annotations_match_fields(metadata: &Value, spec: &Node<'_>, errs: &mut ErrorList) {
    let annotations = metadata.at("annotations");
    let context = spec.child("securityContext");
    let profile = context.child("seccompProfile");
    if profile.is_set() && annotations.has(SECCOMP_POD) {
        seccomp_matches(annotations.text(SECCOMP_POD), &profile, errs);
    }
    each_container(spec, |container| {
        let context = container.child("securityContext");
        let profile = context.child("seccompProfile");
        let key = format!("{SECCOMP_CONTAINER}{}", container.text("name"));
        if profile.is_set() && annotations.has(&key) {
            seccomp_matches(annotations.text(&key), &profile, errs);
        }
    });
    if spec.at("os").text("name") == "windows" {
        return;
    }
    let of_pod = context.at("appArmorProfile");
    each_container(spec, |container| {
        let context = container.child("securityContext");
        let field = context.child("appArmorProfile");
        let profile = if field.is_set() { field.value() } else { of_pod };
        let key = format!("{APP_ARMOR_CONTAINER}{}", container.text("name"));
        if !profile.is_null() && annotations.has(&key) {
            let shown = Node::new(profile, field.path);
            match_profile(annotations.text(&key), &shown, "apparmor", &["runtime/default"], errs);
        }
    });
}

fn seccomp_matches(annotation: &str, profile: &Node<'_>, errs: &mut ErrorList) {
    match_profile(annotation, profile, "seccomp", &["runtime/default", "docker/default"], errs);
}

fn match_profile(annotation: &str, profile: &Node<'_>, what: &str, default: &[&str], errs: &mut ErrorList) {
    let type_differs =
        || profile.child("type").forbidden(format!("{what} type in annotation and field must match"));
    match profile.text("type") {
        "Unconfined" if annotation != "unconfined" => errs.push(type_differs()),
        "RuntimeDefault" if !default.contains(&annotation) => errs.push(type_differs()),
        "Localhost" => match annotation.strip_prefix("localhost/") {
            None => errs.push(type_differs()),
            Some(path) if profile.at("localhostProfile").as_str() != Some(path) => {
                errs.push(
                    profile
                        .child("localhostProfile")
                        .forbidden(format!("{what} profile in annotation and field must match")),
                );
            }
            Some(_) => {}
        },
        _ => {}
    }
}

/// Deprecated AppArmor annotations and the mirror mark of a static pod are fixed for a pod's life.
pub fn fixed_annotations(new: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    const MIRROR: &str = "kubernetes.io/config.mirror";
    let mut complain = |key: &str, verb: &str| {
        let what = match key {
            MIRROR => "mirror pod annotation",
            _ if key.starts_with(APP_ARMOR_CONTAINER) => "AppArmor annotations",
            _ => return,
        };
        errs.push(field::forbidden(&new.path.key(key), format!("may not {verb} {what}")));
    };
    for (key, value) in old.as_object().into_iter().flatten() {
        if new.get(key) != Some(value) {
            complain(key, "remove or update");
        }
    }
    for (key, _) in new.pairs() {
        if !old.has(key) {
            complain(key, "add");
        }
    }
}

/// Every container of a pod spec with the list that it is in.
pub fn containers(spec: &Value) -> impl Iterator<Item = (&'static str, &Value)> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|key| spec.list(key).iter().map(move |container| (key, container)))
}

/// Calls `f` with every container of a pod spec, init containers first.
pub fn each_container(spec: &Node<'_>, mut f: impl FnMut(&Node<'_>)) {
    for key in ["initContainers", "containers", "ephemeralContainers"] {
        spec.child(key).items().for_each(|container| f(&container));
    }
}

/// Fields of the operating system that the pod is not for.
pub fn operating_system(spec: &Node<'_>, errs: &mut ErrorList) {
    let os = spec.child("os");
    if !os.is_set() {
        return;
    }
    match os.text("name") {
        "" => errs.push(os.child("name").required("")),
        "linux" => {
            const NOT_FOR_LINUX: &str = "windows options cannot be set for a linux pod";
            let mut forbid = |context: Node<'_>| {
                if context.has("windowsOptions") {
                    errs.push(context.child("windowsOptions").forbidden(NOT_FOR_LINUX));
                }
            };
            forbid(spec.child("securityContext"));
            each_container(spec, |container| forbid(container.child("securityContext")));
        }
        "windows" => windows::forbids(spec, errs),
        text => errs.push(field::not_supported(&os.path, text, &["linux", "windows"])),
    }
}

/// What a pod with a user namespace of its own may not share with its node.
pub fn user_namespace(spec: &Node<'_>, rules: &Rules, errs: &mut ErrorList) {
    const NOT_WITH_USERS: &str = "when `hostUsers` is false";
    if spec.choice("hostUsers") != Some(false) {
        return;
    }
    for (key, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.flag(key) && !(key == "hostNetwork" && rules.host_network_with_users) {
            errs.push(spec.child(shown).forbidden(NOT_WITH_USERS));
        }
    }
    if !rules.devices_with_users {
        each_container(spec, |container| {
            if !container.child("volumeDevices").is_empty() {
                errs.push(container.child("volumeDevices").forbidden(NOT_WITH_USERS));
            }
        });
    }
}
