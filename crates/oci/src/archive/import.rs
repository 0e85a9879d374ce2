//! Reading tarballs, as a stream: blobs go straight into the store, only the small documents stay in memory.

use std::collections::BTreeMap;
use std::io::Read;

use serde::Deserialize;

use crate::archive::legacy;
use crate::digest::{Digest, Hashing};
use crate::error::{Error, Kind, Result, corrupt, refused};
use crate::layers::tar::{EntryKind, Reader, read_error};
use crate::layers::{compression, plain_reader};
use crate::manifest::{Descriptor, Index, MAX_DOCUMENT, Manifest, media};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::{Image, Lease, Store};

/// An archive of more files than this is refused; the largest honest one has a few per layer.
const MAX_FILES: usize = 100_000;
const COPY_BUFFER: usize = 128 << 10;

const CONTAINERD_NAME: &str = "io.containerd.image.name";
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";

#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The name for an image that the archive gives none.
    pub name: Option<Reference>,
    pub platform: Platform,
}

impl Default for ImportOptions {
    fn default() -> ImportOptions {
        ImportOptions { name: None, platform: Platform::host() }
    }
}

/// Reads an archive, compressed or not, and tags what it contains. Layers are unpacked when first used.
pub fn import(store: &Store, archive: impl Read, options: &ImportOptions) -> Result<Vec<Image>> {
    let lease = store.lease()?;
    let mut plain = plain_reader(archive, &store.options().limits)?;
    let contents = Contents::read(store, &lease, &mut plain)?;
    let found = if let Some(index) = contents.documents.get("index.json") {
        from_layout(&contents, index, options)?
    } else if let Some(list) = contents.documents.get("manifest.json") {
        from_docker(store, &lease, &contents, list, options)?
    } else if contents.documents.contains_key("repositories") {
        legacy::from_repositories(store, &lease, &contents)?
    } else {
        let message = "not an image archive: neither index.json nor manifest.json nor repositories in it";
        return Err(corrupt(message));
    };
    if found.is_empty() {
        return Err(corrupt("the archive contains no image"));
    }
    let mut images = Vec::new();
    for (name, target) in found {
        hold_all(store, &lease, &target, &options.platform)?;
        images.push(store.tag(&name, &target, &options.platform)?);
    }
    Ok(images)
}

/// Keeps blobs that were in the store before from being collected until the image is named.
fn hold_all(store: &Store, lease: &Lease, target: &Digest, platform: &Platform) -> Result<()> {
    lease.hold(target)?;
    let (digest, manifest) = store.select_manifest(target, platform)?;
    lease.hold(&digest)?;
    lease.hold(&manifest.config.digest)?;
    manifest.layers.iter().try_for_each(|layer| lease.hold(&layer.digest))
}

/// What an archive turned out to contain.
pub(super) struct Contents {
    /// Small documents at fixed places.
    pub(super) documents: BTreeMap<String, Vec<u8>>,
    /// Everything else, by its path: now in the store.
    pub(super) files: BTreeMap<String, Digest>,
}

impl Contents {
    fn read(store: &Store, lease: &Lease, archive: &mut dyn Read) -> Result<Contents> {
        let mut contents = Contents { documents: BTreeMap::new(), files: BTreeMap::new() };
        let mut links = BTreeMap::new();
        let mut reader = Reader::new(archive);
        while let Some(entry) = reader.next()? {
            let path =
                String::from_utf8(entry.path).map_err(|_| corrupt("an archive's path is not UTF-8"))?;
            let path = normal(&path);
            if contents.documents.len() + contents.files.len() + links.len() > MAX_FILES {
                return Err(refused(format!("the archive has more than {MAX_FILES} files")));
            }
            match entry.kind {
                EntryKind::File if entry.sparse.is_some() => {
                    return Err(refused(format!("{path:?} is a sparse file: not part of an image archive")));
                }
                EntryKind::File if is_document(&path) => {
                    contents.documents.insert(path, read_document(&mut reader.data(), entry.size)?);
                }
                EntryKind::File => {
                    let digest = ingest(store, lease, &path, &mut reader.data())?;
                    contents.files.insert(path, digest);
                }
                EntryKind::Symlink | EntryKind::HardLink => {
                    let target = String::from_utf8_lossy(&entry.link).into_owned();
                    let base = match entry.kind {
                        EntryKind::Symlink => path.rsplit_once('/').map_or("", |(directory, _)| directory),
                        _ => "",
                    };
                    links.insert(path.clone(), normal(&format!("{base}/{target}")));
                }
                _ => {}
            }
        }
        reader.into_inner()?;
        // Links name layers that several images share; they lead to files, never to links.
        for (path, target) in links {
            if let Some(digest) = contents.files.get(&target).cloned() {
                contents.files.insert(path, digest);
            }
        }
        Ok(contents)
    }

    pub(super) fn file(&self, path: &str) -> Result<&Digest> {
        self.files
            .get(&normal(path))
            .ok_or_else(|| corrupt(format!("the archive lacks {path:?}, which its manifest names")))
    }
}

fn is_document(path: &str) -> bool {
    matches!(path, "index.json" | "manifest.json" | "repositories" | "oci-layout")
}

fn read_document(data: &mut impl Read, size: u64) -> Result<Vec<u8>> {
    if size > MAX_DOCUMENT {
        return Err(refused(format!("a document of {size} bytes in the archive, more than {MAX_DOCUMENT}")));
    }
    let mut bytes = Vec::new();
    data.read_to_end(&mut bytes).map_err(read_error)?;
    Ok(bytes)
}

fn ingest(store: &Store, lease: &Lease, path: &str, data: &mut impl Read) -> Result<Digest> {
    let claimed =
        path.strip_prefix("blobs/").map(|rest| rest.replacen('/', ":", 1).parse::<Digest>()).transpose()?;
    if let Some(digest) = &claimed {
        lease.hold(digest)?;
    }
    let mut ingest = store.ingest()?;
    let mut buffer = vec![0; COPY_BUFFER];
    loop {
        match data.read(&mut buffer).map_err(read_error)? {
            0 => break,
            n => ingest.write(&buffer[..n])?,
        }
    }
    match claimed {
        Some(digest) => {
            ingest.commit_as(&digest).map_err(|error| error.context(format!("archive's {path:?}")))?;
            Ok(digest)
        }
        None => {
            lease.hold(&ingest.digest())?;
            Ok(ingest.commit()?.0)
        }
    }
}

/// Images by name from an OCI layout.
fn from_layout(
    contents: &Contents,
    index: &[u8],
    options: &ImportOptions,
) -> Result<Vec<(Reference, Digest)>> {
    let index: Index = serde_json::from_slice(index)
        .map_err(|error| corrupt(format!("index.json cannot be read: {error}")))?;
    let mut by_name: BTreeMap<Reference, Vec<Descriptor>> = BTreeMap::new();
    let count = index.manifests.len();
    for entry in index.manifests {
        for name in layout_names(contents, &entry, count, options)? {
            by_name.entry(name).or_default().push(entry.clone());
        }
    }
    let mut found = Vec::new();
    for (name, entries) in by_name {
        let candidates = Index { manifests: entries, ..empty_index() };
        if let Some(entry) = candidates.select(&options.platform) {
            found.push((name, entry.digest.clone()));
        }
    }
    Ok(found)
}

fn layout_names(
    contents: &Contents,
    entry: &Descriptor,
    count: usize,
    options: &ImportOptions,
) -> Result<Vec<Reference>> {
    if let Some(name) = entry.annotations.get(CONTAINERD_NAME) {
        return Ok(vec![name.parse::<Reference>()?.resolvable()]);
    }
    let reference = entry.annotations.get(REF_NAME);
    // A bare word may be a tag or a name; only what looks like a name is taken for one.
    if let Some(text) = reference.filter(|text| text.contains([':', '/'])) {
        return Ok(vec![text.parse::<Reference>()?.resolvable()]);
    }
    if let Some(name) = &options.name {
        let tagged = reference.filter(|_| count > 1).map(|tag| format!("{}:{tag}", name.name()).parse());
        return Ok(vec![tagged.transpose()?.unwrap_or_else(|| name.resolvable())]);
    }
    let listed = match contents.documents.get("manifest.json") {
        Some(list) if count == 1 => docker_list(list)?.into_iter().flat_map(|item| item.repo_tags).collect(),
        _ => Vec::new(),
    };
    if listed.is_empty() {
        let message = match reference {
            Some(tag) => format!("the archive gives the image only the tag {tag:?}: say what to name it"),
            None => "the archive gives the image no name: say what to name it".to_owned(),
        };
        return Err(Error::new(Kind::InvalidName, message));
    }
    listed.iter().map(|tag| Ok(tag.parse::<Reference>()?.resolvable())).collect()
}

fn empty_index() -> Index {
    Index {
        schema_version: 2,
        media_type: None,
        artifact_type: None,
        manifests: Vec::new(),
        subject: None,
        annotations: BTreeMap::new(),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerItem {
    config: String,
    #[serde(default, deserialize_with = "crate::manifest::null_as_empty")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "crate::manifest::null_as_empty")]
    layers: Vec<String>,
}

fn docker_list(bytes: &[u8]) -> Result<Vec<DockerItem>> {
    serde_json::from_slice(bytes).map_err(|error| corrupt(format!("manifest.json cannot be read: {error}")))
}

/// Images by name from `docker save`.
fn from_docker(
    store: &Store,
    lease: &Lease,
    contents: &Contents,
    list: &[u8],
    options: &ImportOptions,
) -> Result<Vec<(Reference, Digest)>> {
    let mut found = Vec::new();
    for item in docker_list(list)? {
        let config = contents.file(&item.config)?.clone();
        let layers =
            item.layers.iter().map(|path| contents.file(path).cloned()).collect::<Result<Vec<_>>>()?;
        let target = put_manifest(store, lease, config, &layers)?;
        let mut names = item
            .repo_tags
            .iter()
            .map(|tag| Ok(tag.parse::<Reference>()?.resolvable()))
            .collect::<Result<Vec<_>>>()?;
        if names.is_empty() {
            names.extend(options.name.as_ref().map(Reference::resolvable));
        }
        if names.is_empty() {
            let message = "the archive gives the image no name: say what to name it";
            return Err(Error::new(Kind::InvalidName, message));
        }
        found.extend(names.into_iter().map(|name| (name, target.clone())));
    }
    Ok(found)
}

/// Writes the manifest that `docker save` leaves out.
pub(super) fn put_manifest(
    store: &Store,
    lease: &Lease,
    config: Digest,
    layers: &[Digest],
) -> Result<Digest> {
    let layers = layers
        .iter()
        .map(|digest| {
            let media_type = compression(&mut store.open_blob(digest)?)?.layer_media_type();
            Ok(Descriptor::new(media_type, digest.clone(), store.blob_size(digest)?))
        })
        .collect::<Result<Vec<_>>>()?;
    let size = store.blob_size(&config)?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media::OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config: Descriptor::new(media::OCI_CONFIG, config, size),
        layers,
        subject: None,
        annotations: BTreeMap::new(),
    };
    let bytes = serde_json::to_vec(&manifest).expect("a manifest is plain data");
    lease.hold(&Digest::of(&bytes))?;
    store.put_blob(&bytes)
}

/// The digest of a layer's plain bytes.
pub(super) fn diff_id(store: &Store, layer: &Digest) -> Result<Digest> {
    let plain = plain_reader(store.open_blob(layer)?, &store.options().limits)?;
    let mut hashing = Hashing::new(plain, crate::digest::Algorithm::Sha256);
    std::io::copy(&mut hashing, &mut std::io::sink()).map_err(read_error)?;
    Ok(hashing.finish().0)
}

/// A path without `.`, `..` and doubled slashes; these name entries of the archive and nothing on disk.
fn normal(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
