//! The names of a custom kind.

use grammar::field::ErrorList;
use grammar::names;

use crate::node::Node;
use crate::tree::Tree;

/// Names in themselves; which of them must be there is another matter.
pub(super) fn validate(given: &Node<'_>, errs: &mut ErrorList) {
    label(&given.child("plural"), errs);
    label(&given.child("singular"), errs);
    for key in ["kind", "listKind"] {
        let name = given.child(key);
        let complaints = names::dns1035_label(&name.str().to_lowercase());
        if !name.str().is_empty() && !complaints.is_empty() {
            errs.push(name.invalid(format!(
                "may have mixed case, but should otherwise match: {}",
                complaints.join(",")
            )));
        }
    }
    for key in ["shortNames", "categories"] {
        for name in given.child(key).items() {
            required_label(&name, errs);
        }
    }
    let list = given.child("listKind");
    if !list.str().is_empty() && list.str() == given.text("kind") {
        errs.push(list.invalid("kind and listKind may not be the same"));
    }
}

/// A DNS label that starts with a letter, or nothing.
pub(super) fn label(name: &Node<'_>, errs: &mut ErrorList) {
    if !name.str().is_empty() {
        required_label(name, errs);
    }
}

/// A DNS label that starts with a letter; all that is wrong with it is one error.
pub(super) fn required_label(name: &Node<'_>, errs: &mut ErrorList) {
    let complaints = names::dns1035_label(name.str());
    if !complaints.is_empty() {
        errs.push(name.invalid_text(complaints.join(",")));
    }
}
