//! The messages of CRI v1, written against the field numbers of its `api.proto` (k8s.io/cri-api v0.37).
//!
//! Every field is here, the deprecated and the Windows ones too, so that nothing is lost when a message
//! travels through boga to a foreign runtime.

mod common;
mod container;
mod image;
mod runtime;
mod sandbox;
mod stats;
mod windows;

pub use common::*;
pub use container::*;
pub use image::*;
pub use runtime::*;
pub use sandbox::*;
pub use stats::*;
pub use windows::*;

use std::fmt;

/// Credentials never appear in logs or error messages.
impl fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("server_address", &self.server_address)
            .finish_non_exhaustive()
    }
}
