//! The copying fallback: layers laid over each other by hand, as overlayfs would show them.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::error::{IoContext, Result};
use crate::layers::attributes;
use crate::layers::tree::is_opaque;
use crate::store::{entries, remove_file, remove_tree};

/// Fills the directory `into` with what `layers`, topmost first, show together. The layers and the directory
/// are the store's own, so nobody moves things meanwhile.
pub(crate) fn merge(layers: &[PathBuf], into: &Path) -> Result<()> {
    for layer in layers.iter().rev() {
        let mut links = HashMap::new();
        merge_directory(layer, into, &mut links)?;
    }
    Ok(())
}

/// Where a file of several names, known by its inode, was copied to first. Holds only files with several names.
type Links = HashMap<u64, PathBuf>;

fn merge_directory(from: &Path, to: &Path, links: &mut Links) -> Result<()> {
    for source in entries(from)? {
        let target = to.join(source.file_name().expect("a listed entry has a name"));
        let metadata = fs::symlink_metadata(&source).at("inspect", &source)?;
        let existing = fs::symlink_metadata(&target).ok();
        let kind = metadata.file_type();
        if kind.is_char_device() && metadata.rdev() == 0 {
            remove(&target, existing.as_ref())?;
            continue;
        }
        if kind.is_dir() {
            let opaque = is_opaque(&open_directory(&source)?.into());
            if existing.as_ref().is_none_or(|of| opaque || !of.is_dir()) {
                remove(&target, existing.as_ref())?;
                fs::create_dir(&target).at("create", &target)?;
            }
            merge_directory(&source, &target, links)?;
            continue;
        }
        remove(&target, existing.as_ref())?;
        if metadata.nlink() > 1 {
            if let Some(first) = links.get(&metadata.ino()) {
                fs::hard_link(first, &target).at("link", &target)?;
                continue;
            }
            links.insert(metadata.ino(), target.clone());
        }
        if kind.is_file() {
            copy_file(&source, &target)?;
        } else {
            copy_special(&source, &target, &metadata)?;
        }
    }
    let (source, target) = (open_directory(from)?, open_directory(to)?);
    attributes::copy(&source, &target)?;
    rustix::fs::futimens(&target, &times(&source.metadata().at("inspect", from)?)).at("set the times of", to)
}

fn open_directory(path: &Path) -> Result<File> {
    let flags = (rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NOFOLLOW).bits() as i32;
    OpenOptions::new().read(true).custom_flags(flags).open(path).at("open", path)
}

fn remove(path: &Path, existing: Option<&fs::Metadata>) -> Result<()> {
    match existing {
        Some(of) if of.is_dir() => remove_tree(path),
        Some(_) => remove_file(path),
        None => Ok(()),
    }
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let mut source = File::open(from).at("open", from)?;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).at("create", to)?;
    if rustix::fs::ioctl_ficlone(&target, &source).is_err() {
        copy_data(&mut source, &mut target)?;
    }
    attributes::copy(&source, &target)?;
    let metadata = source.metadata().at("inspect", from)?;
    rustix::fs::futimens(&target, &times(&metadata)).at("set the times of", to)
}

/// Copies a file's data and keeps its holes.
pub(crate) fn copy_data(source: &mut File, target: &mut File) -> Result<()> {
    let size = source.metadata().during("inspect a file")?.len();
    target.set_len(size).during("size a file")?;
    let mut at = 0;
    while at < size {
        let data = match rustix::fs::seek(source.as_fd(), rustix::fs::SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break,
            // A file system that knows no holes has data throughout.
            Err(Errno::INVAL) => at,
            sought => sought.during("find a file's data")?,
        };
        let hole = match rustix::fs::seek(source.as_fd(), rustix::fs::SeekFrom::Hole(data)) {
            Err(Errno::INVAL) => size,
            sought => sought.during("find a file's holes")?,
        };
        source.seek(SeekFrom::Start(data)).during("read a file")?;
        target.seek(SeekFrom::Start(data)).during("write a file")?;
        let mut piece = std::io::Read::take(&mut *source, hole - data);
        std::io::copy(&mut piece, target).during("copy a file")?;
        at = hole;
    }
    Ok(())
}

fn copy_special(from: &Path, to: &Path, metadata: &fs::Metadata) -> Result<()> {
    let kind = FileType::from_raw_mode(metadata.mode());
    if kind == FileType::Symlink {
        let link = fs::read_link(from).at("read", from)?;
        std::os::unix::fs::symlink(link, to).at("create", to)?;
    } else {
        let mode = Mode::from_raw_mode(metadata.mode() & 0o7777);
        rustix::fs::mknodat(rustix::fs::CWD, to, kind, mode, metadata.rdev()).at("create", to)?;
    }
    let (uid, gid) = (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid()));
    rustix::fs::chownat(rustix::fs::CWD, to, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .at("set the owner of", to)?;
    if kind != FileType::Symlink {
        let mode = Mode::from_raw_mode(metadata.mode() & 0o7777);
        rustix::fs::chmodat(rustix::fs::CWD, to, mode, AtFlags::empty()).at("set the mode of", to)?;
    }
    rustix::fs::utimensat(rustix::fs::CWD, to, &times(metadata), AtFlags::SYMLINK_NOFOLLOW)
        .at("set the times of", to)
}

fn times(of: &fs::Metadata) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: of.atime(), tv_nsec: of.atime_nsec() },
        last_modification: Timespec { tv_sec: of.mtime(), tv_nsec: of.mtime_nsec() },
    }
}
