//! NodeAffinity: the labels and names of nodes that a pod asks for, or likes.

use super::{Plugin, Refusal, Verdict, normalize};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::snapshot::NodeState;

pub const MISMATCH: &str = "node(s) didn't match Pod's node affinity/selector";
/// Every term asks for a node of two names.
pub const CONFLICT: &str = "pod affinity terms conflict";

pub fn filter(pod: &PodInfo, node: &NodeState) -> Verdict {
    if pod.node_requirement.matches(&node.info) {
        return Ok(());
    }
    Err(Refusal::lasting(Plugin::NodeAffinity, MISMATCH))
}

/// The summed weight of the preferences that the node meets.
pub fn preference(pod: &PodInfo, node: &NodeInfo) -> i64 {
    pod.preferred_nodes.iter().filter(|(_, term)| term.matches(node)).map(|(weight, _)| weight).sum()
}

pub fn score(preferences: &mut [i64]) {
    normalize(preferences, false);
}

pub fn may_help(pod: &PodInfo, before: Option<&NodeInfo>, after: &NodeInfo) -> bool {
    let matches = |node: &NodeInfo| pod.node_requirement.matches(node);
    matches(after) && !before.is_some_and(matches)
}
