//! Power cuts and failing disks, by the thousand: what was acknowledged survives, and nothing is told twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base::clock::SimClock;
use base::random::{Random, SeededRandom};
use store::*;

use crate::faulty::{Fault, FaultyDisk};
use crate::seeds;

const CLIENTS: u64 = 3;
const KEYS: u64 = 4;
const CRASHES: u64 = 3;

/// What one client knows of one key: the versions that it may hold now. One, unless a write's outcome is unknown.
type Known = Vec<Option<String>>;

/// What must hold at the next opening, whatever happens until then.
#[derive(Default)]
struct Promises {
    keys: BTreeMap<String, Known>,
    /// Every revision that was answered or shown to a watcher.
    revisions: BTreeSet<Revision>,
}

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the file could not be opened: {0}")]
    Unopenable(String),
    #[error("the file did not hold what it should: {0}")]
    Promise(String),
}

impl From<String> for Broken {
    fn from(promise: String) -> Broken {
        Broken::Promise(promise)
    }
}

/// One seeded life of a store with several crashes.
async fn live(seed: u64, durability: Durability) -> Result<(), Broken> {
    let mut random = SeededRandom::new(seed);
    let mut disk = FaultyDisk::new(seed);
    let mut promises = Promises::default();
    for crash in 0..CRASHES {
        if random.below(4) == 0 {
            // A crash while the file is created or recovered.
            disk.plan(Fault::PowerCutAt(1 + random.below(12)));
            drop(open(&disk, durability));
            disk = disk.after_power_cut();
        }
        disk.plan(Fault::None);
        let store =
            open(&disk, durability).map_err(|error| Broken::Unopenable(format!("crash {crash}: {error}")))?;
        check(&store, &mut promises)?;
        let at = 1 + random.below(120);
        disk.plan(match random.below(4) {
            0 => Fault::WriteFailsAt(at),
            1 => Fault::SyncFailsAt(at),
            _ => Fault::PowerCutAt(at),
        });
        work(&store, &mut promises, random.next_u64()).await?;
        // A clean end now and then.
        if random.below(4) == 0 {
            store.close().await;
        }
        let cut = disk.after_power_cut();
        store.close().await;
        drop(store);
        disk = cut;
    }
    let store =
        open(&disk, durability).map_err(|error| Broken::Unopenable(format!("at the end: {error}")))?;
    Ok(check(&store, &mut promises)?)
}

fn open(disk: &FaultyDisk, durability: Durability) -> Result<Store, OpenError> {
    let embedded = Embedded { path: "the faulty disk".into(), durability };
    let options = Options::new(Arc::new(SimClock::default()), no_notes(), None);
    Store::embedded_on(Arc::new(disk.clone()), &embedded, options)
}

/// Compares what is there after a crash with what was promised before it.
fn check(store: &Store, promises: &mut Promises) -> Result<(), String> {
    let (snapshot, newest) = (store.snapshot(), promises.revisions.last().copied().unwrap_or(0));
    if snapshot.revision() < newest {
        return Err(format!("the store is at {} and has shown {newest}", snapshot.revision()));
    }
    for (key, known) in &mut promises.keys {
        let found = snapshot.get(key).map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
        if !known.contains(&found) {
            return Err(format!("{key} holds {found:?}, not one of {known:?}"));
        }
        // Whatever it was, it is settled now.
        *known = vec![found];
    }
    let everything = Span::folder("/registry");
    match snapshot.range(&everything, None).find(|entry| !promises.keys.contains_key(&*entry.key)) {
        Some(entry) => Err(format!("{} was never written", entry.key)),
        None => Ok(()),
    }
}

/// Clients write until the store stops or they are through; a watcher looks on.
async fn work(store: &Store, promises: &mut Promises, seed: u64) -> Result<(), String> {
    let start = store.current_revision();
    let everything = Span::folder("/registry");
    let mut watcher = store.watch(&everything, start).map_err(|error| error.to_string())?;
    let before: BTreeMap<String, Revision> =
        store.snapshot().range(&everything, None).map(|e| (e.key.to_string(), e.modified)).collect();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|id| {
            let known: BTreeMap<String, Known> = (0..KEYS)
                .map(|n| format!("/registry/things/c{id}/k{n}"))
                .map(|key| (key.clone(), promises.keys.get(&key).cloned().unwrap_or_else(|| vec![None])))
                .collect();
            tokio::spawn(client(store.clone(), known, SeededRandom::new(seed ^ id)))
        })
        .collect();
    let mut acknowledged = BTreeSet::new();
    for client in clients {
        let (known, revisions) = client.await.map_err(|error| error.to_string())??;
        for revision in revisions {
            if revision <= start || !acknowledged.insert(revision) || !promises.revisions.insert(revision) {
                return Err(format!("revision {revision} was given out twice"));
            }
        }
        promises.keys.extend(known);
    }
    // The watcher saw every acknowledged revision, in order, and each event follows from the one before.
    let (mut seen, mut last, mut state) = (BTreeSet::new(), start, before);
    while let Some(batch) = watcher.try_next().map_err(|error| error.to_string())? {
        if batch.revision != last + 1 {
            return Err(format!("the watcher saw revision {} after {last}", batch.revision));
        }
        last = batch.revision;
        seen.insert(batch.revision);
        for event in &batch.events {
            let was = match &event.entry {
                Some(entry) => state.insert(event.key.to_string(), entry.modified),
                None => state.remove(&*event.key),
            };
            if was != event.previous.as_ref().map(|e| e.modified) {
                return Err(format!("the event at {last} does not follow from the one before"));
            }
        }
    }
    if let Some(missing) = acknowledged.difference(&seen).next() {
        return Err(format!("the watcher missed revision {missing}"));
    }
    promises.revisions.extend(seen);
    Ok(())
}

type Client = (BTreeMap<String, Known>, Vec<Revision>);

/// The only writer of its keys, so it knows what each must hold.
async fn client(
    store: Store,
    mut known: BTreeMap<String, Known>,
    mut random: SeededRandom,
) -> Result<Client, String> {
    let mut revisions = Vec::new();
    for step in 0..12 {
        let keys: Vec<String> = known.keys().cloned().collect();
        let key = &keys[random.below(KEYS) as usize];
        let value = format!("{step}.{:x}.{}", random.next_u64(), "x".repeat(random.below(6_000) as usize));
        let (wanted, outcome) = match store.snapshot().get(key).map(|entry| entry.modified) {
            None => {
                (Some(value.clone()), store.create(Put::new(key.clone(), value)).await.map(|e| e.modified))
            }
            Some(at) if random.below(4) == 0 => (None, store.delete(key, Some(at)).await.map(|d| d.revision)),
            Some(at) => (
                Some(value.clone()),
                store.update(Put::new(key.clone(), value), at).await.map(|e| e.modified),
            ),
        };
        let known = known.get_mut(key).expect("the key is one of ours");
        match outcome {
            Ok(revision) => {
                revisions.push(revision);
                *known = vec![wanted];
            }
            Err(WriteError::Stopped(_)) => {
                known.push(wanted);
                break;
            }
            Err(error) => return Err(format!("unexpected: {error}")),
        }
    }
    if store.stopped().is_some() {
        let late = store.create(Put::new("/registry/late", "v")).await;
        if !matches!(late, Err(WriteError::Stopped(_))) {
            return Err(format!("a stopped store answered {late:?}"));
        }
    }
    Ok((known, revisions))
}

fn run(seed: u64, durability: Durability) -> Result<(), Broken> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let life = tokio::time::timeout(Duration::from_secs(60), live(seed, durability));
        life.await.unwrap_or_else(|_| Err(Broken::Promise("every call is answered".into())))
    })
}

#[test]
fn a_thousand_crashes_lose_nothing_that_was_acknowledged() {
    let runs = seeds(1_000);
    std::thread::scope(|scope| {
        for lane in 0..2 {
            scope.spawn(move || {
                for seed in (lane..runs).step_by(2) {
                    if let Err(broken) = run(seed, Durability::Synced) {
                        panic!("seed {seed}: {broken}");
                    }
                }
            });
        }
    });
}

/// The checker is worth something only if it finds a store that answers before the disk has the data.
#[test]
fn the_same_runs_without_syncs_are_found_out() {
    let broken: Vec<Broken> = (0..100).filter_map(|seed| run(seed, Durability::Unsynced).err()).collect();
    let lost = broken.iter().filter(|broken| matches!(broken, Broken::Promise(_))).count();
    assert!(broken.len() > 50, "only {} of 100 runs were found out", broken.len());
    assert!(lost > 10, "of {} runs found out only {lost} opened and had lost writes", broken.len());
}
