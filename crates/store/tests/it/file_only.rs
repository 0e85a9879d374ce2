//! What only the embedded backend can show: its file, and what becomes of damaged ones.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use base::random::{Random, SeededRandom};
use store::*;

use crate::faulty::FaultyDisk;
use crate::rig::Rig;

fn everything() -> Span {
    Span::folder("/registry")
}

fn contents(store: &Store) -> Vec<(String, Revision, bytes::Bytes)> {
    let snapshot = store.snapshot();
    let entries = snapshot.range(&Span::folder("/registry"), None);
    entries.map(|e| (e.key.to_string(), e.modified, e.value.clone())).collect()
}

/// A small store with a few deletions behind it.
async fn filled(rig: &Rig) -> Store {
    let store = rig.open().await;
    for n in 0..40 {
        let put = Put::new(format!("/registry/pods/p{n}"), vec![n; 100 * usize::from(n)]);
        store.create(put).await.expect("create");
    }
    for n in 0..10 {
        store.delete(&format!("/registry/pods/p{n}"), None).await.expect("delete");
    }
    store
}

#[tokio::test]
async fn the_file_is_its_owners_alone() {
    let rig = Rig::embedded();
    let mode = |path: &Path| std::fs::metadata(path).expect("the file is there").permissions().mode() & 0o777;
    rig.open().await.close().await;
    assert_eq!(mode(&rig.path()), 0o600);
    std::fs::set_permissions(rig.path(), PermissionsExt::from_mode(0o644)).expect("loosen the mode");
    rig.open().await.close().await;
    assert_eq!(mode(&rig.path()), 0o600);
}

#[tokio::test]
async fn a_file_has_one_user() {
    let rig = Rig::embedded();
    let store = rig.open().await;
    let error = rig.try_open().await.err().expect("the file is in use").to_string();
    assert!(error.contains("store.db") && error.contains("another process"), "{error}");
    store.close().await;
    rig.open().await;
}

#[tokio::test]
async fn no_secret_lies_in_the_file_in_plain_text() {
    let rig = Rig::embedded();
    let store = rig.open().await;
    let (secret, open) = (b"hunter2 hunter2 hunter2", b"for everybody to read");
    store.create(Put::new("/registry/secrets/ns/s", &secret[..])).await.expect("create");
    store.create(Put::new("/registry/configmaps/ns/c", &open[..])).await.expect("create");
    store.close().await;
    let file = std::fs::read(rig.path()).expect("read the file");
    let holds = |text: &[u8]| file.windows(text.len()).any(|window| window == text);
    assert!(!holds(secret) && holds(open) && holds(b"k8s:enc:boga:v1:"));
}

/// Opens a file that must be refused, and sees that it was left alone.
async fn refused(rig: &Rig, what: &str) -> String {
    let before = std::fs::read(rig.path()).expect("read the file");
    let error = rig.try_open().await.err().unwrap_or_else(|| panic!("{what} was opened")).to_string();
    assert!(error.contains("store.db"), "{what}: the message names no file: {error}");
    assert!(std::fs::read(rig.path()).expect("read the file") == before, "{what}: the file was changed");
    error
}

#[tokio::test]
async fn foreign_and_cut_files_are_refused() {
    let rig = Rig::embedded();
    filled(&rig).await.close().await;
    let good = std::fs::read(rig.path()).expect("read the file");
    let put = |bytes: &[u8]| std::fs::write(rig.path(), bytes).expect("write the file");
    for (what, bytes) in [
        ("a text", &b"something else entirely\n"[..]),
        ("one byte", b"\0"),
        ("a page of text", &[b'x'; 5_000]),
        ("zeros", &[0; 10_000]),
        ("a bare database", &good[4_096..]),
        ("a title page", &good[..4_096]),
        ("half a file", &good[..good.len() / 2]),
        ("a file short of one byte", &good[..good.len() - 1]),
    ] {
        put(bytes);
        let error = refused(&rig, what).await;
        assert!(error.contains("backup") || error.contains("move it away"), "{what}: no advice in {error}");
    }
    put(&good);
    rig.open().await;
}

#[tokio::test]
async fn a_newer_format_is_refused_by_name() {
    let rig = Rig::embedded();
    rig.open().await.close().await;
    let mut file = std::fs::read(rig.path()).expect("read the file");
    let text = "BOGA STORE\nformat 9\noldest reader 7\n";
    let sum = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let check: String = sum.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let title = format!("{text}check {check}\n");
    file[..512].fill(0);
    file[..title.len()].copy_from_slice(title.as_bytes());
    std::fs::write(rig.path(), &file).expect("write the file");
    let error = refused(&rig, "a newer format").await;
    assert!(error.contains("format 9") && error.contains("newer version"), "{error}");
}

/// One flipped bit: the file is refused, or it did not matter and everything is there.
#[tokio::test]
async fn flipped_bits_never_pass_for_data() {
    let rig = Rig::embedded();
    let store = filled(&rig).await;
    let expected = contents(&store);
    // As SIGKILL leaves it, and as a clean end does.
    let killed = std::fs::read(rig.path()).expect("read the file");
    store.close().await;
    let closed = std::fs::read(rig.path()).expect("read the file");
    let mut random = SeededRandom::new(9);
    let mut caught = 0;
    for (name, good) in [("killed", &killed), ("closed", &closed)] {
        // The pages that hold something are tried more often than the free ones.
        let busy: Vec<usize> = (0..good.len()).filter(|at| good[*at] != 0).collect();
        for round in 0..crate::seeds(250) {
            let at = match round % 3 {
                0 => random.below(good.len() as u64) as usize,
                1 => random.below(4_096 + 512) as usize,
                _ => busy[random.below(busy.len() as u64) as usize],
            };
            let mut bytes = good.clone();
            bytes[at] ^= 1 << random.below(8);
            let disk = FaultyDisk::holding(bytes.clone());
            match Store::embedded_on(Arc::new(disk.clone()), &Embedded::at("the flipped file"), rig.options())
            {
                Ok(store) => {
                    assert!(contents(&store) == expected, "{name}: a flip at {at} changed what is read");
                    store.close().await;
                }
                Err(error) => {
                    caught += 1;
                    assert!(error.to_string().contains("the flipped file"), "{error}");
                    assert!(disk.bytes() == bytes, "{name}: a refused file was changed, flip at {at}");
                }
            }
        }
    }
    assert!(caught > 50, "only {caught} flips mattered");
}

/// Anything at all in place of a part of the file, and anything at all in place of all of it.
#[test]
fn no_file_makes_the_store_panic() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let rig = Rig::embedded();
    let good = runtime.block_on(async {
        filled(&rig).await.close().await;
        std::fs::read(rig.path()).expect("read the file")
    });
    let inputs = bolero::generator::produce::<(bool, u32, Vec<u8>)>();
    bolero::check!().with_generator(inputs).with_iterations(300).for_each(|(whole, at, patch)| {
        let mut bytes = if *whole { Vec::new() } else { good.clone() };
        let at = if *whole { 0 } else { *at as usize % good.len() };
        bytes.resize(bytes.len().max(at + patch.len()), 0);
        bytes[at..at + patch.len()].copy_from_slice(patch);
        let disk = FaultyDisk::holding(bytes.clone());
        let _inside = runtime.enter();
        match Store::embedded_on(Arc::new(disk.clone()), &Embedded::at("a fuzzed file"), rig.options()) {
            Ok(store) => runtime.block_on(store.close()),
            Err(_) => assert!(disk.bytes() == bytes, "a refused file was changed"),
        }
    });
}

#[tokio::test]
async fn a_restored_copy_never_repeats_a_revision() {
    let rig = Rig::embedded();
    let store = filled(&rig).await;
    store.close().await;
    let expected = contents(&store);
    let backup = rig.path().with_extension("copy");
    std::fs::copy(rig.path(), &backup).expect("copy the file");
    drop(store);
    // What happened after the copy was made is lost, and clients have seen it.
    let store = rig.open().await;
    let lost = store.create(Put::new("/registry/pods/lost", "v")).await.expect("create").modified;
    store.close().await;
    drop(store);

    let error = restore(&backup, &rig.path(), 1_000).expect_err("a store is there").to_string();
    assert!(error.contains("store.db"), "{error}");
    std::fs::remove_file(rig.path()).expect("move the store away");
    let raised = restore(&backup, &rig.path(), 1_000).expect("restore");
    let store = rig.open().await;
    assert_eq!((contents(&store), store.current_revision()), (expected, raised));
    assert!(raised > lost);
    assert!(matches!(store.watch(&everything(), lost), Err(WatchError::Compacted { .. })));
    assert!(matches!(store.at(lost, &everything()), Err(ReadError::Compacted { .. })));
    assert_eq!(store.create(Put::new("/registry/pods/new", "v")).await.expect("create").modified, raised + 1);

    let garbage = rig.path().with_extension("garbage");
    std::fs::write(&garbage, [b'x'; 8_192]).expect("write a file");
    restore(&garbage, &rig.path().with_extension("other"), 1).expect_err("not a store's file");
}

#[test]
fn key_files_are_checked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("keys");
    let mut random = SeededRandom::new(3);
    let refused = |what: &str| {
        let error = Keyring::load(&path).err().unwrap_or_else(|| panic!("{what} was loaded")).to_string();
        assert!(error.contains("keys"), "{what}: {error}");
    };
    refused("an absent file");
    Keyring::load_or_create(&path, &mut random).expect("make a key file");
    let first = std::fs::read_to_string(&path).expect("read the key file");
    Keyring::load_or_create(&path, &mut random).expect("load the key file");
    assert_eq!(std::fs::read_to_string(&path).expect("read the key file"), first);
    Keyring::rotate(&path, &mut random).expect("rotate");
    let second = std::fs::read_to_string(&path).expect("read the key file");
    assert_eq!((second.lines().count(), second.lines().last()), (3, first.lines().last()));
    Keyring::retire(&path).expect("retire the old key");
    assert_eq!(std::fs::read_to_string(&path).expect("read the key file").lines().count(), 2);
    assert_eq!(std::fs::metadata(&path).expect("the file is there").permissions().mode() & 0o777, 0o600);
    for (what, text) in [
        ("a file without keys", first.lines().next().expect("a title").to_owned()),
        ("a short key", format!("{}\nabcd\n", first.lines().next().expect("a title"))),
        ("another file", "hello\n".to_owned()),
    ] {
        std::fs::write(&path, text).expect("write the key file");
        refused(what);
    }
    std::fs::write(&path, first).expect("write the key file");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).expect("loosen the mode");
    refused("a file that others can read");
}
