//! Watching: a watcher is a cursor into shared history, not a queue.
//!
//! Every watcher of one span shares that span's [`Topic`]: a short ring of recent batches and one bell. A write
//! is put into the rings of the spans that cover its key, found by looking up the key's own folders, and rings
//! their bells; nobody else wakes. A watcher reads on from the last revision it has seen, out of the ring or,
//! when it has fallen behind the ring, out of the store's history. When the history too has moved on, it is
//! told that it lagged. So ten thousand watchers cost a pointer each per event, a slow one costs nothing, and
//! none can hold up a writer.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::entry::{Revision, Span};
use crate::error::WatchError;
use crate::history::Batch;
use crate::index::Index;

/// The batches that a topic keeps at hand; whoever is further behind reads the history instead.
const RING: usize = 1_024;
/// The batches that a watcher takes at once; one that stops reading holds no more than these.
const TAKE: usize = 64;

/// The changes of one span, in order, each revision once and whole. Dropping it ends the watch.
pub struct Watcher {
    index: Arc<Index>,
    topic: Arc<Topic>,
    /// Everything up to here has been taken from the topic or the history.
    taken: Revision,
    /// Everything up to here has been handed out.
    seen: Revision,
    ready: VecDeque<Arc<Batch>>,
}

impl Watcher {
    /// Watches `span` for everything after revision `from`, which may lie in the future.
    pub(crate) fn start(index: &Arc<Index>, span: &Span, from: Revision) -> Result<Watcher, WatchError> {
        let mut hub = index.hub();
        let oldest = hub.history.floor(span);
        if from < oldest {
            return Err(WatchError::Compacted { from, oldest });
        }
        let current = index.published();
        let topic = hub.topics.join(span, current);
        drop(hub);
        Ok(Watcher { index: index.clone(), topic, taken: from, seen: from, ready: VecDeque::new() })
    }

    /// The next revision that changed the span. Cancelling the future loses nothing.
    pub async fn next(&mut self) -> Result<Arc<Batch>, WatchError> {
        loop {
            if let Some(batch) = self.try_next()? {
                return Ok(batch);
            }
            let topic = self.topic.clone();
            let mut rung = std::pin::pin!(topic.bell.notified());
            rung.as_mut().enable();
            // What came between the look and the enabling would ring no more.
            if let Some(batch) = self.try_next()? {
                return Ok(batch);
            }
            if let Some(reason) = self.index.stopped() {
                return Err(WatchError::Stopped(reason));
            }
            rung.await;
        }
    }

    /// The next revision if it is there already.
    pub fn try_next(&mut self) -> Result<Option<Arc<Batch>>, WatchError> {
        if self.ready.is_empty() {
            self.take()?;
        }
        let Some(batch) = self.ready.pop_front() else {
            self.seen = self.seen.max(self.taken);
            return Ok(None);
        };
        self.seen = batch.revision;
        Ok(Some(batch))
    }

    /// A revision up to which this watcher has handed out every event: what a bookmark may say.
    pub fn progress(&self) -> Revision {
        if !self.ready.is_empty() {
            return self.seen;
        }
        // Read before the ring is, so that all up to here has reached the ring.
        let published = self.index.published();
        let ring = self.topic.ring.lock();
        let next = ring.batches.partition_point(|batch| batch.revision <= self.taken);
        let caught_up = self.taken >= ring.complete_after && next == ring.batches.len();
        if caught_up { published.max(self.taken) } else { self.seen }
    }

    fn take(&mut self) -> Result<(), WatchError> {
        loop {
            let published = self.index.published();
            {
                let ring = self.topic.ring.lock();
                if self.taken >= ring.complete_after {
                    let next = ring.batches.partition_point(|batch| batch.revision <= self.taken);
                    self.ready.extend(ring.batches.range(next..).take(TAKE).cloned());
                    match self.ready.back() {
                        Some(last) => self.taken = last.revision,
                        None => self.taken = self.taken.max(published),
                    }
                    return Ok(());
                }
            }
            let hub = self.index.hub();
            let oldest = hub.history.floor(&self.topic.span);
            if self.taken < oldest {
                return Err(WatchError::Lagged { at: self.seen, oldest });
            }
            let current = self.index.published();
            let (batches, complete_to) = hub.history.after(self.taken, &self.topic.span, TAKE, current);
            drop(hub);
            self.ready.extend(batches);
            self.taken = self.taken.max(complete_to);
            if !self.ready.is_empty() {
                return Ok(());
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.index.hub().topics.leave(&self.topic);
    }
}

/// What all watchers of one span share.
pub(crate) struct Topic {
    span: Span,
    /// Changed only under the hub's lock, so the last to leave sees that it is the last.
    watchers: AtomicUsize,
    ring: Mutex<Ring>,
    bell: Notify,
}

struct Ring {
    /// The ring holds every batch after this revision.
    complete_after: Revision,
    batches: VecDeque<Arc<Batch>>,
}

impl Topic {
    pub(crate) fn wake(&self) {
        self.bell.notify_waiters();
    }
}

/// The topics that somebody watches, by what they cover.
#[derive(Default)]
pub(crate) struct Topics {
    folders: HashMap<Arc<str>, Arc<Topic>>,
    keys: HashMap<Arc<str>, Arc<Topic>>,
    touched: Vec<Arc<Topic>>,
}

impl Topics {
    fn join(&mut self, span: &Span, current: Revision) -> Arc<Topic> {
        let topics = self.of_kind(span);
        let fresh = || {
            let ring = Mutex::new(Ring { complete_after: current, batches: VecDeque::new() });
            Arc::new(Topic { span: span.clone(), watchers: AtomicUsize::new(0), ring, bell: Notify::new() })
        };
        let topic = topics.entry(span.text().clone()).or_insert_with(fresh);
        topic.watchers.fetch_add(1, Ordering::Relaxed);
        topic.clone()
    }

    /// The last watcher takes the topic with it.
    fn leave(&mut self, topic: &Arc<Topic>) {
        if topic.watchers.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.of_kind(&topic.span).remove(topic.span.text());
        }
    }

    fn of_kind(&mut self, span: &Span) -> &mut HashMap<Arc<str>, Arc<Topic>> {
        match span {
            Span::Folder(_) => &mut self.folders,
            Span::Key(_) => &mut self.keys,
        }
    }

    pub(crate) fn push(&mut self, batch: &Arc<Batch>) {
        let Topics { folders, keys, touched } = self;
        for event in &batch.events {
            let above = event.key.match_indices('/').map(|(at, _)| &event.key[..=at]);
            let covering = above.filter_map(|folder| folders.get(folder)).chain(keys.get(&event.key));
            for topic in covering {
                let mut ring = topic.ring.lock();
                let again = ring.batches.back().is_some_and(|last| last.revision == batch.revision);
                if let Some(part) = batch.within(&topic.span)
                    && !again
                {
                    ring.batches.push_back(part);
                    if ring.batches.len() > RING {
                        let oldest = ring.batches.pop_front().expect("the ring is not empty");
                        ring.complete_after = oldest.revision;
                    }
                }
                drop(ring);
                if !touched.iter().any(|seen| Arc::ptr_eq(seen, topic)) {
                    touched.push(topic.clone());
                }
            }
        }
    }

    /// The topics pushed to since the last call, to be woken once the lock is released.
    pub(crate) fn take_touched(&mut self) -> Vec<Arc<Topic>> {
        std::mem::take(&mut self.touched)
    }

    /// Lets go of batches that the history no longer keeps.
    pub(crate) fn forget(&self, floor: impl Fn(&Span) -> Revision) {
        for topic in self.all() {
            let floor = floor(&topic.span);
            let mut ring = topic.ring.lock();
            let gone = ring.batches.partition_point(|batch| batch.revision <= floor);
            ring.batches.drain(..gone);
            ring.complete_after = ring.complete_after.max(floor);
        }
    }

    /// After the whole state was replaced: only a watcher that has seen `revision` can go on.
    pub(crate) fn restart(&self, revision: Revision) {
        for topic in self.all() {
            let mut ring = topic.ring.lock();
            ring.batches.clear();
            ring.complete_after = revision;
            topic.wake();
        }
    }

    pub(crate) fn wake_all(&self) {
        self.all().for_each(|topic| topic.wake());
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.folders.values().chain(self.keys.values())
    }
}
