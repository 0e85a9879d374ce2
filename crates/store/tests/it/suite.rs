//! What every backend must do.

use std::time::Duration;

use base::clock::{SharedClock, SimClock, Wall};
use std::sync::Arc;
use store::*;

#[tokio::test]
async fn smoke() {
    let folder = tempfile::tempdir().unwrap();
    let clock = SimClock::starting_at(Wall::from_secs(1));
    let shared: SharedClock = Arc::new(clock.clone());
    let open = || {
        Store::embedded(
            &Embedded::at(folder.path().join("s.db")),
            Options::new(shared.clone(), no_notes(), None),
        )
        .unwrap()
    };
    let store = open();
    assert_eq!(store.current_revision(), 1);
    let mut watcher = store.watch(&Span::folder("/registry/pods"), 1).unwrap();
    let a = store.create(Put::new("/registry/pods/a", "one")).await.unwrap();
    assert_eq!(a.modified, 2);
    let b =
        store.update(Put::new("/registry/pods/a", "two").expiring(Duration::from_secs(5)), 2).await.unwrap();
    assert_eq!((b.created, b.modified), (2, 3));
    store.update(Put::new("/registry/pods/a", "two"), 2).await.unwrap_err();
    assert_eq!(
        store.at(2, &Span::folder("/registry/pods")).unwrap().get("/registry/pods/a").unwrap().value,
        "one"
    );
    for want in [2, 3] {
        assert_eq!(watcher.next().await.unwrap().revision, want);
    }
    clock.advance(Duration::from_secs(6));
    store.tend().await;
    assert_eq!(watcher.next().await.unwrap().events[0].kind(), EventKind::Delete);
    store.create(Put::new("/registry/pods/b", "x")).await.unwrap();
    store.close().await;
    drop(store);
    let store = open();
    assert_eq!(store.current_revision(), 5);
    assert_eq!(store.snapshot().count(&Span::folder("/registry")), 1);
}
