//! Compaction: of all the servers, upstream's included, one at a time.
//!
//! Every server offers in turn. The version of one key counts the compactions; whoever raises it from the number
//! it saw last compacts, to the revision that it noted one interval ago. So the past lives for one interval at
//! least, whichever server it is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::client::CallError;
use super::wire::{CompactionRequest, Compare, Comparison, PutRequest, RangeRequest, Request, TxnRequest};
use super::{COMPACT_KEY, Shared};

/// The count of compactions seen last, and etcd's revision at that time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    count: i64,
    revision: i64,
}

pub(super) async fn run(shared: Arc<Shared>, every: Duration) {
    let mut seen = Seen::default();
    loop {
        match offer(&shared, seen).await {
            Ok(next) => seen = next,
            Err(error) => tracing::warn!(%error, "etcd was not compacted; the next turn tries again"),
        }
        tokio::time::sleep(every).await;
    }
}

async fn offer(shared: &Shared, seen: Seen) -> Result<Seen, CallError> {
    let key = Bytes::from_static(COMPACT_KEY.as_bytes());
    let put =
        PutRequest { key: key.clone(), value: seen.revision.to_string().into(), ..PutRequest::default() };
    let request = TxnRequest {
        compare: vec![Compare::version(Comparison::Equal, &key, seen.count)],
        success: vec![Request::Put(put).into()],
        failure: vec![Request::Range(RangeRequest { key, ..RangeRequest::default() }).into()],
    };
    let response = shared.client.txn(request).await?;
    let revision = response.header.as_ref().map_or(0, |header| header.revision);
    if !response.succeeded {
        // Another server was faster; the count to wait for is its.
        return Ok(Seen { count: response.found().map_or(0, |kv| kv.version), revision });
    }
    if seen.revision > 0 {
        match shared.client.compact(CompactionRequest { revision: seen.revision }).await {
            Ok(_) | Err(CallError::Compacted) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Seen { count: seen.count + 1, revision })
}
