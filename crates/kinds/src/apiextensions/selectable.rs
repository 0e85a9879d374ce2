//! Fields of custom kinds that field selectors may name.

use std::collections::BTreeSet;

use grammar::field::ErrorList;
use schema::structural::Schema;
use serde_json::Value;

use crate::node::Node;
use crate::tree::same;

const MAX_FIELDS: usize = 8;

/// Each must point to one scalar below the schema. More than the limit may stay where `before` had them too.
pub(super) fn validate(fields: &Node<'_>, root: &Schema, before: &Value, errs: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for item in fields.items() {
        let path = item.child("jsonPath");
        if path.str().is_empty() {
            errs.push(path.required(""));
            continue;
        }
        let found = match follow(path.str(), root) {
            Ok(found) => found,
            Err(reason) => {
                errs.push(path.invalid(format!("is an invalid path: {reason}")));
                continue;
            }
        };
        if found.steps.first().is_some_and(|first| first == "metadata") {
            errs.push(path.invalid("must not point to fields in metadata"));
        }
        if !matches!(&*found.schema.kind, "string" | "boolean" | "integer") {
            errs.push(path.invalid(
                "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                 formats are allowed.",
            ));
        }
        if !seen.insert(found.steps) {
            errs.push(path.duplicate());
        }
    }
    if seen.len() > MAX_FIELDS && !same(fields.value(), before) {
        errs.push(grammar::field::too_many(&fields.path, Some(seen.len()), Some(MAX_FIELDS)));
    }
}

struct Found<'a> {
    steps: Vec<String>,
    schema: &'a Schema,
}

/// Walks a dotted path down the schema.
fn follow<'a>(path: &str, root: &'a Schema) -> Result<Found<'a>, String> {
    let mut found = Found { steps: Vec::new(), schema: root };
    let mut rest = path;
    while !rest.is_empty() {
        let (delimiter, after) = rest.split_at(rest.find(['.', '[', ']']).map_or(rest.len(), |at| at.max(1)));
        match delimiter {
            "[" => return Err("array notation is not allowed".to_owned()),
            "." => {}
            other => return Err(format!("expected [ or . but got: {other}")),
        }
        if after.is_empty() {
            return Err("unexpected end of JSON path".to_owned());
        }
        let end = after.find(['.', '[', ']']).map_or(after.len(), |at| at.max(1));
        let (name, after) = after.split_at(end);
        found.schema = match found.schema.properties.is_empty() {
            false => found.schema.properties.get(name),
            true => found.schema.additional(),
        }
        .ok_or_else(|| "does not refer to a valid field".to_owned())?;
        found.steps.push(name.to_owned());
        rest = after;
    }
    Ok(found)
}
