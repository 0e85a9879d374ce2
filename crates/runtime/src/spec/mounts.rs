//! What is mounted in a container.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Inputs;
use crate::bundle::{IdMap, Mount};
use crate::cri::{
    self, ContainerConfig, Error, IdMapping, LinuxContainerSecurityContext, MountPropagation, NamespaceMode,
    NamespaceOption, Result,
};

/// An image volume, ready to be mounted read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageMount {
    Directory(PathBuf),
    /// Layers, uppermost first.
    Layers(Vec<PathBuf>),
}

/// All mounts, in order.
pub(super) fn mounts(
    inputs: &Inputs<'_>,
    security: &LinuxContainerSecurityContext,
    options: &NamespaceOption,
) -> Result<Vec<Mount>> {
    let mut list = standard(inputs, security, options);
    let asked: BTreeSet<PathBuf> =
        inputs.config.mounts.iter().map(|mount| clean(&mount.container_path)).collect();
    for (path, file) in [
        ("/etc/hostname", &inputs.files.hostname),
        ("/etc/hosts", &inputs.files.hosts),
        ("/etc/resolv.conf", &inputs.files.resolv_conf),
    ] {
        if let Some(file) = file {
            let access = if security.readonly_rootfs { "ro" } else { "rw" };
            list.push(bind(file, path, &["rbind", "rprivate", access]));
        }
    }
    // What the pod asks for takes the place of what would be there by itself.
    list.retain(|mount| !asked.contains(&clean(&mount.destination)));
    for (index, mount) in inputs.config.mounts.iter().enumerate() {
        list.push(wanted(mount, inputs.images.get(&index))?);
    }
    // A mount on a directory must not hide one made inside it before.
    list.sort_by_key(|mount| clean(&mount.destination).components().count());
    Ok(list)
}

fn standard(
    inputs: &Inputs<'_>,
    security: &LinuxContainerSecurityContext,
    options: &NamespaceOption,
) -> Vec<Mount> {
    let access = if security.privileged { "rw" } else { "ro" };
    let mut list = vec![
        filesystem("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        filesystem("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        filesystem(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        filesystem("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        filesystem("/sys", "sysfs", &["nosuid", "noexec", "nodev", access]),
        filesystem("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", access]),
    ];
    match (&inputs.files.shm, options.ipc()) {
        (_, NamespaceMode::Node) => list.push(bind(Path::new("/dev/shm"), "/dev/shm", &["rbind", "rw"])),
        (Some(shm), _) => list.push(bind(shm, "/dev/shm", &["rbind", "rw"])),
        (None, _) => {
            list.push(filesystem(
                "/dev/shm",
                "tmpfs",
                &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
            ));
        }
    }
    list
}

fn wanted(mount: &cri::Mount, image: Option<&ImageMount>) -> Result<Mount> {
    if !mount.container_path.starts_with('/') {
        let path = &mount.container_path;
        return Err(Error::invalid(format!("mount destination {path:?} is not an absolute path")));
    }
    if mount.recursive_read_only {
        if !mount.readonly {
            return Err(Error::invalid("recursive read-only mount conflicts with read-write mount"));
        }
        if mount.propagation() != MountPropagation::Private {
            return Err(Error::invalid("recursive read-only mount needs private propagation"));
        }
    }
    let mut options: Vec<String> = Vec::new();
    options.extend(mount.mount_options.iter().cloned());
    if let Some(image) = image {
        return Ok(image_mount(mount, image, options));
    }
    let source = source(&mount.host_path)?;
    options.push("rbind".to_owned());
    options.push(
        match mount.propagation() {
            MountPropagation::Private => "rprivate",
            MountPropagation::HostToContainer => "rslave",
            MountPropagation::Bidirectional => "rshared",
        }
        .to_owned(),
    );
    check_propagation(mount, &source)?;
    options.push(
        match (mount.recursive_read_only, mount.readonly) {
            (true, _) => "rro",
            (_, true) => "ro",
            _ => "rw",
        }
        .to_owned(),
    );
    let (uid_mappings, gid_mappings) = (maps(&mount.uid_mappings), maps(&mount.gid_mappings));
    if uid_mappings.is_empty() != gid_mappings.is_empty() {
        return Err(Error::invalid(format!(
            "mount {:?}: uid and gid mappings go together",
            mount.container_path
        )));
    }
    Ok(Mount {
        destination: mount.container_path.clone(),
        r#type: "bind".to_owned(),
        source: source.to_string_lossy().into_owned(),
        options,
        uid_mappings,
        gid_mappings,
    })
}

fn image_mount(mount: &cri::Mount, image: &ImageMount, mut options: Vec<String>) -> Mount {
    options.extend(["ro", "nosuid", "nodev"].map(str::to_owned));
    if !mount.image_sub_path.is_empty() {
        options.push(format!("{}{}", crate::launch::SUB_PATH, mount.image_sub_path));
    }
    let (kind, source) = match image {
        ImageMount::Directory(directory) => {
            options.extend(["bind", "rprivate"].map(str::to_owned));
            ("bind", directory.to_string_lossy().into_owned())
        }
        ImageMount::Layers(layers) => {
            options.extend(layers.iter().map(|layer| format!("lowerdir+={}", layer.display())));
            ("overlay", "overlay".to_owned())
        }
    };
    Mount {
        destination: mount.container_path.clone(),
        r#type: kind.to_owned(),
        source,
        options,
        ..Mount::default()
    }
}

/// The source of a bind mount, with links followed; made as a directory when it is absent, as upstream does.
fn source(host_path: &str) -> Result<PathBuf> {
    if !host_path.starts_with('/') {
        return Err(Error::invalid(format!("mount source {host_path:?} is not an absolute path")));
    }
    let failed = |error: std::io::Error| {
        Error::unknown(format!("failed to generate spec: failed to stat {host_path:?}: {error}"))
    };
    match std::fs::canonicalize(host_path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(host_path)
                .map_err(|error| Error::unknown(format!("failed to mkdir {host_path:?}: {error}")))?;
            std::fs::canonicalize(host_path).map_err(failed)
        }
        result => result.map_err(failed),
    }
}

/// What a container is to see of later mounts, or show of its own, must lie on a mount that is shared.
fn check_propagation(mount: &cri::Mount, source: &Path) -> Result<()> {
    let (needed, word): (&[&str], _) = match mount.propagation() {
        MountPropagation::Private => return Ok(()),
        MountPropagation::HostToContainer => (&["shared:", "master:"], "a shared or slave"),
        MountPropagation::Bidirectional => (&["shared:"], "a shared"),
    };
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo")?;
    let fields = mountinfo
        .lines()
        .filter_map(|line| Some((Path::new(line.split(' ').nth(4)?), line)))
        .filter(|(point, _)| source.starts_with(point))
        .max_by_key(|(point, _)| point.components().count());
    let shared = fields.is_some_and(|(_, line)| {
        line.split(' ')
            .skip(6)
            .take_while(|field| *field != "-")
            .any(|field| needed.iter().any(|n| field.starts_with(n)))
    });
    if shared {
        return Ok(());
    }
    let path = source.display().to_string();
    Err(Error::invalid(format!("failed to generate spec: path {path:?} does not lie on {word} mount")))
}

/// The specification's word for how the container's root takes part in propagation.
pub(super) fn root_propagation(config: &ContainerConfig) -> &'static str {
    let any = |wanted| config.mounts.iter().any(|mount| mount.propagation() == wanted);
    match () {
        () if any(MountPropagation::Bidirectional) => "rshared",
        () if any(MountPropagation::HostToContainer) => "rslave",
        () => "",
    }
}

fn maps(mappings: &[IdMapping]) -> Vec<IdMap> {
    mappings
        .iter()
        .map(|map| IdMap { container: map.container_id, host: map.host_id, size: map.length })
        .collect()
}

fn filesystem(destination: &str, kind: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.to_owned(),
        r#type: kind.to_owned(),
        source: kind.to_owned(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
        ..Mount::default()
    }
}

fn bind(source: &Path, destination: &str, options: &[&str]) -> Mount {
    Mount { source: source.to_string_lossy().into_owned(), ..filesystem(destination, "bind", options) }
}

/// A path without `.`, `..` and doubled slashes, as text.
fn clean(path: &str) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in Path::new(path).components() {
        match component {
            std::path::Component::Normal(name) => clean.push(name),
            std::path::Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictory_mounts_are_refused() {
        let base = cri::Mount { container_path: "/a".into(), host_path: "/etc".into(), ..Default::default() };
        for (mount, part) in [
            (cri::Mount { container_path: "a".into(), ..base.clone() }, "not an absolute path"),
            (cri::Mount { host_path: "etc".into(), ..base.clone() }, "not an absolute path"),
            (cri::Mount { recursive_read_only: true, ..base.clone() }, "conflicts with read-write"),
            (
                cri::Mount { recursive_read_only: true, readonly: true, propagation: 1, ..base.clone() },
                "private propagation",
            ),
            (
                cri::Mount {
                    uid_mappings: vec![IdMapping { host_id: 1, container_id: 0, length: 1 }],
                    ..base.clone()
                },
                "go together",
            ),
        ] {
            let error = wanted(&mount, None).unwrap_err();
            assert!(error.message.contains(part), "{error}");
        }
        let mount = wanted(&cri::Mount { readonly: true, recursive_read_only: true, ..base }, None).unwrap();
        assert_eq!(mount.options, ["rbind", "rprivate", "rro"]);
    }

    #[test]
    fn paths_are_compared_clean() {
        for (path, expected) in [("/dev//shm/", "/dev/shm"), ("/a/../b/./c", "/b/c"), ("/../x", "/x")] {
            assert_eq!(clean(path), Path::new(expected));
        }
    }
}
