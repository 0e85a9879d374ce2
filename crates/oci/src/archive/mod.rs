//! Images as tarballs: OCI layouts and `docker save`, old and new.

mod export;
mod import;
mod legacy;

pub use export::{Format, export};
pub use import::{ImportOptions, import};
