//! Advisory locks between processes, and between threads: each lock opens its file anew.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::error::{IoContext, Result};
use crate::store::remove_file;

/// Releases when dropped, or when the process dies.
pub(crate) struct FileLock {
    _file: File,
}

impl FileLock {
    pub(crate) fn shared(path: &Path) -> Result<FileLock> {
        FileLock::acquire(path, FlockOperation::LockShared)
    }

    pub(crate) fn exclusive(path: &Path) -> Result<FileLock> {
        FileLock::acquire(path, FlockOperation::LockExclusive)
    }

    fn acquire(path: &Path, operation: FlockOperation) -> Result<FileLock> {
        let file = open(path)?;
        retry(|| rustix::fs::flock(&file, operation)).at("lock", path)?;
        Ok(FileLock { _file: file })
    }
}

/// An exclusive lock on a file that its holder may rename or unlink: whoever waited for it then finds out that
/// the name means another file, or none, and starts over.
pub(crate) struct PathLock {
    pub(crate) file: File,
    path: PathBuf,
}

impl PathLock {
    /// Waits for the lock, creating the file where there is none.
    pub(crate) fn acquire(path: &Path) -> Result<PathLock> {
        loop {
            let file = open(path)?;
            retry(|| rustix::fs::flock(&file, FlockOperation::LockExclusive)).at("lock", path)?;
            if is_named(&file, path) {
                return Ok(PathLock { file, path: path.to_owned() });
            }
        }
    }

    /// The lock if nobody holds it.
    pub(crate) fn try_acquire(path: &Path) -> Result<Option<PathLock>> {
        let file = open(path)?;
        match retry(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)) {
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            locked => {
                locked.at("lock", path)?;
                Ok(is_named(&file, path).then(|| PathLock { file, path: path.to_owned() }))
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn unlink(self) -> Result<()> {
        remove_file(&self.path)
    }
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .at("open", path)
}

fn is_named(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(open), Ok(named)) => open.dev() == named.dev() && open.ino() == named.ino(),
        _ => false,
    }
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            outcome => return outcome,
        }
    }
}
