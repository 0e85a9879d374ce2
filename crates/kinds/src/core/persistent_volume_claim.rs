//! PersistentVolumeClaim: storage that pods ask for by name, whatever provides it.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::{self, ErrorList};
use grammar::names;
use serde_json::{Value, json};

use crate::check;
use crate::claim::{self, CLASS_ANNOTATION, Leniency};
use crate::column::{self, AGE, NAME, described, documented};
use crate::difference::difference;
use crate::kind::{Kind, Selectable, Subresource, names as texts};
use crate::node::{IMMUTABLE, Node};
use crate::pod::{defaults, resources};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut, same};

const RESIZES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

pub(crate) fn kind() -> Kind {
    const SPEC: &str = "io.k8s.api.core.v1.PersistentVolumeClaimSpec";
    const STATUS: &str = "io.k8s.api.core.v1.PersistentVolumeClaimStatus";
    Kind {
        short_names: texts(&["pvc"]),
        resets: vec![&["status"]],
        subresources: vec![Subresource::status(&[&["spec"]], Status)],
        selectable: vec![Selectable::at("name", &["metadata.name"])],
        columns: vec![
            NAME,
            documented("Status", STATUS, "phase"),
            documented("Volume", SPEC, "volumeName"),
            documented("Capacity", STATUS, "capacity"),
            documented("Access Modes", STATUS, "accessModes"),
            described("StorageClass", "StorageClass of the pvc"),
            described("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
            AGE,
            documented("VolumeMode", SPEC, "volumeMode").wide(),
        ],
        strategy: Arc::new(PersistentVolumeClaim),
        ..Kind::namespaced("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
    }
}

struct PersistentVolumeClaim;

impl Strategy for PersistentVolumeClaim {
    fn default(&self, _version: &str, obj: &mut Value) {
        obj.at_mut("status").set_default("phase", "Pending");
        defaults::claim_spec(obj.at_mut("spec"));
        for list in ["capacity", "allocatedResources"] {
            if obj.at("status").has(list) {
                defaults::resource_list(obj.at_mut("status").at_mut(list));
            }
        }
    }

    fn prepare_create(&self, obj: &mut Value, _cx: &Context<'_>) {
        data_sources(obj.at_mut("spec"), &Value::Null);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        data_sources(new.at_mut("spec"), old.at("spec"));
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        claim::validate_spec(&obj.child("spec"), Leniency::default(), errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let spec = new.child("spec");
        let mut old_spec = old.at("spec").clone();
        mirror_sources(&mut old_spec);
        claim::validate_spec(&spec, Leniency::of(&old_spec), errs);
        class_annotation(new, old, errs);
        let rest = with_changes_undone(new, old, &old_spec);
        let mut before = old_spec.clone();
        if before.text("volumeName").is_empty() {
            before.copy_from(&spec, &["volumeName"]);
        }
        if !same(&rest, &before) {
            errs.push(spec.forbidden(format!(
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
                 bound claims\n{}",
                difference(&before, &rest)
            )));
        }
        size(&spec, old, errs);
        let mode = Node::new(spec.value().at("volumeMode"), new.path.child("volumeMode"));
        mode.immutable(old_spec.at("volumeMode"), errs);
        attributes_class(&spec, old, errs);
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        let root = Node::root(new);
        let mut warnings = Vec::new();
        if new.path(&["metadata", "annotations"]).has(CLASS_ANNOTATION) {
            warnings.push(format!(
                "metadata.annotations[{CLASS_ANNOTATION}]: deprecated since v1.8; use \"storageClassName\" attribute \
                 instead"
            ));
        }
        warnings.extend(claim::warnings(&root.child("spec")));
        warnings
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let (spec, status) = (obj.at("spec"), obj.at("status"));
        let volume = spec.text("volumeName");
        let (capacity, modes) = match volume {
            "" => (String::new(), String::new()),
            _ => {
                (check::quantity(status.at("capacity").at("storage")).canonical(), claim::modes_cell(status))
            }
        };
        vec![
            column::name(obj),
            claim::phase_cell(obj).into(),
            volume.into(),
            capacity.into(),
            modes.into(),
            claim::class_cell(obj).into(),
            claim::or_unset(spec, "volumeAttributesClassName").into(),
            column::age(obj, now),
            claim::or_unset(spec, "volumeMode").into(),
        ]
    }
}

struct Status;

impl Strategy for Status {
    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        if !old.at("status").has("healthStatus") && new.at("status").has("healthStatus") {
            new.at_mut("status").drop_key("healthStatus");
        }
    }

    fn validate_update(&self, new: &Node<'_>, _old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        if new.at("spec").at("accessModes").is_nothing() {
            errs.push(field::required(&new.path.child("Spec").child("accessModes"), ""));
        }
        let status = new.child("status");
        for (_, amount) in status.child("capacity").pairs() {
            not_negative(&amount, errs);
        }
        let resizes = status.child("allocatedResourceStatuses");
        for (resource, resize) in resizes.pairs() {
            resource_key(&resizes, resource, errs);
            if !RESIZES.contains(&resize.str()) {
                let mut supported = RESIZES.to_vec();
                supported.sort_unstable();
                errs.push(field::not_supported(&resizes.path, resource, &supported));
            }
        }
        let allocated = status.child("allocatedResources");
        for (resource, amount) in allocated.pairs() {
            if resource_key(&allocated, resource, errs) && not_negative(&amount, errs) {
                resources::quantity(&amount, "storage", errs);
            }
        }
    }
}

fn not_negative(amount: &Node<'_>, errs: &mut ErrorList) -> bool {
    let value = check::quantity(amount.value());
    if value.sign() < 0 {
        errs.push(amount.invalid_as(value.value(), "must be a valid resource quantity"));
    }
    value.sign() >= 0
}

/// `storage`, or a resource of somebody else's domain.
fn resource_key(list: &Node<'_>, resource: &str, errs: &mut ErrorList) -> bool {
    let before = errs.len();
    errs.extend(
        names::qualified_name(resource).into_iter().map(|complaint| list.invalid_as(resource, complaint)),
    );
    if errs.len() == before && resources::is_native(resource) && resource != "storage" {
        errs.push(field::not_supported(&list.path, resource, &["storage"]));
    }
    errs.len() == before
}

/// What fills a volume is told twice, in an old field and a new one; both then say the same. The old one alone
/// takes only claims and snapshots.
fn data_sources(spec: &mut Value, old: &Value) {
    let elsewhere = !spec.at("dataSourceRef").text("namespace").is_empty();
    if elsewhere && !old.has("dataSourceRef") {
        spec.drop_key("dataSourceRef");
    }
    let in_use = old.has("dataSource") || old.has("dataSourceRef");
    if !in_use && spec.has("dataSource") && !spec.has("dataSourceRef") {
        let source = spec.at("dataSource");
        let known = matches!(
            (source.text("kind"), source.text("apiGroup")),
            ("PersistentVolumeClaim", "") | ("VolumeSnapshot", "snapshot.storage.k8s.io")
        );
        if !known {
            spec.drop_key("dataSource");
        }
    }
    mirror_sources(spec);
}

fn mirror_sources(spec: &mut Value) {
    let (from, to) = match (spec.has("dataSource"), spec.has("dataSourceRef")) {
        (true, false) => ("dataSource", "dataSourceRef"),
        (false, true) if spec.at("dataSourceRef").text("namespace").is_empty() => {
            ("dataSourceRef", "dataSource")
        }
        _ => return,
    };
    let source = spec.at(from);
    let mut mirrored = json!({"kind": source.text("kind"), "name": source.text("name")});
    if source.has("apiGroup") {
        mirrored.set("apiGroup", source.text("apiGroup"));
    }
    spec.set(to, mirrored);
}

/// Whether a class moves from the annotation of old to the field, which is no change.
fn moves_class_to_field(new: &Value, old: &Value) -> bool {
    let annotation = |obj: &Value| {
        let annotations = obj.path(&["metadata", "annotations"]);
        annotations.has(CLASS_ANNOTATION).then(|| annotations.text(CLASS_ANNOTATION).to_owned())
    };
    let Some(class) = annotation(old) else { return false };
    let (before, after) = (old.at("spec"), new.at("spec"));
    !before.has("storageClassName")
        && after.has("storageClassName")
        && after.text("storageClassName") == class
        && annotation(new).is_none_or(|kept| kept == class)
}

fn class_annotation(new: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    if moves_class_to_field(new, old) {
        return;
    }
    let metadata = new.child("metadata");
    let class = |obj: &Value| obj.path(&["metadata", "annotations"]).text(CLASS_ANNOTATION).to_owned();
    if class(new) != class(old) {
        let annotations = metadata.path.child("annotations");
        errs.push(field::invalid(&annotations.child(CLASS_ANNOTATION), class(new), IMMUTABLE));
    }
}

/// The new spec with everything put back that may change.
fn with_changes_undone(new: &Value, old: &Value, old_spec: &Value) -> Value {
    let mut rest = new.at("spec").clone();
    let annotation = old.path(&["metadata", "annotations"]);
    let class_given = !old_spec.has("storageClassName") && rest.has("storageClassName");
    let agrees = !annotation.has(CLASS_ANNOTATION)
        || annotation.text(CLASS_ANNOTATION) == rest.text("storageClassName");
    if class_given && (moves_class_to_field(new, old) || agrees) {
        rest.drop_key("storageClassName");
    }
    if new.at("status").text("phase") == "Bound" {
        if rest.at("resources").has("requests") {
            rest.copy_from(old_spec, &["resources", "requests", "storage"]);
        }
        rest.copy_from(old_spec, &["volumeAttributesClassName"]);
    }
    rest
}

/// A claim grows; it shrinks no further than to what it has got.
fn size(spec: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    let requested = |spec: &Value| check::quantity(spec.path(&["resources", "requests", "storage"]));
    let (wanted, before) = (requested(spec), requested(old.at("spec")));
    let got = check::quantity(old.path(&["status", "capacity", "storage"]));
    if wanted < before && wanted <= got {
        let resources = spec.path.child("resources");
        let requests = resources.child("requests");
        errs.push(field::forbidden(&requests.child("storage"), "field can not be less than status.capacity"));
    }
}

fn attributes_class(spec: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    let class = spec.child("volumeAttributesClassName");
    let changed = !same(class.value(), old.at("spec").at("volumeAttributesClassName"));
    if !changed || !old.at("status").has("currentVolumeAttributesClassName") {
        return;
    }
    let what = match class.is_set() {
        false => "nil",
        true if class.str().is_empty() => "empty string",
        true => return,
    };
    errs.push(class.forbidden(format!(
        "update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil"
    )));
}
