//! The in-memory index: the newest state, the recent past, and the watchers' wake-up calls.
//!
//! One publisher, the backend, feeds it whole revisions in order; everything else reads. A read takes no lock:
//! it loads the newest snapshot. Lock order: `hub`, then a topic's ring.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use base::clock::SharedClock;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::entry::{Annotate, Entry, Note, Revision, Span};
use crate::error::ReadError;
use crate::history::{Batch, Event, History, Retention, rewind};
use crate::snapshot::Snapshot;
use crate::tree::Tree;
use crate::watch::Topics;

/// Rebuilt views of the past that are kept for the next page of the same list.
const VIEWS: usize = 8;

pub(crate) struct Index {
    head: ArcSwap<Snapshot>,
    annotate: Arc<dyn Annotate>,
    pub(crate) clock: SharedClock,
    retention: Retention,
    hub: Mutex<Hub>,
    /// The revision up to which everything has reached snapshots, history and topics.
    published: watch::Sender<Revision>,
    stopped: OnceLock<Arc<str>>,
}

pub(crate) struct Hub {
    pub(crate) history: History,
    pub(crate) topics: Topics,
    views: VecDeque<Snapshot>,
}

impl Index {
    pub(crate) fn new(annotate: Arc<dyn Annotate>, clock: SharedClock, retention: Retention) -> Index {
        let empty = Snapshot { revision: 0, tree: Tree::new(), scope: None };
        let history = History::starting_at(0, retention);
        Index {
            head: ArcSwap::from_pointee(empty),
            annotate,
            clock,
            retention,
            hub: Mutex::new(Hub { history, topics: Topics::default(), views: VecDeque::new() }),
            published: watch::Sender::new(0),
            stopped: OnceLock::new(),
        }
    }

    /// Puts a whole state in place of what is here. The past is gone: watchers that have not yet seen
    /// `revision` are told so.
    pub(crate) fn load(&self, entries: Vec<Arc<Entry>>, revision: Revision) {
        let mut hub = self.hub.lock();
        hub.history = History::starting_at(revision, self.retention);
        hub.views.clear();
        self.head.store(Arc::new(Snapshot { revision, tree: Tree::from_sorted(entries), scope: None }));
        hub.topics.restart(revision);
        self.published.send_replace(revision);
    }

    /// Makes whole revisions visible, in order: to readers first, so that whoever hears of an event can read it.
    pub(crate) fn publish(&self, batches: &[Arc<Batch>]) {
        let Some(last) = batches.last() else { return };
        let now = self.clock.monotonic();
        let mut hub = self.hub.lock();
        let mut tree = self.head.load().tree.clone();
        for event in batches.iter().flat_map(|batch| &batch.events) {
            match &event.entry {
                Some(entry) => tree.insert(entry.clone()),
                None => tree.remove(&event.key),
            };
        }
        self.head.store(Arc::new(Snapshot { revision: last.revision, tree, scope: None }));
        for batch in batches {
            hub.history.push(batch, now);
            hub.topics.push(batch);
        }
        hub.history.age(now, last.revision);
        let touched = hub.topics.take_touched();
        self.published.send_replace(last.revision);
        drop(hub);
        for topic in touched {
            topic.wake();
        }
    }

    /// Moves the revision on past revisions that changed nothing which is held here.
    pub(crate) fn advance(&self, revision: Revision) {
        let _hub = self.hub.lock();
        let head = self.head.load();
        if revision > head.revision {
            self.head.store(Arc::new(Snapshot { revision, tree: head.tree.clone(), scope: None }));
            self.published.send_replace(revision);
        }
    }

    pub(crate) fn head(&self) -> Arc<Snapshot> {
        self.head.load_full()
    }

    pub(crate) fn published(&self) -> Revision {
        *self.published.borrow()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Revision> {
        self.published.subscribe()
    }

    pub(crate) fn hub(&self) -> parking_lot::MutexGuard<'_, Hub> {
        self.hub.lock()
    }

    /// `span` as it stood at `revision`.
    pub(crate) fn at(&self, revision: Revision, span: &Span) -> Result<Snapshot, ReadError> {
        let (mut view, undo) = {
            let hub = self.hub.lock();
            let head = self.head.load();
            if revision > head.revision {
                return Err(ReadError::Future { wanted: revision, current: head.revision });
            }
            // The nearest later view of the same span has the least to undo.
            let views = hub.views.iter().filter(|view| view.revision >= revision);
            let near =
                views.filter(|view| view.scope.as_ref() == Some(span)).min_by_key(|view| view.revision);
            let base = near.unwrap_or(&head).clone();
            let undo = hub.history.undo(span, base.revision, revision)?;
            (base, undo)
        };
        if view.revision == revision {
            return Ok(view);
        }
        rewind(&mut view.tree, &undo, span);
        let view = Snapshot { revision, tree: view.tree, scope: Some(span.clone()) };
        let mut hub = self.hub.lock();
        hub.views.push_back(view.clone());
        if hub.views.len() > VIEWS {
            hub.views.pop_front();
        }
        Ok(view)
    }

    /// The change that `revision` made to `key`, where the history still has it.
    pub(crate) fn written(&self, key: &str, revision: Revision) -> Option<Arc<Event>> {
        self.hub.lock().history.written(key, revision)
    }

    /// Lets time pass: what is over age leaves the history and the topics.
    pub(crate) fn age(&self, now: Duration) {
        let mut hub = self.hub.lock();
        let current = self.head.load().revision;
        hub.history.age(now, current);
        hub.forget_with_history();
    }

    pub(crate) fn compact(&self, revision: Revision) {
        let mut hub = self.hub.lock();
        let current = self.head.load().revision;
        hub.history.compact(revision.min(current));
        hub.forget_with_history();
    }

    pub(crate) fn annotate(&self, key: &str, value: &Bytes) -> Note {
        self.annotate.annotate(key, value)
    }

    /// Ends every watch and wait with the reason. The first reason stands.
    pub(crate) fn stop(&self, reason: Arc<str>) {
        let _ = self.stopped.set(reason);
        self.hub.lock().topics.wake_all();
        self.published.send_modify(|_| ());
    }

    pub(crate) fn stopped(&self) -> Option<Arc<str>> {
        self.stopped.get().cloned()
    }
}

impl Hub {
    fn forget_with_history(&mut self) {
        let Hub { history, topics, views } = self;
        topics.forget(|span| history.floor(span));
        views.retain(|view| view.scope.as_ref().is_some_and(|span| view.revision >= history.floor(span)));
    }
}
