//! From what the CRI asks for to what the launcher, or an external OCI runtime, is given.
//!
//! Everything here is decided before anything is started: an error leaves nothing behind, and becomes a pod's
//! CreateContainerError.

mod devices;
mod mounts;
mod process;
mod resources;
mod sandbox;
mod seccomp_default;
mod security;

pub use devices::host_devices;
pub use mounts::ImageMount;
pub use process::{command, resolve_user, user_request};
pub use resources::{resources, update};
pub use sandbox::{POD_NAMESPACES, id_maps, run_pod};

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::bundle::{self, Config, Linux, Namespace, RootPath};
use crate::cgroup::Kind;
use crate::cri::{
    ContainerConfig, Error, LinuxContainerSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig,
    Result,
};
use crate::users::Resolved;

/// What the specification of a container is made from.
pub struct Inputs<'a> {
    pub config: &'a ContainerConfig,
    pub sandbox: &'a PodSandboxConfig,
    pub image: &'a oci::manifest::RunConfig,
    pub user: &'a Resolved,
    /// The pod's namespaces: kind to path.
    pub pod: &'a BTreeMap<String, String>,
    /// The first process of the container whose pid namespace is to be joined.
    pub target: Option<i32>,
    /// /etc/hostname, /etc/hosts, /etc/resolv.conf and /dev/shm of the pod.
    pub files: &'a SandboxFiles,
    pub cgroup: String,
    pub cgroups: Kind,
    /// Image volumes, by index into `config.mounts`.
    pub images: &'a BTreeMap<usize, ImageMount>,
    /// Where Localhost seccomp profiles with relative names lie.
    pub seccomp_directory: &'a std::path::Path,
}

/// Files that the runtime makes for a pod. `None` leaves the image's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxFiles {
    pub hostname: Option<PathBuf>,
    pub hosts: Option<PathBuf>,
    pub resolv_conf: Option<PathBuf>,
    pub shm: Option<PathBuf>,
}

/// The `config.json` of a container.
pub fn container(inputs: &Inputs<'_>) -> Result<Config> {
    let none = LinuxContainerSecurityContext::default();
    let linux = inputs.config.linux.as_ref();
    let security = linux.and_then(|linux| linux.security_context.as_ref()).unwrap_or(&none);
    let wanted = linux.and_then(|linux| linux.resources.clone()).unwrap_or_default();
    let options = security.namespace_options.clone().unwrap_or_default();
    if let Some(device) = inputs.config.cdi_devices.first() {
        return Err(Error::unimplemented(format!(
            "CDI device {:?}: CDI is not offered by this runtime",
            device.name
        )));
    }
    security::check_selinux(security.selinux_options.as_ref())?;
    let capabilities = security::capabilities(security)?;
    let (devices, device_rules) = devices::devices(inputs.config, security.privileged)?;
    let mut resources = resources(&wanted, inputs.cgroups)?;
    resources.devices = device_rules;
    let (uids, gids) = id_maps(inputs.sandbox)?;
    let guarded = |paths: &[String]| if security.privileged { Vec::new() } else { paths.to_vec() };
    Ok(Config {
        oci_version: bundle::VERSION.to_owned(),
        process: process::process(inputs, security, &wanted, capabilities.clone())?,
        root: RootPath { path: crate::launch::ROOTFS.into(), readonly: security.readonly_rootfs },
        hostname: String::new(),
        mounts: mounts::mounts(inputs, security, &options)?,
        annotations: BTreeMap::new(),
        linux: Linux {
            uid_mappings: uids,
            gid_mappings: gids,
            sysctl: BTreeMap::new(),
            resources,
            cgroups_path: inputs.cgroup.clone(),
            namespaces: namespaces(inputs, &options, security.privileged)?,
            devices,
            seccomp: security::seccomp(security, &capabilities, inputs.seccomp_directory)?,
            masked_paths: guarded(&security.masked_paths),
            readonly_paths: guarded(&security.readonly_paths),
            rootfs_propagation: mounts::root_propagation(inputs.config).to_owned(),
        },
    })
}

fn namespaces(inputs: &Inputs<'_>, options: &NamespaceOption, privileged: bool) -> Result<Vec<Namespace>> {
    let new = |kind: &str| Namespace { r#type: kind.to_owned(), path: String::new() };
    let join = |kind: &str| -> Result<Namespace> {
        let path = inputs.pod.get(kind).cloned();
        let path =
            path.ok_or_else(|| Error::invalid(format!("the sandbox has no {kind} namespace of its own")))?;
        Ok(Namespace { r#type: kind.to_owned(), path })
    };
    let mut list = vec![new("mount")];
    if inputs.pod.contains_key("user") {
        list.push(join("user")?);
    }
    // The sandbox decided whether these are the host's; containers follow it.
    for kind in ["network", "ipc", "uts"] {
        if inputs.pod.contains_key(kind) {
            list.push(join(kind)?);
        }
    }
    match options.pid() {
        NamespaceMode::Container => list.push(new("pid")),
        NamespaceMode::Pod => list.push(join("pid")?),
        NamespaceMode::Node => {}
        NamespaceMode::Target => {
            let target = inputs.target.ok_or_else(|| {
                Error::precondition(format!(
                    "invalid target container: {:?} is not running",
                    options.target_id
                ))
            })?;
            list.push(Namespace { r#type: "pid".to_owned(), path: format!("/proc/{target}/ns/pid") });
        }
    }
    if inputs.cgroups == Kind::V2 && !privileged {
        list.push(new("cgroup"));
    }
    Ok(list)
}
