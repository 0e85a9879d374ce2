//! VolumeAttributesClass: what a volume that exists may be changed into.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use serde_json::Value;

use crate::column::{self, AGE, NAME, documented};
use crate::kind::{Kind, names as texts};
use crate::node::Node;
use crate::storage::{GROUP, parameters};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, same};

pub(crate) fn kind() -> Kind {
    const CLASS: &str = "io.k8s.api.storage.v1.VolumeAttributesClass";
    Kind {
        short_names: texts(&["vac"]),
        columns: vec![NAME, documented("DriverName", CLASS, "driverName"), AGE],
        strategy: Arc::new(VolumeAttributesClass),
        ..Kind::cluster(GROUP, "v1", "VolumeAttributesClass", "volumeattributesclasses")
    }
}

struct VolumeAttributesClass;

impl Strategy for VolumeAttributesClass {
    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        parameters::driver(&obj.child("driverName"), errs);
        let given = obj.child("parameters");
        parameters::validate(&given, errs);
        if given.is_empty() {
            errs.push(given.required("must contain at least one key/value pair"));
        }
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, cx: &Context<'_>, errs: &mut ErrorList) {
        for key in ["driverName", "parameters"] {
            if !same(new.at(key), old.at(key)) {
                errs.push(new.child(key).forbidden(format!("updates to {key} are forbidden.")));
            }
        }
        self.validate(new, cx, errs);
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        vec![column::name(obj), obj.text("driverName").into(), column::age(obj, now)]
    }
}
