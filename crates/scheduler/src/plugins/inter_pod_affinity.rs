//! InterPodAffinity: which pods a pod wants near, which it keeps away from, and which keep away from it.

use std::sync::Arc;

use super::{MAX_SCORE, Plugin, Refusal, Verdict};
use crate::affinity::{Namespaces, PodMatcher, Term};
use crate::domains::Domains;
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::snapshot::{NodeState, Snapshot};
use crate::tally::Crowd;

pub const LONELY: &str = "node(s) didn't match pod affinity rules";
pub const CROWDED: &str = "node(s) didn't match pod anti-affinity rules";
pub const REPELLED: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

/// A number for every domain of one topology.
#[derive(Clone)]
pub(crate) struct Field {
    topology: Arc<str>,
    domains: Arc<Domains>,
    by_domain: Vec<i64>,
}

impl Field {
    pub(crate) fn new(topology: Arc<str>, domains: Arc<Domains>) -> Field {
        let by_domain = vec![0; domains.len()];
        Field { topology, domains, by_domain }
    }

    pub(crate) fn add(&mut self, slot: u32, amount: i64) {
        if let Some(domain) = self.domains.of(slot) {
            self.by_domain[domain] += amount;
        }
    }

    fn at(&self, slot: u32) -> Option<i64> {
        self.domains.of(slot).map(|domain| self.by_domain[domain])
    }

    fn count(term: &Term, crowd: &Crowd, snapshot: &mut Snapshot, weight: i64) -> Field {
        let mut field = Field::new(term.topology.clone(), snapshot.domains(&term.topology));
        for (slot, pods) in snapshot.count(crowd).iter().enumerate().filter(|(_, pods)| **pods > 0) {
            field.add(slot as u32, i64::from(*pods) * weight);
        }
        field
    }
}

/// The required rules between one pod and all others, with the pods of every domain counted.
#[derive(Clone)]
pub struct Rules<'p> {
    pod: &'p PodInfo,
    /// Pods that meet all of the pod's affinity terms, for each term.
    wanted: Vec<Field>,
    /// Whether the pod meets its own affinity, so that it may be the first of its kind.
    wants_itself: bool,
    /// Pods that the pod keeps away from, for each term.
    unwanted: Vec<Field>,
    /// Pods that keep away from the pod, for each topology.
    repelling: Vec<Field>,
}

impl<'p> Rules<'p> {
    /// Nothing, when no rule concerns the pod.
    pub fn prepare(pod: &'p PodInfo, snapshot: &mut Snapshot) -> Option<Rules<'p>> {
        let repelling = snapshot.repelling(pod);
        let affinity = &pod.affinity;
        if repelling.is_empty() && affinity.required.is_empty() && affinity.required_anti.is_empty() {
            return None;
        }
        let wanted = crowd(affinity.required.iter());
        let count =
            |term: &Term, crowd: &Crowd, snapshot: &mut Snapshot| Field::count(term, crowd, snapshot, 1);
        Some(Rules {
            pod,
            wants_itself: wanted.contains(pod, &snapshot.namespaces),
            wanted: affinity.required.iter().map(|term| count(term, &wanted, snapshot)).collect(),
            unwanted: affinity
                .required_anti
                .iter()
                .map(|term| count(term, &crowd([term]), snapshot))
                .collect(),
            repelling,
        })
    }

    pub fn filter(&self, node: &NodeState) -> Verdict {
        if !self.finds_wanted(node.slot) {
            return Err(Refusal::lasting(Plugin::InterPodAffinity, LONELY));
        }
        let present =
            |fields: &[Field]| fields.iter().any(|field| field.at(node.slot).is_some_and(|pods| pods > 0));
        if present(&self.unwanted) {
            return Err(Refusal::resolvable(Plugin::InterPodAffinity, CROWDED));
        }
        if present(&self.repelling) {
            return Err(Refusal::resolvable(Plugin::InterPodAffinity, REPELLED));
        }
        Ok(())
    }

    /// The first pod of a group that wants its own kind near would wait forever, so it is let in where there is none.
    fn finds_wanted(&self, slot: u32) -> bool {
        let mut all_near = true;
        for field in &self.wanted {
            match field.at(slot) {
                None => return false,
                Some(pods) => all_near &= pods > 0,
            }
        }
        let nowhere = || self.wanted.iter().all(|field| field.by_domain.iter().all(|pods| *pods == 0));
        all_near || self.wants_itself && nowhere()
    }

    /// `other` comes to the node (`change` is 1) or leaves it (-1), in thought. Domains that no rule has needed so far
    /// are taken from the node alone, since no other node is asked in the same thought.
    pub fn pod_changed(&mut self, node: &NodeState, other: &PodInfo, namespaces: &Namespaces, change: i64) {
        let affinity = &self.pod.affinity;
        if crowd(affinity.required.iter()).contains(other, namespaces) {
            self.wanted.iter_mut().for_each(|field| field.add(node.slot, change));
        }
        for (term, field) in affinity.required_anti.iter().zip(&mut self.unwanted) {
            if term.matcher.matches(other, namespaces) {
                field.add(node.slot, change);
            }
        }
        for term in &other.affinity.required_anti {
            if !term.matcher.matches(self.pod, namespaces) || !node.info.labels.contains_key(&*term.topology)
            {
                continue;
            }
            let known = self.repelling.iter_mut().find(|field| field.topology == term.topology);
            match known {
                Some(field) => field.add(node.slot, change),
                None => self.repelling.push(
                    Field::new(term.topology.clone(), Domains::single(node.slot)).with(node.slot, change),
                ),
            }
        }
    }
}

impl Field {
    fn with(mut self, slot: u32, amount: i64) -> Field {
        self.add(slot, amount);
        self
    }
}

fn crowd<'a>(terms: impl IntoIterator<Item = &'a Term>) -> Crowd {
    Crowd::all_of(terms.into_iter().map(|term| term.matcher.clone()).collect(), true)
}

/// What draws a pod to nodes and away from them: its own preferences and those of others about it.
pub struct Pull(Vec<Field>);

impl Pull {
    pub fn prepare(pod: &PodInfo, snapshot: &mut Snapshot) -> Option<Pull> {
        let mut fields = snapshot.weighing(pod);
        let liked = pod.affinity.preferred.iter().map(|(weight, term)| (*weight, term));
        let disliked = pod.affinity.preferred_anti.iter().map(|(weight, term)| (-weight, term));
        for (weight, term) in liked.chain(disliked) {
            fields.push(Field::count(term, &crowd([term]), snapshot, weight));
        }
        (!fields.is_empty()).then_some(Pull(fields))
    }

    /// Scores for `nodes`, in their order, from 0 for the least liked to [`MAX_SCORE`] for the most.
    pub fn score(&self, nodes: &[u32]) -> Vec<i64> {
        let pull = |slot: &u32| self.0.iter().filter_map(|field| field.at(*slot)).sum();
        let pulls: Vec<i64> = nodes.iter().map(pull).collect();
        let lowest = pulls.iter().copied().min().unwrap_or(0);
        let range = pulls.iter().copied().max().unwrap_or(0) - lowest;
        if range == 0 {
            return vec![0; nodes.len()];
        }
        pulls.iter().map(|pull| (MAX_SCORE as f64 * ((pull - lowest) as f64 / range as f64)) as i64).collect()
    }
}

impl Snapshot {
    /// For each topology, how many pods with a rule against `pod` every domain has.
    fn repelling(&mut self, pod: &PodInfo) -> Vec<Field> {
        self.fields(pod, |snapshot| &snapshot.carried.forbidding)
    }

    /// For each topology, how much the pods of every domain like `pod`.
    fn weighing(&mut self, pod: &PodInfo) -> Vec<Field> {
        self.fields(pod, |snapshot| &snapshot.carried.weighing)
    }

    fn fields(&mut self, pod: &PodInfo, carriers: fn(&Snapshot) -> &crate::tally::Carriers) -> Vec<Field> {
        let about = carriers(self).about(pod, &self.namespaces);
        let mut topologies: Vec<Arc<str>> = about.map(|carrier| carrier.term.topology.clone()).collect();
        topologies.sort_unstable();
        topologies.dedup();
        let mut fields: Vec<Field> = Vec::with_capacity(topologies.len());
        for topology in topologies {
            let domains = self.domains(&topology);
            fields.push(Field::new(topology, domains));
        }
        if !fields.is_empty() {
            for carrier in carriers(self).about(pod, &self.namespaces) {
                let field = fields.iter_mut().find(|field| field.topology == carrier.term.topology);
                let field = field.expect("every topology has just been given a field");
                carrier.by_node.iter().for_each(|(slot, weight)| field.add(*slot, *weight));
            }
        }
        fields
    }
}

fn all_meant<'a>(
    mut matchers: impl Iterator<Item = &'a PodMatcher>,
    pod: &PodInfo,
    namespaces: &Namespaces,
) -> bool {
    let Some(first) = matchers.next() else { return false };
    first.matches(pod, namespaces) && matchers.all(|matcher| matcher.matches(pod, namespaces))
}

/// Whether a pod that was refused here may fit now that another pod came to a node, changed its labels, or left.
pub fn pod_may_help(
    pod: &PodInfo,
    before: Option<&PodInfo>,
    after: Option<&PodInfo>,
    namespaces: &Namespaces,
) -> bool {
    let affinity = &pod.affinity;
    let wanted = |other| all_meant(affinity.required.iter().map(|term| &term.matcher), other, namespaces);
    let unwanted = |other| affinity.required_anti.iter().any(|term| term.matcher.matches(other, namespaces));
    match (before, after) {
        (Some(old), Some(new)) => !wanted(old) && wanted(new) || unwanted(old) && !unwanted(new),
        (None, Some(new)) => wanted(new),
        (Some(old), None) => {
            unwanted(old)
                || old.affinity.required_anti.iter().any(|term| term.matcher.matches(pod, namespaces))
        }
        (None, None) => false,
    }
}

/// Whether it may fit now that a node came or changed.
pub fn node_may_help(pod: &PodInfo, before: Option<&NodeInfo>, after: &NodeInfo) -> bool {
    let label = |node: &NodeInfo, term: &Term| node.labels.get(&*term.topology).cloned();
    let Some(before) = before else {
        let labelled = pod.affinity.required.iter().any(|term| label(after, term).is_some());
        return labelled || !pod.affinity.required_anti.is_empty();
    };
    let gained = |term: &Term| label(after, term).is_some() && label(before, term) != label(after, term);
    let lost = |term: &Term| label(before, term).is_some() && label(before, term) != label(after, term);
    pod.affinity.required.iter().any(gained) || pod.affinity.required_anti.iter().any(lost)
}
