//! NodeName: a pod that names its node runs there or nowhere.

use super::{Plugin, Refusal, Verdict};
use crate::pod::PodInfo;
use crate::snapshot::NodeState;

pub const MISMATCH: &str = "node(s) didn't match the requested node name";

pub fn filter(pod: &PodInfo, node: &NodeState) -> Verdict {
    match &pod.node {
        Some(name) if *name != node.info.name => Err(Refusal::lasting(Plugin::NodeName, MISMATCH)),
        _ => Ok(()),
    }
}
