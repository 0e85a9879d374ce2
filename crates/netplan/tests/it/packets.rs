//! Packets through planned tables.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use netplan::addr::{Family, Protocol};
use netplan::model::{Endpoint, HostPort, Name, Node, Service};
use netplan::services::Planner;
use netplan::walk::{Outcome, Packet, Walker};

use crate::world::*;

/// What becomes of every random choice for a TCP packet, in a word each.
fn outcomes(planner: &Planner, from: &str, to: &str, port: u16) -> Vec<String> {
    let packet = Packet {
        source: ip(from),
        destination: ip(to),
        protocol: Protocol::Tcp as u8,
        destination_port: port,
    };
    let mut seen = BTreeSet::new();
    for choice in 0..8 {
        let mut walker = Walker {
            rules: planner.ruleset(),
            family: planner.family(),
            any_address: planner.any_address(),
            node_addresses: vec![ip(NODE)],
            random: &mut |bound| choice % bound,
            remembered: BTreeMap::new(),
            now: 0,
        };
        seen.insert(describe(walker.walk(packet)));
    }
    seen.into_iter().collect()
}

fn describe(outcome: Outcome) -> String {
    match outcome {
        Outcome::Rejected => "reject".into(),
        Outcome::Dropped => "drop".into(),
        Outcome::Sent { to: (ip, port), masqueraded } => {
            format!("{ip}:{port}{}", if masqueraded { " masqueraded" } else { "" })
        }
    }
}

fn plan(service: Service, endpoints: Vec<Endpoint>) -> Planner {
    plan_on(node(), service, endpoints)
}

fn plan_on(node: Node, service: Service, endpoints: Vec<Endpoint>) -> Planner {
    let mut planner = Planner::new(Family::V4, node);
    planner.set_service(&name(), Some(service));
    planner.set_slice(&name(), "web-1", Some(slice(endpoints)));
    planner.commit();
    planner
}

fn check(planner: &Planner, from: &str, to: &str, port: u16, want: &[&str]) {
    assert_eq!(outcomes(planner, from, to, port), want, "{from} to {to}:{port}");
}

fn both() -> Vec<Endpoint> {
    vec![endpoint(POD_HERE, "here"), endpoint(POD_THERE, "there")]
}

const HERE: &str = "10.42.0.5:8080";
const THERE: &str = "10.42.1.5:8080";
const HERE_MASQUERADED: &str = "10.42.0.5:8080 masqueraded";
const THERE_MASQUERADED: &str = "10.42.1.5:8080 masqueraded";

#[test]
fn cluster_addresses() {
    let plan_ = plan(service(), both());
    check(&plan_, "10.42.0.9", VIP, 80, &[HERE, THERE]);
    check(&plan_, OUTSIDE, VIP, 80, &[HERE_MASQUERADED, THERE_MASQUERADED]);
    check(&plan_, NODE, VIP, 80, &[HERE_MASQUERADED, THERE_MASQUERADED]);
    // A pod that reaches itself through the service must see somebody else.
    check(&plan_, POD_HERE, VIP, 80, &[HERE_MASQUERADED, THERE]);
    check(&plan_, "10.42.0.9", VIP, 81, &["reject"]);
    check(&plan_, "10.42.0.9", "10.96.0.51", 80, &["drop"]);
    check(&plan_, "10.42.0.9", POD_THERE, 80, &["10.42.1.5:80"]);
    check(&plan_, "10.42.0.9", OUTSIDE, 443, &["198.51.100.7:443 masqueraded"]);
    check(&plan_, "10.42.0.9", "224.0.0.251", 5353, &["224.0.0.251:5353"]);
    check(&plan_, OUTSIDE, "10.42.0.9", 80, &["10.42.0.9:80"]);
}

#[test]
fn services_without_endpoints() {
    let everywhere = |mut service: Service| {
        service.ports[0].node_port = 30080;
        service.external_ips = vec![ip("203.0.113.5")];
        service
    };
    let nobody = plan(everywhere(service()), vec![]);
    check(&nobody, "10.42.0.9", VIP, 80, &["reject"]);
    check(&nobody, NODE, VIP, 80, &["reject"]);
    check(&nobody, OUTSIDE, NODE, 30080, &["reject"]);
    check(&nobody, OUTSIDE, "203.0.113.5", 80, &["reject"]);
    let unready = Endpoint { ready: false, serving: false, ..endpoint(POD_HERE, "here") };
    check(&plan(service(), vec![unready]), "10.42.0.9", VIP, 80, &["reject"]);
}

#[test]
fn internal_local_policy() {
    let local = || Service { internal_local: true, ..service() };
    check(&plan(local(), both()), "10.42.0.9", VIP, 80, &[HERE]);
    check(&plan(local(), vec![endpoint(POD_THERE, "there")]), "10.42.0.9", VIP, 80, &["drop"]);
    check(&plan(local(), vec![]), "10.42.0.9", VIP, 80, &["reject"]);
}

#[test]
fn node_ports_and_external_addresses() {
    let mut open = service();
    open.ports[0].node_port = 30080;
    open.external_ips = vec![ip("203.0.113.5")];
    open.load_balancer_ips = vec![ip("203.0.113.6")];
    let targets = [(NODE, 30080), ("203.0.113.5", 80), ("203.0.113.6", 80)];
    let masqueraded: &[&str] = &[HERE_MASQUERADED, THERE_MASQUERADED];
    let either: &[&str] = &[HERE, THERE];
    let cluster = plan(open.clone(), both());
    let local = plan(Service { external_local: true, ..open.clone() }, both());
    let elsewhere =
        plan(Service { external_local: true, ..open.clone() }, vec![endpoint(POD_THERE, "there")]);
    for (address, port) in targets {
        check(&cluster, OUTSIDE, address, port, masqueraded);
        check(&cluster, "10.42.0.9", address, port, masqueraded);
        check(&local, OUTSIDE, address, port, &[HERE]);
        check(&local, "10.42.0.9", address, port, either);
        check(&local, NODE, address, port, masqueraded);
        check(&elsewhere, OUTSIDE, address, port, &["drop"]);
        check(&elsewhere, "10.42.0.9", address, port, &[THERE]);
        check(&elsewhere, NODE, address, port, &[THERE_MASQUERADED]);
    }
    check(&cluster, NODE, "127.0.0.1", 30080, &["127.0.0.1:30080"]);
    check(&cluster, OUTSIDE, OUTSIDE, 30080, &["198.51.100.7:30080"]);

    let one = Node { node_port_addresses: vec!["192.0.2.0/24".parse().unwrap()], ..node() };
    let restricted = plan_on(one, open, both());
    check(&restricted, OUTSIDE, NODE, 30080, masqueraded);
    check(&restricted, OUTSIDE, "203.0.113.9", 30080, &["203.0.113.9:30080"]);
}

#[test]
fn source_ranges() {
    let ranges = |ranges: &[&str]| {
        let source_ranges = ranges.iter().map(|range| range.parse().unwrap()).collect();
        let load_balancer_ips = vec![ip("203.0.113.6")];
        plan(Service { source_ranges, load_balancer_ips, ..service() }, vec![endpoint(POD_HERE, "here")])
    };
    let some = ranges(&["198.51.100.0/25", "198.51.100.0/24"]);
    check(&some, OUTSIDE, "203.0.113.6", 80, &[HERE_MASQUERADED]);
    check(&some, "198.51.101.7", "203.0.113.6", 80, &["drop"]);
    check(&some, "10.42.0.9", "203.0.113.6", 80, &["drop"]);
    check(&some, "198.51.101.7", VIP, 80, &[HERE_MASQUERADED]);
    // Another port of the address is not the service's to guard.
    check(&some, "198.51.101.7", "203.0.113.6", 81, &["203.0.113.6:81"]);
    check(&ranges(&["0.0.0.0/0"]), "198.51.101.7", "203.0.113.6", 80, &[HERE_MASQUERADED]);
    check(&ranges(&["fd00::/8"]), "198.51.101.7", "203.0.113.6", 80, &[HERE_MASQUERADED]);
    // The node is within the range, so its own copy of the address is too.
    let own = ranges(&["192.0.2.0/24"]);
    check(&own, NODE, "203.0.113.6", 80, &[HERE_MASQUERADED]);
    check(&own, "203.0.113.6", "203.0.113.6", 80, &[HERE_MASQUERADED]);
    check(&own, OUTSIDE, "203.0.113.6", 80, &["drop"]);
}

#[test]
fn terminating_endpoints_serve_when_nobody_else_can() {
    let here = || terminating(endpoint(POD_HERE, "here"));
    check(&plan(service(), vec![here(), endpoint(POD_THERE, "there")]), "10.42.0.9", VIP, 80, &[THERE]);
    check(&plan(service(), vec![here()]), "10.42.0.9", VIP, 80, &[HERE]);
    let mut open = Service { external_local: true, ..service() };
    open.ports[0].node_port = 30080;
    let draining = plan(open, vec![here(), endpoint(POD_THERE, "there")]);
    check(&draining, OUTSIDE, NODE, 30080, &[HERE]);
    check(&draining, "10.42.0.9", NODE, 30080, &[THERE]);
    let dead = Endpoint { serving: false, ..here() };
    check(&plan(service(), vec![dead.clone()]), "10.42.0.9", VIP, 80, &["reject"]);
    // One address may pass from a terminating pod to a new one.
    check(&plan(service(), vec![endpoint(POD_HERE, "here"), dead]), "10.42.0.9", VIP, 80, &[HERE]);
}

#[test]
fn topology_hints() {
    let hinted = |address: &str, node: &str, zones: &[&str], nodes: &[&str]| Endpoint {
        zone_hints: zones.iter().map(|zone| (*zone).to_owned()).collect(),
        node_hints: nodes.iter().map(|node| (*node).to_owned()).collect(),
        ..endpoint(address, node)
    };
    let from_pod = |endpoints, want: &[&str]| check(&plan(service(), endpoints), "10.42.0.9", VIP, 80, want);
    let zone = |here: &[&str], there: &[&str]| {
        vec![hinted(POD_HERE, "here", here, &[]), hinted(POD_THERE, "there", there, &[])]
    };
    from_pod(zone(&["a"], &["b"]), &[HERE]);
    from_pod(zone(&["a"], &["a", "b"]), &[HERE, THERE]);
    from_pod(zone(&["a"], &[]), &[HERE, THERE]);
    from_pod(zone(&["b"], &["b"]), &[HERE, THERE]);
    let by_node =
        vec![hinted(POD_HERE, "here", &["a"], &["here"]), hinted(POD_THERE, "there", &["a"], &["there"])];
    from_pod(by_node.clone(), &[HERE]);
    let nowhere = Node { zone: None, ..node() };
    check(&plan_on(nowhere, service(), zone(&["a"], &["b"])), "10.42.0.9", VIP, 80, &[HERE, THERE]);
}

#[test]
fn host_ports() {
    let mut planner = Planner::new(Family::V4, node());
    let port = |host_ip: Option<&str>, protocol, pod: &str| HostPort {
        host_ip: host_ip.map(ip),
        host_port: 8000,
        protocol,
        pod_ip: ip(pod),
        container_port: 80,
    };
    planner.set_host_ports(&Name::new("shop", "any"), vec![port(Some("0.0.0.0"), Protocol::Tcp, POD_HERE)]);
    planner.set_host_ports(&Name::new("shop", "one"), vec![port(Some(NODE), Protocol::Tcp, "10.42.0.6")]);
    planner.commit();
    check(&planner, OUTSIDE, NODE, 8000, &["10.42.0.6:80"]);
    check(&planner, "10.42.0.6", NODE, 8000, &["10.42.0.6:80 masqueraded"]);
    planner.set_host_ports(&Name::new("shop", "one"), vec![]);
    planner.commit();
    check(&planner, OUTSIDE, NODE, 8000, &["10.42.0.5:80"]);

    // A node port wins over a host port of the same number, and gives it back.
    let mut same = service();
    same.ports[0].node_port = 8000;
    planner.set_service(&name(), Some(same));
    planner.set_slice(&name(), "web-1", Some(slice(vec![endpoint(POD_THERE, "there")])));
    planner.commit();
    check(&planner, OUTSIDE, NODE, 8000, &[THERE_MASQUERADED]);
    planner.set_service(&name(), None);
    planner.commit();
    check(&planner, OUTSIDE, NODE, 8000, &["10.42.0.5:80"]);
}

#[test]
fn affinity_lasts_while_the_endpoint_lives() {
    let sticky = Service { affinity: Some(Duration::from_secs(60)), ..service() };
    let mut planner = plan(sticky, both());
    let mut remembered = BTreeMap::new();
    let mut choice = 0;
    let mut send = |planner: &Planner, from: &str, now: u64| {
        choice += 1;
        let mut walker = Walker {
            rules: planner.ruleset(),
            family: Family::V4,
            any_address: true,
            node_addresses: vec![ip(NODE)],
            random: &mut |bound| choice % bound,
            remembered: std::mem::take(&mut remembered),
            now,
        };
        let tcp = Protocol::Tcp as u8;
        let packet = Packet { source: ip(from), destination: ip(VIP), protocol: tcp, destination_port: 80 };
        let outcome = describe(walker.walk(packet));
        remembered = walker.remembered;
        outcome
    };
    let first = send(&planner, "10.42.0.9", 0);
    for now in [10, 60, 110] {
        assert_eq!(send(&planner, "10.42.0.9", now), first, "each use begins the time anew");
    }
    let others: BTreeSet<String> =
        (0..4).map(|n| send(&planner, &format!("10.42.0.{}", 20 + n), 110)).collect();
    assert_eq!(others.len(), 2, "clients are spread");
    let survivor = if first == HERE { POD_THERE } else { POD_HERE };
    planner.set_slice(&name(), "web-1", Some(slice(vec![endpoint(survivor, "there")])));
    planner.commit();
    assert_eq!(send(&planner, "10.42.0.9", 111), format!("{survivor}:8080"));
    planner.set_slice(&name(), "web-1", Some(slice(both())));
    planner.commit();
    assert_eq!(send(&planner, "10.42.0.9", 112), format!("{survivor}:8080"), "the new endpoint is kept");
    let late: BTreeSet<String> = (0..2).map(|n| send(&planner, "10.42.0.9", 1_000 * (n + 1))).collect();
    assert_eq!(late.len(), 2, "what timed out is chosen anew");
}
