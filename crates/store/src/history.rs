//! What happened lately: the events that resume watches and rebuild views of the past.
//!
//! History is kept in one queue per resource folder (see [`shard_of`]). All queues share one bound in time and
//! one in bytes, but when the bytes run out it is the largest queue that loses its oldest events: a busy
//! resource that nobody watches never shortens the history of a quiet one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::entry::{Entry, Note, Revision, Span, shard_of};
use crate::error::ReadError;
use crate::tree::Tree;

/// One change of one key.
pub struct Event {
    pub key: Arc<str>,
    /// The version written, or `None` when the key was deleted.
    pub entry: Option<Arc<Entry>>,
    /// The version before, or `None` when the key was created.
    pub previous: Option<Arc<Entry>>,
    /// Room for what a reader computes once and every watcher shares, such as an encoded frame.
    pub memo: OnceLock<Note>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Create,
    Update,
    Delete,
}

impl Event {
    pub(crate) fn new(key: Arc<str>, entry: Option<Arc<Entry>>, previous: Option<Arc<Entry>>) -> Arc<Event> {
        Arc::new(Event { key, entry, previous, memo: OnceLock::new() })
    }

    pub fn kind(&self) -> EventKind {
        match (&self.entry, &self.previous) {
            (None, _) => EventKind::Delete,
            (Some(_), None) => EventKind::Create,
            (Some(_), Some(_)) => EventKind::Update,
        }
    }

    fn bytes(&self) -> usize {
        // The record, the entry and the note beside it; an estimate is enough for a bound.
        const OVERHEAD: usize = 256;
        let value = |entry: &Option<Arc<Entry>>| entry.as_ref().map_or(0, |e| e.value.len());
        OVERHEAD + self.key.len() + value(&self.entry).max(value(&self.previous))
    }
}

/// Everything that one revision changed; it is delivered whole.
pub struct Batch {
    pub revision: Revision,
    pub events: Box<[Arc<Event>]>,
}

impl Batch {
    /// The part of this batch that lies in `span`: itself, shared, when that is all of it.
    pub(crate) fn within(self: &Arc<Batch>, span: &Span) -> Option<Arc<Batch>> {
        let inside = self.events.iter().filter(|event| span.contains(&event.key)).count();
        if inside == 0 {
            return None;
        }
        if inside == self.events.len() {
            return Some(self.clone());
        }
        let events = self.events.iter().filter(|event| span.contains(&event.key)).cloned().collect();
        Some(Arc::new(Batch { revision: self.revision, events }))
    }
}

/// How much of the past is kept; whichever bound is reached first counts.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    pub age: Duration,
    pub bytes: usize,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { age: Duration::from_secs(300), bytes: 64 << 20 }
    }
}

/// How often the clock's hand is noted against the revision: the grain of compaction by age.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);

pub(crate) struct History {
    retention: Retention,
    shards: BTreeMap<Arc<str>, Shard>,
    bytes: usize,
    /// Nothing before this revision was ever in memory, or it was compacted by request.
    base: Revision,
    /// The store's revision as of one retention age ago. Reads at older revisions expire even where the events
    /// to rebuild them happen to be left, so that a continue token lives equally long everywhere.
    aged: Revision,
    samples: VecDeque<(Duration, Revision)>,
}

#[derive(Default)]
struct Shard {
    /// The newest event that was dropped: the shard is complete after this revision.
    floor: Revision,
    kept: VecDeque<Kept>,
    bytes: usize,
}

struct Kept {
    batch: Arc<Batch>,
    at: Duration,
    bytes: usize,
}

impl History {
    pub(crate) fn starting_at(base: Revision, retention: Retention) -> History {
        let (shards, samples) = (BTreeMap::new(), VecDeque::new());
        History { retention, shards, bytes: 0, base, aged: base, samples }
    }

    pub(crate) fn push(&mut self, batch: &Arc<Batch>, now: Duration) {
        for event in &batch.events {
            let name = shard_of(&event.key);
            if !self.shards.contains_key(name) {
                self.shards.insert(name.into(), Shard::default());
            }
            let shard = self.shards.get_mut(name).expect("it was just inserted");
            let bytes = event.bytes();
            (shard.bytes, self.bytes) = (shard.bytes + bytes, self.bytes + bytes);
            match shard.kept.back_mut() {
                Some(last) if last.batch.revision == batch.revision => last.bytes += bytes,
                _ => shard.kept.push_back(Kept { batch: batch.clone(), at: now, bytes }),
            }
        }
        self.shrink();
    }

    /// Drops what is over age at `now`. Also called when nothing is written, so that a quiet store forgets too.
    pub(crate) fn age(&mut self, now: Duration, current: Revision) {
        if self.samples.back().is_none_or(|(at, _)| now.saturating_sub(*at) >= SAMPLE_EVERY) {
            self.samples.push_back((now, current));
        }
        let over = |at: Duration| now.saturating_sub(at) > self.retention.age;
        while let Some((at, revision)) = self.samples.front().copied()
            && over(at)
        {
            self.aged = self.aged.max(revision);
            self.samples.pop_front();
        }
        for shard in self.shards.values_mut() {
            while shard.kept.front().is_some_and(|kept| over(kept.at)) {
                self.bytes -= shard.drop_oldest();
            }
        }
    }

    /// Forgets everything up to and including `revision`.
    pub(crate) fn compact(&mut self, revision: Revision) {
        self.base = self.base.max(revision);
        for shard in self.shards.values_mut() {
            while shard.kept.front().is_some_and(|kept| kept.batch.revision <= revision) {
                self.bytes -= shard.drop_oldest();
            }
        }
    }

    fn shrink(&mut self) {
        while self.bytes > self.retention.bytes {
            let largest = self.shards.values_mut().max_by_key(|shard| shard.bytes);
            let shard = largest.expect("bytes are held, so some shard holds them");
            self.bytes -= shard.drop_oldest();
        }
    }

    /// The revision after which every event of `span` is still here.
    pub(crate) fn floor(&self, span: &Span) -> Revision {
        self.shards_of(span).map(|shard| shard.floor).max().unwrap_or(0).max(self.base)
    }

    /// The next `limit` batches of `span` after `from`, and the revision up to which they are all there is.
    pub(crate) fn after(
        &self,
        from: Revision,
        span: &Span,
        limit: usize,
        current: Revision,
    ) -> (Vec<Arc<Batch>>, Revision) {
        // Each shard gives its first few; merged by revision, the first few of those are the first of all.
        let mut found: Vec<Arc<Batch>> = Vec::new();
        let mut complete_to = current;
        for shard in self.shards_of(span) {
            let mut taken = 0;
            for (scanned, kept) in shard.after(from).enumerate() {
                if taken == limit || scanned == SCAN_AT_ONCE {
                    complete_to = complete_to.min(kept.batch.revision - 1);
                    break;
                }
                if let Some(batch) = kept.batch.within(span) {
                    found.push(batch);
                    taken += 1;
                }
            }
        }
        found.sort_by_key(|batch| batch.revision);
        found.dedup_by_key(|batch| batch.revision);
        found.retain(|batch| batch.revision <= complete_to);
        if found.len() > limit {
            complete_to = found[limit].revision - 1;
            found.truncate(limit);
        }
        (found, complete_to)
    }

    /// What must be undone, newest first, to get from a later view of `span` back to `revision`.
    pub(crate) fn undo(
        &self,
        span: &Span,
        current: Revision,
        revision: Revision,
    ) -> Result<Vec<Arc<Batch>>, ReadError> {
        let oldest = self.floor(span).max(self.aged);
        if revision < oldest {
            return Err(ReadError::Compacted { wanted: revision, oldest });
        }
        let mut batches: Vec<Arc<Batch>> = Vec::new();
        for shard in self.shards_of(span) {
            let later = shard.after(revision).take_while(|kept| kept.batch.revision <= current);
            batches.extend(later.map(|kept| kept.batch.clone()));
        }
        batches.sort_by_key(|batch| std::cmp::Reverse(batch.revision));
        batches.dedup_by_key(|batch| batch.revision);
        Ok(batches)
    }

    /// The version that `revision` wrote under `key`, if that revision is still here.
    pub(crate) fn written(&self, key: &str, revision: Revision) -> Option<Arc<Event>> {
        let shard = self.shards.get(shard_of(key))?;
        let kept = shard.after(revision.checked_sub(1)?).next()?;
        let batch = Some(&kept.batch).filter(|batch| batch.revision == revision)?;
        batch.events.iter().find(|event| &*event.key == key).cloned()
    }

    fn shards_of<'a>(&'a self, span: &Span) -> impl Iterator<Item = &'a Shard> + use<'a> {
        // A folder above the shards covers all that lie below it; any other span lies within one.
        let wide = matches!(span, Span::Folder(folder) if folder.matches('/').count() < 3);
        let first: Arc<str> = if wide { span.text().clone() } else { shard_of(span.text()).into() };
        self.shards
            .range(first.clone()..)
            .take_while(move |(name, _)| if wide { name.starts_with(&*first) } else { ***name == *first })
            .map(|(_, shard)| shard)
    }
}

/// How much one look into the history reads before it lets writers in again.
const SCAN_AT_ONCE: usize = 4_096;

impl Shard {
    fn after(&self, revision: Revision) -> impl Iterator<Item = &Kept> {
        let start = self.kept.partition_point(|kept| kept.batch.revision <= revision);
        self.kept.range(start..)
    }

    fn drop_oldest(&mut self) -> usize {
        let oldest = self.kept.pop_front().expect("only a shard that holds something is asked to drop");
        self.floor = oldest.batch.revision;
        self.bytes -= oldest.bytes;
        oldest.bytes
    }
}

/// Takes back what `batches`, newest first, did below `span`.
pub(crate) fn rewind(tree: &mut Tree, batches: &[Arc<Batch>], span: &Span) {
    for event in batches.iter().flat_map(|batch| batch.events.iter().rev()) {
        if !span.contains(&event.key) {
            continue;
        }
        match &event.previous {
            Some(previous) => tree.insert(previous.clone()),
            None => tree.remove(&event.key),
        };
    }
}
