//! What the scheduler keeps of a pod: parsed once, read many times.

use std::sync::{Arc, OnceLock};

use base::clock::Wall;

use crate::affinity::{Labels, NodeRequirement, NodeTerm, PodAffinity, Spread};
use crate::node::{Effect, Taint};
use crate::resources::{Compute, Resources};

#[derive(Clone, Debug, Default)]
pub struct PodInfo {
    pub uid: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub labels: Labels,
    pub priority: i32,
    /// `preemptionPolicy: Never`
    pub never_preempts: bool,
    /// The node it is bound to.
    pub node: Option<Arc<str>>,
    /// The node that a preemption is making room on.
    pub nominated: Option<Arc<str>>,
    pub requests: Resources,
    /// What it adds to its node in the eyes of the scores, where a container without a request counts too.
    pub weight: Compute,
    /// What it would add, in the eyes of the scores, while it has no node.
    pub estimate: Compute,
    pub tolerations: Vec<Toleration>,
    pub node_requirement: NodeRequirement,
    pub preferred_nodes: Vec<(i64, NodeTerm)>,
    pub affinity: PodAffinity,
    pub spread: Vec<Spread>,
    pub owner: Option<Owner>,
    pub host_ports: Vec<HostPort>,
    /// Names with a tag, one for each container and image volume.
    pub images: Vec<String>,
    pub gates: Vec<String>,
    pub start: Option<Wall>,
    pub terminating: bool,
    /// Terminating because the scheduler preempted it.
    pub preempted: bool,
    /// What it asks for that this scheduler cannot decide; such a pod is refused by name rather than misplaced.
    pub unsupported: Vec<String>,
    pub shape: Shape,
}

/// The controller of a pod, if it is one that spreads its pods by default.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    pub kind: OwnerKind,
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OwnerKind {
    ReplicationController,
    ReplicaSet,
    StatefulSet,
}

/// The text that is equal for pods that no node can tell apart by itself. It is written when first asked for.
#[derive(Debug, Default)]
pub struct Shape(OnceLock<Arc<str>>);

/// A copy is made in order to be changed, so it starts without a text.
impl Clone for Shape {
    fn clone(&self) -> Shape {
        Shape::default()
    }
}

impl PodInfo {
    /// Everything that the verdict and the scores of a single node depend on.
    pub fn shape(&self) -> &Arc<str> {
        self.shape.0.get_or_init(|| {
            let compute = (&self.requests, self.estimate, &self.host_ports);
            let nodes = (&self.node, &self.node_requirement, &self.preferred_nodes, &self.tolerations);
            format!("{compute:?} {nodes:?}").into()
        })
    }

    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.tolerations.iter().any(|toleration| toleration.tolerates(taint))
    }

    /// The first taint that keeps this pod away.
    pub fn untolerated<'a>(&self, taints: &'a [Taint]) -> Option<&'a Taint> {
        taints.iter().find(|taint| taint.effect.forbids() && !self.tolerates(taint))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Toleration {
    /// Absent: every key.
    pub key: Option<String>,
    /// Absent: every value.
    pub value: Option<String>,
    /// Absent: every effect.
    pub effect: Option<Effect>,
}

impl Toleration {
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.effect.is_none_or(|effect| effect == taint.effect)
            && self.key.as_ref().is_none_or(|key| *key == taint.key)
            && self.value.as_ref().is_none_or(|value| *value == taint.value)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Absent: all addresses.
    pub ip: Option<String>,
    pub protocol: Protocol,
    pub port: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl HostPort {
    pub fn conflicts(&self, other: &HostPort) -> bool {
        let same_address = self.ip.is_none() || other.ip.is_none() || self.ip == other.ip;
        same_address && (self.protocol, self.port) == (other.protocol, other.port)
    }
}
