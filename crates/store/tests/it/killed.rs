//! SIGKILL of a real process that writes to a real file.
//!
//! The process is this test program, started again with a variable that says which file to write to. It prints
//! each acknowledged write; whatever it printed must be there afterwards.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use base::clock::SystemClock;
use base::random::{Random, SeededRandom};
use store::*;

use crate::seeds;

const FILE: &str = "STORE_TEST_FILE";
const CLIENTS: u64 = 4;

fn open(path: &str) -> Store {
    let options = Options::new(SystemClock::shared(), no_notes(), None);
    Store::embedded(&Embedded::at(path), options).expect("the store opens")
}

/// Not a test by itself: the process that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(path) = std::env::var(FILE) else { return };
    let store = open(&path);
    let clients = (0..CLIENTS).map(|id| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut at = store.snapshot().get(&format!("/registry/k/{id}")).map(|e| e.modified);
            for step in 0.. {
                let put = Put::new(format!("/registry/k/{id}"), format!("{step} {}", "x".repeat(2_000)));
                let written = match at {
                    None => store.create(put).await,
                    Some(at) => store.update(put, at).await,
                };
                let entry = written.expect("write");
                at = Some(entry.modified);
                // One write call for each line, so a line is whole or absent.
                let line = format!("acknowledged {id} {step} {}\n", entry.modified);
                std::io::stdout().write_all(line.as_bytes()).expect("the parent reads");
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("the clients write until they are killed");
    }
}

#[tokio::test]
async fn acknowledged_writes_survive_sigkill() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store.db").to_str().expect("a plain path").to_owned();
    let mut random = SeededRandom::new(42);
    let mut newest = 0;
    for round in 0..seeds(12) {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "killed::child", "--nocapture"])
            .env(FILE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .expect("start this program again");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (mut last, mut lines) = ([None; CLIENTS as usize], 0);
        let enough = 20 + random.below(300);
        for line in output.lines() {
            let line = line.expect("the child prints text");
            let Some(rest) = line.strip_prefix("acknowledged ") else { continue };
            let mut words = rest.split(' ').map(|word| word.parse::<u64>().expect("a number"));
            let mut next = || words.next().expect("three numbers");
            let (id, step, revision) = (next(), next(), next());
            last[id as usize] = Some((step, revision));
            lines += 1;
            if lines == enough {
                // What was printed before it died is read on until the pipe ends.
                child.kill().expect("kill the child");
            }
        }
        child.wait().expect("the child ends");
        let store = open(&path);
        let snapshot = store.snapshot();
        for (id, last) in last.iter().enumerate() {
            let Some((step, revision)) = *last else { continue };
            let entry = snapshot.get(&format!("/registry/k/{id}")).expect("the key was written");
            let found: u64 = std::str::from_utf8(&entry.value)
                .ok()
                .and_then(|text| text.split(' ').next()?.parse().ok())
                .expect("the value begins with its step");
            assert!(
                found == step || found == step + 1,
                "round {round}: {id} is at {found}, {step} was acknowledged"
            );
            assert!(entry.modified >= revision && revision > newest, "round {round}: revisions went back");
        }
        newest = store.current_revision();
        store.close().await;
    }
}
