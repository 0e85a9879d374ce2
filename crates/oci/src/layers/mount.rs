//! Mounting what a container or volume sees.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};

use crate::error::{Error, IoContext, Kind, Result};

/// `fsconfig` takes strings of less than 256 bytes.
const MAX_PARAMETER: usize = 255;
/// `mount` takes one page of options.
const MAX_OPTIONS: usize = 4095;

/// An image's file tree, ready to be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootFs {
    Overlay(Overlay),
    /// A plain directory to be bind-mounted: a copied root, or nothing at all.
    Directory(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Topmost first.
    pub lower: Vec<PathBuf>,
    /// The upper and the work directory; none for a read-only view.
    pub upper: Option<(PathBuf, PathBuf)>,
}

/// What the mount is to forbid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    pub read_only: bool,
    pub no_suid: bool,
    pub no_exec: bool,
    pub no_dev: bool,
}

impl RootFs {
    /// Mounts the tree at `target`, which must exist.
    pub fn mount(&self, target: &Path, options: MountOptions) -> Result<()> {
        let tree = self.detached(options)?;
        rustix::mount::move_mount(&tree, c"", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .at("mount an image at", target)
    }

    /// The mounted tree, not attached anywhere yet: to be attached in another mount namespace.
    pub fn detached(&self, options: MountOptions) -> Result<OwnedFd> {
        match self {
            RootFs::Overlay(overlay) => overlay.detached(options),
            RootFs::Directory(path) => {
                let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
                let tree = rustix::mount::open_tree(CWD, path, flags).at("bind", path)?;
                set_attributes(&tree, options).at("bind", path)?;
                Ok(tree)
            }
        }
    }
}

impl Overlay {
    fn detached(&self, options: MountOptions) -> Result<OwnedFd> {
        let short = |path: &PathBuf| path.as_os_str().len() <= MAX_PARAMETER;
        let all_short = self.lower.iter().all(short)
            && self.upper.as_ref().is_none_or(|(upper, work)| short(upper) && short(work));
        if all_short {
            match self.through_parameters(options) {
                // Kernels before 6.7 do not know `lowerdir+`; EINVAL may also mean a file system that cannot
                // carry an overlay, and then the second attempt says so again.
                Err(Errno::INVAL | Errno::NOSYS) => {}
                mounted => return mounted.map_err(|error| self.failure(error)),
            }
        }
        self.through_options(options)
    }

    /// One parameter a layer, so their number is bounded by the kernel's limit of 500 alone.
    fn through_parameters(&self, options: MountOptions) -> rustix::io::Result<OwnedFd> {
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_set_string(&context, "source", "overlay")?;
        for layer in &self.lower {
            rustix::mount::fsconfig_set_string(&context, "lowerdir+", layer.as_os_str().as_bytes())?;
        }
        if let Some((upper, work)) = &self.upper {
            rustix::mount::fsconfig_set_string(&context, "upperdir", upper.as_os_str().as_bytes())?;
            rustix::mount::fsconfig_set_string(&context, "workdir", work.as_os_str().as_bytes())?;
        }
        rustix::mount::fsconfig_create(&context)?;
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes(options))
    }

    /// One string for everything: for older kernels and long paths. Layers are named by open descriptors where
    /// their paths would not fit.
    fn through_options(&self, options: MountOptions) -> Result<OwnedFd> {
        let mut open = Vec::new();
        let plain = self.option_string(|path| Ok(escape(path)))?;
        let data = match plain.len() <= MAX_OPTIONS {
            true => plain,
            false => self.option_string(|path| {
                use std::os::fd::AsRawFd;
                let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
                let fd = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).at("open", path)?;
                let name = format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes();
                open.push(fd);
                Ok(name)
            })?,
        };
        if data.len() > MAX_OPTIONS {
            let message = format!("{} layers are too many for this kernel's overlayfs", self.lower.len());
            return Err(Error::new(Kind::Unsupported, message));
        }
        let staging = tempdir()?;
        let data = std::ffi::CString::new(data).expect("paths contain no zero byte");
        let mounted =
            rustix::mount::mount("overlay", &staging.0, "overlay", MountFlags::empty(), data.as_c_str());
        mounted.map_err(|error| self.failure(error))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let cloned = rustix::mount::mount_change(&staging.0, MountPropagationFlags::PRIVATE)
            .and_then(|()| rustix::mount::open_tree(CWD, &staging.0, flags));
        rustix::mount::unmount(&staging.0, UnmountFlags::DETACH).at("unmount", &staging.0)?;
        let tree = cloned.at("clone the mount at", &staging.0)?;
        set_attributes(&tree, options).at("mount", &staging.0)?;
        Ok(tree)
    }

    fn option_string(&self, mut name: impl FnMut(&Path) -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        let lower = self.lower.iter().map(|path| name(path)).collect::<Result<Vec<_>>>()?;
        let mut data = [b"lowerdir=".as_slice(), &lower.join(&b':')].concat();
        if let Some((upper, work)) = &self.upper {
            for (key, path) in [(&b",upperdir="[..], upper), (b",workdir=", work)] {
                data.extend_from_slice(key);
                data.extend_from_slice(&name(path)?);
            }
        }
        Ok(data)
    }

    fn failure(&self, error: Errno) -> Error {
        let hint = match error {
            Errno::NODEV => Some("this kernel has no overlayfs"),
            Errno::INVAL => Some("the file system below the store cannot carry an overlay"),
            Errno::PERM | Errno::ACCESS => Some("mounting needs CAP_SYS_ADMIN"),
            _ => None,
        };
        match hint {
            Some(hint) => Error::new(
                Kind::Unsupported,
                format!("mount overlay: {hint} ({error}); snapshotter \"copy\" does without"),
            ),
            None => Error::io(format!("mount overlay of {} layers", self.lower.len()), error.into()),
        }
    }
}

fn attributes(options: MountOptions) -> MountAttrFlags {
    let mut flags = MountAttrFlags::empty();
    for (wanted, flag) in [
        (options.read_only, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (options.no_suid, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (options.no_exec, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (options.no_dev, MountAttrFlags::MOUNT_ATTR_NODEV),
    ] {
        flags.set(flag, wanted);
    }
    flags
}

/// Applies options to a detached mount.
fn set_attributes(tree: &OwnedFd, options: MountOptions) -> std::io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: u64::from(attributes(options).bits()),
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    if attr.attr_set == 0 {
        return Ok(());
    }
    use std::os::fd::AsRawFd;
    // SAFETY: the path is a literal, `attr` outlives the call, and its size is given as the kernel wants it.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if outcome == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Colons and commas separate, backslashes escape.
fn escape(path: &Path) -> Vec<u8> {
    let mut escaped = Vec::new();
    for &byte in path.as_os_str().as_bytes() {
        if matches!(byte, b':' | b',' | b'\\') {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

struct Staging(PathBuf);

impl Drop for Staging {
    fn drop(&mut self) {
        // An empty directory in the temporary directory is all that could stay.
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn tempdir() -> Result<Staging> {
    static COUNTER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    loop {
        let n = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("boga-mount-{}-{n}", std::process::id()));
        match std::fs::create_dir(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            created => return created.at("create", &path).map(|()| Staging(path)),
        }
    }
}
