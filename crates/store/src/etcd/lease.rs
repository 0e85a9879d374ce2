//! Leases for keys that expire, shared among keys as upstream shares them: a lease for each key would cost etcd
//! more than the keys do.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::Mutex;

use super::client::{CallError, Client};
use super::wire::LeaseGrantRequest;

/// Keys that one lease may carry, so that its end does not delete too many at once.
const KEYS_PER_LEASE: u32 = 1_000;
/// How much longer than asked a key may live for the sharing of its lease: this part of its time, up to a limit.
const SLACK_PART: u32 = 20;
const SLACK_LIMIT: Duration = Duration::from_secs(60);
/// Different lifetimes whose leases are remembered; beyond that all are forgotten, which costs only new grants.
const LIFETIMES: usize = 64;

#[derive(Default)]
pub(super) struct Leases {
    // Held over the grant, so that a burst of keys asks for one lease.
    open: Mutex<HashMap<Duration, Open>>,
}

struct Open {
    id: i64,
    usable_until: Duration,
    keys: u32,
}

impl Leases {
    /// A lease that lives for `ttl` from `now` at least.
    pub(super) async fn lease(
        &self,
        client: &Client,
        ttl: Duration,
        now: Duration,
    ) -> Result<i64, CallError> {
        let mut open = self.open.lock().await;
        if let Some(lease) = open.get_mut(&ttl)
            && now <= lease.usable_until
            && lease.keys < KEYS_PER_LEASE
        {
            lease.keys += 1;
            return Ok(lease.id);
        }
        let slack = (ttl / SLACK_PART).min(SLACK_LIMIT);
        let seconds = (ttl + slack).as_secs_f64().ceil() as i64;
        let id = client.grant(LeaseGrantRequest { ttl: seconds.max(1) }).await?.id;
        if open.len() >= LIFETIMES {
            open.clear();
        }
        open.insert(ttl, Open { id, usable_until: now + slack, keys: 1 });
        Ok(id)
    }
}
