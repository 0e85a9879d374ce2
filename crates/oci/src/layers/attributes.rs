//! Owner, mode and extended attributes of files, set and copied.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, XattrFlags};
use rustix::io::Errno;

use crate::error::{IoContext, Result, refused};

/// The most that the kernel stores in one attribute.
const MAX_VALUE: usize = 64 << 10;
const MAX_NAMES: usize = 64 << 10;

/// Whether a layer may set this attribute. overlayfs reads its instructions (redirects, opaqueness, whiteouts)
/// from attributes, so an image that could set those could reach into other layers.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let forbidden = name.starts_with("trusted.") || name.starts_with("user.overlay.");
    if forbidden || name.is_empty() || name.contains('\0') {
        return Err(refused(format!("layer sets extended attribute {name:?}")));
    }
    Ok(())
}

/// Sets one attribute. What this file system or kernel does not know (SELinux labels, mostly) is passed over,
/// as other runtimes do, or images built elsewhere would not unpack here.
pub(crate) fn set_on_path(path: &Path, name: &str, value: &[u8]) -> Result<()> {
    match rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP | Errno::PERM) if !name.starts_with("security.capability") => Ok(()),
        set => set.during(format!("set extended attribute {name}")),
    }
}

pub(crate) fn set(file: impl AsFd, name: &str, value: &[u8]) -> Result<()> {
    match rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP | Errno::PERM) if !name.starts_with("security.capability") => Ok(()),
        set => set.during(format!("set extended attribute {name}")),
    }
}

/// Gives `to` the owner, mode and attributes of `from`, but for overlayfs's own.
pub(crate) fn copy(from: impl AsFd, to: impl AsFd) -> Result<()> {
    let of = rustix::fs::fstat(&from).during("inspect a directory")?;
    let (uid, gid) = (rustix::fs::Uid::from_raw(of.st_uid), rustix::fs::Gid::from_raw(of.st_gid));
    rustix::fs::fchown(&to, Some(uid), Some(gid)).during("set an owner")?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(of.st_mode & 0o7777)).during("set a mode")?;
    let mut names = vec![0; MAX_NAMES];
    let length = match rustix::fs::flistxattr(&from, &mut names[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        listed => listed.during("list extended attributes")?,
    };
    for name in names[..length].split(|&b| b == 0).filter(|name| !name.is_empty()) {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if check_name(name).is_err() {
            continue;
        }
        let mut value = vec![0; MAX_VALUE];
        let length =
            rustix::fs::fgetxattr(&from, name, &mut value[..]).during("read an extended attribute")?;
        set(&to, name, &value[..length])?;
    }
    Ok(())
}
