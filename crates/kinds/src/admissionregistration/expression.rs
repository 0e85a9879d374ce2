//! Expressions, and the conditions and variables that are made of them.

use std::collections::BTreeSet;

use grammar::field::ErrorList;

use crate::check;
use crate::node::Node;

const MAX_CONDITIONS: usize = 64;
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Something other than blanks.
pub(super) fn required(expression: &Node<'_>, detail: &str, errs: &mut ErrorList) {
    if expression.str().trim().is_empty() {
        errs.push(expression.required(detail));
    }
}

/// Named conditions on the request.
pub(super) fn match_conditions(conditions: &Node<'_>, errs: &mut ErrorList) {
    if conditions.len() > MAX_CONDITIONS {
        errs.push(conditions.too_many(MAX_CONDITIONS));
    }
    let mut seen = BTreeSet::new();
    for condition in conditions.items() {
        required(&condition.child("expression"), "", errs);
        let name = condition.child("name");
        if name.str().is_empty() {
            errs.push(name.required(""));
            continue;
        }
        check::qualified_name(&name, errs);
        if !seen.insert(name.str().to_owned()) {
            errs.push(name.duplicate());
        }
    }
}

/// Named values for later expressions.
pub(super) fn variables(variables: &Node<'_>, errs: &mut ErrorList) {
    for variable in variables.items() {
        let name = variable.child("name");
        if name.str().trim().is_empty() {
            errs.push(name.required("name is not specified"));
        } else if !is_identifier(name.str()) {
            errs.push(name.invalid("must be a valid CEL identifier"));
        }
        required(&variable.child("expression"), "expression is not specified", errs);
    }
}

fn is_identifier(name: &str) -> bool {
    let is_word = |c: char| c == '_' || c.is_ascii_alphanumeric();
    name.chars().all(is_word) && !name.starts_with(|c: char| c.is_ascii_digit()) && !RESERVED.contains(&name)
}
