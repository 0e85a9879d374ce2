//! Container images: names, manifests, a content store, layers, pulling, tarballs, and a registry.

pub mod archive;
pub mod digest;
pub mod error;
pub mod layers;
pub mod manifest;
pub mod platform;
pub mod pull;
pub mod reason;
pub mod reference;
pub mod registry;
pub mod store;

pub use digest::Digest;
pub use error::{Error, Kind, Result};
pub use layers::{Limits, MountOptions, Overlay, RootFs};
pub use platform::Platform;
pub use reference::Reference;
pub use store::{Access, Image, Options, Snapshotter, Store};
