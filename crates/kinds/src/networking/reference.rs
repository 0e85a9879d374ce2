//! References to objects of any kind.

use grammar::field::ErrorList;
use grammar::names;

use crate::check;
use crate::node::Node;

/// An object is named by its kind and name, and maybe a group.
pub(super) fn validate(reference: &Node<'_>, errs: &mut ErrorList) {
    let group = reference.child("apiGroup");
    if group.is_set() {
        check::dns_subdomain(&group, errs);
    }
    required_segment(&reference.child("kind"), errs);
    required_segment(&reference.child("name"), errs);
}

/// A text that fits between two slashes of a path.
pub(super) fn required_segment(node: &Node<'_>, errs: &mut ErrorList) {
    match node.str() {
        "" => errs.push(node.required("")),
        text => node.complaints(names::path_segment_name(text), errs),
    }
}
