//! Small files that are either old or new after a crash, never torn.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{IoContext, Result, corrupt};
use crate::store::{entries, remove_file};

const TEMPORARY: &str = ".tmp-";

/// Replaces the file at `path` by `bytes`.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let directory = path.parent().expect("a store's files lie in directories");
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    let temporary = directory.join(format!("{TEMPORARY}{}-{n}", std::process::id()));
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // The write's own failure is what matters; the leftover is removed at the next start at the latest.
        let _ = fs::remove_file(&temporary);
    }
    written.at("write", path)?;
    fsync_dir(directory)
}

/// Removes what writes that never finished left in `directory`. Nobody may be writing there.
pub(crate) fn remove_abandoned(directory: &Path) -> Result<()> {
    for path in entries(directory)? {
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY)) {
            remove_file(&path)?;
        }
    }
    Ok(())
}

/// Makes renames and unlinks in `directory` durable.
pub(crate) fn fsync_dir(directory: &Path) -> Result<()> {
    File::open(directory).and_then(|dir| dir.sync_all()).at("sync", directory)
}

/// Reads a file that must not be larger than `limit`. The outer error is for content, the inner for the system.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<io::Result<Vec<u8>>> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)) {
        Ok(n) if n as u64 > limit => Err(corrupt(format!("{} is larger than {limit} bytes", path.display()))),
        Ok(_) => Ok(Ok(bytes)),
        Err(error) => Ok(Err(error)),
    }
}
