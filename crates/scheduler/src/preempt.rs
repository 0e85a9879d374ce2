//! Which less important pods have to go so that a pod can come.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use base::clock::Wall;
use base::random::Random;

use crate::cycle::{Case, Visits};
use crate::failure::{Nomination, Preemption, fit_error};
use crate::plugins::{Plugin, Refusal};
use crate::pod::PodInfo;
use crate::snapshot::{NodeState, Snapshot};

/// How many nodes with possible victims are compared, in percent of the nodes on which preemption could help.
pub const MIN_CANDIDATES_PERCENTAGE: usize = 10;
/// And at least so many.
pub const MIN_CANDIDATES: usize = 100;

pub(crate) struct Attempt {
    pub(crate) message: String,
    pub(crate) nomination: Nomination,
    pub(crate) preemption: Option<Preemption>,
}

/// Tries to make room for the pod on one of the nodes that refused it for something that can be resolved.
pub(crate) fn attempt(
    snapshot: &Snapshot,
    case: &Case<'_>,
    visits: &Visits,
    random: &mut dyn Random,
) -> Attempt {
    if let Some(reason) = not_eligible(snapshot, case.pod, visits) {
        return Attempt { message: reason.into(), nomination: Nomination::Keep, preemption: None };
    }
    let mut nodes: Vec<u32> =
        visits.refused.iter().filter(|(_, refusal)| refusal.resolvable).map(|(slot, _)| *slot).collect();
    nodes.sort_unstable();
    let (candidates, refused) = candidates(snapshot, case, &nodes, random);
    let Some(best) = candidates.into_iter().min_by_key(Candidate::harm) else {
        let unasked = Some("Preemption is not helpful for scheduling");
        let message = fit_error(snapshot.node_count(), refused.values(), unasked);
        return Attempt { message, nomination: Nomination::Clear, preemption: None };
    };
    let node = snapshot.at(best.slot).info.name.clone();
    let promised = snapshot.nominated_to(&node).iter();
    let outranked = promised.filter(|other| other.priority < case.pod.priority).cloned().collect();
    let count = best.victims.len();
    Attempt {
        message: format!("found a potential placement for pod on node {node}, preempting {count} victims"),
        nomination: Nomination::Set(node.clone()),
        preemption: Some(Preemption { node, victims: best.victims, outranked }),
    }
}

/// Why the pod may not preempt at all.
fn not_eligible(snapshot: &Snapshot, pod: &PodInfo, visits: &Visits) -> Option<&'static str> {
    if pod.never_preempts {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let name = snapshot.nomination(&pod.uid).or(pod.nominated.as_ref())?;
    let node = snapshot.node(name)?;
    // Where nothing can help any more, the room that is being made is of no use.
    if visits.refused.get(&node.slot).is_none_or(|refusal| !refusal.resolvable) {
        return None;
    }
    let leaving = node.pods.iter().any(|other| other.priority < pod.priority && other.preempted);
    leaving.then_some("not eligible due to a terminating pod on the nominated node.")
}

/// A node, and the pods that would have to leave it.
struct Candidate {
    slot: u32,
    /// Most important first.
    victims: Vec<Arc<PodInfo>>,
    violations: usize,
}

impl Candidate {
    /// Less is better: broken budgets, then the highest priority among the victims, then the sum of priorities, then
    /// their number; and of equals those whose most important victims have run for the shortest time.
    fn harm(&self) -> (usize, i32, i64, usize, Reverse<Wall>) {
        let highest = self.victims.iter().map(|pod| pod.priority).max().unwrap_or(i32::MIN);
        let sum = self.victims.iter().map(|pod| i64::from(pod.priority) + (1 << 31)).sum();
        let important = self.victims.iter().filter(|pod| pod.priority == highest);
        let oldest = important.map(|pod| started(pod)).min().unwrap_or(Wall(i64::MAX));
        (self.violations, highest, sum, self.victims.len(), Reverse(oldest))
    }
}

/// A pod that has not started yet counts as the youngest.
fn started(pod: &PodInfo) -> Wall {
    pod.start.unwrap_or(Wall(i64::MAX))
}

fn by_importance(pods: &mut [Arc<PodInfo>]) {
    pods.sort_by_key(|pod| (Reverse(pod.priority), started(pod)));
}

/// Enough nodes on which preemption would help, from a random one on, and why it would not on the others asked.
fn candidates(
    snapshot: &Snapshot,
    case: &Case<'_>,
    nodes: &[u32],
    random: &mut dyn Random,
) -> (Vec<Candidate>, HashMap<u32, Refusal>) {
    let mut found: Vec<Candidate> = Vec::new();
    let mut refused = HashMap::new();
    if nodes.is_empty() {
        return (found, refused);
    }
    let enough = (nodes.len() * MIN_CANDIDATES_PERCENTAGE / 100).max(MIN_CANDIDATES).min(nodes.len());
    let offset = random.below(nodes.len() as u64) as usize;
    for slot in nodes[offset..].iter().chain(&nodes[..offset]) {
        match victims_on(snapshot, case, snapshot.at(*slot)) {
            Ok(candidate) => found.push(candidate),
            Err(refusal) => {
                refused.insert(*slot, refusal);
            }
        }
        if found.len() >= enough && found.iter().any(|candidate| candidate.violations == 0) {
            break;
        }
    }
    (found, refused)
}

/// Takes every less important pod off the node; if the pod fits then, lets as many as possible back, those first whose
/// eviction would break a budget, and among them the most important first. Who does not fit any more is a victim.
fn victims_on(snapshot: &Snapshot, case: &Case<'_>, node: &NodeState) -> Result<Candidate, Refusal> {
    let less_important = node.pods.iter().filter(|other| other.priority < case.pod.priority);
    let mut possible: Vec<Arc<PodInfo>> = less_important.cloned().collect();
    let refuse = |reason: String| Refusal {
        plugin: Plugin::DefaultPreemption,
        resolvable: false,
        reasons: vec![reason.into()],
    };
    if possible.is_empty() {
        return Err(refuse("No preemption victims found for incoming pod".into()));
    }
    let slot = node.slot;
    let (mut case, mut node) = (case.clone(), node.clone());
    for other in &possible {
        case.remove(snapshot, &mut node, other);
    }
    case.filter_beside_nominated(snapshot, &node)?;

    by_importance(&mut possible);
    let (violating, harmless) = split_by_budget(snapshot, possible);
    let mixed = !violating.is_empty() && !harmless.is_empty();
    let mut victims = Vec::new();
    let mut violations = 0;
    let reprieved = violating.into_iter().map(|pod| (pod, 1)).chain(harmless.into_iter().map(|pod| (pod, 0)));
    for (other, violation) in reprieved {
        case.add(snapshot, &mut node, &other);
        if case.filter_beside_nominated(snapshot, &node).is_err() {
            case.remove(snapshot, &mut node, &other);
            victims.push(other);
            violations += violation;
        }
    }
    if victims.is_empty() {
        return Err(refuse(format!("expected at least one victim pod on node {:?}", node.info.name)));
    }
    if mixed {
        by_importance(&mut victims);
    }
    Ok(Candidate { slot, victims, violations })
}

/// Those whose eviction would break a budget, and the rest. Each pod uses up the budgets that mean it.
fn split_by_budget(snapshot: &Snapshot, pods: Vec<Arc<PodInfo>>) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut budgets: Vec<_> = snapshot
        .budgets
        .iter()
        .filter(|(_, budget)| !budget.selector.is_everything())
        .map(|((namespace, _), budget)| (namespace, budget, budget.disruptions_allowed))
        .collect();
    pods.into_iter().partition(|pod| {
        !pod.labels.is_empty()
            && budgets.iter_mut().any(|(namespace, budget, allowed)| {
                let counts = ***namespace == *pod.namespace
                    && budget.selector.matches(&pod.labels)
                    && !budget.disrupted.iter().any(|name| **name == *pod.name);
                if counts {
                    *allowed -= 1;
                }
                counts && *allowed < 0
            })
    })
}
