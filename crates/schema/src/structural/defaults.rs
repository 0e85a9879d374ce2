//! Defaults in a schema must be values that the schema accepts.

use grammar::field::{self, ErrorList, Path};

use super::schema::Schema;
use super::value::Validator;
use super::{Options, lower};
use crate::tree;

/// What is wrong with the defaults of a structural schema. Defaults inside a resource's metadata are checked against
/// their own schema only: whether they make valid metadata is for whoever validates metadata.
pub(super) fn check(path: &Path<'_>, schema: &Schema, options: &Options) -> ErrorList {
    let mut errors = ErrorList::new();
    let root = Schema { embedded_resource: true, ..schema.clone() };
    node(path, &root, false, options, &mut errors);
    errors
}

/// Whether a default outside of metadata has fields that its schema does not know.
pub(super) fn has_unknown_fields(schema: &Schema) -> bool {
    let own = schema.default.as_ref().is_some_and(|default| {
        let (table, id) = lower::fragment(schema);
        !tree::prune(&table, id, &mut default.clone()).is_empty()
    });
    own || schema.item().is_some_and(has_unknown_fields)
        || schema.additional().is_some_and(has_unknown_fields)
        || schema.properties.values().any(has_unknown_fields)
}

fn node(path: &Path<'_>, s: &Schema, in_metadata: bool, options: &Options, errors: &mut ErrorList) {
    let in_metadata = in_metadata && !s.embedded_resource;
    if let Some(default) = &s.default {
        let path = path.child("default");
        if options.require_pruned_defaults && !in_metadata {
            let (table, id) = lower::fragment(s);
            let mut pruned = default.clone();
            tree::prune(&table, id, &mut pruned);
            if pruned != *default {
                errors.push(field::invalid(&path, default, "must not have unknown fields"));
            }
        }
        let found = match s.embedded_resource {
            true => super::embedded::required_type(&path, default),
            false => ErrorList::new(),
        };
        let found = if found.is_empty() { Validator::for_default(s).validate(&path, default) } else { found };
        errors.extend(found);
    }
    // Defaults of additional properties are forbidden, so nothing is looked for there.
    if let Some(item) = s.item() {
        node(&path.child("items"), item, in_metadata, options, errors);
    }
    let properties = path.child("properties");
    for (name, property) in &s.properties {
        let of_metadata = s.embedded_resource && matches!(name.as_str(), "metadata" | "apiVersion" | "kind");
        node(&properties.key(name), property, in_metadata || of_metadata, options, errors);
    }
}
