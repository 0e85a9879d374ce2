//! The store: revisions, compare-and-swap, ranges at a revision, watch and compaction.
//!
//! Keys are paths such as `/registry/pods/default/web-0`; values are bytes that the store never looks into. Every
//! write has one [`Revision`]. The in-memory [`index`] answers all reads, at the newest revision or at an older
//! one, and all watches; a [`backend`] decides writes, makes them durable and feeds the index. Between the two
//! lies [`seal`], so that no secret reaches a disk in plain text.

mod backend;
mod embedded;
mod entry;
mod error;
mod etcd;
mod history;
mod index;
mod seal;
mod snapshot;
mod store;
mod tree;
mod watch;

pub use embedded::{DiskFile, Durability, Embedded, Medium, restore};
pub use entry::{Annotate, Entry, Note, Put, Revision, Span, Stamp, no_notes};
pub use error::{OpenError, ReadError, WatchError, WriteError};
pub use etcd::{Etcd, EtcdTls, raise};
pub use history::{Batch, Event, EventKind, Retention};
pub use seal::{KeyId, Keyring, Sealing};
pub use snapshot::{Range, Snapshot};
pub use store::{Deleted, MAX_KEY, MAX_VALUE, Options, Store};
pub use watch::Watcher;
