//! What every backend must do. Each test runs over each of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::random::{Random, SeededRandom};
use bytes::Bytes;
use store::*;

use crate::rig::{Length, Rig};

macro_rules! on_every_backend {
    ($($test:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test] async fn $test() { super::$test(crate::rig::Rig::embedded()).await })*
        }
        mod etcd {
            $(#[tokio::test] async fn $test() { super::$test(crate::rig::Rig::etcd()).await })*
        }
    };
}

on_every_backend! {
    writes_compare_and_swap,
    invalid_writes_are_refused,
    ranges_are_ordered_and_counted,
    the_past_reads_as_it_was,
    watches_replay_every_change,
    a_watch_may_begin_in_the_future,
    bookmarks_never_run_ahead_of_events,
    a_slow_watcher_is_told,
    busy_resources_leave_quiet_ones_their_history,
    old_revisions_expire_by_age,
    waiting_for_a_revision,
    expired_keys_go,
    secrets_are_sealed_and_keys_rotate,
    a_lost_key_is_named,
    reopening_finds_everything,
    a_closed_store_says_so,
    another_store_can_be_copied,
    random_writes_match_a_model,
}

fn pods() -> Span {
    Span::folder("/registry/pods")
}

fn put(name: &str, value: impl Into<Bytes>) -> Put {
    Put::new(format!("/registry/pods/{name}"), value)
}

async fn writes_compare_and_swap(rig: Rig) {
    let store = rig.open().await;
    let first = store.create(put("a", "1")).await.expect("create");
    assert_eq!((first.created, &first.value[..]), (first.modified, &b"1"[..]));
    assert_eq!(first.note::<Length>().map(|note| note.0), Some(1));
    assert_eq!(store.snapshot().get("/registry/pods/a").map(|e| e.modified), Some(first.modified));

    let error = store.create(put("a", "2")).await.expect_err("the key exists");
    assert!(matches!(error, WriteError::Exists { current } if current.modified == first.modified));
    let second = store.update(put("a", "22"), first.modified).await.expect("update");
    assert_eq!(second.created, first.created);
    assert!(second.modified > first.modified);
    if rig.numbers_its_own_writes() {
        assert_eq!(second.modified, first.modified + 1);
    }
    let error = store.update(put("a", "3"), first.modified).await.expect_err("the revision is stale");
    let WriteError::Conflict { expected, current } = error else { panic!("{error}") };
    assert_eq!(
        (expected, current.modified, &current.value[..]),
        (first.modified, second.modified, &b"22"[..])
    );
    assert_eq!(current.note::<Length>().map(|note| note.0), Some(2));

    let error = store.update(put("b", "1"), 5).await.expect_err("the key is absent");
    assert!(matches!(error, WriteError::Missing { key } if &*key == "/registry/pods/b"));
    let error =
        store.delete("/registry/pods/a", Some(first.modified)).await.expect_err("the revision is stale");
    assert!(matches!(error, WriteError::Conflict { .. }));
    let deleted = store.delete("/registry/pods/a", Some(second.modified)).await.expect("delete");
    assert_eq!(deleted.entry.modified, second.modified);
    assert!(deleted.revision > second.modified);
    let error = store.delete("/registry/pods/a", None).await.expect_err("the key is absent");
    assert!(matches!(error, WriteError::Missing { .. }));
    let again = store.create(put("a", "4")).await.expect("create again");
    assert!(again.created > deleted.revision - 1);
    store.delete("/registry/pods/a", None).await.expect("delete whatever is there");
}

async fn invalid_writes_are_refused(rig: Rig) {
    let store = rig.open().await;
    let before = store.current_revision();
    let long = format!("/registry/{}", "x".repeat(MAX_KEY));
    for key in ["", "registry/pods/a", "/registry/pods/", "/registry/a\0b", &long] {
        let error = store.create(Put::new(key, "v")).await.expect_err("the key is invalid");
        assert!(matches!(error, WriteError::Invalid { .. }), "{error}");
        store.delete(key, None).await.expect_err("the key is invalid");
    }
    let error = store.create(put("a", vec![0; MAX_VALUE + 1])).await.expect_err("the value is too large");
    assert!(matches!(error, WriteError::Invalid { .. }), "{error}");
    let stamp = Stamp { version: "v".repeat(300).into(), epoch: 1 };
    let error = store.create(put("a", "v").stamped(stamp)).await.expect_err("the stamp is too long");
    assert!(matches!(error, WriteError::Invalid { .. }), "{error}");
    assert_eq!(store.latest().await.expect("a consistent read").revision(), before);
}

async fn ranges_are_ordered_and_counted(rig: Rig) {
    let store = rig.open().await;
    for name in ["ns/b", "ns/a", "ns-x/a", "ns/c", "other/z"] {
        store.create(put(name, name.to_owned())).await.expect("create");
    }
    store.create(Put::new("/registry/podsx/a", "v")).await.expect("create");
    let snapshot = store.snapshot();
    let check = |span: &Span, from: Option<&str>, expected: &[&str]| {
        let found: Vec<&str> = snapshot.range(span, from).map(|e| &e.key["/registry/".len()..]).collect();
        assert_eq!(found, expected, "{span:?} from {from:?}");
        assert_eq!(snapshot.count_from(span, from), expected.len(), "{span:?} from {from:?}");
    };
    check(&pods(), None, &["pods/ns-x/a", "pods/ns/a", "pods/ns/b", "pods/ns/c", "pods/other/z"]);
    check(&Span::folder("/registry/pods/ns"), None, &["pods/ns/a", "pods/ns/b", "pods/ns/c"]);
    check(&Span::folder("/registry/pods/ns"), Some("/registry/pods/ns/a\0"), &["pods/ns/b", "pods/ns/c"]);
    check(&Span::folder("/registry/pods/ns"), Some("/registry/a"), &["pods/ns/a", "pods/ns/b", "pods/ns/c"]);
    check(&Span::folder("/registry/pods/ns"), Some("/registry/z"), &[]);
    check(&Span::key("/registry/pods/ns/a"), None, &["pods/ns/a"]);
    check(&Span::key("/registry/pods/ns"), None, &[]);
    check(&Span::folder("/registry/none"), None, &[]);
    assert_eq!(snapshot.count(&Span::folder("/registry")), 6);
    // A snapshot stands still.
    store.delete("/registry/pods/ns/a", None).await.expect("delete");
    assert_eq!(snapshot.count(&pods()), 5);
    assert_eq!(store.snapshot().count(&pods()), 4);
}

type State = BTreeMap<String, (u64, Bytes)>;

fn state(snapshot: &Snapshot, span: &Span) -> State {
    snapshot.range(span, None).map(|e| (e.key.to_string(), (e.modified, e.value.clone()))).collect()
}

/// Writes at random below two resources and gives the state after each revision.
async fn churn(store: &Store, seed: u64, steps: usize) -> BTreeMap<Revision, State> {
    let mut random = SeededRandom::new(seed);
    let everything = Span::folder("/registry");
    let mut states = BTreeMap::from([(store.current_revision(), state(&store.snapshot(), &everything))]);
    for step in 0..steps {
        let folder = ["pods", "configmaps"][random.below(2) as usize];
        let key = format!("/registry/{folder}/ns{}/n{}", random.below(2), random.below(5));
        let mut now = states.values().next_back().cloned().unwrap_or_default();
        let put = Put::new(key.clone(), format!("{seed}.{step}"));
        let revision = match now.get(&key).map(|(modified, _)| *modified) {
            None => store.create(put).await.expect("create").modified,
            Some(at) if random.below(3) > 0 => store.update(put, at).await.expect("update").modified,
            Some(at) => store.delete(&key, Some(at)).await.expect("delete").revision,
        };
        match store.snapshot().get(&key) {
            Some(entry) => now.insert(key, (entry.modified, entry.value.clone())),
            None => now.remove(&key),
        };
        states.insert(revision, now);
    }
    states
}

fn only(state: &State, span: &Span) -> State {
    state.iter().filter(|(key, _)| span.contains(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

async fn the_past_reads_as_it_was(rig: Rig) {
    let store = rig.open().await;
    let states = churn(&store, 3, 120).await;
    let spans = [
        Span::folder("/registry"),
        pods(),
        Span::folder("/registry/pods/ns1"),
        Span::key("/registry/pods/ns0/n3"),
        Span::folder("/"),
    ];
    // Backwards and forwards, so that views kept from one read serve the next.
    let revisions: Vec<Revision> = states.keys().copied().collect();
    for revision in revisions.iter().rev().chain(&revisions) {
        for span in &spans {
            let view = store.at(*revision, span).expect("the past is kept");
            assert_eq!(view.revision(), *revision);
            assert_eq!(state(&view, span), only(&states[revision], span), "{span:?} at {revision}");
            assert_eq!(view.count(span), only(&states[revision], span).len());
        }
    }
    let current = store.current_revision();
    assert_eq!(
        store.at(current + 1, &pods()).err(),
        Some(ReadError::Future { wanted: current + 1, current })
    );
    let middle = revisions[60];
    store.compact(middle);
    assert_eq!(
        store.at(middle, &pods()).map(|view| state(&view, &pods())),
        Ok(only(&states[&middle], &pods()))
    );
    let error = store.at(middle - 1, &pods()).err();
    assert_eq!(error, Some(ReadError::Compacted { wanted: middle - 1, oldest: middle }));
    let error = store.watch(&pods(), middle - 1).err();
    assert_eq!(error, Some(WatchError::Compacted { from: middle - 1, oldest: middle }));
    store.watch(&pods(), middle).expect("the compacted revision itself can be watched from");
}

/// Reads a watcher up to `until` and replays it over `before`, checking each promise on the way.
async fn replay(mut watcher: Watcher, span: &Span, before: State, from: Revision, until: Revision) -> State {
    let (mut state, mut seen) = (before, from);
    loop {
        let batch = match watcher.try_next().expect("the watch goes on") {
            Some(batch) => batch,
            None if watcher.progress() >= until => return state,
            None => watcher.next().await.expect("the watch goes on"),
        };
        assert!(batch.revision > seen, "revision {} after {seen}", batch.revision);
        seen = batch.revision;
        for event in &batch.events {
            assert!(span.contains(&event.key), "{} is outside of {span:?}", event.key);
            let was = event.previous.as_ref().map(|e| (e.modified, e.value.clone()));
            let now = event.entry.as_ref().map(|e| (e.modified, e.value.clone()));
            let kind = match (&was, &now) {
                (None, Some(_)) => EventKind::Create,
                (Some(_), Some(_)) => EventKind::Update,
                _ => EventKind::Delete,
            };
            assert_eq!(event.kind(), kind);
            if let Some(entry) = &event.entry {
                assert_eq!(entry.modified, batch.revision);
                assert_eq!(entry.note::<Length>().map(|note| note.0), Some(entry.value.len()));
            }
            let before = match now {
                Some(now) => state.insert(event.key.to_string(), now),
                None => state.remove(&*event.key),
            };
            assert_eq!(before, was, "what {} was before revision {seen}", event.key);
        }
    }
}

async fn watches_replay_every_change(rig: Rig) {
    let store = rig.open().await;
    let first = store.current_revision();
    let spans = [
        Span::folder("/registry"),
        pods(),
        Span::folder("/registry/pods/ns1"),
        Span::key("/registry/pods/ns0/n1"),
    ];
    let watch = |from| spans.clone().map(|span| (store.watch(&span, from).expect("watch"), span));
    let live: Vec<_> = watch(first).into_iter().chain(watch(first)).collect();
    let states = churn(&store, 5, 150).await;
    let last = store.current_revision();
    let end = &states[&last];
    for (watcher, span) in live {
        assert_eq!(replay(watcher, &span, State::new(), first, last).await, only(end, &span));
    }
    for (revision, state) in states.iter().step_by(7) {
        for (watcher, span) in watch(*revision) {
            let replayed = replay(watcher, &span, only(state, &span), *revision, last).await;
            assert_eq!(replayed, only(end, &span), "{span:?} from {revision}");
        }
    }
}

async fn a_watch_may_begin_in_the_future(rig: Rig) {
    let store = rig.open().await;
    let start = store.current_revision();
    let mut watcher = store.watch(&pods(), start + 2).expect("watch");
    for name in ["a", "b", "c"] {
        store.create(put(name, "v")).await.expect("create");
    }
    let batch = watcher.next().await.expect("an event");
    assert_eq!(&*batch.events[0].key, "/registry/pods/c");
    assert!(watcher.try_next().expect("the watch goes on").is_none());
}

async fn bookmarks_never_run_ahead_of_events(rig: Rig) {
    let store = rig.open().await;
    let start = store.current_revision();
    let mut watcher = store.watch(&pods(), start).expect("watch");
    assert_eq!(watcher.progress(), start);
    let pod = store.create(put("a", "v")).await.expect("create");
    assert!(watcher.progress() < pod.modified, "the event has not been handed out");
    watcher.next().await.expect("an event");
    let other = store.create(Put::new("/registry/nodes/n", "v")).await.expect("create");
    assert_eq!(watcher.progress(), other.modified, "nothing of the span is missing up to here");
    // Taken in one go but not yet handed out.
    for name in ["b", "c"] {
        store.create(put(name, "v")).await.expect("create");
    }
    let batch = watcher.next().await.expect("an event");
    assert_eq!(watcher.progress(), batch.revision);
}

async fn a_slow_watcher_is_told(rig: Rig) {
    let rig = Rig { retention: Retention { bytes: 100_000, ..Retention::default() }, ..rig };
    let store = rig.open().await;
    let start = store.current_revision();
    let mut slow = store.watch(&pods(), start).expect("watch");
    let mut fast = store.watch(&pods(), start).expect("watch");
    let mut at = store.create(put("a", "v")).await.expect("create").modified;
    fast.next().await.expect("an event");
    // More than the ring and the history hold together.
    let rounds = if rig.numbers_its_own_writes() { 2_000 } else { 1_200 };
    for _ in 0..rounds {
        at = store.update(put("a", vec![1; 500]), at).await.expect("update").modified;
        assert_eq!(fast.next().await.expect("the fast one keeps up").revision, at);
    }
    store.tend().await;
    let error = slow.next().await.err();
    assert!(matches!(error, Some(WatchError::Lagged { .. })), "{error:?}");
}

async fn busy_resources_leave_quiet_ones_their_history(rig: Rig) {
    let rig = Rig { retention: Retention { bytes: 50_000, ..Retention::default() }, ..rig };
    let store = rig.open().await;
    let start = store.current_revision();
    store.create(put("quiet", "v")).await.expect("create");
    let mut at = store.create(Put::new("/registry/leases/a", "v")).await.expect("create").modified;
    for _ in 0..200 {
        at = store.update(Put::new("/registry/leases/a", vec![1; 1_000]), at).await.expect("update").modified;
    }
    let mut watcher = store.watch(&pods(), start).expect("the quiet resource keeps its history");
    assert_eq!(&*watcher.next().await.expect("an event").events[0].key, "/registry/pods/quiet");
    assert_eq!(store.at(start, &pods()).expect("the past is kept").count(&pods()), 0);
    assert!(matches!(
        store.watch(&Span::folder("/registry/leases"), start),
        Err(WatchError::Compacted { .. })
    ));
    assert!(matches!(store.watch(&Span::folder("/registry"), start), Err(WatchError::Compacted { .. })));
}

async fn old_revisions_expire_by_age(rig: Rig) {
    let store = rig.open().await;
    let old = store.create(put("a", "1")).await.expect("create");
    rig.clock.advance(Duration::from_secs(10));
    store.tend().await;
    rig.clock.advance(Duration::from_secs(200));
    let young = store.update(put("a", "2"), old.modified).await.expect("update");
    store.tend().await;
    rig.clock.advance(Duration::from_secs(200));
    let last = store.update(put("a", "3"), young.modified).await.expect("update");
    store.tend().await;
    let error = store.at(old.modified - 1, &pods()).err();
    assert!(matches!(error, Some(ReadError::Compacted { .. })), "{error:?}");
    assert_eq!(store.at(young.modified, &pods()).map(|view| view.count(&pods())), Ok(1));
    // A span without changes expires with the others, though nothing would be missing.
    let nodes = Span::folder("/registry/nodes");
    assert!(matches!(store.at(old.modified - 1, &nodes), Err(ReadError::Compacted { .. })));
    store.watch(&nodes, old.modified).expect("its watchers go on all the same");
    assert!(matches!(store.watch(&pods(), old.modified - 1), Err(WatchError::Compacted { .. })));
    // The present never expires.
    rig.clock.advance(Duration::from_secs(1_000));
    store.tend().await;
    assert_eq!(store.at(last.modified, &pods()).map(|view| view.count(&pods())), Ok(1));
}

async fn waiting_for_a_revision(rig: Rig) {
    let store = rig.open().await;
    let current = store.current_revision();
    let short = Duration::from_millis(20);
    assert_eq!(store.wait_for_revision(current, short).await.map(|s| s.revision()), Ok(current));
    let error = store.wait_for_revision(current + 1, short).await.err();
    assert_eq!(error, Some(ReadError::Future { wanted: current + 1, current }));
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.wait_for_revision(current + 1, Duration::from_secs(60)).await }
    });
    store.create(put("a", "v")).await.expect("create");
    let snapshot = waiting.await.expect("the wait ends").expect("the revision comes");
    assert!(snapshot.get("/registry/pods/a").is_some());
    let latest = store.latest().await.expect("a consistent read");
    assert!(latest.get("/registry/pods/a").is_some());
}

async fn expired_keys_go(rig: Rig) {
    let store = rig.open().await;
    let start = store.current_revision();
    let mut watcher = store.watch(&pods(), start).expect("watch");
    let ttl = Duration::from_secs(2);
    store.create(put("kept", "v").expiring(ttl)).await.expect("create");
    store.create(put("gone", "v").expiring(ttl)).await.expect("create");
    let kept = store.snapshot().get("/registry/pods/kept").expect("not expired").modified;
    store.update(put("kept", "for good"), kept).await.expect("update");
    for _ in 0..3 {
        watcher.next().await.expect("an event");
    }
    // The embedded store goes by this clock, etcd by its own.
    rig.clock.advance(ttl);
    store.tend().await;
    let batch = watcher.next().await.expect("an event");
    assert_eq!((&*batch.events[0].key, batch.events[0].kind()), ("/registry/pods/gone", EventKind::Delete));
    assert!(store.snapshot().get("/registry/pods/kept").is_some());
}

async fn secrets_are_sealed_and_keys_rotate(mut rig: Rig) {
    let store = rig.open().await;
    let secret = Put::new("/registry/secrets/ns/s", "hunter2 is not to be seen");
    let first = store.create(secret.clone().expiring(Duration::from_secs(100_000))).await.expect("create");
    let sealed = first.sealed.expect("a secret is sealed");
    assert_eq!(store.create(put("plain", "v")).await.expect("create").sealed, None);
    let lookalike = store.create(put("lookalike", "k8s:enc:aesgcm:v1:x:")).await.expect("create");
    assert!(lookalike.sealed.is_some(), "what looks like an envelope must not be taken for one later");
    assert_eq!(store.reseal_all().await.expect("nothing to do"), 0);
    store.close().await;
    drop(store);

    rig.keys = Some(vec![[8; 32], [7; 32]]);
    let store = rig.open().await;
    let found = store.snapshot().get(&first.key).expect("still there").clone();
    assert_eq!((&found.value, found.sealed), (&secret.value, Some(sealed)));
    assert_eq!(store.reseal_all().await.expect("reseal"), 2);
    let found = store.snapshot().get(&first.key).expect("still there").clone();
    assert_eq!(found.value, secret.value);
    assert!(found.sealed.is_some_and(|id| id != sealed));
    assert_eq!(found.expires, first.expires, "resealing does not change when a key expires");
    store.close().await;
    drop(store);

    rig.keys = Some(vec![[8; 32]]);
    let store = rig.open().await;
    assert_eq!(store.snapshot().get(&first.key).map(|e| e.value.clone()), Some(secret.value));
    assert_eq!(store.snapshot().get(&lookalike.key).map(|e| e.value.clone()), Some(lookalike.value.clone()));
}

async fn a_lost_key_is_named(mut rig: Rig) {
    let store = rig.open().await;
    let entry = store.create(Put::new("/registry/secrets/ns/s", "v")).await.expect("create");
    let id = entry.sealed.expect("a secret is sealed").to_string();
    store.close().await;
    drop(store);
    for keys in [Some(vec![[9; 32]]), None] {
        rig.keys = keys;
        let error = rig.try_open().await.err().expect("the key is missing").to_string();
        assert!(error.contains("/registry/secrets/ns/s") && error.contains(&id), "{error}");
    }
    rig.keys = Some(vec![[9; 32], [7; 32]]);
    rig.open().await;
}

async fn reopening_finds_everything(rig: Rig) {
    let store = rig.open().await;
    let states = churn(&store, 11, 60).await;
    let stamp = Stamp { version: "v1".into(), epoch: 3 };
    let stamped = store.create(put("stamped", "v").stamped(stamp.clone())).await.expect("create");
    let (revision, everything) = (store.current_revision(), Span::folder("/registry"));
    let before = state(&store.snapshot(), &everything);
    store.close().await;
    drop(store);
    let store = rig.open().await;
    assert_eq!(store.current_revision(), revision);
    assert_eq!(state(&store.snapshot(), &everything), before);
    let found = store.snapshot().get(&stamped.key).expect("still there").clone();
    assert_eq!((found.created, found.modified), (stamped.created, stamped.modified));
    assert_eq!(found.note::<Length>().map(|note| note.0), Some(1));
    if rig.numbers_its_own_writes() {
        assert_eq!(found.stamp, Some(stamp));
    }
    // A client that had seen everything goes on; one that had not must list again.
    let mut watcher = store.watch(&everything, revision).expect("watch from the present");
    let old = *states.keys().next().expect("there was a first revision");
    assert!(matches!(store.watch(&everything, old), Err(WatchError::Compacted { .. })));
    let next = store.create(put("next", "v")).await.expect("create");
    assert!(next.modified > revision);
    assert_eq!(watcher.next().await.expect("an event").revision, next.modified);
}

async fn a_closed_store_says_so(rig: Rig) {
    let store = rig.open().await;
    store.create(put("a", "v")).await.expect("create");
    let mut watcher = store.watch(&pods(), store.current_revision()).expect("watch");
    let ending = tokio::spawn(async move { watcher.next().await.err() });
    tokio::task::yield_now().await;
    store.close().await;
    assert!(matches!(ending.await.expect("the watch ends"), Some(WatchError::Stopped(_))));
    assert!(matches!(store.create(put("b", "v")).await, Err(WriteError::Stopped(_))));
    assert!(matches!(store.latest().await, Err(ReadError::Stopped(_)) | Ok(_)));
    assert_eq!(store.snapshot().count(&pods()), 1, "reads go on");
}

async fn another_store_can_be_copied(rig: Rig) {
    let source = Rig::embedded().open().await;
    churn(&source, 21, 60).await;
    source.create(Put::new("/registry/secrets/ns/s", "v")).await.expect("create");
    let everything = Span::folder("/registry");
    let values = |store: &Store| -> Vec<(String, Bytes)> {
        let snapshot = store.snapshot();
        snapshot.range(&everything, None).map(|e| (e.key.to_string(), e.value.clone())).collect()
    };
    let store = rig.open().await;
    let copied = store.copy_from(&source.snapshot()).await.expect("copy");
    assert_eq!((values(&store), copied), (values(&source), source.snapshot().count(&everything)));
    let again = store.copy_from(&source.snapshot()).await;
    assert!(matches!(again, Err(WriteError::Exists { .. })), "a copy never overwrites");
}

/// Several clients at once, each on keys of its own, so that each knows what it must find.
async fn random_writes_match_a_model(rig: Rig) {
    let store = rig.open().await;
    let client = |id: u64| {
        let store = store.clone();
        async move {
            let mut random = SeededRandom::new(id);
            let mut mine: BTreeMap<String, Arc<Entry>> = BTreeMap::new();
            for step in 0..150 {
                let key = format!("/registry/things/c{id}/k{}", random.below(6));
                let value = Put::new(key.clone(), format!("{step}"));
                match (mine.get(&key).map(|e| e.modified), random.below(4)) {
                    (None, _) => {
                        mine.insert(key, store.create(value).await.expect("create"));
                    }
                    (Some(at), 0) => {
                        store.delete(&key, Some(at)).await.expect("delete");
                        mine.remove(&key);
                    }
                    (Some(at), 1) => {
                        store.update(value, at - 1).await.expect_err("a stale revision");
                    }
                    (Some(at), _) => {
                        mine.insert(key, store.update(value, at).await.expect("update"));
                    }
                }
            }
            mine
        }
    };
    let clients: Vec<_> = (0..8).map(|id| tokio::spawn(client(id))).collect();
    let mut expected = State::new();
    for client in clients {
        for (key, entry) in client.await.expect("the client ends") {
            expected.insert(key, (entry.modified, entry.value.clone()));
        }
    }
    let things = Span::folder("/registry/things");
    assert_eq!(state(&store.snapshot(), &things), expected);
}
