//! Which tracked UDP flows lead to endpoints that no longer answer.
//!
//! A UDP sender that never pauses keeps its flow alive for ever, so a flow to a dead endpoint must be
//! cut; TCP ends by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The addresses and node ports of UDP services, each with who may answer for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UdpServices {
    pub addresses: BTreeMap<(IpAddr, u16), BTreeSet<(IpAddr, u16)>>,
    pub node_ports: BTreeMap<u16, BTreeSet<(IpAddr, u16)>>,
}

/// The two ends of a tracked flow that matter: where it was sent, and who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub destination: (IpAddr, u16),
    pub answered_by: (IpAddr, u16),
}

impl UdpServices {
    /// Traffic policies and readiness do not matter: established flows go on while the endpoint serves.
    pub fn is_stale(&self, flow: &Flow) -> bool {
        let dead = |serving: &BTreeSet<(IpAddr, u16)>| !serving.contains(&flow.answered_by);
        self.addresses.get(&flow.destination).is_some_and(dead)
            || self.node_ports.get(&flow.destination.1).is_some_and(dead)
    }
}
