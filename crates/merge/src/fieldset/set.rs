//! The set itself and its algebra.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::{Path, PathElement};

/// A set of paths.
///
/// Invariant: every node is a member or has members below it, so equal sets have equal trees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    pub(super) nodes: BTreeMap<PathElement, Node>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) member: bool,
    pub(super) below: Set,
}

impl Node {
    fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

impl Set {
    pub fn new() -> Self {
        Set::default()
    }

    /// Adds a path. The empty path stands for the whole object, which nobody owns, and is left out.
    pub fn insert(&mut self, path: &[PathElement]) {
        if let Some((last, parents)) = path.split_last() {
            let mut set = self;
            for element in parents {
                set = &mut set.nodes.entry(element.clone()).or_default().below;
            }
            set.nodes.entry(last.clone()).or_default().member = true;
        }
    }

    pub fn has(&self, path: &[PathElement]) -> bool {
        match path {
            [] => false,
            [last] => self.has_element(last),
            [first, rest @ ..] => self.nodes.get(first).is_some_and(|node| node.below.has(rest)),
        }
    }

    /// Whether the one-step path `element` is a member.
    pub fn has_element(&self, element: &PathElement) -> bool {
        self.nodes.get(element).is_some_and(|node| node.member)
    }

    /// The members below `element`, relative to it; `None` where there are none.
    pub fn below(&self, element: &PathElement) -> Option<&Set> {
        self.nodes.get(element).map(|node| &node.below).filter(|below| !below.is_empty())
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The number of paths.
    pub fn len(&self) -> usize {
        self.nodes.values().map(|node| usize::from(node.member) + node.below.len()).sum()
    }

    pub fn union(&self, other: &Set) -> Set {
        let mut out = self.clone();
        out.extend(other);
        out
    }

    /// Adds every path of `other`.
    pub fn extend(&mut self, other: &Set) {
        for (element, theirs) in &other.nodes {
            match self.nodes.entry(element.clone()) {
                Entry::Vacant(slot) => {
                    slot.insert(theirs.clone());
                }
                Entry::Occupied(mut slot) => {
                    let ours = slot.get_mut();
                    ours.member |= theirs.member;
                    ours.below.extend(&theirs.below);
                }
            }
        }
    }

    pub fn intersection(&self, other: &Set) -> Set {
        self.keep(|element, node| {
            let theirs = other.nodes.get(element)?;
            Some(Node { member: node.member && theirs.member, below: node.below.intersection(&theirs.below) })
        })
    }

    /// The paths of `self` that are not in `other`.
    pub fn difference(&self, other: &Set) -> Set {
        self.keep(|element, node| {
            Some(match other.nodes.get(element) {
                None => node.clone(),
                Some(theirs) => Node {
                    member: node.member && !theirs.member,
                    below: node.below.difference(&theirs.below),
                },
            })
        })
    }

    /// The paths of `self` that are neither in `other` nor below a path in `other`.
    pub fn recursive_difference(&self, other: &Set) -> Set {
        self.keep(|element, node| match other.nodes.get(element) {
            None => Some(node.clone()),
            Some(theirs) if theirs.member => None,
            Some(theirs) => {
                Some(Node { member: node.member, below: node.below.recursive_difference(&theirs.below) })
            }
        })
    }

    /// The paths with nothing below them.
    pub fn leaves(&self) -> Set {
        self.keep(|_, node| {
            let below = node.below.leaves();
            Some(Node { member: node.member && below.is_empty(), below })
        })
    }

    /// Every path; the members of a level come before what lies below them.
    pub fn paths(&self) -> Vec<Path> {
        let mut out = Vec::with_capacity(self.len());
        self.collect_paths(&mut Vec::new(), &mut out);
        out
    }

    fn collect_paths(&self, prefix: &mut Vec<PathElement>, out: &mut Vec<Path>) {
        for element in self.nodes.iter().filter(|(_, node)| node.member).map(|(element, _)| element) {
            prefix.push(element.clone());
            out.push(Path(prefix.clone()));
            prefix.pop();
        }
        for (element, node) in &self.nodes {
            prefix.push(element.clone());
            node.below.collect_paths(prefix, out);
            prefix.pop();
        }
    }

    /// Every edge that leaves the root: the element, whether it is a member, and what lies below it.
    pub fn edges(&self) -> impl Iterator<Item = (&PathElement, bool, &Set)> {
        self.nodes.iter().map(|(element, node)| (element, node.member, &node.below))
    }

    /// Builds a set from what `choose` makes of each edge; nodes left empty are dropped.
    pub(crate) fn map_edges(
        &self,
        mut choose: impl FnMut(&PathElement, bool, &Set) -> Option<(bool, Set)>,
    ) -> Set {
        self.keep(|element, node| {
            choose(element, node.member, &node.below).map(|(member, below)| Node { member, below })
        })
    }

    fn keep(&self, mut choose: impl FnMut(&PathElement, &Node) -> Option<Node>) -> Set {
        let nodes = self.nodes.iter().filter_map(|(element, node)| {
            let node = choose(element, node)?;
            (!node.is_empty()).then(|| (element.clone(), node))
        });
        Set { nodes: nodes.collect() }
    }
}

impl<'a> FromIterator<&'a Path> for Set {
    fn from_iter<I: IntoIterator<Item = &'a Path>>(paths: I) -> Self {
        let mut set = Set::new();
        paths.into_iter().for_each(|path| set.insert(&path.0));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(paths: &[&str]) -> Set {
        let paths: Vec<_> = paths.iter().map(|p| Path::fields(&p.split('.').collect::<Vec<_>>())).collect();
        paths.iter().collect()
    }

    #[test]
    fn owning_a_parent_is_not_owning_its_children() {
        let s = set(&["a", "a.b.c"]);
        assert!(s.has(&Path::fields(&["a"]).0));
        assert!(!s.has(&Path::fields(&["a", "b"]).0));
        assert_eq!(s.len(), 2);
        assert!(!s.has(&[]));
    }

    #[test]
    fn difference_is_by_path_and_recursive_difference_by_subtree() {
        let s = set(&["a", "a.b", "a.c", "d"]);
        assert_eq!(s.difference(&set(&["a"])), set(&["a.b", "a.c", "d"]));
        assert_eq!(s.recursive_difference(&set(&["a"])), set(&["d"]));
        assert_eq!(s.recursive_difference(&set(&["a.b"])), set(&["a", "a.c", "d"]));
    }

    #[test]
    fn leaves_are_members_without_members_below() {
        assert_eq!(set(&["a", "a.b", "c"]).leaves(), set(&["a.b", "c"]));
    }

    #[test]
    fn members_of_a_level_are_listed_before_deeper_ones() {
        let listed: Vec<_> = set(&["a.b", "a", "c"]).paths().iter().map(Path::to_string).collect();
        assert_eq!(listed, [".a", ".c", ".a.b"]);
    }
}
