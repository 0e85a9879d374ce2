//! One decision: which node a pod goes to, or why none.
//!
//! A cycle prepares the rules that look at all nodes, visits nodes until enough of them fit, scores those, and takes
//! the best. What a node alone says about pods of one shape is remembered until the node changes, so that of a
//! thousand like pods each costs one fresh look at one node.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use base::random::Random;

use crate::failure::{Failure, Nomination, fit_error};
use crate::plugins::inter_pod_affinity::{Pull, Rules};
use crate::plugins::topology_spread::{Hard, Soft};
use crate::plugins::{
    NODE_RULES, Plugin, Plugins, Refusal, Verdict, balanced_allocation, image_locality, node_affinity,
    resources_fit, taint_toleration, weight,
};
use crate::pod::PodInfo;
use crate::preempt;
use crate::snapshot::{NodeState, Snapshot};

/// With fewer nodes than this, all are visited.
pub const MIN_FEASIBLE_NODES: usize = 100;
/// However many nodes there are, at least this percentage of them is looked for.
pub const MIN_FEASIBLE_PERCENTAGE: usize = 5;
/// For how many shapes of pods verdicts are remembered; beyond it the shape that was seen longest ago is forgotten.
pub const MAX_SHAPES: usize = 64;

/// In place of a message about nodes when there are none.
pub const NO_NODES: &str = "no nodes available to schedule pods";

#[derive(Debug, Default)]
pub struct Scheduler {
    pub snapshot: Snapshot,
    config: Config,
    /// Where the next visit of nodes starts, so that in the long run all are visited equally often.
    next: usize,
    shapes: Shapes,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    /// How many feasible nodes to look for before choosing among them, in percent of all. 0 lets it fall from 50 to
    /// [`MIN_FEASIBLE_PERCENTAGE`] as the cluster grows.
    pub percentage_of_nodes_to_score: usize,
}

#[derive(Clone, Debug)]
pub enum Decision {
    Node(Choice),
    Nowhere(Box<Failure>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub node: Arc<str>,
    /// How many nodes were visited, and how many of them fit.
    pub evaluated: usize,
    pub feasible: usize,
}

/// What a cycle knows about one pod.
#[derive(Clone)]
pub(crate) struct Case<'p> {
    pub(crate) pod: &'p PodInfo,
    hard: Option<Hard<'p>>,
    rules: Option<Rules<'p>>,
}

/// What visits of nodes gave.
#[derive(Default)]
pub(crate) struct Visits {
    pub(crate) feasible: Vec<u32>,
    pub(crate) refused: HashMap<u32, Arc<Refusal>>,
}

impl Scheduler {
    pub fn new(config: Config) -> Scheduler {
        Scheduler { config, ..Scheduler::default() }
    }

    /// Chooses a node for `pod`. Nothing is remembered of the choice: the caller assumes it, or nominates the node
    /// that a preemption named.
    pub fn schedule(&mut self, pod: &PodInfo, random: &mut dyn Random) -> Decision {
        let total = self.snapshot.node_count();
        if total == 0 {
            return Decision::Nowhere(Box::new(Failure {
                message: NO_NODES.into(),
                plugins: Plugins::default(),
                nomination: Nomination::Clear,
                preemption: None,
            }));
        }
        if let Some((plugin, message)) = refused_outright(pod) {
            let case = Case { pod, hard: None, rules: None };
            let reasons = format!("0/{total} nodes are available: {message}.");
            return self.give_up(&case, &Visits::default(), reasons, [plugin].into_iter().collect(), random);
        }

        let case = Case::prepare(pod, &mut self.snapshot);
        let mut cells = self.shapes.take(pod.shape());
        let decision = self.decide(&case, &mut cells, random);
        self.shapes.put(pod.shape().clone(), cells);
        decision
    }

    fn decide(&mut self, case: &Case<'_>, cells: &mut Vec<Cell>, random: &mut dyn Random) -> Decision {
        let total = self.snapshot.node_count();
        let named = case.pod.node_requirement.named_nodes();
        let mut visits = Visits::default();
        let promised = self.snapshot.nomination(&case.pod.uid).or(case.pod.nominated.as_ref());
        let promised = promised.and_then(|name| self.snapshot.node(name)).map(|node| node.slot);
        if let Some(slot) = promised {
            self.visit(case, cells, &[slot], 0, &mut visits);
        }
        if visits.feasible.is_empty() {
            let restricted: Option<Vec<u32>> = named.as_ref().map(|names| self.slots(names));
            let nodes = match &restricted {
                Some(nodes) => nodes.clone(),
                None => self.snapshot.order().to_vec(),
            };
            self.visit(case, cells, &nodes, self.next, &mut visits);
            self.next = (self.next + visits.feasible.len() + visits.refused.len()) % total;
        }

        let (feasible, evaluated) = (visits.feasible.len(), visits.feasible.len() + visits.refused.len());
        let best = match visits.feasible.as_slice() {
            [] => {
                let mut plugins: Plugins = visits.refused.values().map(|refusal| refusal.plugin).collect();
                let elsewhere = named.map(|_| {
                    plugins.insert(Plugin::NodeAffinity);
                    "node(s) didn't satisfy plugin(s) [NodeAffinity]"
                });
                let message = fit_error(total, visits.refused.values().map(|refusal| &**refusal), elsewhere);
                return self.give_up(case, &visits, message, plugins, random);
            }
            [only] => *only,
            nodes => self.best(case.pod, cells, nodes, random),
        };
        let node = self.snapshot.at(best).info.name.clone();
        Decision::Node(Choice { node, evaluated, feasible })
    }

    fn give_up(
        &mut self,
        case: &Case<'_>,
        visits: &Visits,
        message: String,
        plugins: Plugins,
        random: &mut dyn Random,
    ) -> Decision {
        let attempt = preempt::attempt(&self.snapshot, case, visits, random);
        let message = format!("{message} preemption: {}", attempt.message);
        let failure =
            Failure { message, plugins, nomination: attempt.nomination, preemption: attempt.preemption };
        Decision::Nowhere(Box::new(failure))
    }

    fn slots(&self, names: &BTreeSet<&str>) -> Vec<u32> {
        names.iter().filter_map(|name| self.snapshot.node(name)).map(|node| node.slot).collect()
    }

    /// Visits `nodes` in turn, from `start` on, until enough of them fit.
    fn visit(
        &self,
        case: &Case<'_>,
        cells: &mut Vec<Cell>,
        nodes: &[u32],
        start: usize,
        visits: &mut Visits,
    ) {
        let enough = enough_nodes(nodes.len(), self.config.percentage_of_nodes_to_score);
        let start = start % nodes.len().max(1);
        for slot in nodes[start..].iter().chain(&nodes[..start]).copied() {
            if visits.feasible.len() >= enough {
                break;
            }
            let node = self.snapshot.at(slot);
            let cell = Cell::get(cells, case.pod, node);
            let verdict = match &cell.refusal {
                Some(refusal) if self.snapshot.nominated_to(&node.info.name).is_empty() => {
                    Err(refusal.clone())
                }
                None if self.snapshot.nominated_to(&node.info.name).is_empty() => {
                    case.filter_global(node).map_err(Arc::new)
                }
                _ => case.filter_beside_nominated(&self.snapshot, node).map_err(Arc::new),
            };
            match verdict {
                Ok(()) => visits.feasible.push(slot),
                Err(refusal) => {
                    visits.refused.insert(slot, refusal);
                }
            }
        }
    }

    /// The node with the highest score; chance decides between equals.
    fn best(&mut self, pod: &PodInfo, cells: &mut Vec<Cell>, nodes: &[u32], random: &mut dyn Random) -> u32 {
        let scores = self.scores(pod, cells, nodes);
        let highest = scores.iter().copied().max().expect("there are nodes to choose from");
        let equals =
            || nodes.iter().zip(&scores).filter(|(_, score)| **score == highest).map(|(slot, _)| *slot);
        let chosen = random.below(equals().count() as u64) as usize;
        equals().nth(chosen).expect("chance stays below the count")
    }

    fn scores(&mut self, pod: &PodInfo, cells: &mut Vec<Cell>, nodes: &[u32]) -> Vec<i64> {
        let mut totals = vec![0; nodes.len()];
        let mut add = |weight: i64, scores: &[i64]| {
            totals.iter_mut().zip(scores).for_each(|(total, score)| *total += weight * score);
        };
        for slot in nodes {
            Cell::get(cells, pod, self.snapshot.at(*slot));
        }
        let own: Vec<&Cell> = nodes.iter().map(|slot| &cells[*slot as usize]).collect();
        let column = |read: fn(&Cell) -> i64| own.iter().map(|cell| read(cell)).collect::<Vec<i64>>();
        add(weight::RESOURCES_FIT, &column(|cell| cell.fit));
        add(weight::BALANCED_ALLOCATION, &column(|cell| cell.balance));
        let mut objections = column(|cell| cell.objections);
        taint_toleration::score(&mut objections);
        add(weight::TAINT_TOLERATION, &objections);
        if !pod.preferred_nodes.is_empty() {
            let mut preferences = column(|cell| cell.preference);
            node_affinity::score(&mut preferences);
            add(weight::NODE_AFFINITY, &preferences);
        }
        if let Some(soft) = Soft::prepare(pod, &mut self.snapshot, nodes) {
            add(weight::TOPOLOGY_SPREAD, &soft.score(nodes));
        }
        if let Some(pull) = Pull::prepare(pod, &mut self.snapshot) {
            add(weight::INTER_POD_AFFINITY, &pull.score(nodes));
        }
        if let Some(images) = image_locality::prepare(pod, &self.snapshot) {
            let scores: Vec<i64> = nodes.iter().map(|slot| images.score(*slot)).collect();
            add(weight::IMAGE_LOCALITY, &scores);
        }
        totals
    }
}

/// What no node could change.
fn refused_outright(pod: &PodInfo) -> Option<(Plugin, String)> {
    if !pod.unsupported.is_empty() {
        return Some((
            Plugin::Unsupported,
            format!("this scheduler cannot place pods with {}", pod.unsupported.join(", ")),
        ));
    }
    let conflict = pod.node_requirement.named_nodes().is_some_and(|names| names.is_empty());
    conflict.then(|| (Plugin::NodeAffinity, node_affinity::CONFLICT.into()))
}

/// How many feasible nodes are enough to choose among.
pub fn enough_nodes(nodes: usize, percentage: usize) -> usize {
    if nodes < MIN_FEASIBLE_NODES {
        return nodes;
    }
    let percentage = match percentage {
        0 => 50_usize.saturating_sub(nodes / 125).max(MIN_FEASIBLE_PERCENTAGE),
        given => given.min(100),
    };
    (nodes * percentage / 100).max(MIN_FEASIBLE_NODES)
}

impl<'p> Case<'p> {
    pub(crate) fn prepare(pod: &'p PodInfo, snapshot: &mut Snapshot) -> Case<'p> {
        Case { pod, hard: Hard::prepare(pod, snapshot), rules: Rules::prepare(pod, snapshot) }
    }

    /// Every rule, as if all pods that are promised a place on the node, and may not be outrun, were there; then as if
    /// they were not, since the pod may not count on them either.
    pub(crate) fn filter_beside_nominated(&self, snapshot: &Snapshot, node: &NodeState) -> Verdict {
        let promised = snapshot.nominated_to(&node.info.name).iter();
        let mut promised = promised
            .filter(|other| other.priority >= self.pod.priority && other.uid != self.pod.uid)
            .peekable();
        if promised.peek().is_some() {
            let (mut case, mut node) = (self.clone(), node.clone());
            for other in promised {
                case.add(snapshot, &mut node, other);
            }
            case.filter(&node)?;
        }
        self.filter(node)
    }

    fn filter(&self, node: &NodeState) -> Verdict {
        NODE_RULES.iter().try_for_each(|rule| rule(self.pod, node))?;
        self.filter_global(node)
    }

    fn filter_global(&self, node: &NodeState) -> Verdict {
        self.hard.as_ref().map_or(Ok(()), |hard| hard.filter(node))?;
        self.rules.as_ref().map_or(Ok(()), |rules| rules.filter(node))
    }

    /// `other` comes to the node, in thought.
    pub(crate) fn add(&mut self, snapshot: &Snapshot, node: &mut NodeState, other: &Arc<PodInfo>) {
        node.add(other.clone());
        self.pod_changed(snapshot, node, other, 1);
    }

    /// `other` leaves the node, in thought.
    pub(crate) fn remove(&mut self, snapshot: &Snapshot, node: &mut NodeState, other: &PodInfo) {
        assert!(node.remove(&other.uid), "only a pod on the node can leave it");
        self.pod_changed(snapshot, node, other, -1);
    }

    fn pod_changed(&mut self, snapshot: &Snapshot, node: &NodeState, other: &PodInfo, change: i64) {
        if let Some(hard) = &mut self.hard {
            hard.pod_changed(node, other, change);
        }
        if let Some(rules) = &mut self.rules {
            rules.pod_changed(node, other, &snapshot.namespaces, change);
        }
    }
}

/// What one node alone says about pods of one shape.
#[derive(Clone, Debug, Default)]
struct Cell {
    /// The node's generation when it was asked; 0 when it never was.
    generation: u64,
    refusal: Option<Arc<Refusal>>,
    fit: i64,
    balance: i64,
    objections: i64,
    preference: i64,
}

impl Cell {
    fn get<'a>(cells: &'a mut Vec<Cell>, pod: &PodInfo, node: &NodeState) -> &'a Cell {
        let at = node.slot as usize;
        if cells.len() <= at {
            cells.resize(at + 1, Cell::default());
        }
        if cells[at].generation != node.generation {
            cells[at] = Cell::ask(pod, node);
        }
        &cells[at]
    }

    fn ask(pod: &PodInfo, node: &NodeState) -> Cell {
        let verdict = NODE_RULES.iter().try_for_each(|rule| rule(pod, node));
        Cell {
            generation: node.generation,
            refusal: verdict.err().map(Arc::new),
            fit: resources_fit::score(pod, node),
            balance: balanced_allocation::score(pod, node),
            objections: taint_toleration::objections(pod, &node.info),
            preference: node_affinity::preference(pod, &node.info),
        }
    }
}

/// Cells by shape and slot.
#[derive(Debug, Default)]
struct Shapes {
    by_shape: HashMap<Arc<str>, (u64, Vec<Cell>)>,
    uses: u64,
}

impl Shapes {
    fn take(&mut self, shape: &Arc<str>) -> Vec<Cell> {
        self.by_shape.get_mut(shape).map(|(_, cells)| std::mem::take(cells)).unwrap_or_default()
    }

    fn put(&mut self, shape: Arc<str>, cells: Vec<Cell>) {
        self.uses += 1;
        self.by_shape.insert(shape, (self.uses, cells));
        if self.by_shape.len() > MAX_SHAPES {
            let oldest =
                self.by_shape.iter().min_by_key(|(_, (used, _))| *used).map(|(shape, _)| shape.clone());
            oldest.and_then(|shape| self.by_shape.remove(&shape));
        }
    }
}
