//! Concurrent clients with faults, over both backends, and what they saw put to the checker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::clock::SimClock;
use base::random::{Random, SeededRandom};
use store::*;
use tokio::task::JoinSet;

use crate::faulty::{Fault, FaultyDisk};
use crate::linear::{Action, Operation, Outcome, violation};
use crate::rig::{Place, Rig};
use crate::seeds;

const CLIENTS: u64 = 6;
const KEYS: u64 = 3;

/// Numbers the values, and the moments.
#[derive(Clone, Default)]
struct Counters {
    value: Arc<AtomicU64>,
    moment: Arc<AtomicU64>,
}

impl Counters {
    fn value(&self) -> u64 {
        self.value.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn moment(&self) -> u64 {
        self.moment.fetch_add(1, Ordering::SeqCst)
    }
}

/// A seeded client that writes over what it last saw, whether or not that is still there.
async fn client(store: Store, counters: Counters, mut random: SeededRandom, steps: u64) -> Vec<Operation> {
    let mut history = Vec::new();
    let mut seen: [Option<(u64, Revision)>; KEYS as usize] = Default::default();
    for _ in 0..steps {
        let key = random.below(KEYS);
        let path = format!("/registry/things/k{key}");
        let fresh = counters.value();
        let put = Put::new(path.clone(), fresh.to_string());
        let called = counters.moment();
        let (action, outcome) = match (random.below(5), seen[key as usize]) {
            (0, Some((value, at))) => {
                (Action::Delete(value), store.delete(&path, Some(at)).await.map(|_| None))
            }
            (1 | 2, Some((value, at))) => {
                (Action::Update(value, fresh), store.update(put, at).await.map(Some))
            }
            (3, _) => (Action::Create(fresh), store.create(put).await.map(Some)),
            _ => {
                let read = store.latest().await.map(|snapshot| snapshot.get(&path).cloned());
                let answered = counters.moment();
                // A read that failed has seen nothing.
                if let Ok(found) = read {
                    seen[key as usize] = found.as_ref().map(|entry| (number(entry), entry.modified));
                    let outcome = Outcome::Found(found.as_ref().map(number));
                    history.push(Operation { key, action: Action::Read, outcome, called, answered });
                }
                tokio::task::yield_now().await;
                continue;
            }
        };
        let answered = counters.moment();
        let outcome = match outcome {
            Ok(entry) => {
                seen[key as usize] = entry.map(|entry| (number(&entry), entry.modified));
                Outcome::Done
            }
            Err(WriteError::Exists { current } | WriteError::Conflict { current, .. }) => {
                seen[key as usize] = Some((number(&current), current.modified));
                Outcome::Found(Some(number(&current)))
            }
            Err(WriteError::Missing { .. }) => {
                seen[key as usize] = None;
                Outcome::Found(None)
            }
            Err(WriteError::Unavailable { .. }) => continue,
            Err(WriteError::Indeterminate { .. } | WriteError::Stopped(_)) => Outcome::Unknown,
            Err(error @ WriteError::Invalid { .. }) => panic!("{error}"),
        };
        history.push(Operation { key, action, outcome, called, answered });
    }
    history
}

fn number(entry: &Arc<Entry>) -> u64 {
    std::str::from_utf8(&entry.value).ok().and_then(|text| text.parse().ok()).expect("a value is a number")
}

fn spawn(stores: &[Store], counters: &Counters, seed: u64, steps: u64) -> JoinSet<Vec<Operation>> {
    let mut clients = JoinSet::new();
    for id in 0..CLIENTS {
        let store = stores[id as usize % stores.len()].clone();
        clients.spawn(client(store, counters.clone(), SeededRandom::new(seed * CLIENTS + id), steps));
    }
    clients
}

async fn embedded(seed: u64) -> Vec<Operation> {
    let counters = Counters::default();
    let mut random = SeededRandom::new(seed);
    let mut disk = FaultyDisk::new(seed);
    let mut history = Vec::new();
    for _ in 0..3 {
        let options = Options::new(Arc::new(SimClock::default()), no_notes(), None);
        let store = Store::embedded_on(Arc::new(disk.clone()), &Embedded::at("the faulty disk"), options);
        let store = store.expect("the store opens after a crash");
        disk.plan(Fault::PowerCutAt(20 + random.below(100)));
        let clients = spawn(std::slice::from_ref(&store), &counters, random.next_u64() >> 8, 15);
        history.extend(clients.join_all().await.into_iter().flatten());
        let cut = disk.after_power_cut();
        store.close().await;
        disk = cut;
    }
    history
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_is_linearizable_over_power_cuts() {
    for seed in 0..seeds(60) {
        let history = embedded(seed).await;
        assert_eq!(violation(&history), None, "seed {seed}");
    }
}

/// Two servers on one cluster, which is killed and comes back while clients write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_is_linearizable_over_a_killed_member() {
    for seed in 0..seeds(2) {
        let mut rig = Rig::etcd();
        let stores = [rig.open().await, rig.open().await];
        let counters = Counters::default();
        let mut clients = spawn(&stores, &counters, seed, 120);
        let moment = counters.moment.clone();
        let enough = 300 + SeededRandom::new(seed).below(400);
        while moment.load(Ordering::SeqCst) < enough {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let Place::Cluster(server) = &mut rig.place else { unreachable!("the rig is a cluster") };
        server.stop();
        server.restart();
        let mut history = Vec::new();
        while let Some(done) = clients.join_next().await {
            history.extend(done.expect("the client ends"));
        }
        assert!(history.len() > 100, "only {} operations were answered", history.len());
        assert_eq!(violation(&history), None, "seed {seed}");
    }
}

/// A history that really happened, spoilt: the checker must not be satisfied with it.
#[tokio::test]
async fn spoilt_histories_are_found() {
    let mut found = 0;
    for seed in 0..20 {
        let mut history = embedded(seed).await;
        let mut random = SeededRandom::new(seed);
        let reads: Vec<usize> =
            (0..history.len()).filter(|at| matches!(history[*at].outcome, Outcome::Found(Some(_)))).collect();
        let Some(at) = reads.get(random.below(reads.len().max(1) as u64) as usize) else { continue };
        // A value that was never written.
        history[*at].outcome = Outcome::Found(Some(u64::MAX));
        assert!(violation(&history).is_some(), "seed {seed}");
        found += 1;
    }
    assert!(found > 10, "only {found} of 20 histories could be spoilt");
}
