//! `docker save` before Docker 1.10: a directory a layer, each with its own JSON, and a `repositories` file.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::archive::import::{Contents, diff_id, put_manifest};
use crate::digest::Digest;
use crate::error::{Result, corrupt, refused};
use crate::manifest::{ImageConfig, MAX_DOCUMENT, MAX_LAYERS, RootFs, RunConfig};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::{Lease, Store};

/// What an old layer's JSON says.
#[derive(Deserialize)]
struct Layer {
    #[serde(default)]
    parent: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    created: Option<String>,
    author: Option<String>,
    #[serde(default, deserialize_with = "crate::manifest::null_as_empty")]
    config: RunConfig,
}

/// Builds configurations and manifests, which these archives do not have, from the layers' chain of parents.
pub(super) fn from_repositories(
    store: &Store,
    lease: &Lease,
    contents: &Contents,
) -> Result<Vec<(Reference, Digest)>> {
    let bytes = &contents.documents["repositories"];
    let repositories: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_slice(bytes)
        .map_err(|error| corrupt(format!("repositories cannot be read: {error}")))?;
    let mut found = Vec::new();
    for (name, tags) in repositories {
        for (tag, top) in tags {
            let target = image(store, lease, contents, &top)?;
            found.push((format!("{name}:{tag}").parse::<Reference>()?.resolvable(), target));
        }
    }
    Ok(found)
}

fn image(store: &Store, lease: &Lease, contents: &Contents, top: &str) -> Result<Digest> {
    let mut seen = BTreeSet::new();
    let mut layers = Vec::new();
    let mut head = None;
    let mut id = top.to_owned();
    while !id.is_empty() {
        if !seen.insert(id.clone()) || seen.len() > MAX_LAYERS {
            return Err(refused(format!("layer {id:?} is its own ancestor, or has more than {MAX_LAYERS}")));
        }
        let json = store.read_blob(contents.file(&format!("{id}/json"))?, MAX_DOCUMENT)?;
        let layer: Layer = serde_json::from_slice(&json)
            .map_err(|error| corrupt(format!("{id}/json cannot be read: {error}")))?;
        layers.push(contents.file(&format!("{id}/layer.tar"))?.clone());
        id.clone_from(&layer.parent);
        head.get_or_insert(layer);
    }
    let head = head.ok_or_else(|| corrupt("a tag in repositories names no layer"))?;
    layers.reverse();
    let host = Platform::host();
    let or = |own: String, host: String| if own.is_empty() { host } else { own };
    let config = ImageConfig {
        platform: Platform::new(&or(head.os, host.os), &or(head.architecture, host.architecture), None),
        created: head.created,
        author: head.author,
        config: head.config,
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: layers.iter().map(|layer| diff_id(store, layer)).collect::<Result<_>>()?,
        },
        history: Vec::new(),
    };
    let bytes = serde_json::to_vec(&config).expect("a configuration is plain data");
    lease.hold(&Digest::of(&bytes))?;
    let config = store.put_blob(&bytes)?;
    put_manifest(store, lease, config, &layers)
}
