//! What is collected, what is kept, and what a crash leaves.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use oci::store::{Collected, Policy};
use oci::{Access, Digest, Image, Store};

use crate::support::{Fixture, Item, Parts, gzip, listing, tar_of};

const HOUR: Duration = Duration::from_secs(3600);

fn image(fixture: &Fixture, name: &str) -> Image {
    let layer = tar_of(&[Item::File(name, name.as_bytes())]);
    let image = Parts::new(&[layer], gzip).store(&fixture.store, name).unwrap();
    fixture.store.unpack(&image).unwrap();
    image
}

fn names(store: &Store) -> Vec<String> {
    store
        .images()
        .unwrap()
        .into_iter()
        .flat_map(|of| of.repo_tags())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

fn full(name: &str) -> String {
    format!("docker.io/library/{name}:latest")
}

#[test]
fn the_longest_unused_go_first_and_the_needed_never() {
    let fixture = Fixture::new();
    let made: Vec<Image> = ["pinned", "held", "told", "old", "middle", "fresh"]
        .into_iter()
        .map(|name| {
            fixture.clock.advance(HOUR);
            image(&fixture, name)
        })
        .collect();
    fixture.clock.advance(HOUR);
    fixture.store.pin("pinned", true).unwrap();
    fixture.store.hold("c", &made[1], Access::Writable).unwrap();
    let policy = |free| Policy {
        free,
        min_age: 90 * Duration::from_secs(60),
        in_use: [made[2].id.clone()].into(),
        ..Policy::default()
    };
    let first = fixture.store.collect(&policy(1)).unwrap();
    assert_eq!((first.images, first.blobs, first.layers), (vec![full("old")], 3, 1));
    // `fresh` is an hour old, so even a demand for everything spares it.
    assert_eq!(fixture.store.collect(&policy(u64::MAX)).unwrap().images, [full("middle")]);
    assert_eq!(names(&fixture.store), ["fresh", "held", "pinned", "told"].map(full));

    fixture.store.touch("fresh").unwrap();
    fixture.clock.advance(3 * HOUR);
    let aged = Policy { max_age: Some(2 * HOUR), ..Policy::default() };
    assert_eq!(fixture.store.collect(&aged).unwrap().images, [full("told"), full("fresh")]);
    fixture.store.release("c").unwrap();
    fixture.store.pin("pinned", false).unwrap();
    fixture.store.collect(&Policy { free: u64::MAX, ..Policy::default() }).unwrap();
    assert_eq!(fixture.store.usage().unwrap().inodes, 0);
}

#[test]
fn a_holder_outlives_its_images_names() {
    let fixture = Fixture::new();
    let held = image(&fixture, "held");
    let root = fixture.store.hold("c", &held, Access::Writable).unwrap();
    assert!(fixture.store.untag("held").unwrap());
    assert!(!fixture.store.untag("held").unwrap());
    let collected = fixture.store.collect(&Policy::default()).unwrap();
    assert_eq!((collected.blobs, collected.layers), (3, 0));
    let oci::RootFs::Overlay(overlay) = &root else { unreachable!() };
    assert!(overlay.lower.iter().all(|path| path.exists()));
    assert_eq!(fixture.reopen().held("c").unwrap(), Some(root));
    fixture.store.release("c").unwrap();
    assert_eq!(fixture.store.collect(&Policy::default()).unwrap().layers, 1);
}

#[test]
fn shared_layers_stay_while_anyone_needs_them() {
    let fixture = Fixture::new();
    let base = tar_of(&[Item::File("base", b"base")]);
    let with = |name: &str| {
        let parts = Parts::new(&[base.clone(), tar_of(&[Item::File(name, b"x")])], gzip);
        let image = parts.store(&fixture.store, name).unwrap();
        fixture.store.unpack(&image).unwrap();
        image
    };
    with("a");
    with("b");
    assert_eq!(fs::read_dir(fixture.store.root().join("layers")).unwrap().count(), 3);
    fixture.store.untag("a").unwrap();
    let collected = fixture.store.collect(&Policy::default()).unwrap();
    // Its manifest, configuration, upper blob and upper layer.
    assert_eq!((collected.blobs, collected.layers), (3, 1));
    fixture.store.unpack(&fixture.store.image("b").unwrap().unwrap()).unwrap();
}

#[test]
fn leases_keep_what_no_image_names_yet() {
    let fixture = Fixture::new();
    let lease = fixture.store.lease().unwrap();
    let digest = Digest::of(b"soon needed");
    lease.hold(&digest).unwrap();
    fixture.store.put_blob(b"soon needed").unwrap();
    fixture.store.put_blob(b"not needed").unwrap();
    // Another handle, as another process would have it.
    let collected = fixture.reopen().collect(&Policy::default()).unwrap();
    assert_eq!(collected.blobs, 1);
    assert!(fixture.store.has_blob(&digest));
    drop(lease);
    assert_eq!(fixture.store.collect(&Policy::default()).unwrap().blobs, 1);
    assert_eq!(fixture.store.collect(&Policy::default()).unwrap(), Collected::default());
}

#[test]
fn what_a_crash_leaves_is_removed_and_never_valid() {
    let fixture = Fixture::new();
    let whole = image(&fixture, "whole");
    let root = fixture.store.root().to_owned();
    let before = listing(&root);
    // As a process that died would leave them: nobody holds their locks.
    fs::write(root.join("ingest/tmp-1-1"), b"half a blob").unwrap();
    fs::write(root.join("leases/1-1"), b"sha256:00").unwrap();
    fs::create_dir_all(root.join("unpacking/abc.tree/fs/etc")).unwrap();
    fs::write(root.join("unpacking/abc.lock"), b"").unwrap();
    fs::create_dir_all(root.join("trash/9-9/deep")).unwrap();
    fs::write(root.join("images/.tmp-1-2"), b"{").unwrap();
    let store = fixture.reopen();
    assert_eq!(listing(&root), before);
    assert_eq!(store.images().unwrap().len(), 1);
    // A continued download is kept for a day.
    let partial = root.join(format!("ingest/sha256-{}", Digest::of(b"x").hex()));
    fs::write(&partial, b"").unwrap();
    fixture.reopen();
    assert!(partial.exists());
    fixture.clock.advance(25 * HOUR);
    fixture.reopen();
    assert!(!partial.exists());
    assert!(fixture.store.image(whole.id.hex()).unwrap().is_some());
}

#[test]
fn a_damaged_image_does_not_hide_the_others() {
    let fixture = Fixture::new();
    let (bad, _good) = (image(&fixture, "bad"), image(&fixture, "good"));
    let path = fixture.store.root().join("blobs/sha256").join(bad.id.hex());
    fs::write(&path, b"{\"rootfs\":{}}").unwrap();
    assert_eq!(names(&fixture.store), [full("good")]);
    assert_eq!(fixture.store.image("bad").unwrap_err().kind(), oci::Kind::Corrupt);
    // Its names can still be removed.
    fixture.store.untag("bad").unwrap();
}

#[test]
fn a_store_of_another_format_is_refused() {
    let fixture = Fixture::new();
    fs::write(fixture.store.root().join("format"), "boga-oci 2\n").unwrap();
    let error = Store::open(fixture.store.root(), oci::Options::default()).err().unwrap();
    assert_eq!(error.kind(), oci::Kind::Unsupported);
    assert!(error.to_string().contains("is in format \"boga-oci 2\""), "{error}");
}

/// Pullers, unpackers, holders and the collector at once: whatever has a name or a holder is whole.
#[test]
fn nothing_needed_is_collected_under_load() {
    let fixture = Fixture::new();
    let rounds: u64 = std::env::var("BOGA_SEEDS").ok().and_then(|of| of.parse().ok()).unwrap_or(1) * 15;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|worker| {
                let store = fixture.reopen();
                scope.spawn(move || {
                    for round in 0..rounds {
                        let shared = tar_of(&[Item::File("shared", b"shared")]);
                        let own = tar_of(&[Item::File("own", format!("{}", round % 4).as_bytes())]);
                        let parts = Parts::new(&[shared, own], gzip);
                        let lease = store.lease().unwrap();
                        let manifest = parts.manifest().to_string();
                        let config = parts.config.to_string();
                        for bytes in parts
                            .layers
                            .iter()
                            .map(Vec::as_slice)
                            .chain([config.as_bytes(), manifest.as_bytes()])
                        {
                            lease.hold(&Digest::of(bytes)).unwrap();
                            store.put_blob(bytes).unwrap();
                        }
                        let name = format!("w{worker}");
                        let image = store
                            .tag(
                                &name.parse().unwrap(),
                                &Digest::of(manifest.as_bytes()),
                                &oci::Platform::parse("linux/amd64").unwrap(),
                            )
                            .unwrap();
                        drop(lease);
                        let owner = format!("{name}-{round}");
                        let root = store.hold(&owner, &image, Access::Writable).unwrap();
                        let oci::RootFs::Overlay(overlay) = root else { unreachable!() };
                        store.untag(&name).unwrap();
                        assert_eq!(fs::read(overlay.lower[1].join("shared")).unwrap(), b"shared");
                        assert_eq!(
                            fs::read(overlay.lower[0].join("own")).unwrap(),
                            format!("{}", round % 4).as_bytes()
                        );
                        store.release(&owner).unwrap();
                    }
                })
            })
            .collect();
        let store = fixture.reopen();
        while !workers.iter().all(|of| of.is_finished()) {
            store.collect(&Policy::default()).unwrap();
        }
    });
    fixture.store.collect(&Policy::default()).unwrap();
    assert_eq!(fixture.store.usage().unwrap().inodes, 0);
}
