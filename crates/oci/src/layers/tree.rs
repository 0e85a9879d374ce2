//! A directory tree that paths from outside are resolved in, never out of.
//!
//! Every lookup goes through `openat2` relative to the tree's root, so an absolute link or a `..` inside the
//! tree ends at its root, whatever the image's author hoped for. Only this process writes to the tree.

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::error::{Error, IoContext, Result, refused};

const MAX_LINKS: usize = 40;
const MAX_COMPONENT: usize = 255;
const MAX_PATH: usize = 4096;

pub(crate) struct Tree {
    root: OwnedFd,
    /// The trees below this one in the chain, topmost first.
    parents: Vec<OwnedFd>,
    /// The directory found last; entries come grouped by directory.
    cached: Option<(Vec<u8>, Rc<Directory>)>,
}

/// A directory within the tree.
pub(crate) struct Directory {
    pub(crate) fd: OwnedFd,
    /// Where it really lies, all links resolved.
    pub(crate) real: Vec<u8>,
}

/// An entry's path, cleaned: its directory and its last component, which is empty for the root itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Clean {
    pub(crate) parent: Vec<u8>,
    pub(crate) name: Vec<u8>,
}

/// Cleans a path as it stands in an archive. A leading slash means the tree's root; leaving the root is refused.
pub(crate) fn clean(path: &[u8]) -> Result<Clean> {
    let shown = || String::from_utf8_lossy(path).into_owned();
    if path.len() > MAX_PATH {
        return Err(refused(format!("layer entry has a path of {} bytes, more than {MAX_PATH}", path.len())));
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if parts.pop().is_none() {
                    return Err(refused(format!("layer entry {:?} lies outside the image's root", shown())));
                }
            }
            part if part.len() > MAX_COMPONENT || part.contains(&0) => {
                return Err(refused(format!("layer entry {:?} is not a possible file name", shown())));
            }
            part => parts.push(part),
        }
    }
    let name = parts.pop().unwrap_or_default().to_vec();
    Ok(Clean { parent: parts.join(&b'/'), name })
}

impl Tree {
    pub(crate) fn open(root: &Path, parents: &[PathBuf]) -> Result<Tree> {
        let open = |path: &Path| rustix::fs::open(path, DIRECTORY, Mode::empty()).at("open", path);
        let parents = parents.iter().map(|path| open(path)).collect::<Result<_>>()?;
        Ok(Tree { root: open(root)?, parents, cached: None })
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The root of the layer below, if there is one.
    pub(crate) fn inherited_root(&self) -> Option<&OwnedFd> {
        self.parents.first()
    }

    /// Forgets what was looked up, after something on the way may have changed.
    pub(crate) fn forget(&mut self) {
        self.cached = None;
    }

    /// The directory at a cleaned path, following links within the tree, creating what is missing with the
    /// attributes that the layers below give it.
    pub(crate) fn directory(&mut self, path: &[u8]) -> Result<Rc<Directory>> {
        if let Some((cached, directory)) = &self.cached
            && cached == path
        {
            return Ok(Rc::clone(directory));
        }
        let found = Rc::new(self.walk(path, true)?.expect("a walk that creates finds"));
        self.cached = Some((path.to_vec(), Rc::clone(&found)));
        Ok(found)
    }

    /// The same without creating anything.
    pub(crate) fn existing_directory(&self, path: &[u8]) -> Result<Option<Directory>> {
        self.walk(path, false)
    }

    fn walk(&self, path: &[u8], create: bool) -> Result<Option<Directory>> {
        let shown = || String::from_utf8_lossy(path).into_owned();
        let mut pending: VecDeque<Vec<u8>> = components(path);
        let mut real: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        let mut current = self.reopen_root()?;
        while let Some(part) = pending.pop_front() {
            if part == b".." {
                real.pop();
                current = self.open_real(&real.join(&b'/')).during("open a layer's directory")?;
                continue;
            }
            match stat(&current, &part).during("inspect a layer's directory")? {
                Some(found) if is(&found, FileType::Directory) => {}
                Some(found) if is(&found, FileType::Symlink) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(refused(format!(
                            "layer entry below {:?}: too many levels of symbolic links",
                            shown()
                        )));
                    }
                    let target = rustix::fs::readlinkat(&current, c_string(&part)?, Vec::new())
                        .during("read a layer's symbolic link")?;
                    if target.as_bytes().first() == Some(&b'/') {
                        real.clear();
                        current = self.reopen_root()?;
                    }
                    for part in components(target.as_bytes()).into_iter().rev() {
                        pending.push_front(part);
                    }
                    continue;
                }
                Some(found) if is_whiteout(&found) && create => {
                    // The layers below lost this path and this layer gives it a new directory.
                    remove(current.as_fd(), &part)?;
                    mkdir(&current, &part, None)?;
                    let fresh = open_directory(&current, &part).during("open a layer's directory")?;
                    set_opaque(&fresh)?;
                }
                Some(_) if create => {
                    return Err(refused(format!("layer entry below {:?}: not a directory", shown())));
                }
                None if create => {
                    real.push(part.clone());
                    let inherited = self.inherited_directory(&real.join(&b'/'));
                    real.pop();
                    mkdir(&current, &part, inherited.as_ref())?;
                }
                _ => return Ok(None),
            }
            current = open_directory(&current, &part).during("open a layer's directory")?;
            real.push(part);
        }
        Ok(Some(Directory { fd: current, real: real.join(&b'/') }))
    }

    /// The directory of this path in the layers below.
    pub(crate) fn inherited_directory(&self, real: &[u8]) -> Option<OwnedFd> {
        self.inherited(real)
            .filter(|(_, of)| is(of, FileType::Directory))
            .and_then(|(parent, _)| openat2(parent, real, DIRECTORY).ok())
    }

    /// What the layers below show at a path (without links on the way), and in which tree it lies.
    pub(crate) fn inherited(&self, real: &[u8]) -> Option<(BorrowedFd<'_>, Stat)> {
        for parent in &self.parents {
            let mut partial = Vec::new();
            let parts = components(real);
            let last = parts.len();
            for (at, part) in parts.iter().enumerate() {
                if at > 0 {
                    partial.push(b'/');
                }
                partial.extend_from_slice(part);
                let Ok(fd) = openat2(parent.as_fd(), &partial, OFlags::PATH | OFlags::NOFOLLOW) else {
                    break;
                };
                let Ok(found) = rustix::fs::fstat(&fd) else { break };
                if is_whiteout(&found) {
                    return None;
                }
                if at + 1 == last {
                    return Some((parent.as_fd(), found));
                }
                if !is(&found, FileType::Directory) {
                    return None;
                }
            }
            // An opaque ancestor hides the layers further down.
            if self.has_opaque_prefix(parent.as_fd(), real) {
                return None;
            }
        }
        None
    }

    fn has_opaque_prefix(&self, parent: BorrowedFd<'_>, real: &[u8]) -> bool {
        let parts = components(real);
        (1..parts.len()).any(|n| {
            let prefix = parts.range(..n).cloned().collect::<Vec<_>>().join(&b'/');
            openat2(parent, &prefix, OFlags::RDONLY | OFlags::DIRECTORY).is_ok_and(|fd| is_opaque(&fd))
        })
    }

    fn reopen_root(&self) -> Result<OwnedFd> {
        rustix::fs::openat(&self.root, c".", DIRECTORY, Mode::empty()).during("open a layer's root")
    }

    fn open_real(&self, real: &[u8]) -> rustix::io::Result<OwnedFd> {
        if real.is_empty() {
            return rustix::fs::openat(&self.root, c".", DIRECTORY, Mode::empty());
        }
        openat2(self.root.as_fd(), real, DIRECTORY)
    }
}

pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";

/// Opens a path without links on the way, below `at`.
pub(crate) fn openat2(at: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let path = CString::new(path).map_err(|_| Errno::INVAL)?;
    loop {
        match rustix::fs::openat2(at, path.as_c_str(), flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // The kernel asks to try again when the tree was renamed meanwhile, and for signals.
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
}

fn open_directory(at: &OwnedFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    rustix::fs::openat(at, name.as_c_str(), DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
}

/// The entry itself, not what it links to; `None` where there is none.
pub(crate) fn stat(at: impl AsFd, name: &[u8]) -> rustix::io::Result<Option<Stat>> {
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    match rustix::fs::statat(at, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(None),
        found => found.map(Some),
    }
}

pub(crate) fn is(of: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(of.st_mode) == kind
}

/// overlayfs marks a deleted path by a character device 0:0.
pub(crate) fn is_whiteout(of: &Stat) -> bool {
    is(of, FileType::CharacterDevice) && of.st_rdev == 0
}

pub(crate) fn is_opaque(directory: &OwnedFd) -> bool {
    let mut value = [0; 1];
    rustix::fs::fgetxattr(directory, OPAQUE, &mut value).is_ok_and(|n| n == 1 && value[0] == b'y')
}

/// Hides what the layers below have in this directory.
pub(crate) fn set_opaque(directory: impl AsFd) -> Result<()> {
    rustix::fs::fsetxattr(directory, OPAQUE, b"y", rustix::fs::XattrFlags::empty())
        .during("mark a layer's directory opaque")
}

/// Removes whatever has this name, trees included, following nothing.
pub(crate) fn remove(at: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let c_name = c_string(name)?;
    match rustix::fs::unlinkat(at, c_name.as_c_str(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {
            let path = through_proc(at, name);
            std::fs::remove_dir_all(&path).during("remove a layer's directory")
        }
        Err(error) => Err(Error::io("remove a layer's entry", error.into())),
    }
}

/// A path for calls that know no descriptor-relative form.
pub(crate) fn through_proc(at: BorrowedFd<'_>, name: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    Path::new("/proc/self/fd").join(at.as_raw_fd().to_string()).join(std::ffi::OsStr::from_bytes(name))
}

pub(crate) fn c_string(name: &[u8]) -> Result<CString> {
    CString::new(name).map_err(|_| refused("layer entry's name contains a zero byte"))
}

fn mkdir(at: &OwnedFd, name: &[u8], like: Option<&OwnedFd>) -> Result<()> {
    let name = c_string(name)?;
    rustix::fs::mkdirat(at, name.as_c_str(), Mode::from_raw_mode(0o755))
        .during("create a layer's directory")?;
    let fd = rustix::fs::openat(at, name.as_c_str(), DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
        .during("open a layer's directory")?;
    match like {
        Some(like) => super::attributes::copy(like, &fd),
        None => rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o755)).during("set a layer's directory mode"),
    }
}

fn components(path: &[u8]) -> VecDeque<Vec<u8>> {
    path.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".").map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_never_leave_the_root() {
        for (path, expected) in [
            ("a/b", Some(("a", "b"))),
            ("./a//b/", Some(("a", "b"))),
            ("/etc/passwd", Some(("etc", "passwd"))),
            ("a/../b", Some(("", "b"))),
            ("./", Some(("", ""))),
            ("a/..", Some(("", ""))),
            ("..", None),
            ("a/../../b", None),
            ("/../etc", None),
        ] {
            let cleaned = clean(path.as_bytes()).ok();
            let expected = expected.map(|(parent, name)| Clean {
                parent: parent.as_bytes().to_vec(),
                name: name.as_bytes().to_vec(),
            });
            assert_eq!(cleaned, expected, "{path}");
        }
    }
}
