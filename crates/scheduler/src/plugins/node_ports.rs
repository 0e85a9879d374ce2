//! NodePorts: no two pods share a host port.

use super::{Plugin, Refusal, Verdict};
use crate::pod::{HostPort, PodInfo};
use crate::snapshot::NodeState;

pub const TAKEN: &str = "node(s) didn't have free ports for the requested pod ports";

pub fn filter(pod: &PodInfo, node: &NodeState) -> Verdict {
    if conflict(&pod.host_ports, &node.ports) {
        return Err(Refusal::resolvable(Plugin::NodePorts, TAKEN));
    }
    Ok(())
}

pub fn conflict(wanted: &[HostPort], taken: &[HostPort]) -> bool {
    wanted.iter().any(|port| taken.iter().any(|other| port.conflicts(other)))
}
