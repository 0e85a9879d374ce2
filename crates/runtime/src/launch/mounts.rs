//! A container's mounts, put together on the host's side of the fence.
//!
//! Everything happens in a private copy of the host's mount namespace, with the host's privileges, on
//! descriptors: a mount is made detached, given its attributes, and only then attached to a place found by
//! [`Root`]. Nothing of it is ever visible outside, so nothing of it can leak.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::failure::{Attempt, Failure, Result};
use super::root::{Missing, Root, descriptor_path};
use super::sys::{self, MountAttr};
use crate::bundle::{Device, IdMap, Mount};
use crate::cgroup::{Cgroup, Kind};

const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
const ATIME: u64 = libc::MOUNT_ATTR__ATIME;
const NOATIME: u64 = libc::MOUNT_ATTR_NOATIME;
const STRICTATIME: u64 = libc::MOUNT_ATTR_STRICTATIME;
const NODIRATIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
const NOSYMFOLLOW: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;

/// What a mount's options ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub bind: bool,
    pub recursive_bind: bool,
    set: u64,
    clear: u64,
    recursive_set: u64,
    recursive_clear: u64,
    propagation: u64,
    recursive_propagation: bool,
    idmap: bool,
    recursive_idmap: bool,
    /// Show this directory of the mount instead of its root.
    sub_path: Option<String>,
    /// What is left for the filesystem itself.
    data: Vec<String>,
}

/// Sorts the words of a mount's options.
pub fn parse_options(words: &[String]) -> Options {
    let mut options = Options::default();
    for word in words {
        let (word, recursive) = match word.strip_prefix('r') {
            // The specification writes the recursive form of an attribute with a leading `r`.
            Some(rest) if attribute(rest).is_some() && attribute(word).is_none() => (rest, true),
            _ => (word.as_str(), false),
        };
        if let Some((set, clear)) = attribute(word) {
            let (to_set, to_clear) = if recursive {
                (&mut options.recursive_set, &mut options.recursive_clear)
            } else {
                (&mut options.set, &mut options.clear)
            };
            *to_set = (*to_set & !clear) | set;
            *to_clear = (*to_clear & !set) | clear;
            continue;
        }
        match word {
            "bind" => options.bind = true,
            "rbind" => (options.bind, options.recursive_bind) = (true, true),
            "idmap" => options.idmap = true,
            "ridmap" => (options.idmap, options.recursive_idmap) = (true, true),
            word if word.starts_with(super::SUB_PATH) => {
                options.sub_path = Some(word[super::SUB_PATH.len()..].to_owned());
            }
            "defaults" | "async" => {}
            "private" | "rprivate" => options.propagation = libc::MS_PRIVATE,
            "slave" | "rslave" => options.propagation = libc::MS_SLAVE,
            "shared" | "rshared" => options.propagation = libc::MS_SHARED,
            "unbindable" | "runbindable" => options.propagation = libc::MS_UNBINDABLE,
            data => options.data.push(data.to_owned()),
        }
        if matches!(word, "rprivate" | "rslave" | "rshared" | "runbindable") {
            options.recursive_propagation = true;
        }
    }
    options
}

/// The attributes that a word sets and clears.
fn attribute(word: &str) -> Option<(u64, u64)> {
    Some(match word {
        "ro" => (RDONLY, 0),
        "rw" => (0, RDONLY),
        "nosuid" => (NOSUID, 0),
        "suid" => (0, NOSUID),
        "nodev" => (NODEV, 0),
        "dev" => (0, NODEV),
        "noexec" => (NOEXEC, 0),
        "exec" => (0, NOEXEC),
        "noatime" => (NOATIME, ATIME),
        "strictatime" => (STRICTATIME, ATIME),
        "relatime" | "atime" => (0, ATIME),
        "nodiratime" => (NODIRATIME, 0),
        "diratime" => (0, NODIRATIME),
        "nosymfollow" => (NOSYMFOLLOW, 0),
        "symfollow" => (0, NOSYMFOLLOW),
        _ => return None,
    })
}

/// A bind mount's source, taken while the host's mounts were still shared with the host.
pub struct Source {
    tree: OwnedFd,
    directory: bool,
}

/// Clones the sources of all bind mounts, in the order of `mounts`.
pub fn take_sources(mounts: &[Mount]) -> Result<Vec<Option<Source>>> {
    mounts
        .iter()
        .map(|mount| {
            let options = parse_options(&mount.options);
            if !(options.bind || mount.r#type == "bind") {
                return Ok(None);
            }
            let what = || {
                format!(
                    "error mounting \"{}\" to rootfs at \"{}\": stat {}",
                    mount.source, mount.destination, mount.source
                )
            };
            let stat = std::fs::metadata(&mount.source).attempt(what)?;
            let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            if options.recursive_bind {
                flags |= OpenTreeFlags::AT_RECURSIVE;
            }
            let tree = open_tree(rustix::fs::CWD, &*mount.source, flags).attempt(|| {
                format!("error mounting \"{}\" to rootfs at \"{}\"", mount.source, mount.destination)
            })?;
            Ok(Some(Source { tree, directory: stat.is_dir() }))
        })
        .collect()
}

/// What the mounts of one container share.
pub struct Scene<'a> {
    pub root: &'a Root,
    /// The pod's user namespace, for idmapped mounts.
    pub userns: Option<&'a OwnedFd>,
    /// The host ids of the container's root user and of its group 5 (tty).
    pub root_uid: u32,
    pub root_gid: u32,
    pub tty_gid: u32,
    pub cgroup: Option<&'a Cgroup>,
}

/// Paths under /proc that may be mounted over; anything else there would subvert what the runtime and the
/// kernel put there.
const PROC_EXCEPTIONS: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Whether a mount has to wait until the process is inside its pid and user namespaces.
pub fn belongs_inside(mount: &Mount) -> bool {
    mount.r#type == "proc" || Path::new(&mount.destination).starts_with("/proc")
}

/// Attaches one mount to its place in the container.
pub fn attach(scene: &Scene<'_>, mount: &Mount, source: Option<&Source>) -> Result<()> {
    attach_plain(scene, mount, source)
        .attempt(|| format!("error mounting \"{}\" to rootfs at \"{}\"", mount.source, mount.destination))
}

fn attach_plain(scene: &Scene<'_>, mount: &Mount, source: Option<&Source>) -> Result<()> {
    let options = parse_options(&mount.options);
    let destination = Path::new(&mount.destination);
    if mount.r#type != "proc"
        && destination.starts_with("/proc")
        && !PROC_EXCEPTIONS.iter().any(|allowed| destination == Path::new(allowed))
    {
        return Err(Failure(format!("{:?} cannot be mounted because it is inside /proc", mount.destination)));
    }
    if mount.r#type == "cgroup" {
        return attach_cgroup(scene, mount, &options);
    }
    let tree = match source {
        Some(source) => source.tree.try_clone().attempt(|| "clone the source")?,
        None => new_filesystem(scene, mount, &options)?,
    };
    configure(scene, mount, &options, &tree)?;
    let missing =
        if source.is_some_and(|source| !source.directory) { Missing::File } else { Missing::Directory };
    let place = scene.root.ensure(destination, missing)?;
    if matches!(&*mount.r#type, "proc" | "sysfs") {
        // A link at /proc would let the image choose what the kernel's interface is mounted over.
        verify_plain_place(scene.root, destination)?;
    }
    attach_tree(&tree, &place)?;
    match &options.sub_path {
        Some(sub_path) => show_part(scene, &tree, destination, sub_path),
        None => Ok(()),
    }
}

/// Covers a mount with one of its own directories.
fn show_part(scene: &Scene<'_>, tree: &OwnedFd, destination: &Path, sub_path: &str) -> Result<()> {
    let whole = Root::within(tree)?;
    let part = whole
        .find(Path::new(sub_path))?
        .ok_or_else(|| Failure(format!("sub path {sub_path:?} does not exist in the volume")))?;
    cover(&part, &scene.root.ensure(destination, Missing::Fail)?, sub_path)
}

fn verify_plain_place(root: &Root, destination: &Path) -> Result<()> {
    let opened = root.ensure(destination, Missing::Fail)?;
    let here = std::fs::read_link(descriptor_path(opened.as_fd())).attempt(|| "resolve the destination")?;
    if here.ends_with(destination.strip_prefix("/").unwrap_or(destination)) {
        Ok(())
    } else {
        Err(Failure(format!("{} must be mounted on ordinary directory", destination.display())))
    }
}

fn attach_tree(tree: &OwnedFd, place: &OwnedFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", place, "", flags).attempt(|| "attach")
}

/// Sets a detached tree's attributes, ids and propagation.
fn configure(scene: &Scene<'_>, mount: &Mount, options: &Options, tree: &OwnedFd) -> Result<()> {
    let set = |recursive: bool, attr: MountAttr, what: &'static str| {
        sys::mount_setattr(tree.as_fd(), recursive, attr).attempt(|| what)
    };
    if options.idmap || !mount.uid_mappings.is_empty() {
        let own;
        let userns = match (scene.userns, mount.uid_mappings.is_empty()) {
            (Some(userns), true) => userns,
            _ => {
                own = super::namespaces::id_mapping(&mount.uid_mappings, &mount.gid_mappings)?;
                &own
            }
        };
        let attr = MountAttr {
            set: libc::MOUNT_ATTR_IDMAP,
            userns: userns.as_raw_fd() as u64,
            ..MountAttr::default()
        };
        set(
            options.recursive_idmap,
            attr,
            "mount_setattr: idmap: the filesystem may not support id-mapped mounts",
        )?;
    }
    if options.set | options.clear != 0 {
        set(
            false,
            MountAttr { set: options.set, clear: options.clear, ..MountAttr::default() },
            "mount_setattr",
        )?;
    }
    if options.recursive_set | options.recursive_clear != 0 {
        let attr =
            MountAttr { set: options.recursive_set, clear: options.recursive_clear, ..MountAttr::default() };
        set(true, attr, "mount_setattr: recursive")?;
    }
    if options.propagation != 0 {
        let attr = MountAttr { propagation: options.propagation, ..MountAttr::default() };
        set(options.recursive_propagation, attr, "mount_setattr: propagation")?;
    }
    Ok(())
}

fn new_filesystem(scene: &Scene<'_>, mount: &Mount, options: &Options) -> Result<OwnedFd> {
    let mut data = options.data.clone();
    match &*mount.r#type {
        // A filesystem made by the host belongs to the host's root, whom the container may not know.
        "tmpfs" if scene.root_uid != 0 && !data.iter().any(|word| word.starts_with("uid=")) => {
            data.push(format!("uid={}", scene.root_uid));
            data.push(format!("gid={}", scene.root_gid));
        }
        "devpts" => {
            data.retain(|word| !word.starts_with("gid="));
            data.push(format!("gid={}", scene.tty_gid));
        }
        _ => {}
    }
    let context =
        fsopen(&*mount.r#type, FsOpenFlags::FSOPEN_CLOEXEC).attempt(|| format!("fsopen {}", mount.r#type))?;
    fsconfig_set_string(context.as_fd(), "source", &*mount.source).attempt(|| "set the source")?;
    for word in &data {
        let set = match word.split_once('=') {
            Some((key, value)) => fsconfig_set_string(context.as_fd(), key, value),
            None => fsconfig_set_flag(context.as_fd(), &**word),
        };
        set.attempt(|| format!("option {word:?}"))?;
    }
    fsconfig_create(context.as_fd()).attempt(|| format!("create {}", mount.r#type))?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).attempt(|| "fsmount")
}

/// /sys/fs/cgroup: with v2 the one hierarchy, seen from the container's cgroup namespace; with v1 a tmpfs with
/// the container's own directory of every controller.
fn attach_cgroup(scene: &Scene<'_>, mount: &Mount, options: &Options) -> Result<()> {
    let cgroup = scene.cgroup.ok_or_else(|| Failure::new("the container has no cgroup"))?;
    let filesystem = |r#type: &str, data: &[&str]| Mount {
        r#type: r#type.to_owned(),
        source: r#type.to_owned(),
        destination: mount.destination.clone(),
        options: data.iter().map(|&word| word.to_owned()).collect(),
        ..Mount::default()
    };
    if cgroup.kind() == Kind::V2 {
        let plain = filesystem("cgroup2", &[]);
        let tree = new_filesystem(scene, &plain, &Options::default())?;
        configure(scene, &plain, options, &tree)?;
        return attach_tree(&tree, &scene.root.ensure(Path::new(&mount.destination), Missing::Directory)?);
    }
    let plain = filesystem("tmpfs", &["mode=755"]);
    let tree = new_filesystem(scene, &plain, &parse_options(&plain.options))?;
    attach_tree(&tree, &scene.root.ensure(Path::new(&mount.destination), Missing::Directory)?)?;
    for (controller, directory) in cgroup.directories() {
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let bound =
            open_tree(rustix::fs::CWD, &directory, clone).attempt(|| directory.display().to_string())?;
        configure(scene, &plain, options, &bound)?;
        let place = Path::new(&mount.destination).join(controller);
        attach_tree(&bound, &scene.root.ensure(&place, Missing::Directory)?)?;
    }
    configure(scene, &plain, options, &tree)
}

/// Where a container's root filesystem comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootSource {
    /// A directory that is a root filesystem already.
    Directory(PathBuf),
    /// Layers, uppermost first, under a writable directory.
    Overlay { lower: Vec<PathBuf>, upper: PathBuf, work: PathBuf },
}

/// Mounts the root filesystem at `target`. `userns` maps the ids of layers that were unpacked as the host's.
/// `owner` is the host's uid and gid of the container's root user.
pub fn mount_root(
    source: &RootSource,
    target: &Path,
    userns: Option<&OwnedFd>,
    owner: (u32, u32),
) -> Result<()> {
    match source {
        RootSource::Directory(directory) => {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_RECURSIVE;
            let tree = open_tree(rustix::fs::CWD, directory, flags)
                .attempt(|| format!("open the root filesystem {}", directory.display()))?;
            idmap(&tree, userns)?;
            place_at(&tree, target)
        }
        RootSource::Overlay { lower, upper, work } if userns.is_none() => {
            place_at(&overlay(lower, upper, work)?, target)
        }
        RootSource::Overlay { lower, upper, work } => {
            // The writable layer's own directory is the container's `/`.
            let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
            rustix::fs::chown(upper, Some(uid), Some(gid))
                .attempt(|| format!("chown {}", upper.display()))?;
            mapped_overlay(lower, upper, work, target, userns)
        }
    }
}

/// An overlay whose layers are seen through the pod's id mapping. Overlayfs itself cannot be mapped, but its
/// layers can: mapped clones of them stand on a tmpfs that nobody else sees while the overlay is made.
fn mapped_overlay(
    lower: &[PathBuf],
    upper: &Path,
    work: &Path,
    target: &Path,
    userns: Option<&OwnedFd>,
) -> Result<()> {
    let stage = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).attempt(|| "fsopen tmpfs")?;
    fsconfig_create(stage.as_fd()).attempt(|| "create tmpfs")?;
    let stage = fsmount(stage.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .attempt(|| "fsmount")?;
    place_at(&stage, target)?;
    let staged = |name: String, layer: &Path| -> Result<PathBuf> {
        let place = target.join(name);
        std::fs::create_dir(&place).attempt(|| format!("create {}", place.display()))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree =
            open_tree(rustix::fs::CWD, layer, flags).attempt(|| format!("open {}", layer.display()))?;
        idmap(&tree, userns)?;
        place_at(&tree, &place)?;
        Ok(place)
    };
    let lower: Vec<PathBuf> = lower
        .iter()
        .enumerate()
        .map(|(index, layer)| staged(format!("l{index}"), layer))
        .collect::<Result<_>>()?;
    // The writable layer is not mapped: overlayfs works on it as the host's root, whom a mapping would not
    // know. What the container writes there is owned by the ids it has on the host.
    let tree = overlay(&lower, upper, work)?;
    place_at(&tree, target)
}

fn idmap(tree: &OwnedFd, userns: Option<&OwnedFd>) -> Result<()> {
    let Some(userns) = userns else { return Ok(()) };
    let attr =
        MountAttr { set: libc::MOUNT_ATTR_IDMAP, userns: userns.as_raw_fd() as u64, ..MountAttr::default() };
    sys::mount_setattr(tree.as_fd(), false, attr).attempt(
        || "map the ids of the root filesystem (needs a kernel and a filesystem with id-mapped mounts)",
    )
}

/// A detached overlay. Also used to look into an image without mounting it anywhere.
pub fn overlay(lower: &[PathBuf], upper: &Path, work: &Path) -> Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).attempt(|| "fsopen overlay")?;
    let set = |key: &str, path: &Path| {
        fsconfig_set_string(context.as_fd(), key, path)
            .attempt(|| format!("overlay {key} {}", path.display()))
    };
    for layer in lower {
        set("lowerdir+", layer)?;
    }
    if !upper.as_os_str().is_empty() {
        set("upperdir", upper)?;
        set("workdir", work)?;
    }
    fsconfig_create(context.as_fd()).attempt(|| "create the overlay")?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .attempt(|| "fsmount overlay")
}

fn place_at(tree: &OwnedFd, target: &Path) -> Result<()> {
    move_mount(tree, "", rustix::fs::CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .attempt(|| format!("mount {}", target.display()))
}

/// The device nodes and links that every container finds in /dev.
pub fn fill_dev(scene: &Scene<'_>, devices: &[Device]) -> Result<()> {
    const DEFAULT: &[(&str, u32, u32)] = &[
        ("/dev/null", 1, 3),
        ("/dev/zero", 1, 5),
        ("/dev/full", 1, 7),
        ("/dev/random", 1, 8),
        ("/dev/urandom", 1, 9),
        ("/dev/tty", 5, 0),
    ];
    for &(path, major, minor) in DEFAULT {
        let device = Device {
            path: path.to_owned(),
            r#type: "c".to_owned(),
            major,
            minor,
            file_mode: Some(0o666),
            uid: scene.root_uid,
            gid: scene.root_gid,
        };
        make_device(scene, &device)?;
    }
    for device in devices {
        make_device(scene, device)?;
    }
    for (link, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        let dev = scene.root.ensure(Path::new("/dev"), Missing::Directory)?;
        match rustix::fs::symlinkat(target, &dev, link) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(errno).attempt(|| format!("create /dev/{link}")),
        }
    }
    Ok(())
}

fn make_device(scene: &Scene<'_>, device: &Device) -> Result<()> {
    let what = || format!("create device {}", device.path);
    let path = Path::new(&device.path);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Failure(format!("invalid device path {:?}", device.path)));
    };
    let parent = scene.root.ensure(parent, Missing::Directory)?;
    let kind = match &*device.r#type {
        "b" => FileType::BlockDevice,
        "p" => FileType::Fifo,
        _ => FileType::CharacterDevice,
    };
    let mode = Mode::from_raw_mode(device.file_mode.unwrap_or(0o666) & 0o7777);
    match rustix::fs::mknodat(&parent, name, kind, mode, rustix::fs::makedev(device.major, device.minor)) {
        Ok(()) => {}
        // The image or a mount may bring the node along, with /dev bound from the host for one.
        Err(rustix::io::Errno::EXIST) => return Ok(()),
        Err(errno) => return Err(errno).attempt(what),
    }
    rustix::fs::chmodat(&parent, name, mode, AtFlags::empty()).attempt(what)?;
    let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
    rustix::fs::chownat(&parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).attempt(what)
}

/// Makes `paths` read-only, each with all that is mounted below it. What is absent needs no protection.
pub fn make_readonly(root: &Root, paths: &[String]) -> Result<()> {
    for path in paths {
        let Some(place) = root.find(Path::new(path))? else { continue };
        let tree = clone_of(&place, path)?;
        let attr = MountAttr { set: RDONLY, ..MountAttr::default() };
        sys::mount_setattr(tree.as_fd(), true, attr).attempt(|| format!("make {path} read-only"))?;
        attach_tree(&tree, &place).attempt(|| format!("make {path} read-only"))?;
    }
    Ok(())
}

/// Hides `paths`: files behind /dev/null, directories behind an empty read-only directory.
pub fn mask(root: &Root, paths: &[String]) -> Result<()> {
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        let Some(place) = root.find(Path::new(path))? else { continue };
        let stat = rustix::fs::fstat(&place).attempt(|| format!("stat {path}"))?;
        let cover = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            match &empty {
                Some(tree) => clone_of(tree, path)?,
                None => {
                    let tree = empty_directory()?;
                    let cover = tree.try_clone().attempt(|| "clone the empty directory")?;
                    empty = Some(tree);
                    cover
                }
            }
        } else {
            clone_of(&real_null(root)?, path)?
        };
        attach_tree(&cover, &place).attempt(|| format!("mask {path}"))?;
    }
    Ok(())
}

/// The container's /dev/null, which must be the kernel's: an image that puts something else there could have
/// it mounted over what is to be hidden.
fn real_null(root: &Root) -> Result<OwnedFd> {
    let null = root.ensure(Path::new("/dev/null"), Missing::Fail)?;
    let stat = rustix::fs::fstat(&null).attempt(|| "stat /dev/null")?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3)
    {
        Ok(null)
    } else {
        Err(Failure::new("/dev/null of the container is not the null device"))
    }
}

fn empty_directory() -> Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).attempt(|| "fsopen tmpfs")?;
    fsconfig_set_string(context.as_fd(), "nr_inodes", "1").attempt(|| "tmpfs nr_inodes")?;
    fsconfig_create(context.as_fd()).attempt(|| "create tmpfs")?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)
        .attempt(|| "fsmount tmpfs")
}

pub fn clone_of(place: &OwnedFd, path: &str) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(place, "", flags).attempt(|| format!("clone {path}"))
}

/// Attaches the clone of `object` over `place`.
pub fn cover(object: &OwnedFd, place: &OwnedFd, path: &str) -> Result<()> {
    attach_tree(&clone_of(object, path)?, place)
}

/// Makes the working directory the root of this mount namespace and drops the host's.
pub fn enter() -> Result<()> {
    rustix::process::pivot_root(".", ".").attempt(|| "pivot_root")?;
    // The old root now lies over the new one at ".".
    rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH).attempt(|| "detach the host's root")?;
    rustix::process::chdir("/").attempt(|| "chdir to /")
}

/// Covers the working directory with a copy of itself, and enters that. In the copy of a mount namespace that
/// belongs to a less privileged user namespace the old mounts are locked together; only a new one can become
/// the root.
pub fn unlock() -> Result<()> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let copy = open_tree(rustix::fs::CWD, ".", flags).attempt(|| "clone the root filesystem")?;
    place_at(&copy, Path::new("."))?;
    rustix::process::fchdir(&copy).attempt(|| "enter the root filesystem")
}

/// Cuts this mount namespace off from the one it was copied from.
pub fn isolate() -> Result<()> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .attempt(|| "make the mounts private")
}

/// Makes the root filesystem itself read-only, and nothing that is mounted in it.
pub fn readonly_root() -> Result<()> {
    let root = rustix::fs::open("/", rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC, Mode::empty())
        .attempt(|| "open /")?;
    sys::mount_setattr(root.as_fd(), false, MountAttr { set: RDONLY, ..MountAttr::default() })
        .attempt(|| "make the root filesystem read-only")
}

/// The host id behind the container's id `id`.
pub fn host_id(mappings: &[IdMap], id: u32) -> Option<u32> {
    if mappings.is_empty() {
        return Some(id);
    }
    mappings
        .iter()
        .find(|map| id >= map.container && id - map.container < map.size)
        .and_then(|map| map.host.checked_add(id - map.container))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_sorted() {
        let parse = |words: &str| parse_options(&words.split(',').map(str::to_owned).collect::<Vec<_>>());
        let data = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        for (words, expected) in [
            (
                "rbind,ro,rprivate",
                Options {
                    bind: true,
                    recursive_bind: true,
                    set: RDONLY,
                    propagation: libc::MS_PRIVATE,
                    recursive_propagation: true,
                    ..Options::default()
                },
            ),
            (
                "bind,rro,slave",
                Options {
                    bind: true,
                    recursive_set: RDONLY,
                    propagation: libc::MS_SLAVE,
                    ..Options::default()
                },
            ),
            (
                "nosuid,suid,noexec,size=64k,mode=1777",
                Options {
                    set: NOEXEC,
                    clear: NOSUID,
                    data: data(&["size=64k", "mode=1777"]),
                    ..Options::default()
                },
            ),
            (
                "noatime,rbind,ridmap",
                Options {
                    bind: true,
                    recursive_bind: true,
                    set: NOATIME,
                    clear: ATIME,
                    idmap: true,
                    recursive_idmap: true,
                    ..Options::default()
                },
            ),
        ] {
            assert_eq!(parse(words), expected, "{words}");
        }
    }

    #[test]
    fn ids_are_mapped_within_their_range() {
        let map = [IdMap { container: 0, host: 65536, size: 10 }, IdMap { container: 100, host: 5, size: 1 }];
        for (id, expected) in [(0, Some(65536)), (9, Some(65545)), (10, None), (100, Some(5)), (101, None)] {
            assert_eq!(host_id(&map, id), expected, "{id}");
        }
        assert_eq!(host_id(&[], 7), Some(7));
    }
}
