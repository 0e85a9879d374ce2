//! Who may do what, and how much: decisions as plain functions of what the caller shows.
//!
//! Indexes here are fed object by object from whatever watches the store and answer in memory. The words of a refusal
//! are upstream's, since clients and their tests compare them.
//!
//! This crate performs no I/O, reads no clock and draws no random number of its own; it never reads the store.

mod attributes;
pub mod audit;
pub mod fairness;
pub mod node;
pub mod pod_security;
pub mod rbac;
pub mod tokens;
mod tree;

pub use attributes::{Attributes, Decision, first_allow};
