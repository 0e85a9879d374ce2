//! Claims for storage, alone or as the template of an ephemeral volume.

use grammar::field::{self, BadValue, ErrorList};
use serde_json::Value;

use crate::check;
use crate::meta;
use crate::node::Node;
use crate::tree::Tree;

pub const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
/// Where the name of a storage class stood before it had a field.
pub const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
pub const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];

/// What an older server let in, and an update may therefore keep.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leniency {
    pub label_values: bool,
    pub api_groups: bool,
}

impl Leniency {
    /// What `old`, a claim's spec, gives a right to.
    pub fn of(old: &Value) -> Leniency {
        let mut faults = ErrorList::new();
        check::label_selector(&Node::root(old.at("selector")), false, &mut faults);
        Leniency {
            label_values: !faults.is_empty(),
            api_groups: ["dataSource", "dataSourceRef"].iter().any(|key| old.at(key).has("apiGroup")),
        }
    }
}

/// The claim that is made for a volume: labels, annotations and a spec, and no metadata beside them.
pub fn validate_template(template: &Node<'_>, errs: &mut ErrorList) {
    /// In the order of Go's struct.
    const SET_BY_OTHERS: &[(&str, &str)] = &[
        ("name", "name"),
        ("generateName", "generateName"),
        ("namespace", "namespace"),
        ("selfLink", "selfLink"),
        ("uid", "uID"),
        ("resourceVersion", "resourceVersion"),
        ("generation", "generation"),
        ("creationTimestamp", "creationTimestamp"),
        ("deletionTimestamp", "deletionTimestamp"),
        ("deletionGracePeriodSeconds", "deletionGracePeriodSeconds"),
        ("ownerReferences", "ownerReferences"),
        ("finalizers", "finalizers"),
        ("managedFields", "managedFields"),
    ];
    let metadata = template.child("metadata");
    meta::annotations(&metadata.child("annotations"), errs);
    meta::labels(&metadata.child("labels"), errs);
    for (key, shown) in SET_BY_OTHERS {
        if !metadata.at(key).is_zero() {
            errs.push(field::forbidden(&metadata.path.child(shown), "cannot be set"));
        }
    }
    validate_spec(&template.child("spec"), Leniency::default(), errs);
}

/// What storage is asked for.
pub fn validate_spec(spec: &Node<'_>, lenient: Leniency, errs: &mut ErrorList) {
    access_modes(&spec.child("accessModes"), errs);
    let selector = spec.child("selector");
    if selector.is_set() {
        check::label_selector(&selector, lenient.label_values, errs);
    }
    storage_request(spec, errs);
    class_name(&spec.child("storageClassName"), errs);
    let mode = spec.child("volumeMode");
    if mode.is_set() {
        mode.one_of(VOLUME_MODES, errs);
    }
    data_sources(spec, lenient, errs);
    class_name(&spec.child("volumeAttributesClassName"), errs);
}

fn access_modes(modes: &Node<'_>, errs: &mut ErrorList) {
    if modes.is_empty() {
        errs.push(modes.required("at least 1 access mode is required"));
    }
    let (mut single, mut other) = (false, false);
    for mode in modes.items() {
        match mode.str() {
            "ReadWriteOncePod" => single = true,
            text if ACCESS_MODES.contains(&text) => other = true,
            text => errs.push(field::not_supported(&modes.path, text, ACCESS_MODES)),
        }
    }
    if single && other {
        errs.push(modes.forbidden("may not use ReadWriteOncePod with other access modes"));
    }
}

fn storage_request(spec: &Node<'_>, errs: &mut ErrorList) {
    let resources = spec.child("resources");
    let storage = Node::new(resources.at("requests").at("storage"), resources.path.key("storage"));
    if !storage.is_set() {
        errs.push(storage.required(""));
    } else if check::quantity(storage.value()).sign() <= 0 {
        errs.push(storage.invalid("must be greater than zero"));
    }
}

fn class_name(name: &Node<'_>, errs: &mut ErrorList) {
    if !name.str().is_empty() {
        name.complaints(meta::SUBDOMAIN(name.str(), false), errs);
    }
}

fn data_sources(spec: &Node<'_>, lenient: Leniency, errs: &mut ErrorList) {
    let (source, reference) = (spec.child("dataSource"), spec.child("dataSourceRef"));
    for node in [&source, &reference] {
        if node.is_set() {
            data_source(node, lenient, errs);
        }
    }
    let namespace = reference.child("namespace");
    if !namespace.str().is_empty() {
        namespace.complaints(meta::LABEL(namespace.str(), false), errs);
    }
    // Upstream passes the path itself as the offending value; it marshals to an empty object.
    let conflict = |complaint: &str| spec.invalid_as(BadValue::Verbatim("{}".to_owned()), complaint);
    match (source.is_set(), reference.is_set()) {
        (true, true) if !namespace.str().is_empty() => {
            errs.push(conflict("may not be specified when dataSourceRef.namespace is specified"));
        }
        (true, true) => {
            let same = ["kind", "name"].iter().all(|key| source.text(key) == reference.text(key))
                && source.at("apiGroup") == reference.at("apiGroup");
            if !same {
                errs.push(conflict("must match dataSourceRef"));
            }
        }
        _ => {}
    }
}

fn data_source(node: &Node<'_>, lenient: Leniency, errs: &mut ErrorList) {
    check::require(node, &["name", "kind"], errs);
    let group = node.child("apiGroup");
    if group.str().is_empty() {
        if node.text("kind") != "PersistentVolumeClaim" {
            errs.push(node.invalid_as(
                node.text("kind"),
                "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
            ));
        }
    } else if !lenient.api_groups {
        check::dns_subdomain(&group, errs);
    }
}

/// The access modes in `obj`, each as the letters that tables show.
pub fn modes_cell(obj: &Value) -> String {
    const LETTERS: &[(&str, &str)] = &[
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let modes = obj.texts("accessModes");
    let shown: Vec<&str> =
        LETTERS.iter().filter(|(mode, _)| modes.contains(mode)).map(|(_, letters)| *letters).collect();
    shown.join(",")
}

/// The phase of a volume or claim; being deleted is one as well.
pub fn phase_cell(obj: &Value) -> &str {
    match obj.at("metadata").has("deletionTimestamp") {
        true => "Terminating",
        false => obj.at("status").text("phase"),
    }
}

/// The storage class of a volume or claim.
pub fn class_cell(obj: &Value) -> &str {
    let annotations = obj.at("metadata").at("annotations");
    match annotations.has(CLASS_ANNOTATION) {
        true => annotations.text(CLASS_ANNOTATION),
        false => obj.at("spec").text("storageClassName"),
    }
}

/// A text that may not be there.
pub fn or_unset<'a>(obj: &'a Value, key: &str) -> &'a str {
    match obj.has(key) {
        true => obj.text(key),
        false => "<unset>",
    }
}

/// What is odd about what storage is asked for, though it is accepted.
pub fn warnings(spec: &Node<'_>) -> Vec<String> {
    let resources = spec.child("resources");
    let mut warnings = Vec::new();
    for list in ["requests", "limits"] {
        let amounts = resources.child(list);
        let storage = check::quantity(amounts.value().at("storage"));
        if storage.milli_value() % 1000 != 0 {
            let (entry, shown) = (amounts.path.key("storage"), grammar::go::quote(&storage.to_string()));
            warnings.push(format!("{entry}: fractional byte value {shown} is invalid, must be an integer"));
        }
    }
    warnings
}
