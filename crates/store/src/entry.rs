//! What the store holds: entries under keys, the spans that select them, and the note beside each.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base::clock::Wall;
use bytes::Bytes;

use crate::seal::KeyId;

/// One number per write for the whole store, increasing; contiguous where the store numbers the writes itself.
pub type Revision = u64;

/// Whatever the caller wants to keep beside a value. The store hands it back and never looks inside.
pub type Note = Arc<dyn Any + Send + Sync>;

/// One version of one key. Immutable, and shared by every snapshot, watcher and reader that can see it.
pub struct Entry {
    pub key: Arc<str>,
    pub value: Bytes,
    /// The revision that created the key, kept over updates.
    pub created: Revision,
    /// The revision that wrote this version.
    pub modified: Revision,
    /// How the value was encoded; `None` where the backend's format has no room to say.
    pub stamp: Option<Stamp>,
    /// When the store deletes the key by itself. On etcd the lease knows, so this is `None`.
    pub expires: Option<Wall>,
    /// The key that seals the value at rest; `None` when it lies there in plain text.
    pub sealed: Option<KeyId>,
    pub note: Note,
}

impl Entry {
    /// The note as the type that the caller's [`Annotate`] made.
    pub fn note<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.note.downcast_ref()
    }
}

impl fmt::Debug for Entry {
    /// Values may be secrets, so only their length is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}({} bytes)", self.key, self.modified, self.value.len())
    }
}

/// What a reader must know before it serves stored bytes as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The API version that the value is encoded in, such as `apps/v1`.
    pub version: Arc<str>,
    /// Counts changes of the schema under one version, such as new defaults.
    pub epoch: u64,
}

/// Makes the note for a version. It must be a pure function: it runs once for each version, on a write, at
/// recovery or when another server's write arrives, and all three must agree.
pub trait Annotate: Send + Sync + 'static {
    fn annotate(&self, key: &str, value: &Bytes) -> Note;
}

impl<F> Annotate for F
where
    F: Fn(&str, &Bytes) -> Note + Send + Sync + 'static,
{
    fn annotate(&self, key: &str, value: &Bytes) -> Note {
        self(key, value)
    }
}

/// For callers that keep nothing beside a value.
pub fn no_notes() -> Arc<dyn Annotate> {
    let nothing: Note = Arc::new(());
    Arc::new(move |_: &str, _: &Bytes| nothing.clone())
}

/// A value on its way in.
#[derive(Clone)]
pub struct Put {
    pub key: Arc<str>,
    pub value: Bytes,
    pub stamp: Option<Stamp>,
    /// The store deletes the key when this much time has passed; the next update without it lifts the limit.
    pub ttl: Option<Duration>,
}

impl Put {
    pub fn new(key: impl Into<Arc<str>>, value: impl Into<Bytes>) -> Put {
        Put { key: key.into(), value: value.into(), stamp: None, ttl: None }
    }

    pub fn stamped(self, stamp: Stamp) -> Put {
        Put { stamp: Some(stamp), ..self }
    }

    pub fn expiring(self, ttl: Duration) -> Put {
        Put { ttl: Some(ttl), ..self }
    }
}

/// A set of keys that one read or one watch covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Span {
    /// Every key below a folder; the text ends in `/`, so that `/registry/pods/` never takes in `/registry/podsx`.
    Folder(Arc<str>),
    Key(Arc<str>),
}

impl Span {
    /// Everything below `path`; the closing slash is added where it is missing.
    pub fn folder(path: &str) -> Span {
        if path.ends_with('/') { Span::Folder(path.into()) } else { Span::Folder(format!("{path}/").into()) }
    }

    pub fn key(key: impl Into<Arc<str>>) -> Span {
        Span::Key(key.into())
    }

    pub fn contains(&self, key: &str) -> bool {
        match self {
            Span::Folder(folder) => key.starts_with(&**folder),
            Span::Key(only) => key == &**only,
        }
    }

    pub fn text(&self) -> &Arc<str> {
        match self {
            Span::Folder(text) | Span::Key(text) => text,
        }
    }

    /// The first key past the span, in byte order, or `None` when the span reaches to the end.
    pub(crate) fn end(&self) -> String {
        let mut end = self.text().to_string();
        match self {
            // `0` follows `/`, so this bounds exactly the keys that begin with the folder.
            Span::Folder(_) => {
                end.pop();
                end.push('0');
            }
            Span::Key(_) => end.push('\0'),
        }
        end
    }
}

/// The folder whose history is kept together: the first two levels of a key, one resource for most of them.
pub(crate) fn shard_of(key: &str) -> &str {
    match key.match_indices('/').nth(2) {
        Some((third, _)) => &key[..=third],
        None => key.rfind('/').map_or("", |last| &key[..=last]),
    }
}
