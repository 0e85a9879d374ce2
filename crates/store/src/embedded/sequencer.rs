//! One thread that puts all writes in order.
//!
//! Writers leave their requests in a bounded queue. The thread takes whatever has gathered, decides each request
//! over the state that the ones before it leave, commits the lot as one transaction, publishes, and only then
//! answers anybody, refusals included: a refusal speaks of a state that must be durable too.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use base::clock::Wall;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::disk::{Change, Contents, Disk};
use super::record::{self, Header};
use crate::backend::{Action, Backend, Expiry, Pending, Write, Written, decide};
use crate::entry::{Entry, Revision};
use crate::error::{ReadError, WriteError};
use crate::history::{Batch, Event};
use crate::index::Index;

/// Requests that may wait; a writer that finds the queue full waits for room.
const QUEUE: usize = 4_096;
/// Requests that share one commit, and the bytes at which a commit takes no more of them.
const BATCH: usize = 1_024;
const BATCH_BYTES: usize = 8 << 20;
/// Clients that were just answered ask again within moments. While fewer requests have come than the last commit
/// answered, the thread waits for more, a step at a time, for as long as each step brings some.
const LINGER_STEP: Duration = Duration::from_micros(30);
const LINGER_STEPS: usize = 4;
/// Keys that one pass deletes because they expired; the rest follow in the next pass.
const EXPIRE_AT_ONCE: usize = 1_024;

pub(crate) struct Sequencer {
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    closed: tokio::sync::watch::Receiver<bool>,
    index: Arc<Index>,
}

enum Request {
    Write(Write, Answer),
    /// Delete what is due, and say when that is done.
    Expire(oneshot::Sender<()>),
}

type Answer = oneshot::Sender<Result<Written, WriteError>>;

impl Sequencer {
    pub(super) fn start(disk: Disk, contents: Contents, index: Arc<Index>) -> Sequencer {
        let (requests, queue) = mpsc::channel(QUEUE);
        let (done, closed) = tokio::sync::watch::channel(false);
        let deadlines = contents.entries.iter().filter_map(deadline).collect();
        let revision = contents.revision;
        index.load(contents.entries, revision);
        let thread = Thread { disk, index: index.clone(), revision, deadlines };
        let run = move || {
            thread.run(queue);
            done.send_replace(true);
        };
        std::thread::Builder::new()
            .name("store".into())
            .spawn(run)
            .expect("a process that has just started can make a thread");
        Sequencer { requests: Mutex::new(Some(requests)), closed, index }
    }

    fn stopped(&self) -> WriteError {
        WriteError::Stopped(self.index.stopped().unwrap_or_else(|| "it was closed".into()))
    }

    async fn send(&self, request: Request) -> Result<(), WriteError> {
        let requests = self.requests.lock().clone();
        let Some(requests) = requests else { return Err(self.stopped()) };
        requests.send(request).await.map_err(|_| self.stopped())
    }
}

impl Backend for Sequencer {
    fn write(&self, write: Write) -> Pending<'_, Result<Written, WriteError>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            self.send(Request::Write(write, answer)).await?;
            answered.await.unwrap_or_else(|_| Err(self.stopped()))
        })
    }

    fn barrier(&self) -> Pending<'_, Result<Revision, ReadError>> {
        // A write is published before it is answered.
        Box::pin(async { Ok(self.index.published()) })
    }

    fn expire(&self) -> Pending<'_, Result<(), WriteError>> {
        Box::pin(async move {
            let (done, finished) = oneshot::channel();
            self.send(Request::Expire(done)).await?;
            finished.await.map_err(|_| self.stopped())
        })
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            self.requests.lock().take();
            let mut closed = self.closed.clone();
            // The sender lives as long as the thread, so an error means that it has ended as well.
            let _ = closed.wait_for(|closed| *closed).await;
        })
    }
}

/// What only the thread touches.
struct Thread {
    disk: Disk,
    index: Arc<Index>,
    revision: Revision,
    /// The keys that expire, soonest first.
    deadlines: BTreeSet<(Wall, Arc<str>)>,
}

/// Everything that one commit decides.
#[derive(Default)]
struct Group {
    changes: Vec<Change>,
    batches: Vec<Arc<Batch>>,
    /// What the changes so far leave under the keys that they touch.
    ahead: HashMap<Arc<str>, Option<Arc<Entry>>>,
    answers: Vec<(Answer, Result<Written, WriteError>)>,
    expired: Vec<oneshot::Sender<()>>,
    bytes: usize,
}

impl Thread {
    fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let (mut taken, mut last) = (Vec::new(), 0);
        while queue.blocking_recv_many(&mut taken, BATCH) > 0 {
            linger(&mut queue, &mut taken, last);
            last = taken.len();
            let mut group = Group::default();
            for request in taken.drain(..) {
                if group.bytes > BATCH_BYTES && !self.finish(std::mem::take(&mut group)) {
                    return refuse(queue);
                }
                match request {
                    Request::Write(write, answer) => {
                        let outcome = self.decide(&mut group, write);
                        group.answers.push((answer, outcome));
                    }
                    Request::Expire(done) => {
                        self.expire(&mut group);
                        group.expired.push(done);
                    }
                }
            }
            if !self.finish(group) {
                return refuse(queue);
            }
        }
    }

    /// Commits, publishes, answers. False when the disk failed: from then on nothing may be written.
    fn finish(&mut self, group: Group) -> bool {
        if !group.changes.is_empty() {
            let revision = self.revision + group.batches.len() as Revision;
            if let Err(error) = self.disk.commit(&group.changes, revision) {
                let reason: Arc<str> = format!("a write did not reach the disk: {error}").into();
                self.index.stop(reason.clone());
                for (answer, _) in group.answers {
                    let _ = answer.send(Err(WriteError::Stopped(reason.clone())));
                }
                return false;
            }
            self.revision = revision;
            for event in group.batches.iter().flat_map(|batch| &batch.events) {
                if let Some(old) = event.previous.as_ref().and_then(deadline) {
                    self.deadlines.remove(&old);
                }
                self.deadlines.extend(event.entry.as_ref().and_then(deadline));
            }
            self.index.publish(&group.batches);
        }
        // Whoever no longer waits has hung up; the write stands.
        for (answer, outcome) in group.answers {
            let _ = answer.send(outcome);
        }
        for done in group.expired {
            let _ = done.send(());
        }
        true
    }

    fn decide(&self, group: &mut Group, write: Write) -> Result<Written, WriteError> {
        let Write { key, action } = write;
        let current = match group.ahead.get(&key) {
            Some(ahead) => ahead.clone(),
            None => self.index.head().get(&key).cloned(),
        };
        decide(&key, &action, current.as_ref())?;
        let draft = match action {
            Action::Create(draft) | Action::Update(draft, _) => draft,
            Action::Delete(_) => {
                let entry = current.expect("a delete is let through only over a version");
                let revision = self.push(group, None, key, None, Some(entry.clone()));
                return Ok(Written { revision, entry });
            }
        };
        let revision = self.next(group);
        let header = Header {
            // One text serves all versions of a key.
            key: current.as_ref().map_or(key, |current| current.key.clone()),
            created: current.as_ref().map_or(revision, |current| current.created),
            expires: match draft.expiry {
                Expiry::Never => None,
                Expiry::After(ttl) => Some(self.index.clock.wall().plus(ttl)),
                Expiry::Keep => current.as_ref().and_then(|current| current.expires),
            },
            stamp: draft.stamp,
        };
        let record = record::encode(&header, &draft.stored);
        let entry = Arc::new(Entry {
            key: header.key,
            value: draft.value,
            created: header.created,
            modified: revision,
            stamp: header.stamp,
            expires: header.expires,
            sealed: draft.sealed,
            note: draft.note,
        });
        group.bytes += record.len();
        let key = entry.key.clone();
        self.push(group, Some(record), key, Some(entry.clone()), current);
        Ok(Written { revision, entry })
    }

    fn expire(&self, group: &mut Group) {
        let now = self.index.clock.wall();
        let due = self.deadlines.iter().take_while(|(at, _)| *at <= now).take(EXPIRE_AT_ONCE);
        let due: Vec<Arc<str>> = due.map(|(_, key)| key.clone()).collect();
        for key in due {
            // A write in this very group may have lifted the limit, or put it off.
            let current = match group.ahead.get(&key) {
                Some(ahead) => ahead.clone(),
                None => self.index.head().get(&key).cloned(),
            };
            if let Some(entry) = current.filter(|entry| entry.expires.is_some_and(|at| at <= now)) {
                self.push(group, None, key, None, Some(entry));
            }
        }
    }

    fn next(&self, group: &Group) -> Revision {
        self.revision + group.batches.len() as Revision + 1
    }

    fn push(
        &self,
        group: &mut Group,
        record: Option<Vec<u8>>,
        key: Arc<str>,
        entry: Option<Arc<Entry>>,
        previous: Option<Arc<Entry>>,
    ) -> Revision {
        let revision = self.next(group);
        group.ahead.insert(key.clone(), entry.clone());
        let gone = previous.as_ref().map(|previous| previous.modified);
        group.changes.push(Change { gone, new: record.map(|record| (revision, record)) });
        group
            .batches
            .push(Arc::new(Batch { revision, events: Box::new([Event::new(key, entry, previous)]) }));
        revision
    }
}

/// Drops every request that is still on its way, which tells its writer that the store has stopped. Dropping the
/// queue alone would keep one that is sent at that very moment, unanswered, for as long as the store lives.
fn refuse(mut queue: mpsc::Receiver<Request>) {
    queue.close();
    while queue.blocking_recv().is_some() {}
}

/// One sync for many writes is worth a short wait; a client on its own never waits.
fn linger(queue: &mut mpsc::Receiver<Request>, taken: &mut Vec<Request>, expected: usize) {
    for _ in 0..LINGER_STEPS {
        let before = taken.len();
        if before >= expected.min(BATCH) {
            return;
        }
        std::thread::sleep(LINGER_STEP);
        while taken.len() < BATCH
            && let Ok(request) = queue.try_recv()
        {
            taken.push(request);
        }
        if taken.len() == before {
            return;
        }
    }
}

fn deadline(entry: &Arc<Entry>) -> Option<(Wall, Arc<str>)> {
    Some((entry.expires?, entry.key.clone()))
}
