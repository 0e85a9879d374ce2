//! Services across nodes: what one node translates, the other must answer the same way back.

use netplan::addr::{Cidr, Family, Protocol};
use netplan::model::{Endpoint, EndpointPort, EndpointSlice, Name, Node, Service, ServicePort};
use network::links::nodes::{Peer, Tunnel, Underlay, connect, route_services};
use network::links::prepare_node;
use network::proxy::Proxy;

use crate::lab::{Host, cable};

const VIP: &str = "10.96.0.50";

fn range(node: u8) -> Cidr {
    format!("10.42.{node}.0/24").parse().unwrap()
}

fn address(node: u8) -> std::net::IpAddr {
    [192, 0, 2, node].into()
}

/// Joins a node to its one peer and programs a service whose only endpoint is on node 2.
fn start(node: u8, peer: u8) -> Host {
    let host = Host::new();
    host.run(|| prepare_node(&[Family::V4, Family::V6])).unwrap();
    host.run(move || {
        let services: Vec<Cidr> = vec!["10.96.0.0/16".parse().unwrap()];
        route_services(&services).unwrap();
        let facts = Node {
            name: format!("node-{node}"),
            addresses: vec![address(node)],
            pod_cidrs: vec!["10.42.0.0/16".parse().unwrap()],
            service_cidrs: services,
            ..Node::default()
        };
        let mut proxy = Proxy::open(&facts).unwrap();
        let protocol = Protocol::Tcp;
        let ports = vec![ServicePort { name: String::new(), protocol, port: 80, node_port: 30080 }];
        let service = Service { cluster_ips: vec![VIP.parse().unwrap()], ports, ..Service::default() };
        let name = Name::new("shop", "web");
        proxy.set_service(&name, Some(&service));
        let endpoint = Endpoint { node: Some("node-2".into()), ..Endpoint::ready([10, 42, 2, 5].into()) };
        let ports = vec![EndpointPort { name: String::new(), protocol, port: 8080 }];
        let slice =
            EndpointSlice { service: name.clone(), family: Family::V4, ports, endpoints: vec![endpoint] };
        proxy.set_slice(&name, "web-1", Some(&slice));
        proxy.sync().unwrap();
        let local = address(node);
        let tunnel = Tunnel { id: 1, port: 4789, local, pod_cidrs: vec![range(node)], mtu: 1450 };
        let peer = Peer { address: address(peer), pod_cidrs: vec![range(peer)] };
        connect(&Underlay::Tunnel(tunnel), &[peer]).unwrap();
    });
    host
}

#[test]
fn services_lead_across_nodes() {
    let (one, two) = (start(1, 2), start(2, 1));
    cable((&one, "one", "192.0.2.1/24"), (&two, "two", "192.0.2.2/24"));
    let outside = Host::new();
    cable((&one, "wan", "198.51.100.1/24"), (&outside, "lan", "198.51.100.9/24"));
    let client = one.pod(&["10.42.1.7"]);
    let server = two.pod(&["10.42.2.5"]);
    server.serve("10.42.2.5", 8080, "server");
    // Pods keep their addresses across nodes.
    assert_eq!(client.tcp("10.42.2.5", 8080), "server 10.42.1.7");
    assert_eq!(client.tcp(VIP, 80), "server 10.42.1.7");
    // Others are seen as the node that they came through, so that the replies come back there: with
    // the address of its tunnel, which is routed as its pods are.
    assert_eq!(outside.tcp("198.51.100.1", 30080), "server 10.42.1.0");
    assert_eq!(one.tcp(VIP, 80), "server 10.42.1.0");
    // A pod's link has no address of its own, so there the kernel takes any of the node's.
    let any = client.tcp("192.0.2.2", 30080);
    assert!(["server 10.42.2.0", "server 192.0.2.2"].contains(&any.as_str()), "{any}");
}
