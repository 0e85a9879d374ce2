//! What a definition says of its kind.
//!
//! Upstream keeps what all versions share once, above them, and its errors name it there: the schema of a definition
//! whose versions agree is `spec.validation`. The paths below follow.

use std::collections::BTreeSet;

use grammar::field::{BadValue, ErrorList, Path};
use grammar::{go, names};
use schema::structural::{self, Options, Schema, is_recognised};
use serde_json::Value;

use crate::apiextensions::{conversion, definition_names, selectable};
use crate::check;
use crate::node::Node;
use crate::tree::{Tree, same};

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
const MAX_WARNING_BYTES: usize = 256;

/// `spec`, in itself and next to an older one.
pub(super) fn validate(obj: &Node<'_>, old: Option<&Value>, errs: &mut ErrorList) {
    let spec = obj.child("spec");
    group(&spec.child("group"), errs);
    check::required_choice(&spec.child("scope"), &["Cluster", "Namespaced"], errs);
    let versions = spec.child("versions");
    let shared = Shared::of(versions.value());
    schemas_are_there(&spec, &shared, old, errs);
    let preserves = spec.flag("preserveUnknownFields");
    if preserves && spec.list("versions").iter().any(|version| has_default(schema_of(version))) {
        errs.push(
            spec.child("preserveUnknownFields")
                .invalid("must be false in order to use defaults in the schema"),
        );
    }
    version_list(&versions, errs);
    let options = old.map_or_else(Options::default, |old| options(old.at("spec")));
    for version in versions.items() {
        deprecation(&version, errs);
        let before = old.map_or(&Value::Null, |old| named(old, version.text("name")));
        version_parts(&version, &version.path, &shared, false, before, &options, errs);
    }
    if let Some(first) = versions.items().next() {
        // What the versions share is checked once, above them.
        let before = old.map_or(&Value::Null, |old| named(old, first.text("name")));
        version_parts(&first, &spec.path, &shared, true, before, &options, errs);
        let version = Node::new(first.value().at("name"), spec.path.child("version"));
        definition_names::required_label(&version, errs);
    }
    let given = spec.child("names");
    check::require(&given, &["plural", "singular", "kind", "listKind"], errs);
    definition_names::validate(&given, errs);
    let conversion = spec.child("conversion");
    if preserves && conversion.is_set() && conversion.text("strategy") != "None" {
        errs.push(
            conversion.child("strategy").invalid_text("must be None if spec.preserveUnknownFields is true"),
        );
    }
    conversion::validate(&conversion, old, errs);
}

/// What a writer should know: formats that mean nothing here, and sets that apply cannot merge.
pub(super) fn warnings(definition: &Value) -> Vec<String> {
    let versions = definition.at("spec").at("versions");
    let shared = Shared::of(versions);
    let count = if shared.schema { 1 } else { usize::MAX };
    let mut formats = Vec::new();
    let mut sets = BTreeSet::new();
    for version in versions.as_array().into_iter().flatten().take(count) {
        visit(schema_of(version), &mut |schema| {
            let format = schema.text("format");
            if !format.is_empty() && !is_recognised(schema.text("type"), format) {
                formats.push(format!("unrecognized format {}", go::quote(format)));
            }
            let item = schema.at("items").text("type");
            if schema.text("x-kubernetes-list-type") == "set" && matches!(item, "object" | "array") {
                sets.insert(format!(
                    "x-kubernetes-list-type: set for items of type \"{item}\" is not supported by server-side \
                     apply or CEL validation rules"
                ));
            }
        });
    }
    formats.into_iter().chain(sets).collect()
}

/// Which parts all versions have in common.
struct Shared {
    schema: bool,
    subresources: bool,
    columns: bool,
    selectable: bool,
}

impl Shared {
    fn of(versions: &Value) -> Shared {
        let versions = versions.as_array().map(Vec::as_slice).unwrap_or_default();
        let agree = |key: &str| versions.windows(2).all(|pair| same(pair[0].at(key), pair[1].at(key)));
        Shared {
            schema: agree("schema"),
            subresources: agree("subresources"),
            columns: agree("additionalPrinterColumns"),
            selectable: agree("selectableFields"),
        }
    }
}

fn schema_of(version: &Value) -> &Value {
    version.path(&["schema", "openAPIV3Schema"])
}

fn named<'a>(definition: &'a Value, name: &str) -> &'a Value {
    let versions = definition.at("spec").list("versions");
    versions.iter().find(|version| version.text("name") == name).unwrap_or(&Value::Null)
}

fn group(group: &Node<'_>, errs: &mut ErrorList) {
    let complaints = names::dns1123_subdomain(group.str());
    if group.str().is_empty() {
        errs.push(group.required(""));
    } else if !complaints.is_empty() {
        errs.push(group.invalid(complaints.join(",")));
    } else if !group.str().contains('.') {
        errs.push(group.invalid("should be a domain with at least one dot"));
    }
}

/// Every version has a schema, unless the definition is older than that rule.
fn schemas_are_there(spec: &Node<'_>, shared: &Shared, old: Option<&Value>, errs: &mut ErrorList) {
    let versions = spec.child("versions");
    let without = |version: &Node<'_>| schema_of(version).is_null();
    if shared.schema && versions.items().next().is_some_and(|first| !without(&first)) {
        return;
    }
    let strict = old.is_none_or(|old| {
        old.at("spec").list("versions").iter().all(|version| !schema_of(version).is_null())
    });
    for version in versions.items().filter(without) {
        let reason = match (strict, spec.flag("preserveUnknownFields"), version.flag("served")) {
            (true, _, _) => "",
            (false, false, true) => "because otherwise all fields are pruned",
            _ => continue,
        };
        errs.push(version.child("schema").child("openAPIV3Schema").required(reason));
    }
}

fn version_list(versions: &Node<'_>, errs: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    let mut distinct = true;
    let mut stored = 0;
    for version in versions.items() {
        stored += usize::from(version.flag("storage"));
        distinct &= seen.insert(version.value().text("name"));
        definition_names::required_label(&version.child("name"), errs);
    }
    if !distinct {
        errs.push(versions.invalid("must contain unique version names"));
    }
    if stored != 1 {
        errs.push(versions.invalid("must have exactly one version marked as storage version"));
    }
}

fn deprecation(version: &Node<'_>, errs: &mut ErrorList) {
    let warning = version.child("deprecationWarning");
    if !warning.is_set() {
        return;
    }
    let mut refuse = |reason: String| errs.push(warning.invalid_as(BadValue::named(warning.str()), reason));
    if !version.flag("deprecated") {
        refuse("can only be set for deprecated versions".to_owned());
        return;
    }
    if warning.str().len() > MAX_WARNING_BYTES {
        refuse(format!("must be <= {MAX_WARNING_BYTES} characters long"));
    }
    if warning.str().is_empty() {
        refuse("must not be an empty string".to_owned());
    }
    if let Some((index, _)) = warning.str().char_indices().find(|(_, c)| !go::is_print(*c)) {
        refuse(format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {index}"
        ));
    }
}

/// The parts of a version below `place`: the version itself, or the spec for what is shared.
fn version_parts(
    version: &Node<'_>,
    place: &Path<'_>,
    shared: &Shared,
    above: bool,
    before: &Value,
    options: &Options,
    errs: &mut ErrorList,
) {
    let value = version.value();
    let schema = schema_of(value);
    let validation = place.child(if above { "validation" } else { "schema" });
    let path = validation.child("openAPIV3Schema");
    let parsed = match schema {
        Value::Null => None,
        schema => match Schema::read(schema) {
            Ok(schema) => Some(schema),
            Err(reason) => {
                if shared.schema == above {
                    errs.push(grammar::field::invalid(&path, "", reason));
                }
                None
            }
        },
    };
    if shared.schema == above
        && let Some(parsed) = &parsed
    {
        if value.at("subresources").has("status") {
            for mut err in structural::validate_root_with_status(&path, parsed) {
                if err.value == BadValue::Omitted {
                    err.value = BadValue::Json(schema.clone());
                }
                errs.push(err);
            }
        }
        errs.extend(structural::validate(&path, parsed, options));
    }
    if shared.subresources == above {
        let subresources = Node::new(value.at("subresources"), place.child("subresources"));
        scale(&subresources, errs);
    }
    if shared.columns == above {
        let columns =
            Node::new(value.at("additionalPrinterColumns"), place.child("additionalPrinterColumns"));
        columns.items().for_each(|column| self::column(&column, errs));
    }
    let fields = Node::new(value.at("selectableFields"), place.child("selectableFields"));
    if shared.selectable == above && !fields.is_empty() {
        // The shared fields of versions with different schemas have none above them to be checked against.
        match &parsed {
            Some(parsed) if !above || shared.schema => {
                selectable::validate(&fields, parsed, before.at("selectableFields"), errs);
            }
            _ if above => {
                errs.push(fields.invalid_as("", "may only be set when validations.schema is included"))
            }
            _ => errs.push(
                fields
                    .invalid_as("", "may only be set when `version.schema.openAPIV3Schema` is not included"),
            ),
        }
    }
}

fn scale(subresources: &Node<'_>, errs: &mut ErrorList) {
    let scale = subresources.value().at("scale");
    if scale.is_null() {
        return;
    }
    for (key, dotted, roots, complaint) in [
        ("specReplicasPath", "scale.specReplicasPath", &[".spec."][..], "should be a json path under .spec"),
        (
            "statusReplicasPath",
            "scale.statusReplicasPath",
            &[".status."],
            "should be a json path under .status",
        ),
        (
            "labelSelectorPath",
            "scale.labelSelectorPath",
            &[".spec.", ".status."],
            "should be a json path under either .spec or .status",
        ),
    ] {
        let path = Node::new(scale.at(key), subresources.path.child(dotted));
        match path.str() {
            "" if key == "labelSelectorPath" => {}
            "" => errs.push(path.required("")),
            text if !text.starts_with('.') => {
                errs.push(path.invalid("must be a simple json path starting with ."));
            }
            text if !roots.iter().any(|root| text.starts_with(root)) => errs.push(path.invalid(complaint)),
            _ => {}
        }
    }
}

fn column(column: &Node<'_>, errs: &mut ErrorList) {
    let (name, ty, format) = (column.child("name"), column.child("type"), column.child("format"));
    if name.str().is_empty() {
        errs.push(name.required(""));
    }
    let types = format!("must be one of {}", COLUMN_TYPES.join(","));
    match ty.str() {
        "" => errs.push(ty.required(types)),
        text if !COLUMN_TYPES.contains(&text) => errs.push(ty.invalid(types)),
        _ => {}
    }
    if !format.str().is_empty() && !COLUMN_FORMATS.contains(&format.str()) {
        errs.push(format.invalid(format!("must be one of {}", COLUMN_FORMATS.join(","))));
    }
    let path = Node::new(column.value().at("jsonPath"), column.path.child("JSONPath"));
    match path.str() {
        "" => errs.push(path.required("")),
        text if !text.starts_with('.') => {
            errs.push(path.invalid("must be a simple json path starting with ."));
        }
        _ => {}
    }
}

/// What an update must keep to: each rule that no version of the old definition broke.
fn options(old: &Value) -> Options {
    let schemas = old.list("versions").iter().filter_map(|version| Schema::read(schema_of(version)).ok());
    let both =
        schemas.map(|schema| Options::excusing(&schema)).fold(Options::default(), |all, one| Options {
            require_structural: all.require_structural && one.require_structural,
            require_valid_types: all.require_valid_types && one.require_valid_types,
            require_pruned_defaults: all.require_pruned_defaults && one.require_pruned_defaults,
            require_atomic_sets: all.require_atomic_sets && one.require_atomic_sets,
            require_sound_keys: all.require_sound_keys && one.require_sound_keys,
        });
    // Without preserving unknown fields a schema must be structural, old or not.
    let require_structural = both.require_structural || !old.flag("preserveUnknownFields");
    Options { require_structural, ..both }
}

fn has_default(schema: &Value) -> bool {
    let mut found = false;
    visit(schema, &mut |schema| found |= schema.has("default"));
    found
}

/// Visits a schema and all schemas within it.
fn visit(schema: &Value, f: &mut dyn FnMut(&Value)) {
    if !schema.is_object() {
        return;
    }
    f(schema);
    for key in ["items", "not", "additionalProperties"] {
        visit(schema.at(key), f);
    }
    for key in ["items", "allOf", "anyOf", "oneOf"] {
        schema.list(key).iter().for_each(|schema| visit(schema, f));
    }
    for key in ["properties", "patternProperties", "definitions"] {
        schema.entries(key).for_each(|(_, schema)| visit(schema, f));
    }
}
