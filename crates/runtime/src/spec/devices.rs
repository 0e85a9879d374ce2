//! Devices: which nodes a container gets, and which it may open.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::bundle::{Device, DeviceRule};
use crate::cri::{self, ContainerConfig, Error, Result};

/// What every container may open: the standard nodes and its own terminals. Making nodes is allowed; opening
/// them is what the rules are about.
const DEFAULT_RULES: &[(&str, Option<i64>, Option<i64>, &str)] = &[
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", Some(1), Some(3), "rwm"),
    ("c", Some(1), Some(5), "rwm"),
    ("c", Some(1), Some(7), "rwm"),
    ("c", Some(1), Some(8), "rwm"),
    ("c", Some(1), Some(9), "rwm"),
    ("c", Some(5), Some(0), "rwm"),
    ("c", Some(5), Some(1), "rwm"),
    ("c", Some(5), Some(2), "rwm"),
    ("c", Some(136), None, "rwm"),
];

/// The nodes that a container gets beside the standard ones, and its device rules.
pub(super) fn devices(config: &ContainerConfig, privileged: bool) -> Result<(Vec<Device>, Vec<DeviceRule>)> {
    let rule = |allow, kind: &str, major, minor, access: &str| DeviceRule {
        allow,
        r#type: kind.to_owned(),
        major,
        minor,
        access: access.to_owned(),
    };
    if privileged {
        let devices = if config.devices.is_empty() { host_devices() } else { expand(&config.devices)?.0 };
        return Ok((devices, vec![rule(true, "a", None, None, "rwm")]));
    }
    let mut rules = vec![rule(false, "a", None, None, "rwm")];
    rules.extend(
        DEFAULT_RULES.iter().map(|&(kind, major, minor, access)| rule(true, kind, major, minor, access)),
    );
    let (devices, more) = expand(&config.devices)?;
    rules.extend(more);
    Ok((devices, rules))
}

/// The nodes behind the host paths of the CRI's devices. A directory stands for all nodes in it.
fn expand(wanted: &[cri::Device]) -> Result<(Vec<Device>, Vec<DeviceRule>)> {
    let (mut devices, mut rules) = (Vec::new(), Vec::new());
    for device in wanted {
        let access = if device.permissions.is_empty() { "rwm" } else { &device.permissions };
        if !access.chars().all(|letter| "rwm".contains(letter)) {
            return Err(Error::invalid(format!("invalid device permissions {access:?}")));
        }
        let host = std::fs::canonicalize(&device.host_path).map_err(|error| {
            Error::invalid(format!("failed to stat device {:?}: {error}", device.host_path))
        })?;
        let mut found = Vec::new();
        if host.is_dir() {
            collect(&host, Path::new(&device.container_path), &mut found);
        } else {
            found.extend(node(&host, Path::new(&device.container_path)));
        }
        if found.is_empty() {
            return Err(Error::invalid(format!(
                "error gathering device information: {:?} is not a device",
                device.host_path
            )));
        }
        rules.extend(found.iter().map(|found| DeviceRule {
            allow: true,
            r#type: found.r#type.clone(),
            major: Some(found.major.into()),
            minor: Some(found.minor.into()),
            access: access.to_owned(),
        }));
        devices.extend(found);
    }
    Ok((devices, rules))
}

/// All device nodes of the host, for privileged containers.
pub fn host_devices() -> Vec<Device> {
    let mut devices = Vec::new();
    collect(Path::new("/dev"), Path::new("/dev"), &mut devices);
    devices
}

fn collect(host: &Path, container: &Path, devices: &mut Vec<Device>) {
    /// Directories of /dev that a container has its own of.
    const OWN: &[&str] = &["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];
    let Ok(entries) = std::fs::read_dir(host) else { return };
    for entry in entries.filter_map(|entry| entry.ok()) {
        let name = entry.file_name();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && !OWN.iter().any(|own| name == *own) {
            collect(&entry.path(), &container.join(&name), devices);
        } else if name != "console" {
            devices.extend(node(&entry.path(), &container.join(&name)));
        }
    }
}

fn node(host: &Path, container: &Path) -> Option<Device> {
    let metadata = std::fs::symlink_metadata(host).ok()?;
    let kind = metadata.file_type();
    let kind = match () {
        () if kind.is_char_device() => "c",
        () if kind.is_block_device() => "b",
        () => return None,
    };
    Some(Device {
        path: container.to_str()?.to_owned(),
        r#type: kind.to_owned(),
        major: rustix::fs::major(metadata.rdev()),
        minor: rustix::fs::minor(metadata.rdev()),
        file_mode: Some(metadata.mode() & 0o7777),
        uid: metadata.uid(),
        gid: metadata.gid(),
    })
}
