//! The controls of the standards, each as of the versions that changed it.

use std::collections::BTreeSet;

use grammar::go::quote;
use serde_json::Value;

use super::policy::{Level, Standard, Version};
use crate::node::references::containers;
use crate::tree::{items, text};

/// What a pod violates: a reason and, where there is more to say, a detail for each control.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations(Vec<(&'static str, String)>);

impl Violations {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The reasons alone.
    pub fn reasons(&self) -> String {
        let reasons: Vec<_> = self.0.iter().map(|(reason, _)| *reason).collect();
        reasons.join(", ")
    }
}

/// Reasons with their details, as a refusal gives them.
impl std::fmt::Display for Violations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let texts: Vec<_> = self
            .0
            .iter()
            .map(
                |(reason, detail)| {
                    if detail.is_empty() { (*reason).into() } else { format!("{reason} ({detail})") }
                },
            )
            .collect();
        f.write_str(&texts.join(", "))
    }
}

/// Runs every control of a standard over anything with `metadata` and a pod's `spec`.
pub fn evaluate(standard: Standard, pod: &Value) -> Violations {
    let minor = match standard.version {
        Version::Minor(minor) => minor.min(NEWEST),
        Version::Latest => NEWEST,
    };
    if standard.level == Level::Privileged {
        return Violations::default();
    }
    let applies = |control: &Control| control.since <= minor && minor < control.until;
    let restricted = || RESTRICTED.iter().filter(|control| applies(control));
    let wants_restricted = standard.level == Level::Restricted;
    let replaced = |control: &Control| {
        wants_restricted && restricted().any(|stricter| stricter.replaces == Some(control.id))
    };
    let baseline = BASELINE.iter().filter(|control| applies(control) && !replaced(control));
    let controls = baseline.chain(restricted().filter(|_| wants_restricted));
    Violations(controls.filter_map(|control| (control.check)(pod)).collect())
}

type Violation = Option<(&'static str, String)>;

/// One form of a control, in force from one version until before another.
struct Control {
    id: &'static str,
    since: u64,
    until: u64,
    /// A baseline control that this stricter one stands for.
    replaces: Option<&'static str>,
    check: fn(&Value) -> Violation,
}

const NEWEST: u64 = 37;
const FOREVER: u64 = u64::MAX;

const fn control(id: &'static str, since: u64, until: u64, check: fn(&Value) -> Violation) -> Control {
    Control { id, since, until, replaces: None, check }
}

const fn stricter(
    id: &'static str,
    since: u64,
    until: u64,
    check: fn(&Value) -> Violation,
    replaces: &'static str,
) -> Control {
    Control { id, since, until, replaces: Some(replaces), check }
}

/// In the order in which violations are listed.
const BASELINE: &[Control] = &[
    control("appArmorProfile", 0, FOREVER, app_armor),
    control("capabilities_baseline", 0, FOREVER, added_capabilities),
    control("hostNamespaces", 0, FOREVER, host_namespaces),
    control("hostPathVolumes", 0, FOREVER, host_paths),
    control("hostPorts", 0, FOREVER, host_ports),
    control("hostProbesAndHostLifecycle", 34, FOREVER, probe_hosts),
    control("privileged", 0, FOREVER, privileged),
    control("procMount", 0, 35, proc_mount),
    control("procMount", 35, FOREVER, |pod| unless_user_namespace(pod, proc_mount)),
    control("seLinuxOptions", 0, 31, |pod| se_linux(pod, &SE_LINUX_TYPES[..4])),
    control("seLinuxOptions", 31, FOREVER, |pod| se_linux(pod, &SE_LINUX_TYPES)),
    control("seccompProfile_baseline", 0, 19, seccomp_annotations),
    control("seccompProfile_baseline", 19, FOREVER, seccomp_set),
    control("sysctls", 0, 27, |pod| sysctls(pod, &SYSCTLS[..5])),
    control("sysctls", 27, 29, |pod| sysctls(pod, &SYSCTLS[..6])),
    control("sysctls", 29, 32, |pod| sysctls(pod, &SYSCTLS[..10])),
    control("sysctls", 32, 37, |pod| sysctls(pod, &SYSCTLS[..12])),
    control("sysctls", 37, FOREVER, |pod| sysctls(pod, &SYSCTLS)),
    control("windowsHostProcess", 0, FOREVER, host_process),
];

const RESTRICTED: &[Control] = &[
    control("allowPrivilegeEscalation", 8, 25, privilege_escalation),
    control("allowPrivilegeEscalation", 25, FOREVER, |pod| unless_windows(pod, privilege_escalation)),
    stricter("capabilities_restricted", 22, 25, all_capabilities, "capabilities_baseline"),
    stricter(
        "capabilities_restricted",
        25,
        FOREVER,
        |pod| unless_windows(pod, all_capabilities),
        "capabilities_baseline",
    ),
    stricter("procMount_restricted", 35, FOREVER, proc_mount, "procMount"),
    stricter("restrictedVolumes", 0, FOREVER, volume_types, "hostPathVolumes"),
    control("runAsNonRoot", 0, 35, run_as_non_root),
    control("runAsNonRoot", 35, FOREVER, |pod| unless_user_namespace(pod, run_as_non_root)),
    control("runAsUser", 23, 35, run_as_user),
    control("runAsUser", 35, FOREVER, |pod| unless_user_namespace(pod, run_as_user)),
    stricter("seccompProfile_restricted", 19, 25, seccomp_required, "seccompProfile_baseline"),
    stricter(
        "seccompProfile_restricted",
        25,
        FOREVER,
        |pod| unless_windows(pod, seccomp_required),
        "seccompProfile_baseline",
    ),
];

/// Versions 1.0 to 1.30 know all but the last.
const SE_LINUX_TYPES: [&str; 5] =
    ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// Five from the start, then one more with 1.27, four with 1.29, two each with 1.32 and 1.37.
const SYSCTLS: [&str; 14] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_notsent_lowat",
];

const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

const RESTRICTED_VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

const OTHER_VOLUMES: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

fn unless_windows(pod: &Value, check: fn(&Value) -> Violation) -> Violation {
    if pod["spec"]["os"]["name"] == "windows" { None } else { check(pod) }
}

/// A pod in a user namespace of its own is root only there.
fn unless_user_namespace(pod: &Value, check: fn(&Value) -> Violation) -> Violation {
    if pod["spec"]["hostUsers"] == false { None } else { check(pod) }
}

fn app_armor(pod: &Value) -> Violation {
    const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
    let mut bad = BTreeSet::new();
    let setters = setters(pod, |context| {
        let profile = &context["appArmorProfile"];
        let kind = text(profile, "type");
        let is_bad = !profile.is_null() && !matches!(kind, "RuntimeDefault" | "Localhost");
        if is_bad {
            bad.insert(kind.to_owned());
        }
        is_bad
    });
    let annotations = pod["metadata"]["annotations"].as_object().into_iter().flatten();
    let mut annotated: Vec<String> = annotations
        .filter(|(key, _)| key.starts_with(ANNOTATION))
        .map(|(key, value)| (key, value.as_str().unwrap_or_default()))
        .filter(|(_, value)| {
            !value.is_empty() && *value != "runtime/default" && !value.starts_with("localhost/")
        })
        .map(|(key, value)| format!("{key}={}", quote(value)))
        .collect();
    annotated.sort();
    let mut setters = setters;
    if !annotated.is_empty() {
        setters.push(count("annotation", "annotations", annotated.len()).to_owned());
    }
    let values: Vec<String> = bad.into_iter().chain(annotated).collect();
    found(setters, |setters| {
        let reason = count("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
        (reason, format!("{setters} must not set AppArmor profile type to {}", join(&values)))
    })
}

fn added_capabilities(pod: &Value) -> Violation {
    let mut extra = BTreeSet::new();
    let bad = named(pod, |container| {
        let added =
            items(&container["securityContext"]["capabilities"], "add").iter().filter_map(Value::as_str);
        let bad: Vec<_> = added.filter(|name| !DEFAULT_CAPABILITIES.contains(name)).collect();
        extra.extend(bad.iter().map(|name| (*name).to_owned()));
        !bad.is_empty()
    })?;
    let detail = format!("{bad} must not include {} in securityContext.capabilities.add", join(&extra));
    Some(("non-default capabilities", detail))
}

fn host_namespaces(pod: &Value) -> Violation {
    let keys = ["hostNetwork", "hostPID", "hostIPC"];
    let used: Vec<_> =
        keys.iter().filter(|key| pod["spec"][**key] == true).map(|key| format!("{key}=true")).collect();
    (!used.is_empty()).then(|| ("host namespaces", used.join(", ")))
}

fn host_paths(pod: &Value) -> Violation {
    let volumes = items(&pod["spec"], "volumes").iter().filter(|volume| !volume["hostPath"].is_null());
    let names: Vec<_> = volumes.map(|volume| text(volume, "name").to_owned()).collect();
    let detail = || format!("{} {}", count("volume", "volumes", names.len()), join(&names));
    (!names.is_empty()).then(|| ("hostPath volumes", detail()))
}

fn host_ports(pod: &Value) -> Violation {
    let mut ports = BTreeSet::new();
    let names = names(pod, |container| {
        let used = items(container, "ports").iter().filter_map(|port| port["hostPort"].as_i64());
        let used: Vec<_> = used.filter(|port| *port != 0).collect();
        ports.extend(used.iter().map(i64::to_string));
        !used.is_empty()
    });
    let uses = count("uses", "use", names.len());
    let what = count("hostPort", "hostPorts", ports.len());
    let ports: Vec<_> = ports.into_iter().collect();
    (!names.is_empty())
        .then(|| ("hostPort", format!("{} {uses} {what} {}", containers_text(&names), ports.join(", "))))
}

fn probe_hosts(pod: &Value) -> Violation {
    let mut hosts = BTreeSet::new();
    let names = names(pod, |container| {
        let lifecycle = &container["lifecycle"];
        let handlers = ["livenessProbe", "readinessProbe", "startupProbe"].map(|key| &container[key]);
        let handlers = handlers.into_iter().chain([&lifecycle["postStart"], &lifecycle["preStop"]]);
        let used =
            handlers.flat_map(|h| ["httpGet", "tcpSocket"].map(|key| text(&h[key], "host").to_owned()));
        let used: Vec<_> = used.filter(|host| !host.is_empty()).collect();
        let is_bad = !used.is_empty();
        hosts.extend(used);
        is_bad
    });
    // Unlike everywhere else the names are a sorted set.
    let names: BTreeSet<String> = names.into_iter().collect();
    let uses = count("uses", "use", names.len());
    let what = count("probe or lifecycle host", "probe or lifecycle hosts", hosts.len());
    let who = format!("{} {}", count("container", "containers", names.len()), join(&names));
    (!names.is_empty()).then(|| ("probe or lifecycle host", format!("{who} {uses} {what} {}", join(&hosts))))
}

fn privileged(pod: &Value) -> Violation {
    let bad = named(pod, |container| container["securityContext"]["privileged"] == true)?;
    Some(("privileged", format!("{bad} must not set securityContext.privileged=true")))
}

fn proc_mount(pod: &Value) -> Violation {
    let mut kinds = BTreeSet::new();
    let bad = named(pod, |container| {
        let kind = container["securityContext"]["procMount"].as_str().filter(|kind| *kind != "Default");
        kinds.extend(kind.map(str::to_owned));
        kind.is_some()
    })?;
    Some(("procMount", format!("{bad} must not set securityContext.procMount to {}", join(&kinds))))
}

fn se_linux(pod: &Value, allowed: &[&str]) -> Violation {
    let mut types = BTreeSet::new();
    let (mut user, mut role) = (false, false);
    let setters = setters(pod, |context| {
        let options = &context["seLinuxOptions"];
        let kind = text(options, "type");
        let (bad_type, has_user, has_role) =
            (!allowed.contains(&kind), !text(options, "user").is_empty(), !text(options, "role").is_empty());
        if bad_type {
            types.insert(kind.to_owned());
        }
        user |= has_user;
        role |= has_role;
        bad_type || has_user || has_role
    });
    let mut data = Vec::new();
    if !types.is_empty() {
        data.push(format!("{} {}", count("type", "types", types.len()), join(&types)));
    }
    data.extend(user.then(|| "user may not be set".to_owned()));
    data.extend(role.then(|| "role may not be set".to_owned()));
    found(setters, |setters| {
        (
            "seLinuxOptions",
            format!("{setters} set forbidden securityContext.seLinuxOptions: {}", data.join("; ")),
        )
    })
}

fn seccomp_annotations(pod: &Value) -> Violation {
    const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    const CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
    let keys = containers(pod).map(|container| format!("{CONTAINER}{}", text(container, "name")));
    let bad: BTreeSet<String> = std::iter::once(POD.to_owned())
        .chain(keys)
        .filter_map(|key| {
            let value = pod["metadata"]["annotations"][key.as_str()].as_str()?;
            let fine =
                matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
            (!fine).then(|| format!("{key}={}", quote(value)))
        })
        .collect();
    let what = count("annotation", "annotations", bad.len());
    let list: Vec<_> = bad.into_iter().collect();
    (!list.is_empty()).then(|| ("seccompProfile", format!("forbidden {what} {}", list.join(", "))))
}

fn seccomp_set(pod: &Value) -> Violation {
    let mut values = BTreeSet::new();
    let setters = setters(pod, |context| {
        let profile = &context["seccompProfile"];
        let is_bad = !profile.is_null() && !is_seccomp(profile);
        if is_bad {
            values.insert(text(profile, "type").to_owned());
        }
        is_bad
    });
    found(setters, |setters| {
        let values = join(&values);
        ("seccompProfile", format!("{setters} must not set securityContext.seccompProfile.type to {values}"))
    })
}

fn seccomp_required(pod: &Value) -> Violation {
    if let Some(bad) = seccomp_set(pod) {
        return Some(bad);
    }
    if is_seccomp(&pod["spec"]["securityContext"]["seccompProfile"]) {
        return None;
    }
    let bad = named(pod, |container| container["securityContext"]["seccompProfile"].is_null())?;
    let must = r#"must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost""#;
    Some(("seccompProfile", format!("pod or {bad} {must}")))
}

fn is_seccomp(profile: &Value) -> bool {
    matches!(text(profile, "type"), "Localhost" | "RuntimeDefault")
}

fn sysctls(pod: &Value, allowed: &[&str]) -> Violation {
    let names = items(&pod["spec"]["securityContext"], "sysctls").iter().map(|sysctl| text(sysctl, "name"));
    let bad: Vec<_> = names.filter(|name| !allowed.contains(name)).collect();
    (!bad.is_empty()).then(|| ("forbidden sysctls", bad.join(", ")))
}

fn host_process(pod: &Value) -> Violation {
    found(setters(pod, |context| context["windowsOptions"]["hostProcess"] == true), |setters| {
        ("hostProcess", format!("{setters} must not set securityContext.windowsOptions.hostProcess=true"))
    })
}

fn privilege_escalation(pod: &Value) -> Violation {
    let bad = named(pod, |container| container["securityContext"]["allowPrivilegeEscalation"] != false)?;
    let detail = format!("{bad} must set securityContext.allowPrivilegeEscalation=false");
    Some(("allowPrivilegeEscalation != false", detail))
}

fn all_capabilities(pod: &Value) -> Violation {
    let capabilities = |container: &Value| container["securityContext"]["capabilities"].clone();
    let keeps =
        named(pod, |container| !items(&capabilities(container), "drop").iter().any(|name| name == "ALL"));
    let mut extra = BTreeSet::new();
    let adds = named(pod, |container| {
        let capabilities = capabilities(container);
        let added = items(&capabilities, "add").iter().filter_map(Value::as_str);
        let bad: Vec<_> = added.filter(|name| *name != "NET_BIND_SERVICE").map(str::to_owned).collect();
        let is_bad = !bad.is_empty();
        extra.extend(bad);
        is_bad
    });
    let keeps = keeps.map(|who| format!(r#"{who} must set securityContext.capabilities.drop=["ALL"]"#));
    let adds = adds.map(|who| {
        let extra = join(&extra);
        format!("{who} must not include {extra} in securityContext.capabilities.add")
    });
    let details: Vec<_> = keeps.into_iter().chain(adds).collect();
    (!details.is_empty()).then(|| ("unrestricted capabilities", details.join("; ")))
}

fn volume_types(pod: &Value) -> Violation {
    let mut types = BTreeSet::new();
    let mut names = Vec::new();
    for volume in items(&pod["spec"], "volumes") {
        let has = |kind: &&&str| !volume[**kind].is_null();
        if RESTRICTED_VOLUMES.iter().find(has).is_some() {
            continue;
        }
        names.push(text(volume, "name").to_owned());
        types.insert(OTHER_VOLUMES.iter().find(has).map_or("unknown", |kind| kind).to_owned());
    }
    if names.is_empty() {
        return None;
    }
    let who = format!("{} {}", count("volume", "volumes", names.len()), join(&names));
    let uses = count("uses", "use", names.len());
    let what = count("restricted volume type", "restricted volume types", types.len());
    Some(("restricted volume types", format!("{who} {uses} {what} {}", join(&types))))
}

fn run_as_non_root(pod: &Value) -> Violation {
    const REASON: &str = "runAsNonRoot != true";
    let explicit = found(setters(pod, |context| context["runAsNonRoot"] == false), |setters| {
        (REASON, format!("{setters} must not set securityContext.runAsNonRoot=false"))
    });
    if explicit.is_some() || pod["spec"]["securityContext"]["runAsNonRoot"] == true {
        return explicit;
    }
    let bad = named(pod, |container| container["securityContext"]["runAsNonRoot"].is_null())?;
    Some((REASON, format!("pod or {bad} must set securityContext.runAsNonRoot=true")))
}

fn run_as_user(pod: &Value) -> Violation {
    found(setters(pod, |context| context["runAsUser"] == 0), |setters| {
        ("runAsUser=0", format!("{setters} must not set runAsUser=0"))
    })
}

/// Who sets what must not be set: the pod, its containers, or both.
fn setters(pod: &Value, mut is_bad: impl FnMut(&Value) -> bool) -> Vec<String> {
    let pods = is_bad(&pod["spec"]["securityContext"]).then(|| "pod".to_owned());
    let containers = named(pod, |container| is_bad(&container["securityContext"]));
    pods.into_iter().chain(containers).collect()
}

fn found(setters: Vec<String>, say: impl FnOnce(String) -> (&'static str, String)) -> Violation {
    (!setters.is_empty()).then(|| say(setters.join(" and ")))
}

/// `container "a"` or `containers "a", "b"`.
fn named(pod: &Value, is_bad: impl FnMut(&Value) -> bool) -> Option<String> {
    let names = names(pod, is_bad);
    (!names.is_empty()).then(|| containers_text(&names))
}

fn names(pod: &Value, mut is_bad: impl FnMut(&Value) -> bool) -> Vec<String> {
    containers(pod).filter(|container| is_bad(container)).map(|c| text(c, "name").to_owned()).collect()
}

fn containers_text(names: &[String]) -> String {
    format!("{} {}", count("container", "containers", names.len()), join(names))
}

fn count(one: &'static str, many: &'static str, number: usize) -> &'static str {
    if number == 1 { one } else { many }
}

fn join<'a>(texts: impl IntoIterator<Item = &'a String>) -> String {
    let texts: Vec<_> = texts.into_iter().map(|text| format!("\"{text}\"")).collect();
    texts.join(", ")
}
