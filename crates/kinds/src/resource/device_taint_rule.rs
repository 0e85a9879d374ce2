//! DeviceTaintRule: devices that are not to be used, and why.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use serde_json::Value;

use crate::check;
use crate::column::{self, AGE, NAME, documented};
use crate::condition;
use crate::kind::{Kind, Subresource};
use crate::moment;
use crate::node::Node;
use crate::resource::{GROUP, parts};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};

pub(crate) fn kind() -> Kind {
    const TAINT: &str = "io.k8s.api.resource.v1.DeviceTaint";
    Kind {
        unconditional_update: false,
        resets: vec![&["status"]],
        generation: vec![&["spec"]],
        subresources: vec![Subresource::status(&[&["metadata"], &["spec"]], Status)],
        columns: vec![
            NAME,
            documented("Key", TAINT, "key"),
            documented("Value", TAINT, "value"),
            documented("Effect", TAINT, "effect"),
            documented("TimeAdded", TAINT, "timeAdded"),
            AGE,
        ],
        strategy: Arc::new(DeviceTaintRule),
        ..Kind::cluster(GROUP, "v1", "DeviceTaintRule", "devicetaintrules")
    }
}

const MAX_CONDITIONS: usize = 8;

struct DeviceTaintRule;

impl Strategy for DeviceTaintRule {
    fn prepare_create(&self, obj: &mut Value, cx: &Context<'_>) {
        obj.at_mut("spec").at_mut("taint").set_default("timeAdded", moment::text(cx.now));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Context<'_>) {
        let before = old.path(&["spec", "taint"]);
        let taint = new.at_mut("spec").at_mut("taint");
        taint.set_default("timeAdded", moment::text(cx.now));
        // Another effect is another taint, which begins now unless its author says otherwise.
        if taint.text("effect") != before.text("effect")
            && taint.text("timeAdded") == before.text("timeAdded")
        {
            taint.set("timeAdded", moment::text(cx.now));
        }
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate(&obj.child("spec"), &Value::Null, errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate(&new.child("spec"), old.at("spec"), errs);
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let taint = obj.path(&["spec", "taint"]);
        vec![
            column::name(obj),
            taint.text("key").into(),
            taint.text("value").into(),
            taint.text("effect").into(),
            column::since(taint.text("timeAdded"), now).into(),
            column::age(obj, now),
        ]
    }
}

struct Status;

impl Strategy for Status {
    fn validate_update(&self, new: &Node<'_>, _old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let status = new.child("status");
        let conditions = status.child("conditions");
        condition::validate(&conditions, errs);
        parts::fits(&conditions, MAX_CONDITIONS, errs);
    }
}

fn validate(spec: &Node<'_>, before: &Value, errs: &mut ErrorList) {
    let selector = spec.child("deviceSelector");
    if selector.has("driver") {
        check::csi_driver_name(&selector.child("driver"), errs);
    }
    if selector.has("pool") {
        parts::pool(&selector.child("pool"), errs);
    }
    if selector.has("device") {
        check::dns_label(&selector.child("device"), errs);
    }
    parts::taint(&spec.child("taint"), before.at("taint"), errs);
}
