//! Field sets recorded before a schema change.

use super::shape::{AtomForm, MapAtom, Node, Relation, Typing};
use crate::fieldset::{PathElement, Set};

/// Rewrites a recorded set where the schema has since made a granular list or map atomic: whoever owned something
/// inside it now owns it as a whole. `None` where nothing changed.
pub fn reconcile(set: &Set, typing: Typing<'_>) -> Option<Set> {
    let mut changes = Changes::default();
    changes.visit(set, typing.root(), &mut Vec::new());
    if changes.now_atomic.is_empty() {
        return None;
    }
    Some(set.recursive_difference(&changes.now_atomic).union(&changes.now_atomic))
}

#[derive(Default)]
struct Changes {
    now_atomic: Set,
}

impl Changes {
    /// `set` is what is owned below a place, which is never nothing: what is owned as a whole needs no change.
    fn visit(&mut self, set: &Set, node: Node<'_>, path: &mut Vec<PathElement>) {
        match node.atom().form() {
            AtomForm::Scalar(_) => {}
            AtomForm::List(list) if matches!(list.relation, Relation::Atomic) => self.now_atomic.insert(path),
            AtomForm::List(list) => self.descend(set, path, |_| Some(list.element)),
            // Of a map without a schema nothing is known that could have changed.
            AtomForm::Map(map) if map.is_deduced() => {}
            AtomForm::Map(map) if map.atomic => self.now_atomic.insert(path),
            AtomForm::Map(map) => self.descend(set, path, |element| item(&map, element)),
        }
    }

    fn descend<'t>(
        &mut self,
        set: &Set,
        path: &mut Vec<PathElement>,
        item: impl Fn(&PathElement) -> Option<Node<'t>>,
    ) {
        for (element, _, below) in set.edges().filter(|(_, _, below)| !below.is_empty()) {
            // Fields that the schema no longer has stay as they are.
            let Some(node) = item(element) else { continue };
            path.push(element.clone());
            self.visit(below, node, path);
            path.pop();
        }
    }
}

fn item<'t>(map: &MapAtom<'t>, element: &PathElement) -> Option<Node<'t>> {
    match element {
        PathElement::Field(name) => map.item(name),
        _ => map.undeclared(),
    }
}
