//! The cluster as the scheduler sees it, kept up to date by deltas.
//!
//! Every node has a slot, a small number that stands for it in all tables, and a generation that changes with
//! everything that could change a verdict about the node alone. A pod is in the snapshot from the moment that it is
//! assumed to run on a node. Pods may come before their node and outlive it; until the node is there they wait aside.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use grammar::selector::label::Selector;

use crate::affinity::{Labels, Namespaces};
use crate::domains::{Domains, Topologies};
use crate::node::NodeInfo;
use crate::pod::{HostPort, OwnerKind, PodInfo};
use crate::resources::{Compute, Resources};
use crate::tally::{Carried, Crowd, Tallies};

#[derive(Debug, Default)]
pub struct Snapshot {
    slots: Vec<Option<NodeState>>,
    free: Vec<u32>,
    by_name: HashMap<Arc<str>, u32>,
    /// Slots in the order in which nodes are visited; empty when it has to be made anew.
    order: Vec<u32>,
    generation: u64,
    pods: HashMap<Arc<str>, Arc<PodInfo>>,
    /// Pods whose node is not known, by its name.
    adrift: HashMap<Arc<str>, Vec<Arc<PodInfo>>>,
    pub(crate) namespaces: Namespaces,
    pub(crate) carried: Carried,
    tallies: Tallies,
    topologies: Topologies,
    images: HashMap<Box<str>, HashMap<u32, i64>>,
    pub(crate) budgets: BTreeMap<(Box<str>, Box<str>), Budget>,
    pub(crate) spreading: Spreading,
    nominations: Nominations,
}

/// A node and the pods on it.
#[derive(Clone, Debug)]
pub struct NodeState {
    pub slot: u32,
    pub generation: u64,
    pub info: Arc<NodeInfo>,
    pub pods: Vec<Arc<PodInfo>>,
    pub requested: Resources,
    /// What the pods weigh in the eyes of the scores.
    pub weight: Compute,
    pub ports: Vec<HostPort>,
}

/// A PodDisruptionBudget, as far as preemption looks at it.
#[derive(Clone, Debug)]
pub struct Budget {
    pub selector: Selector,
    pub disruptions_allowed: i32,
    /// Pods whose eviction has been counted already.
    pub disrupted: Vec<String>,
}

/// Which pods belong together, so that they are spread without asking for it.
#[derive(Debug, Default)]
pub struct Spreading {
    pub services: BTreeMap<Box<str>, BTreeMap<Box<str>, Labels>>,
    pub owners: BTreeMap<(OwnerKind, Box<str>, Box<str>), Selector>,
}

/// Pods for which room is being made, by node name.
#[derive(Debug, Default)]
struct Nominations {
    by_node: HashMap<Arc<str>, Vec<Arc<PodInfo>>>,
    node_of: HashMap<Arc<str>, Arc<str>>,
}

impl NodeState {
    pub fn empty(info: Arc<NodeInfo>) -> NodeState {
        NodeState {
            slot: 0,
            generation: 0,
            info,
            pods: Vec::new(),
            requested: Resources::default(),
            weight: Compute::default(),
            ports: Vec::new(),
        }
    }

    pub fn add(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.weight.add(pod.weight);
        self.ports.extend(pod.host_ports.iter().cloned());
        self.pods.push(pod);
    }

    /// Whether the pod was there.
    pub fn remove(&mut self, uid: &str) -> bool {
        let Some(at) = self.pods.iter().position(|pod| *pod.uid == *uid) else { return false };
        let pod = self.pods.swap_remove(at);
        self.requested.sub(&pod.requests);
        self.weight.sub(pod.weight);
        for port in &pod.host_ports {
            if let Some(at) = self.ports.iter().position(|own| own == port) {
                self.ports.swap_remove(at);
            }
        }
        true
    }
}

/// Nodes and pods.
impl Snapshot {
    /// Adds a node or replaces what is known of it.
    pub fn set_node(&mut self, info: Arc<NodeInfo>) {
        self.generation += 1;
        let slot = match self.by_name.get(&info.name).copied() {
            Some(slot) => {
                let node = self.slots[slot as usize].as_mut().expect("a named slot holds a node");
                let before = std::mem::replace(&mut node.info, info.clone());
                node.generation = self.generation;
                if before.zone() != info.zone() {
                    self.order.clear();
                }
                self.change_images(slot, &before, false);
                slot
            }
            None => self.add_node(&info),
        };
        self.change_images(slot, &info, true);
        self.topologies.node_changed(slot, &info.labels);
    }

    pub fn remove_node(&mut self, name: &str) {
        let Some(slot) = self.by_name.remove(name) else { return };
        let node = self.slots[slot as usize].take().expect("a named slot holds a node");
        for pod in &node.pods {
            self.count_pod(slot, pod, false);
        }
        self.change_images(slot, &node.info, false);
        self.topologies.node_changed(slot, &Labels::new());
        self.free.push(slot);
        self.order.clear();
        if !node.pods.is_empty() {
            self.adrift.insert(node.info.name.clone(), node.pods);
        }
    }

    /// The pod runs, or is about to run, on `pod.node`. What was known of it before is replaced.
    pub fn set_pod(&mut self, pod: Arc<PodInfo>) {
        self.remove_pod(&pod.uid);
        let Some(name) = pod.node.clone() else { return };
        self.withdraw_nomination(&pod.uid);
        self.pods.insert(pod.uid.clone(), pod.clone());
        match self.by_name.get(&name).copied() {
            Some(slot) => self.place_pod(slot, pod),
            None => self.adrift.entry(name).or_default().push(pod),
        }
    }

    /// The pod takes up its node from now on, before the API server has heard of it. Undone by [`Self::remove_pod`],
    /// confirmed by [`Self::set_pod`].
    pub fn assume(&mut self, pod: &PodInfo, node: &Arc<str>) {
        self.set_pod(Arc::new(PodInfo { node: Some(node.clone()), ..pod.clone() }));
    }

    pub fn remove_pod(&mut self, uid: &str) {
        self.withdraw_nomination(uid);
        let Some(pod) = self.pods.remove(uid) else { return };
        let name = pod.node.as_ref().expect("only pods with a node are kept");
        match self.by_name.get(name).copied() {
            Some(slot) => {
                self.generation += 1;
                let node = self.slots[slot as usize].as_mut().expect("a named slot holds a node");
                assert!(node.remove(uid), "a kept pod is on its node");
                node.generation = self.generation;
                self.count_pod(slot, &pod, false);
            }
            None => {
                if let Some(pods) = self.adrift.get_mut(name) {
                    pods.retain(|other| *other.uid != *uid);
                    if pods.is_empty() {
                        self.adrift.remove(name);
                    }
                }
            }
        }
    }

    pub fn pod(&self, uid: &str) -> Option<&Arc<PodInfo>> {
        self.pods.get(uid)
    }

    pub fn node(&self, name: &str) -> Option<&NodeState> {
        self.by_name.get(name).map(|slot| self.at(*slot))
    }

    pub fn nodes(&self) -> impl Iterator<Item = &NodeState> {
        self.slots.iter().flatten()
    }

    pub fn node_count(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn at(&self, slot: u32) -> &NodeState {
        self.slots[slot as usize].as_ref().expect("a slot in use holds a node")
    }

    fn add_node(&mut self, info: &Arc<NodeInfo>) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        let node = NodeState { slot, generation: self.generation, ..NodeState::empty(info.clone()) };
        self.slots[slot as usize] = Some(node);
        self.by_name.insert(info.name.clone(), slot);
        self.order.clear();
        for pod in self.adrift.remove(&info.name).unwrap_or_default() {
            self.place_pod(slot, pod);
        }
        slot
    }

    fn place_pod(&mut self, slot: u32, pod: Arc<PodInfo>) {
        self.generation += 1;
        self.count_pod(slot, &pod, true);
        let node = self.slots[slot as usize].as_mut().expect("a named slot holds a node");
        node.generation = self.generation;
        node.add(pod);
    }

    fn count_pod(&mut self, slot: u32, pod: &PodInfo, present: bool) {
        self.tallies.pod_changed(slot, pod, &self.namespaces, present);
        self.carried.pod_changed(slot, pod, present);
    }

    fn change_images(&mut self, slot: u32, info: &NodeInfo, present: bool) {
        for (name, size) in &info.images {
            if present {
                self.images.entry(name.as_str().into()).or_default().insert(slot, *size);
            } else if let Some(holders) = self.images.get_mut(name.as_str()) {
                holders.remove(&slot);
                if holders.is_empty() {
                    self.images.remove(name.as_str());
                }
            }
        }
    }
}

/// What the plugins read. Counts and domains are made when they are first asked for, hence `&mut`.
impl Snapshot {
    /// Nodes in the order of visits: one of each zone in turn.
    pub(crate) fn order(&mut self) -> &[u32] {
        if self.order.len() != self.by_name.len() {
            let mut zones: BTreeMap<(&str, &str), Vec<u32>> = BTreeMap::new();
            let mut names: Vec<(&Arc<str>, &u32)> = self.by_name.iter().collect();
            names.sort_unstable();
            for (_, slot) in names {
                let node = self.slots[*slot as usize].as_ref().expect("a named slot holds a node");
                zones.entry(node.info.zone()).or_default().push(*slot);
            }
            let longest = zones.values().map(Vec::len).max().unwrap_or(0);
            self.order = (0..longest)
                .flat_map(|i| zones.values().filter_map(move |zone| zone.get(i).copied()))
                .collect();
        }
        &self.order
    }

    pub(crate) fn domains(&mut self, topology: &Arc<str>) -> Arc<Domains> {
        let nodes = self.slots.iter().flatten().map(|node| (node.slot, &node.info.labels));
        self.topologies.get(topology, nodes)
    }

    /// Pods of `crowd` by slot; slots past the end have none.
    pub(crate) fn count(&mut self, crowd: &Crowd) -> &[u32] {
        let nodes = self.slots.iter().flatten();
        let pods = nodes.flat_map(|node| node.pods.iter().map(|pod| (node.slot, &**pod)));
        self.tallies.get(crowd, &self.namespaces, pods)
    }

    /// Size by slot of the nodes that hold an image.
    pub(crate) fn image(&self, name: &str) -> Option<&HashMap<u32, i64>> {
        self.images.get(name)
    }

    /// The labels that the services and the controller of a pod select it by.
    pub(crate) fn siblings(&self, pod: &PodInfo) -> Option<Selector> {
        let services = self.spreading.services.get(&*pod.namespace).into_iter().flat_map(BTreeMap::values);
        let chosen = |selector: &&Labels| {
            !selector.is_empty() && selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
        };
        let labels: BTreeMap<&str, &str> =
            services.filter(chosen).flatten().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let mut requirements = Selector::from_labels(labels).requirements().unwrap_or_default().to_vec();
        if let Some(owner) = &pod.owner {
            let key = (owner.kind, (&*pod.namespace).into(), owner.name.as_str().into());
            let selector = self.spreading.owners.get(&key);
            requirements.extend(selector.and_then(Selector::requirements).into_iter().flatten().cloned());
        }
        (!requirements.is_empty()).then(|| Selector::new(requirements))
    }
}

/// Everything beside nodes and pods.
impl Snapshot {
    pub fn set_namespace(&mut self, name: &str, labels: Labels) {
        if self.namespaces.set(name, labels) {
            self.tallies.namespaces_changed();
        }
    }

    pub fn remove_namespace(&mut self, name: &str) {
        if self.namespaces.remove(name) {
            self.tallies.namespaces_changed();
        }
    }

    pub fn set_budget(&mut self, namespace: &str, name: &str, budget: Budget) {
        self.budgets.insert((namespace.into(), name.into()), budget);
    }

    pub fn remove_budget(&mut self, namespace: &str, name: &str) {
        self.budgets.remove(&(namespace.into(), name.into()));
    }

    /// A service with a selector; pods that it selects are spread.
    pub fn set_service(&mut self, namespace: &str, name: &str, selector: Labels) {
        self.spreading.services.entry(namespace.into()).or_default().insert(name.into(), selector);
    }

    pub fn remove_service(&mut self, namespace: &str, name: &str) {
        if let Some(services) = self.spreading.services.get_mut(namespace) {
            services.remove(name);
            if services.is_empty() {
                self.spreading.services.remove(namespace);
            }
        }
    }

    pub fn set_owner(&mut self, kind: OwnerKind, namespace: &str, name: &str, selector: Selector) {
        self.spreading.owners.insert((kind, namespace.into(), name.into()), selector);
    }

    pub fn remove_owner(&mut self, kind: OwnerKind, namespace: &str, name: &str) {
        self.spreading.owners.remove(&(kind, namespace.into(), name.into()));
    }

    /// Room is being made for `pod` on `node`. A pod has one nomination at most.
    pub fn nominate(&mut self, pod: Arc<PodInfo>, node: &Arc<str>) {
        self.withdraw_nomination(&pod.uid);
        if self.pods.contains_key(&pod.uid) {
            return;
        }
        self.nominations.node_of.insert(pod.uid.clone(), node.clone());
        self.nominations.by_node.entry(node.clone()).or_default().push(pod);
    }

    pub fn withdraw_nomination(&mut self, uid: &str) {
        let Some(node) = self.nominations.node_of.remove(uid) else { return };
        if let Some(pods) = self.nominations.by_node.get_mut(&node) {
            pods.retain(|pod| *pod.uid != *uid);
            if pods.is_empty() {
                self.nominations.by_node.remove(&node);
            }
        }
    }

    pub fn nomination(&self, uid: &str) -> Option<&Arc<str>> {
        self.nominations.node_of.get(uid)
    }

    pub fn nominated_to(&self, node: &str) -> &[Arc<PodInfo>] {
        if self.nominations.by_node.is_empty() {
            return &[];
        }
        self.nominations.by_node.get(node).map_or(&[], Vec::as_slice)
    }
}
