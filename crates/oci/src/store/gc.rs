//! Garbage: which images to drop, and which content nothing leads to any more.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::digest::Digest;
use crate::error::{IoContext, Kind, Result};
use crate::manifest::{Document, MAX_INDEX_DEPTH};
use crate::store::{Image, Store, entries, remove_file};

/// What the collector may take.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Drop unused images, longest unused first, until about this many bytes are free again.
    pub free: u64,
    /// Never drop an image pulled or used more recently than this.
    pub min_age: Duration,
    /// Drop any image unused for longer, even if there is room.
    pub max_age: Option<Duration>,
    /// Drop what was pushed to the registry's repositories but has belonged to no manifest for longer.
    pub max_orphan_age: Option<Duration>,
    /// Ids of images that are in use beyond what the store's holders say.
    pub in_use: BTreeSet<Digest>,
}

/// What the collector took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// The names of the images that were dropped.
    pub images: Vec<String>,
    pub blobs: u64,
    pub layers: u64,
    pub bytes: u64,
}

/// The kubelet's rule: above `high` percent in use, free down to `low` percent; otherwise nothing.
pub fn bytes_to_free(capacity: u64, available: u64, high: u8, low: u8) -> u64 {
    if capacity == 0 {
        return 0;
    }
    let available = available.min(capacity);
    let used_percent = 100 - available.saturating_mul(100) / capacity;
    if used_percent < u64::from(high) {
        return 0;
    }
    (capacity / 100).saturating_mul(100 - u64::from(low.min(100))).saturating_sub(available)
}

impl Store {
    /// Drops images by `policy`, then deletes all content that no image, holder, lease or registry names.
    pub fn collect(&self, policy: &Policy) -> Result<Collected> {
        let mut collected = Collected::default();
        let doomed;
        {
            let _exclusive = self.lock_exclusive()?;
            for image in self.unneeded(policy)? {
                for name in &image.names {
                    self.remove_record(name)?;
                    collected.images.push(name.to_string());
                }
            }
            self.remove_abandoned_ingests()?;
            if let Some(max_age) = policy.max_orphan_age {
                self.remove_orphans(max_age)?;
            }
            let live = self.live()?;
            self.sweep_blobs(&live, &mut collected)?;
            doomed = self.detach_layers(&live, &mut collected)?;
        }
        // Deleting trees takes long, and they are out of reach by now.
        for tree in doomed {
            crate::store::remove_tree(&tree)?;
        }
        Ok(collected)
    }

    fn unneeded(&self, policy: &Policy) -> Result<Vec<Image>> {
        let held: BTreeSet<Digest> = self.holders()?.into_iter().map(|of| of.image).collect();
        let now = self.now();
        let idle = |image: &Image| {
            Duration::from_secs(now.saturating_sub(image.used.max(image.pulled)).max(0) as u64)
        };
        let mut candidates = self.images()?;
        candidates.retain(|image| {
            let used = image.pinned || held.contains(&image.id) || policy.in_use.contains(&image.id);
            !used && idle(image) >= policy.min_age
        });
        candidates.sort_by_key(|image| image.used.max(image.pulled));
        let mut freed = 0;
        candidates.retain(|image| {
            let aged = policy.max_age.is_some_and(|limit| idle(image) > limit);
            let take = aged || freed < policy.free;
            freed += if take { image.size } else { 0 };
            take
        });
        Ok(candidates)
    }

    /// Every blob and layer that something leads to.
    fn live(&self) -> Result<BTreeSet<Digest>> {
        let mut live: BTreeSet<Digest> = self.leased()?.into_iter().collect();
        for holder in self.holders()? {
            live.extend(holder.chain);
        }
        for record in self.records()? {
            self.mark(&record.target, MAX_INDEX_DEPTH, &mut live)?;
            self.mark(&record.manifest, 0, &mut live)?;
            if let Ok(config) = self.document(&record.manifest).and_then(|document| match document {
                Document::Manifest(manifest) => self.image_config(&manifest).map(Some),
                Document::Index(_) => Ok(None),
            }) {
                live.extend(config.into_iter().flat_map(|config| config.chain_ids()));
            }
        }
        let (manifests, blobs) = self.registry_roots()?;
        live.extend(blobs);
        for root in manifests {
            self.mark(&root, MAX_INDEX_DEPTH, &mut live)?;
        }
        Ok(live)
    }

    /// Marks a manifest or index and everything below it that is there. A blob that is neither stays a leaf.
    fn mark(&self, digest: &Digest, depth: usize, live: &mut BTreeSet<Digest>) -> Result<()> {
        live.insert(digest.clone());
        let document = match self.document(digest) {
            Ok(document) => document,
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Corrupt | Kind::Refused) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for child in document.children() {
            match &document {
                Document::Index(_) if depth > 0 => self.mark(&child.digest, depth - 1, live)?,
                _ => drop(live.insert(child.digest.clone())),
            }
        }
        Ok(())
    }

    /// The manifests and the blobs that the registry's repositories link to.
    fn registry_roots(&self) -> Result<(BTreeSet<Digest>, BTreeSet<Digest>)> {
        let (mut manifests, mut blobs) = (BTreeSet::new(), BTreeSet::new());
        for repository in self.repositories()? {
            manifests.extend(entries(&repository.join("_manifests"))?.iter().filter_map(|link| linked(link)));
            blobs.extend(entries(&repository.join("_blobs"))?.iter().filter_map(|link| linked(link)));
        }
        Ok((manifests, blobs))
    }

    /// Removes links to blobs that no manifest of the same repository mentions: pushes that broke off, and
    /// layers of deleted manifests.
    fn remove_orphans(&self, max_age: Duration) -> Result<()> {
        for repository in self.repositories()? {
            let mut needed = BTreeSet::new();
            for manifest in entries(&repository.join("_manifests"))?.iter().filter_map(|link| linked(link)) {
                self.mark(&manifest, 0, &mut needed)?;
            }
            for link in entries(&repository.join("_blobs"))? {
                let age = link.metadata().map_or(0, |of| self.now().saturating_sub(of.mtime()));
                let old = age > i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX);
                if old && linked(&link).is_none_or(|digest| !needed.contains(&digest)) {
                    remove_file(&link)?;
                }
            }
        }
        Ok(())
    }

    /// The directories of the registry's repositories.
    fn repositories(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut pending = vec![self.path("repositories")];
        while let Some(directory) = pending.pop() {
            let below = entries(&directory)?;
            let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if below.iter().any(|path| matches!(name(path).as_str(), "_manifests" | "_blobs")) {
                found.push(directory);
            }
            pending.extend(
                below.into_iter().filter(|path| !name(path).starts_with(['_', '.']) && path.is_dir()),
            );
        }
        Ok(found)
    }

    fn sweep_blobs(&self, live: &BTreeSet<Digest>, collected: &mut Collected) -> Result<()> {
        for algorithm in entries(&self.path("blobs"))? {
            let name = algorithm.file_name().unwrap_or_default().to_string_lossy().into_owned();
            for path in entries(&algorithm)? {
                let hex = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if Digest::from_str(&format!("{name}:{hex}")).is_ok_and(|digest| live.contains(&digest)) {
                    continue;
                }
                collected.bytes += path.metadata().map_or(0, |of| of.len());
                collected.blobs += 1;
                remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Moves dead layers into the trash and answers where they lie there.
    fn detach_layers(&self, live: &BTreeSet<Digest>, collected: &mut Collected) -> Result<Vec<PathBuf>> {
        let mut doomed = Vec::new();
        for path in entries(&self.path("layers"))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if crate::layers::chain_of(&name).is_some_and(|chain| live.contains(&chain)) {
                continue;
            }
            collected.bytes += crate::layers::recorded_usage(&path).map_or(0, |of| of.bytes);
            collected.layers += 1;
            let trash = self.path("trash").join(self.unique());
            std::fs::rename(&path, &trash).at("discard", &path)?;
            doomed.push(trash);
        }
        Ok(doomed)
    }
}

/// A link's file is called `ALG-HEX`.
fn linked(path: &Path) -> Option<Digest> {
    let name = path.file_name()?.to_str()?;
    let (algorithm, hex) = name.split_once('-')?;
    format!("{algorithm}:{hex}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_the_kubelets() {
        for (available, expected) in [(20, 0), (16, 0), (15, 5), (5, 15), (0, 20), (200, 0)] {
            assert_eq!(bytes_to_free(100, available, 85, 80), expected, "{available} available");
        }
        assert_eq!(bytes_to_free(0, 0, 85, 80), 0);
    }
}
