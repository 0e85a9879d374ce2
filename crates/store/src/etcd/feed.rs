//! From etcd to the index: everything at one revision, then every event after it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base::backoff::Backoff;
use base::random::Random;
use bytes::Bytes;
use tonic::codegen::tokio_stream::{self, StreamExt};

use super::client::CallError;
use super::wire::{EventType, RangeRequest, WatchCreate, WatchRequest, WatchResponse, WireEvent};
use super::{OFFSET_KEY, PREFIX, PREFIX_END, Shared};
use crate::entry::{Entry, Revision};
use crate::error::OpenError;
use crate::history::{Batch, Event};

/// Keys that one page of the first list holds.
const PAGE: i64 = 500;
/// A watch whose creation is not confirmed within this time is given up.
const CREATE_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_DELAY: Duration = Duration::from_millis(20);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// Fragments of one revision that are put together; a transaction of etcd's is far smaller.
const FRAGMENTS_BYTES: usize = 256 << 20;

/// Where the watch goes on: the cluster, and the last of its revisions that the index has.
#[derive(Clone, Copy)]
pub(super) struct Position {
    cluster: u64,
    revision: i64,
}

/// Reads all keys as of one revision into the index.
pub(super) async fn load(shared: &Shared) -> Result<Position, OpenError> {
    'again: loop {
        let (mut entries, mut position) = (Vec::new(), None::<Position>);
        let mut from = Bytes::from_static(PREFIX.as_bytes());
        loop {
            let request = RangeRequest {
                key: from.clone(),
                range_end: PREFIX_END.into(),
                limit: PAGE,
                revision: position.map_or(0, |position| position.revision),
                ..RangeRequest::default()
            };
            let page = match shared.client.range(request).await {
                Ok(page) => page,
                // The list took longer than the past is kept; a new one is at a newer revision.
                Err(CallError::Compacted) => continue 'again,
                Err(error) => return Err(OpenError::Etcd(error.to_string())),
            };
            let Some(header) = page.header else {
                return Err(OpenError::Etcd("an answer has no revision".into()));
            };
            let position =
                *position.get_or_insert(Position { cluster: header.cluster_id, revision: header.revision });
            if let Some(last) = page.kvs.last() {
                from = [&last.key[..], b"\0"].concat().into();
            }
            for kv in page.kvs {
                entries.push(shared.entry(kv)?);
            }
            if !page.more {
                shared.index.load(entries, shared.ours(position.revision));
                return Ok(position);
            }
        }
    }
}

/// Why a watch ended.
enum End {
    /// The connection, or the member: go on where it was, on another one.
    Broken(String),
    /// What comes next is compacted: read everything anew.
    Compacted,
    /// Going on would mean serving something untrue.
    Fatal(String),
}

/// Keeps the index up to date for as long as the store lives.
pub(super) async fn follow(shared: Arc<Shared>, start: Position, mut random: Box<dyn Random>) {
    let mut position = start;
    let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
    loop {
        let before = position.revision;
        match watch(&shared, &mut position).await {
            End::Broken(reason) => {
                tracing::warn!(%reason, "the watch on etcd ended; it goes on where it was");
                shared.client.next_endpoint();
            }
            End::Compacted => match load(&shared).await {
                Ok(fresh) => position = fresh,
                Err(error) => tracing::warn!(%error, "etcd could not be read anew"),
            },
            End::Fatal(reason) => return shared.index.stop(reason.into()),
        }
        if position.revision > before {
            backoff.reset();
        }
        tokio::time::sleep(backoff.delay(&mut *random)).await;
    }
}

async fn watch(shared: &Shared, position: &mut Position) -> End {
    let everything = Bytes::from_static(b"\0");
    let create = WatchCreate {
        key: everything.clone(),
        range_end: everything,
        start_revision: position.revision + 1,
        fragment: true,
    };
    // The stream of requests stays open, since its end would end the watch.
    let requests = tokio_stream::once(WatchRequest { create: Some(create) }).chain(tokio_stream::pending());
    let mut responses = match shared.client.watch(requests).await {
        Ok(responses) => responses,
        Err(error) => return End::Broken(error.to_string()),
    };
    let (mut created, mut fragments, mut held) = (false, Vec::new(), 0);
    loop {
        let next = if created {
            responses.message().await
        } else {
            match tokio::time::timeout(CREATE_TIMEOUT, responses.message()).await {
                Ok(next) => next,
                Err(_) => return End::Broken("etcd did not confirm the watch in time".into()),
            }
        };
        let response: WatchResponse = match next {
            Ok(Some(response)) => response,
            Ok(None) => return End::Broken("etcd closed the stream".into()),
            Err(status) => return End::Broken(status.to_string()),
        };
        let Some(header) = &response.header else { return End::Broken("a response has no header".into()) };
        if header.cluster_id != position.cluster {
            return End::Fatal("the endpoints belong to another etcd cluster than before".into());
        }
        if response.compact_revision > 0 {
            return End::Compacted;
        }
        if response.canceled {
            return End::Broken(format!("etcd cancelled the watch: {}", response.cancel_reason));
        }
        if response.created {
            created = true;
            if header.revision < position.revision {
                // A member that lags reports its own, older revision; a restored cluster would report one too, but
                // then a quorum does as well.
                match behind(shared, position).await {
                    Ok(false) => {}
                    Ok(true) => {
                        return End::Fatal("etcd's revision went back: it was restored from a backup; raise its revision and start again".into());
                    }
                    Err(error) => return End::Broken(error.to_string()),
                }
            }
        }
        held += response
            .events
            .iter()
            .filter_map(|event| event.kv.as_ref())
            .map(|kv| kv.value.len())
            .sum::<usize>();
        fragments.extend(response.events);
        if response.fragment {
            if held > FRAGMENTS_BYTES {
                return End::Fatal("one revision of etcd's is too large to hold".into());
            }
            continue;
        }
        held = 0;
        match apply(shared, std::mem::take(&mut fragments), position) {
            Ok(()) => {}
            Err(end) => return end,
        }
    }
}

/// Whether the cluster as a whole is at an earlier revision than the index.
async fn behind(shared: &Shared, position: &Position) -> Result<bool, CallError> {
    let request = RangeRequest { key: OFFSET_KEY.into(), keys_only: true, ..RangeRequest::default() };
    let header = shared.client.range(request).await?.header;
    Ok(header.is_some_and(|header| header.revision < position.revision))
}

/// Publishes whole revisions.
fn apply(shared: &Shared, events: Vec<WireEvent>, position: &mut Position) -> Result<(), End> {
    let mut batches: Vec<Arc<Batch>> = Vec::new();
    // What the events so far leave under their keys.
    let mut ahead: HashMap<Bytes, Option<Arc<Entry>>> = HashMap::new();
    let head = shared.index.head();
    let mut events = events.into_iter().filter_map(|event| Some((event.kind, event.kv?))).peekable();
    let mut reached = position.revision;
    while let Some((_, kv)) = events.peek() {
        let revision = kv.mod_revision;
        if revision < reached {
            return Err(End::Fatal(format!("etcd sent revision {revision} after {reached}")));
        }
        let mut changes = Vec::new();
        while let Some((kind, kv)) = events.next_if(|(_, kv)| kv.mod_revision == revision) {
            if kv.key == OFFSET_KEY {
                return Err(End::Fatal("the revisions of this etcd cluster were raised; start again".into()));
            }
            if !kv.key.starts_with(PREFIX.as_bytes()) {
                continue;
            }
            let Ok(text) = std::str::from_utf8(&kv.key) else {
                return Err(End::Fatal(format!("the key {:?} is not UTF-8", kv.key)));
            };
            let previous = match ahead.get(&kv.key) {
                Some(ahead) => ahead.clone(),
                None => head.get(text).cloned(),
            };
            let key = previous.as_ref().map_or_else(|| text.into(), |previous| previous.key.clone());
            let name = kv.key.clone();
            let entry = match EventType::try_from(kind) {
                Ok(EventType::Put) => Some(shared.entry(kv).map_err(|error| End::Fatal(error.to_string()))?),
                Ok(EventType::Delete) => None,
                Err(_) => return Err(End::Fatal(format!("etcd sent an event of the unknown kind {kind}"))),
            };
            ahead.insert(name, entry.clone());
            // A key that came and went within one transaction changed nothing that was ever seen.
            if entry.is_some() || previous.is_some() {
                changes.push(Event::new(key, entry, previous));
            }
        }
        reached = revision;
        if !changes.is_empty() {
            batches.push(Arc::new(Batch { revision: shared.ours(revision), events: changes.into() }));
        }
    }
    shared.index.publish(&batches);
    shared.index.advance(shared.ours(reached) as Revision);
    position.revision = reached;
    Ok(())
}
