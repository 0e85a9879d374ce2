//! Which nodes share a value of a topology label.

use std::collections::HashMap;
use std::sync::Arc;

use crate::affinity::Labels;

/// The domain of a node that lacks the label.
pub const NOWHERE: u32 = u32::MAX;

/// How many topology keys are kept at hand. Beyond it the one that was asked for longest ago is forgotten, and numbered
/// anew when it is asked for again.
pub const MAX_TOPOLOGIES: usize = 128;

/// The domains of one topology key: small numbers in place of label values.
#[derive(Clone, Debug, Default)]
pub struct Domains {
    of_node: Vec<u32>,
    numbers: HashMap<Box<str>, u32>,
}

impl Domains {
    /// One domain with one node.
    pub fn single(slot: u32) -> Arc<Domains> {
        let mut domains = Domains::default();
        domains.set(slot, Some(&String::new()));
        Arc::new(domains)
    }

    /// The domain of the node in `slot`, unless the node lacks the label.
    pub fn of(&self, slot: u32) -> Option<usize> {
        let domain = *self.of_node.get(slot as usize)?;
        (domain != NOWHERE).then_some(domain as usize)
    }

    /// More than every domain's number.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    fn set(&mut self, slot: u32, value: Option<&String>) {
        let slot = slot as usize;
        if self.of_node.len() <= slot {
            self.of_node.resize(slot + 1, NOWHERE);
        }
        let next = self.numbers.len() as u32;
        self.of_node[slot] = value.map_or(NOWHERE, |value| match self.numbers.get(value.as_str()) {
            Some(domain) => *domain,
            None => {
                self.numbers.insert(value.as_str().into(), next);
                next
            }
        });
    }

    /// Values that no node has any more still hold a number; this says when to count anew.
    fn is_sparse(&self) -> bool {
        self.numbers.len() > 2 * self.of_node.len() + 64
    }
}

/// The domains of every topology key in use.
#[derive(Debug, Default)]
pub struct Topologies {
    by_key: HashMap<Arc<str>, (u64, Arc<Domains>)>,
    uses: u64,
}

impl Topologies {
    pub fn get<'a>(
        &mut self,
        key: &Arc<str>,
        nodes: impl Iterator<Item = (u32, &'a Labels)>,
    ) -> Arc<Domains> {
        self.uses += 1;
        if let Some((used, domains)) = self.by_key.get_mut(key) {
            *used = self.uses;
            return domains.clone();
        }
        if self.by_key.len() >= MAX_TOPOLOGIES {
            let oldest = self.by_key.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.by_key.remove(&key));
        }
        let mut domains = Domains::default();
        for (slot, labels) in nodes {
            domains.set(slot, labels.get(&**key));
        }
        let domains = Arc::new(domains);
        self.by_key.insert(key.clone(), (self.uses, domains.clone()));
        domains
    }

    /// The node in `slot` is new, changed, or gone (then it has no labels).
    pub fn node_changed(&mut self, slot: u32, labels: &Labels) {
        for (key, (_, domains)) in &mut self.by_key {
            Arc::make_mut(domains).set(slot, labels.get(&**key));
        }
        self.by_key.retain(|_, (_, domains)| !domains.is_sparse());
    }
}
