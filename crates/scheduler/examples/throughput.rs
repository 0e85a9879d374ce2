//! Prints how many pods a second are decided in a cluster of 5,000 nodes, without binding them.
//!
//! `cargo run --release -p scheduler --example throughput`

use std::sync::Arc;

use base::clock::{Clock, SystemClock};
use base::random::SeededRandom;
use scheduler::affinity::{HOSTNAME, ZONE};
use scheduler::cycle::{Decision, Scheduler};
use scheduler::pod::PodInfo;
use scheduler::resources::Resources;
use scheduler::testing::{node, pod, term};

const NODES: usize = 5_000;

fn main() {
    measure("basic", 20_000, |_| ());
    measure("siblings of a service", 20_000, |p| drop(p.labels.insert("app".into(), "web".into())));
    measure("required anti-affinity", 4_000, |p| {
        p.labels.insert("color".into(), "green".into());
        p.affinity.required_anti.push(term(HOSTNAME, "color=green"));
    });
    measure("required affinity", 4_000, |p| {
        p.labels.insert("color".into(), "blue".into());
        p.affinity.required.push(term(ZONE, "color=blue"));
    });
}

fn measure(name: &str, count: usize, change: fn(&mut PodInfo)) {
    let mut scheduler = Scheduler::default();
    for i in 0..NODES {
        scheduler.snapshot.set_node(node(&format!("node-{i}"), |n| {
            n.labels.insert(ZONE.into(), format!("zone-{}", i % 3));
        }));
    }
    scheduler.snapshot.set_service("default", "web", [("app".into(), "web".into())].into());
    let make = |i: usize| {
        pod(&format!("pod-{i}"), |p| {
            p.requests = Resources::new(100, 500 << 20);
            change(p);
        })
    };
    let pods: Vec<Arc<PodInfo>> = (0..count).map(make).collect();
    let random = &mut SeededRandom::new(1);
    let clock = SystemClock::new();
    let start = clock.monotonic();
    let mut placed = 0;
    for pod in &pods {
        if let Decision::Node(choice) = scheduler.schedule(pod, random) {
            scheduler.snapshot.assume(pod, &choice.node);
            placed += 1;
        }
    }
    let seconds = (clock.monotonic() - start).as_secs_f64();
    println!(
        "{name}: {placed} of {count} pods placed on {NODES} nodes, {:.0} pods/s",
        count as f64 / seconds
    );
}
