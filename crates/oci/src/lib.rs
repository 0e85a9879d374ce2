//! Container images: names, manifests, a content store, layers, pulling, tarballs, and a registry.
//!
//! | to | call |
//! |---|---|
//! | open a store, shared with other processes | [`Store::open`] |
//! | bring an image in | [`pull::Client::pull`], [`archive::import`] |
//! | find, list, name, unname, pin | [`Store::image`], [`Store::images`], [`Store::tag`], [`Store::untag`], [`Store::pin`] |
//! | give a container its root, or a volume an image | [`Store::hold`], then [`RootFs::mount`]; [`Store::release`] |
//! | write an image to a tarball | [`archive::export`] |
//! | make room | [`Store::collect`] with [`store::bytes_to_free`] |
//! | serve images to others | [`registry::serve`] |
//! | say why a pull failed, as the kubelet says it | [`reason::of_pull`] |
//!
//! Everything that touches the disk blocks and belongs on a blocking thread; pulling and serving are
//! asynchronous and see to that themselves.
//!
//! What this crate never does: run a process, know a pod, or trust an image. Whatever an image or a registry
//! says is checked against a digest and a limit before it counts, and no path in it leads out of the store.

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
