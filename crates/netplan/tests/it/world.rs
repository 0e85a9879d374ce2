//! A small cluster to plan for: node `here` and node `there`.

use std::net::IpAddr;

use netplan::addr::{Family, Protocol};
use netplan::model::{Endpoint, EndpointPort, EndpointSlice, Name, Node, Service, ServicePort};

pub const NODE: &str = "192.0.2.1";
pub const POD_HERE: &str = "10.42.0.5";
pub const POD_THERE: &str = "10.42.1.5";
pub const OUTSIDE: &str = "198.51.100.7";
pub const VIP: &str = "10.96.0.50";

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn node() -> Node {
    Node {
        name: "here".into(),
        zone: Some("a".into()),
        addresses: vec![ip(NODE)],
        pod_cidrs: vec!["10.42.0.0/16".parse().unwrap()],
        service_cidrs: vec!["10.96.0.0/16".parse().unwrap()],
        no_masquerade: vec![],
        node_port_addresses: vec![],
    }
}

pub fn name() -> Name {
    Name::new("shop", "web")
}

/// A service on port 80 of [`VIP`].
pub fn service() -> Service {
    let port = ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: 80, node_port: 0 };
    Service { cluster_ips: vec![ip(VIP)], ports: vec![port], ..Service::default() }
}

pub fn endpoint(address: &str, node: &str) -> Endpoint {
    Endpoint { node: Some(node.into()), ..Endpoint::ready(ip(address)) }
}

pub fn terminating(endpoint: Endpoint) -> Endpoint {
    Endpoint { ready: false, serving: true, terminating: true, ..endpoint }
}

/// Endpoints listening on port 8080.
pub fn slice(endpoints: Vec<Endpoint>) -> EndpointSlice {
    let port = EndpointPort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 };
    EndpointSlice { service: name(), family: Family::V4, ports: vec![port], endpoints }
}
