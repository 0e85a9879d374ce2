//! The inputs: what this crate needs to know of services, endpoints, pods and the node.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::addr::{Cidr, Family, Protocol};

/// A namespaced name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl Name {
    pub fn new(namespace: &str, name: &str) -> Name {
        Name { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A service, without what neither rules nor names depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// One for each family; empty for headless and ExternalName services.
    pub cluster_ips: Vec<IpAddr>,
    pub headless: bool,
    /// The canonical name of an ExternalName service.
    pub external_name: Option<String>,
    pub ports: Vec<ServicePort>,
    pub external_ips: Vec<IpAddr>,
    /// Ingress addresses of load balancers that deliver packets with the address left in place.
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may reach the load balancer addresses; empty means everybody.
    pub source_ranges: Vec<Cidr>,
    pub external_local: bool,
    pub internal_local: bool,
    /// ClientIP session affinity and how long it lasts.
    pub affinity: Option<Duration>,
    /// Non-zero for load balancers with the Local external policy.
    pub health_check_node_port: u16,
    pub publish_not_ready: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    pub name: String,
    pub protocol: Protocol,
    pub port: u16,
    /// Zero when there is none.
    pub node_port: u16,
}

/// One endpoint slice of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    pub service: Name,
    pub family: Family,
    pub ports: Vec<EndpointPort>,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPort {
    pub name: String,
    pub protocol: Protocol,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub address: IpAddr,
    pub hostname: Option<String>,
    pub node: Option<String>,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
    pub zone_hints: BTreeSet<String>,
    pub node_hints: BTreeSet<String>,
}

impl Endpoint {
    /// A ready endpoint at an address.
    pub fn ready(address: IpAddr) -> Endpoint {
        Endpoint {
            address,
            hostname: None,
            node: None,
            ready: true,
            serving: true,
            terminating: false,
            zone_hints: BTreeSet::new(),
            node_hints: BTreeSet::new(),
        }
    }

    /// A pod that is being deleted but still answers; it gets traffic only when nothing else can.
    pub fn serves_while_terminating(&self) -> bool {
        self.serving && self.terminating
    }
}

/// A port of the node that leads to one container port of a pod on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The node address it is bound to; unspecified means all of them.
    pub host_ip: Option<IpAddr>,
    pub host_port: u16,
    pub protocol: Protocol,
    pub pod_ip: IpAddr,
    pub container_port: u16,
}

/// What the rules need to know of the node they run on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub zone: Option<String>,
    pub addresses: Vec<IpAddr>,
    /// The address ranges of all pods of the cluster: traffic from there is the cluster's own.
    pub pod_cidrs: Vec<Cidr>,
    /// Addresses of services that exist nowhere else; unallocated ones are dropped.
    pub service_cidrs: Vec<Cidr>,
    /// Destinations that see pods under their own addresses, beside the pods themselves.
    pub no_masquerade: Vec<Cidr>,
    /// Node addresses that accept node ports; empty means all but loopback.
    pub node_port_addresses: Vec<Cidr>,
}

/// Slices of one service by their names.
pub type Slices = BTreeMap<Arc<str>, EndpointSlice>;
