//! Images by name: the durable index.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, IoContext, Kind, Result, corrupt, not_found};
use crate::manifest::{Descriptor, Document, ImageConfig, MAX_DOCUMENT, MAX_INDEX_DEPTH, Manifest};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::{Store, durable, entries, fsync_dir, read_limited, remove_file};

const MAX_RECORD: u64 = 64 << 10;

/// A bare identifier must have at least this many digits to be taken for the beginning of an image's id.
const MIN_ID_PREFIX: usize = 3;

/// One name's record on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) name: Reference,
    /// What the name stands for: a manifest, or an index for several platforms.
    pub(super) target: Digest,
    /// The manifest that was chosen for this machine.
    pub(super) manifest: Digest,
    /// The configuration's digest, which is the image's id.
    pub(super) config: Digest,
    #[serde(default)]
    pub(super) pinned: bool,
    pub(super) pulled: i64,
    pub(super) used: i64,
}

/// An image: everything that shares one configuration, under all its names.
#[derive(Clone, Debug)]
pub struct Image {
    /// The configuration's digest.
    pub id: Digest,
    pub manifest: Digest,
    /// What the names' registry calls it: the manifest's or index's digest.
    pub target: Digest,
    pub names: Vec<Reference>,
    pub layers: Vec<Descriptor>,
    /// The bytes of manifest, configuration and compressed layers.
    pub size: u64,
    pub config: ImageConfig,
    /// Never collected.
    pub pinned: bool,
    /// When it was pulled or imported and last used, in seconds since 1970.
    pub pulled: i64,
    pub used: i64,
}

impl Image {
    pub fn repo_tags(&self) -> Vec<String> {
        self.names.iter().filter(|name| name.tag().is_some()).map(Reference::to_string).collect()
    }

    pub fn repo_digests(&self) -> Vec<String> {
        self.names.iter().filter(|name| name.digest().is_some()).map(Reference::to_string).collect()
    }

    /// The identity of its file tree; `None` for an image without layers.
    pub fn chain_id(&self) -> Option<Digest> {
        self.config.chain_ids().pop()
    }
}

impl Store {
    /// All images, by id.
    pub fn images(&self) -> Result<Vec<Image>> {
        let mut images: BTreeMap<Digest, Image> = BTreeMap::new();
        for record in self.records()? {
            match images.entry(record.config.clone()) {
                Entry::Occupied(mut known) => known.get_mut().absorb(&record),
                // An image that lost a blob to a damaged disk must not hide all the others.
                Entry::Vacant(slot) => match self.image_of(&record) {
                    Ok(image) => drop(slot.insert(image)),
                    Err(error) => tracing::warn!(image = %record.name, %error, "image is damaged; skipped"),
                },
            }
        }
        Ok(images.into_values().collect())
    }

    /// The image with this name, id, or unambiguous beginning of an id.
    pub fn image(&self, text: &str) -> Result<Option<Image>> {
        let records = self.find(text)?;
        let Some(first) = records.first() else { return Ok(None) };
        let mut image = self.image_of(first)?;
        records.iter().for_each(|record| image.absorb(record));
        Ok(Some(image))
    }

    /// The records of the image with this name, id or beginning of an id; the one with the name, if any, first.
    fn find(&self, text: &str) -> Result<Vec<Record>> {
        let mut records = self.records()?;
        let prefix = text.strip_prefix("sha256:").unwrap_or(text);
        let hex_like = (MIN_ID_PREFIX..=64).contains(&prefix.len())
            && prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let name = text.parse::<Reference>().map(|name| name.resolvable());
        let id = match name.as_ref().ok().and_then(|name| records.iter().find(|of| of.name == *name)) {
            Some(named) => named.config.clone(),
            None if hex_like => {
                let begins = |of: &&Record| of.config.hex().starts_with(prefix);
                let ids: BTreeSet<_> = records.iter().filter(begins).map(|of| &of.config).collect();
                match ids.len() {
                    0 => return Ok(Vec::new()),
                    1 => ids.first().copied().expect("one is there").clone(),
                    _ => return Err(Error::new(Kind::Conflict, format!("image id {text:?} is ambiguous"))),
                }
            }
            None => return name.map(|_| Vec::new()),
        };
        records.retain(|of| of.config == id);
        records.sort_by_key(|of| !name.as_ref().is_ok_and(|name| of.name == *name));
        Ok(records)
    }

    /// Gives an image a name. Everything that it consists of must be in the store already.
    pub fn tag(&self, name: &Reference, target: &Digest, platform: &Platform) -> Result<Image> {
        let name = name.resolvable();
        let (manifest_digest, manifest) = self.select_manifest(target, platform)?;
        let config = self.image_config(&manifest)?;
        for layer in &manifest.layers {
            let size =
                self.blob_size(&layer.digest).map_err(|error| error.context(format!("image {name}")))?;
            if size != layer.size {
                let message = format!(
                    "image {name}: layer {} has {size} bytes, its manifest says {}",
                    layer.digest, layer.size
                );
                return Err(corrupt(message));
            }
        }
        check_layer_count(&manifest, &config)?;
        let now = self.now();
        let _shared = self.lock_shared()?;
        let pinned = self.record(&name)?.is_some_and(|known| known.pinned);
        let record = Record {
            name: name.clone(),
            target: target.clone(),
            manifest: manifest_digest,
            config: manifest.config.digest.clone(),
            pinned,
            pulled: now,
            used: now,
        };
        self.write_record(&record)?;
        self.image_of(&record)
    }

    /// Removes a name, or with an id all the image's names. Content goes when it is next collected, unless
    /// something holds it. Answers whether there was anything to remove.
    pub fn untag(&self, text: &str) -> Result<bool> {
        let records = self.find(text)?;
        let named = text.parse::<Reference>().map(|name| name.resolvable());
        let only = records.iter().find(|of| named.as_ref().is_ok_and(|name| of.name == *name));
        let _shared = self.lock_shared()?;
        for record in records.iter().filter(|of| only.is_none_or(|only| only.name == of.name)) {
            remove_file(&self.record_path(&record.name))?;
        }
        fsync_dir(&self.path("images"))?;
        Ok(!records.is_empty())
    }

    /// Keeps an image from being collected, or no longer.
    pub fn pin(&self, text: &str, pinned: bool) -> Result<()> {
        self.update_records(text, |record| record.pinned = pinned)
    }

    /// Notes that an image was used now, so that the collector takes older ones first.
    pub fn touch(&self, text: &str) -> Result<()> {
        let now = self.now();
        self.update_records(text, |record| record.used = now)
    }

    /// The manifest for `platform` that `target` leads to, following indexes.
    pub fn select_manifest(&self, target: &Digest, platform: &Platform) -> Result<(Digest, Manifest)> {
        let mut digest = target.clone();
        for _ in 0..=MAX_INDEX_DEPTH {
            match self.document(&digest)? {
                Document::Manifest(manifest) => return Ok((digest, manifest)),
                Document::Index(index) => match index.select(platform) {
                    Some(entry) => digest = entry.digest.clone(),
                    None => {
                        let message =
                            format!("no match for platform in manifest {digest}: not found: {platform}");
                        return Err(not_found(message));
                    }
                },
            }
        }
        Err(Error::new(Kind::Refused, format!("{target}: indexes are nested deeper than {MAX_INDEX_DEPTH}")))
    }

    pub fn document(&self, digest: &Digest) -> Result<Document> {
        let bytes = self.read_blob(digest, MAX_DOCUMENT)?;
        Document::parse(&bytes, None).map_err(|error| error.context(digest))
    }

    pub fn image_config(&self, manifest: &Manifest) -> Result<ImageConfig> {
        let digest = &manifest.config.digest;
        let bytes = self.read_blob(digest, MAX_DOCUMENT)?;
        ImageConfig::parse(&bytes).map_err(|error| error.context(digest))
    }

    pub(super) fn records(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for path in entries(&self.path("images"))? {
            if path.extension().is_some_and(|of| of == "json") {
                records.extend(read_record(&path)?);
            }
        }
        Ok(records)
    }

    pub(super) fn remove_record(&self, name: &Reference) -> Result<()> {
        remove_file(&self.record_path(name))
    }

    fn record(&self, name: &Reference) -> Result<Option<Record>> {
        read_record(&self.record_path(name))
    }

    fn update_records(&self, text: &str, change: impl Fn(&mut Record)) -> Result<()> {
        let found = self.find(text)?;
        if found.is_empty() {
            return Err(not_found(format!("image {text:?}: not found")));
        }
        // Exclusive, since two updates of one record would otherwise lose one of them.
        let _exclusive = self.lock_exclusive()?;
        for known in found {
            if let Some(mut record) = self.record(&known.name)? {
                change(&mut record);
                self.write_record(&record)?;
            }
        }
        Ok(())
    }

    fn write_record(&self, record: &Record) -> Result<()> {
        let bytes = serde_json::to_vec(record).expect("a record is plain data");
        durable::write(&self.record_path(&record.name), &bytes)
    }

    /// Names are longer than file names may be, so a record's file is called by the name's hash.
    fn record_path(&self, name: &Reference) -> PathBuf {
        let hash = Digest::of(name.to_string().as_bytes());
        self.path("images").join(format!("{}.json", hash.hex()))
    }

    fn image_of(&self, record: &Record) -> Result<Image> {
        let bytes = self.read_blob(&record.manifest, MAX_DOCUMENT)?;
        let Document::Manifest(manifest) = Document::parse(&bytes, None)? else {
            return Err(corrupt(format!("{} is an index, not an image", record.manifest)));
        };
        let config = self.image_config(&manifest)?;
        let size =
            bytes.len() as u64 + manifest.config.size + manifest.layers.iter().map(|of| of.size).sum::<u64>();
        Ok(Image {
            id: record.config.clone(),
            manifest: record.manifest.clone(),
            target: record.target.clone(),
            names: vec![record.name.clone()],
            layers: manifest.layers,
            size,
            config,
            pinned: record.pinned,
            pulled: record.pulled,
            used: record.used,
        })
    }
}

impl Image {
    fn absorb(&mut self, record: &Record) {
        if !self.names.contains(&record.name) {
            self.names.push(record.name.clone());
        }
        self.names.sort();
        self.pinned |= record.pinned;
        self.pulled = self.pulled.max(record.pulled);
        self.used = self.used.max(record.used);
    }
}

/// A configuration that disagrees with its manifest would give the layers' bytes another meaning.
pub(crate) fn check_layer_count(manifest: &Manifest, config: &ImageConfig) -> Result<()> {
    let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
    if layers != diff_ids {
        return Err(corrupt(format!("number of layers and diffIDs don't match: {layers} != {diff_ids}")));
    }
    Ok(())
}

/// `None` where there is no record.
fn read_record(path: &std::path::Path) -> Result<Option<Record>> {
    let bytes = match read_limited(path, MAX_RECORD)? {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.at("read", path)?,
    };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|error| corrupt(format!("image record {}: {error}", path.display())))
}
