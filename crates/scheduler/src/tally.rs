//! Counts of pods by node, kept up to date as pods come and go, so that no decision walks over all pods.

use std::collections::HashMap;
use std::sync::Arc;

use crate::affinity::{Namespaces, PodMatcher, Term};
use crate::pod::PodInfo;

/// How many sets of pods are counted at a time. Beyond it the count that was read longest ago is dropped; it is made
/// again, by a walk over all pods, when it is asked for again.
pub const MAX_TALLIES: usize = 512;

/// A set of pods: those that all of the matchers mean.
#[derive(Clone, Debug)]
pub struct Crowd {
    matchers: Vec<PodMatcher>,
    /// Whether pods that are being deleted count.
    pub with_terminating: bool,
    identity: Arc<str>,
}

impl Crowd {
    /// Pods that every one of `matchers` means. Without a matcher it is empty, as upstream has it.
    pub fn all_of(matchers: Vec<PodMatcher>, with_terminating: bool) -> Crowd {
        let texts: Vec<&str> = matchers.iter().map(|one| &**one.identity()).collect();
        let identity = format!("{with_terminating} {}", texts.join(" & ")).into();
        Crowd { matchers, with_terminating, identity }
    }

    pub fn contains(&self, pod: &PodInfo, namespaces: &Namespaces) -> bool {
        !self.matchers.is_empty()
            && (self.with_terminating || !pod.terminating)
            && self.matchers.iter().all(|one| one.matches(pod, namespaces))
    }
}

/// How many pods of each crowd every node runs.
#[derive(Debug, Default)]
pub struct Tallies {
    by_crowd: HashMap<Arc<str>, Tally>,
    uses: u64,
}

#[derive(Debug)]
struct Tally {
    crowd: Crowd,
    by_node: Vec<u32>,
    used: u64,
}

impl Tally {
    fn count(&mut self, slot: u32, pod: &PodInfo, namespaces: &Namespaces, present: bool) {
        if !self.crowd.contains(pod, namespaces) {
            return;
        }
        let slot = slot as usize;
        if self.by_node.len() <= slot {
            self.by_node.resize(slot + 1, 0);
        }
        let count = &mut self.by_node[slot];
        *count =
            if present { *count + 1 } else { count.checked_sub(1).expect("a pod leaves only where it was") };
    }
}

impl Tallies {
    /// Pods of `crowd` by node slot; slots past the end have none. `pods` is walked over only for a new crowd.
    pub fn get<'a>(
        &mut self,
        crowd: &Crowd,
        namespaces: &Namespaces,
        pods: impl Iterator<Item = (u32, &'a PodInfo)>,
    ) -> &[u32] {
        self.uses += 1;
        if !self.by_crowd.contains_key(&crowd.identity) {
            if self.by_crowd.len() >= MAX_TALLIES {
                let oldest =
                    self.by_crowd.iter().min_by_key(|(_, tally)| tally.used).map(|(key, _)| key.clone());
                oldest.and_then(|key| self.by_crowd.remove(&key));
            }
            let mut tally = Tally { crowd: crowd.clone(), by_node: Vec::new(), used: 0 };
            for (slot, pod) in pods {
                tally.count(slot, pod, namespaces, true);
            }
            self.by_crowd.insert(crowd.identity.clone(), tally);
        }
        let tally = self.by_crowd.get_mut(&crowd.identity).expect("it was there or has just been made");
        tally.used = self.uses;
        &tally.by_node
    }

    pub fn pod_changed(&mut self, slot: u32, pod: &PodInfo, namespaces: &Namespaces, present: bool) {
        for tally in self.by_crowd.values_mut() {
            tally.count(slot, pod, namespaces, present);
        }
    }

    /// Counts that looked at a namespace's labels are made anew.
    pub fn namespaces_changed(&mut self) {
        self.by_crowd.retain(|_, tally| !tally.crowd.matchers.iter().any(PodMatcher::looks_at_namespaces));
    }
}

/// The rules that pods on nodes carry about other pods, each distinct rule once.
#[derive(Debug, Default)]
pub struct Carried {
    /// Required anti-affinity: a node in the topology of a carrier is closed to the pods that the rule means.
    pub forbidding: Carriers,
    /// Everything that attracts or repels with a weight; required affinity attracts too.
    pub weighing: Carriers,
}

#[derive(Debug, Default)]
pub struct Carriers(HashMap<(Arc<str>, Arc<str>), Carrier>);

/// One rule, and its summed weight by node.
#[derive(Debug)]
pub struct Carrier {
    pub term: Term,
    pub by_node: HashMap<u32, i64>,
    carriers: u64,
}

/// What a pod's required affinity weighs in the scores of pods that it means.
pub const REQUIRED_AFFINITY_WEIGHT: i64 = 1;

impl Carried {
    pub fn pod_changed(&mut self, slot: u32, pod: &PodInfo, present: bool) {
        let affinity = &pod.affinity;
        for term in &affinity.required_anti {
            self.forbidding.change(slot, term, 1, present);
        }
        for term in &affinity.required {
            self.weighing.change(slot, term, REQUIRED_AFFINITY_WEIGHT, present);
        }
        for (weight, term) in &affinity.preferred {
            self.weighing.change(slot, term, *weight, present);
        }
        for (weight, term) in &affinity.preferred_anti {
            self.weighing.change(slot, term, -weight, present);
        }
    }
}

impl Carriers {
    /// The rules that mean `pod`.
    pub fn about<'a>(
        &'a self,
        pod: &'a PodInfo,
        namespaces: &'a Namespaces,
    ) -> impl Iterator<Item = &'a Carrier> {
        self.0.values().filter(|carrier| carrier.term.matcher.matches(pod, namespaces))
    }

    fn change(&mut self, slot: u32, term: &Term, weight: i64, present: bool) {
        let key = (term.topology.clone(), term.matcher.identity().clone());
        let fresh = || Carrier { term: term.clone(), by_node: HashMap::new(), carriers: 0 };
        let carrier = self.0.entry(key.clone()).or_insert_with(fresh);
        let change = if present { weight } else { -weight };
        let sum = carrier.by_node.entry(slot).or_default();
        *sum += change;
        if *sum == 0 {
            carrier.by_node.remove(&slot);
        }
        carrier.carriers = if present {
            carrier.carriers + 1
        } else {
            carrier.carriers.checked_sub(1).expect("a rule leaves only with a pod that carried it")
        };
        if carrier.carriers == 0 {
            self.0.remove(&key);
        }
    }
}
