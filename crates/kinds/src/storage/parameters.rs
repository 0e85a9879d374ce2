//! What classes tell a driver.

use grammar::field::{self, ErrorList};

use crate::check;
use crate::node::Node;

const MAX_COUNT: usize = 512;
const MAX_BYTES: usize = 256 * 1024;

/// Keys and texts that mean something to a driver alone.
pub(super) fn validate(parameters: &Node<'_>, errs: &mut ErrorList) {
    if parameters.len() > MAX_COUNT {
        errs.push(parameters.too_long(MAX_COUNT));
        return;
    }
    let mut bytes = 0;
    for (key, value) in parameters.pairs() {
        if key.is_empty() {
            errs.push(parameters.invalid_as(key, "field can not be empty."));
        }
        bytes += key.len() + value.str().len();
    }
    if bytes > MAX_BYTES {
        errs.push(parameters.too_long(MAX_BYTES));
    }
}

/// A driver's or provisioner's name, which is a qualified name in any case.
pub(super) fn driver(name: &Node<'_>, errs: &mut ErrorList) {
    if name.str().is_empty() {
        errs.push(field::required(&name.path, ""));
        return;
    }
    let lower = serde_json::Value::String(name.str().to_lowercase());
    check::qualified_name(&Node::new(&lower, name.path), errs);
}
