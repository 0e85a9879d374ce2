//! How a failed pull appears in a pod's status: the kubelet's waiting reasons and their messages.

use crate::error::{Error, Kind};

pub const ERR_IMAGE_PULL: &str = "ErrImagePull";
pub const IMAGE_PULL_BACK_OFF: &str = "ImagePullBackOff";
pub const ERR_IMAGE_NEVER_PULL: &str = "ErrImageNeverPull";
pub const INVALID_IMAGE_NAME: &str = "InvalidImageName";
pub const IMAGE_INSPECT_ERROR: &str = "ImageInspectError";
pub const REGISTRY_UNAVAILABLE: &str = "RegistryUnavailable";
pub const SIGNATURE_VALIDATION_FAILED: &str = "SignatureValidationFailed";

/// The reason and message that a failed pull of `image` leaves in `state.waiting`.
pub fn of_pull(image: &str, error: &Error) -> (&'static str, String) {
    of_cri_message(image, &error.cri_message())
}

/// The same for an error that crossed the CRI as text.
pub fn of_cri_message(image: &str, message: &str) -> (&'static str, String) {
    if let Some(rest) = message.strip_prefix(REGISTRY_UNAVAILABLE) {
        let text = format!("image pull failed for {image} because the registry is unavailable{rest}");
        return (REGISTRY_UNAVAILABLE, text);
    }
    if let Some(rest) = message.strip_prefix(SIGNATURE_VALIDATION_FAILED) {
        let text = format!("image pull failed for {image} because the signature validation failed{rest}");
        return (SIGNATURE_VALIDATION_FAILED, text);
    }
    (ERR_IMAGE_PULL, message.to_owned())
}

/// The message beside `InvalidImageName`.
pub fn invalid_name(image: &str, error: &Error) -> String {
    debug_assert_eq!(error.kind(), Kind::InvalidName);
    format!("Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: {error}")
}

/// The message beside `ErrImageNeverPull`.
pub fn never_pull(image: &str) -> String {
    format!("Container image {image:?} is not present with pull policy of Never")
}

/// The message beside `ImagePullBackOff`. `previous` is the reason and message of the pull that failed.
pub fn back_off(image: &str, previous: Option<(&str, &str)>) -> String {
    match previous {
        Some((reason, message)) => format!("Back-off pulling image {image:?}: {reason}: {message}"),
        None => format!("Back-off pulling image {image:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_upstreams() {
        let down = Error::new(Kind::Unavailable, "dial tcp: connection refused");
        assert_eq!(
            of_pull("a/b:c", &down),
            (
                "RegistryUnavailable",
                "image pull failed for a/b:c because the registry is unavailable: dial tcp: connection refused"
                    .to_owned()
            )
        );
        let missing = Error::new(Kind::NotFound, "docker.io/library/x:latest: not found");
        assert_eq!(of_pull("x", &missing), ("ErrImagePull", missing.to_string()));
        assert_eq!(
            back_off("x", Some(("ErrImagePull", "gone"))),
            "Back-off pulling image \"x\": ErrImagePull: gone"
        );
    }
}
