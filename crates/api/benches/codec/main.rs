//! A pod of 4 KB from JSON to protobuf and back, beside its peers in one run: `cargo bench -p api`.
//!
//! `serde_json` parses and prints the same text as a `Value`, which is only half of the work, since no protobuf
//! comes of it. `prost-reflect` does all of it through dynamic messages, with descriptors made from the same table.

mod reflect;

use std::hint::black_box;
use std::time::Duration;

use api::{Outside, Value, json, proto};
use base::clock::{Clock, SystemClock};

const POD: &str = include_str!("pod.json");
/// Each figure is the median of so many batches.
const BATCHES: usize = 2_001;
/// Long enough that the clock's own cost vanishes, short enough that most batches end before the scheduler takes the
/// core away.
const BATCH: usize = 10;

fn main() {
    let table = schema::builtin();
    let pod = table.kind("", "v1", "Pod").expect("the table has pods");
    let outside = Outside { api_version: "v1", kind: "Pod", revision: None };
    let tree: Value = serde_json::from_str(POD).expect("the pod is JSON");
    let text = serde_json::to_vec(&tree).expect("a tree has a text");
    let wire = json::to_proto(table, pod, &text).expect("the pod is a pod").value;
    let mut out = Vec::new();
    proto::to_json(table, pod, &wire, outside, &mut out).expect("our own bytes");
    let back: Value = serde_json::from_slice(&out).expect("our own text");
    assert_eq!(back, tree, "nothing is lost on the way");

    let peer = reflect::Peer::new(table, pod);
    let peer_text = peer.to_json(&wire);
    assert_eq!(peer.to_proto(&peer_text).len(), wire.len(), "the peer does the same work");

    println!("a pod of {} bytes as JSON, {} as protobuf", text.len(), wire.len());
    println!(
        "{:<18} {:>10} {:>18} {:>8} {:>14} {:>8}",
        "", "boga", "serde_json::Value", "ratio", "prost-reflect", "ratio"
    );
    row(
        "JSON → protobuf",
        median(|| drop(black_box(json::to_proto(table, pod, black_box(&text))))),
        median(|| drop(black_box(serde_json::from_slice::<Value>(black_box(&text))))),
        median(|| drop(black_box(peer.to_proto(black_box(&peer_text))))),
    );
    row(
        "protobuf → JSON",
        median(|| {
            out.clear();
            proto::to_json(table, pod, black_box(&wire), outside, &mut out).expect("our own bytes");
            black_box(&out);
        }),
        median(|| drop(black_box(serde_json::to_vec(black_box(&tree))))),
        median(|| drop(black_box(peer.to_json(black_box(&wire))))),
    );
}

fn row(what: &str, ours: Duration, value: Duration, reflect: Duration) {
    let ratio = |theirs: Duration| theirs.as_secs_f64() / ours.as_secs_f64();
    let micros = |time: Duration| format!("{:.2} µs", time.as_secs_f64() * 1e6);
    println!(
        "{what:<18} {:>10} {:>18} {:>8.1} {:>14} {:>8.1}",
        micros(ours),
        micros(value),
        ratio(value),
        micros(reflect),
        ratio(reflect)
    );
}

/// The median time of one call.
fn median(mut work: impl FnMut()) -> Duration {
    let clock = SystemClock::new();
    let mut batch = || {
        let start = clock.monotonic();
        (0..BATCH).for_each(|_| work());
        (clock.monotonic() - start) / BATCH as u32
    };
    (0..BATCHES / 10).for_each(|_| {
        batch();
    });
    let mut times: Vec<Duration> = (0..BATCHES).map(|_| batch()).collect();
    times.sort();
    times[BATCHES / 2]
}
