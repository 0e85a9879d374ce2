//! PodTopologySpread: like pods should lie evenly over nodes, zones or whatever a label divides.
//!
//! Hard constraints close nodes on which a domain would run ahead of the emptiest one by more than the allowed skew.
//! Soft ones lower the score of nodes in full domains. A pod without constraints of its own is spread softly among
//! its siblings: the pods of its services and its controller.

use std::sync::Arc;

use super::{MAX_SCORE, Plugin, Refusal, Verdict};
use crate::affinity::{HOSTNAME, PodMatcher, Spread, ZONE};
use crate::domains::Domains;
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::snapshot::{NodeState, Snapshot};
use crate::tally::Crowd;

pub const SKEWED: &str = "node(s) didn't match pod topology spread constraints";
pub const UNLABELLED: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

/// Topology and allowed skew of the constraints that hold for pods with siblings and without constraints.
const DEFAULTS: [(&str, i64); 2] = [(HOSTNAME, 3), (ZONE, 5)];

/// The hard constraints of one pod, with the pods of every domain counted.
#[derive(Clone)]
pub struct Hard<'p> {
    pod: &'p PodInfo,
    rules: Vec<HardRule<'p>>,
}

#[derive(Clone)]
struct HardRule<'p> {
    rule: &'p Spread,
    domains: Arc<Domains>,
    /// Pods by domain; a domain without an eligible node takes no part.
    counts: Vec<Option<i64>>,
    lowest: i64,
    /// What the pod itself would add.
    own: i64,
}

impl<'p> Hard<'p> {
    pub fn prepare(pod: &'p PodInfo, snapshot: &mut Snapshot) -> Option<Hard<'p>> {
        let mut rules: Vec<HardRule<'p>> = Vec::new();
        for rule in pod.spread.iter().filter(|rule| rule.hard) {
            let domains = snapshot.domains(&rule.topology);
            let own = i64::from(rule.selector.matches(&pod.labels));
            rules.push(HardRule { rule, counts: vec![None; domains.len()], domains, lowest: 0, own });
        }
        if rules.is_empty() {
            return None;
        }
        for i in 0..rules.len() {
            let pods = counted(pod, &rules[i].rule.selector, snapshot);
            for node in snapshot.nodes() {
                if is_labelled(&rules, node) && is_eligible(pod, rules[i].rule, &node.info) {
                    let domain = rules[i].domains.of(node.slot).expect("a labelled node has a domain");
                    *rules[i].counts[domain].get_or_insert(0) += at(&pods, node.slot);
                }
            }
            rules[i].find_lowest();
        }
        Some(Hard { pod, rules })
    }

    pub fn filter(&self, node: &NodeState) -> Verdict {
        for rule in &self.rules {
            let Some(domain) = rule.domains.of(node.slot) else {
                return Err(Refusal::lasting(Plugin::PodTopologySpread, UNLABELLED));
            };
            let pods = rule.counts[domain].unwrap_or(0);
            if pods + rule.own - rule.lowest > rule.rule.max_skew {
                return Err(Refusal::resolvable(Plugin::PodTopologySpread, SKEWED));
            }
        }
        Ok(())
    }

    /// `other` comes to the node (`change` is 1) or leaves it (-1), in thought.
    pub fn pod_changed(&mut self, node: &NodeState, other: &PodInfo, change: i64) {
        if other.namespace != self.pod.namespace || !is_labelled(&self.rules, node) {
            return;
        }
        for rule in &mut self.rules {
            if rule.rule.selector.matches(&other.labels) && is_eligible(self.pod, rule.rule, &node.info) {
                let domain = rule.domains.of(node.slot).expect("a labelled node has a domain");
                *rule.counts[domain].get_or_insert(0) += change;
                rule.find_lowest();
            }
        }
    }
}

impl HardRule<'_> {
    /// With fewer domains than wanted, the missing ones count as empty.
    fn find_lowest(&mut self) {
        let mut domains = 0;
        let mut lowest = i64::from(i32::MAX);
        for count in self.counts.iter().flatten() {
            domains += 1;
            lowest = lowest.min(*count);
        }
        self.lowest = if domains < self.rule.min_domains { 0 } else { lowest };
    }
}

fn is_labelled(rules: &[HardRule<'_>], node: &NodeState) -> bool {
    rules.iter().all(|rule| rule.domains.of(node.slot).is_some())
}

/// Whether the pods of a node count, since the pod itself could go there.
fn is_eligible(pod: &PodInfo, rule: &Spread, node: &NodeInfo) -> bool {
    (!rule.honor_affinity || pod.node_requirement.matches(node))
        && (!rule.honor_taints || pod.untolerated(&node.taints).is_none())
}

/// Pods by slot that a constraint counts. A selector that selects everything counts none, as upstream has it.
fn counted(
    pod: &PodInfo,
    selector: &grammar::selector::label::Selector,
    snapshot: &mut Snapshot,
) -> Vec<u32> {
    if selector.is_everything() {
        return Vec::new();
    }
    let matcher = PodMatcher::within(&pod.namespace, selector.clone());
    snapshot.count(&Crowd::all_of(vec![matcher], false)).to_vec()
}

fn at(counts: &[u32], slot: u32) -> i64 {
    counts.get(slot as usize).copied().map_or(0, i64::from)
}

/// The soft constraints of one pod, for the nodes that it could run on.
pub struct Soft {
    rules: Vec<SoftRule>,
    /// Whether nodes that lack one of the labels get no score at all.
    all_labels: bool,
}

struct SoftRule {
    domains: Arc<Domains>,
    pods: Pods,
    /// Grows with the number of domains, so that a topology of many small domains is not outweighed.
    weight: f64,
    max_skew: i64,
}

enum Pods {
    ByNode(Vec<u32>),
    ByDomain(Vec<i64>),
}

impl Soft {
    pub fn prepare(pod: &PodInfo, snapshot: &mut Snapshot, feasible: &[u32]) -> Option<Soft> {
        let defaults;
        let wanted: Vec<&Spread> = if pod.spread.is_empty() {
            defaults = defaults_for(pod, snapshot);
            defaults.iter().collect()
        } else {
            pod.spread.iter().filter(|rule| !rule.hard).collect()
        };
        if wanted.is_empty() {
            return None;
        }
        let all_labels = !pod.spread.is_empty();
        let domains: Vec<Arc<Domains>> = wanted.iter().map(|rule| snapshot.domains(&rule.topology)).collect();
        let labelled = |slot: u32| !all_labels || domains.iter().all(|domains| domains.of(slot).is_some());
        let candidates: Vec<u32> = feasible.iter().copied().filter(|slot| labelled(*slot)).collect();

        let mut rules = Vec::new();
        for (rule, domains) in wanted.into_iter().zip(&domains) {
            let by_node = counted(pod, &rule.selector, snapshot);
            let (pods, size) = if *rule.topology == *HOSTNAME {
                (Pods::ByNode(by_node), candidates.len())
            } else {
                let mut seen = vec![false; domains.len()];
                let mut nameless = false;
                for slot in &candidates {
                    match domains.of(*slot) {
                        Some(domain) => seen[domain] = true,
                        None => nameless = true,
                    }
                }
                let mut sums = vec![0; domains.len()];
                for node in snapshot.nodes().filter(|node| labelled(node.slot)) {
                    let pods = at(&by_node, node.slot);
                    if let Some(domain) = domains.of(node.slot)
                        && pods != 0
                        && seen[domain]
                        && is_eligible(pod, rule, &node.info)
                    {
                        sums[domain] += pods;
                    }
                }
                let size = seen.iter().filter(|seen| **seen).count() + usize::from(nameless);
                (Pods::ByDomain(sums), size)
            };
            let weight = ((size + 2) as f64).ln();
            rules.push(SoftRule { domains: domains.clone(), pods, weight, max_skew: rule.max_skew });
        }
        Some(Soft { rules, all_labels })
    }

    /// Scores for `nodes`, in their order: the emptiest domain gets the most.
    pub fn score(&self, nodes: &[u32]) -> Vec<i64> {
        let crowding: Vec<Option<i64>> = nodes.iter().map(|slot| self.crowding(*slot)).collect();
        let highest = crowding.iter().flatten().copied().max().unwrap_or(0).max(0);
        let lowest = crowding.iter().flatten().copied().min().unwrap_or(0);
        let score = |crowding: Option<i64>| match crowding {
            None => 0,
            Some(_) if highest == 0 => MAX_SCORE,
            Some(own) => MAX_SCORE * (highest + lowest - own) / highest,
        };
        crowding.into_iter().map(score).collect()
    }

    /// How full the node's domains are; nothing for a node that is left out.
    fn crowding(&self, slot: u32) -> Option<i64> {
        let mut sum = 0.0;
        for rule in &self.rules {
            let Some(domain) = rule.domains.of(slot) else {
                if self.all_labels {
                    return None;
                }
                continue;
            };
            let pods = match &rule.pods {
                Pods::ByNode(pods) => at(pods, slot),
                Pods::ByDomain(pods) => pods[domain],
            };
            sum += pods as f64 * rule.weight + (rule.max_skew - 1) as f64;
        }
        Some(sum.round() as i64)
    }
}

fn defaults_for(pod: &PodInfo, snapshot: &Snapshot) -> Vec<Spread> {
    let Some(siblings) = snapshot.siblings(pod) else { return Vec::new() };
    let rule = |(topology, max_skew): (&str, i64)| Spread {
        max_skew,
        topology: topology.into(),
        hard: false,
        selector: siblings.clone(),
        min_domains: 1,
        honor_affinity: true,
        honor_taints: false,
    };
    DEFAULTS.into_iter().map(rule).collect()
}

fn hard_rules(pod: &PodInfo) -> impl Iterator<Item = &Spread> {
    pod.spread.iter().filter(|rule| rule.hard)
}

/// Whether a pod that was refused here may fit now that a node came, changed or went.
pub fn node_may_help(pod: &PodInfo, before: Option<&NodeInfo>, after: Option<&NodeInfo>) -> bool {
    let takes_part = |node: &NodeInfo| hard_rules(pod).all(|rule| node.labels.contains_key(&*rule.topology));
    let (Some(old), Some(new)) = (before, after) else {
        return before.or(after).is_some_and(takes_part);
    };
    let moved =
        || hard_rules(pod).any(|rule| old.labels.get(&*rule.topology) != new.labels.get(&*rule.topology));
    takes_part(old) != takes_part(new) || takes_part(new) && (moved() || old.taints != new.taints)
}

/// Whether it may fit now that a pod came to a node, changed its labels, or left.
pub fn pod_may_help(pod: &PodInfo, before: Option<&PodInfo>, after: Option<&PodInfo>) -> bool {
    if before.or(after).is_none_or(|other| other.namespace != pod.namespace) {
        return false;
    }
    let meant = |rule: &Spread, other: Option<&PodInfo>| {
        other.is_some_and(|other| rule.selector.matches(&other.labels))
    };
    hard_rules(pod).any(|rule| meant(rule, before) != meant(rule, after))
}

/// Whether it may fit now that its own labels or tolerations changed.
pub fn own_change_may_help(before: &PodInfo, after: &PodInfo) -> bool {
    before.tolerations != after.tolerations && hard_rules(after).any(|rule| rule.honor_taints)
        || before.labels != after.labels
            && hard_rules(after)
                .any(|rule| rule.selector.matches(&before.labels) != rule.selector.matches(&after.labels))
}
