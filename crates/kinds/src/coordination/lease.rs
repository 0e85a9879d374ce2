//! Lease: a claim that holds as long as it is renewed.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use serde_json::Value;

use crate::column::{self, AGE, NAME, documented};
use crate::kind::Kind;
use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};

pub(crate) fn kind() -> Kind {
    Kind {
        create_on_update: true,
        unconditional_update: false,
        columns: vec![
            NAME,
            documented("Holder", "io.k8s.api.coordination.v1.LeaseSpec", "holderIdentity"),
            AGE,
        ],
        strategy: Arc::new(Lease),
        ..Kind::namespaced("coordination.k8s.io", "v1", "Lease", "leases")
    }
}

/// The fields of coordinated leader election, which is off by default.
const COORDINATED: [&str; 2] = ["strategy", "preferredHolder"];

struct Lease;

impl Strategy for Lease {
    fn prepare_create(&self, obj: &mut Value, _cx: &Context<'_>) {
        drop_coordination(obj, &Value::Null);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        drop_coordination(new, old);
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let spec = obj.child("spec");
        let duration = spec.child("leaseDurationSeconds");
        if duration.is_set() && duration.number() <= 0 {
            errs.push(duration.invalid("must be greater than 0"));
        }
        spec.child("leaseTransitions").not_negative(errs);
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        vec![column::name(obj), obj.at("spec").text("holderIdentity").into(), column::age(obj, now)]
    }
}

fn drop_coordination(new: &mut Value, old: &Value) {
    if let Some(spec) = new.get_mut("spec") {
        for key in COORDINATED.iter().filter(|key| !old.at("spec").has(key)) {
            spec.drop_key(key);
        }
    }
}
