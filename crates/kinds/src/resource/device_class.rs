//! DeviceClass: devices that go under one name.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use grammar::names;
use serde_json::Value;

use crate::column::{self, AGE, NAME};
use crate::kind::Kind;
use crate::node::Node;
use crate::resource::{GROUP, parts};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, same};

pub(crate) fn kind() -> Kind {
    Kind {
        generation: vec![&["spec"]],
        columns: vec![NAME, AGE],
        strategy: Arc::new(DeviceClass),
        ..Kind::cluster(GROUP, "v1", "DeviceClass", "deviceclasses")
    }
}

struct DeviceClass;

impl Strategy for DeviceClass {
    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate(&obj.child("spec"), &Value::Null, errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate(&new.child("spec"), old.at("spec"), errs);
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        vec![column::name(obj), column::age(obj, now)]
    }
}

fn validate(spec: &Node<'_>, before: &Value, errs: &mut ErrorList) {
    let stored = |key: &str| before.is_object() && same(spec.at(key), before.at(key));
    parts::selectors(&spec.child("selectors"), stored("selectors"), errs);
    parts::configurations(&spec.child("config"), stored("config"), &mut |_, _| {}, errs);
    let name = spec.child("extendedResourceName");
    if name.is_set() {
        extended_resource(&name, errs);
    }
}

/// A resource by whose name pods may ask for devices of the class without a claim.
fn extended_resource(name: &Node<'_>, errs: &mut ErrorList) {
    let text = name.str();
    if !text.contains('/') {
        errs.push(name.invalid("a name must be a domain-prefixed path, such as 'example.com/my-prop'"));
    } else if text.contains("kubernetes.io/") {
        errs.push(name.invalid("must not have \"kubernetes.io/\" domain"));
    } else if text.starts_with("requests.") {
        errs.push(name.invalid("must not have \"requests.\" prefix"));
    } else {
        name.complaints(names::label_key(text), errs);
    }
}
