//! The seam between the index and what keeps the data.
//!
//! A backend decides writes by compare-and-swap, makes them durable, and publishes every revision to the index,
//! in order and whole, its own writes and other servers' alike. It loads the index before it answers anything.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::entry::{Entry, Note, Revision, Stamp};
use crate::error::{ReadError, WriteError};
use crate::seal::KeyId;

pub(crate) type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub(crate) trait Backend: Send + Sync {
    /// Answers once the write is durable and the index shows it. Dropping the future does not undo the write.
    fn write(&self, write: Write) -> Pending<'_, Result<Written, WriteError>>;

    /// A revision that includes every write answered, by any server, before the call.
    fn barrier(&self) -> Pending<'_, Result<Revision, ReadError>>;

    /// Deletes what has expired. A backend whose peers expire keys by themselves has nothing to do.
    fn expire(&self) -> Pending<'_, Result<(), WriteError>>;

    /// Answers once nothing is under way any more and the files are closed.
    fn close(&self) -> Pending<'_, ()>;
}

pub(crate) struct Write {
    pub(crate) key: Arc<str>,
    pub(crate) action: Action,
}

pub(crate) enum Action {
    Create(Draft),
    /// Only over the version of this revision.
    Update(Draft, Revision),
    /// Only the version of this revision, where one is named.
    Delete(Option<Revision>),
}

/// A value made ready by its writer, so that the one sequencer has little left to do.
pub(crate) struct Draft {
    pub(crate) value: Bytes,
    /// What the backend keeps: the value, or the envelope that seals it.
    pub(crate) stored: Bytes,
    pub(crate) sealed: Option<KeyId>,
    pub(crate) stamp: Option<Stamp>,
    pub(crate) expiry: Expiry,
    pub(crate) note: Note,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    Never,
    After(Duration),
    /// Whatever the version before had.
    Keep,
}

/// The entry written, or the one deleted, and the revision that did it.
pub(crate) struct Written {
    pub(crate) revision: Revision,
    pub(crate) entry: Arc<Entry>,
}

/// Whether `action` may go ahead over what is there now.
pub(crate) fn decide(
    key: &Arc<str>,
    action: &Action,
    current: Option<&Arc<Entry>>,
) -> Result<(), WriteError> {
    let expected = match action {
        Action::Create(_) => {
            return match current {
                None => Ok(()),
                Some(current) => Err(WriteError::Exists { current: current.clone() }),
            };
        }
        Action::Update(_, expected) => Some(*expected),
        Action::Delete(expected) => *expected,
    };
    let current = current.ok_or_else(|| WriteError::Missing { key: key.clone() })?;
    match expected {
        Some(expected) if expected != current.modified => {
            Err(WriteError::Conflict { expected, current: current.clone() })
        }
        _ => Ok(()),
    }
}
