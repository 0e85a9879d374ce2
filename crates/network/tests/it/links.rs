//! Pods reach their node, each other, and pods of other nodes.

use netplan::addr::Family;
use network::links::nodes::{Peer, Tunnel, Underlay, connect, disconnect, route_services};
use network::links::pods::{check_pod, detach_pod, list_pods, pod_addresses};
use network::links::prepare_node;

use crate::lab::{Host, cable, pod_link};

fn node() -> Host {
    let node = Host::new();
    node.run(|| prepare_node(&[Family::V4, Family::V6])).unwrap();
    node.run(|| route_services(&["10.96.0.0/16".parse().unwrap()])).unwrap();
    node
}

#[test]
fn a_pod_comes_and_goes() {
    let node = node();
    node.ip("addr add 192.0.2.1/32 dev lo");
    node.ip("addr add fd00:1::1/128 dev lo nodad");
    let settings = "/proc/sys/net/ipv6/conf/default/accept_ra /proc/sys/net/ipv4/ip_forward";
    assert_eq!(node.command("cat", settings), "2\n1\n");
    let pod = node.pod(&["10.42.0.5", "fd00:42::5"]);
    node.serve("192.0.2.1", 80, "node");
    node.serve("fd00:1::1", 80, "node");
    pod.serve("10.42.0.5", 80, "pod");
    assert_eq!(pod.tcp("192.0.2.1", 80), "node 10.42.0.5");
    assert_eq!(pod.tcp("fd00:1::1", 80), "node fd00:42::5");
    assert_eq!(node.udp("10.42.0.5", 80), "pod 192.0.2.1");

    let link = pod_link(&pod, &["10.42.0.5", "fd00:42::5"]);
    let check = |want: &[&str]| {
        let link = link.clone();
        assert_eq!(node.run(move || check_pod(&link)).unwrap(), want);
    };
    check(&[]);
    let netns = pod.netns.clone();
    let addresses = node.run(move || pod_addresses(&netns)).unwrap();
    assert_eq!(addresses, link.addresses);
    pod.ip("addr del 10.42.0.5/32 dev eth0");
    check(&["the pod does not have address 10.42.0.5", "the pod lacks its route out for 10.42.0.5"]);
    let found = node.run(list_pods).unwrap();
    assert_eq!(found.iter().map(|f| f.alias.as_str()).collect::<Vec<_>>(), ["test/10.42.0.5"]);

    let device = link.host_device.clone();
    for _ in 0..2 {
        let device = device.clone();
        node.run(move || detach_pod(&device)).unwrap();
    }
    check(&[&format!("link {device} is not there")]);
    assert!(node.run(list_pods).unwrap().is_empty());
}

#[test]
fn attaching_again_replaces_and_a_missing_namespace_leaves_nothing() {
    let node = node();
    let pod = node.pod(&["10.42.0.5"]);
    let link = pod_link(&pod, &["10.42.0.5"]);
    let mut nowhere = link.clone();
    node.run(move || network::links::pods::attach_pod(&link)).unwrap();
    assert_eq!(node.run(list_pods).unwrap().len(), 1);
    nowhere.netns = "/nowhere".into();
    assert!(node.run(move || network::links::pods::attach_pod(&nowhere)).is_err());
    assert!(node.run(list_pods).unwrap().is_empty());
}

fn between_nodes(tunnel: bool) {
    let (a, b) = (node(), node());
    cable((&a, "a0", "192.0.2.1/24"), (&b, "b0", "192.0.2.2/24"));
    let cidrs = |n: u8| {
        vec![format!("10.42.{n}.0/24").parse().unwrap(), format!("fd00:42:0:{n}::/64").parse().unwrap()]
    };
    let join = |host: &Host, device: &str, n: u8, peers: Vec<Peer>| {
        let underlay = if tunnel {
            let local = format!("192.0.2.{n}").parse().unwrap();
            Underlay::Tunnel(Tunnel { id: 7, port: 4789, local, pod_cidrs: cidrs(n), mtu: 1450 })
        } else {
            Underlay::Direct { device: device.to_owned() }
        };
        host.run(move || connect(&underlay, &peers)).unwrap();
    };
    let peer = |n: u8| Peer { address: format!("192.0.2.{n}").parse().unwrap(), pod_cidrs: cidrs(n) };
    // Twice, because joining again must change nothing.
    for _ in 0..2 {
        join(&a, "a0", 1, vec![peer(2)]);
        join(&b, "b0", 2, vec![peer(1)]);
    }
    let pod_a = a.pod(&["10.42.1.5", "fd00:42:0:1::5"]);
    let pod_b = b.pod(&["10.42.2.5", "fd00:42:0:2::5"]);
    pod_b.serve("10.42.2.5", 80, "b");
    pod_b.serve("fd00:42:0:2::5", 80, "b");
    assert_eq!(pod_a.tcp("10.42.2.5", 80), "b 10.42.1.5");
    assert_eq!(pod_a.udp("10.42.2.5", 80), "b 10.42.1.5");
    assert!(a.tcp("10.42.2.5", 80).starts_with("b "));
    if tunnel {
        assert_eq!(pod_a.tcp("fd00:42:0:2::5", 80), "b fd00:42:0:1::5");
    }
    join(&a, "a0", 1, vec![]);
    assert_ne!(pod_a.tcp("10.42.2.5", 80), "b 10.42.1.5");
    a.run(disconnect).unwrap();
    assert!(!a.ip("-d link").contains("vxlan") && !a.ip("route").contains("10.42.2."));
}

#[test]
fn nodes_reach_each_other_through_tunnels() {
    between_nodes(true);
}

#[test]
fn nodes_on_one_link_need_no_tunnel() {
    between_nodes(false);
}
