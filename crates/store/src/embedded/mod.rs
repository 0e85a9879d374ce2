//! The embedded backend: one file, one process, every write numbered here.

mod disk;
mod file;
mod medium;
mod record;
mod sequencer;
mod upgrade;

use std::path::PathBuf;
use std::sync::Arc;

pub use disk::restore;
pub(crate) use medium::sync_folder_of;
pub use medium::{DiskFile, Medium};
pub(crate) use record::MAX_STAMP;
pub(crate) use sequencer::Sequencer;

use crate::error::OpenError;
use crate::index::Index;
use crate::seal::Sealing;

/// Where an embedded store lies, and what its answers promise.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// One file, created with mode 0600.
    pub path: PathBuf,
    pub durability: Durability,
}

/// What an acknowledged write has survived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The write is on the disk before it is answered.
    Synced,
    /// The write has been handed to the kernel. A crash of the machine may lose it, and may lose the file: only
    /// for throw-away clusters and for tests.
    Unsynced,
}

impl Embedded {
    pub fn at(path: impl Into<PathBuf>) -> Embedded {
        Embedded { path: path.into(), durability: Durability::Synced }
    }

    pub(crate) fn open(&self, index: &Arc<Index>, sealing: Option<&Sealing>) -> Result<Sequencer, OpenError> {
        self.open_on(Arc::new(DiskFile::open(&self.path)?), index, sealing)
    }

    pub(crate) fn open_on(
        &self,
        medium: Arc<dyn Medium>,
        index: &Arc<Index>,
        sealing: Option<&Sealing>,
    ) -> Result<Sequencer, OpenError> {
        let (disk, contents) = disk::Disk::open(&self.path, medium, self.durability, index, sealing)?;
        Ok(Sequencer::start(disk, contents, index.clone()))
    }
}
