//! Sets and maps of the table, and their elements in the kernel's layout.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use crate::addr::{Family, Protocol};

use super::chains::Chain;

/// A packet field, or a number drawn, that can be part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Source,
    Destination,
    Protocol,
    DestinationPort,
}

/// What a part of a key or of a map's data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    Address,
    Protocol,
    Port,
    Index,
}

impl FieldKind {
    pub fn len(self, family: Family) -> usize {
        match self {
            FieldKind::Address => family.address_len(),
            FieldKind::Protocol => 1,
            FieldKind::Port => 2,
            FieldKind::Index => 4,
        }
    }

    /// Parts of a concatenation begin at four-byte borders.
    pub fn padded_len(self, family: Family) -> usize {
        self.len(family).next_multiple_of(4)
    }
}

/// Every set and map of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Set {
    /// Service addresses and ports, to the chain that serves them.
    Services,
    /// Ports of the node, to the chain that serves them.
    NodePorts,
    /// The endpoints of each service address and port, by index.
    Endpoints,
    /// The endpoints of each port of the node, by index.
    NodePortEndpoints,
    /// Service addresses that nobody answers: reject or drop.
    Unserved,
    UnservedNodePorts,
    /// Load balancer addresses that only some sources may use, and those sources.
    Restricted,
    AllowedSources,
    /// Which endpoint a client was given, for session affinity.
    Sticky,
    StickyNodePorts,
    /// The endpoints that affinity may still lead to, for each policy.
    Live,
    LiveNodePorts,
    LiveHere,
    LiveHereNodePorts,
    /// All cluster addresses, to reject their other ports.
    ClusterIps,
    /// Connections that lead from a local endpoint to itself.
    Hairpins,
    PodCidrs,
    NoMasquerade,
    ServiceCidrs,
    NodePortAddresses,
}

impl Set {
    pub const ALL: [Set; 20] = [
        Set::Services,
        Set::NodePorts,
        Set::Endpoints,
        Set::NodePortEndpoints,
        Set::Unserved,
        Set::UnservedNodePorts,
        Set::Restricted,
        Set::AllowedSources,
        Set::Sticky,
        Set::StickyNodePorts,
        Set::Live,
        Set::LiveNodePorts,
        Set::LiveHere,
        Set::LiveHereNodePorts,
        Set::ClusterIps,
        Set::Hairpins,
        Set::PodCidrs,
        Set::NoMasquerade,
        Set::ServiceCidrs,
        Set::NodePortAddresses,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Set::Services => "services",
            Set::NodePorts => "node-ports",
            Set::Endpoints => "endpoints",
            Set::NodePortEndpoints => "node-port-endpoints",
            Set::Unserved => "unserved",
            Set::UnservedNodePorts => "unserved-node-ports",
            Set::Restricted => "restricted",
            Set::AllowedSources => "allowed-sources",
            Set::Sticky => "sticky",
            Set::StickyNodePorts => "sticky-node-ports",
            Set::Live => "live",
            Set::LiveNodePorts => "live-node-ports",
            Set::LiveHere => "live-here",
            Set::LiveHereNodePorts => "live-here-node-ports",
            Set::ClusterIps => "cluster-ips",
            Set::Hairpins => "hairpins",
            Set::PodCidrs => "pod-cidrs",
            Set::NoMasquerade => "no-masquerade",
            Set::ServiceCidrs => "service-cidrs",
            Set::NodePortAddresses => "node-port-addresses",
        }
    }

    /// The parts of the key.
    pub fn key(self) -> &'static [FieldKind] {
        use FieldKind::{Address, Index, Port, Protocol};
        match self {
            Set::Services | Set::Unserved | Set::Restricted => &[Address, Protocol, Port],
            Set::NodePorts | Set::UnservedNodePorts => &[Protocol, Port],
            Set::Endpoints => &[Address, Protocol, Port, Index],
            Set::NodePortEndpoints => &[Protocol, Port, Index],
            Set::AllowedSources => &[Address, Protocol, Port, Address],
            Set::Sticky => &[Address, Address, Protocol, Port],
            Set::StickyNodePorts => &[Address, Protocol, Port],
            Set::Live | Set::LiveHere => &[Address, Protocol, Port, Address, Port],
            Set::LiveNodePorts | Set::LiveHereNodePorts => &[Protocol, Port, Address, Port],
            Set::Hairpins => &[Address, Address, Protocol, Port],
            Set::ClusterIps
            | Set::PodCidrs
            | Set::NoMasquerade
            | Set::ServiceCidrs
            | Set::NodePortAddresses => &[Address],
        }
    }

    pub fn maps_to(self) -> MapsTo {
        match self {
            Set::Services | Set::NodePorts | Set::Unserved | Set::UnservedNodePorts => MapsTo::Verdict,
            Set::Endpoints | Set::NodePortEndpoints | Set::Sticky | Set::StickyNodePorts => MapsTo::Endpoint,
            _ => MapsTo::Nothing,
        }
    }

    /// Elements are ranges rather than points.
    pub fn is_interval(self) -> bool {
        matches!(
            self,
            Set::AllowedSources
                | Set::PodCidrs
                | Set::NoMasquerade
                | Set::ServiceCidrs
                | Set::NodePortAddresses
        )
    }

    /// Elements are written by packets and time out; the planner never touches them.
    pub fn is_dynamic(self) -> bool {
        matches!(self, Set::Sticky | Set::StickyNodePorts)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapsTo {
    Nothing,
    Verdict,
    Endpoint,
}

/// A key or an endpoint, in the layout of the kernel's registers. It lies in place: there are several
/// for each endpoint of the cluster.
#[derive(Clone, Copy)]
pub struct Key {
    len: u8,
    bytes: [u8; Key::CAPACITY],
}

impl Key {
    /// The longest is that of a live endpoint over IPv6, with 44 bytes.
    const CAPACITY: usize = 47;

    pub const fn new() -> Key {
        Key { len: 0, bytes: [0; Key::CAPACITY] }
    }

    /// `None` for what is longer than any key of ours.
    pub fn from_bytes(bytes: &[u8]) -> Option<Key> {
        (bytes.len() <= Key::CAPACITY).then(|| Key::new().with(bytes))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    pub fn address(self, address: IpAddr) -> Key {
        match address {
            IpAddr::V4(v4) => self.with(&v4.octets()),
            IpAddr::V6(v6) => self.with(&v6.octets()),
        }
    }

    pub fn protocol(self, protocol: Protocol) -> Key {
        self.number(protocol as u8)
    }

    pub fn number(self, protocol: u8) -> Key {
        self.with(&[protocol, 0, 0, 0])
    }

    pub fn port(self, port: u16) -> Key {
        let [high, low] = port.to_be_bytes();
        self.with(&[high, low, 0, 0])
    }

    /// Indexes come from the kernel's number generator, in the machine's byte order.
    pub fn index(self, index: u32) -> Key {
        self.with(&index.to_ne_bytes())
    }

    pub fn then(self, other: &Key) -> Key {
        self.with(other.bytes())
    }

    fn with(mut self, more: &[u8]) -> Key {
        let end = usize::from(self.len) + more.len();
        assert!(end <= Key::CAPACITY, "every key of the table fits");
        self.bytes[usize::from(self.len)..end].copy_from_slice(more);
        self.len = end as u8;
        self
    }
}

impl Default for Key {
    fn default() -> Key {
        Key::new()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().chunks(4).enumerate().try_for_each(|(at, word)| {
            f.write_str(if at > 0 { "." } else { "" })?;
            word.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    Drop,
    Goto(Chain),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    Nothing,
    Verdict(Verdict),
    /// Address and port.
    Endpoint(Key),
}

/// What stands beside the key of an element.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Value {
    /// The inclusive end, where elements are ranges.
    pub end: Option<Key>,
    pub data: Data,
}

impl Value {
    pub const NOTHING: Value = Value { end: None, data: Data::Nothing };

    pub fn goto(chain: Chain) -> Value {
        Value { end: None, data: Data::Verdict(Verdict::Goto(chain)) }
    }

    pub fn drop() -> Value {
        Value { end: None, data: Data::Verdict(Verdict::Drop) }
    }

    pub fn endpoint(address: IpAddr, port: u16) -> Value {
        Value { end: None, data: Data::Endpoint(Key::new().address(address).port(port)) }
    }

    pub fn up_to(end: Key) -> Value {
        Value { end: Some(end), data: Data::Nothing }
    }

    pub fn chain(&self) -> Option<Chain> {
        match self.data {
            Data::Verdict(Verdict::Goto(chain)) => Some(chain),
            _ => None,
        }
    }
}
