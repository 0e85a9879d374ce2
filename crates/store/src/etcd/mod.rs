//! The etcd backend: several servers, one cluster of etcd, which numbers the writes.
//!
//! A write is a transaction that compares and swaps. Whatever etcd commits, for this server or another, comes
//! back through one watch, and only that feeds the index; a write is answered once its own event has arrived, so
//! a server always reads what it wrote.
//!
//! The watch covers the whole key space and not just the store's keys: every revision then has an event, and
//! "has the index reached revision N" needs no progress notifications, which etcd before 3.4.31 and 3.5.13 may
//! send too early.

mod client;
mod compactor;
mod feed;
mod lease;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use base::random::Random;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use self::client::{CallError, Client};
use self::lease::Leases;
use self::wire::{
    Compare, Comparison, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, RangeResponse, Request,
    TxnRequest,
};
use crate::backend::{Action, Backend, Draft, Expiry, Pending, Write, Written};
use crate::entry::{Entry, Revision};
use crate::error::{OpenError, ReadError, WriteError};
use crate::index::Index;
use crate::seal::{self, Sealing};

/// An etcd cluster, and how to reach it.
#[derive(Clone)]
pub struct Etcd {
    /// `http://…` or `https://…`, tried in order.
    pub endpoints: Vec<String>,
    pub tls: Option<EtcdTls>,
    /// How often this server offers to compact; one of the servers that offer does it. `None` leaves it to others.
    pub compact_every: Option<Duration>,
}

/// PEM texts: who signed the servers' certificates, and who we are.
#[derive(Clone)]
pub struct EtcdTls {
    pub authority: Vec<u8>,
    /// A certificate and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// The keys that the index holds.
const PREFIX: &str = "/registry/";
/// The first key after those.
const PREFIX_END: &str = "/registry0";
/// What is added to etcd's revisions: see [`raise`].
const OFFSET_KEY: &str = "boga_revision_offset";
/// Upstream's key, so that upstream servers beside ours take turns with us.
const COMPACT_KEY: &str = "compact_rev_key";

/// How long an acknowledged write waits for its own event before it is answered without.
const ECHO_TIMEOUT: Duration = Duration::from_secs(10);
/// Consistent reads that may wait for the next quorum round; one more waits for room.
const BARRIER_QUEUE: usize = 4_096;

/// What the tasks and the callers share.
struct Shared {
    client: Client,
    index: Arc<Index>,
    sealing: Option<Arc<Sealing>>,
    /// The store's revision less etcd's.
    offset: Revision,
}

pub(crate) struct EtcdBackend {
    shared: Arc<Shared>,
    leases: Leases,
    barriers: mpsc::Sender<oneshot::Sender<Result<Revision, ReadError>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl EtcdBackend {
    pub(crate) async fn open(
        config: &Etcd,
        index: Arc<Index>,
        sealing: Option<Arc<Sealing>>,
        random: Box<dyn Random>,
    ) -> Result<EtcdBackend, OpenError> {
        let client = Client::new(config)?;
        let offset = read_offset(&client).await?;
        let shared = Arc::new(Shared { client, index, sealing, offset });
        let start = feed::load(&shared).await?;
        let (barriers, waiting) = mpsc::channel(BARRIER_QUEUE);
        let mut tasks = vec![
            tokio::spawn(feed::follow(shared.clone(), start, random)),
            tokio::spawn(rounds(shared.clone(), waiting)),
        ];
        if let Some(every) = config.compact_every {
            tasks.push(tokio::spawn(compactor::run(shared.clone(), every)));
        }
        Ok(EtcdBackend { shared, leases: Leases::default(), barriers, tasks })
    }

    async fn put(&self, key: Arc<str>, draft: Draft, expected: Revision) -> Result<Written, WriteError> {
        let name = Bytes::copy_from_slice(key.as_bytes());
        let lease = match draft.expiry {
            Expiry::Never | Expiry::Keep => 0,
            Expiry::After(ttl) => {
                let now = self.shared.index.clock.monotonic();
                self.leases
                    .lease(&self.shared.client, ttl, now)
                    .await
                    .map_err(|error| unavailable(&key, error))?
            }
        };
        let put = PutRequest {
            key: name.clone(),
            value: draft.stored.clone(),
            lease,
            ignore_lease: draft.expiry == Expiry::Keep,
        };
        let request = TxnRequest {
            compare: vec![Compare::written_at(&name, self.shared.theirs(expected))],
            success: vec![Request::Put(put).into()],
            failure: vec![Request::Range(RangeRequest { key: name, ..RangeRequest::default() }).into()],
        };
        let response = self.shared.client.txn(request).await.map_err(|error| write_error(&key, error))?;
        let revision = self.shared.ours(response.header.as_ref().map_or(0, |header| header.revision));
        if !response.succeeded {
            let current = response.found().map(|kv| self.shared.entry(kv)).transpose();
            let current = current.map_err(|error| unreadable(&key, error))?;
            return Err(match current {
                Some(current) if expected == 0 => WriteError::Exists { current },
                Some(current) => WriteError::Conflict { expected, current },
                None => WriteError::Missing { key },
            });
        }
        let echo = self.echo(&key, revision).await;
        let entry = echo.and_then(|event| event.entry.clone()).unwrap_or_else(|| {
            // The event has not come in time; the write stands all the same.
            let Draft { value, sealed, stamp, note, .. } = draft;
            let created = if expected == 0 { revision } else { self.created(&key).unwrap_or(revision) };
            Arc::new(Entry { key, value, created, modified: revision, stamp, expires: None, sealed, note })
        });
        Ok(Written { revision, entry })
    }

    async fn remove(&self, key: Arc<str>, expected: Option<Revision>) -> Result<Written, WriteError> {
        let name = Bytes::copy_from_slice(key.as_bytes());
        let compare = match expected {
            Some(expected) => Compare::written_at(&name, self.shared.theirs(expected)),
            None => Compare::version(Comparison::Greater, &name, 0),
        };
        let request = TxnRequest {
            compare: vec![compare],
            success: vec![Request::Delete(DeleteRangeRequest { key: name.clone(), prev_kv: true }).into()],
            failure: vec![Request::Range(RangeRequest { key: name, ..RangeRequest::default() }).into()],
        };
        let response = self.shared.client.txn(request).await.map_err(|error| write_error(&key, error))?;
        let revision = self.shared.ours(response.header.as_ref().map_or(0, |header| header.revision));
        let succeeded = response.succeeded;
        let found = response.found().map(|kv| self.shared.entry(kv)).transpose();
        let found = found.map_err(|error| unreadable(&key, error))?;
        match (succeeded, found, expected) {
            (true, Some(entry), _) => {
                let echo = self.echo(&key, revision).await;
                let entry = echo.and_then(|event| event.previous.clone()).unwrap_or(entry);
                Ok(Written { revision, entry })
            }
            (false, Some(current), Some(expected)) => Err(WriteError::Conflict { expected, current }),
            _ => Err(WriteError::Missing { key }),
        }
    }

    /// Waits until this write's own event has reached the index.
    async fn echo(&self, key: &str, revision: Revision) -> Option<Arc<crate::history::Event>> {
        let mut published = self.shared.index.subscribe();
        let arrived = published.wait_for(|now| *now >= revision || self.shared.index.stopped().is_some());
        match tokio::time::timeout(ECHO_TIMEOUT, arrived).await {
            Ok(_) => self.shared.index.written(key, revision),
            Err(_) => None,
        }
    }

    fn created(&self, key: &str) -> Option<Revision> {
        Some(self.shared.index.head().get(key)?.created)
    }
}

impl Backend for EtcdBackend {
    fn write(&self, write: Write) -> Pending<'_, Result<Written, WriteError>> {
        let Write { key, action } = write;
        Box::pin(async move {
            if !key.starts_with(PREFIX) {
                return Err(WriteError::Invalid {
                    key,
                    reason: format!("on etcd every key begins with {PREFIX}"),
                });
            }
            match action {
                Action::Create(draft) => self.put(key, draft, 0).await,
                // Revision 0 would stand for an absent key here.
                Action::Update(_, 0) => {
                    Err(WriteError::Invalid { key, reason: "revision 0 has no version".into() })
                }
                Action::Update(draft, expected) => self.put(key, draft, expected).await,
                Action::Delete(expected) => self.remove(key, expected).await,
            }
        })
    }

    fn barrier(&self) -> Pending<'_, Result<Revision, ReadError>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let gone =
                || ReadError::Stopped(self.shared.index.stopped().unwrap_or_else(|| "it was closed".into()));
            self.barriers.send(answer).await.map_err(|_| gone())?;
            // A request that meets the end of the task which answers is dropped by nobody.
            let mut published = self.shared.index.subscribe();
            tokio::select! {
                answer = answered => answer.unwrap_or_else(|_| Err(gone())),
                _ = published.wait_for(|_| self.shared.index.stopped().is_some()) => Err(gone()),
            }
        })
    }

    fn expire(&self) -> Pending<'_, Result<(), WriteError>> {
        // The leases are etcd's.
        Box::pin(async { Ok(()) })
    }

    fn close(&self) -> Pending<'_, ()> {
        self.tasks.iter().for_each(JoinHandle::abort);
        Box::pin(async {})
    }
}

impl Drop for EtcdBackend {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Asks a quorum for its revision, once for all who wait when the round begins.
async fn rounds(
    shared: Arc<Shared>,
    mut waiting: mpsc::Receiver<oneshot::Sender<Result<Revision, ReadError>>>,
) {
    let mut round = Vec::new();
    while waiting.recv_many(&mut round, BARRIER_QUEUE).await > 0 {
        let request = RangeRequest { key: COMPACT_KEY.into(), keys_only: true, ..RangeRequest::default() };
        let outcome = match shared.client.range(request).await {
            Ok(RangeResponse { header: Some(header), .. }) => Ok(shared.ours(header.revision)),
            Ok(_) => Err(ReadError::Unavailable("etcd sent an answer without a revision".into())),
            Err(error) => Err(ReadError::Unavailable(error.to_string().into())),
        };
        for answer in round.drain(..) {
            let _ = answer.send(outcome.clone());
        }
    }
}

impl Shared {
    fn ours(&self, theirs: i64) -> Revision {
        theirs.cast_unsigned() + self.offset
    }

    fn theirs(&self, ours: Revision) -> i64 {
        // A revision from before the store was raised was written by nobody; -1 equals none.
        ours.checked_sub(self.offset).map_or(if ours == 0 { 0 } else { -1 }, |theirs| theirs.cast_signed())
    }

    fn entry(&self, kv: KeyValue) -> Result<Arc<Entry>, OpenError> {
        let key: Arc<str> = match std::str::from_utf8(&kv.key) {
            Ok(key) => key.into(),
            Err(_) => return Err(OpenError::Etcd(format!("the key {:?} is not UTF-8", kv.key))),
        };
        // The message's buffer holds a whole page of values; one that is kept must not keep the others.
        let stored = Bytes::copy_from_slice(&kv.value);
        let (value, sealed) = seal::open(self.sealing.as_deref(), &key, stored)?;
        let note = self.index.annotate(&key, &value);
        let (created, modified) = (self.ours(kv.create_revision), self.ours(kv.mod_revision));
        // etcd has room for the value alone, so how it was encoded is not known.
        Ok(Arc::new(Entry { key, value, created, modified, stamp: None, expires: None, sealed, note }))
    }
}

async fn read_offset(client: &Client) -> Result<Revision, OpenError> {
    let request = RangeRequest { key: OFFSET_KEY.into(), ..RangeRequest::default() };
    let response = client.range(request).await.map_err(|error| OpenError::Etcd(error.to_string()))?;
    let Some(found) = response.kvs.first() else { return Ok(0) };
    let number = std::str::from_utf8(&found.value).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| OpenError::Etcd(format!("the value of {OFFSET_KEY} is not a number")))
}

/// Raises the revisions that servers give out over this cluster to at least `floor`, after a restore or a move
/// from another store: a number that clients have seen must not come back with another meaning. etcd's own
/// counter cannot be set, so what is missing is kept in the cluster and added by every server. Servers that are
/// running stop, and see it when they start again.
pub async fn raise(config: &Etcd, floor: Revision) -> Result<Revision, OpenError> {
    let client = Client::new(config)?;
    let etcd = |error: CallError| OpenError::Etcd(error.to_string());
    let key = Bytes::from_static(OFFSET_KEY.as_bytes());
    loop {
        let request = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        let found = client.range(request).await.map_err(etcd)?;
        let theirs = found.header.map_or(0, |header| header.revision).cast_unsigned();
        let seen = found.kvs.first().map_or(0, |kv| kv.mod_revision);
        let now = read_offset(&client).await?;
        let offset = now.max(floor.saturating_sub(theirs));
        let put = PutRequest { key: key.clone(), value: offset.to_string().into(), ..PutRequest::default() };
        let request = TxnRequest {
            compare: vec![Compare::written_at(&key, seen)],
            success: vec![Request::Put(put).into()],
            failure: Vec::new(),
        };
        if client.txn(request).await.map_err(etcd)?.succeeded {
            return Ok(theirs + offset);
        }
    }
}

fn write_error(key: &Arc<str>, error: CallError) -> WriteError {
    let (key, reason) = (key.clone(), error.to_string());
    match error {
        CallError::NotDone(_) | CallError::Compacted => WriteError::Unavailable { key, reason },
        CallError::Unknown(_) => WriteError::Indeterminate { key, reason },
        CallError::Refused(_) => WriteError::Invalid { key, reason },
    }
}

/// A lease was not granted, so nothing was written.
fn unavailable(key: &Arc<str>, error: CallError) -> WriteError {
    WriteError::Unavailable { key: key.clone(), reason: error.to_string() }
}

/// The write was refused over a version that cannot be opened here.
fn unreadable(key: &Arc<str>, error: OpenError) -> WriteError {
    WriteError::Invalid { key: key.clone(), reason: error.to_string() }
}
