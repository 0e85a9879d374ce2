//! The seam to conversion between versions.

use std::borrow::Cow;

use serde_json::Value;

use crate::typed::Typing;

/// Reads and converts the versions of one kind.
///
/// Each manager's set speaks of the version that the manager wrote, so comparing it with a change needs both
/// objects in that version.
pub trait Convert {
    /// How to read objects of `version` (`apps/v1`); `None` where it is not served (any more).
    fn typing(&self, version: &str) -> Option<Typing<'_>>;

    /// `object`, whose `apiVersion` tells its version, as `version`.
    fn convert(&self, object: &Value, version: &str) -> Result<Value, ConvertError>;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// The version is not served; what managers recorded in it is dropped.
    #[error("version {0} is not served")]
    UnknownVersion(String),
    #[error("{0}")]
    Failed(String),
}

/// A kind with a single version.
#[derive(Clone, Copy, Debug)]
pub struct OneVersion<'t> {
    pub version: &'t str,
    pub typing: Typing<'t>,
}

impl Convert for OneVersion<'_> {
    fn typing(&self, version: &str) -> Option<Typing<'_>> {
        (version == self.version).then_some(self.typing)
    }

    fn convert(&self, object: &Value, version: &str) -> Result<Value, ConvertError> {
        if version == self.version {
            Ok(object.clone())
        } else {
            Err(ConvertError::UnknownVersion(version.to_owned()))
        }
    }
}

/// An object together with how to read it.
#[derive(Clone, Debug)]
pub(super) struct Typed<'a> {
    pub(super) value: Cow<'a, Value>,
    pub(super) typing: Typing<'a>,
}

impl<'a> Typed<'a> {
    pub(super) fn owned(value: Value, typing: Typing<'a>) -> Self {
        Typed { value: Cow::Owned(value), typing }
    }
}
