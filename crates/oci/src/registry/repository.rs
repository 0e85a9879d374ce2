//! A repository on disk: links to content, tags, and what refers to what.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::{IoContext, Result};
use crate::manifest::{Descriptor, Document};
use crate::registry::respond::Failure;
use crate::store::{Store, create_private, durable_write, entries, read_limited, remove_file};

const MAX_LINK: u64 = 256 << 10;
/// Directories below `repositories` that are walked for the catalogue; deeper ones are not looked for.
const MAX_DEPTH: usize = 64;

pub(super) struct Repository<'a> {
    store: &'a Store,
    path: PathBuf,
}

impl<'a> Repository<'a> {
    /// `name` is a checked repository name, whose components never begin with `_` or `.`.
    pub(super) fn new(store: &'a Store, name: &str) -> Repository<'a> {
        Repository { store, path: store.path("repositories").join(name) }
    }

    pub(super) fn exists(&self) -> bool {
        self.path.join("_manifests").exists() || self.path.join("_blobs").exists()
    }

    pub(super) fn has_blob(&self, digest: &Digest) -> bool {
        self.link("_blobs", digest).exists() && self.store.has_blob(digest)
    }

    /// The media type under which a manifest was pushed.
    pub(super) fn manifest(&self, digest: &Digest) -> Result<Option<String>> {
        if !self.store.has_blob(digest) {
            return Ok(None);
        }
        read(&self.link("_manifests", digest))
    }

    /// The digest that a tag names.
    pub(super) fn tag(&self, tag: &str) -> Result<Option<Digest>> {
        read(&self.path.join("_tags").join(tag))?.map(|text| text.parse()).transpose()
    }

    pub(super) fn tags(&self) -> Result<Vec<String>> {
        names(&self.path.join("_tags"))
    }

    pub(super) fn link_blob(&self, digest: &Digest) -> Result<()> {
        self.write("_blobs", &file_name(digest), b"")
    }

    pub(super) fn put_manifest(
        &self,
        digest: &Digest,
        media_type: &str,
        tag: Option<&str>,
        referrer: Option<&Referrer>,
    ) -> Result<()> {
        self.write("_manifests", &file_name(digest), media_type.as_bytes())?;
        if let Some(referrer) = referrer {
            let directory = format!("_referrers/{}", file_name(&referrer.subject));
            let descriptor = serde_json::to_vec(&referrer.descriptor).expect("a descriptor is plain data");
            self.write(&directory, &file_name(digest), &descriptor)?;
        }
        match tag {
            Some(tag) => self.write("_tags", tag, digest.as_str().as_bytes()),
            None => Ok(()),
        }
    }

    /// The descriptors of manifests whose subject is `digest`.
    pub(super) fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>> {
        let directory = self.path.join("_referrers").join(file_name(digest));
        let mut found = Vec::new();
        for path in entries(&directory)? {
            if let Some(text) = read(&path)? {
                found.extend(serde_json::from_str::<Descriptor>(&text).ok());
            }
        }
        Ok(found)
    }

    pub(super) fn delete_tag(&self, tag: &str) -> Result<()> {
        let _shared = self.store.lock_shared()?;
        remove_file(&self.path.join("_tags").join(tag))
    }

    pub(super) fn delete_blob(&self, digest: &Digest) -> Result<()> {
        let _shared = self.store.lock_shared()?;
        remove_file(&self.link("_blobs", digest))
    }

    /// Deletes a manifest together with its tags and its entry under its subject.
    pub(super) fn delete_manifest(&self, digest: &Digest) -> Result<()> {
        let subject =
            self.store.document(digest).ok().and_then(|of| of.subject().map(|of| of.digest.clone()));
        for tag in self.tags()? {
            if self.tag(&tag)?.as_ref() == Some(digest) {
                self.delete_tag(&tag)?;
            }
        }
        let _shared = self.store.lock_shared()?;
        if let Some(subject) = subject {
            remove_file(&self.path.join("_referrers").join(file_name(&subject)).join(file_name(digest)))?;
        }
        remove_file(&self.link("_manifests", digest))
    }

    fn link(&self, kind: &str, digest: &Digest) -> PathBuf {
        self.path.join(kind).join(file_name(digest))
    }

    fn write(&self, directory: &str, name: &str, bytes: &[u8]) -> Result<()> {
        let _shared = self.store.lock_shared()?;
        let directory = self.path.join(directory);
        create_private(&directory)?;
        durable_write(&directory.join(name), bytes)
    }
}

/// A manifest that refers to another: a signature, a bill of materials.
pub(super) struct Referrer {
    pub(super) subject: Digest,
    pub(super) descriptor: Descriptor,
}

impl Referrer {
    pub(super) fn of(document: &Document, media_type: &str, digest: &Digest, size: u64) -> Option<Referrer> {
        let subject = document.subject()?.digest.clone();
        let (artifact_type, annotations) = match document {
            Document::Manifest(of) => {
                let own = of.artifact_type.clone().filter(|of| !of.is_empty());
                (own.or_else(|| Some(of.config.media_type.clone())), of.annotations.clone())
            }
            Document::Index(of) => (of.artifact_type.clone(), of.annotations.clone()),
        };
        let descriptor =
            Descriptor { artifact_type, annotations, ..Descriptor::new(media_type, digest.clone(), size) };
        Some(Referrer { subject, descriptor })
    }
}

/// All repositories, sorted.
pub(super) fn catalogue(store: &Store) -> Result<Vec<String>> {
    let root = store.path("repositories");
    let mut found = BTreeSet::new();
    let mut pending = vec![(root.clone(), 0)];
    while let Some((directory, depth)) = pending.pop() {
        for path in entries(&directory)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name == "_manifests" && directory != root {
                let relative = directory.strip_prefix(&root).expect("the walk stays below its root");
                found.insert(relative.to_string_lossy().into_owned());
            } else if !name.starts_with(['_', '.']) && depth < MAX_DEPTH {
                pending.push((path, depth + 1));
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// One page of sorted names after `last`, and whether more follow.
pub(super) fn page(names: Vec<String>, last: Option<&String>, limit: usize) -> (Vec<String>, bool) {
    let mut rest = names.into_iter().filter(|name| last.is_none_or(|last| name > last));
    let page: Vec<String> = rest.by_ref().take(limit).collect();
    let more = rest.next().is_some();
    (page, more)
}

/// The number of results that a client asked for.
pub(super) fn page_size(asked: Option<&String>) -> Result<usize, Failure> {
    const MAX_PAGE: usize = 1000;
    match asked {
        None => Ok(MAX_PAGE),
        Some(text) => text.parse::<usize>().map(|n| n.min(MAX_PAGE)).map_err(|_| Failure::PAGINATION),
    }
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let paths = entries(directory)?;
    let names = paths.iter().filter_map(|path| path.file_name()?.to_str());
    Ok(names.filter(|name| !name.starts_with('.')).map(str::to_owned).collect())
}

fn file_name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().name(), digest.hex())
}

fn read(path: &Path) -> Result<Option<String>> {
    match read_limited(path, MAX_LINK)? {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => Ok(Some(String::from_utf8_lossy(&read.at("read", path)?).into_owned())),
    }
}
