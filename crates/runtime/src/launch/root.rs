//! Paths inside a container's root, resolved so that nothing in the image can lead outside.
//!
//! Every step opens one component with `O_NOFOLLOW`; links are read and walked here, and `..` goes back to
//! the descriptor the walk came from. So neither a link nor a rename behind our back leaves the root, and a
//! link whose target does not exist yet can still be followed to where it points.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, chownat, mkdirat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::failure::{Attempt, Failure, Result};

/// Links followed in one resolution, as many as the kernel allows.
const MAX_LINKS: usize = 40;

/// The root directory of a container.
pub struct Root {
    fd: OwnedFd,
    /// Who gets what is created.
    owner: Option<(u32, u32)>,
}

/// What to create where a path ends in nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Fail,
    Directory,
    File,
}

impl Root {
    pub fn open(path: &Path) -> Result<Root> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd =
            rustix::fs::open(path, flags, Mode::empty()).attempt(|| format!("open {}", path.display()))?;
        Ok(Root { fd, owner: None })
    }

    /// The root of a mounted tree.
    pub fn within(tree: &OwnedFd) -> Result<Root> {
        Ok(Root { fd: tree.try_clone().attempt(|| "duplicate a descriptor")?, owner: None })
    }

    /// The same root, where what is created belongs to this user and group.
    pub fn owned_by(self, owner: (u32, u32)) -> Root {
        Root { owner: Some(owner), ..self }
    }

    /// The object at `path`, as an `O_PATH` descriptor; `None` when it is absent.
    pub fn find(&self, path: &Path) -> Result<Option<OwnedFd>> {
        match self.walk(path, Missing::Fail) {
            Ok(fd) => Ok(Some(fd)),
            Err(Walk::Absent) => Ok(None),
            Err(Walk::Failed(failure)) => Err(failure),
        }
    }

    /// The object at `path`. Missing directories on the way are created with mode 0755; what stands at the
    /// end is created as `missing` says.
    pub fn ensure(&self, path: &Path, missing: Missing) -> Result<OwnedFd> {
        self.walk(path, missing).map_err(|walk| match walk {
            Walk::Absent => Failure(format!("{}: no such file or directory", path.display())),
            Walk::Failed(failure) => failure,
        })
    }

    /// The whole content of the regular file at `path`, up to `limit` bytes; `None` when it is absent.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        use std::io::Read;
        let Some(found) = self.find(path)? else { return Ok(None) };
        let stat = rustix::fs::fstat(&found).attempt(|| format!("stat {}", path.display()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Failure(format!("{}: not a regular file", path.display())));
        }
        // An O_PATH descriptor is opened for reading through its own /proc entry, which names this very file.
        let reopened = std::fs::File::open(descriptor_path(found.as_fd()))
            .attempt(|| format!("open {}", path.display()))?;
        let mut content = Vec::new();
        reopened.take(limit).read_to_end(&mut content).attempt(|| format!("read {}", path.display()))?;
        Ok(Some(content))
    }

    fn walk(&self, path: &Path, missing: Missing) -> std::result::Result<OwnedFd, Walk> {
        let failed = |what: String| {
            move |errno| Walk::Failed(Failure(format!("{what}: {}", super::failure::reason(errno))))
        };
        let mut todo = components(path);
        let mut parents: Vec<OwnedFd> = Vec::new();
        let mut here = self.fd.try_clone().map_err(|e| Walk::Failed(Failure(e.to_string())))?;
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name.as_bytes() == b".." {
                if let Some(parent) = parents.pop() {
                    here = parent;
                }
                continue;
            }
            let last = todo.is_empty();
            let stat = match statat(&here, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) if missing == Missing::Fail => return Err(Walk::Absent),
                Err(Errno::NOENT) => {
                    create(&here, &name, last && missing == Missing::File, self.owner)
                        .map_err(failed(format!("create {}", path.display())))?;
                    statat(&here, &*name, AtFlags::SYMLINK_NOFOLLOW)
                        .map_err(failed(format!("stat {}", path.display())))?
                }
                Err(errno) => return Err(failed(format!("stat {}", path.display()))(errno)),
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                links += 1;
                if links > MAX_LINKS {
                    return Err(failed(path.display().to_string())(Errno::LOOP));
                }
                let target = readlinkat(&here, &*name, Vec::new())
                    .map_err(failed(format!("readlink {}", path.display())))?;
                let target = OsString::from_vec(target.into_bytes());
                if target.as_bytes().first() == Some(&b'/') {
                    parents.clear();
                    here = self.fd.try_clone().map_err(|e| Walk::Failed(Failure(e.to_string())))?;
                }
                for component in components(Path::new(&target)).into_iter().rev() {
                    todo.push_front(component);
                }
                continue;
            }
            let next =
                openat(&here, &*name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
                    .map_err(failed(format!("open {}", path.display())))?;
            parents.push(std::mem::replace(&mut here, next));
        }
        Ok(here)
    }
}

/// A path through which this process reaches what `fd` refers to.
pub fn descriptor_path(fd: std::os::fd::BorrowedFd<'_>) -> std::path::PathBuf {
    use std::os::fd::AsRawFd;
    Path::new("/proc/self/fd").join(fd.as_raw_fd().to_string())
}

enum Walk {
    Absent,
    Failed(Failure),
}

fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

fn create(at: &OwnedFd, name: &OsString, file: bool, owner: Option<(u32, u32)>) -> rustix::io::Result<()> {
    let created = if file {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(at, &**name, flags, Mode::from_raw_mode(0o644)).map(drop)
    } else {
        mkdirat(at, &**name, Mode::from_raw_mode(0o755))
    };
    match (created, owner) {
        (Err(Errno::EXIST), _) => Ok(()),
        (Ok(()), Some((uid, gid))) => chownat(
            at,
            &**name,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        ),
        (created, _) => created,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn name(fd: &OwnedFd) -> std::path::PathBuf {
        std::fs::read_link(descriptor_path(fd.as_fd())).unwrap()
    }

    #[test]
    fn nothing_leads_outside() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("a/b")).unwrap();
        std::fs::write(base.join("passwd"), "root").unwrap();
        symlink("/passwd", base.join("a/absolute")).unwrap();
        symlink("../../../../passwd", base.join("a/climbing")).unwrap();
        symlink("../missing/deep", base.join("a/dangling")).unwrap();
        symlink("loop", base.join("loop")).unwrap();
        let root = Root::open(&base).unwrap();
        for (path, expected) in [
            ("/a/absolute", "passwd"),
            ("a/climbing", "passwd"),
            ("/../../a/b/../absolute", "passwd"),
            ("/a/b/../../../../../a", "a"),
        ] {
            assert_eq!(name(&root.find(Path::new(path)).unwrap().unwrap()), base.join(expected), "{path}");
        }
        assert!(root.find(Path::new("/nowhere/at/all")).unwrap().is_none());
        assert!(root.find(Path::new("/a/dangling")).unwrap().is_none());
        let error = root.find(Path::new("/loop")).unwrap_err();
        assert!(error.0.contains("symbolic links"), "{error}");
        let made = root.ensure(Path::new("/a/dangling/x"), Missing::File).unwrap();
        assert_eq!(name(&made), base.join("missing/deep/x"));
        assert!(root.read(Path::new("/a"), 10).is_err());
        assert_eq!(root.read(Path::new("/a/climbing"), 2).unwrap().unwrap(), b"ro");
    }
}
