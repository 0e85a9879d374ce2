//! Merging: patches of every kind, and server-side apply.
//!
//! Everything here is a function of trees. [`json_patch`] and [`merge_patch`] need nothing else; [`strategic`]
//! merge and [`apply`] read the schema [`Table`](schema::Table), which a custom resource's schema becomes too, so
//! built-in and custom kinds take the same path. [`fieldset`] is the algebra of field ownership and its wire
//! format; [`typed`] are the schema-aware walks that apply is made of.
//!
//! This crate stores nothing, defaults nothing and knows no clock: times and version conversion are passed in.

pub mod apply;
pub mod fieldset;
mod go;
pub mod json_patch;
pub mod limits;
pub mod merge_patch;
mod precondition;
pub mod strategic;
pub mod typed;
pub mod value;

pub use precondition::Precondition;
