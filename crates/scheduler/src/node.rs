//! What the scheduler keeps of a node.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::affinity::{Labels, REGION, ZONE};
use crate::resources::Resources;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeInfo {
    pub name: Arc<str>,
    pub labels: Labels,
    pub taints: Vec<Taint>,
    pub unschedulable: bool,
    pub allocatable: Resources,
    pub allocatable_pods: i64,
    /// Size by name, tag included.
    pub images: BTreeMap<String, i64>,
}

impl NodeInfo {
    /// Region and zone. Nodes are visited zone by zone in turn, so that sampling some of them samples all zones.
    pub fn zone(&self) -> (&str, &str) {
        let label = |key| self.labels.get(key).map_or("", String::as_str);
        (label(REGION), label(ZONE))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: Effect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

impl Effect {
    /// Whether an untolerated taint of this effect keeps new pods away.
    pub const fn forbids(self) -> bool {
        matches!(self, Effect::NoSchedule | Effect::NoExecute)
    }
}
