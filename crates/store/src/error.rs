//! Why a call failed, in terms that a caller can act on.

use std::path::PathBuf;
use std::sync::Arc;

use crate::entry::{Entry, Revision};

#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    #[error("create {}: the key exists already, written at revision {}", current.key, current.modified)]
    Exists { current: Arc<Entry> },
    #[error("write {}: expected revision {expected}, but it was written at revision {}", current.key, current.modified)]
    Conflict { expected: Revision, current: Arc<Entry> },
    #[error("write {key}: there is no such key")]
    Missing { key: Arc<str> },
    /// The request can never succeed as it stands.
    #[error("write {key}: {reason}")]
    Invalid { key: Arc<str>, reason: String },
    /// Nothing was written, and trying again may help.
    #[error("write {key}: the backend is not reachable: {reason}")]
    Unavailable { key: Arc<str>, reason: String },
    /// The write may have happened or not. Only a fresh consistent read can tell.
    #[error("write {key}: the outcome is unknown: {reason}")]
    Indeterminate { key: Arc<str>, reason: String },
    /// The store takes no more writes; a write that was under way has an unknown outcome.
    #[error("the store has stopped: {0}")]
    Stopped(Arc<str>),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("revision {wanted} is compacted; the oldest that can be read is {oldest}")]
    Compacted { wanted: Revision, oldest: Revision },
    #[error("revision {wanted} lies ahead of the store, which is at {current}")]
    Future { wanted: Revision, current: Revision },
    #[error("the backend is not reachable: {0}")]
    Unavailable(Arc<str>),
    #[error("the store has stopped: {0}")]
    Stopped(Arc<str>),
}

/// Why a watch ended. It never ends, and never leaves out an event, without saying so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The revision to start from is no longer in the history.
    #[error("watch from revision {from}: compacted; the oldest that can be watched from is {oldest}")]
    Compacted { from: Revision, oldest: Revision },
    /// The watcher fell so far behind that events it had not read left the history.
    #[error("the watcher at revision {at} fell behind; the history now begins after {oldest}")]
    Lagged { at: Revision, oldest: Revision },
    #[error("the store has stopped: {0}")]
    Stopped(Arc<str>),
}

/// Why a store could not be opened. Whatever it found there is left as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{}: {problem}; {advice}", path.display())]
    File { path: PathBuf, problem: String, advice: &'static str },
    #[error("{}: {operation}", path.display())]
    Io { path: PathBuf, operation: &'static str, source: std::io::Error },
    #[error("{}: {problem}", path.display())]
    Keys { path: PathBuf, problem: String },
    #[error("{key}: {reason}")]
    Sealed { key: Arc<str>, reason: String },
    #[error("etcd: {0}")]
    Etcd(String),
}
