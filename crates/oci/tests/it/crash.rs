//! A process that is killed at any moment leaves a store in which everything named is whole.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use base::random::{Random, SeededRandom};
use oci::{Access, Digest, RootFs, Store};

use crate::support::{Fixture, Item, Parts, gzip, listing, tar_of};

const CHILD: &str = "BOGA_CRASH_STORE";
const KINDS: u64 = 5;

fn parts(n: u64) -> Parts {
    let shared = tar_of(&[Item::Dir("etc/", 0o755), Item::File("etc/shared", b"shared")]);
    let own = tar_of(&[Item::File("etc/own", format!("{n}").repeat(20_000).as_bytes())]);
    Parts::new(&[shared, own], gzip)
}

/// The process to be killed: it goes on until then, saying after each step that it took one.
#[test]
fn child() {
    let Ok(root) = std::env::var(CHILD) else { return };
    let store = Store::open(root, oci::Options::default()).unwrap();
    let mut out = std::io::stdout();
    let mut step = || {
        writeln!(out, "step").unwrap();
        out.flush().unwrap();
    };
    for n in 0.. {
        let (name, parts) = (format!("image-{}", n % KINDS), parts(n % KINDS));
        let lease = store.lease().unwrap();
        for bytes in parts.layers.iter().cloned().chain([parts.config.to_string().into()]) {
            lease.hold(&Digest::of(&bytes)).unwrap();
            let mut ingest = store.ingest_blob(&Digest::of(&bytes)).unwrap();
            if let Some(mut ingest) = ingest.take() {
                ingest.keep(true);
                ingest.write(&bytes[ingest.offset() as usize..]).unwrap();
                step();
                ingest.commit_as(&Digest::of(&bytes)).unwrap();
            }
        }
        step();
        let image = parts.store(&store, &name).unwrap();
        drop(lease);
        step();
        let owner = format!("owner-{}", n % 7);
        let _ = store.release(&owner);
        store.hold(&owner, &image, Access::Writable).unwrap();
        step();
        if n % 3 == 0 {
            store.untag(&name).unwrap();
            store.collect(&Default::default()).unwrap();
            step();
        }
    }
}

#[test]
fn whatever_is_named_after_a_kill_is_whole() {
    let fixture = Fixture::new();
    let rounds: u64 = std::env::var("BOGA_SEEDS").ok().and_then(|of| of.parse().ok()).unwrap_or(1) * 12;
    let mut random = SeededRandom::new(11);
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child", "--nocapture"])
            .env(CHILD, fixture.store.root())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let steps = 1 + random.below(40) as usize;
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let seen = lines.map_while(Result::ok).filter(|line| line.ends_with("step")).take(steps).count();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(seen, steps, "round {round}: the child ended by itself");

        let store = fixture.reopen();
        for image in store.images().unwrap() {
            store.unpack(&image).unwrap();
        }
        for holder in store.holders().unwrap() {
            // A hold that was cut short has its record and nothing else; it is repeated or released.
            let Some(RootFs::Overlay(overlay)) = store.held(&holder.owner).unwrap() else { unreachable!() };
            if overlay.upper.as_ref().is_some_and(|(upper, _)| upper.exists()) {
                let own = fs::read(overlay.lower[0].join("etc/own")).unwrap();
                assert_eq!((own.len(), own[0]), (20_000, own[19_999]), "round {round}");
            }
        }
    }
    let store = fixture.reopen();
    for holder in store.holders().unwrap() {
        store.release(&holder.owner).unwrap();
    }
    for image in store.images().unwrap() {
        store.untag(image.id.as_str()).unwrap();
    }
    store.collect(&Default::default()).unwrap();
    for directory in
        ["layers", "unpacking", "snapshots", "holders", "leases", "trash", "images", "blobs/sha256"]
    {
        assert_eq!(listing(&store.root().join(directory)), Vec::<String>::new(), "{directory}");
    }
}
