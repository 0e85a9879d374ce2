//! Objects as bytes, trees and structs, and the way between them.
//!
//! Everything walks the [`schema`] table: there is no code per kind. A built-in object at rest is protobuf; its JSON
//! is written straight from those bytes, with the revision spliced in. A tree (`serde_json::Value`, in the normal form
//! of Go's encoder) exists while a write is being merged and validated. A typed `k8s-openapi` struct exists while a
//! controller looks at it; its serde code is instantiated here and nowhere else.
//!
//! This crate performs no I/O and knows no resource, no verb and no server.

pub mod digest;
pub mod envelope;
pub mod json;
pub mod proto;
mod special;
pub mod splice;
pub mod status;
pub mod typed;
pub mod user;
pub mod yaml;

pub use digest::Digest;
pub use k8s_openapi;
pub use proto::Outside;
pub use serde_json::Value;
pub use status::Status;
pub use typed::Typed;
pub use user::User;
