//! Bringing an older file up to the format of today, one step a version, after a copy was put aside.

use std::path::{Path, PathBuf};

use super::file::FORMAT;
use super::medium::{Medium, sync_folder_of};
use crate::error::OpenError;

/// Rewrites a file of one format as the next.
type Step = fn(&dyn Medium) -> std::io::Result<()>;

/// The step from format 1 to 2 comes first. There is one format so far.
const STEPS: &[Step] = &[];

pub(super) fn bring_up(path: &Path, medium: &dyn Medium, from: u32) -> Result<(), OpenError> {
    // A newer format that still names us as a reader is used as it is.
    if from >= FORMAT {
        return Ok(());
    }
    run(path, medium, from, STEPS)
}

fn run(path: &Path, medium: &dyn Medium, from: u32, steps: &[Step]) -> Result<(), OpenError> {
    let io = |operation| move |source| OpenError::Io { path: path.to_owned(), operation, source };
    back_up(path, from).map_err(io("back the store's file up before its upgrade"))?;
    for step in &steps[from as usize - 1..] {
        step(medium).map_err(io("upgrade the store's file"))?;
    }
    medium.sync().map_err(io("upgrade the store's file"))
}

/// Copies the file aside; a complete copy from an earlier, interrupted attempt is kept.
fn back_up(path: &Path, format: u32) -> std::io::Result<PathBuf> {
    let backup = path.with_extension(format!("format-{format}.backup"));
    if !backup.exists() {
        let draft = path.with_extension("backup-in-progress");
        std::fs::copy(path, &draft)?;
        std::fs::File::open(&draft)?.sync_all()?;
        std::fs::rename(&draft, &backup)?;
        sync_folder_of(path)?;
    }
    Ok(backup)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::DiskFile;

    #[test]
    fn a_backup_is_made_before_any_step_runs() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("store.db");
        std::fs::write(&path, b"as it was").expect("write the file");
        let medium = DiskFile::open(&path).expect("open the file");
        let steps: &[Step] = &[|medium| medium.write(0, b"is"), |medium| medium.write(3, b"now")];
        run(&path, &medium, 1, steps).expect("upgrade");
        assert_eq!(std::fs::read(&path).expect("read the file"), b"is nowwas");
        let backup = folder.path().join("store.format-1.backup");
        assert_eq!(std::fs::read(backup).expect("read the backup"), b"as it was");
    }

    #[test]
    fn an_interrupted_upgrade_keeps_the_first_backup() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("store.db");
        std::fs::write(&path, b"as it was").expect("write the file");
        let medium = DiskFile::open(&path).expect("open the file");
        let failing: &[Step] = &[|medium| {
            medium.write(0, b"xx")?;
            Err(std::io::Error::other("no space"))
        }];
        run(&path, &medium, 1, failing).expect_err("the step fails");
        run(&path, &medium, 1, &[|medium| medium.write(0, b"is")]).expect("upgrade");
        let backup = folder.path().join("store.format-1.backup");
        assert_eq!(std::fs::read(backup).expect("read the backup"), b"as it was");
    }
}
