//! Server-side apply, and the tracking of who set what by every other write.
//!
//! [`FieldManager`] is the door: [`FieldManager::apply`] for apply requests, [`FieldManager::update`] for all
//! others. Both take the live object and return the object to store with `metadata.managedFields` brought up to
//! date. Time and conversion between versions are passed in; nothing here stores or defaults anything.

mod conflict;
mod convert;
mod entries;
mod last_applied;
mod manager;
mod migrate;
mod noop;
mod scale;
mod updater;

pub use conflict::{Cause, Conflict, Conflicts};
pub use convert::{Convert, ConvertError, OneVersion};
pub use entries::{EntriesError, Managed, ManagerId, Operation, Owned, validate_managed_fields};
pub use last_applied::LAST_APPLIED_ANNOTATION;
pub use manager::{Error, FieldManager, empty_object};
pub use migrate::{MigrateError, upgrade_managed_fields};
pub use noop::restore_timestamps;
pub use scale::{from_scale, to_scale};
