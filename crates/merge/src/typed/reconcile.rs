//! Field sets recorded before a schema change.

use super::shape::{AtomForm, MapAtom, Node, Relation, Typing};
use crate::fieldset::{PathElement, Set};

/// Rewrites a recorded set where the schema has since made a granular list or map atomic: whoever owned something
/// inside it now owns it as a whole. `None` where nothing changed.
pub fn reconcile(set: &Set, typing: Typing<'_>) -> Option<Set> {
    let mut changes = Changes::default();
    changes.visit(Some(set), false, typing.root(), &mut Vec::new());
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
    /// `leaf` tells that the set ends here, as it does for something owned as a whole.
    fn visit(&mut self, set: Option<&Set>, leaf: bool, node: Node<'_>, path: &mut Vec<PathElement>) {
        match node.atom().form() {
            AtomForm::Scalar(_) => {}
            AtomForm::List(list) => {
                if !leaf && matches!(list.relation, Relation::Atomic) {
                    self.now_atomic.insert(path);
                } else if let Some(set) = set {
                    self.descend(set, path, |_| Some(list.element));
                }
            }
            AtomForm::Map(map) if map.is_deduced() => {}
            AtomForm::Map(map) => {
                if !leaf && map.atomic {
                    if set.is_some() {
                        self.now_atomic.insert(path);
                    }
                } else if let Some(set) = set {
                    self.descend(set, path, |element| item(&map, element));
                }
            }
        }
    }

    fn descend<'t>(
        &mut self,
        set: &Set,
        path: &mut Vec<PathElement>,
        item: impl Fn(&PathElement) -> Option<Node<'t>>,
    ) {
        for (element, member, below) in set.edges() {
            // Fields that the schema no longer has stay as they are.
            let Some(node) = item(element) else { continue };
            let below = (!below.is_empty()).then_some(below);
            path.push(element.clone());
            self.visit(below, member && below.is_none(), node, path);
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
