//! Which changes in the cluster make it worthwhile to try a refused pod again.

use std::sync::Arc;

use crate::affinity::Namespaces;
use crate::node::NodeInfo;
use crate::plugins::{
    Plugin, Plugins, inter_pod_affinity, node_affinity, node_ports, node_unschedulable, resources_fit,
    taint_toleration, topology_spread,
};
use crate::pod::PodInfo;

/// Something that happened to a node, or to a pod on a node.
#[derive(Clone, Debug)]
pub enum Event {
    NodeAdded(Arc<NodeInfo>),
    NodeChanged { before: Arc<NodeInfo>, after: Arc<NodeInfo> },
    NodeRemoved(Arc<NodeInfo>),
    PodPlaced(Arc<PodInfo>),
    PodChanged { before: Arc<PodInfo>, after: Arc<PodInfo> },
    PodRemoved(Arc<PodInfo>),
}

/// Whether the event may undo the refusal of one of `plugins`. Without a refusal, any event is a reason to try.
pub fn may_help(event: &Event, pod: &PodInfo, plugins: Plugins, namespaces: &Namespaces) -> bool {
    plugins.is_empty() || plugins.iter().any(|plugin| helps(event, pod, plugin, namespaces))
}

fn helps(event: &Event, pod: &PodInfo, plugin: Plugin, namespaces: &Namespaces) -> bool {
    match event {
        Event::NodeAdded(after) => node_helps(pod, plugin, None, after),
        Event::NodeChanged { before, after } => node_helps(pod, plugin, Some(before), after),
        Event::NodeRemoved(before) => {
            plugin == Plugin::PodTopologySpread && topology_spread::node_may_help(pod, Some(before), None)
        }
        Event::PodPlaced(after) => pod_helps(pod, plugin, None, Some(after), namespaces),
        Event::PodChanged { before, after } => pod_helps(pod, plugin, Some(before), Some(after), namespaces),
        Event::PodRemoved(before) => pod_helps(pod, plugin, Some(before), None, namespaces),
    }
}

fn node_helps(pod: &PodInfo, plugin: Plugin, before: Option<&NodeInfo>, after: &NodeInfo) -> bool {
    match plugin {
        Plugin::NodeName | Plugin::NodePorts => before.is_none(),
        Plugin::NodeUnschedulable => before.is_none_or(|before| before.unschedulable) && !after.unschedulable,
        Plugin::TaintToleration => taint_toleration::may_help(pod, before, after),
        Plugin::NodeAffinity => node_affinity::may_help(pod, before, after),
        Plugin::NodeResourcesFit => resources_fit::may_help(pod, before, after),
        Plugin::PodTopologySpread => topology_spread::node_may_help(pod, before, Some(after)),
        Plugin::InterPodAffinity => inter_pod_affinity::node_may_help(pod, before, after),
        Plugin::SchedulingGates | Plugin::DefaultPreemption | Plugin::Unsupported => false,
    }
}

fn pod_helps(
    pod: &PodInfo,
    plugin: Plugin,
    before: Option<&PodInfo>,
    after: Option<&PodInfo>,
    namespaces: &Namespaces,
) -> bool {
    match plugin {
        Plugin::NodePorts => match (before, after) {
            (Some(gone), None) => node_ports::conflict(&pod.host_ports, &gone.host_ports),
            _ => false,
        },
        Plugin::NodeResourcesFit => match (before, after) {
            (Some(_), None) => true,
            (Some(before), Some(after)) => resources_fit::gave_back(pod, &before.requests, &after.requests),
            _ => false,
        },
        Plugin::PodTopologySpread => topology_spread::pod_may_help(pod, before, after),
        Plugin::InterPodAffinity => inter_pod_affinity::pod_may_help(pod, before, after, namespaces),
        _ => false,
    }
}

/// Whether a change of the refused pod itself may undo the refusal of one of `plugins`.
pub fn own_change_may_help(before: &PodInfo, after: &PodInfo, plugins: Plugins) -> bool {
    let tolerations = before.tolerations != after.tolerations;
    let labels = before.labels != after.labels;
    let helps = |plugin| match plugin {
        Plugin::SchedulingGates => after.gates.is_empty(),
        Plugin::NodeUnschedulable => tolerations && node_unschedulable::tolerates_cordon(after),
        Plugin::TaintToleration => tolerations,
        Plugin::NodeAffinity => before.node_requirement != after.node_requirement,
        Plugin::NodeResourcesFit => resources_fit::gave_back(before, &before.requests, &after.requests),
        Plugin::PodTopologySpread => topology_spread::own_change_may_help(before, after),
        Plugin::InterPodAffinity => labels,
        Plugin::Unsupported => before.unsupported != after.unsupported,
        Plugin::NodeName | Plugin::NodePorts | Plugin::DefaultPreemption => false,
    };
    plugins.iter().any(helps)
}
