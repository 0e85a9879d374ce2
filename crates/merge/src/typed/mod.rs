//! Values seen through their schema: field sets, comparison, merging, pruning.
//!
//! These are the operations that server-side apply is made of. A [`Typing`] says how to read a value: by a
//! message of a [`Table`], or deduced from the value alone where a custom resource has no schema.

mod compare;
mod errors;
mod fields;
mod items;
mod merge;
mod reconcile;
mod remove;
mod shape;
mod validate;

pub use compare::{Comparison, compare};
pub use errors::{ValidationError, ValidationErrors};
pub use fields::field_set;
pub use merge::merge;
pub use reconcile::reconcile;
pub use remove::{extract, remove};
pub use shape::Typing;
pub use validate::{Duplicates, validate};

pub(crate) use shape::{find_field, with_named_fields};
