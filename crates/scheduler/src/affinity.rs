//! Parsed rules about nodes and about other pods.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use grammar::selector::label::Selector;

use crate::node::NodeInfo;
use crate::pod::PodInfo;

pub type Labels = BTreeMap<String, String>;

/// The label that tells nodes apart. Upstream counts pods of this topology node by node.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
pub const ZONE: &str = "topology.kubernetes.io/zone";
pub const REGION: &str = "topology.kubernetes.io/region";

/// Which nodes a pod may run on (`nodeSelector` and required node affinity).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeRequirement {
    pub labels: Option<Selector>,
    /// Absent: no affinity. Present: one term must match, so an empty list matches no node.
    pub terms: Option<Vec<NodeTerm>>,
}

impl NodeRequirement {
    pub const fn is_trivial(&self) -> bool {
        self.labels.is_none() && self.terms.is_none()
    }

    pub fn matches(&self, node: &NodeInfo) -> bool {
        self.labels.as_ref().is_none_or(|selector| selector.matches(&node.labels))
            && self.terms.as_ref().is_none_or(|terms| terms.iter().any(|term| term.matches(node)))
    }

    /// The only nodes that can match, when every term names its nodes.
    pub fn named_nodes(&self) -> Option<BTreeSet<&str>> {
        let terms = self.terms.as_deref().filter(|terms| !terms.is_empty())?;
        let mut names = BTreeSet::new();
        for term in terms {
            names.extend(term.named_nodes()?);
        }
        Some(names)
    }
}

/// One alternative of a node affinity.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeTerm {
    pub labels: Selector,
    pub fields: Vec<NameRule>,
    /// A term that could not be parsed matches nothing.
    pub malformed: bool,
}

/// A condition on `metadata.name`, the only field of a node that can be asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct NameRule {
    pub name: String,
    pub equal: bool,
}

impl NodeTerm {
    pub fn matches(&self, node: &NodeInfo) -> bool {
        !self.malformed
            && self.labels.matches(&node.labels)
            && self.fields.iter().all(|rule| (*rule.name == *node.name) == rule.equal)
    }

    fn named_nodes(&self) -> Option<BTreeSet<&str>> {
        let mut named = self.fields.iter().filter(|rule| rule.equal).map(|rule| rule.name.as_str());
        let first = named.next()?;
        Some(if named.all(|other| other == first) { BTreeSet::from([first]) } else { BTreeSet::new() })
    }
}

/// Which pods a rule means, and the topology in which nearness is measured.
#[derive(Clone, Debug)]
pub struct Term {
    pub topology: Arc<str>,
    pub matcher: PodMatcher,
}

/// Pods by namespace and labels.
#[derive(Clone, Debug)]
pub struct PodMatcher {
    namespaces: BTreeSet<String>,
    namespace_selector: Selector,
    selector: Selector,
    /// Tells matchers apart: equal texts mean equal matchers.
    identity: Arc<str>,
}

impl PodMatcher {
    pub fn new(namespaces: BTreeSet<String>, namespace_selector: Selector, selector: Selector) -> PodMatcher {
        let identity = format!("{namespaces:?} {namespace_selector:?} {selector:?}").into();
        PodMatcher { namespaces, namespace_selector, selector, identity }
    }

    /// Pods of one namespace.
    pub fn within(namespace: &str, selector: Selector) -> PodMatcher {
        PodMatcher::new(BTreeSet::from([namespace.to_owned()]), Selector::Nothing, selector)
    }

    pub fn identity(&self) -> &Arc<str> {
        &self.identity
    }

    /// Whether its answer can change when a namespace's labels change.
    pub fn looks_at_namespaces(&self) -> bool {
        self.namespace_selector.requirements().is_some_and(|all| !all.is_empty())
    }

    pub fn matches(&self, pod: &PodInfo, namespaces: &Namespaces) -> bool {
        self.matches_labels(&pod.labels) && self.matches_namespace(&pod.namespace, namespaces)
    }

    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.selector.matches(labels)
    }

    /// A namespace that is not known counts as one without labels.
    fn matches_namespace(&self, name: &str, namespaces: &Namespaces) -> bool {
        self.namespaces.contains(name) || self.namespace_selector.matches(&namespaces.labels(name))
    }
}

/// The labels of namespaces, for rules that choose namespaces by label.
#[derive(Clone, Debug, Default)]
pub struct Namespaces(BTreeMap<Box<str>, Labels>);

impl Namespaces {
    pub fn labels(&self, name: &str) -> Option<&Labels> {
        self.0.get(name)
    }

    /// Whether anything changed.
    pub fn set(&mut self, name: &str, labels: Labels) -> bool {
        self.0.get(name) != Some(&labels) && {
            self.0.insert(name.into(), labels);
            true
        }
    }

    pub fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }
}

/// What a pod wants of the pods around it.
#[derive(Clone, Debug, Default)]
pub struct PodAffinity {
    pub required: Vec<Term>,
    pub required_anti: Vec<Term>,
    pub preferred: Vec<(i64, Term)>,
    pub preferred_anti: Vec<(i64, Term)>,
}

impl PodAffinity {
    pub fn is_empty(&self) -> bool {
        self.required.is_empty()
            && self.required_anti.is_empty()
            && self.preferred.is_empty()
            && self.preferred_anti.is_empty()
    }
}

/// How evenly pods should lie over a topology.
#[derive(Clone, Debug)]
pub struct Spread {
    pub max_skew: i64,
    pub topology: Arc<str>,
    /// Whether a violation keeps the pod from the node, or only lowers the node's score.
    pub hard: bool,
    pub selector: Selector,
    pub min_domains: i64,
    pub honor_affinity: bool,
    pub honor_taints: bool,
}
