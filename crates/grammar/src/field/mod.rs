//! Field paths and the errors that name them: the texts every validator answers with.

mod error;
mod list;
mod path;

pub use error::{
    BadValue, Error, ErrorType, duplicate, forbidden, internal, invalid, not_found, not_supported, required,
    too_few, too_long, too_long_characters, too_many, too_short, type_invalid,
};
pub use list::ErrorList;
pub use path::Path;
