//! The service table under real traffic.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;

use netplan::addr::{Family, Protocol};
use netplan::model::{Endpoint, EndpointPort, EndpointSlice, HostPort, Name, Node, Service, ServicePort};
use netplan::services::Planner;
use network::conntrack::flush_stale_udp;
use network::links::nodes::route_services;
use network::links::prepare_node;
use network::nft::{Error, Table};
use network::proxy::Proxy;

use crate::lab::{Host, ask, cable};

const VIP: &str = "10.96.0.50";
const VIP6: &str = "fd00:96::50";

/// A node with two pods that serve, one that only asks, and somebody outside.
struct Cluster {
    node: Host,
    outside: Host,
    client: Host,
    pods: [Host; 2],
    planner: Planner,
}

impl Cluster {
    fn new(family: Family) -> Cluster {
        let (node, outside) = (Host::new(), Host::new());
        node.run(|| prepare_node(&[Family::V4, Family::V6])).unwrap();
        cable((&node, "wan", "192.0.2.1/24"), (&outside, "lan", "192.0.2.9/24"));
        node.ip("addr add fd00:1::1/64 dev wan nodad");
        outside.ip("addr add fd00:1::9/64 dev lan nodad");
        outside.ip("route add default via 192.0.2.1");
        outside.ip("route add default via fd00:1::1");
        let pods = ["5", "6"].map(|n| node.pod(&[&format!("10.42.0.{n}"), &format!("fd00:42::{n}")]));
        let client = node.pod(&["10.42.0.7", "fd00:42::7"]);
        for (pod, n, name) in [(&pods[0], "5", "five"), (&pods[1], "6", "six")] {
            pod.serve(&format!("10.42.0.{n}"), 8080, name);
            pod.serve(&format!("fd00:42::{n}"), 8080, name);
        }
        let planner = Planner::new(family, node_facts());
        node.run(|| route_services(&node_facts().service_cidrs)).unwrap();
        Cluster { node, outside, client, pods, planner }
    }

    fn set(&mut self, service: Service, endpoints: Vec<Endpoint>) {
        let family = self.planner.family();
        self.planner.set_service(&name(), Some(service));
        self.planner.set_slice(&name(), "one", Some(slice(family, endpoints)));
    }

    /// Brings the kernel up to date: with a whole table first, with changes afterwards.
    fn apply(&mut self) {
        let first = self.planner.ruleset().elements.is_empty();
        let family = self.planner.family();
        let update = self.planner.commit();
        let (rules, udp) = (self.planner.ruleset().clone(), self.planner.udp_services());
        let outcome = self.node.run(move || {
            let mut table = Table::open(family, true).unwrap();
            if first {
                table.load(&rules)?
            } else {
                table.apply(&update.change)?
            }
            assert_eq!(table.read()?.as_ref(), Some(&rules), "what is read back is what was planned");
            if update.stale_udp {
                flush_stale_udp(family, &udp).unwrap();
            }
            Ok::<_, Error>(())
        });
        outcome.unwrap();
    }
}

fn node_facts() -> Node {
    let cidrs = |texts: [&str; 2]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Node {
        name: "here".into(),
        addresses: vec!["192.0.2.1".parse().unwrap(), "fd00:1::1".parse().unwrap()],
        pod_cidrs: cidrs(["10.42.0.0/16", "fd00:42::/64"]),
        service_cidrs: cidrs(["10.96.0.0/16", "fd00:96::/112"]),
        ..Node::default()
    }
}

fn name() -> Name {
    Name::new("shop", "web")
}

fn service() -> Service {
    let port = |name: &str, protocol| ServicePort { name: name.into(), protocol, port: 80, node_port: 30080 };
    Service {
        cluster_ips: vec![VIP.parse().unwrap(), VIP6.parse().unwrap()],
        ports: vec![port("tcp", Protocol::Tcp), port("udp", Protocol::Udp)],
        ..Service::default()
    }
}

fn slice(family: Family, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let port = |name: &str, protocol| EndpointPort { name: name.into(), protocol, port: 8080 };
    let ports = vec![port("tcp", Protocol::Tcp), port("udp", Protocol::Udp)];
    EndpointSlice { service: name(), family, ports, endpoints }
}

fn at(address: &str) -> Endpoint {
    Endpoint { node: Some("here".into()), ..Endpoint::ready(address.parse().unwrap()) }
}

/// All answers to `count` questions.
fn answers(count: usize, ask: impl Fn() -> String) -> BTreeSet<String> {
    (0..count).map(|_| ask()).collect()
}

fn check(got: BTreeSet<String>, want: &[&str]) {
    assert_eq!(got.iter().map(String::as_str).collect::<Vec<_>>(), want);
}

/// Enough for both of two endpoints to be chosen, but for one run in a million.
const MANY: usize = 20;

#[test]
fn a_service_is_reached_from_everywhere() {
    let mut cluster = Cluster::new(Family::V4);
    cluster.set(service(), vec![at("10.42.0.5"), at("10.42.0.6")]);
    cluster.apply();
    let Cluster { client, node, outside, pods, .. } = &cluster;
    check(answers(MANY, || client.tcp(VIP, 80)), &["five 10.42.0.7", "six 10.42.0.7"]);
    check(answers(MANY, || client.udp(VIP, 80)), &["five 10.42.0.7", "six 10.42.0.7"]);
    check(answers(MANY, || node.tcp(VIP, 80)), &["five 192.0.2.1", "six 192.0.2.1"]);
    check(answers(MANY, || outside.tcp("192.0.2.1", 30080)), &["five 192.0.2.1", "six 192.0.2.1"]);
    check(answers(MANY, || outside.udp("192.0.2.1", 30080)), &["five 192.0.2.1", "six 192.0.2.1"]);
    check(answers(MANY, || client.tcp("192.0.2.1", 30080)), &["five 192.0.2.1", "six 192.0.2.1"]);
    // Hairpin: a pod that reaches itself sees the node.
    check(answers(MANY, || pods[0].tcp(VIP, 80)), &["five 192.0.2.1", "six 10.42.0.5"]);
    check(answers(MANY, || pods[0].udp(VIP, 80)), &["five 192.0.2.1", "six 10.42.0.5"]);
    // Other ports of the address are refused, addresses without a service are not answered.
    assert_eq!(client.tcp(VIP, 81), "refused");
    assert_eq!(node.tcp(VIP, 81), "refused");
    assert_eq!(client.tcp("10.96.0.51", 80), "silence");
    // Pods leave the cluster under the node's address.
    outside.serve("192.0.2.9", 80, "outside");
    assert_eq!(client.tcp("192.0.2.9", 80), "outside 192.0.2.1");

    let listing = node.command("nft", "list ruleset");
    for part in [
        "table ip boga",
        "chain lb-vip-2",
        "map services",
        "elements = { 10.96.0.50 . tcp . 80 : goto lb-vip-2",
    ] {
        assert!(listing.contains(part), "{part} in {listing}");
    }
}

#[test]
fn a_service_is_reached_over_ipv6() {
    let mut cluster = Cluster::new(Family::V6);
    cluster.set(service(), vec![at("fd00:42::5"), at("fd00:42::6")]);
    cluster.apply();
    let Cluster { client, node, outside, pods, .. } = &cluster;
    check(answers(MANY, || client.tcp(VIP6, 80)), &["five fd00:42::7", "six fd00:42::7"]);
    check(answers(MANY, || client.udp(VIP6, 80)), &["five fd00:42::7", "six fd00:42::7"]);
    check(answers(MANY, || node.tcp(VIP6, 80)), &["five fd00:1::1", "six fd00:1::1"]);
    check(answers(MANY, || outside.tcp("fd00:1::1", 30080)), &["five fd00:1::1", "six fd00:1::1"]);
    check(answers(MANY, || pods[0].tcp(VIP6, 80)), &["five fd00:1::1", "six fd00:42::5"]);
    assert_eq!(node.tcp(VIP6, 81), "refused");
    assert_eq!(client.tcp(VIP6, 81), "refused");
    let sticky = Service { affinity: Some(Duration::from_secs(60)), ..service() };
    cluster.set(sticky, vec![at("fd00:42::5"), at("fd00:42::6")]);
    cluster.apply();
    assert_eq!(answers(MANY, || cluster.client.tcp(VIP6, 80)).len(), 1);
}

#[test]
fn endpoints_come_and_go() {
    let mut cluster = Cluster::new(Family::V4);
    cluster.set(service(), vec![]);
    cluster.apply();
    assert_eq!(cluster.client.tcp(VIP, 80), "refused");
    assert_eq!(cluster.client.udp(VIP, 80), "refused");
    assert_eq!(cluster.node.tcp(VIP, 80), "refused");
    assert_eq!(cluster.outside.tcp("192.0.2.1", 30080), "refused");

    // One sender that never changes its port, so that the kernel keeps tracking one flow.
    let sender = cluster.client.run(|| UdpSocket::bind("10.42.0.7:4000").unwrap());
    let send = |cluster: &Cluster| {
        let sender = sender.try_clone().unwrap();
        cluster.client.run(move || ask(&sender, format!("{VIP}:80").parse().unwrap()))
    };
    cluster.set(service(), vec![at("10.42.0.5")]);
    cluster.apply();
    assert_eq!(cluster.client.tcp(VIP, 80), "five 10.42.0.7");
    assert_eq!(send(&cluster), "five 10.42.0.7");
    cluster.set(service(), vec![at("10.42.0.6")]);
    cluster.apply();
    assert_eq!(cluster.client.tcp(VIP, 80), "six 10.42.0.7");
    assert_eq!(send(&cluster), "six 10.42.0.7", "the tracked flow was cut");
    cluster.set(service(), vec![at("10.42.0.5"), at("10.42.0.6")]);
    cluster.apply();
    assert_eq!(send(&cluster), "six 10.42.0.7", "a flow to a living endpoint goes on");
    assert_eq!(answers(MANY, || cluster.client.tcp(VIP, 80)).len(), 2);
    cluster.planner.set_service(&name(), None);
    cluster.apply();
    cluster.apply();
    assert_eq!(cluster.client.tcp(VIP, 80), "silence");
    assert!(!cluster.node.command("nft", "list ruleset").contains("lb-vip"));
}

#[test]
fn local_policy_keeps_who_asked() {
    let mut cluster = Cluster::new(Family::V4);
    let local = Service { external_local: true, ..service() };
    let elsewhere = Endpoint { node: Some("there".into()), ..at("10.42.0.6") };
    cluster.set(local.clone(), vec![at("10.42.0.5"), elsewhere.clone()]);
    cluster.apply();
    check(answers(MANY, || cluster.outside.tcp("192.0.2.1", 30080)), &["five 192.0.2.9"]);
    let either = ["five 10.42.0.7", "six 10.42.0.7"];
    check(answers(MANY, || cluster.client.tcp("192.0.2.1", 30080)), &either);
    check(answers(MANY, || cluster.node.tcp("192.0.2.1", 30080)), &["five 192.0.2.1", "six 192.0.2.1"]);
    cluster.set(local, vec![elsewhere]);
    cluster.apply();
    assert_eq!(cluster.outside.tcp("192.0.2.1", 30080), "silence");
    assert_eq!(cluster.client.tcp("192.0.2.1", 30080), "six 10.42.0.7");
}

#[test]
fn affinity_holds_while_the_endpoint_lives() {
    let mut cluster = Cluster::new(Family::V4);
    let sticky = Service { affinity: Some(Duration::from_secs(60)), ..service() };
    cluster.set(sticky.clone(), vec![at("10.42.0.5"), at("10.42.0.6")]);
    cluster.apply();
    let first = cluster.client.tcp(VIP, 80);
    check(answers(MANY, || cluster.client.tcp(VIP, 80)), &[&first]);
    assert_eq!(answers(MANY, || cluster.outside.tcp("192.0.2.1", 30080)).len(), 1);
    // A restart keeps who was given to whom.
    let (rules, family) = (cluster.planner.ruleset().clone(), cluster.planner.family());
    cluster.node.run(move || Table::open(family, true).unwrap().adopt(&rules)).unwrap();
    check(answers(MANY, || cluster.client.tcp(VIP, 80)), &[&first]);

    let (gone, stays) =
        if first.starts_with("five") { ("10.42.0.5", "10.42.0.6") } else { ("10.42.0.6", "10.42.0.5") };
    cluster.set(sticky.clone(), vec![at(stays)]);
    cluster.apply();
    let second = cluster.client.tcp(VIP, 80);
    assert_ne!(second, first);
    cluster.set(sticky, vec![at(stays), at(gone)]);
    cluster.apply();
    check(answers(MANY, || cluster.client.tcp(VIP, 80)), &[&second]);
}

#[test]
fn balancer_addresses_and_who_may_use_them() {
    let mut cluster = Cluster::new(Family::V4);
    let open = Service { load_balancer_ips: vec!["203.0.113.6".parse().unwrap()], ..service() };
    let only = |range: &str| Service { source_ranges: vec![range.parse().unwrap()], ..open.clone() };
    for (service, want) in [
        (open.clone(), "five 192.0.2.1"),
        (only("192.0.2.8/31"), "five 192.0.2.1"),
        (only("198.51.100.0/24"), "silence"),
        (only("192.0.2.0/24"), "five 192.0.2.1"),
    ] {
        cluster.set(service, vec![at("10.42.0.5")]);
        cluster.apply();
        assert_eq!(cluster.outside.tcp("203.0.113.6", 80), want);
    }
}

#[test]
fn host_ports_lead_to_one_pod() {
    let mut cluster = Cluster::new(Family::V4);
    let port = |protocol| HostPort {
        host_ip: None,
        host_port: 8000,
        protocol,
        pod_ip: "10.42.0.5".parse().unwrap(),
        container_port: 8080,
    };
    let pod = Name::new("shop", "five");
    cluster.planner.set_host_ports(&pod, vec![port(Protocol::Tcp), port(Protocol::Udp)]);
    cluster.apply();
    assert_eq!(cluster.outside.tcp("192.0.2.1", 8000), "five 192.0.2.9");
    assert_eq!(cluster.outside.udp("192.0.2.1", 8000), "five 192.0.2.9");
    assert_eq!(cluster.pods[0].tcp("192.0.2.1", 8000), "five 192.0.2.1");
    cluster.planner.set_host_ports(&pod, vec![]);
    cluster.apply();
    assert_eq!(cluster.outside.tcp("192.0.2.1", 8000), "refused");
}

#[test]
fn a_table_is_adopted_replaced_and_removed() {
    let mut cluster = Cluster::new(Family::V4);
    cluster.set(service(), vec![at("10.42.0.5")]);
    cluster.apply();
    let rules = cluster.planner.ruleset().clone();
    let with_table =
        |cluster: &Cluster, work: fn(&mut Table, &netplan::rules::Ruleset) -> Result<(), Error>| {
            let rules = rules.clone();
            cluster.node.run(move || {
                let mut table = Table::open(Family::V4, true).unwrap();
                work(&mut table, &rules)?;
                table.read()
            })
        };
    // Somebody meddled with the table: what is missing comes back, what is strange goes.
    cluster.node.command("nft", "delete element ip boga services { 10.96.0.50 . tcp . 80 }");
    cluster.node.command("nft", "add element ip boga cluster-ips { 10.96.0.99 }");
    assert_eq!(with_table(&cluster, |table, rules| table.adopt(rules)).unwrap().as_ref(), Some(&rules));
    cluster.node.command("nft", "add chain ip boga strange");
    assert_eq!(with_table(&cluster, |table, rules| table.adopt(rules)).unwrap().as_ref(), Some(&rules));
    assert!(!cluster.node.command("nft", "list ruleset").contains("strange"));
    cluster.node.command("nft", "delete table ip boga");
    cluster.node.command("nft", "add table ip boga");
    assert_eq!(with_table(&cluster, |table, rules| table.adopt(rules)).unwrap().as_ref(), Some(&rules));

    // A refusal names what was refused and changes nothing.
    let twice = with_table(&cluster, |table, rules| {
        let added = rules.elements.iter().map(|((set, key), value)| (*set, *key, value.clone()));
        let added = added.filter(|(set, ..)| *set == netplan::rules::Set::ClusterIps).collect();
        table.apply(&netplan::rules::Change { added, ..Default::default() })
    });
    let text = twice.unwrap_err().to_string();
    assert_eq!(
        text,
        "nftables: the kernel refused element 0a600032 of cluster-ips: File exists (os error 17)"
    );

    for _ in 0..2 {
        assert_eq!(with_table(&cluster, |table, _| table.remove()).unwrap(), None);
    }
    assert_eq!(cluster.node.command("nft", "list ruleset"), "");
}

#[test]
fn the_proxy_keeps_both_families_in_step() {
    let cluster = Cluster::new(Family::V4);
    let Cluster { node, client, .. } = &cluster;
    let endpoints = |family, addresses: &[&str]| slice(family, addresses.iter().map(|a| at(a)).collect());
    let both = [endpoints(Family::V4, &["10.42.0.5"]), endpoints(Family::V6, &["fd00:42::5"])];
    let fill = move |proxy: &mut Proxy| {
        proxy.set_service(&name(), Some(&service()));
        for (slice, slice_name) in both.iter().zip(["four", "six"]) {
            proxy.set_slice(&name(), slice_name, Some(slice));
        }
    };
    let refill = fill.clone();
    node.run(move || {
        let mut proxy = Proxy::open(&node_facts()).unwrap();
        fill(&mut proxy);
        assert!(proxy.sync().unwrap().operations > 0);
        assert_eq!(proxy.sync().unwrap().operations, 0);
    });
    assert_eq!(client.tcp(VIP, 80), "five 10.42.0.7");
    assert_eq!(client.tcp(VIP6, 80), "five fd00:42::7");
    // Somebody takes the table away: the next change fails, and the one after that repairs it.
    let sender = client.run(|| UdpSocket::bind("10.42.0.7:4000").unwrap());
    let send = move |client: &Host| {
        let sender = sender.try_clone().unwrap();
        client.run(move || ask(&sender, format!("{VIP}:80").parse().unwrap()))
    };
    assert_eq!(send(client), "five 10.42.0.7");
    node.run(move || {
        let mut proxy = Proxy::open(&node_facts()).unwrap();
        refill(&mut proxy);
        proxy.sync().unwrap();
        let status = std::process::Command::new("nft").args(["delete", "table", "ip", "boga"]).status();
        assert!(status.unwrap().success());
        proxy.set_slice(&name(), "four", Some(&slice(Family::V4, vec![at("10.42.0.6")])));
        assert!(proxy.sync().is_err());
        let repaired = proxy.sync().unwrap();
        assert_eq!((repaired.cut_flows, proxy.sync().unwrap().operations), (1, 0));
    });
    assert_eq!(client.tcp(VIP, 80), "six 10.42.0.7");
    assert_eq!(send(client), "six 10.42.0.7");
    node.run(|| Proxy::open(&node_facts()).unwrap().remove().unwrap());
    assert_eq!(node.command("nft", "list ruleset"), "");
}
