//! Claims for storage, alone or as the template of an ephemeral volume.

use grammar::field::{self, BadValue, ErrorList};
use grammar::names;
use serde_json::Value;

use crate::check;
use crate::meta;
use crate::node::Node;
use crate::tree::Tree;

pub const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
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
        let invalid = |key: &str| {
            let group = old.at(key).text("apiGroup");
            !group.is_empty() && !names::dns1123_subdomain(group).is_empty()
        };
        Leniency {
            label_values: check::has_invalid_label_value(old.at("selector")),
            api_groups: invalid("dataSource") || invalid("dataSourceRef"),
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

/// What is odd about what storage is asked for, though it is accepted.
pub fn warnings(spec: &Node<'_>) -> Vec<String> {
    let storage = spec.at("resources").at("requests").at("storage");
    let mut warnings = Vec::new();
    if storage.is_string() && check::quantity(storage).milli_value() % 1000 != 0 {
        let resources = spec.child("resources");
        let requests = resources.child("requests");
        let entry = requests.path.key("storage");
        let shown = grammar::go::quote(&check::quantity(storage).to_string());
        warnings.push(format!("{entry}: fractional byte value {shown} is invalid, must be an integer"));
    }
    warnings
}
