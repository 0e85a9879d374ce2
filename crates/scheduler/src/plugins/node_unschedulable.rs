//! NodeUnschedulable: a cordoned node takes only pods that tolerate the taint which cordoning will put on it.

use super::{Plugin, Refusal, Verdict};
use crate::node::{Effect, Taint};
use crate::pod::PodInfo;
use crate::snapshot::NodeState;

pub const UNSCHEDULABLE: &str = "node(s) were unschedulable";

pub fn filter(pod: &PodInfo, node: &NodeState) -> Verdict {
    if !node.info.unschedulable || tolerates_cordon(pod) {
        return Ok(());
    }
    Err(Refusal::lasting(Plugin::NodeUnschedulable, UNSCHEDULABLE))
}

/// The field is looked at beside the taint because it may be set a moment before the taint is.
pub fn tolerates_cordon(pod: &PodInfo) -> bool {
    if pod.tolerations.is_empty() {
        return false;
    }
    let key = "node.kubernetes.io/unschedulable".to_owned();
    pod.tolerates(&Taint { key, value: String::new(), effect: Effect::NoSchedule })
}
