//! VolumeAttachment: a volume that is to reach a node.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::{self, ErrorList};
use grammar::names;
use serde_json::Value;

use crate::check;
use crate::claim::ACCESS_MODES;
use crate::column::{self, AGE, NAME, documented};
use crate::kind::{Kind, Subresource};
use crate::meta;
use crate::node::Node;
use crate::storage::GROUP;
use crate::strategy::{Context, Strategy};
use crate::tree::Tree;

pub(crate) fn kind() -> Kind {
    const SPEC: &str = "io.k8s.api.storage.v1.VolumeAttachmentSpec";
    const SOURCE: &str = "io.k8s.api.storage.v1.VolumeAttachmentSource";
    const STATUS: &str = "io.k8s.api.storage.v1.VolumeAttachmentStatus";
    Kind {
        unconditional_update: false,
        resets: vec![&["status"]],
        subresources: vec![Subresource::status(&[&["metadata"], &["spec"]], VolumeAttachment)],
        columns: vec![
            NAME,
            documented("Attacher", SPEC, "attacher").named(),
            documented("PV", SOURCE, "persistentVolumeName"),
            documented("Node", SPEC, "nodeName"),
            documented("Attached", STATUS, "attached").boolean(),
            AGE,
        ],
        strategy: Arc::new(VolumeAttachment),
        ..Kind::cluster(GROUP, "v1", "VolumeAttachment", "volumeattachments")
    }
}

const MAX_ATTACHER_CHARACTERS: usize = 63;
const MAX_METADATA_BYTES: usize = 256 * 1024;
const MAX_MESSAGE_BYTES: usize = 1024;
const ONE_SOURCE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
const INLINE: &str = "may not be specified in the context of inline volumes";

/// The rules of the object and of its status are the same.
struct VolumeAttachment;

impl Strategy for VolumeAttachment {
    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let (spec, status) = (obj.child("spec"), obj.child("status"));
        attacher(&spec.child("attacher"), errs);
        source(&spec.child("source"), errs);
        let node = spec.child("nodeName");
        node.complaints(meta::SUBDOMAIN(node.str(), false), errs);
        let metadata = status.child("attachmentMetadata");
        let bytes: usize = metadata.pairs().map(|(key, value)| key.len() + value.str().len()).sum();
        if bytes > MAX_METADATA_BYTES {
            errs.push(metadata.too_long(MAX_METADATA_BYTES));
        }
        failure(&status.child("attachError"), errs);
        failure(&status.child("detachError"), errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, cx: &Context<'_>, errs: &mut ErrorList) {
        self.validate(new, cx, errs);
        check::frozen(&new.child("spec"), old.at("spec"), errs);
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let spec = obj.at("spec");
        vec![
            column::name(obj),
            spec.text("attacher").into(),
            spec.at("source").text("persistentVolumeName").into(),
            spec.text("nodeName").into(),
            obj.at("status").flag("attached").into(),
            column::age(obj, now),
        ]
    }
}

fn attacher(name: &Node<'_>, errs: &mut ErrorList) {
    if name.str().is_empty() {
        errs.push(name.required(""));
        return;
    }
    if name.str().chars().count() > MAX_ATTACHER_CHARACTERS {
        errs.push(field::too_long_characters(&name.path, Some(MAX_ATTACHER_CHARACTERS)));
    }
    name.complaints(names::long_name_caseless(name.str()), errs);
}

fn source(source: &Node<'_>, errs: &mut ErrorList) {
    let (inline, name) = (source.child("inlineVolumeSpec"), source.child("persistentVolumeName"));
    match (inline.is_set(), name.is_set()) {
        (false, false) => errs.push(source.required(ONE_SOURCE)),
        (true, true) => errs.push(source.forbidden(ONE_SOURCE)),
        (true, false) => inline_volume(&inline, errs),
        (false, true) if name.str().is_empty() => {
            errs.push(name.required("must specify non empty persistentVolumeName"));
        }
        (false, true) => {}
    }
    if name.is_set() {
        name.complaints(meta::SUBDOMAIN(name.str(), false), errs);
    }
}

/// A volume that was moved here from a pod: CSI alone, and nothing that belongs to persistent volumes.
fn inline_volume(volume: &Node<'_>, errs: &mut ErrorList) {
    for key in ["claimRef", "nodeAffinity"] {
        if volume.has(key) {
            errs.push(volume.child(key).forbidden(INLINE));
        }
    }
    if !volume.child("capacity").is_empty() {
        errs.push(volume.child("capacity").forbidden(INLINE));
    }
    let modes = volume.child("accessModes");
    if modes.is_empty() {
        errs.push(modes.required(""));
    }
    let (mut alone, mut shared) = (false, false);
    for mode in modes.items() {
        match mode.str() {
            "ReadWriteOncePod" => alone = true,
            text if ACCESS_MODES.contains(&text) => shared = true,
            _ => errs.push(field::not_supported(&modes.path, mode.str(), ACCESS_MODES)),
        }
    }
    if alone && shared {
        errs.push(modes.forbidden("may not use ReadWriteOncePod with other access modes"));
    }
    let policy = volume.child("persistentVolumeReclaimPolicy");
    if !matches!(policy.str(), "" | "Retain") {
        errs.push(policy.forbidden("may only be Retain in the context of inline volumes"));
    }
    let csi = volume.child("csi");
    if csi.is_set() {
        check::csi_driver_name(&csi.child("driver"), errs);
        check::require(&csi, &["volumeHandle"], errs);
    } else {
        errs.push(csi.required("has to be specified in the context of inline volumes"));
    }
}

fn failure(failure: &Node<'_>, errs: &mut ErrorList) {
    if failure.text("message").len() > MAX_MESSAGE_BYTES {
        errs.push(failure.child("message").too_long(MAX_MESSAGE_BYTES));
    }
    let code = failure.child("errorCode");
    if code.is_set() {
        let complaints = names::in_range(code.number(), 0, i32::MAX.into());
        errs.extend(complaints.into_iter().map(|complaint| code.invalid(complaint)));
    }
}
