//! Prints how long many services take to load, and a change of one endpoint to reach the kernel.
//!
//! `cargo run --release -p network --example services [SERVICES [ENDPOINTS]]`, as root. It works in a
//! network namespace of its own.

use std::net::IpAddr;
use std::time::Duration;

use base::clock::{Clock, SystemClock};
use netplan::addr::{Family, Protocol};
use netplan::model::{Endpoint, EndpointPort, EndpointSlice, Name, Node, Service, ServicePort};
use netplan::services::Planner;
use network::nft::Table;
use nix::sched::{CloneFlags, unshare};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| arguments.next().map_or(Ok(default), |text| text.parse::<u32>());
    let (services, endpoints) = (number(10_000)?, number(3)?);
    unshare(CloneFlags::CLONE_NEWNET)?;
    let clock = SystemClock::new();
    let timed = |what: &str, since: Duration| println!("{what:<48} {:>10.3?}", clock.monotonic() - since);

    let node = Node { name: "here".into(), pod_cidrs: vec!["10.0.0.0/8".parse()?], ..Node::default() };
    let mut planner = Planner::new(Family::V4, node);
    for n in 0..services {
        planner.set_service(&name(n), Some(service(n)));
        planner.set_slice(&name(n), "1", Some(slice(n, 0..endpoints)));
    }
    println!("{services} services with {endpoints} endpoints each");
    let start = clock.monotonic();
    planner.commit();
    timed("planned", start);
    let mut table = Table::open(Family::V4, planner.any_address())?;
    let start = clock.monotonic();
    table.load(planner.ruleset())?;
    timed("loaded into the kernel", start);
    let start = clock.monotonic();
    table.adopt(planner.ruleset())?;
    timed("read back and found the same", start);

    // Replacing keeps the count of endpoints. Adding and removing changes it, and with it the chain
    // that the service leads to, for which the kernel looks through all services again.
    let replaced = |round: u32| 1 + round % 2..endpoints + 1 + round % 2;
    let resized = |round: u32| if round.is_multiple_of(2) { 0..endpoints + 1 } else { 1..endpoints + 1 };
    let kinds: [(&str, &dyn Fn(u32) -> std::ops::Range<u32>); 2] =
        [("replaced", &replaced), ("added or removed", &resized)];
    for (kind, endpoints) in kinds {
        let (mut plans, mut changes): (Vec<Duration>, Vec<Duration>) = (Vec::new(), Vec::new());
        for round in 0..1000 {
            let n = round / 2 * 7 % services;
            planner.set_slice(&name(n), "1", Some(slice(n, endpoints(round))));
            let start = clock.monotonic();
            let update = planner.commit();
            plans.push(clock.monotonic() - start);
            table.apply(&update.change)?;
            changes.push(clock.monotonic() - start);
        }
        plans.sort_unstable();
        changes.sort_unstable();
        println!("one endpoint {kind}:");
        println!("  planned, p50                                   {:>10.3?}", plans[plans.len() / 2]);
        println!("  planned and applied, p50                       {:>10.3?}", changes[changes.len() / 2]);
        println!(
            "  planned and applied, p99                       {:>10.3?}",
            changes[changes.len() * 99 / 100]
        );
    }
    println!(
        "{}",
        if table.read()?.as_ref() == Some(planner.ruleset()) {
            "kernel and plan agree"
        } else {
            "kernel and plan differ"
        }
    );
    Ok(())
}

fn name(n: u32) -> Name {
    Name::new("bench", &format!("service-{n}"))
}

fn service(n: u32) -> Service {
    let [_, a, b, c] = n.to_be_bytes();
    Service {
        cluster_ips: vec![IpAddr::from([11, a, b, c])],
        ports: vec![ServicePort { name: String::new(), protocol: Protocol::Tcp, port: 80, node_port: 0 }],
        ..Service::default()
    }
}

fn slice(n: u32, endpoints: std::ops::Range<u32>) -> EndpointSlice {
    let address = |e: u32| {
        let [_, a, b, c] = (n * 16 + e).to_be_bytes();
        Endpoint::ready(IpAddr::from([10, a, b, c]))
    };
    EndpointSlice {
        service: name(n),
        family: Family::V4,
        ports: vec![EndpointPort { name: String::new(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: endpoints.map(address).collect(),
    }
}
