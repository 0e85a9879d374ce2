//! What a CustomResourceDefinition asks of its schemas beyond being structural.

use grammar::field::{self, BadValue, ErrorList, Path};
use serde_json::Value;

use super::schema::{Additional, Items, Rule, Schema};
use super::{Options, defaults, rules};

/// Everything that is wrong with a version's `openAPIV3Schema`, which `path` names. The expressions of
/// `x-kubernetes-validations` are not compiled here.
pub fn validate(path: &Path<'_>, schema: &Schema, options: &Options) -> ErrorList {
    let mut errors = ErrorList::new();
    if schema.nullable {
        errors.push(field::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
    let unsupported = if options.require_structural { rules::unsupported(schema) } else { None };
    if options.require_structural && unsupported.is_none() {
        let found = rules::check(path, schema);
        errors.extend(if found.is_empty() { defaults::check(path, schema, options) } else { found });
    }
    let root = Place { at_root: true, in_metadata: false, no_default: None };
    node(path, schema, &root, options, &mut errors);
    if let Some(reason) = unsupported.filter(|_| errors.is_empty()) {
        errors.push(field::invalid(path, "", reason));
    }
    errors
}

/// With a status subresource the root may only have keywords that survive taking `status` out of it.
pub fn validate_root_with_status(path: &Path<'_>, schema: &Schema) -> ErrorList {
    const ALLOWED: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength \
        MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example \
        XPreserveUnknownFields XValidations]";
    let mut errors = ErrorList::new();
    // Upstream stops at the first keyword that does not fit, in the order of its struct; the type stands among the
    // first, so only identifiers come before it.
    let early = !schema.refused.id.is_empty()
        || !schema.refused.schema.is_empty()
        || schema.refused.reference.is_some();
    if !early && !schema.kind.is_empty() && schema.kind != "object" {
        let reason = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.push(field::invalid(&path.child("type"), &schema.kind, reason));
        return errors;
    }
    let allowed = Schema {
        description: schema.description.clone(),
        kind: schema.kind.clone(),
        format: schema.format.clone(),
        title: schema.title.clone(),
        maximum: schema.maximum,
        exclusive_maximum: schema.exclusive_maximum,
        minimum: schema.minimum,
        exclusive_minimum: schema.exclusive_minimum,
        max_length: schema.max_length,
        min_length: schema.min_length,
        pattern: schema.pattern.clone(),
        max_items: schema.max_items,
        min_items: schema.min_items,
        unique_items: schema.unique_items,
        multiple_of: schema.multiple_of,
        required: schema.required.clone(),
        items: schema.items.clone(),
        properties: schema.properties.clone(),
        external_docs: schema.external_docs.clone(),
        example: schema.example.clone(),
        preserve_unknown: schema.preserve_unknown,
        rules: schema.rules.clone(),
        ..Schema::default()
    };
    if allowed != *schema {
        let reason = format!(
            "only {ALLOWED} fields are allowed at the root of the schema if the status subresource is enabled"
        );
        errors.push(field::invalid(path, BadValue::Omitted, reason));
    }
    errors
}

impl Options {
    /// What an update must keep to: a rule that the old schema broke is not held against the new one.
    pub fn excusing(old: &Schema) -> Options {
        let path = Path::nil();
        let structural = rules::unsupported(old).is_none() && rules::check(&path, old).is_empty();
        let sound = |check: fn(&Path<'_>, &Schema, &mut ErrorList)| {
            let mut errors = ErrorList::new();
            each(old, &mut |s| check(&Path::nil(), s, &mut errors));
            errors.is_empty()
        };
        Options {
            require_structural: structural,
            require_valid_types: sound(valid_type),
            require_pruned_defaults: !structural || !defaults::has_unknown_fields(old),
            require_atomic_sets: sound(|path, s, errors| {
                if s.list_type.as_deref() == Some("set") {
                    set_items(path, s, errors);
                }
            }),
            require_sound_keys: sound(sound_items),
        }
    }
}

/// Visits a schema and all schemas within it.
fn each(s: &Schema, visit: &mut dyn FnMut(&Schema)) {
    visit(s);
    let junctors = s.all_of.iter().chain(&s.any_of).chain(&s.one_of).chain(s.not.as_deref());
    let dependencies = s.refused.dependencies.iter().flatten().filter_map(|(_, schema)| schema.as_deref());
    let items = match &s.items {
        Some(Items::One(schema)) => std::slice::from_ref(&**schema),
        Some(Items::Each(schemas)) => schemas,
        None => &[],
    };
    for schema in junctors
        .chain(s.properties.values())
        .chain(s.additional())
        .chain(items)
        .chain(s.refused.definitions.values())
        .chain(dependencies)
    {
        each(schema, visit);
    }
}

/// What the surroundings of a node forbid it.
#[derive(Clone)]
struct Place {
    at_root: bool,
    in_metadata: bool,
    /// Why a default must not be set here.
    no_default: Option<String>,
}

fn node(path: &Path<'_>, s: &Schema, place: &Place, options: &Options, errors: &mut ErrorList) {
    keywords(path, s, place, options, errors);
    if s.unique_items {
        let reason = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(field::forbidden(&path.child("uniqueItems"), reason));
    }
    let inner = Place { at_root: false, ..place.clone() };

    if let Some(additional) = &s.additional_properties {
        let path = path.child("additionalProperties");
        if !s.properties.is_empty() && *additional != Additional::Allowed(true) {
            errors.push(field::forbidden(&path, "additionalProperties and properties are mutual exclusive"));
        }
        if let Additional::Schema(schema) = additional {
            let mut place = inner.clone();
            if place.in_metadata {
                place.no_default =
                    Some("inside additionalProperties applying to object metadata".to_string());
            }
            node(&path, schema, &place, options, errors);
        }
    }
    let properties = path.child("properties");
    for (name, property) in &s.properties {
        let mut within = inner.clone();
        if (place.at_root || s.embedded_resource)
            && matches!(name.as_str(), "metadata" | "kind" | "apiVersion")
        {
            within.in_metadata = true;
            if place.at_root {
                within.no_default = Some(format!("in top-level {name}"));
            }
        }
        node(&properties.key(name), property, &within, options, errors);
    }
    if let Some(not) = &s.not {
        node(&path.child("not"), not, &inner, options, errors);
    }
    for (name, schemas) in [("allOf", &s.all_of), ("oneOf", &s.one_of), ("anyOf", &s.any_of)] {
        let path = path.child(name);
        for (at, schema) in schemas.iter().enumerate() {
            node(&path.index(at), schema, &inner, options, errors);
        }
    }
    let definitions = path.child("definitions");
    for (name, schema) in &s.refused.definitions {
        node(&definitions.key(name), schema, &inner, options, errors);
    }
    let items = path.child("items");
    match &s.items {
        None => {}
        Some(Items::One(schema)) => node(&items, schema, &inner, options, errors),
        Some(Items::Each(schemas)) => {
            for (at, schema) in schemas.iter().enumerate() {
                node(&items.index(at), schema, &inner, options, errors);
            }
        }
    }
    let dependencies = path.child("dependencies");
    for (name, schema) in s.refused.dependencies.iter().flatten() {
        if let Some(schema) = schema {
            node(&dependencies.key(name), schema, &inner, options, errors);
        }
    }
    if s.preserve_unknown == Some(false) {
        let path = path.child("x-kubernetes-preserve-unknown-fields");
        errors.push(field::invalid(&path, false, "must be true or undefined"));
    }
    map_type(path, s, errors);
    list_type(path, s, options, errors);
    for (at, rule) in s.rules.iter().enumerate() {
        validation_rule(&path.child("x-kubernetes-validations").index(at), s, rule, errors);
    }
}

/// Keywords that JSON Schema has and definitions do not.
fn keywords(path: &Path<'_>, s: &Schema, place: &Place, options: &Options, errors: &mut ErrorList) {
    if options.require_valid_types {
        valid_type(path, s, errors);
    }
    if let (Some(_), Some(reason)) = (&s.default, &place.no_default) {
        errors.push(field::forbidden(&path.child("default"), format!("must not be set {reason}")));
    }
    let refused = &s.refused;
    for (present, keyword) in [
        (!refused.id.is_empty(), "id"),
        (refused.additional_items, "additionalItems"),
        (refused.pattern_properties, "patternProperties"),
        (!refused.definitions.is_empty(), "definitions"),
        (refused.dependencies.is_some(), "dependencies"),
        (refused.reference.is_some(), "$ref"),
    ] {
        if present {
            errors.push(field::forbidden(&path.child(keyword), format!("{keyword} is not supported")));
        }
    }
    if s.kind == "null" {
        let reason = "type cannot be set to null, use nullable as an alternative";
        errors.push(field::forbidden(&path.child("type"), reason));
    }
    if matches!(&s.items, Some(Items::Each(schemas)) if !schemas.is_empty()) {
        errors.push(field::forbidden(&path.child("items"), "items must be a schema object and not an array"));
    }
    if place.in_metadata && s.embedded_resource {
        let path = path.child("x-kubernetes-embedded-resource");
        errors.push(field::forbidden(&path, "must not be used inside of resource meta"));
    }
}

fn valid_type(path: &Path<'_>, s: &Schema, errors: &mut ErrorList) {
    const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
    if !s.kind.is_empty() && !TYPES.contains(&s.kind.as_str()) {
        errors.push(field::not_supported(&path.child("type"), &s.kind, &TYPES));
    }
}

fn map_type(path: &Path<'_>, s: &Schema, errors: &mut ErrorList) {
    let Some(map_type) = &s.map_type else { return };
    wants_type(path, s, "object", "must be object if x-kubernetes-map-type is specified", errors);
    const TYPES: [&str; 2] = ["atomic", "granular"];
    if !TYPES.contains(&map_type.as_str()) {
        errors.push(field::not_supported(&path.child("x-kubernetes-map-type"), map_type, &TYPES));
    }
}

/// Whether the node has a type that its other keywords need. Says so where not.
fn wants_type(path: &Path<'_>, s: &Schema, kind: &str, reason: &str, errors: &mut ErrorList) -> bool {
    if s.kind != kind {
        let path = path.child("type");
        errors.push(match s.kind.as_str() {
            "" => field::required(&path, reason),
            other => field::invalid(&path, other, reason),
        });
    }
    s.kind == kind
}

fn list_type(path: &Path<'_>, s: &Schema, options: &Options, errors: &mut ErrorList) {
    let list_type = s.list_type.as_deref();
    if let Some(list_type) = list_type {
        let reason = "must be array if x-kubernetes-list-type is specified";
        if wants_type(path, s, "array", reason, errors) && list_type == "set" && options.require_atomic_sets {
            set_items(path, s, errors);
        }
        const TYPES: [&str; 3] = ["atomic", "set", "map"];
        if !TYPES.contains(&list_type) {
            errors.push(field::not_supported(&path.child("x-kubernetes-list-type"), list_type, &TYPES));
        }
    }
    if !s.list_map_keys.is_empty() && list_type != Some("map") {
        let (path, reason) =
            (path.child("x-kubernetes-list-type"), "must be map if x-kubernetes-list-map-keys is non-empty");
        errors.push(match list_type {
            None => field::required(&path, reason),
            Some(other) => field::invalid(&path, other, reason),
        });
    }
    if list_type == Some("map") {
        map_items(path, s, errors);
    }
    if options.require_sound_keys {
        sound_items(path, s, errors);
    }
}

/// A set compares whole items, so they must be units.
fn set_items(path: &Path<'_>, s: &Schema, errors: &mut ErrorList) {
    let Some(item) = s.item() else { return };
    let reason = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let shown = |text: &Option<String>| BadValue::Json(text.as_deref().map_or(Value::Null, Value::from));
    let items = path.child("items");
    match item.kind.as_str() {
        "array" if item.list_type.as_deref().is_some_and(|t| t != "atomic") => {
            errors.push(field::invalid(
                &items.child("x-kubernetes-list-type"),
                shown(&item.list_type),
                reason,
            ));
        }
        "object" if item.map_type.as_deref() != Some("atomic") => {
            errors.push(field::invalid(
                &items.child("x-kubernetes-map-type"),
                shown(&item.list_type),
                reason,
            ));
        }
        _ => {}
    }
}

fn map_items(path: &Path<'_>, s: &Schema, errors: &mut ErrorList) {
    let (keys, items) = (path.child("x-kubernetes-list-map-keys"), path.child("items"));
    if s.list_map_keys.is_empty() {
        errors.push(field::required(&keys, "must not be empty if x-kubernetes-list-type is map"));
    }
    let item = match &s.items {
        None => {
            errors.push(field::required(&items, "must have a schema if x-kubernetes-list-type is map"));
            return;
        }
        Some(Items::Each(_)) => {
            let reason = "must only have a single schema if x-kubernetes-list-type is map";
            errors.push(field::invalid(&items, BadValue::Omitted, reason));
            return;
        }
        Some(Items::One(item)) => item,
    };
    if item.kind != "object" {
        let reason = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(field::invalid(&items.child("type"), &item.kind, reason));
        return;
    }
    let all_keys = || BadValue::Json(s.list_map_keys.clone().into());
    for (at, key) in s.list_map_keys.iter().enumerate() {
        match item.properties.get(key) {
            Some(property) if property.kind == "array" || property.kind == "object" => {
                let reason = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                let path = items.child("properties");
                errors.push(field::invalid(&path.key(key).child("type"), &item.kind, reason));
            }
            Some(_) => {}
            None => {
                errors.push(field::invalid(&keys, all_keys(), "entries must all be names of item properties"))
            }
        }
        if s.list_map_keys[..at].contains(key) {
            errors.push(field::invalid(&keys, all_keys(), "must not contain duplicate entries"));
        }
    }
}

/// Items of sets and maps must have an identity: no nulls, and keys that are always there.
fn sound_items(path: &Path<'_>, s: &Schema, errors: &mut ErrorList) {
    let (Some(item), Some(list_type @ ("set" | "map"))) = (s.item(), s.list_type.as_deref()) else { return };
    let items = path.child("items");
    if item.nullable {
        let reason = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(field::forbidden(&items.child("nullable"), reason));
    }
    if list_type != "map" {
        return;
    }
    let properties = items.child("properties");
    for key in &s.list_map_keys {
        let Some(property) = item.properties.get(key) else { continue };
        let path = properties.key(key);
        if !item.required.contains(key) && property.default.is_none() {
            let reason = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(field::required(&path.child("default"), reason));
        }
        if property.nullable {
            let reason = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(field::forbidden(&path.child("nullable"), reason));
        }
    }
}

/// What can be said of a validation rule without compiling it.
fn validation_rule(path: &Path<'_>, s: &Schema, rule: &Rule, errors: &mut ErrorList) {
    const REASONS: [&str; 4] =
        ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    let breaks = |text: &str| text.contains(['\n', '\r']);
    let (text, message) = (rule.rule.trim(), rule.message.trim());
    if text.is_empty() {
        errors.push(field::required(&path.child("rule"), "rule is not specified"));
    } else if !rule.message.is_empty() && message.is_empty() {
        errors.push(field::invalid(&path.child("message"), &rule.message, "must be non-empty if specified"));
    } else if breaks(message) {
        errors.push(field::invalid(&path.child("message"), &rule.message, "must not contain line breaks"));
    } else if breaks(text) && message.is_empty() {
        errors.push(field::required(
            &path.child("message"),
            "message must be specified if rule contains line breaks",
        ));
    }
    if !rule.message_expression.is_empty() && rule.message_expression.trim().is_empty() {
        let reason = "messageExpression must be non-empty if specified";
        errors.push(field::required(&path.child("messageExpression"), reason));
    }
    if let Some(reason) = rule.reason.as_ref().filter(|r| !REASONS.contains(&r.as_str())) {
        errors.push(field::not_supported(&path.child("reason"), BadValue::named(reason), &REASONS));
    }
    let (path, field_path) = (path.child("fieldPath"), &rule.field_path);
    if !field_path.is_empty() && field_path.trim().is_empty() {
        errors.push(field::invalid(&path, field_path, "must be non-empty if specified"));
    }
    if breaks(field_path) {
        errors.push(field::invalid(&path, field_path, "must not contain line breaks"));
    }
    if !field_path.is_empty() && rules::unsupported(s).is_none() && !names_a_field(s, field_path) {
        errors.push(field::invalid(&path, field_path, "must be a valid path"));
    }
}

/// Whether `.name` and `['name']` steps lead from the schema to a field.
fn names_a_field(mut s: &Schema, mut path: &str) -> bool {
    while !path.is_empty() {
        let name;
        if let Some(rest) = path.strip_prefix("['") {
            let Some(end) = rest.find("']") else { return false };
            (name, path) = (&rest[..end], &rest[end + 2..]);
        } else if let Some(rest) = path.strip_prefix('.') {
            let end = rest.find(['.', '[', ']']).unwrap_or(rest.len());
            if end == 0 {
                return false;
            }
            (name, path) = (&rest[..end], &rest[end..]);
        } else {
            return false;
        }
        let next = if s.properties.is_empty() { s.additional() } else { s.properties.get(name) };
        match next {
            Some(next) => s = next,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(schema: Value) -> Schema {
        Schema::read(&schema).expect("the schema is readable")
    }

    #[test]
    fn the_root_keeps_to_what_survives_a_status() {
        let check = |schema: Value, want: Option<&str>| {
            let errors = validate_root_with_status(&Path::new("schema"), &read(schema.clone()));
            let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
            match want {
                None => assert_eq!(found, [""; 0], "{schema}"),
                Some(want) => assert!(found.len() == 1 && found[0].contains(want), "{schema}: {found:?}"),
            }
        };
        check(json!({"type": "object", "properties": {"a": {"allOf": []}}, "required": ["a"]}), None);
        check(
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "description": "d"}),
            None,
        );
        check(
            json!({"type": "string"}),
            Some("schema.type: Invalid value: \"string\": only \"object\" is allowed"),
        );
        for keyword in ["allOf", "anyOf", "oneOf"] {
            check(
                json!({"type": "object", keyword: [{}]}),
                Some("fields are allowed at the root of the schema"),
            );
        }
        check(
            json!({"type": "object", "nullable": true}),
            Some("XPreserveUnknownFields XValidations] fields"),
        );
        check(
            json!({"type": "object", "x-kubernetes-map-type": "atomic"}),
            Some("fields are allowed at the root"),
        );
    }

    #[test]
    fn an_update_is_excused_from_what_was_broken_before() {
        let check = |schema: Value, broken: fn(&Options) -> bool| {
            assert!(!broken(&Options::excusing(&read(schema.clone()))), "{schema}");
            assert!(broken(&Options::excusing(&read(json!({"type": "object"})))));
        };
        let with = |a: Value| json!({"type": "object", "properties": {"a": a}});
        check(with(json!({})), |o| o.require_structural);
        check(with(json!({"$ref": "#/x"})), |o| o.require_structural);
        check(with(json!({"type": "null"})), |o| o.require_valid_types);
        check(with(json!({"type": "object", "default": {"z": 1}})), |o| o.require_pruned_defaults);
        let set_of_objects =
            json!({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "set"});
        check(with(set_of_objects), |o| o.require_atomic_sets);
        let loose_keys = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}}}});
        check(with(loose_keys), |o| o.require_sound_keys);
    }
}
