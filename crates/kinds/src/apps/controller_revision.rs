//! ControllerRevision: a state that a controller may return to.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use serde_json::Value;

use crate::column::{self, AGE, NAME, described, documented};
use crate::kind::Kind;
use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, same};

pub(crate) fn kind() -> Kind {
    const REVISION: &str = "io.k8s.api.apps.v1.ControllerRevision";
    Kind {
        columns: vec![
            NAME,
            described("Controller", "Controller of the object"),
            documented("Revision", REVISION, "revision"),
            AGE,
        ],
        strategy: Arc::new(ControllerRevision),
        ..Kind::namespaced("apps", "v1", "ControllerRevision", "controllerrevisions")
    }
}

struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        obj.child("revision").not_negative(errs);
        let data = obj.child("data");
        match data.value() {
            Value::Null => errs.push(data.required("data is mandatory")),
            Value::Object(_) => {}
            _ => errs.push(data.required("data must be a valid JSON object")),
        }
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        new.child("revision").not_negative(errs);
        if !same(new.at("data"), old.at("data")) {
            new.child("data").immutable(old.at("data"), errs);
        }
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let owners = obj.at("metadata").list("ownerReferences");
        let controller = owners.iter().find(|owner| owner.flag("controller")).map_or_else(
            || "<none>".to_owned(),
            |owner| {
                let kind = owner.text("kind").to_lowercase();
                match owner.text("apiVersion").split_once('/') {
                    Some((group, _)) => format!("{kind}.{group}/{}", owner.text("name")),
                    None => format!("{kind}/{}", owner.text("name")),
                }
            },
        );
        vec![
            column::name(obj),
            controller.into(),
            obj.int("revision").unwrap_or_default().into(),
            column::age(obj, now),
        ]
    }
}
