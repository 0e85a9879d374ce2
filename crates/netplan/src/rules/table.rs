//! The variable part of the table, and the difference between two of them.

use std::collections::{BTreeMap, BTreeSet};

use super::chains::Chain;
use super::sets::{Key, Set, Value};

/// The elements of all sets, and the shared chains that they lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    pub chains: BTreeSet<Chain>,
    pub elements: BTreeMap<(Set, Key), Value>,
}

/// Operations that turn one ruleset into another. They are applied as one transaction in the order
/// of the fields: chains before the elements that lead to them, removals before additions, because a
/// changed element is removed and added under the same key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// In an order in which each comes after the chains that it leads to.
    pub new_chains: Vec<Chain>,
    pub removed: Vec<(Set, Key, Value)>,
    pub added: Vec<(Set, Key, Value)>,
    /// In an order in which each comes before the chains that it leads to.
    pub old_chains: Vec<Chain>,
}

impl Change {
    pub fn is_empty(&self) -> bool {
        self.new_chains.is_empty()
            && self.removed.is_empty()
            && self.added.is_empty()
            && self.old_chains.is_empty()
    }

    pub fn len(&self) -> usize {
        self.new_chains.len() + self.removed.len() + self.added.len() + self.old_chains.len()
    }
}

impl Ruleset {
    /// The operations that turn this ruleset into `wanted`.
    pub fn diff(&self, wanted: &Ruleset) -> Change {
        let mut change = Change::default();
        for ((set, key), value) in &self.elements {
            if wanted.elements.get(&(*set, *key)) != Some(value) {
                change.removed.push((*set, *key, value.clone()));
            }
        }
        for ((set, key), value) in &wanted.elements {
            if self.elements.get(&(*set, *key)) != Some(value) {
                change.added.push((*set, *key, value.clone()));
            }
        }
        change.new_chains = wanted.chains.difference(&self.chains).copied().collect();
        change.old_chains = self.chains.difference(&wanted.chains).copied().collect();
        change.old_chains.reverse();
        change
    }

    /// What the kernel does with a change.
    ///
    /// # Errors
    /// Names the first operation that the kernel would refuse.
    pub fn apply(&mut self, change: &Change) -> Result<(), String> {
        for chain in &change.new_chains {
            let missing = chain.leads_to().find(|next| !self.chains.contains(next));
            if let Some(missing) = missing {
                return Err(format!("chain {chain} leads to {missing}, which is not there"));
            }
            if !self.chains.insert(*chain) {
                return Err(format!("chain {chain} is there already"));
            }
        }
        for (set, key, value) in &change.removed {
            if self.elements.remove(&(*set, *key)).as_ref() != Some(value) {
                return Err(format!("{} has no element {key:?} with {value:?}", set.name()));
            }
        }
        for (set, key, value) in &change.added {
            if let Some(chain) = value.chain().filter(|c| !c.is_fixed() && !self.chains.contains(c)) {
                return Err(format!("element {key:?} leads to {chain}, which is not there"));
            }
            if self.elements.insert((*set, *key), value.clone()).is_some() {
                return Err(format!("{} has an element {key:?} already", set.name()));
            }
        }
        for chain in &change.old_chains {
            if !self.chains.remove(chain) {
                return Err(format!("chain {chain} is not there"));
            }
            let user = self.chains.iter().find(|other| other.leads_to().any(|next| next == *chain));
            if let Some(user) = user {
                return Err(format!("chain {chain} is still used by {user}"));
            }
            if self.elements.values().any(|value| value.chain() == Some(*chain)) {
                return Err(format!("chain {chain} is still used by an element"));
            }
        }
        Ok(())
    }
}
