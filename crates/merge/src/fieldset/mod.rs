//! Sets of field paths: who owns what.
//!
//! A [`Set`] is a tree whose edges are [`PathElement`]s. A path is a member where its last edge is marked as
//! owned; owning a parent does not own its children, nor the other way round. [`Set::to_json`] and
//! [`Set::from_value`] are the FieldsV1 format of `metadata.managedFields`.

mod element;
mod filter;
mod set;
mod wire;

pub use element::{Path, PathElement};
pub use filter::{Filter, Pattern, Step};
pub use set::Set;
pub use wire::FieldsError;
