//! Pulling images from registries.
//!
//! An image is resolved first (name to manifest, index to platform), its layers come in parallel, each
//! continued where it broke off, and are unpacked in order while later ones still come in. The name is written
//! last. Every byte is checked against a digest before it counts.

mod auth;
mod credentials;
mod fetch;
mod hosts;
pub(crate) mod transport;

use std::sync::Arc;

use base::clock::SharedClock;
use futures_util::{StreamExt, stream};

pub use credentials::{Credential, Keyring};
pub use hosts::{Endpoint, Hosts};
pub use transport::Deadlines;

use crate::digest::Digest;
use crate::error::{Error, Kind, Result, corrupt, refused};
use crate::manifest::{Document, ImageConfig, MAX_DOCUMENT, MAX_INDEX_DEPTH, Manifest, media};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::{Image, Lease, Store, check_layer_count};

use auth::Tokens;
use fetch::Source;
use transport::Transport;

/// A client of registries: connections, tokens and the hosts file, shared by all pulls.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    hosts: Hosts,
    transport: Transport,
    tokens: Tokens,
}

#[derive(Clone, Debug)]
pub struct PullOptions {
    pub credential: Option<Credential>,
    pub platform: Platform,
    /// Layers fetched at a time.
    pub parallel: usize,
}

impl Default for PullOptions {
    fn default() -> PullOptions {
        PullOptions { credential: None, platform: Platform::host(), parallel: 3 }
    }
}

impl Client {
    pub fn new(hosts: Hosts, deadlines: Deadlines, clock: SharedClock) -> Client {
        Client(Arc::new(Inner { hosts, transport: Transport::new(deadlines), tokens: Tokens::new(clock) }))
    }

    /// Pulls an image, unpacks it and names it in the store.
    pub async fn pull(&self, store: &Store, name: &Reference, options: &PullOptions) -> Result<Image> {
        let name = name.resolvable();
        self.pull_resolvable(store, &name, options)
            .await
            .map_err(|error| error.context(format!("failed to pull and unpack image \"{name}\"")))
    }

    async fn pull_resolvable(&self, store: &Store, name: &Reference, options: &PullOptions) -> Result<Image> {
        if name.domain().is_empty() {
            return Err(Error::new(Kind::InvalidName, format!("{name}: the registry's name is not valid")));
        }
        let lease = Arc::new(store.lease()?);
        let source = Source::new(self, name, options.credential.as_ref());
        let resolved = self
            .resolve(store, &lease, &source, name, &options.platform)
            .await
            .map_err(|error| error.context(format!("failed to resolve reference \"{name}\"")))?;
        let Resolved { target, manifest } = resolved;
        let config = self.config(store, &lease, &source, &manifest).await?;
        self.layers(store, &lease, &source, &manifest, &config, options.parallel.max(1)).await?;
        let (store, name, platform) = (store.clone(), name.clone(), options.platform.clone());
        blocking(move || {
            // Under its digest the image stays known when the tag moves on.
            let image = store.tag(&name.at(&target), &target, &platform)?;
            let image = match name.digest() {
                Some(_) => image,
                None => store.tag(&name, &target, &platform)?,
            };
            drop(lease);
            store.image(image.id.as_str()).map(|found| found.unwrap_or(image))
        })
        .await
    }

    /// Follows a name to the manifest for this platform, storing all documents on the way.
    async fn resolve(
        &self,
        store: &Store,
        lease: &Arc<Lease>,
        source: &Source<'_>,
        name: &Reference,
        platform: &Platform,
    ) -> Result<Resolved> {
        let mut selector = name.selector().to_owned();
        let mut expected = name.digest().cloned();
        let mut target = None;
        for _ in 0..=MAX_INDEX_DEPTH {
            let known = expected.as_ref().filter(|digest| store.has_blob(digest));
            let (digest, document) = match known {
                Some(digest) => {
                    lease.hold(digest)?;
                    (digest.clone(), store.document(digest)?)
                }
                None => {
                    let (bytes, media_type) = source.manifest(&selector, expected.as_ref()).await?;
                    let document = Document::parse(&bytes, media_type.as_deref())?;
                    let digest = expected.clone().unwrap_or_else(|| Digest::of(&bytes));
                    lease.hold(&digest)?;
                    let (store, of) = (store.clone(), digest.clone());
                    blocking(move || store.put_blob_as(&of, &bytes)).await?;
                    (digest, document)
                }
            };
            let target = target.get_or_insert_with(|| digest.clone());
            match document {
                Document::Manifest(manifest) => return Ok(Resolved { target: target.clone(), manifest }),
                Document::Index(index) => {
                    let entry = index.select(platform).ok_or_else(|| {
                        let message =
                            format!("no match for platform in manifest {digest}: not found: {platform}");
                        Error::new(Kind::NotFound, message)
                    })?;
                    selector = entry.digest.to_string();
                    expected = Some(entry.digest.clone());
                }
            }
        }
        Err(refused(format!("indexes are nested deeper than {MAX_INDEX_DEPTH}")))
    }

    async fn config(
        &self,
        store: &Store,
        lease: &Lease,
        source: &Source<'_>,
        manifest: &Manifest,
    ) -> Result<ImageConfig> {
        let of = &manifest.config;
        if !matches!(
            of.media_type.as_str(),
            media::OCI_CONFIG | media::DOCKER_CONFIG | "" | "application/octet-stream"
        ) {
            return Err(refused(format!(
                "not a container image: its configuration is of type {:?}",
                of.media_type
            )));
        }
        if of.size > MAX_DOCUMENT {
            return Err(refused(format!(
                "image configuration has {} bytes, more than {MAX_DOCUMENT}",
                of.size
            )));
        }
        lease.hold(&of.digest)?;
        source.blob(store, of).await?;
        let config = store.image_config(manifest)?;
        check_layer_count(manifest, &config)?;
        for layer in &manifest.layers {
            if !media::is_layer(&layer.media_type) || layer.media_type.ends_with("+encrypted") {
                let message = format!(
                    "layer {} is of type {:?}, which is not supported",
                    layer.digest, layer.media_type
                );
                return Err(Error::new(Kind::Unsupported, message));
            }
        }
        Ok(config)
    }

    /// Fetches layers, some at a time, and unpacks them in order.
    async fn layers(
        &self,
        store: &Store,
        lease: &Arc<Lease>,
        source: &Source<'_>,
        manifest: &Manifest,
        config: &ImageConfig,
        parallel: usize,
    ) -> Result<()> {
        let chain = config.chain_ids();
        for digest in manifest.layers.iter().map(|of| &of.digest).chain(&chain) {
            lease.hold(digest)?;
        }
        let mut fetched = stream::iter(&manifest.layers)
            .map(|layer| async move { source.blob(store, layer).await.map(|()| layer.clone()) })
            .buffered(parallel);
        let mut unpacking: Option<tokio::task::JoinHandle<Result<()>>> = None;
        let mut at = 0;
        // The unpacking of one layer runs beside the fetching of the next, never beside another unpacking:
        // each needs the one below it.
        while let Some(layer) = fetched.next().await {
            let layer = layer?;
            if let Some(previous) = unpacking.take() {
                joined(previous.await)?;
            }
            let (store, diff_id) = (store.clone(), config.rootfs.diff_ids[at].clone());
            let (chain, lease) = (chain[..=at].to_vec(), Arc::clone(lease));
            at += 1;
            unpacking = Some(tokio::task::spawn_blocking(move || {
                let _held = lease;
                store.unpack_layer(&layer, &diff_id, &chain)
            }));
        }
        match unpacking {
            Some(last) => joined(last.await),
            None => Ok(()),
        }
    }
}

struct Resolved {
    target: Digest,
    manifest: Manifest,
}

/// Runs file work where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    joined(tokio::task::spawn_blocking(work).await)
}

fn joined<T>(outcome: Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    outcome.unwrap_or_else(|error| Err(corrupt(format!("a worker failed: {error}"))))
}
