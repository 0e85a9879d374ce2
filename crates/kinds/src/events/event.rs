//! Event as `events.k8s.io` spells it; stored as the core group's.

use serde_json::Value;

use crate::core::event;
use crate::kind::{Conversion, Kind, Selectable, Version};
use crate::tree::{Tree, TreeMut};

/// A field here, and what the core group calls it.
const RENAMED: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

pub(crate) fn kind() -> Kind {
    let convert = Conversion { to_stored: to_core, from_stored: from_core };
    Kind {
        group: "events.k8s.io".into(),
        versions: vec![Version { convert: Some(convert), ..Version::of("v1") }],
        stored_as: Some(("".into(), "v1".into())),
        selectable: [
            ("regarding.kind", "involvedObject.kind"),
            ("regarding.namespace", "involvedObject.namespace"),
            ("regarding.name", "involvedObject.name"),
            ("regarding.uid", "involvedObject.uid"),
            ("regarding.apiVersion", "involvedObject.apiVersion"),
            ("regarding.resourceVersion", "involvedObject.resourceVersion"),
            ("regarding.fieldPath", "involvedObject.fieldPath"),
            ("reason", "reason"),
            ("reportingController", "reportingComponent"),
            ("type", "type"),
        ]
        .into_iter()
        .map(|(label, path)| Selectable::at(label, &[path]))
        .collect(),
        ..event::kind()
    }
}

fn to_core(obj: &mut Value) {
    RENAMED.iter().for_each(|(here, core)| rename(obj, here, core));
    obj.set("apiVersion", "v1");
}

fn from_core(obj: &mut Value) {
    RENAMED.iter().for_each(|(here, core)| rename(obj, core, here));
    obj.set("apiVersion", "events.k8s.io/v1");
}

fn rename(obj: &mut Value, from: &str, to: &str) {
    if obj.has(from) {
        let value = obj.at_mut(from).take();
        obj.drop_key(from);
        obj.set(to, value);
    }
}
