//! The store beside etcd, in one run on one machine: `cargo bench -p store`.
//!
//! It starts etcd by itself, with default settings, on the loopback interface and in a temporary folder beside the
//! store's own file, so both sync to the same disk. Where etcd is absent it says how to install it and measures
//! the store alone.

mod facts;
mod peer;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::clock::{Clock, SystemClock};
use base::random::{Random, SeededRandom};
use store::*;

use peer::Etcd;

/// Long enough for a rate that repeats within a few per cent.
const RATE_FOR: Duration = Duration::from_secs(4);
const WRITE_BYTES: usize = 4_096;
const WATCHERS: u64 = 10_000;
const FAN_OUTS: usize = 15;
const OBJECTS: u64 = 100_000;
/// A pod as protobuf.
const OBJECT_BYTES: usize = 2_200;
const FILLERS: u64 = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["fill", path] => fill(Path::new(path)).await,
            ["recover", path] => recover(Path::new(path)).await,
            _ => compare().await,
        }
    });
}

async fn compare() {
    facts::print();
    if !Etcd::is_installed() {
        println!("etcd is not installed, so there is no peer: apt-get install etcd-server\n");
    }
    println!("{:<44} {:>14} {:>14} {:>8}", "", "store", "etcd", "ratio");
    for (clients, bytes) in [(1, OBJECT_BYTES), (64, OBJECT_BYTES), (1, WRITE_BYTES), (64, WRITE_BYTES)] {
        let ours = durable_writes(clients, bytes).await;
        let theirs = match Etcd::start() {
            Some(etcd) => Some(etcd.durable_writes(clients, bytes, RATE_FOR).await),
            None => None,
        };
        row(
            &format!("durable writes/s, {clients} clients, {bytes} bytes"),
            ours,
            theirs,
            0,
            |ours, theirs| ours / theirs,
        );
    }
    let ours = fan_out().await;
    let theirs = match Etcd::start() {
        Some(etcd) => Some(etcd.fan_out(WATCHERS, FAN_OUTS).await),
        None => None,
    };
    row("one write to 10,000 watchers, ms (median)", ours, theirs, 2, |ours, theirs| theirs / ours);
    let (bytes, seconds) = killed_and_recovered();
    let theirs = match Etcd::start() {
        Some(etcd) => Some(etcd.killed_and_recovered(OBJECTS, OBJECT_BYTES).await),
        None => None,
    };
    row("memory per 2,200-byte value, bytes", bytes, theirs.map(|theirs| theirs.0), 0, |ours, theirs| {
        theirs / ours
    });
    row("recovery of 100,000 after SIGKILL, s", seconds, theirs.map(|theirs| theirs.1), 3, |ours, theirs| {
        theirs / ours
    });
    println!(
        "\nThe store is called in process; etcd over gRPC on loopback, as a server of upstream's would call it."
    );
    println!("Memory is what the process holds above an empty one, everything included.");
}

fn row(what: &str, ours: f64, theirs: Option<f64>, digits: usize, ratio: impl Fn(f64, f64) -> f64) {
    let (theirs, ratio) = match theirs {
        Some(theirs) => (format!("{theirs:.digits$}"), format!("{:.1} x", ratio(ours, theirs))),
        None => ("absent".into(), "".into()),
    };
    println!("{what:<44} {ours:>14.digits$} {theirs:>14} {ratio:>8}");
}

fn open(path: &Path) -> Store {
    let options = Options::new(SystemClock::shared(), no_notes(), None);
    Store::embedded(&Embedded::at(path), options).expect("the store opens")
}

fn value(random: &mut SeededRandom, bytes: usize) -> Vec<u8> {
    let mut value = vec![0; bytes];
    random.fill(&mut value);
    value
}

async fn durable_writes(clients: u64, bytes: usize) -> f64 {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(&folder.path().join("store.db"));
    let clock = SystemClock::shared();
    let end = clock.monotonic() + RATE_FOR;
    let written = Arc::new(AtomicU64::new(0));
    let tasks = (0..clients).map(|id| {
        let (store, clock, written) = (store.clone(), clock.clone(), written.clone());
        tokio::spawn(async move {
            let value: bytes::Bytes = value(&mut SeededRandom::new(id), bytes).into();
            for n in 0.. {
                if clock.monotonic() > end {
                    return;
                }
                store.create(Put::new(format!("/registry/k/{id}/{n}"), value.clone())).await.expect("create");
                written.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("the client ends");
    }
    store.close().await;
    written.load(Ordering::Relaxed) as f64 / RATE_FOR.as_secs_f64()
}

async fn fan_out() -> f64 {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(&folder.path().join("store.db"));
    let (arrived, mut all) = (Arc::new(AtomicU64::new(0)), Vec::new());
    let done = Arc::new(tokio::sync::Notify::new());
    for _ in 0..WATCHERS {
        let mut watcher = store.watch(&Span::folder("/registry/k"), store.current_revision()).expect("watch");
        let (arrived, done) = (arrived.clone(), done.clone());
        all.push(tokio::spawn(async move {
            while watcher.next().await.is_ok() {
                if (arrived.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(WATCHERS) {
                    done.notify_one();
                }
            }
        }));
    }
    let clock = SystemClock::shared();
    let mut times = Vec::new();
    for n in 0..FAN_OUTS {
        let start = clock.monotonic();
        let every = done.notified();
        store.create(Put::new(format!("/registry/k/{n}"), vec![1; OBJECT_BYTES])).await.expect("create");
        every.await;
        times.push((clock.monotonic() - start).as_secs_f64() * 1e3);
    }
    all.iter().for_each(|task| task.abort());
    facts::median(times)
}

/// Fills a store in one process, kills it, opens it in another; gives bytes per value and seconds.
fn killed_and_recovered() -> (f64, f64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store.db");
    let program = std::env::current_exe().expect("this program");
    let mut filler = Command::new(&program)
        .arg("fill")
        .arg(&path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("start the filler");
    let mut line = String::new();
    BufReader::new(filler.stdout.take().expect("it is piped"))
        .read_line(&mut line)
        .expect("the filler reports");
    filler.kill().expect("kill the filler");
    filler.wait().expect("the filler ends");
    assert_eq!(line, "filled\n");
    let output = Command::new(&program).arg("recover").arg(&path).output().expect("start the recovery");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.split_whitespace().map(|word| word.parse::<f64>().expect("a number"));
    let mut next = || numbers.next().expect("the recovery reports two numbers");
    (next(), next())
}

async fn fill(path: &Path) {
    let store = open(path);
    let tasks = (0..FILLERS).map(|id| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut random = SeededRandom::new(id);
            for n in (id..OBJECTS).step_by(FILLERS as usize) {
                let value = value(&mut random, OBJECT_BYTES);
                let key = format!("/registry/pods/namespace-{:03}/deployment-{n:06}", n % 100);
                store.create(Put::new(key, value)).await.expect("create");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("the filler ends");
    }
    println!("filled");
    std::io::stdout().flush().expect("the parent reads");
    // Until the parent kills this process.
    std::future::pending::<()>().await;
}

async fn recover(path: &Path) {
    let before = facts::resident(std::process::id());
    let clock = SystemClock::new();
    let start = clock.monotonic();
    let store = open(path);
    let seconds = (clock.monotonic() - start).as_secs_f64();
    assert_eq!(
        store.snapshot().count(&Span::folder("/registry/pods")) as u64,
        OBJECTS,
        "all of them are there"
    );
    // A write shows that it is open for business, and brings the write path's memory in.
    store.create(Put::new("/registry/pods/one/more", "v")).await.expect("create");
    let held = facts::resident(std::process::id()) - before;
    println!("{} {seconds}", held as f64 / OBJECTS as f64);
}
