//! Who uses an image: containers with a writable layer above it, volumes that show it read-only.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, IoContext, Kind, Result, corrupt};
use crate::layers::{Overlay, RootFs};
use crate::store::{
    Image, Snapshotter, Store, Usage, create_private, durable, entries, fsync_dir, read_limited, remove_file,
    set_mode,
};

const MAX_HOLDER: u64 = 256 << 10;
const MAX_OWNER: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// With a layer of its own on top: a container's root.
    Writable,
    /// As it is: an image volume.
    ReadOnly,
}

/// One use of an image. While it lasts the image's layers stay, whatever becomes of its names.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    pub owner: String,
    pub image: Digest,
    pub access: Access,
    pub(super) chain: Vec<Digest>,
    copied: bool,
}

impl Store {
    /// Records that `owner` (a container's or volume's id, unique in the store) uses `image`, unpacks what is
    /// not unpacked yet, and answers what to mount. Calling it again with the same arguments is harmless.
    pub fn hold(&self, owner: &str, image: &Image, access: Access) -> Result<RootFs> {
        check_owner(owner)?;
        let copied = self.options().snapshotter == Snapshotter::Copy && access == Access::Writable;
        let holder = Holder {
            owner: owner.to_owned(),
            image: image.id.clone(),
            access,
            chain: image.config.chain_ids(),
            copied,
        };
        let known = {
            let _shared = self.lock_shared()?;
            let known = self.holder(owner)?;
            match &known {
                Some(of) if (&of.image, of.access) != (&holder.image, holder.access) => {
                    return Err(Error::new(
                        Kind::Conflict,
                        format!("{owner} already holds image {}", of.image),
                    ));
                }
                Some(_) => {}
                // The record comes first: a crash between the two leaves a holder to be released, never a tree
                // that nobody accounts for.
                None => {
                    let bytes = serde_json::to_vec(&holder).expect("a holder is plain data");
                    durable::write(&self.holder_path(owner), &bytes)?;
                }
            }
            known
        };
        let prepared = self.unpack(image).and_then(|()| self.prepare(known.as_ref().unwrap_or(&holder)));
        if prepared.is_err()
            && known.is_none()
            && let Err(error) = self.release(owner)
        {
            tracing::warn!(owner, %error, "a failed hold could not be undone");
        }
        prepared
    }

    /// What `owner` mounts, if it holds anything.
    pub fn held(&self, owner: &str) -> Result<Option<RootFs>> {
        check_owner(owner)?;
        self.holder(owner)?.map(|of| self.root_fs(&of)).transpose()
    }

    /// Ends a use and deletes the owner's writable layer. Whatever was mounted must be unmounted before.
    /// Harmless when there is nothing to release.
    pub fn release(&self, owner: &str) -> Result<()> {
        check_owner(owner)?;
        self.discard(&self.snapshot_path(owner))?;
        let _shared = self.lock_shared()?;
        remove_file(&self.holder_path(owner))?;
        fsync_dir(&self.path("holders"))
    }

    pub fn holders(&self) -> Result<Vec<Holder>> {
        let mut holders = Vec::new();
        for path in entries(&self.path("holders"))? {
            if path.extension().is_some_and(|of| of == "json") {
                holders.extend(read_holder(&path)?);
            }
        }
        Ok(holders)
    }

    /// The room that an owner's writable layer takes.
    pub fn written_by(&self, owner: &str) -> Result<Usage> {
        check_owner(owner)?;
        let snapshot = self.snapshot_path(owner);
        match [snapshot.join("upper"), snapshot.join("root")].into_iter().find(|path| path.exists()) {
            Some(tree) => Usage::of_tree(&tree),
            None => Ok(Usage::default()),
        }
    }

    /// Makes what a holder mounts, unless it is there already: it may have been written to since.
    fn prepare(&self, holder: &Holder) -> Result<RootFs> {
        let root = self.root_fs(holder)?;
        let partial = self.snapshot_path(&holder.owner).join("partial");
        let fresh = |wanted: &Path| -> Result<bool> {
            if wanted.exists() {
                return Ok(false);
            }
            self.discard(&partial)?;
            create_private(&partial).map(|()| true)
        };
        match &root {
            RootFs::Overlay(Overlay { upper: Some((upper, work)), lower }) => {
                if fresh(upper)? {
                    // The upper directory is the container's `/`, so it takes over the image's own.
                    crate::layers::copy_directory_attributes(&lower[0], &partial)?;
                    std::fs::rename(&partial, upper).at("install", upper)?;
                }
                create_private(work)?;
            }
            RootFs::Overlay(_) => {}
            RootFs::Directory(tree) if holder.copied => {
                if fresh(tree)? {
                    set_mode(&partial, 0o755)?;
                    crate::layers::merge(&self.lower(&holder.chain), &partial)?;
                    std::fs::rename(&partial, tree).at("install", tree)?;
                }
            }
            RootFs::Directory(_) => {}
        }
        Ok(root)
    }

    fn root_fs(&self, holder: &Holder) -> Result<RootFs> {
        let snapshot = self.snapshot_path(&holder.owner);
        if holder.copied {
            return Ok(RootFs::Directory(snapshot.join("root")));
        }
        let upper =
            (holder.access == Access::Writable).then(|| (snapshot.join("upper"), snapshot.join("work")));
        let mut lower = self.lower(&holder.chain);
        // The kernel wants two lower layers where there is no upper one, and one in any case.
        if lower.is_empty() || (lower.len() == 1 && upper.is_none()) {
            lower.push(self.path("empty"));
        }
        match (lower.len(), upper) {
            (1, None) => Ok(RootFs::Directory(self.path("empty"))),
            (_, upper) => Ok(RootFs::Overlay(Overlay { lower, upper })),
        }
    }

    /// The directories of a chain's layers, topmost first, as overlayfs wants them.
    fn lower(&self, chain: &[Digest]) -> Vec<PathBuf> {
        chain.iter().rev().map(|id| self.layer_tree(id)).collect()
    }

    fn holder(&self, owner: &str) -> Result<Option<Holder>> {
        read_holder(&self.holder_path(owner))
    }

    fn holder_path(&self, owner: &str) -> PathBuf {
        self.path("holders").join(format!("{owner}.json"))
    }

    fn snapshot_path(&self, owner: &str) -> PathBuf {
        self.path("snapshots").join(owner)
    }
}

fn read_holder(path: &Path) -> Result<Option<Holder>> {
    let bytes = match read_limited(path, MAX_HOLDER)? {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.at("read", path)?,
    };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|error| corrupt(format!("holder record {}: {error}", path.display())))
}

/// An owner becomes a file name.
fn check_owner(owner: &str) -> Result<()> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if owner.is_empty() || owner.len() > MAX_OWNER || owner.starts_with('.') || !owner.bytes().all(fits) {
        return Err(Error::new(
            Kind::Config,
            format!("{owner:?} cannot hold an image: not a plain identifier"),
        ));
    }
    Ok(())
}
