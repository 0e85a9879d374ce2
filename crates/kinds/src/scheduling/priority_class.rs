//! PriorityClass: a name for how important a pod is.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::{BadValue, ErrorList};
use serde_json::Value;

use crate::column::{self, AGE, NAME, documented};
use crate::kind::{Kind, names as texts};
use crate::node::{IMMUTABLE, Node};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};

pub(crate) fn kind() -> Kind {
    const CLASS: &str = "io.k8s.api.scheduling.v1.PriorityClass";
    Kind {
        short_names: texts(&["pc"]),
        columns: vec![
            NAME,
            documented("Value", CLASS, "value").integer(),
            documented("Global-Default", CLASS, "globalDefault").boolean(),
            AGE,
            documented("PreemptionPolicy", CLASS, "preemptionPolicy"),
        ],
        strategy: Arc::new(PriorityClass),
        ..Kind::cluster("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses")
    }
}

const SYSTEM_PREFIX: &str = "system-";
/// The classes that every cluster has, and their values.
const SYSTEM: [(&str, i64); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];
/// What lies above is the system's.
const HIGHEST_OF_USERS: i64 = 1_000_000_000;
const POLICIES: [&str; 2] = ["PreemptLowerPriority", "Never"];

struct PriorityClass;

impl Strategy for PriorityClass {
    fn default(&self, _version: &str, obj: &mut Value) {
        if !obj.has("preemptionPolicy") {
            obj.set("preemptionPolicy", "PreemptLowerPriority");
        }
    }

    fn prepare_create(&self, obj: &mut Value, _cx: &Context<'_>) {
        // What a class says never changes, so its generation never moves on.
        obj.at_mut("metadata").set("generation", 1);
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let metadata = obj.child("metadata");
        let (name, value) = (metadata.child("name"), obj.child("value"));
        if name.str().starts_with(SYSTEM_PREFIX) {
            if let Some(reason) = no_system_class(obj) {
                errs.push(name.forbidden(format!(
                    "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: \
                     {reason}"
                )));
            }
        } else if value.number() > HIGHEST_OF_USERS {
            errs.push(value.forbidden(format!(
                "maximum allowed value of a user defined priority is {HIGHEST_OF_USERS}"
            )));
        }
        let policy = obj.child("preemptionPolicy");
        match policy.value() {
            Value::Null => {}
            Value::String(text) if text.is_empty() => errs.push(policy.required("")),
            _ => policy.one_of(&POLICIES, errs),
        }
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let value = new.child("value");
        if value.number() != old.int("value").unwrap_or_default() {
            errs.push(value.forbidden("may not be changed in an update."));
        }
        let policy = new.child("preemptionPolicy");
        if policy.str() != old.text("preemptionPolicy") {
            errs.push(policy.invalid_as(BadValue::named(policy.str()), IMMUTABLE));
        }
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        vec![
            column::name(obj),
            obj.int("value").unwrap_or_default().into(),
            obj.flag("globalDefault").into(),
            column::age(obj, now),
            obj.text("preemptionPolicy").into(),
        ]
    }
}

/// Why a class with a system name is none of the system's.
fn no_system_class(class: &Value) -> Option<String> {
    let name = class.at("metadata").text("name");
    let Some((_, value)) = SYSTEM.iter().find(|(known, _)| *known == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if class.int("value").unwrap_or_default() != *value {
        return Some(format!("value of {name} PriorityClass must be {value}"));
    }
    class.flag("globalDefault").then(|| format!("globalDefault of {name} PriorityClass must be false"))
}
