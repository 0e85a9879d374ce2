//! The store itself: what callers hold.

use std::sync::Arc;
use std::time::Duration;

use base::clock::SharedClock;
use base::random::Random;

use crate::backend::{Action, Backend, Draft, Expiry, Write, Written};
use crate::embedded::{Embedded, MAX_STAMP, Medium};
use crate::entry::{Annotate, Entry, Put, Revision, Span};
use crate::error::{OpenError, ReadError, WatchError, WriteError};
use crate::etcd::{Etcd, EtcdBackend};
use crate::history::Retention;
use crate::index::Index;
use crate::seal::{self, Sealing};
use crate::snapshot::Snapshot;
use crate::watch::Watcher;

/// The longest key, and the largest value, that a write may bring.
pub const MAX_KEY: usize = 2_048;
pub const MAX_VALUE: usize = 4 << 20;

/// How often the store looks for what has expired or grown too old.
const TICK: Duration = Duration::from_secs(1);

/// Everything but the backend.
pub struct Options {
    pub clock: SharedClock,
    pub annotate: Arc<dyn Annotate>,
    pub retention: Retention,
    /// Without it nothing is sealed, and a store that holds sealed values does not open.
    pub sealing: Option<Sealing>,
}

/// A handle; clones share the store. When the last one goes, the store closes.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    index: Arc<Index>,
    backend: Box<dyn Backend>,
    sealing: Option<Arc<Sealing>>,
}

/// What a delete took away.
#[derive(Clone, Debug)]
pub struct Deleted {
    pub entry: Arc<Entry>,
    pub revision: Revision,
}

impl Store {
    /// Opens a store in a file of its own. It reads the whole file before it returns, on the calling thread; call
    /// it inside a tokio runtime, where it leaves a housekeeping task.
    pub fn embedded(embedded: &Embedded, options: Options) -> Result<Store, OpenError> {
        let (index, sealing) = options.parts();
        let backend = embedded.open(&index, sealing.as_deref())?;
        Ok(Store::over(index, Box::new(backend), sealing))
    }

    /// As [`Store::embedded`], with the file's bytes on `medium`; the path serves messages alone.
    pub fn embedded_on(
        medium: Arc<dyn Medium>,
        embedded: &Embedded,
        options: Options,
    ) -> Result<Store, OpenError> {
        let (index, sealing) = options.parts();
        let backend = embedded.open_on(medium, &index, sealing.as_deref())?;
        Ok(Store::over(index, Box::new(backend), sealing))
    }

    /// Opens a store on an etcd cluster. It has read all keys when it returns.
    pub async fn etcd(etcd: &Etcd, options: Options, random: Box<dyn Random>) -> Result<Store, OpenError> {
        let (index, sealing) = options.parts();
        let backend = EtcdBackend::open(etcd, index.clone(), sealing.clone(), random).await?;
        Ok(Store::over(index, Box::new(backend), sealing))
    }

    fn over(index: Arc<Index>, backend: Box<dyn Backend>, sealing: Option<Arc<Sealing>>) -> Store {
        let shared = Arc::new(Shared { index, backend, sealing });
        // The task must not keep the store open.
        let weak = Arc::downgrade(&shared);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                let Some(shared) = weak.upgrade() else { return };
                Store { shared }.tend().await;
            }
        });
        Store { shared }
    }

    /// Writes a key that must not exist.
    pub async fn create(&self, put: Put) -> Result<Arc<Entry>, WriteError> {
        let (key, draft) = self.draft(put)?;
        Ok(self.write(key, Action::Create(draft)).await?.entry)
    }

    /// Writes over the version that was written at `expected`, and no other.
    pub async fn update(&self, put: Put, expected: Revision) -> Result<Arc<Entry>, WriteError> {
        let (key, draft) = self.draft(put)?;
        Ok(self.write(key, Action::Update(draft, expected)).await?.entry)
    }

    /// Deletes the version that was written at `expected`, or whichever there is.
    pub async fn delete(&self, key: &str, expected: Option<Revision>) -> Result<Deleted, WriteError> {
        let Written { revision, entry } = self.write(key.into(), Action::Delete(expected)).await?;
        Ok(Deleted { entry, revision })
    }

    /// The newest state that this process knows. With the embedded backend that is the newest there is; on etcd
    /// other servers may be a moment ahead.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::clone(&self.shared.index.head())
    }

    /// A state that includes every write which any server had answered when this was called.
    pub async fn latest(&self) -> Result<Snapshot, ReadError> {
        let revision = self.shared.backend.barrier().await?;
        self.reach(revision).await?;
        Ok(self.snapshot())
    }

    /// `span` exactly as it stood at `revision`. The view answers for that span alone.
    pub fn at(&self, revision: Revision, span: &Span) -> Result<Snapshot, ReadError> {
        self.shared.index.at(revision, span)
    }

    /// The revision of [`Store::snapshot`].
    pub fn current_revision(&self) -> Revision {
        self.shared.index.published()
    }

    /// Waits until the store has reached `revision`, and gives the newest state then. After `timeout` it gives up
    /// with [`ReadError::Future`].
    pub async fn wait_for_revision(
        &self,
        revision: Revision,
        timeout: Duration,
    ) -> Result<Snapshot, ReadError> {
        match tokio::time::timeout(timeout, self.reach(revision)).await {
            Ok(reached) => reached.map(|()| self.snapshot()),
            Err(_) => Err(ReadError::Future { wanted: revision, current: self.current_revision() }),
        }
    }

    async fn reach(&self, revision: Revision) -> Result<(), ReadError> {
        let index = &self.shared.index;
        let mut published = index.subscribe();
        loop {
            if *published.borrow_and_update() >= revision {
                return Ok(());
            }
            if let Some(reason) = index.stopped() {
                return Err(ReadError::Stopped(reason));
            }
            published.changed().await.expect("the index holds the sender");
        }
    }

    /// Everything that changes in `span` after revision `from`, which may lie in the past as far as the history
    /// reaches, or in the future. To list and then watch, start from the list's revision.
    pub fn watch(&self, span: &Span, from: Revision) -> Result<Watcher, WatchError> {
        Watcher::start(&self.shared.index, span, from)
    }

    /// Forgets the history up to and including `revision`, or to the present where that comes first.
    pub fn compact(&self, revision: Revision) {
        self.shared.index.compact(revision);
    }

    /// Deletes what has expired and forgets what is too old. It runs by itself every second of the machine's
    /// time; call it when a simulated clock has moved.
    pub async fn tend(&self) {
        // A store that stopped has told its writers; there is nobody to tell here.
        let _ = self.shared.backend.expire().await;
        self.shared.index.age(self.shared.index.clock.monotonic());
    }

    /// Writes every value again that is not sealed with the first key, or not sealed and should be. Returns how
    /// many there were. Run it after a rotation, before the older keys are retired.
    pub async fn reseal_all(&self) -> Result<usize, WriteError> {
        let Some(sealing) = self.shared.sealing.clone() else { return Ok(0) };
        let snapshot = self.snapshot();
        let everything = Span::folder("/");
        let stale = snapshot.range(&everything, None).filter(|e| sealing.is_stale(&e.key, e.sealed));
        let mut resealed = 0;
        for entry in stale {
            let again = Put {
                key: entry.key.clone(),
                value: entry.value.clone(),
                stamp: entry.stamp.clone(),
                ttl: None,
            };
            let (key, draft) = self.draft(again)?;
            let draft = Draft { expiry: Expiry::Keep, ..draft };
            match self.write(key, Action::Update(draft, entry.modified)).await {
                Ok(_) => resealed += 1,
                // Whoever wrote or deleted it meanwhile has done the work.
                Err(WriteError::Conflict { .. } | WriteError::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(resealed)
    }

    /// Writes every entry of `from`, another store's state, into this one, where none of its keys may exist yet.
    /// They get revisions of this store. When clients of the other store are to go on with this one, raise its
    /// revision past `from`'s before they come: see [`restore`](crate::restore) and [`raise`](crate::raise).
    pub async fn copy_from(&self, from: &Snapshot) -> Result<usize, WriteError> {
        let (everything, mut copied) = (Span::folder("/"), 0);
        for entry in from.range(&everything, None) {
            let now = self.shared.index.clock.wall();
            self.create(Put {
                key: entry.key.clone(),
                value: entry.value.clone(),
                stamp: entry.stamp.clone(),
                ttl: entry.expires.map(|at| at.since(now)),
            })
            .await?;
            copied += 1;
        }
        Ok(copied)
    }

    /// Why the store takes no more writes, if it does not.
    pub fn stopped(&self) -> Option<Arc<str>> {
        self.shared.index.stopped()
    }

    /// Finishes what is under way, closes the backend and ends every watch. Reads go on answering.
    pub async fn close(&self) {
        self.shared.index.stop("it was closed".into());
        self.shared.backend.close().await;
    }

    async fn write(&self, key: Arc<str>, action: Action) -> Result<Written, WriteError> {
        if let Some(reason) = self.stopped() {
            return Err(WriteError::Stopped(reason));
        }
        check_key(&key)?;
        self.shared.backend.write(Write { key, action }).await
    }

    fn draft(&self, put: Put) -> Result<(Arc<str>, Draft), WriteError> {
        let Put { key, value, stamp, ttl } = put;
        let invalid = |reason: String| WriteError::Invalid { key: key.clone(), reason };
        if value.len() > MAX_VALUE {
            return Err(invalid(format!(
                "the value has {} bytes; at most {MAX_VALUE} are kept",
                value.len()
            )));
        }
        if stamp.as_ref().is_some_and(|stamp| stamp.version.len() > MAX_STAMP) {
            return Err(invalid(format!("the version in the stamp is longer than {MAX_STAMP} bytes")));
        }
        let (stored, sealed) = match &self.shared.sealing {
            Some(sealing) => sealing.seal(&key, &value),
            None if seal::looks_sealed(&value) => {
                return Err(invalid(
                    "the value looks like a sealed one, and there is no key to seal it with".into(),
                ));
            }
            None => (value.clone(), None),
        };
        let note = self.shared.index.annotate(&key, &value);
        let expiry = ttl.map_or(Expiry::Never, Expiry::After);
        Ok((key, Draft { value, stored, sealed, stamp, expiry, note }))
    }
}

impl Options {
    pub fn new(clock: SharedClock, annotate: Arc<dyn Annotate>, sealing: Option<Sealing>) -> Options {
        Options { clock, annotate, retention: Retention::default(), sealing }
    }

    fn parts(self) -> (Arc<Index>, Option<Arc<Sealing>>) {
        let index = Index::new(self.annotate, self.clock, self.retention);
        (Arc::new(index), self.sealing.map(Arc::new))
    }
}

fn check_key(key: &Arc<str>) -> Result<(), WriteError> {
    let reason = if !key.starts_with('/') {
        "a key begins with a slash"
    } else if key.ends_with('/') {
        "a key names a value, not a folder"
    } else if key.len() > MAX_KEY {
        "the key is too long"
    } else if key.contains('\0') {
        "a key holds no zero byte"
    } else {
        return Ok(());
    };
    Err(WriteError::Invalid { key: key.clone(), reason: reason.into() })
}
