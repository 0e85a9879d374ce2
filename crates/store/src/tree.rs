//! A persistent, ordered, counted map from key to entry.
//!
//! A B+ tree whose nodes are shared by `Arc`: a clone costs one pointer, a change copies only the path to one
//! leaf (and nothing at all while no clone shares it), and every branch knows how many entries lie below it,
//! so counting a range takes two descents however long the range is.

use std::sync::Arc;

use crate::entry::Entry;

/// The most children or entries of a node. A fuller node splits in half; one below a quarter joins its neighbour.
const WIDTH: usize = 32;
const THIN: usize = WIDTH / 4;

#[derive(Clone)]
pub(crate) struct Tree {
    root: Arc<Node>,
}

#[derive(Clone)]
enum Node {
    Leaf(Vec<Arc<Entry>>),
    Branch(Vec<Child>),
}

#[derive(Clone)]
struct Child {
    /// No key of this child is less, and every key of the child before it is.
    least: Arc<str>,
    count: usize,
    node: Arc<Node>,
}

impl Tree {
    pub(crate) fn new() -> Tree {
        Tree { root: Arc::new(Node::Leaf(Vec::new())) }
    }

    /// Builds a tree in one pass from entries that are already in key order.
    pub(crate) fn from_sorted(entries: Vec<Arc<Entry>>) -> Tree {
        debug_assert!(
            entries.is_sorted_by(|a, b| a.key < b.key),
            "a sorted input has ascending, distinct keys"
        );
        // Three quarters full leaves room for inserts between the keys that were loaded.
        const FILL: usize = WIDTH * 3 / 4;
        let mut level: Vec<Child> = chunks(entries, FILL).map(|run| Child::of(Node::Leaf(run))).collect();
        while level.len() > 1 {
            level = chunks(level, FILL).map(|run| Child::of(Node::Branch(run))).collect();
        }
        level.pop().map_or_else(Tree::new, |root| Tree { root: root.node })
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.root.count()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Branch(children) => node = &children[route(children, key)].node,
                Node::Leaf(entries) => return seek(entries, key).ok().map(|at| &entries[at]),
            }
        }
    }

    /// How many keys are less than `key`.
    pub(crate) fn rank(&self, key: &str) -> usize {
        let (mut node, mut before) = (&*self.root, 0);
        loop {
            match node {
                Node::Branch(children) => {
                    let at = route(children, key);
                    before += children[..at].iter().map(|c| c.count).sum::<usize>();
                    node = &children[at].node;
                }
                Node::Leaf(entries) => return before + seek(entries, key).unwrap_or_else(|at| at),
            }
        }
    }

    pub(crate) fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let old = Node::insert(&mut self.root, entry);
        if self.root.width() > WIDTH {
            let right = Arc::make_mut(&mut self.root).split();
            let left = Child::shared(std::mem::replace(&mut self.root, right.node.clone()));
            self.root = Arc::new(Node::Branch(vec![left, right]));
        }
        old
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<Arc<Entry>> {
        // The look first keeps a miss from copying the path.
        self.get(key)?;
        let old = Node::remove(&mut self.root, key);
        if let Node::Branch(children) = &*self.root
            && let [only] = &children[..]
        {
            self.root = only.node.clone();
        }
        Some(old)
    }

    /// The entries from `start` on, in key order.
    pub(crate) fn iter_from(&self, start: &str) -> Iter<'_> {
        let (mut node, mut stack) = (&*self.root, Vec::new());
        loop {
            match node {
                Node::Branch(children) => {
                    let at = route(children, start);
                    stack.push(children[at + 1..].iter());
                    node = &children[at].node;
                }
                Node::Leaf(entries) => {
                    let at = seek(entries, start).unwrap_or_else(|at| at);
                    return Iter { stack, leaf: entries[at..].iter() };
                }
            }
        }
    }
}

/// Walks the leaves; each level's remaining children wait on the stack.
pub(crate) struct Iter<'a> {
    stack: Vec<std::slice::Iter<'a, Child>>,
    leaf: std::slice::Iter<'a, Arc<Entry>>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Arc<Entry>;

    fn next(&mut self) -> Option<&'a Arc<Entry>> {
        loop {
            if let Some(entry) = self.leaf.next() {
                return Some(entry);
            }
            let mut child = loop {
                match self.stack.last_mut()?.next() {
                    Some(child) => break child,
                    None => self.stack.pop(),
                };
            };
            while let Node::Branch(children) = &*child.node {
                self.stack.push(children[1..].iter());
                child = &children[0];
            }
            let Node::Leaf(entries) = &*child.node else { unreachable!("branches were walked down") };
            self.leaf = entries.iter();
        }
    }
}

impl Node {
    fn width(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len(),
            Node::Branch(children) => children.len(),
        }
    }

    fn count(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len(),
            Node::Branch(children) => children.iter().map(|c| c.count).sum(),
        }
    }

    fn least(&self) -> Arc<str> {
        match self {
            Node::Leaf(entries) => entries[0].key.clone(),
            Node::Branch(children) => children[0].least.clone(),
        }
    }

    /// Takes the upper half off as a new right-hand neighbour.
    fn split(&mut self) -> Child {
        let half = self.width() / 2;
        Child::of(match self {
            Node::Leaf(entries) => Node::Leaf(entries.split_off(half)),
            Node::Branch(children) => Node::Branch(children.split_off(half)),
        })
    }

    fn insert(this: &mut Arc<Node>, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        match Arc::make_mut(this) {
            Node::Leaf(entries) => match seek(entries, &entry.key) {
                Ok(at) => Some(std::mem::replace(&mut entries[at], entry)),
                Err(at) => {
                    entries.insert(at, entry);
                    None
                }
            },
            Node::Branch(children) => {
                let at = route(children, &entry.key);
                let child = &mut children[at];
                if entry.key < child.least {
                    child.least = entry.key.clone();
                }
                let old = Node::insert(&mut child.node, entry);
                child.count += usize::from(old.is_none());
                if child.node.width() > WIDTH {
                    let right = Arc::make_mut(&mut child.node).split();
                    child.count -= right.count;
                    children.insert(at + 1, right);
                }
                old
            }
        }
    }

    /// Removes a key that is known to be present.
    fn remove(this: &mut Arc<Node>, key: &str) -> Arc<Entry> {
        match Arc::make_mut(this) {
            Node::Leaf(entries) => entries.remove(seek(entries, key).expect("the caller has seen the key")),
            Node::Branch(children) => {
                let at = route(children, key);
                let old = Node::remove(&mut children[at].node, key);
                children[at].count -= 1;
                if children[at].node.width() < THIN && children.len() > 1 {
                    join(children, at.min(children.len() - 2));
                }
                old
            }
        }
    }
}

/// Joins child `at` with its right-hand neighbour, and splits the result again where it would be too wide.
fn join(children: &mut Vec<Child>, at: usize) {
    let right = children.remove(at + 1);
    let left = &mut children[at];
    match (Arc::make_mut(&mut left.node), Arc::unwrap_or_clone(right.node)) {
        (Node::Leaf(left), Node::Leaf(right)) => left.extend(right),
        (Node::Branch(left), Node::Branch(right)) => left.extend(right),
        _ => unreachable!("neighbours lie at the same depth"),
    }
    left.count += right.count;
    if left.node.width() > WIDTH {
        let right = Arc::make_mut(&mut left.node).split();
        left.count -= right.count;
        children.insert(at + 1, right);
    }
}

impl Child {
    fn of(node: Node) -> Child {
        Child::shared(Arc::new(node))
    }

    fn shared(node: Arc<Node>) -> Child {
        Child { least: node.least(), count: node.count(), node }
    }
}

/// The child that holds `key` or would.
fn route(children: &[Child], key: &str) -> usize {
    children.partition_point(|child| &*child.least <= key).saturating_sub(1)
}

fn seek(entries: &[Arc<Entry>], key: &str) -> Result<usize, usize> {
    entries.binary_search_by(|entry| (*entry.key).cmp(key))
}

fn chunks<T>(items: Vec<T>, size: usize) -> impl Iterator<Item = Vec<T>> {
    let mut items = items.into_iter();
    std::iter::from_fn(move || {
        let run: Vec<T> = items.by_ref().take(size).collect();
        (!run.is_empty()).then_some(run)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base::random::{Random, SeededRandom};

    use super::*;

    fn entry(key: String, modified: u64) -> Arc<Entry> {
        Arc::new(Entry {
            key: key.into(),
            value: Default::default(),
            created: modified,
            modified,
            stamp: None,
            expires: None,
            sealed: None,
            note: Arc::new(()),
        })
    }

    fn check(tree: &Tree, model: &BTreeMap<String, u64>, probe: &str) {
        assert_eq!(tree.len(), model.len());
        assert_eq!(tree.get(probe).map(|e| e.modified), model.get(probe).copied());
        assert_eq!(tree.rank(probe), model.range(..probe.to_owned()).count());
        let from: Vec<_> = tree.iter_from(probe).map(|e| (e.key.to_string(), e.modified)).collect();
        let expected: Vec<_> = model.range(probe.to_owned()..).map(|(k, v)| (k.clone(), *v)).collect();
        assert_eq!(from, expected, "from {probe:?}");
    }

    /// Long runs of one kind of change make the tree grow and shrink through all its depths.
    #[test]
    fn behaves_as_a_sorted_map_and_clones_stand_still() {
        for seed in 0..20 {
            let mut random = SeededRandom::new(seed);
            let (mut tree, mut model) = (Tree::new(), BTreeMap::new());
            let mut kept = Vec::new();
            let mut growing = true;
            for step in 0..4_000u64 {
                if step % 700 == 0 {
                    growing = random.below(2) == 0 || model.len() < 100;
                    kept.push((tree.clone(), model.clone()));
                }
                let key = format!("/k/{:04}", random.below(3_000));
                if (random.below(10) < 8) == growing {
                    let old = tree.insert(entry(key.clone(), step));
                    assert_eq!(old.map(|e| e.modified), model.insert(key.clone(), step));
                } else {
                    let key = model.range(key.clone()..).next().map_or(key.clone(), |(k, _)| k.clone());
                    assert_eq!(tree.remove(&key).map(|e| e.modified), model.remove(&key));
                }
                if step % 97 == 0 {
                    check(&tree, &model, &key);
                }
            }
            for (tree, model) in &kept {
                check(tree, model, "/k/1500");
                check(tree, model, "");
            }
        }
    }

    #[test]
    fn builds_from_sorted_entries() {
        for len in [0, 1, 24, 25, 600, 5_000] {
            let keys: Vec<String> = (0..len).map(|n| format!("/k/{n:05}")).collect();
            let tree = Tree::from_sorted(keys.iter().map(|k| entry(k.clone(), 7)).collect());
            check(&tree, &keys.iter().map(|k| (k.clone(), 7)).collect(), "/k/00300");
        }
    }
}
