//! Layers: from compressed archives to directories that overlayfs stacks.
//!
//! A layer is unpacked once, into a directory named by its chain id (its own content and everything below it),
//! with deletions in overlayfs's own notation. It is complete or absent: the tree grows under a lock in
//! `unpacking/`, its diff id is checked, everything is flushed, and only then is it renamed into place.

mod apply;
pub(crate) mod attributes;
mod decompress;
mod merge;
mod mount;
pub mod tar;
mod tree;

use std::fs::File;
use std::path::{Path, PathBuf};

pub use mount::{MountOptions, Overlay, RootFs};

pub(crate) use decompress::{compression, plain_reader};
pub(crate) use merge::merge;

use crate::digest::{Digest, Hashing};
use crate::error::{IoContext, Result, corrupt};
use crate::manifest::Descriptor;
use crate::store::{Image, PathLock, Store, Usage, create_private, fsync_dir, remove_tree};

/// How far an image may go.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The most that one layer may unpack to.
    pub max_layer_bytes: u64,
    /// The most entries that one layer may have.
    pub max_entries: u64,
    /// Beyond `ratio_free_bytes`, a layer may not unpack to more than this many times its compressed size.
    pub max_ratio: u64,
    pub ratio_free_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_layer_bytes: 256 << 30,
            max_entries: 4_000_000,
            max_ratio: 250,
            ratio_free_bytes: 1 << 30,
        }
    }
}

impl Store {
    /// Unpacks those of an image's layers that are not unpacked yet. Whoever calls this keeps the image from
    /// being collected meanwhile, by a lease or by holding it.
    pub fn unpack(&self, image: &Image) -> Result<()> {
        let chain = image.config.chain_ids();
        for (at, layer) in image.layers.iter().enumerate() {
            self.unpack_layer(layer, &image.config.rootfs.diff_ids[at], &chain[..=at])?;
        }
        Ok(())
    }

    /// Unpacks one layer: the last of `chain`, above the others, which are unpacked already.
    pub(crate) fn unpack_layer(&self, layer: &Descriptor, diff_id: &Digest, chain: &[Digest]) -> Result<()> {
        let (id, below) = chain.split_last().expect("a layer is part of its own chain");
        let name = layer_name(id);
        let finished = self.path("layers").join(&name);
        if finished.exists() {
            return Ok(());
        }
        let lock = PathLock::acquire(&self.path("unpacking").join(format!("{name}.lock")))?;
        if finished.exists() {
            return lock.unlink();
        }
        let partial = self.path("unpacking").join(format!("{name}.tree"));
        remove_tree(&partial)?;
        let parents: Vec<PathBuf> = below.iter().rev().map(|id| self.layer_tree(id)).collect();
        let unpacked = self.unpack_into(&partial, layer, diff_id, &parents).and_then(|()| {
            let _shared = self.lock_shared()?;
            std::fs::rename(&partial, &finished).at("install", &finished)?;
            fsync_dir(&self.path("layers"))
        });
        if unpacked.is_err() {
            remove_tree(&partial)?;
        }
        lock.unlink()?;
        unpacked.map_err(|error| error.context(format!("failed to extract layer {diff_id}")))
    }

    /// The directory that shows an unpacked layer.
    pub(crate) fn layer_tree(&self, chain_id: &Digest) -> PathBuf {
        self.path("layers").join(layer_name(chain_id)).join("fs")
    }

    fn unpack_into(
        &self,
        partial: &Path,
        layer: &Descriptor,
        diff_id: &Digest,
        parents: &[PathBuf],
    ) -> Result<()> {
        let limits = &self.options().limits;
        let tree = partial.join("fs");
        create_private(&tree)?;
        let blob = self.open_blob(&layer.digest)?;
        let plain = Hashing::new(plain_reader(blob, limits)?, diff_id.algorithm());
        let (actual, _, _) = apply::apply(plain, &tree, parents, limits)?.finish();
        if actual != *diff_id {
            return Err(corrupt(format!("wrong diff id calculated on extraction {actual:?}")));
        }
        let usage = Usage::of_tree(&tree)?;
        std::fs::write(partial.join("usage"), format!("{} {}\n", usage.bytes, usage.inodes))
            .at("write", &partial.join("usage"))?;
        let root = File::open(partial).at("open", partial)?;
        rustix::fs::syncfs(&root).at("sync", partial)
    }
}

/// The room that an unpacked layer was found to take when it was unpacked.
pub(crate) fn recorded_usage(layer: &Path) -> Result<Usage> {
    let path = layer.join("usage");
    let text = std::fs::read_to_string(&path).at("read", &path)?;
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(bytes)), Some(Ok(inodes))) => Ok(Usage { bytes, inodes }),
        _ => Err(corrupt(format!("{} cannot be read", path.display()))),
    }
}

/// Gives one directory the owner, mode and attributes of another.
pub(crate) fn copy_directory_attributes(from: &Path, to: &Path) -> Result<()> {
    let (source, target) = (File::open(from).at("open", from)?, File::open(to).at("open", to)?);
    attributes::copy(&source, &target)
}

/// The shorter a layer's name, the more layers fit into a mount.
fn layer_name(chain_id: &Digest) -> String {
    match chain_id.algorithm() {
        crate::digest::Algorithm::Sha256 => chain_id.hex().to_owned(),
        other => format!("{}-{}", other.name(), chain_id.hex()),
    }
}

/// The chain id that a layer's directory is named by.
pub(crate) fn chain_of(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.split_once('-').unwrap_or(("sha256", name));
    format!("{algorithm}:{hex}").parse().ok()
}
