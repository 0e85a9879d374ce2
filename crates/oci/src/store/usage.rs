//! How much room trees and file systems take.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{IoContext, Result};
use crate::store::{Store, entries};

/// Room taken, in bytes allocated and in inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub bytes: u64,
    pub inodes: u64,
}

impl Usage {
    /// Of a tree. What vanishes while it is counted is not counted; hard links count once an entry.
    pub fn of_tree(root: &Path) -> Result<Usage> {
        let mut usage = Usage::default();
        let mut pending = vec![root.to_owned()];
        while let Some(path) = pending.pop() {
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            usage.bytes += metadata.blocks() * 512;
            usage.inodes += 1;
            if metadata.is_dir() {
                pending.extend(entries(&path)?);
            }
        }
        Ok(usage)
    }
}

impl Store {
    /// Room taken by images: blobs and unpacked layers. Of a layer the size is remembered, not counted again.
    pub fn usage(&self) -> Result<Usage> {
        let mut usage = Usage::default();
        for algorithm in entries(&self.path("blobs"))? {
            for blob in entries(&algorithm)? {
                let Ok(metadata) = fs::metadata(&blob) else { continue };
                usage.bytes += metadata.blocks() * 512;
                usage.inodes += 1;
            }
        }
        for layer in entries(&self.path("layers"))? {
            if let Ok(of) = crate::layers::recorded_usage(&layer) {
                usage.bytes += of.bytes;
                usage.inodes += of.inodes;
            }
        }
        Ok(usage)
    }

    /// Capacity and room left of the file system below the store, in bytes.
    pub fn capacity(&self) -> Result<(u64, u64)> {
        let of = rustix::fs::statvfs(self.root()).at("inspect the file system of", self.root())?;
        Ok((of.f_blocks * of.f_frsize, of.f_bavail * of.f_frsize))
    }
}
