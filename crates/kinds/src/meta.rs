//! `metadata`: what every object shares.

use grammar::field::{self, ErrorList};
use grammar::go;
use grammar::names::{self, Complaints};
use serde_json::Value;

use crate::node::Node;
use crate::tree::{Tree, TreeMut};

/// Says what is wrong with a name, or with a `generateName` when the flag is set.
pub type NameRule = fn(&str, bool) -> Complaints;

/// A DNS subdomain: most kinds.
pub const SUBDOMAIN: NameRule = names::name_is_dns_subdomain;
/// A DNS label: namespaces and what becomes a host name.
pub const LABEL: NameRule = names::name_is_dns_label;
/// A label that starts with a letter.
pub const LABEL_1035: NameRule = names::name_is_dns1035_label;
/// Anything that fits between two slashes of a path: RBAC.
pub const PATH_SEGMENT: NameRule = |name, prefix| match prefix {
    true => names::path_segment_prefix(name),
    false => names::path_segment_name(name),
};

/// Keys and values of one object's annotations may hold this many bytes together.
pub const MAX_ANNOTATIONS_BYTES: usize = 256 * 1024;
const MAX_FIELD_MANAGER_BYTES: usize = 128;
const MAX_SUBRESOURCE_BYTES: usize = 256;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// Everything that must hold of any object's metadata.
pub fn validate(meta: &Node<'_>, namespaced: bool, name_rule: NameRule) -> ErrorList {
    let mut errs = ErrorList::new();
    let generate_name = meta.child("generateName");
    if !generate_name.str().is_empty() {
        generate_name.complaints(name_rule(generate_name.str(), true), &mut errs);
    }
    let name = meta.child("name");
    match name.str() {
        "" => errs.push(name.required("name or generateName is required")),
        text => name.complaints(name_rule(text, false), &mut errs),
    }
    let namespace = meta.child("namespace");
    match (namespaced, namespace.str()) {
        (true, "") => errs.push(namespace.required("")),
        (true, text) => namespace.complaints(LABEL(text, false), &mut errs),
        (false, "") => {}
        (false, _) => errs.push(namespace.forbidden("not allowed on this type")),
    }
    meta.child("generation").not_negative(&mut errs);
    labels(&meta.child("labels"), &mut errs);
    annotations(&meta.child("annotations"), &mut errs);
    owner_references(&meta.child("ownerReferences"), &mut errs);
    finalizers(&meta.child("finalizers"), &mut errs);
    managed_fields(&meta.child("managedFields"), &mut errs);
    errs
}

/// Everything that must hold of a change of metadata, beside what must hold of the new state alone.
pub fn validate_update(meta: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    if old.has("deletionTimestamp") {
        no_new_finalizers(&meta.child("finalizers"), &old.texts("finalizers"), errs);
    }
    let version = meta.child("resourceVersion");
    if version.str().is_empty() {
        errs.push(version.invalid_text("must be specified for an update"));
    }
    let generation = meta.child("generation");
    if generation.number() < old.int("generation").unwrap_or_default() {
        errs.push(generation.invalid_number("must not be decremented"));
    }
    for key in ["name", "namespace", "uid"] {
        let node = meta.child(key);
        if node.str() != old.text(key) {
            errs.push(node.invalid_text(crate::node::IMMUTABLE));
        }
    }
    for key in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        meta.child(key).immutable(old.at(key), errs);
    }
}

/// Restores what no update can change: the uid where none was given, the time of creation, a deletion.
pub fn keep_system_fields(new: &mut Value, old: &Value) {
    let old_meta = old.at("metadata");
    if new.at("metadata").text("uid").is_empty() {
        new.copy_from(old, &["metadata", "uid"]);
    }
    for key in ["creationTimestamp", "deletionTimestamp"] {
        if old_meta.has(key) {
            new.copy_from(old, &["metadata", key]);
        }
    }
    if !new.at("metadata").has("deletionGracePeriodSeconds") {
        new.copy_from(old, &["metadata", "deletionGracePeriodSeconds"]);
    }
}

/// Restores what users write in metadata: writes of a status leave it alone.
pub fn keep_users_fields(new: &mut Value, old: &Value) {
    for key in ["labels", "annotations", "finalizers", "ownerReferences"] {
        new.copy_from(old, &["metadata", key]);
    }
}

/// A map of labels.
pub fn labels(labels: &Node<'_>, errs: &mut ErrorList) {
    for (key, value) in labels.pairs() {
        label_key(&labels.path, key, errs);
        for complaint in names::label_value(value.str()) {
            errs.push(labels.invalid_as(value.str(), complaint));
        }
    }
}

/// A label key, also called a qualified name.
pub fn label_key(path: &field::Path<'_>, key: &str, errs: &mut ErrorList) {
    errs.extend(names::label_key(key).into_iter().map(|complaint| field::invalid(path, key, complaint)));
}

/// A map of annotations: keys are label keys in any case, and all together are bounded in size.
pub fn annotations(annotations: &Node<'_>, errs: &mut ErrorList) {
    let mut bytes = 0;
    for (key, value) in annotations.pairs() {
        for complaint in names::label_key(&key.to_lowercase()) {
            errs.push(annotations.invalid_as(key, complaint));
        }
        bytes += key.len() + value.str().len();
    }
    if bytes > MAX_ANNOTATIONS_BYTES {
        errs.push(annotations.too_long(MAX_ANNOTATIONS_BYTES));
    }
}

fn owner_references(owners: &Node<'_>, errs: &mut ErrorList) {
    let mut controller: Option<String> = None;
    for owner in owners.items() {
        let api_version = owner.child("apiVersion");
        match api_version.str() {
            "" => errs.push(api_version.required("must not be empty")),
            text if !is_group_version(text) => {
                errs.push(api_version.invalid("must be <group>/<version> or <version>"));
            }
            _ => {}
        }
        for key in ["kind", "name", "uid"] {
            let node = owner.child(key);
            if node.str().is_empty() {
                errs.push(node.required("must not be empty"));
            }
        }
        if api_version.str() == "v1" && owner.text("kind") == "Event" {
            errs.push(owner.invalid_as(
                field::BadValue::Verbatim(owner_text(&owner)),
                "/v1, Kind=Event is disallowed from being an owner",
            ));
        }
        if owner.flag("controller") {
            let this = format!("{}/{}", owner.text("kind"), owner.text("name"));
            match &controller {
                Some(first) => {
                    let all: Vec<_> = owners.items().map(|owner| owner_text(&owner)).collect();
                    errs.push(owners.invalid_as(
                        field::BadValue::Verbatim(format!("[{}]", all.join(","))),
                        format!(
                            "Only one reference can have Controller set to true. Found \"true\" in references \
                             for {first} and {this}"
                        ),
                    ));
                }
                None => controller = Some(this),
            }
        }
    }
}

/// An owner reference as Go marshals it: in the order of its fields, which a sorted tree does not keep.
fn owner_text(owner: &Value) -> String {
    let mut fields: Vec<String> = ["apiVersion", "kind", "name", "uid"]
        .iter()
        .map(|key| format!("\"{key}\":{}", go::json_string(owner.text(key))))
        .collect();
    for key in ["controller", "blockOwnerDeletion"] {
        if let Some(flag) = owner.choice(key) {
            fields.push(format!("\"{key}\":{flag}"));
        }
    }
    format!("{{{}}}", fields.join(","))
}

fn is_group_version(text: &str) -> bool {
    match text.split_once('/') {
        Some((_, version)) => !version.is_empty() && !version.contains('/'),
        None => true,
    }
}

fn finalizers(finalizers: &Node<'_>, errs: &mut ErrorList) {
    for finalizer in finalizers.items() {
        for complaint in names::qualified_name(finalizer.str()) {
            errs.push(finalizers.invalid_as(finalizer.str(), complaint));
        }
    }
    let has = |name: &str| finalizers.items().any(|finalizer| finalizer.str() == name);
    if has(ORPHAN) && has(FOREGROUND) {
        errs.push(finalizers.invalid(format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set")));
    }
}

/// A finalizer without a domain must be one of the standard ones.
pub fn qualified_finalizers(finalizers: &Node<'_>, errs: &mut ErrorList) {
    for finalizer in finalizers.items() {
        standard_or_qualified(&finalizer, errs);
    }
}

/// One finalizer's name.
pub fn standard_or_qualified(name: &Node<'_>, errs: &mut ErrorList) {
    if !name.str().contains('/') && !matches!(name.str(), "kubernetes" | ORPHAN | FOREGROUND) {
        errs.push(name.invalid("name is neither a standard finalizer name nor is it fully qualified"));
    }
}

/// An object on its way out takes no new finalizers.
pub fn no_new_finalizers(new: &Node<'_>, old: &[&str], errs: &mut ErrorList) {
    let mut added: Vec<String> =
        new.items().map(|item| item.str()).filter(|name| !old.contains(name)).map(go::quote).collect();
    added.sort();
    added.dedup();
    if !added.is_empty() {
        errs.push(new.forbidden(format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            added.join(", ")
        )));
    }
}

fn managed_fields(entries: &Node<'_>, errs: &mut ErrorList) {
    for entry in entries.items() {
        let operation = entry.child("operation");
        match operation.str() {
            "" => errs.push(operation.required("must not be empty")),
            "Apply" | "Update" => {}
            _ => errs.push(operation.not_supported(&["Apply", "Update"])),
        }
        let fields_type = entry.child("fieldsType");
        if !matches!(fields_type.str(), "" | "FieldsV1") {
            errs.push(fields_type.invalid("must be `FieldsV1`"));
        }
        field_manager(&entry.child("manager"), errs);
        if entry.text("subresource").len() > MAX_SUBRESOURCE_BYTES {
            errs.push(entry.child("subresource").too_long(MAX_SUBRESOURCE_BYTES));
        }
    }
}

/// A field manager's name, in `managedFields` or in a request's options.
pub fn field_manager(manager: &Node<'_>, errs: &mut ErrorList) {
    if manager.str().len() > MAX_FIELD_MANAGER_BYTES {
        errs.push(manager.too_long(MAX_FIELD_MANAGER_BYTES));
    }
    for (position, c) in manager.str().char_indices() {
        if !go::is_print(c) {
            errs.push(
                manager.invalid(format!("invalid character {} (at position {position})", go::code_point(c))),
            );
        }
    }
}
