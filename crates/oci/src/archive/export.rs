//! Writing tarballs, as a stream.

use std::io::{Read, Write};

use serde_json::json;

use crate::archive::import::REF_NAME;
use crate::digest::{Algorithm, Digest, Hashing};
use crate::error::{Error, IoContext, Kind, Result, not_found};
use crate::layers::plain_reader;
use crate::manifest::MAX_DOCUMENT;
use crate::store::{Image, Store};

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An OCI layout with a `manifest.json` beside it: any current tool reads it, and every digest stays.
    Oci,
    /// What `docker save` wrote for years: plain layers, `manifest.json` and `repositories`.
    Docker,
}

impl std::str::FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Format> {
        match name {
            "oci" => Ok(Format::Oci),
            "docker" => Ok(Format::Docker),
            _ => Err(Error::new(
                Kind::Config,
                format!("unknown archive format {name:?}: use \"oci\" or \"docker\""),
            )),
        }
    }
}

/// Writes the images with these names or ids as one archive.
pub fn export(store: &Store, names: &[&str], format: Format, into: impl Write) -> Result<()> {
    let lease = store.lease()?;
    let mut images = Vec::new();
    for name in names {
        let image = store.image(name)?.ok_or_else(|| not_found(format!("image {name:?}: not found")))?;
        for digest in [&image.manifest, &image.id].into_iter().chain(image.layers.iter().map(|of| &of.digest))
        {
            lease.hold(digest)?;
        }
        images.push((image, *name));
    }
    let mut archive = Archive { builder: tar::Builder::new(into), written: Default::default() };
    match format {
        Format::Oci => oci(store, &images, &mut archive)?,
        Format::Docker => docker(store, &images, &mut archive)?,
    }
    archive.builder.into_inner().and_then(|mut into| into.flush()).during("write archive")
}

fn oci(store: &Store, images: &[(Image, &str)], archive: &mut Archive<impl Write>) -> Result<()> {
    archive.bytes("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let (mut manifests, mut list) = (Vec::new(), Vec::new());
    for (image, asked) in images {
        let manifest = store.read_blob(&image.manifest, MAX_DOCUMENT)?;
        let document = store.document(&image.manifest)?;
        for digest in [&image.manifest, &image.id].into_iter().chain(image.layers.iter().map(|of| &of.digest))
        {
            archive.blob(store, digest)?;
        }
        let names = names(image, asked);
        for name in &names {
            manifests.push(json!({
                "mediaType": document.media_type().unwrap_or(crate::manifest::media::OCI_MANIFEST),
                "digest": image.manifest,
                "size": manifest.len(),
                "annotations": {"io.containerd.image.name": name, (REF_NAME): name},
            }));
        }
        list.push(json!({
            "Config": blob_path(&image.id),
            "RepoTags": names,
            "Layers": image.layers.iter().map(|of| blob_path(&of.digest)).collect::<Vec<_>>(),
        }));
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": crate::manifest::media::OCI_INDEX,
        "manifests": manifests,
    });
    archive.bytes("index.json", index.to_string().as_bytes())?;
    archive.bytes("manifest.json", serde_json::Value::from(list).to_string().as_bytes())
}

fn docker(store: &Store, images: &[(Image, &str)], archive: &mut Archive<impl Write>) -> Result<()> {
    let mut list = Vec::new();
    let mut repositories = serde_json::Map::new();
    for (image, asked) in images {
        let config = format!("{}.json", image.id.hex());
        if archive.written.insert(config.clone()) {
            archive.bytes(&config, &store.read_blob(&image.id, MAX_DOCUMENT)?)?;
        }
        let mut layers = Vec::new();
        for (layer, diff_id) in image.layers.iter().zip(&image.config.rootfs.diff_ids) {
            let path = format!("{}/layer.tar", diff_id.hex());
            if archive.written.insert(path.clone()) {
                archive.plain_layer(store, &path, &layer.digest, diff_id)?;
            }
            layers.push(path);
        }
        let names = names(image, asked);
        for name in &names {
            if let Some((repository, tag)) = name.rsplit_once(':') {
                let top = image.config.rootfs.diff_ids.last().map_or("", Digest::hex);
                repositories.entry(repository).or_insert_with(|| json!({}))[tag] = top.into();
            }
        }
        list.push(json!({"Config": config, "RepoTags": names, "Layers": layers}));
    }
    archive.bytes("manifest.json", serde_json::Value::from(list).to_string().as_bytes())?;
    archive.bytes("repositories", serde_json::Value::from(repositories).to_string().as_bytes())
}

/// The tags to write: the one asked for, or all of them if the image was asked for otherwise.
fn names(image: &Image, asked: &str) -> Vec<String> {
    let tags = image.repo_tags();
    let asked = asked.parse::<crate::Reference>().map(|name| name.resolvable().to_string());
    match asked {
        Ok(name) if tags.contains(&name) => vec![name],
        _ => tags,
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

struct Archive<W: Write> {
    builder: tar::Builder<W>,
    written: std::collections::BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    fn bytes(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.stream(path, bytes.len() as u64, bytes)
    }

    fn blob(&mut self, store: &Store, digest: &Digest) -> Result<()> {
        let path = blob_path(digest);
        if !self.written.insert(path.clone()) {
            return Ok(());
        }
        self.stream(&path, store.blob_size(digest)?, store.open_blob(digest)?)
    }

    /// A layer without its compression. Its size must be known before its bytes, so it is read twice.
    fn plain_layer(&mut self, store: &Store, path: &str, digest: &Digest, diff_id: &Digest) -> Result<()> {
        let limits = &store.options().limits;
        let mut counting = Hashing::new(plain_reader(store.open_blob(digest)?, limits)?, Algorithm::Sha256);
        std::io::copy(&mut counting, &mut std::io::sink()).map_err(crate::layers::tar::read_error)?;
        let (actual, size, _) = counting.finish();
        if diff_id.algorithm() == Algorithm::Sha256 && actual != *diff_id {
            return Err(crate::error::corrupt(format!(
                "layer {digest} unpacks to {actual}, expected {diff_id}"
            )));
        }
        self.stream(path, size, plain_reader(store.open_blob(digest)?, limits)?)
    }

    fn stream(&mut self, path: &str, size: u64, data: impl Read) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        self.builder
            .append_data(&mut header, path, data.take(size))
            .during(format!("write {path} to the archive"))
    }
}
