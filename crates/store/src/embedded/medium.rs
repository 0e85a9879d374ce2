//! Where the bytes of the store's file lie.
//!
//! The engine writes through a [`Medium`], so that a test can put one below it that drops, tears and reorders
//! what was not synced.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::OpenError;

/// A file, or something that behaves as one. Nothing is durable before `sync` returns.
pub trait Medium: fmt::Debug + Send + Sync + 'static {
    fn len(&self) -> io::Result<u64>;
    /// Fills `out`, or fails where that reaches past the end.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// New room reads as zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A file of the file system, locked against other processes while it is open.
#[derive(Debug)]
pub struct DiskFile {
    file: File,
}

impl DiskFile {
    pub(super) fn open(path: &Path) -> Result<DiskFile, OpenError> {
        let io = |operation| move |source| OpenError::Io { path: path.to_owned(), operation, source };
        let fresh = !path.exists();
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = file.map_err(io("open the store's file"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::File {
                    path: path.to_owned(),
                    problem: "another process has the store open".into(),
                    advice: "stop that process, or give this one a directory of its own",
                });
            }
            Err(TryLockError::Error(source)) => return Err(io("lock the store's file")(source)),
        }
        let mode = file.metadata().map_err(io("read the store's file"))?.permissions().mode();
        if mode & 0o077 != 0 {
            file.set_permissions(PermissionsExt::from_mode(0o600))
                .map_err(io("set the store's file to mode 0600"))?;
        }
        if fresh {
            sync_folder_of(path).map_err(io("sync the folder of the store's file"))?;
        }
        Ok(DiskFile { file })
    }
}

impl Medium for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// A new name in a folder is durable only when the folder is.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
