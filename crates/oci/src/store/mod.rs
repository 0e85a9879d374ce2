//! The content store: blobs by digest, images by name, unpacked layers, and who holds them.
//!
//! On disk, below one root directory (0700):
//!
//! | path | content |
//! |---|---|
//! | `format` | the format's number; a newer one is refused |
//! | `lock` | held shared by whoever adds, exclusively by the garbage collector |
//! | `blobs/ALG/HEX` | verified, fsynced content; present means valid |
//! | `ingest/` | content on its way in; locked while somebody writes it |
//! | `images/` | one small file a name |
//! | `layers/HEX/` | unpacked layers by chain id; present means complete |
//! | `unpacking/` | layers on their way in, with their locks |
//! | `holders/` | one small file a container or volume that uses an image |
//! | `snapshots/OWNER/` | the writable part of a container's root |
//! | `leases/` | what running pulls are about to need; a lease whose process is gone is void |
//! | `repositories/` | what the registry serves |
//! | `trash/` | trees being deleted |
//!
//! Invariants: content appears under its final name by rename, after fsync, so a crash leaves it whole or
//! absent; an image's record is written last, so whatever it names is there; several processes may share a
//! store. Lock order: a path lock (ingest, unpacking) before the store lock; the store lock is never held
//! across a network transfer or an unpacking.

mod blobs;
mod durable;
mod gc;
mod holders;
mod images;
mod lease;
mod lock;
mod usage;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::clock::{SharedClock, SystemClock};
use base::random::{Random, SystemRandom};

pub use blobs::{Ingest, MAX_PARTIAL_AGE};
pub use gc::{Collected, Policy, bytes_to_free};
pub use holders::{Access, Holder};
pub use images::Image;
pub(crate) use images::check_layer_count;
pub use lease::Lease;
pub use usage::Usage;

pub(crate) use durable::{fsync_dir, read_limited, write as durable_write};
pub(crate) use lock::PathLock;

use crate::error::{Error, IoContext, Kind, Result};
use crate::layers::Limits;

const FORMAT: &str = "boga-oci 1\n";

/// A handle on a store; clones share it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    root: PathBuf,
    options: Options,
    /// Tells this handle's temporary names from every other's.
    nonce: u64,
    counter: AtomicU64,
}

#[derive(Clone)]
pub struct Options {
    pub clock: SharedClock,
    pub limits: Limits,
    pub snapshotter: Snapshotter,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            clock: SystemClock::shared(),
            limits: Limits::default(),
            snapshotter: Snapshotter::default(),
        }
    }
}

/// How a container's root is put together from an image's layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Snapshotter {
    /// The kernel stacks the layers; nothing is copied.
    #[default]
    Overlay,
    /// Each container gets its own copy: for file systems that cannot carry an overlay. Slow, and never
    /// chosen silently.
    Copy,
}

impl std::str::FromStr for Snapshotter {
    type Err = Error;

    fn from_str(name: &str) -> Result<Snapshotter> {
        match name {
            "overlay" => Ok(Snapshotter::Overlay),
            "copy" => Ok(Snapshotter::Copy),
            _ => Err(Error::new(
                Kind::Config,
                format!("unknown snapshotter {name:?}: use \"overlay\" or \"copy\""),
            )),
        }
    }
}

impl Store {
    /// Opens the store at `root`, creating it if need be, and removes what dead processes left unfinished.
    pub fn open(root: impl Into<PathBuf>, options: Options) -> Result<Store> {
        let root = root.into();
        let fresh = !root.join("format").exists();
        create_private(&root)?;
        for name in [
            "blobs/sha256",
            "blobs/sha384",
            "blobs/sha512",
            "ingest",
            "images",
            "layers",
            "unpacking",
            "holders",
            "snapshots",
            "leases",
            "repositories",
            "trash",
            "empty",
        ] {
            create_private(&root.join(name))?;
        }
        // The empty directory stands in for a missing lower layer and shows through as a container's root.
        set_mode(&root.join("empty"), 0o755)?;
        if fresh {
            durable::write(&root.join("format"), FORMAT.as_bytes())?;
        }
        let format = read_limited(&root.join("format"), 64)?.at("read", &root.join("format"))?;
        if format != FORMAT.as_bytes() {
            let found = String::from_utf8_lossy(&format).trim().to_owned();
            let message =
                format!("{} is in format {found:?}; this version reads {:?}", root.display(), FORMAT.trim());
            return Err(Error::new(Kind::Unsupported, message));
        }
        let nonce = SystemRandom.next_u64();
        let store = Store(Arc::new(Inner { root, options, nonce, counter: AtomicU64::new(0) }));
        store.remove_abandoned()?;
        Ok(store)
    }

    pub fn root(&self) -> &Path {
        &self.0.root
    }

    pub fn options(&self) -> &Options {
        &self.0.options
    }

    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.0.root.join(relative)
    }

    pub(crate) fn now(&self) -> i64 {
        self.0.options.clock.wall().secs()
    }

    /// A name that nobody else uses.
    pub(crate) fn unique(&self) -> String {
        format!("{:016x}-{}", self.0.nonce, self.0.counter.fetch_add(1, Ordering::Relaxed))
    }

    /// Held while content is added or referred to, so that the collector does not judge a half-told story.
    pub(crate) fn lock_shared(&self) -> Result<lock::FileLock> {
        lock::FileLock::shared(&self.path("lock"))
    }

    pub(crate) fn lock_exclusive(&self) -> Result<lock::FileLock> {
        lock::FileLock::exclusive(&self.path("lock"))
    }

    /// Moves a tree out of sight in one step and deletes it at leisure.
    pub(crate) fn discard(&self, path: &Path) -> Result<()> {
        let trash = self.path("trash").join(self.unique());
        match fs::rename(path, &trash) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => {
                renamed.at("discard", path)?;
                remove_tree(&trash)
            }
        }
    }

    fn remove_abandoned(&self) -> Result<()> {
        let _exclusive = self.lock_exclusive()?;
        self.remove_abandoned_ingests()?;
        self.remove_abandoned_leases()?;
        self.remove_abandoned_unpackings()?;
        for directory in ["images", "holders"] {
            durable::remove_abandoned(&self.path(directory))?;
        }
        for entry in entries(&self.path("trash"))? {
            remove_tree(&entry)?;
        }
        Ok(())
    }

    fn remove_abandoned_unpackings(&self) -> Result<()> {
        for path in entries(&self.path("unpacking"))? {
            if path.extension().is_some_and(|of| of == "lock")
                && let Some(lock) = PathLock::try_acquire(&path)?
            {
                let tree = path.with_extension("tree");
                if tree.exists() {
                    remove_tree(&tree)?;
                }
                lock.unlink()?;
            }
        }
        Ok(())
    }
}

/// The paths in a directory, sorted; an absent directory is empty.
pub(crate) fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let listing = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing.at("list", directory)?,
    };
    let mut paths = listing
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()
        .at("list", directory)?;
    paths.sort();
    Ok(paths)
}

pub(crate) fn create_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).at("create", path)
}

pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).at("set the mode of", path)
}

pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.at("remove", path),
    }
}

pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.at("remove", path),
    }
}
