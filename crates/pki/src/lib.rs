//! A cluster's certificate authority and what it signs.
//!
//! Keys never leave the files they are written to, which are readable by their owner alone. Every certificate names
//! its purpose: one for servers never identifies a client, nor the other way round.

mod authority;
mod files;
mod kubeconfig;

pub use authority::{Authority, Identity, PkiError, Signed};
pub use files::{read_or_create, write_private};
pub use kubeconfig::kubeconfig;
