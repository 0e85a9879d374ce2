//! What makes a schema structural.
//!
//! A structural schema states the shape of every value outside of its junctors (`allOf`, `anyOf`, `oneOf`, `not`);
//! inside them it may only restrict what was stated. So one walk along properties and items knows every field.

use grammar::field::{self, ErrorList, Path};

use super::pattern;
use super::schema::{Additional, Items, Schema};

/// Why a schema is not structural, sorted by text. Upstream's maps have no order, so neither do its errors.
pub(super) fn check(path: &Path<'_>, schema: &Schema) -> ErrorList {
    let mut errors = ErrorList::new();
    node(schema, Level::Root, path, &mut errors);
    complete(schema, Some(schema), path, path, &mut errors);
    errors.sort_by_key(|error| error.to_string());
    errors
}

/// A keyword that no structural schema can have, if there is one. Those errors overlap with the ones of the
/// definition's own rules, which say where.
pub(super) fn unsupported(schema: &Schema) -> Option<String> {
    let refused = &schema.refused;
    let keywords = [
        (!refused.id.is_empty(), "id"),
        (!refused.schema.is_empty(), "schema"),
        (refused.reference.as_ref().is_some_and(|r| !r.is_empty()), "$ref"),
        (refused.pattern_properties, "patternProperties"),
        (refused.dependencies.as_ref().is_some_and(|d| !d.is_empty()), "dependencies"),
        (refused.additional_items, "additionalItems"),
        (!refused.definitions.is_empty(), "definitions"),
    ];
    if let Some((_, keyword)) = keywords.iter().find(|(present, _)| *present) {
        return Some(format!("OpenAPIV3Schema '{keyword}' is not supported"));
    }
    if schema.preserve_unknown == Some(false) {
        return Some(
            "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined".to_string(),
        );
    }
    if matches!(&schema.items, Some(Items::Each(schemas)) if !schemas.is_empty()) {
        return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".to_string());
    }
    let junctors =
        schema.all_of.iter().chain(&schema.any_of).chain(&schema.one_of).chain(schema.not.as_deref());
    junctors
        .chain(schema.item())
        .chain(schema.properties.values())
        .chain(schema.additional())
        .find_map(unsupported)
}

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

fn node(s: &Schema, level: Level, path: &Path<'_>, errors: &mut ErrorList) {
    if s.kind == "array" && s.item().is_none() {
        errors.push(field::required(&path.child("items"), "must be specified"));
    }
    if let Some(item) = s.item() {
        node(item, Level::Item, &path.child("items"), errors);
    }
    let properties = path.child("properties");
    for (name, property) in &s.properties {
        node(property, Level::Field, &properties.key(name), errors);
    }
    if s.additional_properties.is_some() {
        let path = path.child("additionalProperties");
        if level == Level::Root {
            errors.push(field::forbidden(&path, "must not be used at the root"));
        }
        if let Some(additional) = s.additional() {
            node(additional, Level::Field, &path, errors);
        }
    }

    extensions(s, path, errors);
    // The two forms in which an int-or-string may name its types, which junctors otherwise must not.
    let skip_any_of = s.any_of_is_int_or_string();
    let skip_in_first = s.all_of.first().is_some_and(Schema::any_of_is_int_or_string);
    junctors(s, skip_any_of, skip_in_first, path, errors);
    types(s, level, path, errors);
    metadata(s, level, path, errors);

    if s.embedded_resource && !s.preserves_unknown() && s.properties.is_empty() {
        let reason = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(field::required(&path.child("properties"), reason));
    }
}

fn extensions(s: &Schema, path: &Path<'_>, errors: &mut ErrorList) {
    for (set, name) in [
        (s.preserves_unknown(), "x-kubernetes-preserve-unknown-fields"),
        (s.embedded_resource, "x-kubernetes-embedded-resource"),
    ] {
        if s.int_or_string && set {
            errors.push(field::invalid(
                &path.child(name),
                true,
                "must be false if x-kubernetes-int-or-string is true",
            ));
        }
    }
}

fn types(s: &Schema, level: Level, path: &Path<'_>, errors: &mut ErrorList) {
    let kind = path.child("type");
    if s.embedded_resource && s.kind != "object" {
        let reason = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match s.kind.as_str() {
            "" => field::required(&kind, reason),
            other => field::invalid(&kind, other, reason),
        });
    } else if s.kind.is_empty() && !s.int_or_string && !s.preserves_unknown() {
        let reason = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(field::required(&kind, reason));
    }
    if s.embedded_resource && s.additional_properties.is_some() {
        let reason = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(field::forbidden(&path.child("additionalProperties"), reason));
    }
    if level == Level::Root && !s.kind.is_empty() && s.kind != "object" {
        errors.push(field::invalid(&kind, &s.kind, "must be object at the root"));
    }
}

/// What a resource's own `apiVersion`, `kind` and `metadata` may say.
fn metadata(s: &Schema, level: Level, path: &Path<'_>, errors: &mut ErrorList) {
    let is_resource = level == Level::Root || s.embedded_resource;
    let properties = path.child("properties");
    for name in ["kind", "apiVersion"] {
        if let Some(property) = s.properties.get(name).filter(|p| is_resource && p.kind != "string") {
            errors.push(field::invalid(
                &properties.key(name).child("type"),
                &property.kind,
                "must be string",
            ));
        }
    }
    let Some(metadata) = s.properties.get("metadata") else { return };
    let path = properties.key("metadata");
    if is_resource && metadata.kind != "object" {
        errors.push(field::invalid(&path.child("type"), &metadata.kind, "must be object"));
    }
    if level != Level::Root {
        return;
    }
    let mut rest = metadata.clone();
    let only_names = rest.properties.keys().all(|name| name == "name" || name == "generateName");
    if only_names {
        rest.properties.clear();
    }
    rest.kind.clear();
    rest.default = None;
    if rest != Schema::default() {
        let reason = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(field::forbidden(&path, reason));
    }
}

fn junctors(s: &Schema, skip_any_of: bool, skip_in_first: bool, path: &Path<'_>, errors: &mut ErrorList) {
    if !skip_any_of {
        let path = path.child("anyOf");
        for (at, schema) in s.any_of.iter().enumerate() {
            nested(schema, false, &path.index(at), errors);
        }
    }
    let all_of = path.child("allOf");
    for (at, schema) in s.all_of.iter().enumerate() {
        nested(schema, skip_in_first && at == 0, &all_of.index(at), errors);
    }
    let one_of = path.child("oneOf");
    for (at, schema) in s.one_of.iter().enumerate() {
        nested(schema, false, &one_of.index(at), errors);
    }
    if let Some(not) = &s.not {
        nested(not, false, &path.child("not"), errors);
    }
    if let Err(reason) = pattern::compile(&s.pattern) {
        let reason = format!("must be a valid regular expression, but isn't: {reason}");
        errors.push(field::invalid(&path.child("pattern"), &s.pattern, reason));
    }
}

/// A schema inside a junctor: it may restrict values, and nothing else.
fn nested(s: &Schema, skip_any_of: bool, path: &Path<'_>, errors: &mut ErrorList) {
    junctors(s, skip_any_of, false, path, errors);
    if let Some(item) = s.item() {
        nested(item, false, &path.child("items"), errors);
    }
    let properties = path.child("properties");
    for (name, property) in &s.properties {
        nested(property, false, &properties.key(name), errors);
    }
    let additional = !matches!(s.additional_properties, None | Some(Additional::Allowed(false)));
    for (present, keyword, reason) in [
        (!s.kind.is_empty(), "type", "must be empty to be structural"),
        (additional, "additionalProperties", "must be undefined to be structural"),
        (s.default.is_some(), "default", "must be undefined to be structural"),
        (!s.title.is_empty(), "title", "must be empty to be structural"),
        (!s.description.is_empty(), "description", "must be empty to be structural"),
        (s.nullable, "nullable", "must be false to be structural"),
        (s.preserves_unknown(), "x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
        (s.embedded_resource, "x-kubernetes-embedded-resource", "must be false to be structural"),
        (s.int_or_string, "x-kubernetes-int-or-string", "must be false to be structural"),
        (!s.list_map_keys.is_empty(), "x-kubernetes-list-map-keys", "must be empty to be structural"),
        (s.list_type.is_some(), "x-kubernetes-list-type", "must be undefined to be structural"),
        (s.map_type.is_some(), "x-kubernetes-map-type", "must be undefined to be structural"),
        (!s.rules.is_empty(), "x-kubernetes-validations", "must be empty to be structural"),
    ] {
        if present {
            errors.push(field::forbidden(&path.child(keyword), reason));
        }
    }
    if s.properties.contains_key("metadata") {
        errors
            .push(field::forbidden(&properties.key("metadata"), "must not be specified in a nested context"));
    }
}

/// Everything that a junctor restricts must be specified outside of it too, in `shape`.
fn complete(s: &Schema, shape: Option<&Schema>, at: &Path<'_>, from: &Path<'_>, errors: &mut ErrorList) {
    if let Some(not) = &s.not {
        counterpart(not, shape, at, &from.child("not"), errors);
    }
    for (name, schemas) in [("allOf", &s.all_of), ("anyOf", &s.any_of), ("oneOf", &s.one_of)] {
        let from = from.child(name);
        for (index, schema) in schemas.iter().enumerate() {
            counterpart(schema, shape, at, &from.index(index), errors);
        }
    }
}

fn counterpart(s: &Schema, shape: Option<&Schema>, at: &Path<'_>, from: &Path<'_>, errors: &mut ErrorList) {
    let Some(shape) = shape else {
        errors.push(field::required(at, format!("because it is defined in {from}")));
        return;
    };
    complete(s, Some(shape), at, from, errors);
    if let Some(item) = s.item() {
        counterpart(item, shape.item(), &at.child("items"), &from.child("items"), errors);
    }
    let (properties_at, properties_from) = (at.child("properties"), from.child("properties"));
    for (name, property) in &s.properties {
        let shape = shape.properties.get(name);
        counterpart(property, shape, &properties_at.key(name), &properties_from.key(name), errors);
    }
}
