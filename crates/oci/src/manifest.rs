//! Manifests, indexes and image configurations, OCI's and Docker's, read with limits.
//!
//! The shapes are declared here because real documents stray from the specification in ways that must be
//! accepted (Go writes an empty list as `null`) and because digests are checked as they are read.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::Digest;
use crate::error::{Result, corrupt, refused};
use crate::platform::Platform;

/// A manifest, index or image configuration larger than this is refused unread.
pub const MAX_DOCUMENT: u64 = 4 << 20;
/// The kernel stacks at most 500 lower directories; a longer image could never be mounted.
pub const MAX_LAYERS: usize = 500;
/// An index names at most this many manifests.
pub const MAX_INDEX_ENTRIES: usize = 4096;
/// An index may point to indexes, this deep.
pub const MAX_INDEX_DEPTH: usize = 4;

pub mod media {
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
    pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

    pub fn is_index(media_type: &str) -> bool {
        matches!(media_type, OCI_INDEX | DOCKER_INDEX)
    }

    pub fn is_manifest(media_type: &str) -> bool {
        matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
    }

    pub fn is_layer(media_type: &str) -> bool {
        media_type.starts_with("application/vnd.oci.image.layer.")
            || media_type.starts_with("application/vnd.docker.image.rootfs.")
    }
}

/// Where some content lies and what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            platform: None,
            artifact_type: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// One image (or artifact) for one platform.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    pub config: Descriptor,
    #[serde(default, deserialize_with = "null_as_empty")]
    pub layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The same image for several platforms.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, deserialize_with = "null_as_empty")]
    pub manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What a manifest's digest may stand for.
#[derive(Clone, Debug)]
pub enum Document {
    Manifest(Manifest),
    Index(Index),
}

impl Document {
    /// Reads a manifest or index. `declared` is the media type that a registry or descriptor gave; the
    /// document's own field and shape must not contradict it, or the same bytes could be taken for two
    /// different images.
    pub fn parse(bytes: &[u8], declared: Option<&str>) -> Result<Document> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Probe {
            schema_version: Option<serde_json::Value>,
            media_type: Option<String>,
            manifests: Option<serde::de::IgnoredAny>,
            layers: Option<serde::de::IgnoredAny>,
            config: Option<serde::de::IgnoredAny>,
            fs_layers: Option<serde::de::IgnoredAny>,
        }
        let probe: Probe = parse("manifest", bytes)?;
        let declared =
            declared.map(|text| text.split(';').next().unwrap_or(text).trim()).filter(|declared| {
                media::is_index(declared) || media::is_manifest(declared) || declared.contains("manifest.v1+")
            });
        if let (Some(own), Some(declared)) = (&probe.media_type, declared)
            && own != declared
        {
            return Err(corrupt(format!("manifest says it is {own:?} but was served as {declared:?}")));
        }
        let media_type = declared.or(probe.media_type.as_deref());
        let old = matches!(media_type, Some(media::DOCKER_SCHEMA1 | media::DOCKER_SCHEMA1_SIGNED));
        if old || probe.fs_layers.is_some() {
            return Err(refused(
                "manifest has schema version 1, which is not supported: push the image again with a current tool",
            ));
        }
        if probe.schema_version != Some(2.into()) {
            return Err(corrupt("manifest's schemaVersion is not 2"));
        }
        let has_list = probe.manifests.is_some();
        let has_layers = probe.layers.is_some() || probe.config.is_some();
        if has_list && has_layers {
            return Err(corrupt("manifest has both layers and manifests"));
        }
        let is_index = match media_type {
            Some(of) if media::is_index(of) => true,
            Some(of) if media::is_manifest(of) => false,
            _ => has_list,
        };
        match is_index {
            true if has_layers => Err(corrupt("an index must not have layers")),
            false if has_list => Err(corrupt("an image manifest must not list manifests")),
            true => {
                let index: Index = parse("index", bytes)?;
                if index.manifests.len() > MAX_INDEX_ENTRIES {
                    let count = index.manifests.len();
                    return Err(refused(format!(
                        "index names {count} manifests, more than {MAX_INDEX_ENTRIES}"
                    )));
                }
                Ok(Document::Index(index))
            }
            false => {
                let manifest: Manifest = parse("manifest", bytes)?;
                if manifest.layers.len() > MAX_LAYERS {
                    let count = manifest.layers.len();
                    return Err(refused(format!("image has {count} layers, more than {MAX_LAYERS}")));
                }
                Ok(Document::Manifest(manifest))
            }
        }
    }

    pub fn media_type(&self) -> Option<&str> {
        match self {
            Document::Manifest(of) => of.media_type.as_deref(),
            Document::Index(of) => of.media_type.as_deref(),
        }
    }

    pub fn subject(&self) -> Option<&Descriptor> {
        match self {
            Document::Manifest(of) => of.subject.as_ref(),
            Document::Index(of) => of.subject.as_ref(),
        }
    }

    /// Everything that this document points to and that belongs to it. The subject does not: a signature
    /// refers to an image without owning it.
    pub fn children(&self) -> Vec<&Descriptor> {
        match self {
            Document::Manifest(of) => std::iter::once(&of.config).chain(&of.layers).collect(),
            Document::Index(of) => of.manifests.iter().collect(),
        }
    }
}

impl Index {
    /// The entry that runs best on `host`. Entries without a platform are taken at their word, last.
    pub fn select(&self, host: &Platform) -> Option<&Descriptor> {
        const UNDECLARED: u32 = 1000;
        self.manifests
            .iter()
            .filter(|of| {
                of.media_type.is_empty()
                    || media::is_manifest(&of.media_type)
                    || media::is_index(&of.media_type)
            })
            .filter_map(|of| Some((of.platform.as_ref().map_or(Some(UNDECLARED), |p| host.rank(p))?, of)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, of)| of)
    }
}

/// An image's configuration: how to run it and which layers it consists of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    #[serde(flatten)]
    pub platform: Platform,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(default, deserialize_with = "null_as_empty")]
    pub config: RunConfig,
    pub rootfs: RootFs,
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
}

/// The defaults for a container's process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    #[serde(deserialize_with = "null_as_empty")]
    pub user: String,
    #[serde(deserialize_with = "null_as_empty")]
    pub env: Vec<String>,
    #[serde(deserialize_with = "null_as_empty")]
    pub entrypoint: Vec<String>,
    #[serde(deserialize_with = "null_as_empty")]
    pub cmd: Vec<String>,
    #[serde(deserialize_with = "null_as_empty")]
    pub working_dir: String,
    #[serde(deserialize_with = "null_as_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_as_empty")]
    pub exposed_ports: BTreeMap<String, serde_json::Value>,
    #[serde(deserialize_with = "null_as_empty")]
    pub volumes: BTreeMap<String, serde_json::Value>,
    #[serde(deserialize_with = "null_as_empty")]
    pub stop_signal: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RootFs {
    #[serde(rename = "type", default)]
    pub kind: String,
    #[serde(default, deserialize_with = "null_as_empty")]
    pub diff_ids: Vec<Digest>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    pub empty_layer: bool,
}

impl ImageConfig {
    pub fn parse(bytes: &[u8]) -> Result<ImageConfig> {
        let config: ImageConfig = parse("image configuration", bytes)?;
        if config.rootfs.diff_ids.len() > MAX_LAYERS {
            let count = config.rootfs.diff_ids.len();
            return Err(refused(format!("image has {count} layers, more than {MAX_LAYERS}")));
        }
        Ok(config)
    }

    /// The identity of each layer together with everything below it, lowest first.
    pub fn chain_ids(&self) -> Vec<Digest> {
        let mut chain: Vec<Digest> = Vec::with_capacity(self.rootfs.diff_ids.len());
        for diff_id in &self.rootfs.diff_ids {
            chain.push(match chain.last() {
                None => diff_id.clone(),
                Some(parent) => Digest::of(format!("{parent} {diff_id}").as_bytes()),
            });
        }
        chain
    }
}

fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T> {
    if bytes.len() as u64 > MAX_DOCUMENT {
        return Err(refused(format!("{what} has {} bytes, more than {MAX_DOCUMENT}", bytes.len())));
    }
    serde_json::from_slice(bytes).map_err(|error| corrupt(format!("{what} cannot be read: {error}")))
}

/// Go encodes empty maps, lists and strings behind pointers as `null`.
pub(crate) fn null_as_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn documents_that_contradict_themselves_are_refused() {
        let descriptor = format!(r#"{{"mediaType":"m","digest":"{DIGEST}","size":1}}"#);
        let check = |text: &str, declared: Option<&str>, expected: &str| {
            let outcome = match Document::parse(text.replace("@D", &descriptor).as_bytes(), declared) {
                Ok(Document::Manifest(_)) => "manifest".to_owned(),
                Ok(Document::Index(_)) => "index".to_owned(),
                Err(error) => error.to_string(),
            };
            assert!(outcome.starts_with(expected), "{text} ({declared:?}): {outcome}");
        };
        let oci = Some(media::OCI_MANIFEST);
        check(r#"{"schemaVersion":2,"config":@D,"layers":[@D]}"#, None, "manifest");
        check(r#"{"schemaVersion":2,"config":@D,"layers":null}"#, oci, "manifest");
        check(r#"{"schemaVersion":2,"manifests":[@D]}"#, None, "index");
        check(r#"{"schemaVersion":2,"manifests":[]}"#, Some(media::DOCKER_INDEX), "index");
        check(r#"{"schemaVersion":2,"manifests":[@D],"config":@D}"#, None, "manifest has both");
        check(r#"{"schemaVersion":2,"manifests":[@D]}"#, oci, "an image manifest must not list");
        check(r#"{"schemaVersion":2,"config":@D,"layers":[]}"#, Some(media::OCI_INDEX), "an index must not");
        check(
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#,
            oci,
            "manifest says it is",
        );
        check(r#"{"schemaVersion":1,"fsLayers":[]}"#, None, "manifest has schema version 1");
        check(r#"{"config":@D}"#, None, "manifest's schemaVersion");
        check(
            r#"{"schemaVersion":2,"config":{"digest":"sha256:00","size":1}}"#,
            None,
            "manifest cannot be read",
        );
        check("[]", None, "manifest cannot be read");
        let many = vec!["@D"; MAX_LAYERS + 1].join(",");
        check(
            &format!(r#"{{"schemaVersion":2,"config":@D,"layers":[{many}]}}"#),
            None,
            "image has 501 layers",
        );
        check(&" ".repeat(MAX_DOCUMENT as usize + 1), None, "manifest has 4194305 bytes");
    }

    #[test]
    fn configurations_by_docker_are_read_with_their_nulls() {
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"Env":null,"Cmd":["sh"],"Volumes":null,
            "Labels":null,"ExposedPorts":{{"80/tcp":{{}}}},"Healthcheck":{{}}}},
            "rootfs":{{"type":"layers","diff_ids":["{DIGEST}","{DIGEST}"]}},"history":null}}"#
        );
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.config.cmd, ["sh"]);
        assert_eq!(config.config.exposed_ports.keys().collect::<Vec<_>>(), ["80/tcp"]);
        let chain = config.chain_ids();
        assert_eq!(chain[0].as_str(), DIGEST);
        assert_eq!(chain[1], Digest::of(format!("{DIGEST} {DIGEST}").as_bytes()));
    }

    #[test]
    fn no_bytes_make_the_parsers_panic() {
        bolero::check!().for_each(|bytes| {
            let _ = Document::parse(bytes, None);
            let _ = ImageConfig::parse(bytes);
        });
    }
}
