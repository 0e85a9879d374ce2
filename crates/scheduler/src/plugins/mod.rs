//! The rules, one file each.
//!
//! A rule that looks at one node at a time is a plain function of pod and node and stands in [`NODE_RULES`]. The two
//! rules that look at all nodes at once, [`topology_spread`] and [`inter_pod_affinity`], prepare what they need from
//! the snapshot and then answer for a node; what they prepared follows pods that are added or taken away in thought.

pub mod balanced_allocation;
pub mod image_locality;
pub mod inter_pod_affinity;
pub mod node_affinity;
pub mod node_name;
pub mod node_ports;
pub mod node_unschedulable;
pub mod resources_fit;
pub mod taint_toleration;
pub mod topology_spread;

use std::borrow::Cow;
use std::fmt;

use crate::pod::PodInfo;
use crate::snapshot::NodeState;

/// The score of the best node in the eyes of one plugin.
pub const MAX_SCORE: i64 = 100;

/// Who refused. The names are upstream's, since they appear in messages and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plugin {
    SchedulingGates,
    NodeName,
    NodeUnschedulable,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    PodTopologySpread,
    InterPodAffinity,
    DefaultPreemption,
    /// Stands for the plugins that are not built: it refuses pods that would need one.
    Unsupported,
}

/// In the order in which a node is asked. The first refusal is the one that counts.
pub const NODE_RULES: [fn(&PodInfo, &NodeState) -> Verdict; 6] = [
    node_name::filter,
    node_unschedulable::filter,
    taint_toleration::filter,
    node_affinity::filter,
    node_ports::filter,
    resources_fit::filter,
];

/// How much each plugin's score counts.
pub mod weight {
    pub const TAINT_TOLERATION: i64 = 3;
    pub const NODE_AFFINITY: i64 = 2;
    pub const RESOURCES_FIT: i64 = 1;
    pub const TOPOLOGY_SPREAD: i64 = 2;
    pub const INTER_POD_AFFINITY: i64 = 2;
    pub const BALANCED_ALLOCATION: i64 = 1;
    pub const IMAGE_LOCALITY: i64 = 1;
}

pub type Verdict = Result<(), Refusal>;

/// Why a node cannot take a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub plugin: Plugin,
    /// Whether taking pods off the node could help.
    pub resolvable: bool,
    pub reasons: Vec<Cow<'static, str>>,
}

impl Refusal {
    /// Taking pods off the node could help.
    pub fn resolvable(plugin: Plugin, reason: &'static str) -> Refusal {
        Refusal { plugin, resolvable: true, reasons: vec![reason.into()] }
    }

    /// The node refuses whatever runs on it.
    pub fn lasting(plugin: Plugin, reason: &'static str) -> Refusal {
        Refusal { plugin, resolvable: false, reasons: vec![reason.into()] }
    }
}

impl Plugin {
    pub const ALL: [Plugin; 11] = [
        Plugin::SchedulingGates,
        Plugin::NodeName,
        Plugin::NodeUnschedulable,
        Plugin::TaintToleration,
        Plugin::NodeAffinity,
        Plugin::NodePorts,
        Plugin::NodeResourcesFit,
        Plugin::PodTopologySpread,
        Plugin::InterPodAffinity,
        Plugin::DefaultPreemption,
        Plugin::Unsupported,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Plugin::SchedulingGates => "SchedulingGates",
            Plugin::NodeName => "NodeName",
            Plugin::NodeUnschedulable => "NodeUnschedulable",
            Plugin::TaintToleration => "TaintToleration",
            Plugin::NodeAffinity => "NodeAffinity",
            Plugin::NodePorts => "NodePorts",
            Plugin::NodeResourcesFit => "NodeResourcesFit",
            Plugin::PodTopologySpread => "PodTopologySpread",
            Plugin::InterPodAffinity => "InterPodAffinity",
            Plugin::DefaultPreemption => "DefaultPreemption",
            Plugin::Unsupported => "Unsupported",
        }
    }
}

impl fmt::Display for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of plugins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plugins(u16);

impl Plugins {
    pub fn insert(&mut self, plugin: Plugin) {
        self.0 |= 1 << plugin as u16;
    }

    pub const fn contains(self, plugin: Plugin) -> bool {
        self.0 & (1 << plugin as u16) != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Plugin> {
        Plugin::ALL.into_iter().filter(move |plugin| self.contains(*plugin))
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Plugin> for Plugins {
    fn from_iter<I: IntoIterator<Item = Plugin>>(plugins: I) -> Plugins {
        let mut all = Plugins::default();
        plugins.into_iter().for_each(|plugin| all.insert(plugin));
        all
    }
}

/// Stretches scores so that the highest becomes [`MAX_SCORE`]; reversed, so that it becomes 0.
pub(crate) fn normalize(scores: &mut [i64], reverse: bool) {
    let highest = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let share = if highest == 0 { 0 } else { MAX_SCORE * *score / highest };
        *score = if reverse { MAX_SCORE - share } else { share };
    }
}
