//! Records and statuses as the CRI shows them.

use std::collections::BTreeMap;

use super::records::Stage;
use super::{Container, Sandbox};
use crate::cri::{
    self, ContainerResources, ContainerState, ContainerStatus, ContainerUser, ImageSpec, LinuxContainerUser,
    LinuxPodSandboxStatus, Namespace, PodIp, PodSandbox, PodSandboxNetworkStatus, PodSandboxState,
    PodSandboxStatus, Signal,
};
use crate::shim::protocol::Status;

pub(super) fn sandbox_state(sandbox: &Sandbox) -> PodSandboxState {
    match sandbox.record.lock().stage() {
        Stage::Ready => PodSandboxState::Ready,
        Stage::Creating | Stage::Stopped => PodSandboxState::NotReady,
    }
}

pub(super) fn sandbox_status(sandbox: &Sandbox) -> PodSandboxStatus {
    let state = sandbox_state(sandbox);
    let record = sandbox.record.lock().clone();
    let config = record.config.unwrap_or_default();
    let options =
        config.linux.and_then(|linux| linux.security_context).and_then(|context| context.namespace_options);
    let mut ips = record.ips.into_iter();
    PodSandboxStatus {
        id: record.id,
        metadata: config.metadata,
        state: state.into(),
        created_at: record.created_at,
        network: Some(PodSandboxNetworkStatus {
            ip: ips.next().unwrap_or_default(),
            additional_ips: ips.map(|ip| PodIp { ip }).collect(),
        }),
        linux: Some(LinuxPodSandboxStatus { namespaces: Some(Namespace { options }) }),
        labels: config.labels,
        annotations: config.annotations,
        runtime_handler: record.handler,
    }
}

pub(super) fn sandbox_entry(sandbox: &Sandbox) -> PodSandbox {
    let status = sandbox_status(sandbox);
    PodSandbox {
        id: status.id,
        metadata: status.metadata,
        state: status.state,
        created_at: status.created_at,
        labels: status.labels,
        annotations: status.annotations,
        runtime_handler: status.runtime_handler,
    }
}

pub(super) fn container_status(container: &Container) -> ContainerStatus {
    let state = container.state();
    let status = container.status.borrow().clone();
    let record = container.record.lock().clone();
    let config = record.config.unwrap_or_default();
    let (reason, message) = end(state, &status);
    ContainerStatus {
        id: record.id,
        metadata: config.metadata,
        state: state.into(),
        created_at: record.created_at,
        started_at: status.started_at,
        finished_at: status.finished_at,
        exit_code: status.exit_code,
        image: Some(user_image(config.image)),
        image_ref: record.image_ref,
        reason: reason.to_owned(),
        message,
        labels: config.labels,
        annotations: config.annotations,
        mounts: config.mounts,
        log_path: record.log_path,
        resources: config
            .linux
            .and_then(|linux| linux.resources)
            .map(|linux| ContainerResources { linux: Some(linux), windows: None }),
        image_id: record.image_id,
        user: Some(ContainerUser {
            linux: Some(LinuxContainerUser {
                uid: record.uid.into(),
                gid: record.gid.into(),
                supplemental_groups: record.groups.into_iter().map(i64::from).collect(),
            }),
        }),
        stop_signal: signal(record.stop_signal).into(),
    }
}

/// The image as the user wrote it, which the kubelet passes beside the id that it resolved it to.
fn user_image(image: Option<ImageSpec>) -> ImageSpec {
    let mut image = image.unwrap_or_default();
    if !image.user_specified_image.is_empty() {
        image.image = image.user_specified_image.clone();
    }
    image
}

fn end(state: ContainerState, status: &Status) -> (&'static str, String) {
    if state != ContainerState::Exited {
        return ("", String::new());
    }
    match status {
        Status { failure, .. } if !failure.is_empty() => ("StartError", failure.clone()),
        Status { oom_killed: true, .. } => ("OOMKilled", String::new()),
        Status { exit_code: 0, .. } => ("Completed", String::new()),
        _ => ("Error", String::new()),
    }
}

/// A signal's number as the CRI counts signals.
fn signal(number: i32) -> Signal {
    if (34..=64).contains(&number) {
        return Signal::try_from(number + 1).unwrap_or(Signal::RuntimeDefault);
    }
    let name = nix::sys::signal::Signal::try_from(number).map(|signal| signal.as_str()).unwrap_or("");
    (Signal::RuntimeDefault as i32..=Signal::Sigxfsz as i32)
        .filter_map(|value| Signal::try_from(value).ok())
        .find(|signal| format!("{signal:?}").eq_ignore_ascii_case(name))
        .unwrap_or(Signal::RuntimeDefault)
}

pub(super) fn container_entry(container: &Container) -> cri::Container {
    let status = container_status(container);
    cri::Container {
        id: status.id,
        pod_sandbox_id: container.record.lock().sandbox.clone(),
        metadata: status.metadata,
        image: status.image,
        image_ref: status.image_ref,
        state: status.state,
        created_at: status.created_at,
        labels: status.labels,
        annotations: status.annotations,
        image_id: status.image_id,
    }
}

/// What `crictl inspect` shows beside the status.
pub(super) fn container_details(container: &Container) -> BTreeMap<String, String> {
    let pid = container.status.borrow().pid;
    let spec = std::fs::read(container.bundle.join(crate::launch::CONFIG)).ok();
    let spec: serde_json::Value =
        spec.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let record = container.record.lock();
    let details = serde_json::json!({
        "sandboxID": record.sandbox,
        "pid": pid,
        "cgroup": record.cgroup,
        "bundle": container.bundle,
        "runtimeSpec": spec,
    });
    BTreeMap::from([("info".to_owned(), details.to_string())])
}

pub(super) fn sandbox_details(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let record = sandbox.record.lock();
    let details = serde_json::json!({
        "pid": crate::shims::alive(&sandbox.directory),
        "directory": sandbox.directory,
        "netns": sandbox.netns(),
        "namespaces": record.namespaces,
        "runtimeHandler": record.handler,
    });
    BTreeMap::from([("info".to_owned(), details.to_string())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_counted_as_the_cri_does() {
        for (number, expected) in [
            (15, Signal::Sigterm),
            (9, Signal::Sigkill),
            (34, Signal::Sigrtmin),
            (37, Signal::Sigrtminplus3),
            (64, Signal::Sigrtmax),
            (0, Signal::RuntimeDefault),
        ] {
            assert_eq!(signal(number), expected, "{number}");
        }
    }
}
