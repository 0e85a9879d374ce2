//! Bearer tokens: those of service accounts and those that let a node join.
//!
//! [`keys`] sign and verify, [`jwt`] is the compact form, [`issue`] makes a token for an account, [`verify`] says whose
//! a token is and why it is refused, [`discovery`] publishes the keys, [`bootstrap`] knows joining nodes.

pub mod bootstrap;
pub mod discovery;
pub mod issue;
pub mod jwt;
pub mod keys;
pub mod verify;

pub use issue::{Bound, Grant, issue};
pub use keys::{KeyError, PublicKey, SigningKey};
pub use verify::{Refusal, Verified, Verifier};

use serde_json::Value;

/// The caller's view of the store: a live object of a kind, or nothing. The namespace of cluster-scoped kinds is empty.
pub trait Lookup {
    fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value>;
}
