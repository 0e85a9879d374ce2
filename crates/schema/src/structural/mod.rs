//! The schemas of custom resources.
//!
//! [`Schema`] is a definition's `openAPIV3Schema` as written. [`validate`] says whether a definition may have it;
//! [`table`] makes of it the same table that built-in kinds have; [`Validator`] checks values against it.

mod defaults;
mod definition;
mod embedded;
mod format;
mod lists;
mod lower;
mod number;
mod pattern;
mod rules;
mod schema;
mod value;

pub use definition::{validate, validate_root_with_status};
pub use embedded::validate_embedded;
pub use format::is_recognised;
pub use lists::validate_lists;
pub use lower::{Definition, table};
pub use pattern::compile as compile_pattern;
pub use schema::{Additional, DEEPEST, Items, Refused, Rule, Schema};
pub use value::Validator;

/// What a definition must keep to. A new one must keep to all; an updated one is excused from what it broke before the
/// rule was made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub require_structural: bool,
    pub require_valid_types: bool,
    pub require_pruned_defaults: bool,
    /// Items of sets are scalars or atomic.
    pub require_atomic_sets: bool,
    /// Items and keys of map lists and sets are never null and always there.
    pub require_sound_keys: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            require_structural: true,
            require_valid_types: true,
            require_pruned_defaults: true,
            require_atomic_sets: true,
            require_sound_keys: true,
        }
    }
}
