//! The image service.

use std::collections::BTreeMap;

use base64::Engine as _;

use super::Engine;
use super::containers::image_error;
use crate::cri::{
    AuthConfig, Error, FilesystemIdentifier, FilesystemUsage, Image, ImageFsInfoResponse, ImageSpec,
    ImageStatusResponse, Int64Value, PullImageRequest, Result, UInt64Value,
};

/// What the kubelet knows an image by when it was found: its digest in a registry, or else its id.
pub(super) fn image_ref(image: &oci::Image) -> String {
    image.repo_digests().into_iter().next().unwrap_or_else(|| image.id.to_string())
}

impl Engine {
    pub(super) async fn list_all_images(&self, wanted: Option<ImageSpec>) -> Result<Vec<Image>> {
        let store = self.0.options.images.clone();
        Engine::blocking(move || {
            let wanted = wanted.map(|spec| spec.image).filter(|name| !name.is_empty());
            let images = match wanted {
                None => store.images().map_err(image_error)?,
                Some(name) => store.image(&name).map_err(image_error)?.into_iter().collect(),
            };
            Ok(images.iter().map(describe).collect())
        })
        .await
    }

    pub(super) async fn status_of_image(
        &self,
        spec: Option<ImageSpec>,
        verbose: bool,
    ) -> Result<ImageStatusResponse> {
        let name = spec.map(|spec| spec.image).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Error::invalid("image is not specified"))?;
        let store = self.0.options.images.clone();
        Engine::blocking(move || {
            // Absence is an answer, not an error.
            let Some(image) = store.image(&name).map_err(image_error)? else {
                return Ok(ImageStatusResponse::default());
            };
            let mut info = BTreeMap::new();
            if verbose {
                let config = serde_json::to_value(&image.config).unwrap_or_default();
                let details = serde_json::json!({ "imageSpec": config, "chainID": image.chain_id() });
                info.insert("info".to_owned(), details.to_string());
            }
            Ok(ImageStatusResponse { image: Some(describe(&image)), info })
        })
        .await
    }

    pub(super) async fn pull(&self, request: PullImageRequest) -> Result<String> {
        let name = request.image.map(|spec| spec.image).unwrap_or_default();
        let reference: oci::Reference = name.parse().map_err(|error: oci::Error| {
            image_error(error.context(format!("failed to parse image reference {name:?}")))
        })?;
        let credential = request.auth.map(credential).transpose()?.flatten();
        let options = oci::pull::PullOptions { credential, ..Default::default() };
        let (store, registries) = (self.0.options.images.clone(), self.0.options.registries.clone());
        // A pull that the client gave up goes on: the kubelet will ask again, and then it is here.
        let runtime = tokio::runtime::Handle::current();
        let pull = tokio::task::spawn_blocking(move || {
            runtime.block_on(registries.pull(&store, &reference, &options))
        });
        let image = pull.await.map_err(|error| Error::unknown(error.to_string()))?.map_err(image_error)?;
        Ok(image_ref(&image))
    }

    pub(super) async fn remove_one_image(&self, spec: Option<ImageSpec>) -> Result<()> {
        let name = spec.map(|spec| spec.image).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Error::invalid("image is not specified"))?;
        let store = self.0.options.images.clone();
        Engine::blocking(move || {
            let Some(image) = store.image(&name).map_err(image_error)? else { return Ok(()) };
            // The CRI's removal is of the image: all its names go.
            for name in &image.names {
                store.untag(&name.to_string()).map_err(image_error)?;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn filesystem(&self) -> Result<ImageFsInfoResponse> {
        let store = self.0.options.images.clone();
        let now = self.now();
        Engine::blocking(move || {
            let usage = store.usage().map_err(image_error)?;
            let filesystem = FilesystemUsage {
                timestamp: now,
                fs_id: Some(FilesystemIdentifier { mountpoint: store.root().to_string_lossy().into_owned() }),
                used_bytes: Some(UInt64Value { value: usage.bytes }),
                inodes_used: Some(UInt64Value { value: usage.inodes }),
            };
            Ok(ImageFsInfoResponse {
                image_filesystems: vec![filesystem.clone()],
                container_filesystems: vec![filesystem],
            })
        })
        .await
    }
}

fn describe(image: &oci::Image) -> Image {
    let user = image.config.config.user.split(':').next().unwrap_or_default();
    let (uid, username) = match user.parse() {
        Ok(value) => (Some(Int64Value { value }), String::new()),
        Err(_) => (None, user.to_owned()),
    };
    Image {
        id: image.id.to_string(),
        repo_tags: image.repo_tags(),
        repo_digests: image.repo_digests(),
        size: image.size,
        uid,
        username,
        spec: Some(ImageSpec::default()),
        pinned: image.pinned,
    }
}

/// Credentials as the CRI passes them; `None` when it passes none.
fn credential(auth: AuthConfig) -> Result<Option<oci::pull::Credential>> {
    let mut credential = oci::pull::Credential {
        username: auth.username,
        password: auth.password,
        identity_token: auth.identity_token,
        registry_token: auth.registry_token,
    };
    if credential.username.is_empty() && !auth.auth.is_empty() {
        let invalid = || Error::invalid("invalid auth config: not base64 of user:password");
        let decoded = base64::engine::general_purpose::STANDARD.decode(&auth.auth).map_err(|_| invalid())?;
        let text = String::from_utf8(decoded).map_err(|_| invalid())?;
        let (username, password) = text.split_once(':').ok_or_else(invalid)?;
        credential.username = username.to_owned();
        credential.password = password.trim_end_matches('\0').to_owned();
    }
    Ok(Some(credential).filter(|credential| *credential != oci::pull::Credential::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_in_both_forms() {
        let basic = oci::pull::Credential::basic("me", "se:cret");
        let plain = AuthConfig { username: "me".into(), password: "se:cret".into(), ..AuthConfig::default() };
        let encoded = AuthConfig { auth: "bWU6c2U6Y3JldA==".into(), ..AuthConfig::default() };
        assert_eq!(credential(plain.clone()).unwrap().as_ref(), Some(&basic));
        assert_eq!(credential(encoded).unwrap(), Some(basic));
        assert_eq!(credential(AuthConfig::default()).unwrap(), None);
        assert!(credential(AuthConfig { auth: "%".into(), ..AuthConfig::default() }).is_err());
        assert!(!format!("{plain:?}").contains("cret"));
    }
}
