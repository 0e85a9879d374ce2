//! PersistentVolume: a piece of storage that outlives pods.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::{self, BadValue, ErrorList};
use grammar::names;
use serde_json::{Value, json};

use crate::check;
use crate::claim::{self, ACCESS_MODES, VOLUME_MODES};
use crate::column::{self, AGE, NAME, described, documented};
use crate::core::persistent_volume_source as source;
use crate::difference::difference;
use crate::kind::{Kind, Selectable, Subresource, names as texts};
use crate::meta;
use crate::moment;
use crate::node::Node;
use crate::pod::{defaults, placement, warnings};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut, same};

const RECLAIM: &[&str] = &["Delete", "Recycle", "Retain"];
const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";
const OLD_ANNOTATIONS: &[(&str, &str)] = &[
    (claim::CLASS_ANNOTATION, "deprecated since v1.8; use \"storageClassName\" attribute instead"),
    (MOUNT_OPTIONS, "deprecated since v1.31; use \"mountOptions\" attribute instead"),
];

/// Storage whose mount options may stand in an annotation.
const WITH_MOUNT_OPTIONS: &[&str] = &[
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "nfs",
    "rbd",
    "quobyte",
    "iscsi",
    "cinder",
    "cephfs",
    "azureFile",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
];

/// Storage that no longer works, and since when.
const GONE: &[(&str, &str, &str)] = &[
    ("cephfs", "cephfs", "v1.28, non-functional in v1.31+"),
    ("photonPersistentDisk", "photonPersistentDisk", "v1.11, non-functional in v1.16+"),
    ("scaleIO", "scaleIO", "v1.16, non-functional in v1.22+"),
    ("storageos", "storageOS", "v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "v1.25, non-functional in v1.26+"),
    ("rbd", "rbd", "v1.28, non-functional in v1.31+"),
];

pub(crate) fn kind() -> Kind {
    const SPEC: &str = "io.k8s.api.core.v1.PersistentVolumeSpec";
    const STATUS: &str = "io.k8s.api.core.v1.PersistentVolumeStatus";
    Kind {
        short_names: texts(&["pv"]),
        resets: vec![&["status"]],
        subresources: vec![Subresource::status(&[&["spec"]], Status)],
        selectable: vec![Selectable::at("name", &["metadata.name"])],
        columns: vec![
            NAME,
            documented("Capacity", SPEC, "capacity"),
            documented("Access Modes", SPEC, "accessModes"),
            documented("Reclaim Policy", SPEC, "persistentVolumeReclaimPolicy"),
            documented("Status", STATUS, "phase"),
            documented("Claim", SPEC, "claimRef"),
            described("StorageClass", "StorageClass of the pv"),
            described("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
            documented("Reason", STATUS, "reason"),
            AGE,
            documented("VolumeMode", SPEC, "volumeMode").wide(),
        ],
        strategy: Arc::new(PersistentVolume),
        ..Kind::cluster("", "v1", "PersistentVolume", "persistentvolumes")
    }
}

struct PersistentVolume;

impl Strategy for PersistentVolume {
    fn default(&self, _version: &str, obj: &mut Value) {
        obj.at_mut("status").set_default("phase", "Pending");
        let spec = obj.at_mut("spec");
        spec.set_default("persistentVolumeReclaimPolicy", "Retain");
        spec.set_default("volumeMode", "Filesystem");
        defaults::volume_source(spec);
        if spec.has("capacity") {
            defaults::resource_list(spec.at_mut("capacity"));
        }
    }

    fn prepare_create(&self, obj: &mut Value, cx: &Context<'_>) {
        obj.set("status", json!({"phase": "Pending", "lastPhaseTransitionTime": moment::text(cx.now)}));
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate_volume(obj, false, errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let old_spec = old.at("spec");
        let terms = old_spec.path(&["nodeAffinity", "required"]);
        validate_volume(new, has_invalid_value(terms), errs);
        let spec = new.child("spec");
        if !same_source(&spec, old_spec) {
            errs.push(field::forbidden(
                &spec.path.child("persistentvolumesource"),
                format!(
                    "spec.persistentvolumesource is immutable after creation\n{}",
                    difference(&source_of(old_spec), &source_of(&spec))
                ),
            ));
        }
        let mode = Node::new(spec.at("volumeMode"), new.path.child("volumeMode"));
        mode.immutable(old_spec.at("volumeMode"), errs);
        let affinity = Node::new(spec.at("nodeAffinity"), new.path.child("nodeAffinity"));
        if old_spec.has("nodeAffinity")
            && renewed(old_spec.at("nodeAffinity"), &affinity) != *affinity.value()
        {
            errs.push(affinity.invalid("field is immutable, except for updating from beta label to GA"));
        }
        let class = spec.child("volumeAttributesClassName");
        if old_spec.has("volumeAttributesClassName") && !class.is_set() {
            errs.push(class.forbidden("update from non-nil value to nil is forbidden"));
        }
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        let root = Node::root(new);
        let (metadata, spec) = (root.child("metadata"), root.child("spec"));
        let annotations = metadata.child("annotations");
        let mut said: Vec<String> = OLD_ANNOTATIONS
            .iter()
            .filter(|(key, _)| annotations.has(key))
            .map(|(key, message)| format!("{}: {message}", annotations.path.key(key)))
            .collect();
        if spec.text("persistentVolumeReclaimPolicy") == "Recycle" {
            said.push(
                "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the \
                 recommended approach is to use dynamic provisioning."
                    .to_owned(),
            );
        }
        let affinity = spec.child("nodeAffinity");
        let required = affinity.child("required");
        for term in required.child("nodeSelectorTerms").items() {
            for expression in term.child("matchExpressions").items() {
                let key = expression.child("key");
                if let Some(message) = warnings::old_label(key.str()) {
                    said.push(format!("{}: {} is {message}", key.path, key.str()));
                }
            }
        }
        let gone = GONE.iter().filter(|(field, ..)| spec.has(field));
        said.extend(gone.map(|(_, shown, since)| format!("spec.{shown}: deprecated in {since}")));
        said
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let (spec, status) = (obj.at("spec"), obj.at("status"));
        let claim = spec.at("claimRef");
        let claim_name = match claim.is_object() {
            true => format!("{}/{}", claim.text("namespace"), claim.text("name")),
            false => String::new(),
        };
        vec![
            column::name(obj),
            check::quantity(spec.at("capacity").at("storage")).canonical().into(),
            claim::modes_cell(spec).into(),
            spec.text("persistentVolumeReclaimPolicy").into(),
            claim::phase_cell(obj).into(),
            claim_name.into(),
            claim::class_cell(obj).into(),
            claim::or_unset(spec, "volumeAttributesClassName").into(),
            status.text("reason").into(),
            column::age(obj, now),
            claim::or_unset(spec, "volumeMode").into(),
        ]
    }
}

struct Status;

impl Strategy for Status {
    /// The time of the last change of phase is the server's, unless the writer knows better.
    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Context<'_>) {
        const TIME: &str = "lastPhaseTransitionTime";
        let (before, after) = (old.at("status"), new.at("status"));
        let moved = before.text("phase") != after.text("phase");
        let silent = !after.has(TIME) || (moved && after.at(TIME) == before.at(TIME));
        if !silent {
            return;
        }
        match moved {
            true => new.at_mut("status").set(TIME, moment::text(cx.now)),
            false if before.has(TIME) => new.at_mut("status").set(TIME, before.at(TIME).clone()),
            false => {}
        }
    }

    fn validate_update(&self, _new: &Node<'_>, _old: &Value, _cx: &Context<'_>, _errs: &mut ErrorList) {}
}

/// The fields of a spec that say where the bytes lie.
fn source_of(spec: &Value) -> Value {
    let fields = source::fields().filter(|field| spec.has(field));
    Value::Object(fields.map(|field| (field.to_owned(), spec.at(field).clone())).collect())
}

/// Whether the storage is the same; the secret for its growth may be added.
fn same_source(new: &Value, old: &Value) -> bool {
    const SECRET: &str = "controllerExpandSecretRef";
    let (mut new, old) = (source_of(new), source_of(old));
    if new.has("csi") && old.has("csi") && !old.at("csi").has(SECRET) {
        new.at_mut("csi").drop_key(SECRET);
    }
    same(&new, &old)
}

fn has_invalid_value(required: &Value) -> bool {
    let terms = required.list("nodeSelectorTerms").iter();
    let expressions = terms.flat_map(|term| term.list("matchExpressions"));
    expressions
        .flat_map(|expression| expression.texts("values"))
        .any(|value| !names::label_value(value).is_empty())
}

/// `old` with the names of node labels from before they were final replaced where `new` has replaced them.
fn renewed(old: &Value, new: &Value) -> Value {
    match (old, new) {
        (Value::Object(old), Value::Object(_)) => {
            // A name that is taken away is reported as missing, and not as changed.
            let kept = old.iter().filter(|(key, _)| *key != "key" || new.has("key"));
            Value::Object(kept.map(|(key, value)| (key.clone(), renewed(value, new.at(key)))).collect())
        }
        (Value::Array(olds), Value::Array(news)) => {
            let next = |index: usize| news.get(index).unwrap_or(&Value::Null);
            olds.iter().enumerate().map(|(index, old)| renewed(old, next(index))).collect()
        }
        (Value::String(old), Value::String(new)) if final_name(old) == Some(new) => new.as_str().into(),
        _ => old.clone(),
    }
}

fn final_name(label: &str) -> Option<&'static str> {
    Some(match label {
        "beta.kubernetes.io/os" => "kubernetes.io/os",
        "beta.kubernetes.io/arch" => "kubernetes.io/arch",
        "failure-domain.beta.kubernetes.io/region" => "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone" => "topology.kubernetes.io/zone",
        "beta.kubernetes.io/instance-type" => "node.kubernetes.io/instance-type",
        _ => return None,
    })
}

fn validate_volume(obj: &Node<'_>, lenient: bool, errs: &mut ErrorList) {
    let spec = obj.child("spec");
    access_modes(&spec.child("accessModes"), errs);
    capacity(&spec.child("capacity"), errs);
    let policy = spec.child("persistentVolumeReclaimPolicy");
    if !policy.str().is_empty() {
        policy.one_of(RECLAIM, errs);
    }
    let affinity = spec.child("nodeAffinity");
    let required = affinity.child("required");
    if affinity.is_set() {
        match required.is_set() {
            true => placement::node_selector(&required, lenient, errs),
            false => errs.push(required.required("must specify required node constraints")),
        }
    } else if spec.has("local") && !other_source_before_local(&spec) {
        errs.push(affinity.required("Local volume requires node affinity"));
    }
    source::validate(&spec, errs);
    source::iscsi_name(&spec, obj.at("metadata").text("name"), errs);
    let path = spec.at("hostPath").text("path");
    if !path.is_empty() && path.split('/').all(|step| matches!(step, "" | ".")) && policy.str() == "Recycle" {
        errs.push(policy.forbidden("may not be 'recycle' for a hostPath mount of '/'"));
    }
    let class = spec.child("storageClassName");
    if !class.str().is_empty() {
        class.complaints(meta::SUBDOMAIN(class.str(), false), errs);
    }
    let mode = spec.child("volumeMode");
    if mode.is_set() {
        mode.one_of(VOLUME_MODES, errs);
    }
    attributes_class(&spec, errs);
    let annotations = obj.at("metadata").at("annotations");
    if annotations.has(MOUNT_OPTIONS) && !WITH_MOUNT_OPTIONS.iter().any(|field| spec.has(field)) {
        let metadata = obj.path.child("metadata");
        let annotations = metadata.child("annotations");
        errs.push(field::forbidden(
            &annotations.child(MOUNT_OPTIONS),
            "may not specify mount options for this volume type",
        ));
    }
}

/// Whether `local` is not the storage that is looked at.
fn other_source_before_local(spec: &Value) -> bool {
    source::fields().find(|field| spec.has(field)).is_some_and(|first| first != "local")
}

fn access_modes(modes: &Node<'_>, errs: &mut ErrorList) {
    if modes.is_empty() {
        errs.push(modes.required(""));
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

fn capacity(capacity: &Node<'_>, errs: &mut ErrorList) {
    if capacity.is_empty() {
        errs.push(capacity.required(""));
    }
    if !capacity.has("storage") || capacity.len() > 1 {
        let shown = match capacity.value() {
            Value::Null => BadValue::Verbatim("null".to_owned()),
            value => BadValue::Verbatim(value.to_string()),
        };
        errs.push(field::not_supported(&capacity.path, shown, &["storage"]));
    }
    for (_, amount) in capacity.pairs() {
        let sign = check::quantity(amount.value()).sign();
        if sign < 0 {
            errs.push(
                amount
                    .invalid_as(check::quantity(amount.value()).value(), "must be a valid resource quantity"),
            );
        }
        if sign <= 0 {
            errs.push(amount.invalid("must be greater than zero"));
        }
    }
}

fn attributes_class(spec: &Node<'_>, errs: &mut ErrorList) {
    let class = spec.child("volumeAttributesClassName");
    if !class.is_set() {
        return;
    }
    match class.str() {
        "" => errs.push(class.required("an empty string is disallowed")),
        text => class.complaints(meta::SUBDOMAIN(text, false), errs),
    }
    let csi = spec.child("csi");
    if !csi.is_set() {
        errs.push(csi.required("has to be specified when using volumeAttributesClassName"));
    }
}
